//! Network and clock of the node: links, addresses, routes, name servers, time.
//!
//! `netd [FILE]` reads its settings from `FILE`, as `provision` writes them, brings the node's links up, keeps their
//! leases, keeps the clock, and tells `init` of it. Without that file it does what a configuration without a word on
//! network and time asks for: `init` starts it so where the network may have the configuration.
//!
//! It is a library for the sake of its tests, which run it in network namespaces: there links are pairs made by
//! software, and files lie elsewhere. The program itself has no switch for either.

mod advertisements;
mod clock;
mod clock_bounds;
mod dhcp4;
mod dhcp6;
mod follow;
mod kept;
mod last_time;
mod links;
mod network;
mod plan;
mod publish;
mod receive;
mod repeats;
mod resolver;
mod settings;
mod supervise;
mod trial;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use node_settings::{NetdSettings, NetworkConfig, TimeServer};
use tracing::{error, info};
use wire::{NodeName, ServerUrl, exit, paths};

pub use links::Accept;

/// What a test runs otherwise than the node.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which links may be the node's own.
    pub accept: Accept,
    /// Where files for everybody on the node are left, on tmpfs.
    pub run: PathBuf,
    /// Where files outlive a boot, once the state disk is open.
    pub state: PathBuf,
    /// How long network settings have to reach the master before those of before come back.
    pub trial: std::time::Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            accept: Accept::Hardware,
            run: paths::NETD_RUN.into(),
            state: paths::NETD_STATE.into(),
            trial: trial::BOUND,
        }
    }
}

/// The program: reads the file that the first argument names, and runs until a signal says to stop.
#[must_use]
pub fn main(options: &Options) -> ExitCode {
    tracing_subscriber::fmt()
        .without_time()
        .with_ansi(false)
        .with_target(false)
        .with_writer(io::stderr)
        .init();
    let path = std::env::args_os()
        .nth(1)
        .map_or(paths::NETD_SETTINGS.into(), PathBuf::from);
    let settings = match read(&path) {
        Ok(settings) => settings,
        Err(error) => {
            error!("{error:#}");
            return ExitCode::from(exit::CONFIGURATION);
        }
    };
    match run(settings, options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(settings: NodeSettings, options: &Options) -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime does not start")?
        .block_on(supervise::run(settings, options))
}

/// The part of a configuration that is for this program.
#[derive(Debug, Clone, PartialEq, Eq)]
struct NodeSettings {
    network: NetworkConfig,
    time_servers: Vec<TimeServer>,
    /// The host name that is sent to DHCP servers; none before the node has one.
    node_name: Option<NodeName>,
    /// The master; none before the node has one.
    master: Option<ServerUrl>,
}

impl NodeSettings {
    /// What holds before there is a configuration.
    fn unconfigured() -> Self {
        Self {
            network: NetworkConfig::automatic(),
            time_servers: Vec::new(),
            node_name: None,
            master: None,
        }
    }
}

fn read(path: &Path) -> Result<NodeSettings> {
    match node_settings::read::<NetdSettings>(path) {
        Ok(settings) => Ok(NodeSettings {
            network: settings.network,
            time_servers: settings.time_servers,
            node_name: Some(settings.node_name),
            master: Some(settings.master),
        }),
        Err(error) if error.is_not_found() => {
            info!(
                "no configuration yet: the link that leads furthest, by DHCP and router advertisements"
            );
            Ok(NodeSettings::unconfigured())
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
        assert_eq!(read(&path).expect("defaults"), NodeSettings::unconfigured());
        std::fs::write(&path, "{}").expect("written");
        assert!(read(&path).is_err(), "a broken one is no missing one");
    }
}
