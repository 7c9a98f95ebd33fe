//! The life of a node against doubles, in paused time: hours pass in an instant.

use std::rc::Rc;
use std::time::Duration;

use chain::{ChainError, NodeKey, Stake, Verdict, WatchEvent};
use master_api::RefusalCode;
use tokio::time::sleep;
use wire::child::{AgentDesire, Desired, PowerDesire, PowerOffReason, ToInit};
use wire::status::{DegradedReason, NodeState, Phase};

use crate::board::Board;
use crate::doubles::{
    FakeChain, FakeMaster, FakeMeter, JOIN_TOKEN, Recorder, no_answer, no_master,
};
use crate::journal::{Journal, Purpose};
use crate::node::{Identity, Staker};
use crate::prover::Prover;
use crate::seams::MasterError;

mod cluster;
mod doubt;
mod leave;
mod membership;
mod stake;
mod trust;

thread_local! {
    /// From when on the nodes' clock runs; it stands where nobody said so.
    static STARTED: std::cell::Cell<Option<tokio::time::Instant>> = const { std::cell::Cell::new(None) };
}

const MINUTE: Duration = Duration::from_secs(60);

struct World {
    key: Rc<NodeKey>,
    chain: FakeChain,
    master: FakeMaster,
    init: Recorder,
    directory: tempfile::TempDir,
    restake: bool,
    leave: bool,
    beneficiary: Option<chain::Address>,
    cluster: Option<crate::cluster::Probe>,
}

impl World {
    fn new() -> Self {
        let key = Rc::new(NodeKey::generate().expect("random numbers"));
        Self {
            chain: FakeChain::new(Rc::clone(&key)),
            master: FakeMaster::new(key.public()),
            init: Recorder::default(),
            directory: tempfile::tempdir().expect("a directory"),
            restake: false,
            leave: false,
            beneficiary: None,
            cluster: None,
            key,
        }
    }

    fn staked() -> Self {
        let world = Self::new();
        world.chain.put(Verdict::Active);
        world
    }

    fn staker(&self) -> Staker<FakeChain, FakeMaster, Recorder, FakeMeter> {
        let purpose = Purpose {
            chain_id: "chain".to_owned(),
            package: "0x1".to_owned(),
            pool: "0x2".to_owned(),
            node_id: "edge-0001".parse().unwrap(),
            node_key: self.key.public().to_flagged_bytes().to_vec(),
            amount: 1_000_000_000,
        };
        let staker = Staker::new(
            self.chain.clone(),
            self.master.clone(),
            Board::new(self.init.clone(), "edge-0001".parse().unwrap()),
            FakeMeter::default(),
            Identity {
                node_id: "edge-0001".parse().unwrap(),
                key: Rc::clone(&self.key),
                restake: self.restake,
                leave: self.leave,
                beneficiary: self.beneficiary,
                prover: Prover::none(),
            },
            Journal::new(vec![self.directory.path().into()], purpose),
            || 1_700_000_000 + STARTED.get().map_or(0, |start| start.elapsed().as_secs()),
        );
        match &self.cluster {
            Some(cluster) => staker.with_cluster(Rc::clone(cluster)),
            None => staker,
        }
    }

    /// Lets a node live beside what a test does to it.
    async fn live(&self, script: impl Future<Output = ()>) {
        let staker = self.staker();
        self.tell_status(&staker);
        let status = async {
            loop {
                sleep(Duration::from_millis(10)).await;
                self.tell_status(&staker);
            }
        };
        tokio::select! {
            _ = staker.run() => {}
            () = script => {}
            () = status => {}
        }
    }

    /// As init does, whenever its status changes.
    fn tell_status(&self, staker: &Staker<FakeChain, FakeMaster, Recorder, FakeMeter>) {
        let mut status = staker.board().subscribe().borrow().node.clone();
        if self.init.echo(&mut status) {
            staker.board().take_status(status, false);
        }
    }

    /// How often a stop of the agent was sent.
    fn agents_stopped(&self) -> usize {
        let stops = |agent: &AgentDesire| matches!(agent, AgentDesire::Stop { .. });
        self.agents().iter().filter(|agent| stops(agent)).count()
    }

    /// What was sent of the agent, while the machine was to stay on.
    fn agents(&self) -> Vec<AgentDesire> {
        let desired = self.init.desired().into_iter();
        let on = desired.filter(|desired| desired.power == PowerDesire::On);
        on.map(|desired| desired.agent).collect()
    }

    /// How often a run of the agent was sent, and how many of these began a later run.
    fn runs(&self) -> (usize, usize) {
        let agents = self.agents();
        let runs: Vec<u64> = agents
            .iter()
            .filter_map(|agent| match agent {
                AgentDesire::Run { run, .. } => Some(*run),
                AgentDesire::Stop { .. } => None,
            })
            .collect();
        let later = runs.windows(2).filter(|pair| pair[1] > pair[0]).count();
        (runs.len(), later)
    }

    fn told(&self, wanted: impl Fn(&ToInit) -> bool) -> usize {
        self.init
            .messages()
            .iter()
            .filter(|message| wanted(message))
            .count()
    }

    fn powered_off(&self, reason: PowerOffReason) -> bool {
        let desired = self.init.desired();
        let off = |desired: &Desired| matches!(desired.power, PowerDesire::Off { reason: found, .. } if found == reason);
        desired.iter().any(off)
    }

    /// How often it was sent that the machine is to go off.
    fn powers_off(&self) -> usize {
        let desired = self.init.desired();
        let off = |desired: &&Desired| desired.power != PowerDesire::On;
        desired.iter().filter(off).count()
    }

    fn still_on(&self) -> bool {
        self.powers_off() == 0
    }

    fn degraded(&self, wanted: DegradedReason) -> usize {
        self.told(|message| matches!(message, ToInit::Degraded { reason, .. } if *reason == wanted))
    }

    fn recovered(&self, wanted: DegradedReason) -> usize {
        self.told(|message| *message == ToInit::Recovered { reason: wanted })
    }

    fn agents_started(&self) -> usize {
        let (sent, later) = self.runs();
        sent - later
    }

    fn agents_restarted(&self) -> usize {
        self.runs().1
    }

    fn heartbeats(&self) -> usize {
        self.master.desk.borrow().heartbeats.len()
    }

    fn registrations(&self) -> usize {
        self.master.desk.borrow().registered.len()
    }
}

fn refused(code: RefusalCode) -> MasterError {
    MasterError::Refused {
        code,
        message: "no".to_owned(),
    }
}

fn not_final() -> ChainError {
    let transaction = chain::TransactionId::from_bytes([1; 32]);
    ChainError::NotFinal {
        transaction,
        seconds: 60,
    }
}

fn disagreement(agreeing: usize) -> ChainError {
    ChainError::Disagreement {
        record: chain::ObjectId::from_bytes([7; 32]),
        claim: "slashed",
        agreeing,
        needed: 2,
        contrary: "https://b.example shows it as active".to_owned(),
    }
}

fn unconfirmed() -> ChainError {
    ChainError::Unconfirmed {
        record: chain::ObjectId::from_bytes([7; 32]),
        claim: "slashed",
        fullnode: "https://a.example".to_owned(),
        waited_seconds: 1,
        needed_seconds: Some(60),
    }
}

fn aborted() -> ChainError {
    ChainError::Aborted {
        module: "staking".to_owned(),
        function: "stake_for_node".to_owned(),
        code: 1,
        name: "EBelowMinimum".to_owned(),
    }
}
