//! Reports as they travel.
#![no_main]

use attest::tee_report::{MAXIMUM_AUXILIARY, MAXIMUM_REPORT, TeeReport};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(report) = bcs::from_bytes::<TeeReport>(bytes) {
        assert!(report.bytes().len() <= MAXIMUM_REPORT);
        assert!(report.auxiliary().len() <= MAXIMUM_AUXILIARY);
        assert_eq!(bcs::to_bytes(&report).expect("BCS"), bytes);
    }
});
