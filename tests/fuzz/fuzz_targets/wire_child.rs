//! Messages between `init` and its children. What is read is written, and read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::child::{FromInit, ToInit, decode, encode};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = decode::<ToInit>(bytes) {
        // what is too long for a datagram is refused, as it was read without its optional parts
        if let Ok(written) = encode(&message) {
            assert_eq!(
                decode::<ToInit>(&written).expect("what was written"),
                message
            );
        }
    }
    if let Ok(message) = decode::<FromInit>(bytes)
        && let Ok(written) = encode(&message)
    {
        assert_eq!(
            decode::<FromInit>(&written).expect("what was written"),
            message
        );
    }
});
