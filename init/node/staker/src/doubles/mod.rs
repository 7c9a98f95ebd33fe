//! Stand-ins for chain, master, `init` and meter, for this crate's tests alone.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use chain::{Address, ChainError, Mist, NodeKey, ObjectId, SealToken, Stake, Verdict, WatchEvent};
use futures::StreamExt as _;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use futures::stream::{self, LocalBoxStream};
use master_api::ResourceUsage;
use wire::child::{AgentDesire, Desired, PowerDesire, ToInit};
use wire::status::{AgentState, NodeStatus};

use crate::seams::{Chain, Init, InitError, KnownMaster, Measurement, Meter, Prepared};

mod master;

pub(crate) use master::{FakeMaster, known_master, no_master};

/// The join token that the master hands out: it must show up nowhere but in what is desired.
pub(crate) const JOIN_TOKEN: &str =
    "K10cacacacacacacacacacacacacacacacacacacacacacacacacacacacacacacaca::node:hunter2";

/// How often the chain's watch looks again at what is in doubt.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Records the messages to `init`, and echoes what it would have carried out.
#[derive(Debug, Default, Clone)]
pub(crate) struct Recorder {
    messages: Rc<RefCell<Vec<ToInit>>>,
    status: Rc<RefCell<NodeStatus>>,
    /// How many desired states get lost from now on.
    pub(crate) lost: Rc<Cell<u32>>,
}

impl Recorder {
    pub(crate) fn messages(&self) -> Vec<ToInit> {
        self.messages.borrow().clone()
    }

    /// Every desired state that was sent, in order.
    pub(crate) fn desired(&self) -> Vec<Desired> {
        let messages = self.messages.borrow();
        let desired = messages.iter().filter_map(|message| match message {
            ToInit::Desired { desired } => Some(desired.clone()),
            _ => None,
        });
        desired.collect()
    }

    /// What init says of the agent.
    pub(crate) fn agent(&self) -> AgentState {
        self.status.borrow().agent
    }

    /// Puts what init echoes into a status. Whether it is news there.
    pub(crate) fn echo(&self, status: &mut NodeStatus) -> bool {
        let before = status.clone();
        let echo = self.status.borrow();
        status.agent = echo.agent;
        status.agent_run = echo.agent_run;
        status.desired = echo.desired;
        *status != before
    }

    /// A former run of the staker had it started.
    pub(crate) fn agent_runs(&self) {
        self.status.borrow_mut().agent = AgentState::Wanted;
    }
}

impl Init for Recorder {
    fn present(&self) -> bool {
        true
    }

    async fn send(&self, message: &ToInit) -> Result<(), InitError> {
        self.messages.borrow_mut().push(message.clone());
        let ToInit::Desired { desired } = message else {
            return Ok(());
        };
        if let Some(left) = self.lost.get().checked_sub(1) {
            self.lost.set(left);
            return Ok(());
        }
        let mut status = self.status.borrow_mut();
        status.desired = desired.number;
        match (&desired.agent, &desired.power) {
            (_, PowerDesire::Off { .. }) => {}
            (AgentDesire::Run { run, .. }, _) => {
                status.agent = AgentState::Wanted;
                status.agent_run = status.agent_run.max(*run);
            }
            (AgentDesire::Stop { .. }, _) => status.agent = AgentState::Stopped,
        }
        Ok(())
    }
}

/// What the chain holds, and how it fails.
pub(crate) struct Ledger {
    pub(crate) stake: Option<Stake>,
    /// Every read and write fails with this.
    pub(crate) outage: Option<fn() -> ChainError>,
    /// Reads of the record never end.
    pub(crate) hangs: bool,
    /// The next submissions fail with these; the transaction is not executed.
    pub(crate) submissions: VecDeque<ChainError>,
    /// The end of the stake that is not confirmed, and whether one fullnode alone shows it; the watch
    /// looks again meanwhile.
    pub(crate) doubted: Option<(Stake, bool)>,
    /// The next confirmations fail with these.
    pub(crate) confirmations: VecDeque<ChainError>,
    /// Whether what was prepared can't be executed any more.
    pub(crate) expired: bool,
    /// How many seal tokens were taken.
    pub(crate) renewals: u8,
    pub(crate) prepared: Vec<Vec<u8>>,
    pub(crate) submitted: Vec<Vec<u8>>,
    /// What the pool's directory lists, where the configuration names one.
    pub(crate) masters: Option<Vec<KnownMaster>>,
    /// What is at the node's address, in MIST; the stake not counted.
    pub(crate) coins: u64,
    /// What was sent on, and by how many transactions.
    pub(crate) paid_out: Vec<(Address, u64)>,
    /// The next payouts fail with these; whether they are executed all the same.
    pub(crate) payouts: VecDeque<(ChainError, bool)>,
    /// Every payout that was submitted, as it was encoded.
    pub(crate) payouts_submitted: Vec<Vec<u8>>,
    watchers: Vec<UnboundedSender<WatchEvent>>,
}

