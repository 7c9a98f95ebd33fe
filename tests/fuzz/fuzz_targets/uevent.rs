//! Events of the kernel's devices.
#![no_main]

use kernel::uevent;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(event) = uevent::Uevent::parse(bytes) {
        assert!(!event.action.is_empty() && event.device_path.starts_with('/'));
        let _ = (event.is_block_device(), event.get("MODALIAS"));
    }
});
