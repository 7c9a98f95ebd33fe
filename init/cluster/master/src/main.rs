//! `master --config FILE`, `master --print-admission`: see the crate's documentation.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::filter::LevelFilter;

/// Verifies the stakes of nodes on chain and hands out join tokens for the cluster.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration, a TOML file.
    #[arg(long, required_unless_present = "print_admission")]
    config: Option<PathBuf>,
    /// Prints the objects by which the API server lets those Nodes alone be created that the master
    /// has let in, for `kubectl apply`, and ends.
    #[arg(long, conflicts_with = "config")]
    print_admission: bool,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::INFO)
        .without_time()
        .with_ansi(false)
        .with_target(false)
        .with_writer(std::io::stderr)
        .init();
    let Some(config) = Arguments::parse().config else {
        println!("{}", master::admission_manifest());
        return ExitCode::SUCCESS;
    };
    match master::run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!("{failure:#}");
            ExitCode::FAILURE
        }
    }
}