/// All coins that were there when it was made.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct FakePayout {
    receiver: [u8; 32],
    coins: u64,
    /// Coins that were spent are not there for another.
    number: usize,
}

/// A chain of one stake.
#[derive(Clone)]
pub(crate) struct FakeChain {
    pub(crate) ledger: Rc<RefCell<Ledger>>,
    key: Rc<NodeKey>,
}

impl FakeChain {
    pub(crate) fn new(key: Rc<NodeKey>) -> Self {
        let ledger = Ledger {
            stake: None,
            outage: None,
            hangs: false,
            submissions: VecDeque::new(),
            doubted: None,
            confirmations: VecDeque::new(),
            expired: false,
            renewals: 0,
            prepared: Vec::new(),
            submitted: Vec::new(),
            masters: None,
            coins: 0,
            paid_out: Vec::new(),
            payouts: VecDeque::new(),
            payouts_submitted: Vec::new(),
            watchers: Vec::new(),
        };
        Self {
            ledger: Rc::new(RefCell::new(ledger)),
            key,
        }
    }

    pub(crate) fn a_stake(&self) -> Stake {
        Stake {
            record: ObjectId::from_bytes([7; 32]),
            version: 1,
            seal_token: Some(SealToken {
                id: ObjectId::from_bytes([8; 32]),
                issued_at_ms: 0,
                expires_at_ms: u64::MAX,
            }),
            staker: Address::from_bytes([9; 32]),
            beneficiary: Address::from_bytes([9; 32]),
            node_id: "edge-0001".to_owned(),
            node_key: self.key.public(),
            amount: Mist(1_000_000_000),
            minimum: Mist(1_000_000_000),
            slashed: Mist(0),
            staked_at_ms: 0,
            unbonding_until_ms: None,
            verdict: Verdict::Active,
        }
    }

    /// The stake is there from the beginning.
    pub(crate) fn put(&self, verdict: Verdict) {
        let stake = self.a_stake();
        self.ledger.borrow_mut().stake = Some(Stake { verdict, ..stake });
    }

    pub(crate) fn set(&self, verdict: Verdict) {
        if let Some(stake) = &mut self.ledger.borrow_mut().stake {
            stake.verdict = verdict;
        }
    }

    pub(crate) fn emit(&self, event: impl Fn(Stake) -> WatchEvent) {
        let ledger = self.ledger.borrow();
        let stake = ledger.stake.clone().expect("a stake");
        for watcher in &ledger.watchers {
            let _ = watcher.unbounded_send(event(stake.clone()));
        }
    }

    /// Every stream of events ends.
    pub(crate) fn hang_up(&self) {
        self.ledger.borrow_mut().watchers.clear();
    }

    pub(crate) fn watchers(&self) -> usize {
        self.ledger.borrow().watchers.len()
    }

    fn up(&self) -> Result<(), ChainError> {
        self.ledger
            .borrow()
            .outage
            .map_or(Ok(()), |error| Err(error()))
    }
}

pub(crate) fn no_answer() -> ChainError {
    ChainError::Unreachable {
        fullnode: "https://fullnode.example".to_owned(),
        call: "GetObject",
        detail: "connection refused".to_owned(),
    }
}

impl Chain for FakeChain {
    type Transaction = Vec<u8>;
    type Payout = FakePayout;

    async fn find_stake(&self) -> Result<Option<Stake>, ChainError> {
        self.up()?;
        Ok(self.ledger.borrow().stake.clone())
    }

    async fn prepare_stake(&self) -> Result<Prepared<Vec<u8>>, ChainError> {
        self.up()?;
        let mut ledger = self.ledger.borrow_mut();
        let transaction = format!("transaction {}", ledger.prepared.len()).into_bytes();
        ledger.prepared.push(transaction.clone());
        Ok(Prepared::Transaction(transaction))
    }

