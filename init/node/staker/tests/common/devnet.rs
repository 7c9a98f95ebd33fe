//! A fullnode double, a master, and a node's staker whose PID 1 is the test.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use chain::{Address, Chain, ChainId, ChainSettings, Mist, NodeKey, ObjectId};
use fullnode::{Account, Config, Genesis, Node, Running};
use master::join::{Join, JoinTokens};
use master::service::Master;
use master::trust::Trust;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use staker::board::{Board, HeartbeatReport};
use staker::chain_link::ChainLink;
use staker::init_link::InitLink;
use staker::journal::{Journal, Purpose};
use staker::master_client::MasterClient;
use staker::node::{Identity, Staker};
use staker::prover::Prover;
use staker::usage::NodeMeter;
use sys::InitConnection;
use tokio::net::UnixDatagram;
use wire::child::{AgentDesire, MAXIMUM_DATAGRAM, PowerDesire, PowerOffReason, ToInit, decode};
use wire::{JoinToken, NodeName, ServerUrl};

use super::{Authority, Server, write_secret};

/// The first node's name.
pub(crate) const NODE: &str = "edge-0000";
pub(crate) const SUI: u64 = Mist::PER_SUI;
pub(crate) const JOIN_TOKEN: &str =
    "K10cacacacacacacacacacacacacacacacacacacacacacacacacacacacacacacaca::node:hunter2";
/// Nothing here takes this long; a test that waits longer has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Devnet {
    pub(crate) node: Node,
    pub(crate) running: Running,
    pub(crate) config: Config,
    pub(crate) authority: Authority,
    operators: Vec<Rc<NodeKey>>,
    pub(crate) slasher: NodeKey,
}

/// How a node is configured.
pub(crate) struct Options {
    /// The root that the master's certificate is checked against; `None`: the devnet's.
    pub(crate) root: Option<String>,
    pub(crate) prover: Prover,
    /// Whether the master's key is looked for in the directory on chain.
    pub(crate) directory: bool,
    /// Whether the node leaves, and where its coins go then.
    pub(crate) leave: bool,
    pub(crate) beneficiary: Option<Address>,
    pub(crate) clock: fn() -> u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            root: None,
            prover: Prover::none(),
            directory: false,
            leave: false,
            beneficiary: None,
            clock: now,
        }
    }
}

impl Devnet {
    /// For one node, with a chain that hardly takes time.
    pub(crate) async fn new() -> Self {
        Self::with(20, 1).await
    }

