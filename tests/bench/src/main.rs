//! Measures a node beside other systems.

use std::process::ExitCode;

use bench::cli::CommandLine;
use clap::Parser;

fn main() -> ExitCode {
    harness::program::run("bench", CommandLine::parse().execute())
}
