//! Runs nodes in QEMU beside a devnet on this machine, and tests them.

use std::process::ExitCode;

use clap::Parser;
use harness::cli::CommandLine;

fn main() -> ExitCode {
    harness::program::run("harness", CommandLine::parse().execute())
}
