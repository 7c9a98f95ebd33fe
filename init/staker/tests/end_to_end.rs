//! The staker, the master and the fullnode double, over TLS and gRPC in one process. What `init`
//! is told goes over a real socket pair.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chain::{Chain, ChainId, ChainSettings, Mist, NodeKey, ObjectId, Verdict};
use common::{Authority, Server, write_secret};
use fullnode::{Account, Config, Genesis, Node, Running};
use master::service::Master;
use master::settings::JoinSettings;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use staker::board::{Board, HeartbeatReport};
use staker::chain_link::ChainLink;
use staker::init_link::InitLink;
use staker::journal::{Journal, Purpose};
use staker::life::{Identity, Staker};
use staker::master_client::MasterClient;
use staker::usage::NodeMeter;
use sys::InitConnection;
use tokio::net::UnixDatagram;
use wire::child::{MAXIMUM_DATAGRAM, PowerOffReason, ToInit, decode};
use wire::status::{DegradedReason, NodeState};

const NODE: &str = "edge-0001";
const SUI: u64 = Mist::PER_SUI;
const JOIN_TOKEN: &str =
    "K10cacacacacacacacacacacacacacacacacacacacacacacacacacacacacacacaca::node:hunter2";
/// Nothing here takes this long; a test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(120);

struct Devnet {
    node: Node,
    running: Running,
    config: Config,
    authority: Authority,
    operator: Rc<NodeKey>,
    slasher: NodeKey,
}

