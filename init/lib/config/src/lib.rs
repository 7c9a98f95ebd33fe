//! The node's configuration: one TOML document, typed at the edge.
//!
//! [`NodeConfig::parse`] takes the whole document, [`PublicConfig::parse`] the part without
//! secrets that [`NodeConfig::public_toml`] gives. Whatever is wrong is told with file, line, field,
//! what was expected, and what to do; the values of secret fields are never repeated.

mod certificates;
mod cloud;
mod document;
mod error;
mod redaction;
mod schema;
mod values;

use std::net::{Ipv4Addr, SocketAddr};

use wire::Secret;

pub use cloud::Cloud;
pub use error::{ConfigError, Problem};
pub use values::{Interface, Ipv4Cidr, TimeServer};

/// The version of the schema that this release reads.
pub const VERSION: i64 = 1;
/// The longest document, in bytes.
pub const MAXIMUM_LENGTH: usize = 64 * 1024;
/// The longest user data that a cloud may hand over, in bytes: room for the longest document, sealed, in
/// base64.
pub const MAXIMUM_USER_DATA: usize = 128 * 1024;
/// Where the program `metadata` leaves the user data of a cloud for `init configure`.
pub const METADATA_FILE: &str = "/run/daas/metadata/user-data";
/// The smallest stake: 1 SUI, in MIST.
pub const MINIMUM_STAKE_MIST: u64 = 1_000_000_000;
/// Where the status page listens unless the configuration says otherwise.
pub const DEFAULT_STATUS_LISTEN: &str = "0.0.0.0:8090";

/// The whole configuration of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// What anybody on the node may know.
    pub public: PublicConfig,
    /// What only the staker may know.
    pub identity: IdentityConfig,
    /// The document without its secrets, for [`PublicConfig::parse`].
    pub public_toml: String,
}

/// The part of the configuration that holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicConfig {
    /// How the configuration's secrets are kept on the node.
    pub seal: SealMethod,
    /// Whether a recovery key is made when the configuration is sealed, and shown that once.
    pub recovery_key: bool,
    /// The node's name in the cluster, its host name, and its name on chain: an RFC 1123 label.
    pub node_id: String,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealMethod {
    /// Sealed by the machine's TPM 2.0; a machine that can't do that takes no configuration.
    Tpm,
    /// In the plain: whoever reads the disk has them. The node says so wherever it shows its status.
    None,
}

/// How the network comes up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkConfig {
    /// The one link to use; none: the first Ethernet link that gets an address.
    pub interface: Option<Interface>,
    /// Where the address comes from.
    pub method: NetworkMethod,
    /// Name servers; they come before those of DHCP.
    pub dns: Vec<Ipv4Addr>,
}

/// Where the address comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkMethod {
    /// From a DHCP server (RFC 2131).
    Dhcp,
    /// From the configuration.
    Static {
        /// Address and prefix length.
        address: Ipv4Cidr,
        /// The default route.
        gateway: Option<Ipv4Addr>,
    },
}

/// Where the stake is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainConfig {
    /// Digest of the genesis checkpoint, in base58: pins the chain.
    pub chain_id: String,
    /// `https` URLs of fullnodes that speak `sui.rpc.v2`.
    pub fullnodes: Vec<String>,
    /// Root certificates for the fullnodes, in PEM; none: the web's.
    pub root_certificate: Option<String>,
    /// The Move package: `0x` and 64 hexadecimal digits.
    pub package: String,
    /// The pool to stake in: `0x` and 64 hexadecimal digits.
    pub pool: String,
    /// How much to stake, in MIST.
    pub stake_mist: u64,
    /// `restake`, false unless given: whether a node whose stake was withdrawn stakes anew with the
    /// same key. Without it, a node whose stake was withdrawn stakes nothing and joins nothing; it
    /// says so, and what to do.
    pub restake: bool,
    /// `payout`: the Sui address that a node which leaves sends its coins to, `0x` and 64 hexadecimal
    /// digits. None: they stay with the node's key.
    pub payout: Option<String>,
    /// `leave`, false unless given: whether the node gives its stake up. It runs nothing, asks for the
    /// stake, withdraws it when its time has come, sends all coins to `payout`, and powers off. Goes
    /// before `restake`.
    pub leave: bool,
}

/// Where the master is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasterConfig {
    /// An `https` URL.
    pub url: String,
    /// The only root certificates that the master's is checked against, in PEM.
    pub root_certificate: String,
    /// The pool's directory of masters on the chain, which names the keys of those that count:
    /// `0x` and 64 hexadecimal digits. None: the master's key can't be checked there.
    pub directory: Option<String>,
}

/// The node's secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityConfig {
    /// The node's Sui key, ed25519 or secp256r1, in either form of `sui keytool`: `suiprivkey1…`, or
    /// an entry of `sui.keystore`. Or [`IdentityConfig::TPM`].
    pub sui_key: Secret,
}

impl IdentityConfig {
    /// What stands in the place of a key that is born in the TPM, and never leaves it.
    pub const TPM: &str = "tpm";

    /// Whether the key is the TPM's.
    #[must_use]
    pub fn is_in_tpm(&self) -> bool {
        self.sui_key.expose() == Self::TPM
    }
}

impl NodeConfig {
    /// Reads the whole document. `source` is what errors call the file.
    ///
    /// # Errors
    /// [`ConfigError`] with every problem that was found.
    pub fn parse(source: &str, text: &str) -> Result<Self, ConfigError> {
        schema::parse_node(source, text)
    }
}

impl PublicConfig {
    /// Reads the document that [`NodeConfig::public_toml`] gave. `source` is what errors call it.
    ///
    /// # Errors
    /// [`ConfigError`] with every problem that was found; a document with secrets is one.
    pub fn parse(source: &str, text: &str) -> Result<Self, ConfigError> {
        schema::parse_public(source, text)
    }
}

#[cfg(test)]
mod tests;
