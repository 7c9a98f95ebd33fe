//! The devnet: everything that a node needs around it, on this host's loopback: a Sui fullnode (a
//! double), a master (the real one), a k3s server (a double or a real one), and a time server.

pub mod certificates;
pub mod cluster;
pub mod description;
pub mod evidence;
pub mod node;
pub mod relay;
pub mod service;

mod administration;
mod fullnode;
mod identity;
mod master;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use chain::{Address, Chain, Executed, Mist, NodeKey, ObjectId, Stake};

pub use administration::register_master;
pub use cluster::{Cluster, K3s};
pub use description::Description;

use crate::interceptor::Interceptor;
use crate::time_server::TimeServer;
use certificates::{Authority, Certificate, write_secret};
use node::{Facts, HOST, HOST6, NodeConfiguration};
use relay::Relays;
use service::{Service, free_port};

/// What the node stakes, and what the pool asks for at least: 1 SUI.
pub const STAKE: u64 = 1_000_000_000;
/// What the node's account holds at the beginning: enough for two stakes, so that a node that
/// staked twice would be seen to.
pub const FUNDS: u64 = 5_000_000_000;
/// Why the harness slashes; the contracts leave the meaning of reasons to the slasher.
const REASON: u16 = 1;

/// What to start.
#[derive(Clone, Debug)]
pub struct DevnetOptions {
    /// The folder of the built programs.
    pub programs: PathBuf,
    /// Which k3s.
    pub k3s: K3s,
    /// The node's name.
    pub node_id: String,
    /// A folder for its files. Secrets in it are for their owner alone.
    pub directory: PathBuf,
    /// Whether nodes have IPv6 alone.
    pub ipv6_alone: bool,
}

/// A devnet. Its services end when it is dropped.
pub struct Devnet {
    directory: PathBuf,
    description: Description,
    node_key: NodeKey,
    /// The record of a node whose key is in its TPM.
    record: OnceLock<ObjectId>,
    configuration: NodeConfiguration,
    root_pem: String,
    master_port: u16,
    master_certificate: Certificate,
    other_certificate: Certificate,
    _time: TimeServer,
    _relays: Option<Relays>,
    _lock: std::fs::File,
    /// The fullnode's double.
    pub fullnode: Service,
    /// The master.
    pub master: Service,
    /// The k3s server.
    pub cluster: Cluster,
}

impl Devnet {
    /// Starts every service.
    ///
    /// # Errors
    /// When one does not start, with what it wrote.
    pub async fn start(options: &DevnetOptions) -> Result<Self> {
        let mut devnet = Self::prepare(options).await?;
        devnet.cluster.service.start().await?;
        devnet.start_rest().await?;
        Ok(devnet)
    }

