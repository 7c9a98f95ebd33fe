//! The life of a node against doubles, in paused time: hours pass in an instant.

use std::rc::Rc;
use std::time::Duration;

use chain::{ChainError, NodeKey, Verdict, WatchEvent};
use tokio::time::sleep;
use wire::child::{PowerOffReason, ToInit};
use wire::master::RefusalCode;
use wire::status::{DegradedReason, NodeState, Phase};

use crate::board::Board;
use crate::doubles::{
    FakeChain, FakeMaster, FakeMeter, JOIN_TOKEN, Recorder, no_answer, no_master,
};
use crate::journal::{Journal, Purpose};
use crate::life::{Identity, Staker};
use crate::seams::MasterError;

const MINUTE: Duration = Duration::from_secs(60);

struct World {
    key: Rc<NodeKey>,
    chain: FakeChain,
    master: FakeMaster,
    init: Recorder,
    directory: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let key = Rc::new(NodeKey::generate().expect("random numbers"));
        Self {
            chain: FakeChain::new(Rc::clone(&key)),
            master: FakeMaster::new(key.public()),
            init: Recorder::default(),
            directory: tempfile::tempdir().expect("a directory"),
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
            node_id: "edge-0001".to_owned(),
            node_key: self.key.public().to_flagged_bytes().to_vec(),
            amount: 1_000_000_000,
        };
        Staker::new(
            self.chain.clone(),
            self.master.clone(),
            Board::new(self.init.clone(), "edge-0001"),
            FakeMeter,
            Identity {
                node_id: "edge-0001".to_owned(),
                key: Rc::clone(&self.key),
            },
            Journal::new(vec![self.directory.path().into()], purpose),
            || 1_700_000_000,
        )
    }

    /// Lets a node live beside what a test does to it.
    async fn live(&self, script: impl Future<Output = ()>) {
        let staker = self.staker();
        tokio::select! {
            _ = staker.run() => {}
            () = script => {}
        }
    }

    fn told(&self, wanted: impl Fn(&ToInit) -> bool) -> usize {
        self.init
            .messages()
            .iter()
            .filter(|message| wanted(message))
            .count()
    }

    fn powered_off(&self, reason: PowerOffReason) -> bool {
        let is = |message: &ToInit| matches!(message, ToInit::PowerOff { reason: found, .. } if *found == reason);
        self.told(is) > 0
    }

    fn still_on(&self) -> bool {
        self.told(|message| matches!(message, ToInit::PowerOff { .. })) == 0
    }

    fn degraded(&self, wanted: DegradedReason) -> usize {
        self.told(|message| matches!(message, ToInit::Degraded { reason, .. } if *reason == wanted))
    }

    fn recovered(&self, wanted: DegradedReason) -> usize {
        self.told(|message| *message == ToInit::Recovered { reason: wanted })
    }

    fn agents_started(&self) -> usize {
        self.told(|message| matches!(message, ToInit::StartAgent { .. }))
    }

    fn agents_restarted(&self) -> usize {
        self.told(|message| matches!(message, ToInit::RestartAgent { .. }))
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

fn aborted() -> ChainError {
    ChainError::Aborted {
        module: "staking".to_owned(),
        function: "stake_for_node".to_owned(),
        code: 1,
        name: "EBelowMinimum".to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn stakes_registers_and_reports() {
    let world = World::new();
    world.live(sleep(5 * MINUTE + Duration::from_secs(1))).await;
    assert_eq!(world.chain.ledger.borrow().submitted.len(), 1);
    assert_eq!(world.registrations(), 1);
    let told = world.init.messages();
    let reached = |phase| ToInit::Reached { phase };
    let state = |state| ToInit::State { state };
    assert_eq!(
        told,
        [
            reached(Phase::Unsealed),
            state(NodeState::Unsealed),
            reached(Phase::Staked),
            state(NodeState::Staked),
            reached(Phase::Registered),
            state(NodeState::Registered),
            ToInit::StartAgent {
                server: "https://k3s.example:6443".to_owned(),
                token: wire::Secret::new(JOIN_TOKEN.to_owned()),
            },
        ]
    );
    let desk = world.master.desk.borrow();
    assert_eq!(desk.heartbeats.len(), 11);
    for (index, heartbeat) in desk.heartbeats.iter().enumerate() {
        assert_eq!(heartbeat.sequence, index as u64 + 1);
        assert_eq!(heartbeat.session, "session-1");
        assert_eq!(heartbeat.stake_status, "active");
        assert_eq!(heartbeat.stake_amount, 1_000_000_000);
        assert_eq!(heartbeat.running_pods, 3);
        let usage = heartbeat.resource_usage;
        assert_eq!(
            [usage.cpu_percent, usage.memory_percent, usage.disk_percent],
            [0.0, 100.0, 50.0]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_does_not_stake_again() {
    let world = World::new();
    world.live(sleep(MINUTE)).await;
    world.live(sleep(MINUTE)).await;
    assert_eq!(world.chain.ledger.borrow().submitted.len(), 1);
    assert_eq!(world.agents_started(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_cut_off_is_submitted_again_and_nothing_else() {
    let world = World::new();
    world.chain.ledger.borrow_mut().submissions = (0..1000).map(|_| not_final()).collect();
    world.live(sleep(MINUTE)).await;
    // the power is cut here; nothing but the disk is left
    world.chain.ledger.borrow_mut().submissions.clear();
    world.live(sleep(MINUTE)).await;
    let ledger = world.chain.ledger.borrow();
    assert_eq!(ledger.prepared.len(), 1);
    assert!(ledger.submitted.len() > 2);
    assert!(
        ledger
            .submitted
            .iter()
            .all(|one| *one == ledger.prepared[0])
    );
    drop(ledger);
    assert_eq!(
        std::fs::read_dir(world.directory.path()).unwrap().count(),
        0
    );
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_never_will_be_is_made_anew() {
    let world = World::new();
    world
        .chain
        .ledger
        .borrow_mut()
        .submissions
        .push_back(aborted());
    world.live(sleep(MINUTE)).await;
    assert_eq!(world.chain.ledger.borrow().prepared.len(), 2);
    assert_eq!(world.degraded(DegradedReason::ChainRefused), 1);
    assert_eq!(world.recovered(DegradedReason::ChainRefused), 1);
    assert_eq!(world.agents_started(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_short_balance_is_told_and_waited_for() {
    let world = World::new();
    world.chain.ledger.borrow_mut().outage = Some(|| ChainError::BalanceShort {
        address: chain::Address::from_bytes([9; 32]),
        needed: chain::Mist(2),
        available: chain::Mist(1),
        missing: chain::Mist(1),
    });
    let script = async {
        sleep(60 * MINUTE).await;
        assert_eq!(world.degraded(DegradedReason::BalanceShort), 1);
        assert_eq!(world.agents_started(), 0);
        world.chain.ledger.borrow_mut().outage = None;
        sleep(2 * MINUTE).await;
        assert_eq!(world.recovered(DegradedReason::BalanceShort), 1);
        assert_eq!(world.agents_started(), 1);
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn slashed_at_boot_is_off_again() {
    let world = World::new();
    world.chain.put(Verdict::Slashed);
    world.live(sleep(MINUTE)).await;
    assert!(world.powered_off(PowerOffReason::Slashed));
    assert_eq!(world.registrations(), 0);
    assert_eq!(world.agents_started(), 0);
    let told = world.init.messages();
    assert!(
        told.contains(&ToInit::State {
            state: NodeState::Slashed
        }),
        "{told:?}"
    );
    assert!(
        told.contains(&ToInit::Reached {
            phase: Phase::Slashed
        }),
        "{told:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_slash_on_the_event_stream_ends_the_node() {
    let world = World::staked();
    let script = async {
        sleep(Duration::from_secs(10)).await;
        assert!(world.still_on());
        world.chain.set(Verdict::Slashed);
        world
            .chain
            .emit(|stake| WatchEvent::Slashed { stake, slash: None });
        sleep(Duration::from_millis(1)).await;
        assert!(world.powered_off(PowerOffReason::Slashed));
        let before = world.heartbeats();
        sleep(60 * MINUTE).await;
        assert_eq!(world.heartbeats(), before);
        assert!(world.told(|message| matches!(message, ToInit::PowerOff { .. })) > 2);
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn a_slash_without_an_event_is_seen_before_the_next_heartbeat() {
    let world = World::staked();
    let script = async {
        sleep(Duration::from_secs(10)).await;
        world.chain.set(Verdict::Slashed);
        sleep(Duration::from_secs(21)).await;
        assert!(world.powered_off(PowerOffReason::Slashed));
        assert_eq!(world.heartbeats(), 1);
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn one_fullnode_alone_does_not_end_the_node() {
    let world = World::staked();
    let script = async {
        sleep(Duration::from_secs(10)).await;
        world.chain.set(Verdict::Slashed);
        let doubt = || ChainError::Disagreement {
            record: chain::ObjectId::from_bytes([7; 32]),
            claim: "slashed",
            agreeing: 1,
            needed: 2,
        };
        world.chain.ledger.borrow_mut().confirmations = (0..3).map(|_| doubt()).collect();
        sleep(Duration::from_secs(81)).await;
        assert!(world.still_on());
        sleep(Duration::from_secs(30)).await;
        assert!(world.powered_off(PowerOffReason::Slashed));
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_chain_never_ends_the_node() {
    let world = World::staked();
    let script = async {
        sleep(Duration::from_secs(45)).await;
        world.chain.ledger.borrow_mut().outage = Some(no_answer);
        world.chain.hang_up();
        let before = world.heartbeats();
        sleep(100 * MINUTE).await;
        assert!(world.still_on());
        assert_eq!(world.agents_restarted(), 0);
        assert_eq!(world.degraded(DegradedReason::ChainUnreachable), 1);
        assert_eq!(world.heartbeats() - before, 200);
        let last = world
            .master
            .desk
            .borrow()
            .heartbeats
            .last()
            .cloned()
            .unwrap();
        assert_eq!(last.stake_status, "chain-unreachable");
        world.chain.ledger.borrow_mut().outage = None;
        sleep(2 * MINUTE).await;
        assert_eq!(world.recovered(DegradedReason::ChainUnreachable), 1);
        assert_eq!(world.chain.watchers(), 1);
        assert_eq!(world.agents_started(), 1);
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn a_chain_that_hangs_does_not_hold_up_heartbeats() {
    let world = World::staked();
    let script = async {
        sleep(Duration::from_secs(20)).await;
        world.chain.ledger.borrow_mut().hangs = true;
        sleep(10 * MINUTE).await;
        assert_eq!(world.heartbeats(), 21);
        assert_eq!(world.degraded(DegradedReason::ChainUnreachable), 1);
        world.chain.ledger.borrow_mut().hangs = false;
        sleep(MINUTE).await;
        assert_eq!(world.recovered(DegradedReason::ChainUnreachable), 1);
        assert!(world.still_on());
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn three_failures_restart_the_agent_and_a_long_outage_restarts_it_ever_less_often() {
    let world = World::staked();
    let script = async {
        sleep(Duration::from_secs(15)).await;
        world.master.desk.borrow_mut().outage = Some(no_master);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(world.agents_restarted(), 0);
        assert_eq!(world.degraded(DegradedReason::Heartbeat), 1);
        sleep(Duration::from_secs(30)).await;
        assert_eq!(world.agents_restarted(), 1);
        sleep(Duration::from_secs(5 * 30)).await;
        assert_eq!(world.agents_restarted(), 1);
        sleep(Duration::from_secs(30)).await;
        assert_eq!(world.agents_restarted(), 2);
        // back, and gone again: three are enough again
        world.master.desk.borrow_mut().outage = None;
        sleep(Duration::from_secs(30)).await;
        assert_eq!(world.recovered(DegradedReason::Heartbeat), 1);
        assert_eq!(world.recovered(DegradedReason::MasterUnreachable), 1);
        world.master.desk.borrow_mut().outage = Some(no_master);
        sleep(Duration::from_secs(90)).await;
        assert_eq!(world.agents_restarted(), 3);
        assert_eq!(world.agents_started(), 1);
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn a_master_that_cannot_verify_restarts_nothing() {
    let world = World::staked();
    let script = async {
        sleep(Duration::from_secs(15)).await;
        world.master.desk.borrow_mut().outage = Some(|| MasterError::Unavailable {
            message: "the chain does not answer".to_owned(),
            retry_after: Some(30),
        });
        sleep(60 * MINUTE).await;
        assert_eq!(world.agents_restarted(), 0);
        assert_eq!(world.degraded(DegradedReason::Heartbeat), 1);
        assert_eq!(world.degraded(DegradedReason::MasterUnreachable), 0);
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_session_registers_again() {
    let world = World::staked();
    let script = async {
        sleep(Duration::from_secs(15)).await;
        let forgotten = refused(RefusalCode::Session);
        world
            .master
            .desk
            .borrow_mut()
            .refuse_heartbeats
            .push_back(forgotten);
        sleep(Duration::from_secs(16)).await;
        assert_eq!(world.registrations(), 2);
        assert_eq!(world.agents_started(), 2);
        assert_eq!(world.agents_restarted(), 0);
        let desk = world.master.desk.borrow();
        let last = desk.heartbeats.last().expect("one");
        assert_eq!((last.session.as_str(), last.sequence), ("session-2", 1));
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn a_master_that_always_forgets_is_not_hammered() {
    let world = World::staked();
    world.master.desk.borrow_mut().refuse_heartbeats =
        (0..10_000).map(|_| refused(RefusalCode::Session)).collect();
    world.live(sleep(60 * MINUTE)).await;
    assert!(world.registrations() < 140, "{}", world.registrations());
}

#[tokio::test(start_paused = true)]
async fn the_masters_word_about_the_stake_is_checked() {
    let world = World::staked();
    let script = async {
        sleep(Duration::from_secs(15)).await;
        let lies = (0..10)
            .map(|_| refused(RefusalCode::StakeSlashed))
            .collect();
        world.master.desk.borrow_mut().refuse_heartbeats = lies;
        sleep(10 * MINUTE).await;
        assert!(world.still_on());
        assert_eq!(world.agents_restarted(), 0);
        assert_eq!(world.recovered(DegradedReason::Heartbeat), 1);
        world.chain.set(Verdict::Slashed);
        sleep(MINUTE).await;
        assert!(world.powered_off(PowerOffReason::Slashed));
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_registration_is_tried_again() {
    let world = World::staked();
    world.master.desk.borrow_mut().refuse_registrations =
        (0..4).map(|_| refused(RefusalCode::Timestamp)).collect();
    world.live(sleep(MINUTE)).await;
    assert_eq!(world.degraded(DegradedReason::RegistrationRefused), 1);
    assert_eq!(world.recovered(DegradedReason::RegistrationRefused), 1);
    assert_eq!(world.agents_started(), 1);
    let desk = world.master.desk.borrow();
    assert_eq!(desk.challenges, 5);
    assert_ne!(desk.registered[0].nonce, desk.registered[1].nonce);
}

#[tokio::test(start_paused = true)]
async fn the_master_is_asked_as_late_as_it_wants() {
    let world = World::staked();
    let busy = |_| MasterError::Unavailable {
        message: "later".to_owned(),
        retry_after: Some(u64::MAX),
    };
    world.master.desk.borrow_mut().refuse_registrations = (0..1).map(busy).collect();
    let script = async {
        sleep(Duration::from_secs(119)).await;
        assert_eq!(world.registrations(), 1);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(world.agents_started(), 1);
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn answers_that_cannot_be_used_start_nothing() {
    let world = World::staked();
    let spoils: [fn(&mut wire::master::RegisterResponse); 6] = [
        |answer| answer.node_id.push('x'),
        |answer| answer.status = "refused".to_owned(),
        |answer| answer.server = "http://k3s.example:6443".to_owned(),
        |answer| answer.join_token = wire::Secret::new(String::new()),
        |answer| answer.join_token = wire::Secret::new("two\nlines".to_owned()),
        |answer| answer.session.clear(),
    ];
    for spoil in spoils {
        world.master.desk.borrow_mut().spoil = Some(spoil);
        world.live(sleep(MINUTE)).await;
    }
    assert_eq!(world.agents_started(), 0);
    assert!(world.degraded(DegradedReason::MasterUnreachable) >= spoils.len());
}

#[tokio::test(start_paused = true)]
async fn a_stake_below_the_minimum_waits_for_a_top_up() {
    let world = World::new();
    world.chain.put(Verdict::BelowMinimum);
    let script = async {
        sleep(60 * MINUTE + Duration::from_secs(7)).await;
        assert_eq!(world.registrations(), 0);
        assert_eq!(world.degraded(DegradedReason::StakeBelowMinimum), 1);
        world.chain.set(Verdict::Active);
        sleep(MINUTE).await;
        assert_eq!(world.agents_started(), 1);
        assert_eq!(world.recovered(DegradedReason::StakeBelowMinimum), 1);
        // a partial slash: what runs goes on
        world.chain.set(Verdict::BelowMinimum);
        world
            .chain
            .emit(|stake| WatchEvent::Changed { stake, slash: None });
        let before = world.heartbeats();
        sleep(10 * MINUTE).await;
        assert!(world.still_on());
        assert_eq!(world.heartbeats() - before, 20);
        assert_eq!(world.degraded(DegradedReason::StakeBelowMinimum), 2);
        let last = world
            .master
            .desk
            .borrow()
            .heartbeats
            .last()
            .cloned()
            .unwrap();
        assert_eq!(last.stake_status, "below-minimum");
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn a_stake_that_is_taken_back_ends_the_node_in_order() {
    for verdict in [Verdict::Unbonding, Verdict::Withdrawn] {
        let world = World::staked();
        let script = async {
            sleep(Duration::from_secs(10)).await;
            world.chain.set(verdict);
            sleep(MINUTE).await;
            assert!(world.powered_off(PowerOffReason::Unbonding));
            assert!(!world.powered_off(PowerOffReason::Slashed));
            let told = world.init.messages();
            assert!(told.contains(&ToInit::State {
                state: NodeState::Unbonding
            }));
        };
        world.live(script).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_is_opened_again() {
    let world = World::staked();
    let script = async {
        sleep(Duration::from_secs(1)).await;
        assert_eq!(world.chain.watchers(), 1);
        world.chain.hang_up();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(world.chain.watchers(), 1);
        world.chain.emit(|_| WatchEvent::Blind(no_answer()));
        world.chain.emit(WatchEvent::Watching);
        sleep(MINUTE).await;
        assert!(world.still_on());
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn the_page_shows_the_stake_and_no_secret() {
    let world = World::staked();
    let staker = world.staker();
    let health = staker.board().subscribe();
    tokio::select! {
        _ = staker.run() => {}
        () = sleep(Duration::from_secs(45)) => {}
    }
    let json = serde_json::to_string(&**health.borrow()).unwrap();
    for shown in [
        r#""verdict":"active""#,
        r#""acknowledged":2"#,
        r#""last_acknowledged":1700000000"#,
    ] {
        assert!(json.contains(shown), "{shown} in {json}");
    }
    let secret = world.key.to_suiprivkey().unwrap();
    assert!(!json.contains(JOIN_TOKEN) && !json.contains(secret.as_str()));
    let told = format!("{:?}", world.init.messages());
    assert!(!told.contains(JOIN_TOKEN), "{told}");
}
