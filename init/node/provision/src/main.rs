//! Root's tasks on a node: each a child of PID 1 that ends, so that PID 1 never waits and holds no code
//! for disks, configurations or the TPM.
#![deny(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used
)]
#![cfg_attr(not(test), deny(clippy::string_slice))]

mod configure;
mod hand_over;
mod last_end;
mod machine_id;
mod measure;
mod owner;
mod phase;
mod recovery;
mod reset;
mod sealing;
mod state;
mod step;
mod system_partition;
mod tpm_address;

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    log::to_parent();
    match env::args().nth(1).as_deref() {
        Some("state") => state::run(),
        Some("configure") => configure::run(),
        Some("measure") => measure::run(),
        Some("last-end") => last_end::run(),
        Some("reset") => reset::run(),
        _ => {
            tracing::error!(
                "expected one argument: `provision state`, `provision configure`, `provision measure`, \
                 `provision last-end` or `provision reset`; PID 1 starts them"
            );
            ExitCode::from(2)
        }
    }
}