    /// For so many nodes, with a checkpoint every so many milliseconds.
    pub(crate) async fn with(finality_ms: u64, nodes: usize) -> Self {
        let operators: Vec<_> = (0..nodes)
            .map(|_| Rc::new(NodeKey::generate().unwrap()))
            .collect();
        let slasher = NodeKey::generate().unwrap();
        let authority = Authority::new();
        let leaf = authority.issue("localhost");
        let account = |key: &NodeKey| Account {
            address: key.address(),
            coins_mist: vec![3 * SUI],
        };
        let config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            certificate: leaf.certificate,
            key: leaf.key,
            chain_id: ChainId::from_bytes([7; 32]),
            package: ObjectId::from_bytes([0xa1; 32]),
            pool: ObjectId::from_bytes([0xb2; 32]),
            slasher_cap: ObjectId::from_bytes([0xc3; 32]),
            finality_ms,
            epoch_ms: 24 * 60 * 60 * 1000,
            gas_price: 1000,
            genesis: Genesis {
                closed: false,
                minimum_stake_mist: SUI,
                unbonding_ms: 60 * 60 * 1000,
                seal_token_ms: 30 * 24 * 60 * 60 * 1000,
                slasher: slasher.address(),
                accounts: operators
                    .iter()
                    .map(|key| account(key))
                    .chain([account(&slasher)])
                    .collect(),
            },
        };
        let node = Node::new(&config);
        let running = fullnode::serve(&node, &config).await.unwrap();
        Self {
            node,
            running,
            config,
            authority,
            operators,
            slasher,
        }
    }

    pub(crate) fn settings(&self) -> ChainSettings {
        let url = format!("https://localhost:{}", self.running.address().port());
        ChainSettings::new(
            self.config.chain_id,
            vec![url.parse().unwrap()],
            Some(self.authority.pem()),
            self.config.package,
            self.config.pool,
        )
        .unwrap()
    }

    pub(crate) async fn master(&self) -> Server {
        let leaf = self.authority.issue("localhost");
        let router = self.master_router(Trust::default());
        Server::start(&leaf, router).await
    }

    /// What a master answers, with what it proves and asks for.
    pub(crate) fn master_router(&self, trust: Trust) -> Router {
        let token_file = self.authority.folder().join("token");
        write_secret(&token_file, JOIN_TOKEN);
        let join = Join {
            server: "https://10.0.2.2:6443".parse().unwrap(),
            tokens: JoinTokens::File(token_file),
        };
        let chain = master::chain_link::ChainLink::new(self.settings());
        let master = Master::new(chain, join, now).unwrap().with_trust(trust);
        Arc::new(master).router()
    }

    /// Starts the first node's staker, lets it live beside a script, and ends it.
    pub(crate) async fn live<T>(
        &self,
        master: &Server,
        script: impl AsyncFnOnce(&mut Init) -> T,
    ) -> T {
        self.run(0, master, Options::default(), script).await
    }

    /// The same for any node.
    pub(crate) async fn live_as<T>(
        &self,
        number: usize,
        master: &Server,
        script: impl AsyncFnOnce(&mut Init) -> T,
    ) -> T {
        self.run(number, master, Options::default(), script).await
    }

    /// The first node with a TPM, and with the directory of masters in its configuration or not.
    pub(crate) async fn live_with<T>(
        &self,
        master: &Server,
        options: Options,
        script: impl AsyncFnOnce(&mut Init) -> T,
    ) -> T {
        self.run(0, master, options, script).await
    }

    /// The same, on a machine with another clock.
    pub(crate) async fn live_at<T>(
        &self,
        master: &Server,
        options: Options,
        clock: fn() -> u64,
        script: impl AsyncFnOnce(&mut Init) -> T,
    ) -> T {
        let options = Options { clock, ..options };
        self.run(0, master, options, script).await
    }

    pub(crate) async fn live_with_root<T>(
        &self,
        master: &Server,
        root: &str,
        script: impl AsyncFnOnce(&mut Init) -> T,
    ) -> T {
        let options = Options {
            root: Some(root.to_owned()),
            ..Options::default()
        };
        self.run(0, master, options, script).await
    }

    async fn run<T>(
        &self,
        number: usize,
        master: &Server,
        options: Options,
        script: impl AsyncFnOnce(&mut Init) -> T,
    ) -> T {
        let node_id = Self::node_id(number);
        let key = Rc::clone(&self.operators[number]);
        let state = self.authority.folder().join(node_id.as_str());
        std::fs::create_dir_all(&state).unwrap();
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let link = InitLink::connected(&InitConnection::from_descriptor(theirs).unwrap()).unwrap();
        let purpose = Purpose {
            chain_id: self.config.chain_id.to_string(),
            package: self.config.package.to_string(),
            pool: self.config.pool.to_string(),
            node_id: node_id.clone(),
            node_key: key.public().to_flagged_bytes().to_vec(),
            amount: SUI,
        };
        let root = options.root.unwrap_or_else(|| self.authority.pem());
        let directory = self.config.administration().directory;
        let staker = Staker::new(
            ChainLink::new(self.settings(), Rc::clone(&key), node_id.clone(), Mist(SUI))
                .with_directory(options.directory.then_some(directory)),
            MasterClient::new(&master.url(), &root).unwrap(),
            Board::new(link, node_id.clone()),
            NodeMeter::default(),
            Identity {
                node_id,
                key,
                restake: false,
                leave: options.leave,
                beneficiary: options.beneficiary,
                prover: options.prover,
            },
            Journal::new(vec![state], purpose),
            options.clock,
        );
        let mut init = Init {
            connection: nonblocking(ours.into()),
            health: staker.board().subscribe(),
        };
        tokio::select! {
            never = staker.run() => match never {},
            outcome = tokio::time::timeout(PATIENCE, script(&mut init)) => {
                outcome.expect("it takes too long")
            }
        }
    }

    /// The first node's key.
    pub(crate) fn operator(&self) -> &NodeKey {
        &self.operators[0]
    }

    fn node_id(number: usize) -> NodeName {
        format!("edge-{number:04}").parse().unwrap()
    }

    /// Slashes the first node, and returns when the chain has it in a checkpoint.
    pub(crate) async fn slash(&self, basis_points: u64) {
        self.slash_node(0, basis_points).await;
    }

    /// The same for any node.
    pub(crate) async fn slash_node(&self, number: usize, basis_points: u64) {
        let chain = Chain::connect(&self.settings()).await.unwrap();
        let stake = chain
            .find_stake(
                self.operators[number].public(),
                Self::node_id(number).as_str(),
            )
            .await
            .unwrap()
            .unwrap();
        chain
            .slash(
                &self.slasher,
                self.config.slasher_cap,
                stake.record,
                basis_points,
                1,
            )
            .await
            .unwrap();
    }
}

