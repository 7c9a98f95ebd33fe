//! A node's configuration for the devnet.

use anyhow::{Context, Result};
use serde::Serialize;

/// QEMU's user networking shows this host's loopback to the machine under this address.
pub const HOST: &str = "10.0.2.2";
/// The same where the machine's network has IPv6 alone.
pub const HOST6: &str = "fd00:5::2";

/// `node.toml`, as a person would write it.
#[derive(Clone, Debug, Serialize)]
pub struct NodeConfiguration {
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    seal: Option<&'static str>,
    node: Node,
    time: Time,
    chain: Chain,
    identity: Identity,
    master: Master,
}

#[derive(Clone, Debug, Serialize)]
struct Node {
    id: String,
}

#[derive(Clone, Debug, Serialize)]
struct Time {
    servers: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Chain {
    chain_id: String,
    fullnodes: Vec<String>,
    root_certificate: String,
    package: String,
    pool: String,
    stake_mist: u64,
}

#[derive(Clone, Serialize)]
struct Identity {
    sui_key: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Identity { .. }")
    }
}

#[derive(Clone, Debug, Serialize)]
struct Master {
    url: String,
    root_certificate: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    directory: Option<String>,
}

/// What a node must know of the devnet.
pub struct Facts<'a> {
    /// The node's name.
    pub node_id: &'a str,
    /// The node's secret key, `suiprivkey1…`.
    pub sui_key: &'a str,
    /// The devnet's root certificate, PEM.
    pub root_certificate: &'a str,
    /// The chain's identifier.
    pub chain_id: &'a str,
    /// The package's object id.
    pub package: &'a str,
    /// The pool's object id.
    pub pool: &'a str,
    /// What to stake.
    pub stake_mist: u64,
    /// The ports of fullnode, master and time server on this host.
    pub fullnode_port: u16,
    /// The master's port.
    pub master_port: u16,
    /// The time server's port.
    pub time_port: u16,
}

impl NodeConfiguration {
    /// The configuration of a node of this devnet.
    pub fn new(facts: &Facts<'_>) -> Self {
        Self {
            version: 1,
            // a machine that QEMU starts by itself has measured nothing
            seal: Some("none"),
            node: Node {
                id: facts.node_id.to_owned(),
            },
            time: Time {
                servers: vec![format!("{HOST}:{}", facts.time_port)],
            },
            chain: Chain {
                chain_id: facts.chain_id.to_owned(),
                fullnodes: vec![format!("https://{HOST}:{}", facts.fullnode_port)],
                root_certificate: facts.root_certificate.to_owned(),
                package: facts.package.to_owned(),
                pool: facts.pool.to_owned(),
                stake_mist: facts.stake_mist,
            },
            identity: Identity {
                sui_key: facts.sui_key.to_owned(),
            },
            master: Master {
                url: format!("https://{HOST}:{}", facts.master_port),
                root_certificate: facts.root_certificate.to_owned(),
                directory: None,
            },
        }
    }

    /// From now on the master has to be in this directory on chain.
    pub fn look_in(&mut self, directory: &str) {
        self.master.directory = Some(directory.to_owned());
    }

    /// The same, for a machine whose boot is measured: it seals.
    #[must_use]
    pub fn sealed(mut self) -> Self {
        self.seal = None;
        self
    }

    /// The same, with the master at another port of this host.
    #[must_use]
    pub fn through(mut self, port: u16) -> Self {
        self.master.url = format!("https://{HOST}:{port}");
        self
    }

    /// The same, with a Sui key that the TPM makes.
    #[must_use]
    pub fn with_key_in_tpm(self) -> Self {
        self.with_key("tpm").sealed()
    }

    /// The same, with another Sui key.
    #[must_use]
    pub fn with_key(mut self, key: &str) -> Self {
        self.identity.sui_key = key.to_owned();
        self
    }

    /// The document.
    ///
    /// # Errors
    /// When a value has no form in TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).context("the node's configuration has no form in TOML")
    }
}
