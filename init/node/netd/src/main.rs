//! Network and clock of the node: links, addresses, routes, name servers, time.
//!
//! `netd [FILE]` reads the public part of the configuration from `FILE`, brings one Ethernet link
//! up, keeps its lease, keeps the clock, and tells `init` of it. Without that file it does what a
//! configuration without a word on network and time asks for: `init` starts it so where the network
//! may have the configuration.

mod chosen;
mod clock;
mod clock_bounds;
mod dhcp;
mod last_time;
mod links;
mod network;
mod publish;
mod resolver;
mod settings;
mod supervise;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use config::{MAXIMUM_LENGTH, NetworkConfig, NetworkMethod, PublicConfig, TimeServer};
use tracing::{error, info};
use wire::exit;

/// Where `init` puts the public part of the configuration.
const CONFIGURATION: &str = wire::paths::PUBLIC_CONFIGURATION;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .without_time()
        .with_ansi(false)
        .with_target(false)
        .with_writer(io::stderr)
        .init();
    let path = std::env::args_os()
        .nth(1)
        .map_or(CONFIGURATION.into(), PathBuf::from);
    let settings = match read(&path) {
        Ok(settings) => settings,
        Err(error) => {
            error!("{error:#}");
            return ExitCode::from(exit::CONFIGURATION);
        }
    };
    match run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(settings: NodeSettings) -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime does not start")?
        .block_on(supervise::run(settings))
}

/// What of a configuration this program goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
struct NodeSettings {
    network: NetworkConfig,
    time_servers: Vec<TimeServer>,
    /// The host name that a DHCP server is told; none before the node has one.
    node_id: Option<String>,
}

impl NodeSettings {
    /// What holds before there is a configuration.
    const UNCONFIGURED: Self = Self {
        network: NetworkConfig {
            interface: None,
            method: NetworkMethod::Dhcp,
            dns: Vec::new(),
        },
        time_servers: Vec::new(),
        node_id: None,
    };
}

fn read(path: &Path) -> Result<NodeSettings> {
    let shown = path.display().to_string();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            info!("no configuration yet: DHCP on the first link that has a server");
            return Ok(NodeSettings::UNCONFIGURED);
        }
        Err(error) => {
            return Err(error).with_context(|| format!("{shown} can't be opened"));
        }
    };
    let mut text = String::new();
    file.take(MAXIMUM_LENGTH as u64 + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("{shown} can't be read"))?;
    let config = PublicConfig::parse(&shown, &text)?;
    Ok(NodeSettings {
        network: config.network,
        time_servers: config.time_servers,
        node_id: Some(config.node_id),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_configuration_the_network_is_asked_for_everything() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("public.toml");
        assert_eq!(read(&path).expect("defaults"), NodeSettings::UNCONFIGURED);
        std::fs::write(&path, "version = 1\n").expect("written");
        assert!(read(&path).is_err(), "a broken one is no missing one");
    }
}