    /// Writes the files of a devnet, with only its k3s server and its time server running: no
    /// chain and no master answers yet.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_without_chain_and_master(options: &DevnetOptions) -> Result<Self> {
        let mut devnet = Self::prepare(options).await?;
        devnet.cluster.service.start().await?;
        Ok(devnet)
    }

    /// Starts the chain and the master where they do not run.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_rest(&mut self) -> Result<()> {
        // by which the master has tokens made: without it no node could join
        self.cluster.let_master_in().await?;
        self.fullnode.start().await?;
        self.master.start().await
    }

    async fn prepare(options: &DevnetOptions) -> Result<Self> {
        let directory = &options.directory;
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        let lock = lock(directory)?;
        // what a former run left behind describes nothing any more
        Description::remove(directory);
        let authority = Authority::new()?;
        let root_certificate = directory.join("ca.crt");
        std::fs::write(&root_certificate, authority.pem())
            .context("cannot write the devnet's CA")?;
        let mut time = TimeServer::start().await?;
        let node_key = NodeKey::generate()?;
        let slasher_key = NodeKey::generate()?;
        let [node_key_file, slasher_key_file] =
            [("node.suikey", &node_key), ("slasher.suikey", &slasher_key)].map(|(name, key)| {
                let path = directory.join(name);
                key.to_suiprivkey()
                    .map_err(anyhow::Error::from)
                    .and_then(|text| write_secret(&path, &text))
                    .map(|()| path)
            });

        let genesis = fullnode::Genesis::new(&node_key, &slasher_key)?;
        let administration = ::fullnode::Administration::of(genesis.pool.parse()?);
        let fullnode_port = free_port()?;
        let fullnode = fullnode::service(
            &options.programs,
            directory,
            &genesis,
            fullnode_port,
            &authority.issue("fullnode", directory)?,
        )?;
        let cluster = Cluster::new(
            &options.k3s,
            &options.programs,
            directory,
            &hex::encode(random::<16>()?),
            if options.ipv6_alone { HOST6 } else { HOST },
        )?;
        cluster.restrict_nodes(&options.programs.join("master"))?;
        let master_port = free_port()?;
        let description = Description {
            chain_id: genesis.chain_id.clone(),
            fullnode: format!("https://127.0.0.1:{fullnode_port}"),
            master: format!("https://127.0.0.1:{master_port}"),
            server: format!("https://127.0.0.1:{}", cluster.port()),
            k3s: match &options.k3s {
                K3s::Double => "double".to_owned(),
                K3s::Real(path) => path.display().to_string(),
            },
            control_port: cluster.control_port(),
            root_certificate,
            package: genesis.package.clone(),
            pool: genesis.pool.clone(),
            slasher_capability: genesis.slasher_capability.clone(),
            admin_capability: administration.admin_cap.to_string(),
            registrar_capability: administration.registrar_cap.to_string(),
            release_capability: administration.release_cap.to_string(),
            directory: administration.directory.to_string(),
            release_registry: administration.release_registry.to_string(),
            slasher_key: slasher_key_file?,
            node_id: options.node_id.clone(),
            node_key: node_key_file?,
            node_address: node_key.address().to_string(),
            health_port: None,
            control: None,
        };
        let master_certificate = authority.issue("master", directory)?;
        let other_certificate = authority.issue("somebody", directory)?;
        let master = master::service(
            &options.programs,
            directory,
            &description,
            authority.pem(),
            master_port,
            &cluster,
            &master_certificate,
        )?;
        let configuration = NodeConfiguration::new(&Facts {
            node_id: &options.node_id,
            sui_key: &node_key.to_suiprivkey()?,
            root_certificate: authority.pem(),
            chain_id: &genesis.chain_id,
            package: &genesis.package,
            pool: &genesis.pool,
            stake_mist: STAKE,
            fullnode_port,
            master_port,
            time_port: time.port(),
        });
        let mut relays = None;
        if options.ipv6_alone {
            let ports = [fullnode_port, master_port, cluster.port()];
            relays = Some(Relays::start(&ports).await?);
            time.listen_on_ipv6().await?;
        }
        Ok(Self {
            directory: directory.clone(),
            description,
            node_key,
            record: OnceLock::new(),
            configuration,
            root_pem: authority.pem().to_owned(),
            master_port,
            master_certificate,
            other_certificate,
            _time: time,
            _relays: relays,
            _lock: lock,
            fullnode,
            master,
            cluster,
        })
    }

    /// Somebody between nodes and the master: with a certificate of his own that the devnet's root vouches
    /// for, or with the master's own key.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn intercept(&self, has_the_masters_key: bool) -> Result<Interceptor> {
        let certificate = match has_the_masters_key {
            true => &self.master_certificate,
            false => &self.other_certificate,
        };
        Interceptor::start(certificate, &self.root_pem, self.master_port).await
    }

    /// As [`Self::sealed_node_toml`], for a node that is led to somebody else in the master's place.
    ///
    /// # Errors
    /// When it has no form in TOML.
    pub fn node_toml_through(&self, interceptor: &Interceptor) -> Result<String> {
        self.configuration
            .clone()
            .sealed()
            .through(interceptor.port())
            .to_toml()
    }

    /// The folder of its files.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What another process needs to know of it.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Notes the port of the node's status page and writes `devnet.json`, so that another process
    /// can reach this devnet.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_health_port(&mut self, port: u16) -> Result<()> {
        self.description.health_port = Some(port);
        self.description.write(&self.directory)
    }

    /// Writes into `devnet.json` where requests about the machine are taken.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_control(&mut self, control: &Path) -> Result<()> {
        self.description.control = Some(control.to_owned());
        self.description.write(&self.directory)
    }

    /// `node.toml` for the node.
    ///
    /// # Errors
    /// When it has no form in TOML.
    pub fn node_toml(&self) -> Result<String> {
        self.configuration.to_toml()
    }

    /// As [`Self::node_toml`], for a node that reaches this host by this address, with these tables more.
    ///
    /// # Errors
    /// When it has no form in TOML.
    pub fn node_toml_by(&self, host: &str, tables: &str) -> Result<String> {
        Ok(format!("{}{tables}", self.node_toml()?.replace(HOST, host)))
    }

    /// `node.toml` for the node on a machine whose boot is measured: it seals it.
    ///
    /// # Errors
    /// When it has no form in TOML.
    pub fn sealed_node_toml(&self) -> Result<String> {
        self.configuration.clone().sealed().to_toml()
    }

    /// As [`Self::sealed_node_toml`], with a Sui key that the TPM makes.
    ///
    /// # Errors
    /// When it has no form in TOML.
    pub fn node_toml_with_key_in_tpm(&self) -> Result<String> {
        self.configuration.clone().with_key_in_tpm().to_toml()
    }

    /// As [`Self::sealed_node_toml`], by somebody who does not hold the node's key.
    ///
    /// # Errors
    /// When it has no form in TOML.
    pub fn foreign_node_toml(&self) -> Result<String> {
        let key = NodeKey::generate()?.to_suiprivkey()?;
        self.configuration.clone().with_key(&key).sealed().to_toml()
    }

    /// Sends coins from the account that the devnet funds, as an owner funds a node.
    ///
    /// # Errors
    /// When the chain refuses.
    pub async fn send(&self, receiver: Address, amount: Mist) -> Result<Executed> {
        let chain = self.chain().await?;
        chain
            .send(&self.node_key, receiver, amount)
            .await
            .context("the chain refused to send coins")
    }

    /// Writes `node.toml` where QEMU can hand it over; for its owner alone.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_node_toml(&self) -> Result<PathBuf> {
        let text = self.node_toml()?;
        // for whoever looks at the stake from this host, which the node knows by another address
        let operator = text.replace(HOST, "127.0.0.1");
        write_secret(&self.directory.join("operator.toml"), &operator)?;
        let path = self.directory.join("node.toml");
        write_secret(&path, &text)?;
        Ok(path)
    }

    /// A connection to the chain.
    ///
    /// # Errors
    /// When the fullnode does not answer.
    pub async fn chain(&self) -> Result<Chain> {
        self.description.chain().await
    }

    /// The node's stake as the chain has it.
    ///
    /// # Errors
    /// When the chain does not answer, or has no stake of the node.
    pub async fn stake(&self) -> Result<Stake> {
        stake(&self.description, &self.chain().await?).await
    }

    /// What the node's account holds outside its stake.
    ///
    /// # Errors
    /// When the chain does not answer.
    pub async fn balance(&self) -> Result<Mist> {
        let address: Address = self.node_key.address();
        Ok(self.chain().await?.balance(address).await?)
    }

    /// What must show up nowhere on the node but in its own files, each with its name; the
    /// server's own token not even there.
    ///
    /// # Errors
    /// When the k3s server has written no token, or none was made for the node.
    pub fn secrets(&self) -> Result<Vec<(&'static str, String)>> {
        let token = self.cluster.token()?;
        let password = token.rsplit(':').next().unwrap_or(&token);
        ensure!(
            password.len() > 8,
            "the server's token is too short to look for"
        );
        let mut secrets = vec![
            ("the node's key", self.node_key.to_suiprivkey()?.to_string()),
            ("the server's own token", password.to_owned()),
        ];
        if self.cluster.control_port().is_some() {
            for secret in self.cluster.bootstrap_secrets()? {
                ensure!(secret.len() == 16, "a bootstrap token is cut short");
                secrets.push(("the secret part of a join token", secret));
            }
        }
        Ok(secrets)
    }

    /// Slashes all of the node's stake.
    ///
    /// # Errors
    /// When there is none, or the chain refuses.
    pub async fn slash(&self) -> Result<Stake> {
        slash(&self.description).await.map(|(_, stake)| stake)
    }

    /// Slashes a share of the node's stake, in basis points, and reads the record again.
    ///
    /// # Errors
    /// When there is none, or the chain refuses.
    pub async fn slash_share(&self, basis_points: u64) -> Result<Stake> {
        slash_share(&self.description, basis_points)
            .await
            .map(|(_, stake)| stake)
    }

    /// Adds to the node's stake from its account, as its owner would, and reads the record again.
    ///
    /// # Errors
    /// When there is none, or the chain refuses.
    pub async fn top_up(&self, amount: Mist) -> Result<Stake> {
        let chain = self.chain().await?;
        let before = self.stake().await?;
        chain
            .top_up(&self.node_key, before.record, amount)
            .await
            .context("the chain refused the top-up")?;
        Ok(chain.reread(&before).await?)
    }
}