    async fn prepare_restake(&self, stake: &Stake) -> Result<Vec<u8>, ChainError> {
        self.up()?;
        assert_eq!(stake.verdict, Verdict::Withdrawn);
        let mut ledger = self.ledger.borrow_mut();
        let transaction = format!("restake {}", ledger.prepared.len()).into_bytes();
        ledger.prepared.push(transaction.clone());
        Ok(transaction)
    }

    async fn expired(&self, _: &Vec<u8>) -> Result<bool, ChainError> {
        self.up()?;
        Ok(self.ledger.borrow().expired)
    }

    async fn renew_seal_token(&self, stake: &Stake) -> Result<Stake, ChainError> {
        self.up()?;
        let mut ledger = self.ledger.borrow_mut();
        ledger.renewals += 1;
        let token = SealToken {
            id: ObjectId::from_bytes([100 + ledger.renewals; 32]),
            issued_at_ms: 0,
            expires_at_ms: u64::MAX,
        };
        let renewed = Stake {
            seal_token: Some(token),
            version: stake.version + 1,
            ..stake.clone()
        };
        ledger.stake = Some(renewed.clone());
        Ok(renewed)
    }

    async fn submit_stake(&self, transaction: &Vec<u8>) -> Result<Stake, ChainError> {
        self.up()?;
        let stake = self.a_stake();
        let mut ledger = self.ledger.borrow_mut();
        ledger.submitted.push(transaction.clone());
        if let Some(failure) = ledger.submissions.pop_front() {
            return Err(failure);
        }
        ledger.stake = Some(stake.clone());
        Ok(stake)
    }

    fn encode(&self, transaction: &Vec<u8>) -> Vec<u8> {
        transaction.clone()
    }

    fn decode(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        Some(bytes.to_vec())
    }

    async fn reread(&self, stake: &Stake) -> Result<Stake, ChainError> {
        self.up()?;
        if self.ledger.borrow().hangs {
            return std::future::pending().await;
        }
        let now = self.ledger.borrow().stake.clone().expect("a stake");
        assert_eq!(now.record, stake.record);
        Ok(now)
    }

    async fn confirm(&self, stake: &Stake) -> Result<Stake, ChainError> {
        let failure = self.ledger.borrow_mut().confirmations.pop_front();
        let Some(failure) = failure else {
            let confirmed = self.reread(stake).await?;
            self.ledger.borrow_mut().doubted = None;
            return Ok(confirmed);
        };
        let doubted = match &failure {
            ChainError::Unconfirmed { .. } => Some((stake.clone(), true)),
            ChainError::Disagreement { agreeing: 1.., .. } => Some((stake.clone(), false)),
            ChainError::Disagreement { .. } => None,
            _ => return Err(failure),
        };
        let before = std::mem::replace(&mut self.ledger.borrow_mut().doubted, doubted.clone());
        if before != doubted {
            self.emit(|now| match doubted.clone() {
                Some((stake, true)) => suspected(stake),
                Some((stake, false)) => contradicted(stake),
                None => WatchEvent::Cleared(now),
            });
        }
        Err(failure)
    }

    async fn request_unstake(&self, stake: &Stake) -> Result<(), ChainError> {
        self.up()?;
        assert!(matches!(
            stake.verdict,
            Verdict::Active | Verdict::BelowMinimum
        ));
        let mut ledger = self.ledger.borrow_mut();
        let stake = ledger.stake.as_mut().expect("a stake");
        stake.verdict = Verdict::Unbonding;
        stake.unbonding_until_ms = Some(1_700_000_600_000);
        Ok(())
    }

    async fn withdraw(&self, stake: &Stake) -> Result<(), ChainError> {
        self.up()?;
        assert_eq!(stake.verdict, Verdict::Unbonding);
        let mut ledger = self.ledger.borrow_mut();
        let stake = ledger.stake.as_mut().expect("a stake");
        let amount = std::mem::replace(&mut stake.amount, Mist(0));
        stake.verdict = Verdict::Withdrawn;
        ledger.coins += amount.0;
        Ok(())
    }

