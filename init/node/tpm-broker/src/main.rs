//! `tpm-broker`: passes the TPM commands that the staker needs, and no other. See the crate's library.

use std::process::ExitCode;

fn main() -> ExitCode {
    log::to_parent();
    tpm_broker::run()
}
