//! Network and clock of the node: links, addresses, routes, name servers, time.
//!
//! `netd [FILE]` reads its settings from `FILE`, as `provision` writes them, brings one Ethernet link
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

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use node_settings::{NetdSettings, NetworkConfig, NetworkMethod, TimeServer};
use tracing::{error, info};
use wire::NodeName;
use wire::exit;
use wire::paths::NETD_SETTINGS;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .without_time()
        .with_ansi(false)
        .with_target(false)
        .with_writer(io::stderr)
        .init();
    let path = std::env::args_os()
        .nth(1)
        .map_or(NETD_SETTINGS.into(), PathBuf::from);
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

/// The part of a configuration that is for this program.
#[derive(Debug, Clone, PartialEq, Eq)]
struct NodeSettings {
    network: NetworkConfig,
    time_servers: Vec<TimeServer>,
    /// The host name that a DHCP server is told; none before the node has one.
    node_name: Option<NodeName>,
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
        node_name: None,
    };
}

fn read(path: &Path) -> Result<NodeSettings> {
    match node_settings::read::<NetdSettings>(path) {
        Ok(settings) => Ok(NodeSettings {
            network: settings.network,
            time_servers: settings.time_servers,
            node_name: Some(settings.node_name),
        }),
        Err(error) if error.is_not_found() => {
            info!("no configuration yet: DHCP on the first link that has a server");
            Ok(NodeSettings::UNCONFIGURED)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_configuration_the_network_is_asked_for_everything() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("netd.json");
        assert_eq!(read(&path).expect("defaults"), NodeSettings::UNCONFIGURED);
        std::fs::write(&path, "{}").expect("written");
        assert!(read(&path).is_err(), "a broken one is no missing one");
    }
}
