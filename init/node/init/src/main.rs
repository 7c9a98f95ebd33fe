//! PID 1 of the node: one binary that knows by context what it is.
//!
//! - As PID 1 where there is no os-release, it is in the initramfs: it finds and verifies the root.
//! - As PID 1 on the root, it is the system's init: it mounts, starts, supervises, reaps, and
//!   powers off.
//! - With an argument, it is a task that PID 1 started as a child, so that PID 1 never waits.
#![deny(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unreachable,
    clippy::unwrap_used
)]
#![cfg_attr(
    test,
    allow(
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unwrap_used,
        reason = "a test fails by panicking"
    )
)]

mod block_devices;
mod cgroups;
mod command_line;
mod configure;
mod corruption;
mod event_loop;
mod failure;
mod files;
mod gpt;
mod identity;
mod initramfs;
mod log;
mod measure;
mod measured_boot;
mod modules;
mod mounts;
mod node;
mod owner;
mod power;
mod report;
mod reset;
mod sealing;
mod service;
mod setup;
mod state;
mod status;
mod sysctls;
mod system;
mod system_partition;
mod timeline;
mod tpm_device;
mod uevent;
mod wire_server;

#[cfg(test)]
use fixtures::software_tpm;

use std::env;
use std::path::Path;
use std::process::ExitCode;

/// Where the root has it, and the initramfs has not.
const OS_RELEASE: &str = "/usr/lib/os-release";

fn main() -> ExitCode {
    if rustix::process::getpid().is_init() {
        // The kernel's own arguments, which may stand on its command line, mean nothing here.
        if Path::new(OS_RELEASE).exists() {
            system::run()
        } else {
            initramfs::run()
        }
    }
    log::to_parent();
    match env::args().nth(1).as_deref() {
        Some("state") => state::run(),
        Some("configure") => configure::run(),
        Some("measure") => measure::run(),
        Some("report") => report::run(),
        _ => {
            tracing::error!(
                "init runs as PID 1, or as `init state`, `init configure`, `init measure` or `init report` \
                 below it"
            );
            ExitCode::from(2)
        }
    }
}
