//! Evidence of a real TPM in software: the good way, and each way to be refused.

mod credential;
mod endorsement;

use std::sync::LazyLock;

use attest::event_log::{EventLog, secure_boot};
use attest::{
    channel::{Claim, heartbeat_data},
    collect::{collect, quote},
    evidence::Evidence,
    join_token,
};
use attest_verify::{
    AllowedFirmware, ManufacturerRoots, Policy, Release, Standing, Verified, certificate_digests,
};
use fixtures::machine::{Firmware, Flaw, Manufacturer, PUBLISHER, install, pcr11};
use fixtures::recorded::event_logs;
use fixtures::software_tpm::{STUB, Swtpm, workshop};
use master_api::{Base64, Grant, HeartbeatQuote, RefusalCode};
use seal::tpm::{Tpm, crypto::sha256};
use wire::{JoinToken, Secret};

const NOW: u64 = 1_800_000_000;
const NOW_MS: u64 = NOW * 1000;

static MAKER: LazyLock<Manufacturer> = LazyLock::new(Manufacturer::new);

fn claim() -> Claim {
    Claim {
        nonce: vec![1; 32],
        node_id: "edge-0001".parse().expect("a name"),
        node_key: vec![2; 33],
        address: format!("0x{}", "03".repeat(32)),
        channel: [4; 32],
    }
}

fn policy() -> Policy {
    Policy {
        roots: ManufacturerRoots::from_pem(MAKER.roots().as_bytes()).expect("roots"),
        admitted_keys: Vec::new(),
        secure_boot: Some(vec![sha256(&[PUBLISHER])]),
        firmware: None,
        reports: None,
    }
}

struct Machine {
    swtpm: Swtpm,
    tpm: Tpm,
    log: Vec<u8>,
}

impl Machine {
    fn new(firmware: Firmware) -> Self {
        let swtpm = Swtpm::new();
        MAKER.provision(&swtpm, Flaw::None);
        Self::boot(swtpm, firmware)
    }

    fn boot(swtpm: Swtpm, firmware: Firmware) -> Self {
        let log = firmware.boot(&swtpm, &STUB);
        let tpm = swtpm.open();
        Self { swtpm, tpm, log }
    }

    fn evidence(&mut self) -> Evidence {
        let evidence = collect(&mut self.tpm, claim(), self.log.clone(), &[]).expect("collected");
        // as it travels
        Evidence::from_bytes(&evidence.to_bytes().expect("within bounds")).expect("the same")
    }

    fn verified(&mut self) -> Verified {
        policy()
            .check(&self.evidence(), &claim(), NOW)
            .expect("verified")
    }
}

#[track_caller]
fn refused(evidence: &Evidence, claim: &Claim, policy: &Policy, code: RefusalCode) {
    let fault = policy
        .check(evidence, claim, NOW)
        .expect_err("it is refused");
    assert_eq!(fault.code, code, "{fault}");
    assert!(fault.message.contains(' '), "{fault}");
}

fn release(version: &str, pcr11: [u8; 32], standing: Standing) -> Release {
    Release {
        version: version.to_owned(),
        pcr11,
        launch_measurements: Vec::new(),
        standing,
    }
}

#[test]
fn a_released_image_on_a_certified_tpm_is_verified() {
    let mut machine = Machine::new(Firmware::default());
    let verified = machine.verified();
    assert!(verified.secure_boot);
    let releases = [
        release("1.0.0", [9; 32], Standing::Approved),
        release("1.1.0", pcr11(&STUB), Standing::Approved),
    ];
    let found = verified.release(&releases, NOW_MS).expect("approved");
    assert_eq!(found.version, "1.1.0");
}

