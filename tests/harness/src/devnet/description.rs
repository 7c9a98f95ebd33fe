//! `devnet.json`: what another process (`harness slash`, a person) needs to reach a running devnet.
//! Secrets are named by their files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use chain::{Chain, ChainSettings, NodeKey};
use serde::{Deserialize, Serialize};

/// The file's name in the devnet's directory.
const FILE: &str = "devnet.json";

/// A running devnet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Description {
    /// The chain's identifier.
    pub chain_id: String,
    /// The fullnode, as this host reaches it.
    pub fullnode: String,
    /// The master, as this host reaches it.
    pub master: String,
    /// The k3s server, as this host reaches it.
    pub server: String,
    /// `double`, or the path of the real k3s.
    pub k3s: String,
    /// The loopback port by which a test reaches into the k3s double.
    pub control_port: Option<u16>,
    /// The root certificate of all of them but the k3s server, PEM.
    pub root_certificate: PathBuf,
    /// The package's object id.
    pub package: String,
    /// The pool's object id.
    pub pool: String,
    /// The capability that slashes.
    pub slasher_capability: String,
    /// The capability that sets the pool's rules and lists masters.
    pub admin_capability: String,
    /// The capability that registers masters' keys.
    pub registrar_capability: String,
    /// The capability that approves and revokes releases.
    pub release_capability: String,
    /// The directory of masters.
    pub directory: String,
    /// The registry of releases.
    pub release_registry: String,
    /// The file with the slasher's key; the other capabilities are its account's too.
    pub slasher_key: PathBuf,
    /// The node's name.
    pub node_id: String,
    /// The file with the node's key.
    pub node_key: PathBuf,
    /// The node's account.
    pub node_address: String,
    /// The loopback port that leads to the node's `/health`, once a machine runs.
    pub health_port: Option<u16>,
    /// The socket at which whoever runs the machine takes requests.
    pub control: Option<PathBuf>,
}

impl Description {
    /// Writes `devnet.json`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let path = directory.join(FILE);
        let partial = directory.join(format!("{FILE}.new"));
        let text = serde_json::to_string_pretty(self).context("a description has no JSON")?;
        std::fs::write(&partial, text + "\n")
            .and_then(|()| std::fs::rename(&partial, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Reads `devnet.json`.
    ///
    /// # Errors
    /// When no devnet runs there.
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(FILE);
        let text = std::fs::read(&path).with_context(|| {
            format!(
                "no devnet runs ({} cannot be read); start one with ./build.sh run",
                path.display()
            )
        })?;
        serde_json::from_slice(&text)
            .with_context(|| format!("{} is not what this version writes", path.display()))
    }

    /// Takes the description away: the devnet is gone.
    pub fn remove(directory: &Path) {
        let _ = std::fs::remove_file(directory.join(FILE));
    }

    /// Connects to the devnet's chain.
    ///
    /// # Errors
    /// When the chain does not answer.
    pub async fn chain(&self) -> Result<Chain> {
        let root = std::fs::read_to_string(&self.root_certificate)
            .with_context(|| format!("cannot read {}", self.root_certificate.display()))?;
        let settings = ChainSettings::new(
            self.chain_id.parse()?,
            vec![self.fullnode.parse()?],
            Some(root),
            self.package.parse()?,
            self.pool.parse()?,
        )?;
        Chain::connect(&settings)
            .await
            .context("cannot reach the devnet's chain")
    }

    /// The key in a file of the devnet.
    ///
    /// # Errors
    /// When the file does not hold one.
    pub fn key(path: &Path) -> Result<NodeKey> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        NodeKey::from_suiprivkey(&text).with_context(|| format!("{} holds no key", path.display()))
    }
}
