//! The firmware's event log, replayed in every register, and its word on Secure Boot.
#![no_main]

use attest::event_log::{EventLog, secure_boot};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(log) = EventLog::parse(bytes) else {
        return;
    };
    for register in 0..24 {
        let _ = log.replay(register);
        for event in log.of(register) {
            let _ = event.is_hash_of_data();
        }
    }
    let _ = secure_boot::read(&log);
});