#[test]
fn releases_that_do_not_count_are_named() {
    let verified = Machine::new(Firmware::default()).verified();
    let minimum = "2.0.0".to_owned();
    let other = release("1.0.0", [9; 32], Standing::Approved);
    for (standing, code) in [
        (
            Some(Standing::Revoked { gone_by_ms: 0 }),
            RefusalCode::ReleaseRevoked,
        ),
        (
            Some(Standing::BelowMinimum {
                minimum,
                gone_by_ms: 0,
            }),
            RefusalCode::ReleaseBelowMinimum,
        ),
        (None, RefusalCode::ReleaseUnknown),
    ] {
        let mut releases = vec![other.clone()];
        releases.extend(standing.map(|standing| release("1.1.0", pcr11(&STUB), standing)));
        let fault = verified.release(&releases, NOW_MS).expect_err("refused");
        assert_eq!(fault.code, code, "{fault}");
    }
    // one image under two versions: it stays revoked, and else counts by the one that does
    let both = |standing| {
        [
            release("1.1.1", pcr11(&STUB), Standing::Approved),
            release("1.1.0", pcr11(&STUB), standing),
        ]
    };
    assert!(
        verified
            .release(&both(Standing::Revoked { gone_by_ms: 0 }), NOW_MS)
            .is_err()
    );
    let minimum = "1.1.1".to_owned();
    let found = both(Standing::BelowMinimum {
        minimum,
        gone_by_ms: 0,
    });
    assert_eq!(
        verified.release(&found, NOW_MS).expect("counts").version,
        "1.1.1"
    );
}

#[test]
fn release_counts_until_its_deadline() {
    let verified = Machine::new(Firmware::default()).verified();
    let gone_by_ms = NOW_MS + 1;
    let minimum = "2.0.0".to_owned();
    for standing in [
        Standing::Revoked { gone_by_ms },
        Standing::BelowMinimum {
            minimum,
            gone_by_ms,
        },
    ] {
        let releases = [release("1.1.0", pcr11(&STUB), standing)];
        let found = verified.release(&releases, NOW_MS).expect("counts still");
        assert_eq!(found.version, "1.1.0");
        assert!(verified.release(&releases, gone_by_ms).is_err());
    }
}

#[test]
fn firmware_that_measures_nothing_is_refused() {
    for register in [0, 4] {
        let firmware = Firmware {
            silent: Some(register),
            ..Firmware::default()
        };
        let mut machine = Machine::new(firmware);
        let lenient = Policy {
            secure_boot: None,
            ..policy()
        };
        let evidence = machine.evidence();
        assert_eq!(evidence.register(register), Some(&[0; 32]));
        for policy in [policy(), lenient] {
            refused(&evidence, &claim(), &policy, RefusalCode::Firmware);
        }
    }
}

#[test]
fn firmware_list_of_the_operator_counts() {
    let mut machine = Machine::new(Firmware::default());
    let found = machine.verified().firmware;
    let other = AllowedFirmware {
        pcr0: Some([9; 32]),
        pcr2: None,
    };
    let half = AllowedFirmware {
        pcr0: Some(found.pcr0),
        pcr2: Some([9; 32]),
    };
    let with = |list: &[AllowedFirmware]| Policy {
        firmware: Some(list.to_vec()),
        ..policy()
    };
    let evidence = machine.evidence();
    for list in [&[][..], &[other], &[other, half]] {
        refused(&evidence, &claim(), &with(list), RefusalCode::Firmware);
    }
    for pcr2 in [None, Some(found.pcr2)] {
        let pcr0 = Some(found.pcr0);
        let policy = with(&[other, AllowedFirmware { pcr0, pcr2 }]);
        let verified = policy.check(&evidence, &claim(), NOW);
        assert_eq!(verified.expect("allowed").firmware, found);
    }
}

/// Logs of real firmwares lead to the registers of their machines, and say what they should of Secure Boot.
#[test]
fn recorded_event_logs_are_read() {
    for recorded in event_logs::ALL {
        let name = recorded.name;
        let log = EventLog::parse(recorded.log).expect(name);
        let registers: Vec<&str> = recorded.registers.lines().collect();
        assert_eq!(registers.len(), 8, "{name}");
        for (register, expected) in (0_u8..).zip(registers) {
            assert_eq!(
                hex::encode(log.replay(register)),
                expected,
                "{name}: {register}"
            );
        }
        assert!(log.measures(0) && log.measures(4), "{name}");
        let state = secure_boot::read(&log).expect(name);
        assert_eq!(state.on, recorded.secure_boot, "{name}");
        assert_eq!(state.authorities.len(), recorded.authorities, "{name}");
        assert_eq!(state.dma_protection, recorded.dma_protection, "{name}");
    }
}

