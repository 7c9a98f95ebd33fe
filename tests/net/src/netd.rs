//! netd for a network namespace: `netd-in-namespace SETTINGS`. Pairs of veth(4) are its links, and its files lie beside
//! the settings.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Long enough for a master that is there, short enough for a test to wait for.
const TRIAL: Duration = Duration::from_secs(12);

fn main() -> ExitCode {
    let settings = std::env::args_os()
        .nth(1)
        .map(PathBuf::from)
        .unwrap_or_default();
    let folder = settings.parent().map(PathBuf::from).unwrap_or_default();
    netd::main(&netd::Options {
        accept: netd::Accept::HardwareAndPairs,
        run: folder.join("run"),
        state: folder.join("state"),
        trial: TRIAL,
    })
}
