//! The sealed file. What is read is written byte for byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use seal::envelope::{Envelope, RecoveryKey};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(envelope) = Envelope::from_bytes(bytes) {
        assert_eq!(envelope.to_bytes(), bytes);
        let _ = envelope.policy().digest();
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = RecoveryKey::from_text(text);
    }
});
