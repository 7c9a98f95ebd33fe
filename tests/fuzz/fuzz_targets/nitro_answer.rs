//! Answers of the Nitro Security Module.
#![no_main]

use attest::tee_report::nitro_message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(document) = nitro_message::document(bytes) {
        assert!(document.len() < bytes.len());
    }
});
