//! On recorded reports of real machines, and on reports that the tests sign themselves under a root
//! of their own where no recorded one was at hand. `fixtures/reports/README.md` says which is which.

use attest::tee_report::TeeReport;
use fixtures::recorded::sev_snp as recorded;
use fixtures::sev_snp::{self as made, own_report, sign, table};
use proptest::prelude::*;

use super::*;
use crate::tee_report::{AmdRoot, Expectations};

/// 2024-06-01: within the validity of everything recorded here.
const THEN: u64 = 1_717_200_000;
/// Within the validity of the tests' own certificates.
const LATER: u64 = 2_000_000_000;

/// A machine's report, and the certificate of its chip.
const REPORT: &[u8] = recorded::MILAN_REPORT;
const VCEK: &[u8] = recorded::MILAN_VCEK;
/// The certificate of another chip, with the same firmware.
const OTHER_CHIP: &[u8] = recorded::OTHER_MILAN_VCEK;

/// The root of the tests in the place of AMD's.
fn own_roots() -> Roots {
    let mut roots = Roots::vendors();
    roots.amd = vec![AmdRoot {
        product: AmdProduct::Genoa,
        ark: made::ARK.to_vec(),
        intermediates: vec![made::ASK.to_vec()],
    }];
    roots
}

fn slice<const N: usize>(report: &[u8], offset: usize) -> [u8; N] {
    report[offset..offset + N].try_into().unwrap()
}

/// Exactly what a report says, and no less.
fn policy_of(report: &[u8], certificate: &[u8]) -> Policy {
    Policy {
        measurements: Some(vec![slice(report, 0x90)]),
        minimum_tcb: Tcb {
            boot_loader: 3,
            tee: 0,
            snp: 8,
            microcode: 0x73,
            fmc: 0,
        },
        maximum_vmpl: 0,
        host_data: None,
        certificates: vec![certificate.to_vec()],
    }
}

fn check(
    report: &[u8],
    auxiliary: &[u8],
    data: [u8; 64],
    policy: &Policy,
    roots: &Roots,
    now: u64,
) -> Result<VerifiedReport, Refusal> {
    let report = TeeReport::new(TeeKind::SevSnp, report.to_vec(), auxiliary.to_vec()).unwrap();
    let expectations = Expectations {
        report_data: data,
        sev_snp: Some(policy.clone()),
        tdx: None,
        nitro: None,
    };
    crate::tee_report::verify(&report, &expectations, roots, now)
}

#[test]
fn a_recorded_report_verifies_up_to_amds_root() {
    let roots = Roots::vendors();
    let mut policy = policy_of(REPORT, VCEK);
    let data = slice(REPORT, 0x50);
    let verified = check(REPORT, &[], data, &policy, &roots, THEN).unwrap();
    assert_eq!(verified.measurement, slice(REPORT, 0x90));
    assert_eq!(verified.machine, slice::<64>(REPORT, 0x1a0));
    assert_eq!(
        verified.platform,
        "Milan, boot loader 3, TEE 0, SNP 8, microcode 115, FMC 0"
    );

    // the same with the certificate out of the host's table
    policy.certificates.clear();
    let refusal = check(REPORT, &[], data, &policy, &roots, THEN).unwrap_err();
    assert_eq!(refusal, Refusal::NoCertificate);
    let auxiliary = table(&[(table::VCEK, VCEK)]);
    let outcome = check(REPORT, &auxiliary, data, &policy, &roots, THEN);
    assert_eq!(outcome, Ok(verified));
}

#[test]
fn every_byte_of_a_recorded_report_counts() {
    let roots = Roots::vendors();
    let fitting = policy_of(REPORT, VCEK);
    for index in 0..REPORT.len() {
        let mut changed = REPORT.to_vec();
        changed[index] ^= 1;
        // what is expected changes along, so that only the signature is left to refuse it
        let mut policy = fitting.clone();
        policy.measurements = None;
        policy.maximum_vmpl = u32::MAX;
        policy.minimum_tcb = Tcb::default();
        let data = slice(&changed, 0x50);
        let outcome = check(&changed, &[], data, &policy, &roots, THEN);
        assert!(outcome.is_err(), "byte {index}");
    }
    for length in [0x4a0 - 1, 0x2a0, 1] {
        let data = slice(REPORT, 0x50);
        let outcome = check(&REPORT[..length], &[], data, &fitting, &roots, THEN);
        assert!(
            matches!(outcome, Err(Refusal::Malformed { .. })),
            "{outcome:?}"
        );
    }
}

#[test]
fn every_byte_of_the_chips_certificate_counts() {
    let roots = Roots::vendors();
    let (report, vcek) = (REPORT, VCEK);
    for index in 0..vcek.len() {
        let mut changed = vcek.to_vec();
        changed[index] ^= 1;
        let policy = policy_of(report, &changed);
        let outcome = check(report, &[], slice(report, 0x50), &policy, &roots, THEN);
        assert!(outcome.is_err(), "byte {index}");
    }
}

