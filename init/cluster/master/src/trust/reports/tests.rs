//! On recorded reports of real machines, up to the vendors' roots: each is another machine's.

use std::fs;

use fixtures::recorded::{nitro as nitro_recorded, sev_snp as snp_recorded, tdx as tdx_recorded};

use super::*;

/// 2025-07-01: the collateral is of these days.
const TDX_THEN: u64 = 1_751_328_000;
/// 2024-06-01.
const SNP_THEN: u64 = 1_717_200_000;
/// When the document was made.
const NITRO_THEN: u64 = 1_736_179_625;

pub(crate) fn settings() -> ReportSettings {
    let path = Path::new("/srv/master.toml");
    ReportSettings::parse(path, Path::new("/srv"), Mode::Verified, None, None)
        .unwrap()
        .unwrap()
}

fn code(settings: &ReportSettings, report: &TeeReport, now: u64) -> RefusalCode {
    let reports = settings.load(Roots::vendors()).unwrap();
    let fault = reports
        .verifier
        .verify(report, &[1; 32], now)
        .expect_err("it is another machine's");
    assert!(fault.message.contains(' '), "{fault}");
    fault.code
}

#[test]
fn a_recorded_report_holds_and_is_over_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let chip = snp_recorded::MILAN_VCEK;
    let pem = pem_of(chip);
    let settings = ReportSettings {
        sev_snp_certificates: Some(file("chips.pem", pem.as_bytes())),
        tdx_collateral: Some(file("intel.json", tdx_recorded::V4_COLLATERAL)),
        ..settings()
    };
    for (kind, bytes, then) in [
        (TeeKind::SevSnp, snp_recorded::MILAN_REPORT, SNP_THEN),
        (TeeKind::Tdx, tdx_recorded::V4_QUOTE, TDX_THEN),
        (TeeKind::Nitro, nitro_recorded::DOCUMENT, NITRO_THEN),
    ] {
        let report = TeeReport::new(kind, bytes.to_vec(), Vec::new()).unwrap();
        assert_eq!(code(&settings, &report, then), RefusalCode::TeeReportData);
        // one bit of it changed
        let mut changed = bytes.to_vec();
        changed[bytes.len() / 2] ^= 1;
        let report = TeeReport::new(kind, changed, Vec::new()).unwrap();
        assert_eq!(code(&settings, &report, then), RefusalCode::TeeReport);
    }
}

pub(crate) fn pem_of(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

#[test]
fn what_quotes_are_judged_by_is_read_anew_and_missed_by_name() {
    let quote = TeeReport::new(TeeKind::Tdx, tdx_recorded::V4_QUOTE.to_vec(), Vec::new()).unwrap();
    // without collateral it is the master that can't tell
    let unavailable = RefusalCode::Unavailable;
    assert_eq!(code(&settings(), &quote, TDX_THEN), unavailable);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("intel.json");
    let settings = ReportSettings {
        tdx_collateral: Some(path.clone()),
        ..settings()
    };
    let absent = settings.load(Roots::vendors()).err().unwrap();
    assert!(matches!(absent, TrustError::File(_)), "{absent}");
    fs::write(&path, "{}").unwrap();
    let junk = settings.load(Roots::vendors()).err().unwrap();
    assert!(matches!(junk, TrustError::Collateral { .. }), "{junk}");
    assert!(junk.to_string().contains("intel.json"), "{junk}");
    fs::write(&path, tdx_recorded::V4_COLLATERAL).unwrap();
    let reports = settings.load(Roots::vendors()).unwrap();
    let verify = |now| {
        let verified = reports.verifier.verify(&quote, &[1; 32], now);
        verified.unwrap_err().code
    };
    assert_eq!(verify(TDX_THEN), RefusalCode::TeeReportData);
    // collateral of another year says nothing
    assert_eq!(verify(TDX_THEN + 400 * 86_400), RefusalCode::TeeReport);
    fs::remove_file(&path).unwrap();
    assert_eq!(verify(TDX_THEN), unavailable);
}

#[test]
fn a_file_of_chips_holds_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chips.pem");
    let settings = ReportSettings {
        sev_snp_certificates: Some(path.clone()),
        ..settings()
    };
    for wrong in [
        "",
        "junk",
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
    ] {
        fs::write(&path, wrong).unwrap();
        let error = settings.load(Roots::vendors()).err().unwrap();
        assert!(matches!(error, TrustError::Chips { .. }), "{error}");
    }
}
