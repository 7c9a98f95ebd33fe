//! `staker [CONFIGURATION]`: see the crate's documentation.

use std::path::PathBuf;
use std::process::ExitCode;

use tracing_subscriber::filter::LevelFilter;

/// Where `init configure` leaves the whole configuration, for this program alone.
const CONFIGURATION: &str = "/run/daas/config/staker.toml";

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::INFO)
        .without_time()
        .with_ansi(false)
        .with_target(false)
        .with_writer(std::io::stderr)
        .init();
    let path = std::env::args_os()
        .nth(1)
        .map_or_else(|| PathBuf::from(CONFIGURATION), PathBuf::from);
    match staker::run(&path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!("{failure:#}");
            ExitCode::FAILURE
        }
    }
}