#[test]
fn what_a_recorded_report_says_is_compared() {
    let roots = Roots::vendors();
    let (report, vcek) = (REPORT, VCEK);
    let data = slice(report, 0x50);
    let fitting = policy_of(report, vcek);
    let refused =
        |policy: &Policy, data| check(report, &[], data, policy, &roots, THEN).unwrap_err();

    assert_eq!(
        refused(&fitting, [0; 64]),
        Refusal::ReportData(TeeKind::SevSnp)
    );
    let mut policy = fitting.clone();
    policy.measurements = Some(vec![[1; 48]]);
    assert!(matches!(
        refused(&policy, data),
        Refusal::Measurement {
            what: "launch measurement",
            ..
        }
    ));
    let mut policy = fitting.clone();
    policy.host_data = Some([1; 32]);
    assert!(matches!(
        refused(&policy, data),
        Refusal::Measurement {
            what: "host data",
            ..
        }
    ));
    let mut policy = fitting.clone();
    policy.minimum_tcb.microcode = 0x74;
    assert_eq!(
        refused(&policy, data),
        Refusal::Firmware {
            component: "microcode",
            found: 0x73,
            minimum: 0x74
        }
    );
    let mut policy = fitting;
    policy.minimum_tcb.snp = 9;
    let refusal = refused(&policy, data);
    assert_eq!(refusal.code(), "report-firmware");
    assert_eq!(
        refusal.to_string(),
        "the firmware of the SEV-SNP platform is too old: SNP firmware 8 of at least 9"
    );
}

#[test]
fn certificates_of_another_chip_product_root_or_time_refused() {
    let roots = Roots::vendors();
    let (report, vcek) = (REPORT, VCEK);
    let data = slice(report, 0x50);
    let with = |certificate: &[u8], roots: &Roots, now| {
        check(
            report,
            &[],
            data,
            &policy_of(report, certificate),
            roots,
            now,
        )
        .unwrap_err()
    };
    assert_eq!(
        with(OTHER_CHIP, &roots, THEN),
        Refusal::ForeignCertificate("chip")
    );
    let other_product = recorded::TURIN_VCEK;
    assert_eq!(
        with(other_product, &roots, 1_800_000_000),
        Refusal::ForeignCertificate("product")
    );
    assert_eq!(
        with(vcek, &roots, 4_000_000_000),
        Refusal::Chain(TeeKind::SevSnp)
    );
    assert_eq!(
        with(vcek, &own_roots(), THEN),
        Refusal::Chain(TeeKind::SevSnp)
    );
    assert_eq!(
        with(b"no certificate", &roots, THEN),
        Refusal::NoCertificate
    );

    // one that fits is found among those that don't
    let mut policy = policy_of(report, OTHER_CHIP);
    policy.certificates.push(vcek.to_vec());
    check(report, &[], data, &policy, &roots, THEN).unwrap();
}

// --- reports that the tests sign ------------------------------------------------------------------

fn check_own(report: Vec<u8>) -> Result<VerifiedReport, Refusal> {
    let vcek = made::GENOA_VCEK;
    let report = sign(report);
    let policy = policy_of(&report, vcek);
    check(&report, &[], [0x11; 64], &policy, &own_roots(), LATER)
}

#[test]
fn every_version_that_is_known_verifies_and_others_are_refused() {
    for version in 2..=5 {
        let mut report = own_report();
        report[0] = version;
        assert_eq!(check_own(report).unwrap().measurement, [0x22; 48]);
    }
    for version in [0, 1, 6, 255] {
        let mut report = own_report();
        report[0] = version;
        let refusal = check_own(report).unwrap_err();
        assert_eq!(
            refusal,
            Refusal::Version {
                kind: TeeKind::SevSnp,
                version: version.into()
            }
        );
    }
}

#[test]
fn signed_debug_migration_and_lower_privilege_are_refused() {
    let with = |offset: usize, bits: u8| {
        let mut report = own_report();
        report[offset] |= bits;
        check_own(report).unwrap_err()
    };
    assert_eq!(with(0x0a, 1 << 3), Refusal::Debug(TeeKind::SevSnp));
    assert_eq!(with(0x0a, 1 << 2), Refusal::Migratable(TeeKind::SevSnp));
    assert_eq!(
        with(0x30, 2),
        Refusal::PrivilegeLevel {
            found: 2,
            maximum: 0
        }
    );
    // somebody else's algorithm, nobody's key, another product by CPUID, reserved bytes of the TCB
    assert!(matches!(with(0x34, 2), Refusal::Malformed { .. }));
    assert!(matches!(with(0x48, 7 << 2), Refusal::Malformed { .. }));
    assert_eq!(
        with(0x188, 0x02),
        Refusal::Malformed {
            kind: TeeKind::SevSnp,
            what: "its CPUID is not known"
        }
    );
    assert!(matches!(with(0x182, 1), Refusal::Malformed { .. }));
    // other firmware than the certificate's
    assert_eq!(with(0x187, 0x0c), Refusal::ForeignCertificate("microcode"));

    let mut report = own_report();
    report[0x189] = 0x01;
    assert_eq!(
        check_own(report),
        Err(Refusal::ForeignCertificate("product"))
    );
    let mut report = own_report();
    report[0x1a0..0x1e0].fill(0);
    assert_eq!(check_own(report), Err(Refusal::ForeignCertificate("chip")));
}