/// What stands in for PID 1: its end of the socket pair, and the status page.
pub(crate) struct Init {
    pub(crate) connection: UnixDatagram,
    pub(crate) health: tokio::sync::watch::Receiver<Arc<staker::board::Health>>,
}

impl Init {
    pub(crate) async fn receive(&self) -> ToInit {
        let mut buffer = vec![0; MAXIMUM_DATAGRAM];
        let length = self.connection.recv(&mut buffer).await.unwrap();
        decode(&buffer[..length]).unwrap()
    }

    /// Waits for a message; the ones before it pass.
    pub(crate) async fn expect(&self, wanted: impl Fn(&ToInit) -> bool) -> Vec<ToInit> {
        let mut passed = Vec::new();
        loop {
            let message = self.receive().await;
            let found = wanted(&message);
            passed.push(message);
            if found {
                return passed;
            }
        }
    }

    /// The first heartbeat comes with the registration, and nothing is wrong with it.
    pub(crate) async fn first_heartbeat(&mut self) {
        let health = self
            .health
            .wait_for(|health| health.heartbeat != HeartbeatReport::default())
            .await
            .unwrap()
            .clone();
        assert_eq!(health.heartbeat.acknowledged, 1, "{health:?}");
        assert!(health.node.degraded.is_empty(), "{health:?}");
    }
}

pub(crate) fn nonblocking(socket: std::os::unix::net::UnixDatagram) -> UnixDatagram {
    socket.set_nonblocking(true).unwrap();
    UnixDatagram::from_std(socket).unwrap()
}

pub(crate) fn is_slashed(message: &ToInit) -> bool {
    powers_off(message) == Some(PowerOffReason::Slashed)
}

/// Why the machine is to go off, where it is.
pub(crate) fn powers_off(message: &ToInit) -> Option<PowerOffReason> {
    match message {
        ToInit::Desired { desired } => match desired.power {
            PowerDesire::Off { reason, .. } => Some(reason),
            PowerDesire::On => None,
        },
        _ => None,
    }
}

/// Where the agent is to join, and with what.
pub(crate) fn agent(message: &ToInit) -> Option<(&ServerUrl, &JoinToken)> {
    match message {
        ToInit::Desired { desired } => match &desired.agent {
            AgentDesire::Run { server, token, .. } => Some((server, token)),
            AgentDesire::Stop { .. } => None,
        },
        _ => None,
    }
}

pub(crate) fn starts_agent(message: &ToInit) -> bool {
    agent(message).is_some()
}

pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}
