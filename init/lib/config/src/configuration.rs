//! A configuration that was checked.

use std::net::SocketAddr;

use node_settings::{
    ChainConfig, IdentityConfig, MasterConfig, NetdSettings, NetworkConfig, StakerSettings,
    TimeServer,
};
use serde::Serialize;
use wire::NodeName;

/// The whole configuration of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// What anybody on the node may know.
    pub public: PublicConfig,
    /// What only the staker may know.
    pub identity: IdentityConfig,
}

/// The part of the configuration that holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PublicConfig {
    /// How the configuration's secrets are kept on the node.
    pub seal: SealMethod,
    /// Whether a recovery key is made when the configuration is sealed, and shown that once.
    pub recovery_key: bool,
    /// The node's name in the cluster, its host name, and its name on chain.
    pub node_id: NodeName,
    /// How the network comes up.
    pub network: NetworkConfig,
    /// Time servers; empty: those that DHCP names, else public ones.
    pub time_servers: Vec<TimeServer>,
    /// Where the stake is.
    pub chain: ChainConfig,
    /// Where the master is.
    pub master: MasterConfig,
    /// Where the status page listens.
    pub status_listen: SocketAddr,
}

/// How the configuration's secrets are kept on the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SealMethod {
    /// Sealed by the machine's TPM 2.0; a machine that can't do that takes no configuration.
    Tpm,
    /// In plaintext: whoever reads the disk has them. The node says so wherever it shows its status.
    None,
}

impl NodeConfig {
    /// The part that netd goes by.
    #[must_use]
    pub fn netd(&self) -> NetdSettings {
        NetdSettings {
            node_name: self.public.node_id.clone(),
            network: self.public.network.clone(),
            time_servers: self.public.time_servers.clone(),
            master: self.public.master.url.clone(),
        }
    }

    /// The part that the staker goes by, with the secrets.
    #[must_use]
    pub fn staker(&self) -> StakerSettings {
        StakerSettings {
            node_name: self.public.node_id.clone(),
            chain: self.public.chain.clone(),
            master: self.public.master.clone(),
            status_listen: self.public.status_listen,
            identity: self.identity.clone(),
        }
    }
}
