//! Reports of SEV-SNP: 1184 bytes, and behind them the host's table of certificates.
#![no_main]

use attest::tee_report::{TeeKind, TeeReport};
use attest_verify::tee_report::{Expectations, Roots, sev_snp, verify};
use libfuzzer_sys::fuzz_target;

const REPORT: usize = 1184;

fuzz_target!(|bytes: &[u8]| {
    let (report, table) = bytes.split_at(bytes.len().min(REPORT));
    let Ok(report) = TeeReport::new(TeeKind::SevSnp, report.to_vec(), table.to_vec()) else {
        return;
    };
    let expectations = Expectations {
        report_data: [0; 64],
        sev_snp: Some(sev_snp::Policy {
            measurements: Some(Vec::new()),
            minimum_tcb: sev_snp::Tcb::default(),
            maximum_vmpl: 3,
            host_data: None,
            certificates: Vec::new(),
        }),
        tdx: None,
        nitro: None,
    };
    // no measurement is approved
    assert!(verify(&report, &expectations, &Roots::vendors(), 1_717_200_000).is_err());
});
