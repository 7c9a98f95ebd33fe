//! Network and clock of the node: links, addresses, routes, name servers, time.
//!
//! `netd [FILE]` reads the public part of the configuration from `FILE`, brings one Ethernet link
//! up, keeps its lease, keeps the clock, and tells `init` of it.

mod chosen;
mod clock;
mod clock_bounds;
mod dhcp;
mod last_time;
mod links;
mod network;
mod report;
mod resolver;
mod settings;
mod supervise;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use config::{MAXIMUM_LENGTH, PublicConfig};
use tracing::error;
use wire::child::EXIT_CONFIGURATION;

/// Where `init` puts the public part of the configuration.
const CONFIGURATION: &str = wire::paths::PUBLIC_CONFIGURATION;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .without_time()
        .with_ansi(false)
        .with_target(false)
        .with_writer(std::io::stderr)
        .init();
    let path = std::env::args_os()
        .nth(1)
        .map_or(CONFIGURATION.into(), PathBuf::from);
    let config = match read(&path) {
        Ok(config) => config,
        Err(error) => {
            error!("{error:#}");
            return ExitCode::from(EXIT_CONFIGURATION);
        }
    };
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: PublicConfig) -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime does not start")?
        .block_on(supervise::run(config))
}

fn read(path: &Path) -> Result<PublicConfig> {
    let shown = path.display().to_string();
    let file = File::open(path).with_context(|| format!("{shown} can't be opened"))?;
    let mut text = String::new();
    file.take(MAXIMUM_LENGTH as u64 + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("{shown} can't be read"))?;
    Ok(PublicConfig::parse(&shown, &text)?)
}
