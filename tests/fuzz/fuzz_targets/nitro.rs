//! Documents of AWS Nitro Enclaves.
#![no_main]

use std::time::Duration;

use attest::tee_report::{TeeKind, TeeReport};
use attest_verify::tee_report::{Expectations, Roots, nitro, verify};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(report) = TeeReport::new(TeeKind::Nitro, bytes.to_vec(), Vec::new()) else {
        return;
    };
    let expectations = Expectations {
        report_data: [0; 64],
        sev_snp: None,
        tdx: None,
        nitro: Some(nitro::Policy {
            images: Some(Vec::new()),
            user_data: None,
            maximum_age: Duration::from_secs(60),
        }),
    };
    // no image is approved
    assert!(verify(&report, &expectations, &Roots::vendors(), 1_736_179_625).is_err());
});
