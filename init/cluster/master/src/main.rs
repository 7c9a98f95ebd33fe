//! `master --config FILE`: see the crate's documentation.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::filter::LevelFilter;

/// Verifies the stakes of nodes on chain and hands out join tokens for the cluster.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration, a TOML file.
    #[arg(long)]
    config: PathBuf,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::INFO)
        .without_time()
        .with_ansi(false)
        .with_target(false)
        .with_writer(std::io::stderr)
        .init();
    match master::run(&Arguments::parse().config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!("{failure:#}");
            ExitCode::FAILURE
        }
    }
}