#[test]
fn a_report_of_a_turin_has_its_own_layout_of_firmware_and_chip() {
    let mut roots = own_roots();
    roots.amd[0].product = AmdProduct::Turin;
    let mut report = own_report();
    report[0x180..0x188].copy_from_slice(&[2, 3, 0, 8, 0, 0, 0, 0x73]);
    report[0x188..0x18b].copy_from_slice(&[0x1a, 0x02, 1]);
    report[0x1a8..0x1e0].fill(0);
    let report = sign(report);
    let mut policy = policy_of(&report, made::TURIN_VCEK);
    policy.minimum_tcb.fmc = 2;
    let verified = check(&report, &[], [0x11; 64], &policy, &roots, LATER).unwrap();
    assert_eq!(
        verified.platform,
        "Turin, boot loader 3, TEE 0, SNP 8, microcode 115, FMC 2"
    );
    policy.minimum_tcb.fmc = 3;
    let refusal = check(&report, &[], [0x11; 64], &policy, &roots, LATER).unwrap_err();
    assert!(
        matches!(
            refusal,
            Refusal::Firmware {
                component: "FMC",
                ..
            }
        ),
        "{refusal}"
    );
}

#[test]
fn a_report_signed_by_a_clouds_key_names_its_chip_or_masks_it() {
    let vlek = made::GENOA_VLEK;
    let asvk = made::ASVK;
    for chip in [0x00, 0xee] {
        let mut report = own_report();
        report[0x48] = 1 << 2;
        report[0x1a0..0x1e0].fill(chip);
        let report = sign(report);
        let mut policy = policy_of(&report, vlek);
        let refusal = check(&report, &[], [0x11; 64], &policy, &own_roots(), LATER).unwrap_err();
        assert_eq!(
            refusal,
            Refusal::Chain(TeeKind::SevSnp),
            "nobody gave its issuer's certificate"
        );
        policy.certificates.clear();
        let auxiliary = table(&[(table::VLEK, vlek), (table::ASK, asvk)]);
        let verified = check(
            &report,
            &auxiliary,
            [0x11; 64],
            &policy,
            &own_roots(),
            LATER,
        )
        .unwrap();
        assert_eq!(verified.machine, [chip; 64]);
        // a chip's certificate in a cloud's place, and the other way round
        let vcek = made::GENOA_VCEK;
        let auxiliary = table(&[(table::VLEK, vcek), (table::ASK, asvk)]);
        let refusal = check(
            &report,
            &auxiliary,
            [0x11; 64],
            &policy,
            &own_roots(),
            LATER,
        )
        .unwrap_err();
        assert_eq!(refusal, Refusal::NoCertificate);
    }
}

#[test]
fn a_certificate_that_is_no_authoritys_signs_for_nobody() {
    let mut roots = own_roots();
    roots.amd[0].intermediates = vec![made::NOT_AN_AUTHORITY.to_vec()];
    let report = sign(own_report());
    let policy = policy_of(&report, made::GENOA_VCEK);
    let refusal = check(&report, &[], [0x11; 64], &policy, &roots, LATER).unwrap_err();
    assert_eq!(refusal, Refusal::Chain(TeeKind::SevSnp));
}

#[test]
fn a_kind_without_a_policy_is_not_taken() {
    let report = TeeReport::new(TeeKind::SevSnp, REPORT.to_vec(), Vec::new()).unwrap();
    let expectations = Expectations {
        report_data: [0; 64],
        sev_snp: None,
        tdx: None,
        nitro: None,
    };
    let refusal =
        crate::tee_report::verify(&report, &expectations, &Roots::vendors(), THEN).unwrap_err();
    assert_eq!(refusal, Refusal::KindNotTaken(TeeKind::SevSnp));
}

proptest! {
    #[test]
    fn nothing_brings_the_parser_down(
        report in proptest::collection::vec(any::<u8>(), 0..1400),
        auxiliary in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let (recorded, vcek) = (REPORT, VCEK);
        let mut whole = recorded.to_vec();
        for (to, from) in whole.iter_mut().zip(&report) {
            *to = *from;
        }
        let policy = policy_of(recorded, vcek);
        for report in [&report, &whole] {
            if !report.is_empty() && report != recorded {
                prop_assert!(
                    check(report, &auxiliary, [0; 64], &policy, &Roots::vendors(), THEN).is_err()
                );
            }
        }
    }
}