    async fn prepare_payout(&self, receiver: Address) -> Result<Option<FakePayout>, ChainError> {
        self.up()?;
        let ledger = self.ledger.borrow();
        Ok((ledger.coins > 0).then(|| FakePayout {
            receiver: receiver.to_bytes(),
            coins: ledger.coins,
            number: ledger.paid_out.len(),
        }))
    }

    async fn payout_expired(&self, _: &FakePayout) -> Result<bool, ChainError> {
        self.up()?;
        Ok(self.ledger.borrow().expired)
    }

    async fn submit_payout(&self, payout: &FakePayout) -> Result<(), ChainError> {
        self.up()?;
        let mut ledger = self.ledger.borrow_mut();
        ledger.payouts_submitted.push(self.encode_payout(payout));
        let (failure, executed) = ledger
            .payouts
            .pop_front()
            .map_or((None, true), |(failure, executed)| {
                (Some(failure), executed)
            });
        // submitted again, it does nothing
        if executed && payout.number == ledger.paid_out.len() {
            ledger.coins -= payout.coins;
            let receiver = Address::from_bytes(payout.receiver);
            ledger.paid_out.push((receiver, payout.coins));
        }
        failure.map_or(Ok(()), Err)
    }

    fn encode_payout(&self, payout: &FakePayout) -> Vec<u8> {
        bcs::to_bytes(payout).expect("small")
    }

    fn decode_payout(&self, bytes: &[u8], receiver: Address) -> Option<FakePayout> {
        let payout: FakePayout = bcs::from_bytes(bytes).ok()?;
        (payout.receiver == receiver.to_bytes()).then_some(payout)
    }

    async fn masters(&self) -> Result<Option<Vec<KnownMaster>>, ChainError> {
        self.up()?;
        Ok(self.ledger.borrow().masters.clone())
    }

    async fn watch(
        &self,
        stake: &Stake,
    ) -> Result<LocalBoxStream<'static, WatchEvent>, ChainError> {
        self.up()?;
        let (sender, receiver) = unbounded();
        let doubted = self.ledger.borrow().doubted.clone();
        if let Some((claim, alone)) = doubted {
            let event = if alone { suspected } else { contradicted };
            let _ = sender.unbounded_send(event(claim));
        }
        self.ledger.borrow_mut().watchers.push(sender);
        let state = (receiver, self.clone(), stake.clone());
        let events = stream::unfold(state, |(mut receiver, chain, stake)| async move {
            loop {
                tokio::select! {
                    event = receiver.next() => return event.map(|event| (event, (receiver, chain, stake))),
                    () = tokio::time::sleep(LOOK_AGAIN) => {}
                }
                let doubted = chain.ledger.borrow().doubted.clone();
                let claim = doubted.map(|(claim, _)| claim);
                let first = Some(&stake)
                    .filter(|stake| stake.verdict.stops_work())
                    .cloned();
                if let Some(claim) = claim.or(first)
                    && let Ok(stake) = chain.confirm(&claim).await
                {
                    return Some((certain(stake.clone()), (receiver, chain, stake)));
                }
            }
        });
        Ok(events.boxed_local())
    }
}

pub(crate) fn suspected(stake: Stake) -> WatchEvent {
    WatchEvent::Suspected {
        stake: Stake {
            verdict: match stake.verdict {
                Verdict::Active => Verdict::Slashed,
                verdict => verdict,
            },
            ..stake
        },
        by: "https://a.example".to_owned(),
        believed_after: Some(Duration::from_secs(60)),
    }
}

pub(crate) fn contradicted(stake: Stake) -> WatchEvent {
    WatchEvent::Contradicted {
        stake,
        contrary: "https://b.example shows it as active".to_owned(),
    }
}

fn certain(stake: Stake) -> WatchEvent {
    match stake.verdict {
        Verdict::Slashed => WatchEvent::Slashed { stake, slash: None },
        Verdict::Withdrawn => WatchEvent::Withdrawn(stake),
        _ => WatchEvent::Changed { stake, slash: None },
    }
}

/// Measures something else each time, out of bounds on purpose.
#[derive(Default)]
pub(crate) struct FakeMeter(u32);

impl Meter for FakeMeter {
    fn measure(&mut self) -> Measurement {
        self.0 += 1;
        Measurement {
            usage: ResourceUsage {
                cpu_percent: f64::NAN,
                memory_percent: 140.0,
                disk_percent: 100.0 / f64::from(self.0),
            },
            running_pods: 3,
        }
    }
}
