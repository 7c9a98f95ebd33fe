//! The program `netd`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    netd::main(&netd::Options::default())
}
