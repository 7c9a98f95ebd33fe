//! The configuration file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use chain::{Address, ChainId, ObjectId};
use serde::Deserialize;

use crate::administration::Administration;

/// What the double is told. Times are in milliseconds, amounts in MIST.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Certificate chain of the server, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
    /// The chain it claims to serve.
    pub chain_id: ChainId,
    /// The package `k3s_daas`.
    pub package: ObjectId,
    /// The pool.
    pub pool: ObjectId,
    /// The cap that lets slash.
    pub slasher_cap: ObjectId,
    /// Time between checkpoints, and so the longest from execution to finality. 0: checkpoints
    /// are made by hand only ([`crate::Node::make_checkpoint`]).
    #[serde(default = "default_finality")]
    pub finality_ms: u64,
    /// Length of an epoch.
    #[serde(default = "default_epoch")]
    pub epoch_ms: u64,
    /// Price of a unit of gas.
    #[serde(default = "default_gas_price")]
    pub gas_price: u64,
    /// What there is from the beginning.
    pub genesis: Genesis,
}

/// What there is from the beginning.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// Least that a stake must hold.
    #[serde(default = "default_minimum")]
    pub minimum_stake_mist: u64,
    /// How long coins stay locked after the request to unstake.
    #[serde(default = "default_unbonding")]
    pub unbonding_ms: u64,
    /// How long seal tokens count.
    #[serde(default = "default_seal_token")]
    pub seal_token_ms: u64,
    /// Who owns the slasher cap, and the other capabilities too: on Sui, whoever publishes the
    /// package gets its slasher's and its administrator's.
    pub slasher: Address,
    /// Whether the pool takes no stakes until its administrator opens it.
    #[serde(default)]
    pub closed: bool,
    /// Accounts with coins.
    #[serde(default)]
    pub accounts: Vec<Account>,
}

/// An account and the coins it starts with, one object each.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// The account.
    pub address: Address,
    /// What each of its coins holds.
    pub coins_mist: Vec<u64>,
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("{path} is not a configuration of the fullnode double")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
}

impl Config {
    /// The objects by which the pool is administered.
    pub fn administration(&self) -> Administration {
        Administration::of(self.pool)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// Where it cannot be read, or does not hold what it should: line, field and reason.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        toml::from_str(&text).map_err(|source| ConfigError::Parse {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }
}

fn default_finality() -> u64 {
    250
}

fn default_epoch() -> u64 {
    24 * 60 * 60 * 1000
}

fn default_gas_price() -> u64 {
    1000
}

fn default_minimum() -> u64 {
    chain::Mist::PER_SUI
}

fn default_seal_token() -> u64 {
    30 * 24 * 60 * 60 * 1000
}

fn default_unbonding() -> u64 {
    24 * 60 * 60 * 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_read_and_a_wrong_field_named() {
        let id = |byte: u8| ObjectId::from_bytes([byte; 32]).to_string();
        let text = format!(
            r#"
            listen = "127.0.0.1:0"
            certificate = "leaf.pem"
            key = "leaf.key"
            chain_id = "4vJ9JU1bJJE96FWSJKvHsmmFADCg4gpZQff4P3bkLKi"
            package = "{}"
            pool = "{}"
            slasher_cap = "{}"
            [genesis]
            slasher = "{}"
            [[genesis.accounts]]
            address = "{}"
            coins_mist = [2_000_000_000, 5]
        "#,
            id(0xa1),
            id(0xb2),
            id(0xc3),
            id(5),
            id(6),
        );
        let config: Config = toml::from_str(&text).unwrap();
        assert_eq!(config.finality_ms, 250);
        assert_eq!(config.genesis.accounts[0].coins_mist, [2_000_000_000, 5]);
        let error = toml::from_str::<Config>(&text.replace("pool =", "poool =")).unwrap_err();
        assert!(error.to_string().contains("poool"), "{error}");
    }
}
