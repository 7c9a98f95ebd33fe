//! Commands that the staker's user sends to the TPM's broker.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tpm_broker::allowed;
use tpm_broker::command::Command;

/// Commands that write what a TPM keeps: `TPM2_EvictControl`, `NV_UndefineSpace`, `Clear`,
/// `HierarchyChangeAuth`, `NV_Increment`, `PCR_Extend` (TPM 2.0 library, part 2, 6.5.2).
const DESTROYERS: [u32; 6] = [0x120, 0x122, 0x126, 0x129, 0x134, 0x182];

fuzz_target!(|bytes: &[u8]| {
    let Ok(command) = Command::parse(bytes) else {
        return;
    };
    let _ = command.code().to_string();
    if allowed::check(&command).is_ok() {
        assert!(!DESTROYERS.contains(&command.code().0));
        // the TPM finds the code where the broker found it
        assert_eq!(bytes[6..10], command.code().0.to_be_bytes());
    }
});
