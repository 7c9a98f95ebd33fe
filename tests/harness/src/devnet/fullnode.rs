//! The fullnode double's configuration.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use chain::{ChainId, NodeKey, ObjectId};
use serde::Serialize;

use super::certificates::Certificate;
use super::service::Service;
use super::{FUNDS, STAKE};

/// What a slasher's account holds: it only pays for gas.
const SLASHER_FUNDS: u64 = 1_000_000_000;

/// The chain at its beginning.
pub(super) struct Genesis {
    pub(super) chain_id: String,
    pub(super) package: String,
    pub(super) pool: String,
    pub(super) slasher_capability: String,
    node: String,
    slasher: String,
}

impl Genesis {
    /// A chain of its own, unlike any other's.
    pub(super) fn new(node: &NodeKey, slasher: &NodeKey) -> Result<Self> {
        let object = || anyhow::Ok(ObjectId::from_bytes(super::random()?).to_string());
        Ok(Self {
            chain_id: ChainId::from_bytes(super::random()?).to_string(),
            package: object()?,
            pool: object()?,
            slasher_capability: object()?,
            node: node.address().to_string(),
            slasher: slasher.address().to_string(),
        })
    }
}

#[derive(Serialize)]
struct Document<'a> {
    listen: String,
    certificate: &'a Path,
    key: &'a Path,
    chain_id: &'a str,
    package: &'a str,
    pool: &'a str,
    slasher_cap: &'a str,
    genesis: GenesisTable<'a>,
}

#[derive(Serialize)]
struct GenesisTable<'a> {
    minimum_stake_mist: u64,
    slasher: &'a str,
    accounts: [Account<'a>; 2],
}

#[derive(Serialize)]
struct Account<'a> {
    address: &'a str,
    coins_mist: Vec<u64>,
}

/// The double; it does not run yet.
pub(super) fn service(
    programs: &Path,
    directory: &Path,
    genesis: &Genesis,
    port: u16,
    certificate: &Certificate,
) -> Result<Service> {
    let document = Document {
        listen: format!("127.0.0.1:{port}"),
        certificate: &certificate.certificate,
        key: &certificate.key,
        chain_id: &genesis.chain_id,
        package: &genesis.package,
        pool: &genesis.pool,
        slasher_cap: &genesis.slasher_capability,
        genesis: GenesisTable {
            minimum_stake_mist: STAKE,
            slasher: &genesis.slasher,
            accounts: [
                // in two coins, so that the node has to put them together
                Account {
                    address: &genesis.node,
                    coins_mist: vec![STAKE / 2, FUNDS - STAKE / 2],
                },
                Account {
                    address: &genesis.slasher,
                    coins_mist: vec![SLASHER_FUNDS],
                },
            ],
        },
    };
    let text = toml::to_string(&document).context("the fullnode's configuration has no TOML")?;
    let path: PathBuf = directory.join("fullnode.toml");
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Service::new(
        "the fullnode double",
        programs.join("fullnode"),
        vec!["--config".into(), path.into()],
        "listening on ",
        directory.join("fullnode.log"),
    ))
}