/// Holds the folder for one devnet: a second one there would take the first one's files away.
fn lock(directory: &Path) -> Result<std::fs::File> {
    let path = directory.join("lock");
    let file = std::fs::File::create(&path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    file.try_lock().with_context(|| {
        format!(
            "another devnet runs in {}; end it first (Ctrl-C in its terminal)",
            directory.display()
        )
    })?;
    Ok(file)
}

/// The stake of a devnet's node, by the seal token that its account owns.
async fn stake(description: &Description, chain: &Chain) -> Result<Stake> {
    let key = Description::key(&description.node_key)?;
    chain
        .find_stake(key.public(), &description.node_id)
        .await
        .context("cannot look for the node's stake")?
        .with_context(|| {
            format!(
                "{} has no stake on the devnet's chain yet",
                description.node_id
            )
        })
}

/// Slashes all of the stake of a devnet's node, by a transaction that the slasher signs, and reads
/// the record again.
///
/// # Errors
/// When there is no stake, the chain refuses, or the record is not slashed afterwards.
pub async fn slash(description: &Description) -> Result<(Executed, Stake)> {
    let (executed, after) = slash_share(description, 10_000).await?;
    ensure!(
        after.verdict == chain::Verdict::Slashed,
        "after the slash the stake is {after:?}"
    );
    Ok((executed, after))
}

async fn slash_share(description: &Description, basis_points: u64) -> Result<(Executed, Stake)> {
    let chain = description.chain().await?;
    let before = stake(description, &chain).await?;
    let slasher = Description::key(&description.slasher_key)?;
    let capability: ObjectId = description.slasher_capability.parse()?;
    let executed = chain
        .slash(&slasher, capability, before.record, basis_points, REASON)
        .await
        .context("the chain refused the slash")?;
    Ok((executed, chain.reread(&before).await?))
}

/// Random bytes.
fn random<const LENGTH: usize>() -> Result<[u8; LENGTH]> {
    let mut bytes = [0_u8; LENGTH];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes))
        .context("no random numbers")?;
    Ok(bytes)
}
