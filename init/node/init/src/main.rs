//! PID 1 of the node: it mounts, starts, supervises, reaps, and powers off.
//!
//! What takes its time or needs more than that is a child: `provision` for the state disk, the
//! configuration, the boot phases and the reset; `netd`, `staker`, containerd and `k3s agent` for the rest.
#![deny(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used
)]
#![cfg_attr(not(test), deny(clippy::string_slice))]

mod cgroups;
mod event_loop;
mod identity;
mod node;
mod power;
mod read_ahead;
mod service;
mod setup;
mod status;
mod sysctls;
mod system;
mod wire_server;

use std::process::ExitCode;

fn main() -> ExitCode {
    // The kernel's own arguments, which may stand on its command line, mean nothing here.
    if rustix::process::getpid().is_init() {
        system::run()
    }
    log::to_parent();
    tracing::error!("init runs as PID 1, started by the initramfs");
    ExitCode::from(2)
}
