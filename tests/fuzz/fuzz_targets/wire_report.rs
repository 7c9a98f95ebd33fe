//! The messages between the staker and who has reports made for it.
#![no_main]

use attest::tee_report::message::{MAXIMUM_ANSWER, ReportAnswer, ReportRequest};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = ReportRequest::from_bytes(bytes) {
        assert_eq!(request.to_bytes(), bytes);
    }
    if let Ok(answer) = ReportAnswer::from_bytes(bytes) {
        assert!(bytes.len() <= MAXIMUM_ANSWER);
        assert_eq!(answer.to_bytes().expect("within bounds"), bytes);
    }
});