/// Changes what evidence was to be for.
type Change = fn(&mut Claim);

#[test]
fn evidence_is_for_one_registration_on_one_channel() {
    let mut machine = Machine::new(Firmware::default());
    let evidence = machine.evidence();
    let policy = policy();
    let cases: [(Change, RefusalCode); 5] = [
        (|claim| claim.nonce[0] ^= 1, RefusalCode::QuoteNonce),
        (|claim| claim.channel[0] ^= 1, RefusalCode::ChannelMismatch),
        (
            |claim| claim.node_id = "edge-0002".parse().expect("a name"),
            RefusalCode::KeyBinding,
        ),
        (|claim| claim.node_key[0] ^= 1, RefusalCode::KeyBinding),
        (|claim| claim.address.push('x'), RefusalCode::KeyBinding),
    ];
    for (change, code) in cases {
        let mut other = claim();
        change(&mut other);
        refused(&evidence, &other, &policy, code);
        // a binding that was edited to fit is not what was quoted
        let mut edited = evidence.clone();
        edited.binding.nonce.clone_from(&other.nonce);
        edited.binding.channel = other.channel;
        edited.binding.node_id.clone_from(&other.node_id);
        edited.binding.node_key.clone_from(&other.node_key);
        edited.binding.address.clone_from(&other.address);
        refused(&edited, &other, &policy, RefusalCode::QuoteNonce);
    }
}

#[test]
fn another_machines_parts_are_refused() {
    let mut machine = Machine::new(Firmware::default());
    let mut other = Machine::new(Firmware::default());
    let (evidence, others) = (machine.evidence(), other.evidence());
    let (policy, claim) = (policy(), claim());
    let mut swapped = evidence.clone();
    swapped.attestation_key.clone_from(&others.attestation_key);
    refused(&swapped, &claim, &policy, RefusalCode::QuoteSignature);
    let mut swapped = evidence.clone();
    swapped.endorsement_key.clone_from(&others.endorsement_key);
    refused(&swapped, &claim, &policy, RefusalCode::KeyBinding);
    let mut swapped = evidence.clone();
    swapped
        .endorsement_certificate
        .clone_from(&others.endorsement_certificate);
    refused(&swapped, &claim, &policy, RefusalCode::EndorsementUntrusted);
    let mut edited = evidence.clone();
    *edited.quote_message.last_mut().expect("bytes") ^= 1;
    refused(&edited, &claim, &policy, RefusalCode::QuoteSignature);
    let mut edited = evidence.clone();
    edited.quote_message = vec![7; 100];
    refused(&edited, &claim, &policy, RefusalCode::EvidenceMalformed);
    // a key that signs anything
    let mut edited = evidence.clone();
    edited.attestation_key.clone_from(&evidence.endorsement_key);
    refused(&edited, &claim, &policy, RefusalCode::AttestationKey);
    let mut edited = evidence;
    edited.attestation_key = vec![1; 8];
    refused(&edited, &claim, &policy, RefusalCode::EvidenceMalformed);
}

#[test]
fn the_log_leads_to_the_quoted_registers_or_is_refused() {
    let mut machine = Machine::new(Firmware::default());
    let evidence = machine.evidence();
    let (policy, claim) = (policy(), claim());
    let mut edited = evidence.clone();
    edited.registers[3][0] ^= 1;
    refused(&edited, &claim, &policy, RefusalCode::RegistersMismatch);
    let mut edited = evidence.clone();
    edited.event_log.clear();
    refused(&edited, &claim, &policy, RefusalCode::EventLog);
    let mut edited = evidence.clone();
    edited.event_log.pop();
    refused(&edited, &claim, &policy, RefusalCode::EventLog);
    // the log of a machine with Secure Boot, of one without
    let mut off = Machine::new(Firmware {
        secure_boot: false,
        ..Firmware::default()
    });
    let mut edited = off.evidence();
    edited.event_log = evidence.event_log;
    refused(&edited, &claim, &policy, RefusalCode::EventLog);
}

