//! Settings of the staker: stake, master and key.

use std::net::SocketAddr;

use chain_types::{Address, ChainId, Mist, ObjectId};
use serde::{Deserialize, Serialize};
use wire::{NodeName, Secret, ServerUrl};

/// Settings of the staker. They hold the node's secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StakerSettings {
    /// The node's name in the cluster and on chain.
    pub node_name: NodeName,
    /// Where the stake is.
    pub chain: ChainConfig,
    /// Where the master is.
    pub master: MasterConfig,
    /// Where the status page listens.
    pub status_listen: SocketAddr,
    /// The node's secrets.
    pub identity: IdentityConfig,
}

/// Where the stake is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainConfig {
    /// Digest of the genesis checkpoint: pins the chain.
    pub chain_id: ChainId,
    /// Fullnodes that speak `sui.rpc.v2`, by order of preference.
    pub fullnodes: Vec<ServerUrl>,
    /// Root certificates for the fullnodes, in PEM; none: the web's.
    pub root_certificate: Option<String>,
    /// The Move package.
    pub package: ObjectId,
    /// The pool to stake in.
    pub pool: ObjectId,
    /// How much to stake.
    #[serde(rename = "stake_mist")]
    pub stake: Mist,
    /// `restake`, false unless given: whether a node whose stake was withdrawn stakes anew with the
    /// same key. Without it, a node whose stake was withdrawn stakes nothing and joins nothing; it
    /// says so, and what to do.
    pub restake: bool,
    /// `beneficiary`: the Sui address to which alone the stake and rewards are paid, and to which a node
    /// that leaves sends its other coins. None: the node's own, and they stay with the
    /// node's key.
    pub beneficiary: Option<Address>,
    /// `leave`, false unless given: whether the node gives its stake up. It runs nothing, asks for the
    /// stake, withdraws it when its time has come, sends all coins to `beneficiary`, and powers off. Goes
    /// before `restake`.
    pub leave: bool,
}

/// Where the master is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MasterConfig {
    /// Its URL.
    pub url: ServerUrl,
    /// The only root certificates that the master's is checked against, in PEM.
    pub root_certificate: String,
    /// The pool's directory of masters on the chain, which names the keys of those that count. None: the
    /// master's key can't be checked there.
    pub directory: Option<ObjectId>,
}

/// The node's secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityConfig {
    /// The node's Sui key, ed25519 or secp256r1, in either form of `sui keytool`: `suiprivkey1…`, or
    /// an entry of `sui.keystore`. Or [`IdentityConfig::TPM`].
    pub sui_key: Secret,
}

impl IdentityConfig {
    /// What stands in the place of a key that the TPM made, and that never leaves it.
    pub const TPM: &str = "tpm";

    /// Whether the key is the TPM's.
    #[must_use]
    pub fn is_in_tpm(&self) -> bool {
        self.sui_key.expose() == Self::TPM
    }
}
