//! Sealed files: what opens them, and the right refusal for everything that must not.

use std::{fs, os::unix::fs::PermissionsExt};

use fixtures::software_tpm::{Publisher, STUB, Swtpm, enter, workshop};
use proptest::prelude::*;
use seal::{
    envelope::{Envelope, Error, MAX_CONTENT, RecoveryKey, Sealing},
    release::Phase,
    tpm::{Tpm, crypto::sha256, nv::COUNTER, pcr, policy::Unsatisfied},
};

const CONTENT: &[u8] = b"version = 1\n# and a secret\n";
const LABEL: &str = "node.toml";

/// As the node seals: under PCR 7 and the counter.
fn sealing(tpm: &mut Tpm, publisher: &Publisher) -> Sealing<'static> {
    let secure_boot = tpm.read_pcr(pcr::SECURE_BOOT).expect("PCR 7");
    let root = tpm.storage_root_key().expect("a root key");
    let counter = tpm
        .ensure_counter(&root, COUNTER, &publisher.release(&STUB, 0))
        .expect("a counter");
    let policy = publisher.policy_with_counter(0, Some(secure_boot), counter.as_it_stands());
    Sealing {
        label: LABEL,
        policy,
        recovery: None,
    }
}

fn sealed(tpm: &mut Tpm, publisher: &Publisher) -> Envelope {
    let sealing = sealing(tpm, publisher);
    Envelope::seal(tpm, &sealing, CONTENT).expect("sealed")
}

/// An edit by somebody who knows the format: the checksum is right again.
fn edited(envelope: &Envelope, at: usize, by: u8) -> Vec<u8> {
    let mut bytes = envelope.to_bytes();
    let body = bytes.len() - 32;
    *bytes.get_mut(at % body).expect("a byte") ^= by;
    let checksum = sha256(&[bytes.get(..body).expect("a body")]);
    bytes.truncate(body);
    bytes.extend_from_slice(&checksum);
    bytes
}

#[test]
fn a_file_opens_in_the_boot_phase_of_each_boot() {
    let (mut swtpm, mut tpm) = Swtpm::booted();
    let publisher = Publisher::new();
    let releases = publisher.release(&STUB, 0);
    let envelope = sealed(&mut tpm, &publisher);
    let envelope = Envelope::from_bytes(&envelope.to_bytes()).expect("read");
    assert!(!envelope.is_from_afar());
    assert_eq!(
        *envelope.open(&mut tpm, LABEL, &releases).expect("opened"),
        CONTENT
    );
    let bytes = envelope.to_bytes();
    assert!(
        !bytes.windows(6).any(|part| part == b"secret"),
        "the content is not in the open"
    );

    enter(&mut tpm, Phase::Run);
    let error = envelope
        .open(&mut tpm, LABEL, &releases)
        .expect_err("the phase is over");
    assert!(
        matches!(error, Error::Policy(Unsatisfied::NotReleased { .. })),
        "{error}"
    );
    swtpm.power_cycle();
    let mut tpm = swtpm.boot(&STUB);
    assert_eq!(
        *envelope.open(&mut tpm, LABEL, &releases).expect("opened"),
        CONTENT
    );
    let error = envelope
        .open(&mut tpm, "state", &releases)
        .expect_err("another label");
    assert!(matches!(error, Error::OtherContent { .. }), "{error}");
    tpm.extend_pcr(pcr::SECURE_BOOT, &[1; 32])
        .expect("extended");
    let error = envelope
        .open(&mut tpm, LABEL, &releases)
        .expect_err("another Secure Boot state");
    assert!(
        matches!(error, Error::Policy(Unsatisfied::SecureBoot)),
        "{error}"
    );
}

#[test]
fn another_tpm_and_a_cleared_one_are_told_apart() {
    let (swtpm, mut tpm) = Swtpm::booted();
    let (_other, mut other) = Swtpm::booted();
    let (_kept, at) = workshop();
    let publisher = Publisher::new();
    let releases = publisher.release(&STUB, 0);
    let envelope = sealed(&mut tpm, &publisher);
    let root = tpm.storage_root_key().expect("a root key");
    let sealing = Sealing {
        label: LABEL,
        policy: publisher.policy(0, None),
        recovery: None,
    };
    let from_afar = Envelope::seal_for(root.public(), &sealing, CONTENT).expect("sealed");

    let error = envelope
        .open(&mut other, LABEL, &releases)
        .expect_err("no root key");
    assert!(matches!(error, Error::OtherTpm { .. }), "{error}");
    other.storage_root_key().expect("a root key");
    let error = envelope
        .open(&mut other, LABEL, &releases)
        .expect_err("another root key");
    assert!(matches!(error, Error::OtherTpm { .. }), "{error}");
    let error = from_afar
        .open(&mut other, LABEL, &releases)
        .expect_err("another root key");
    assert!(matches!(error, Error::OtherOrCleared { .. }), "{error}");

    swtpm.tool(&at, "tpm2_clear --auth-hierarchy p");
    let error = envelope
        .open(&mut tpm, LABEL, &releases)
        .expect_err("cleared");
    assert!(matches!(error, Error::Cleared), "{error}");
    tpm.storage_root_key().expect("a new root key");
    let error = envelope
        .open(&mut tpm, LABEL, &releases)
        .expect_err("cleared");
    assert!(matches!(error, Error::Cleared), "{error}");
}

