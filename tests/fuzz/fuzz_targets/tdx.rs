//! Quotes of TDX, and the collateral that they are judged by.
#![no_main]

use std::sync::OnceLock;

use attest::tee_report::{TeeKind, TeeReport};
use attest_verify::tee_report::tdx::{self, Collateral};
use attest_verify::tee_report::{Expectations, Roots, verify};
use libfuzzer_sys::fuzz_target;

static COLLATERAL: &[u8] = include_bytes!("../tdx.collateral.json");

fuzz_target!(|bytes: &[u8]| {
    static PARSED: OnceLock<Collateral> = OnceLock::new();
    let collateral =
        PARSED.get_or_init(|| Collateral::from_json(COLLATERAL).expect("the recorded one"));
    let _ = Collateral::from_json(bytes);
    let Ok(report) = TeeReport::new(TeeKind::Tdx, bytes.to_vec(), Vec::new()) else {
        return;
    };
    let expectations = Expectations {
        report_data: [0; 64],
        sev_snp: None,
        tdx: Some(tdx::Policy {
            images: Some(Vec::new()),
            collateral: Some(collateral.clone()),
            statuses: Vec::new(),
            advisories: Vec::new(),
        }),
        nitro: None,
    };
    // no standing is allowed, and no image approved
    assert!(verify(&report, &expectations, &Roots::vendors(), 1_751_328_000).is_err());
});
