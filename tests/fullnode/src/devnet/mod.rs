//! A devnet in this process, for tests: a double over TLS, and clients of it. Panics where it can't be
//! had.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

pub mod bench;
mod proxy;
pub mod raw;

use std::time::Duration;

use chain::{
    Address, Chain, ChainId, ChainSettings, Mist, NodeKey, ObjectId, StakeWatch, WatchEvent,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use crate::{Account, Config, Genesis, Node, Running, serve};

pub use proxy::Proxy;
pub use raw::Raw;

/// The name of the node that stakes.
pub const NODE: &str = "edge-0001";
/// One SUI, in MIST.
pub const SUI: u64 = Mist::PER_SUI;

/// Nothing here takes this long; a test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A chain with one fullnode, an operator with coins, and a slasher.
pub struct Devnet {
    /// What the double holds.
    pub node: Node,
    /// Its server.
    pub running: Running,
    /// What it was made of.
    pub config: Config,
    /// The root of its certificate.
    pub root_pem: String,
    /// Who stakes.
    pub operator: NodeKey,
    /// Who slashes.
    pub slasher: NodeKey,
    _files: TempDir,
}

impl Devnet {
    /// A devnet on which the operator has these coins (in MIST).
    pub async fn with_coins(coins: &[u64]) -> Self {
        Self::with(coins, |_config| {}).await
    }

    /// The same, of another configuration.
    pub async fn with(coins: &[u64], change: impl FnOnce(&mut Config)) -> Self {
        let (operator, slasher) = (NodeKey::generate().unwrap(), NodeKey::generate().unwrap());
        let files = TempDir::new().unwrap();
        let root_pem = write_certificates(&files);
        let mut config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            certificate: files.path().join("leaf.pem"),
            key: files.path().join("leaf.key"),
            chain_id: ChainId::from_bytes([7; 32]),
            package: ObjectId::from_bytes([0xa1; 32]),
            pool: ObjectId::from_bytes([0xb2; 32]),
            slasher_cap: ObjectId::from_bytes([0xc3; 32]),
            finality_ms: 20,
            epoch_ms: 24 * 60 * 60 * 1000,
            gas_price: 1000,
            genesis: Genesis {
                closed: false,
                minimum_stake_mist: SUI,
                unbonding_ms: 60 * 60 * 1000,
                seal_token_ms: 30 * 24 * 60 * 60 * 1000,
                slasher: slasher.address(),
                accounts: vec![
                    Account {
                        address: operator.address(),
                        coins_mist: coins.to_vec(),
                    },
                    Account {
                        address: slasher.address(),
                        coins_mist: vec![SUI, SUI],
                    },
                ],
            },
        };
        change(&mut config);
        let node = Node::new(&config);
        let running = serve(&node, &config).await.unwrap();
        Self {
            node,
            running,
            config,
            root_pem,
            operator,
            slasher,
            _files: files,
        }
    }

    /// Where it answers.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.running.address().port())
    }

    /// Another fullnode that begins with the same genesis, and knows nothing of this one.
    pub async fn twin(&self) -> (Running, String) {
        let running = serve(&Node::new(&self.config), &self.config).await.unwrap();
        let url = format!("https://localhost:{}", running.address().port());
        (running, url)
    }

    /// For a client of it.
    pub fn settings(&self) -> ChainSettings {
        self.settings_for(&[self.url()])
    }

    /// For a client of these fullnodes.
    pub fn settings_for(&self, urls: &[String]) -> ChainSettings {
        ChainSettings::new(
            self.config.chain_id,
            urls.iter().map(|url| url.parse().unwrap()).collect(),
            Some(self.root_pem.clone()),
            self.config.package,
            self.config.pool,
        )
        .unwrap()
    }

    /// A client of it.
    pub async fn chain(&self) -> Chain {
        Chain::connect(&self.settings()).await.unwrap()
    }

    /// A client without manners.
    pub async fn raw(&self) -> Raw {
        Raw::connect(self)
    }

    /// A client, and the stake of [`NODE`].
    pub async fn staked(&self) -> (Chain, chain::Stake) {
        let chain = self.chain().await;
        let stake = within(chain.stake(&self.operator, NODE, Mist(SUI), self.operator.address()))
            .await
            .unwrap();
        (chain, stake)
    }

    /// Slashes on behalf of the slasher, from a connection of its own.
    pub async fn slash(&self, record: ObjectId, basis_points: u64, reason: u16) {
        let chain = self.chain().await;
        within(chain.slash(
            &self.slasher,
            self.config.slasher_cap,
            record,
            basis_points,
            reason,
        ))
        .await
        .unwrap();
    }

    /// What an account can spend.
    pub async fn balance(&self, address: Address) -> Mist {
        self.chain().await.balance(address).await.unwrap()
    }
}

/// Fails a test that hangs, instead of hanging with it.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it takes too long")
}

/// The watch's next news.
pub async fn next(watch: &mut StakeWatch) -> WatchEvent {
    within(watch.next()).await.expect("the watch ended")
}

fn write_certificates(files: &TempDir) -> String {
    let mut root = CertificateParams::new(Vec::new()).unwrap();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])
        .unwrap()
        .signed_by(&key, &root)
        .unwrap();
    std::fs::write(files.path().join("leaf.pem"), leaf.pem()).unwrap();
    std::fs::write(files.path().join("leaf.key"), key.serialize_pem()).unwrap();
    root.pem()
}