#[test]
fn no_edit_of_any_byte_is_taken() {
    let (_swtpm, mut tpm) = Swtpm::booted();
    let publisher = Publisher::new();
    let releases = publisher.release(&STUB, 0);
    let root = tpm.storage_root_key().expect("a root key");
    let ours = sealed(&mut tpm, &publisher);
    let sealing = Sealing {
        label: LABEL,
        policy: publisher.policy(0, None),
        recovery: None,
    };
    let from_afar = Envelope::seal_for(root.public(), &sealing, CONTENT).expect("sealed");
    for envelope in [ours, from_afar] {
        envelope.open(&mut tpm, LABEL, &releases).expect("opened");
        let length = envelope.to_bytes().len();
        for at in 0..length {
            let mut bytes = envelope.to_bytes();
            *bytes.get_mut(at).expect("a byte") ^= 0x10;
            let error = Envelope::from_bytes(&bytes).expect_err("damaged");
            assert!(
                matches!(
                    error,
                    Error::Damaged(_) | Error::NotSealed | Error::NewerVersion { .. }
                ),
                "byte {at}: {error}"
            );
        }
        // by the TPM, every fifth byte: each takes twenty commands
        for at in (0..length - 32).step_by(5) {
            let Ok(changed) = Envelope::from_bytes(&edited(&envelope, at, 0x10)) else {
                continue;
            };
            let error = changed
                .open(&mut tpm, LABEL, &releases)
                .expect_err("edited");
            assert!(!matches!(error, Error::Tpm(_)), "byte {at}: {error:?}");
        }
        let last = edited(&envelope, length - 33, 1);
        let error = Envelope::from_bytes(&last)
            .expect("whole")
            .open(&mut tpm, LABEL, &releases)
            .expect_err("edited");
        assert!(matches!(error, Error::Edited(_)), "{error}");
    }
}

#[test]
fn a_newer_version_is_named() {
    let (_swtpm, mut tpm) = Swtpm::booted();
    let envelope = sealed(&mut tpm, &Publisher::new());
    let error = Envelope::from_bytes(&edited(&envelope, 9, 3)).expect_err("newer");
    assert!(
        matches!(error, Error::NewerVersion { found: 2, known: 1 }),
        "{error}"
    );
    let error = Envelope::from_bytes(b"version = 1").expect_err("plain");
    assert!(matches!(error, Error::NotSealed), "{error}");
}

#[test]
fn raising_the_floor_outdates_the_old_copy_and_survives_a_power_cut() {
    let (_swtpm, mut tpm) = Swtpm::booted();
    let publisher = Publisher::new();
    let releases = publisher.release(&STUB, 6);
    let old = sealed(&mut tpm, &publisher);
    let content = old.open(&mut tpm, LABEL, &releases).expect("opened");
    let root = tpm.storage_root_key().expect("a root key");
    let counter = tpm
        .counter(&root, COUNTER)
        .expect("read")
        .expect("a counter");
    let mut sealing = sealing(&mut tpm, &publisher);
    sealing.policy.floor = 6;
    sealing.policy.counter = Some(counter.after_increment());
    let new = Envelope::seal(&mut tpm, &sealing, &content).expect("sealed");
    // the power goes here, with the new file written and the counter as before
    assert_eq!(
        *new.open(&mut tpm, LABEL, &releases).expect("opened"),
        CONTENT
    );
    tpm.increment_counter(&root, COUNTER, &releases)
        .expect("incremented");
    assert_eq!(
        *new.open(&mut tpm, LABEL, &releases).expect("opened"),
        CONTENT
    );
    let error = old
        .open(&mut tpm, LABEL, &releases)
        .expect_err("an old copy");
    assert!(
        matches!(error, Error::Policy(Unsatisfied::RolledBack { .. })),
        "{error}"
    );
    let revoked = publisher.release(&STUB, 5);
    let error = new
        .open(&mut tpm, LABEL, &revoked)
        .expect_err("an old release");
    assert!(
        matches!(error, Error::Policy(Unsatisfied::NotReleased { .. })),
        "{error}"
    );
}

