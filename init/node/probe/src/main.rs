//! `probe`: asks containerd and the kubelet whether they work. See the crate's library.

use std::process::ExitCode;

fn main() -> ExitCode {
    log::to_parent();
    probe::run()
}