#[test]
fn secure_boot_is_on_by_known_keys_where_the_policy_wants_it() {
    let mut off = Machine::new(Firmware {
        secure_boot: false,
        ..Firmware::default()
    });
    let evidence = off.evidence();
    refused(&evidence, &claim(), &policy(), RefusalCode::SecureBootOff);
    let lenient = Policy {
        secure_boot: None,
        ..policy()
    };
    let verified = lenient.check(&evidence, &claim(), NOW).expect("verified");
    assert!(!verified.secure_boot);

    let mut stranger = Machine::new(Firmware {
        authority: b"a stranger's certificate",
        ..Firmware::default()
    });
    let evidence = stranger.evidence();
    refused(&evidence, &claim(), &policy(), RefusalCode::SecureBootKeys);
}

#[test]
fn a_command_line_from_outside_is_refused() {
    let mut machine = Machine::new(Firmware {
        command_line: Some(b"init=/bin/sh"),
        ..Firmware::default()
    });
    let evidence = machine.evidence();
    refused(&evidence, &claim(), &policy(), RefusalCode::CommandLine);
}

/// The certificate that swtpm's own tool issues, with its own authority.
#[test]
fn swtpms_own_certificates_are_verified() {
    let swtpm = Swtpm::new();
    let (_kept, at) = workshop();
    let point = swtpm
        .open()
        .endorsement_public()
        .and_then(|public| public.point())
        .expect("a key");
    let directory = at.display();
    std::fs::write(
        at.join("localca.conf"),
        format!(
            "statedir = {directory}\nsigningkey = {directory}/signkey.pem\n\
             issuercert = {directory}/issuercert.pem\ncertserial = {directory}/certserial\n"
        ),
    )
    .expect("written");
    std::fs::write(
        at.join("localca.options"),
        "--platform-manufacturer double\n--platform-version 1\n--platform-model double\n",
    )
    .expect("written");
    let output = std::process::Command::new("swtpm_localca")
        .args(["--type", "ek", "--tpm2", "--dir", &directory.to_string()])
        .arg("--ek")
        .arg(format!(
            "x={},y={},id=secp256r1",
            hex::encode(point.x),
            hex::encode(point.y)
        ))
        .args(["--vmid", "node", "--tpm-spec-family", "2.0"])
        .args(["--tpm-spec-revision", "164", "--tpm-spec-level", "0"])
        .args(["--tpm-manufacturer", "id:00001014"])
        .args(["--tpm-model", "swtpm", "--tpm-version", "id:20191023"])
        .arg("--configfile")
        .arg(at.join("localca.conf"))
        .arg("--optsfile")
        .arg(at.join("localca.options"))
        .output()
        .expect("this test needs swtpm_localca: apt-get install swtpm-tools");
    assert!(output.status.success(), "{output:?}");
    install(
        &swtpm,
        &std::fs::read(at.join("ek.cert")).expect("a certificate"),
    );
    let roots = ["swtpm-localca-rootca-cert.pem", "issuercert.pem"]
        .map(|name| std::fs::read(at.join(name)).expect("a root"))
        .concat();
    let policy = Policy {
        roots: ManufacturerRoots::from_pem(&roots).expect("roots"),
        ..policy()
    };
    let mut machine = Machine::boot(swtpm, Firmware::default());
    policy
        .check(&machine.evidence(), &claim(), NOW)
        .expect("verified");
}

#[test]
fn files_of_certificates_hold_certificates() {
    for wrong in [
        "",
        "junk",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        assert!(
            ManufacturerRoots::from_pem(wrong.as_bytes()).is_err(),
            "{wrong}"
        );
    }
    assert!(certificate_digests(b"").is_err());
    let roots = MAKER.roots();
    assert_eq!(certificate_digests(roots.as_bytes()).expect("two").len(), 2);
}