impl Devnet {
    async fn new() -> Self {
        let operator = Rc::new(NodeKey::generate().unwrap());
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
            finality_ms: 20,
            epoch_ms: 24 * 60 * 60 * 1000,
            gas_price: 1000,
            genesis: Genesis {
                minimum_stake_mist: SUI,
                unbonding_ms: 60 * 60 * 1000,
                seal_token_ms: 30 * 24 * 60 * 60 * 1000,
                slasher: slasher.address(),
                accounts: vec![account(&operator), account(&slasher)],
            },
        };
        let node = Node::new(&config);
        let running = fullnode::serve(&node, &config).await.unwrap();
        Self {
            node,
            running,
            config,
            authority,
            operator,
            slasher,
        }
    }

    fn settings(&self) -> ChainSettings {
        ChainSettings::parse(
            &self.config.chain_id.to_string(),
            &[format!(
                "https://localhost:{}",
                self.running.address().port()
            )],
            Some(&self.authority.pem()),
            &self.config.package.to_string(),
            &self.config.pool.to_string(),
        )
        .unwrap()
    }

    async fn master(&self) -> Server {
        let token_file = self.authority.folder().join("token");
        write_secret(&token_file, JOIN_TOKEN);
        let join = JoinSettings {
            server: "https://10.0.2.2:6443".to_owned(),
            token_file,
        };
        let chain = master::chain_link::ChainLink::new(self.settings());
        let master = Arc::new(Master::new(chain, join, now).unwrap());
        Server::start(&self.authority.issue("localhost"), master.router()).await
    }

    /// Starts the node's staker, lets it live beside a script, and ends it.
    async fn live<T>(&self, master: &Server, script: impl AsyncFnOnce(&mut Init) -> T) -> T {
        self.live_with_root(master, &self.authority.pem(), script)
            .await
    }

    async fn live_with_root<T>(
        &self,
        master: &Server,
        root: &str,
        script: impl AsyncFnOnce(&mut Init) -> T,
    ) -> T {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let link = InitLink::connected(&InitConnection::from_descriptor(theirs).unwrap()).unwrap();
        let purpose = Purpose {
            chain_id: self.config.chain_id.to_string(),
            package: self.config.package.to_string(),
            pool: self.config.pool.to_string(),
            node_id: NODE.to_owned(),
            node_key: self.operator.public().to_flagged_bytes().to_vec(),
            amount: SUI,
        };
        let key = Rc::clone(&self.operator);
        let staker = Staker::new(
            ChainLink::new(self.settings(), Rc::clone(&key), NODE.to_owned(), Mist(SUI)),
            MasterClient::new(&master.url(), root).unwrap(),
            Board::new(link, NODE),
            NodeMeter::default(),
            Identity {
                node_id: NODE.to_owned(),
                key,
                restake: false,
            },
            Journal::new(vec![self.authority.folder().into()], purpose),
            now,
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

    async fn slash(&self, basis_points: u64) {
        let chain = Chain::connect(&self.settings()).await.unwrap();
        let stake = chain
            .find_stake(self.operator.public(), NODE)
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
struct Init {
    connection: UnixDatagram,
    health: tokio::sync::watch::Receiver<Arc<staker::board::Health>>,
}

impl Init {
    async fn receive(&self) -> ToInit {
        let mut buffer = vec![0; MAXIMUM_DATAGRAM];
        let length = self.connection.recv(&mut buffer).await.unwrap();
        decode(&buffer[..length]).unwrap()
    }

    /// Waits for a message; the ones before it pass.
    async fn expect(&self, wanted: impl Fn(&ToInit) -> bool) -> Vec<ToInit> {
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
    async fn first_heartbeat(&mut self) {
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

fn nonblocking(socket: std::os::unix::net::UnixDatagram) -> UnixDatagram {
    socket.set_nonblocking(true).unwrap();
    UnixDatagram::from_std(socket).unwrap()
}

fn is_slashed(message: &ToInit) -> bool {
    matches!(
        message,
        ToInit::PowerOff {
            reason: PowerOffReason::Slashed,
            ..
        }
    )
}

fn starts_agent(message: &ToInit) -> bool {
    matches!(message, ToInit::StartAgent { .. })
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

#[tokio::test]
async fn a_whole_life() {
    let devnet = Devnet::new().await;
    let master = devnet.master().await;

    devnet
        .live(&master, async |init| {
            let passed = init.expect(starts_agent).await;
            let states: Vec<NodeState> = passed
                .iter()
                .filter_map(|message| match message {
                    ToInit::State { state } => Some(*state),
                    _ => None,
                })
                .collect();
            assert_eq!(
                states,
                [
                    NodeState::Unsealed,
                    NodeState::Staked,
                    NodeState::Registered
                ]
            );
            let Some(ToInit::StartAgent { server, token }) = passed.last() else {
                panic!("{passed:?}");
            };
            assert_eq!(server, "https://10.0.2.2:6443");
            assert_eq!(token.expose(), JOIN_TOKEN);
            init.first_heartbeat().await;
            let health = init.health.borrow().clone();
            assert!(health.node.degraded.is_empty(), "{health:?}");
            assert_eq!(health.stake.as_ref().unwrap().verdict, Verdict::Active);
        })
        .await;
    let executed = devnet.node.executed_transactions();
    assert_eq!(executed, 1);

    // the machine restarts: it finds its stake, registers anew, and is slashed
    devnet
        .live(&master, async |init| {
            init.expect(starts_agent).await;
            init.first_heartbeat().await;
            assert_eq!(devnet.node.executed_transactions(), executed);
            devnet.slash(10_000).await;
            let passed = init.expect(is_slashed).await;
            let state = ToInit::State {
                state: NodeState::Slashed,
            };
            assert!(passed.contains(&state), "{passed:?}");
        })
        .await;

    // and at every boot again, without registering
    devnet
        .live(&master, async |init| {
            let passed = init.expect(is_slashed).await;
            assert!(!passed.iter().any(starts_agent), "{passed:?}");
        })
        .await;
    assert_eq!(devnet.node.executed_transactions(), executed + 1);
}

#[tokio::test]
async fn a_partial_slash_degrades_and_does_not_end_the_node() {
    let devnet = Devnet::new().await;
    let master = devnet.master().await;
    devnet
        .live(&master, async |init| {
            init.expect(starts_agent).await;
            init.first_heartbeat().await;
            devnet.slash(1).await;
            let below = DegradedReason::StakeBelowMinimum;
            let passed = init
                .expect(|message| {
                    matches!(message, ToInit::Degraded { reason, .. } if *reason == below)
                })
                .await;
            assert!(!passed.iter().any(is_slashed), "{passed:?}");
        })
        .await;
    // after a restart it waits, and joins nothing
    devnet
        .live(&master, async |init| {
            let passed = init
                .expect(|message| matches!(message, ToInit::Degraded { .. }))
                .await;
            assert!(!passed.iter().any(starts_agent), "{passed:?}");
        })
        .await;
}

#[tokio::test]
async fn a_master_with_another_root_gets_nothing() {
    let devnet = Devnet::new().await;
    let master = devnet.master().await;
    let stranger = Authority::new();
    devnet
        .live_with_root(&master, &stranger.pem(), async |init| {
            let passed = init
                .expect(|message| matches!(message, ToInit::Degraded { .. }))
                .await;
            let Some(ToInit::Degraded { reason, detail }) = passed.last() else {
                panic!("{passed:?}");
            };
            assert_eq!(*reason, DegradedReason::MasterUnreachable);
            assert!(detail.contains("certificate"), "{detail}");
            assert!(!passed.iter().any(starts_agent), "{passed:?}");
        })
        .await;
}
