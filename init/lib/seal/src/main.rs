//! `seal`: makes sealed configurations, on any machine, for one.

mod program;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match program::run(program::Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("seal: {error:#}");
            ExitCode::FAILURE
        }
    }
}
