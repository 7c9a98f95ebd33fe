//! The evidence of a node. What is read is written as the same.
#![no_main]

use attest::evidence::Evidence;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(evidence) = Evidence::from_bytes(bytes) {
        let written = evidence.to_bytes().expect("what was read can be written");
        assert_eq!(
            Evidence::from_bytes(&written).expect("what was written can be read"),
            evidence
        );
    }
});
