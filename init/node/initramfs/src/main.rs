//! The program of the initramfs: the kernel's first, which finds and verifies the root, and hands over to
//! `init` on it.
#![deny(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used
)]
#![cfg_attr(not(test), deny(clippy::string_slice))]

mod boot;
mod measure;
mod root;

use std::process::ExitCode;

fn main() -> ExitCode {
    // The kernel's own arguments, which may stand on its command line, mean nothing here.
    if rustix::process::getpid().is_init() {
        boot::run()
    }
    log::to_parent();
    tracing::error!("initramfs runs as PID 1 of an initramfs, started by the kernel");
    ExitCode::from(2)
}