#[test]
fn the_recovery_key_opens_without_the_tpm() {
    let (_swtpm, mut tpm) = Swtpm::booted();
    let key = RecoveryKey::generate().expect("a key");
    let publisher = Publisher::new();
    let sealing = Sealing {
        recovery: Some(key.public()),
        ..sealing(&mut tpm, &publisher)
    };
    let envelope = Envelope::seal(&mut tpm, &sealing, CONTENT).expect("sealed");
    let typed = RecoveryKey::from_text(&key.to_text()).expect("a key");
    assert_eq!(
        *envelope.recover(LABEL, &typed).expect("recovered"),
        CONTENT
    );
    assert_eq!(envelope.recovery(), Some(key.public()));
    let stranger = RecoveryKey::generate().expect("a key");
    let error = envelope.recover(LABEL, &stranger).expect_err("another key");
    assert!(matches!(error, Error::Recovery(_)), "{error}");
    let length = envelope.to_bytes().len();
    let changed = Envelope::from_bytes(&edited(&envelope, length - 40, 1)).expect("whole");
    let error = changed.recover(LABEL, &key).expect_err("edited");
    assert!(matches!(error, Error::Edited(_)), "{error}");
}

#[test]
fn a_file_is_written_whole_and_for_its_owner_alone() {
    let (_swtpm, mut tpm) = Swtpm::booted();
    let (_kept, at) = workshop();
    let publisher = Publisher::new();
    let envelope = sealed(&mut tpm, &publisher);
    let path = at.join("node.sealed");
    envelope.write(&path).expect("written");
    sealed(&mut tpm, &publisher)
        .write(&path)
        .expect("written over");
    envelope.write(&path).expect("written over");
    assert_eq!(Envelope::read(&path).expect("read"), envelope);
    assert_eq!(
        fs::metadata(&path).expect("there").permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        fs::read_dir(&at).expect("a directory").count(),
        1,
        "nothing else is left"
    );
    let error = envelope
        .write(&at.join("none").join("node.sealed"))
        .expect_err("no directory");
    assert!(matches!(error, Error::File { .. }), "{error}");
    let error = Envelope::read(&at.join("none")).expect_err("no file");
    assert!(matches!(error, Error::File { .. }), "{error}");
}

#[test]
fn too_much_is_refused() {
    let (_swtpm, mut tpm) = Swtpm::booted();
    let sealing = sealing(&mut tpm, &Publisher::new());
    let error = Envelope::seal(&mut tpm, &sealing, &vec![0; MAX_CONTENT + 1]).expect_err("long");
    assert!(matches!(error, Error::TooLong { .. }), "{error}");
}

/// Any file there is, sealed once.
fn sample() -> Envelope {
    let publisher = Publisher::new();
    let sealing = Sealing {
        label: LABEL,
        policy: publisher.policy(0, None),
        recovery: None,
    };
    let (_swtpm, mut tpm) = Swtpm::booted();
    Envelope::seal(&mut tpm, &sealing, CONTENT).expect("sealed")
}

#[test]
fn any_mutation_is_survived() {
    let envelope = sample();
    let bytes = envelope.to_bytes();
    let config = ProptestConfig {
        cases: 4096,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mutations = prop::collection::vec((any::<usize>(), any::<u8>()), 1..8);
    proptest!(config, |(mutations in mutations, cut in 0..=bytes.len(), repaired in any::<bool>())| {
        let mut changed = bytes.get(..cut).expect("a part").to_vec();
        for (at, to) in mutations {
            let length = changed.len().max(1);
            if let Some(byte) = changed.get_mut(at % length) {
                *byte = to;
            }
        }
        if repaired && changed.len() > 32 {
            changed.truncate(changed.len() - 32);
            let checksum = sha256(&[&changed]);
            changed.extend_from_slice(&checksum);
        }
        if let Ok(read) = Envelope::from_bytes(&changed) {
            prop_assert_eq!(read.to_bytes(), changed);
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        prop_assert!(Envelope::from_bytes(&bytes).is_err());
        let with_magic = [b"DAASSEAL\0\x01".as_slice(), &bytes].concat();
        prop_assert!(Envelope::from_bytes(&with_magic).is_err());
    }
}
