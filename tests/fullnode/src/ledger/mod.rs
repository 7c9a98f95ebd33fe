//! The ledger: what objects there are, which transactions ran, which checkpoints hold them.

mod event_log;
mod genesis;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sui_rpc::proto::sui::rpc::v2 as proto;
use sui_sdk_types::{Address, Digest, Object};
use tokio::sync::broadcast;

use crate::config::Config;
use crate::execution::{Outcome, Rejection};

pub(crate) use event_log::{Direction, EventAt, Position, Query, QueryError};
pub(crate) use genesis::object;

/// How many checkpoints a slow subscriber may be behind before it is cut off.
const BACKLOG: usize = 256;

/// One node: a ledger and those who follow it. Clones are the same node.
#[derive(Clone, Debug)]
pub struct Node {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ledger: Mutex<Ledger>,
    news: broadcast::Sender<Arc<News>>,
}

/// A checkpoint, as told to subscribers.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) sequence: u64,
    pub(crate) timestamp_ms: u64,
    pub(crate) transactions: Vec<proto::ExecutedTransaction>,
    pub(crate) events: Vec<EventAt>,
}

/// What does not change while the chain runs.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) chain_id: Digest,
    pub(crate) package: Address,
    pool: Address,
    pub(crate) gas_price: u64,
    epoch_ms: u64,
}

#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) terms: Terms,
    /// Objects as the last executed transaction left them: what the next one runs on.
    live: BTreeMap<Address, Object>,
    /// Objects as of the last checkpoint: what readers see.
    visible: BTreeMap<Address, Object>,
    /// Executed, and in no checkpoint yet.
    pending: Vec<Outcome>,
    transactions: HashMap<Digest, proto::ExecutedTransaction>,
    events: Vec<EventAt>,
    height: u64,
    timestamp_ms: u64,
    genesis_ms: u64,
    /// How far the chain's clock was set forward.
    ahead_ms: u64,
    /// How often each object was read by its id.
    reads: BTreeMap<Address, u64>,
}

impl Node {
    /// A node with nothing but its genesis.
    pub fn new(config: &Config) -> Self {
        let now = chain::now_ms();
        let objects: BTreeMap<Address, Object> = genesis::objects(config)
            .into_iter()
            .map(|object| (object.object_id(), object))
            .collect();
        let ledger = Ledger {
            terms: Terms {
                chain_id: config.chain_id.into(),
                package: config.package.into(),
                pool: config.pool.into(),
                gas_price: config.gas_price,
                epoch_ms: config.epoch_ms.max(1),
            },
            live: objects.clone(),
            visible: objects,
            pending: Vec::new(),
            transactions: HashMap::new(),
            events: Vec::new(),
            height: 0,
            timestamp_ms: now,
            genesis_ms: now,
            ahead_ms: 0,
            reads: BTreeMap::new(),
        };
        let (news, _) = broadcast::channel(BACKLOG);
        Self {
            shared: Arc::new(Shared {
                ledger: Mutex::new(ledger),
                news,
            }),
        }
    }

    /// Makes a checkpoint of what was executed since the last one, and tells its number.
    pub fn make_checkpoint(&self) -> u64 {
        let mut ledger = self.ledger();
        let news = ledger.checkpoint();
        let sequence = news.sequence;
        // without subscribers nobody is told
        let _nobody = self.shared.news.send(Arc::new(news));
        sequence
    }

    /// Sets the chain's clock forward.
    pub fn advance_clock(&self, milliseconds: u64) {
        let mut ledger = self.ledger();
        ledger.ahead_ms = ledger.ahead_ms.saturating_add(milliseconds);
    }

    /// Sets the price of gas, as a new epoch does.
    pub fn set_gas_price(&self, price: u64) {
        self.ledger().terms.gas_price = price;
    }

    /// Takes the shared objects over to another version, as an upgraded package does: what this
    /// double executes is of the first version, and refuses them from then on.
    pub fn migrate(&self, version: u64) {
        let mut ledger = self.ledger();
        let Ledger { live, visible, .. } = &mut *ledger;
        for object in live.values_mut().chain(visible.values_mut()) {
            if let Some(migrated) = genesis::migrated(object, version) {
                *object = migrated;
            }
        }
    }

    /// Adds a stake for each node, as if it had been there from the beginning: its record, and its
    /// name in the pool. None of them has a seal token. A test facility: 10,000 transactions take
    /// minutes.
    pub fn add_stakes(&self, nodes: &[(chain::PublicKey, String)], amount: chain::Mist) {
        let mut ledger = self.ledger();
        let Ledger {
            terms,
            live,
            visible,
            ..
        } = &mut *ledger;
        let Some(pool) = live.get(&terms.pool).cloned() else {
            return;
        };
        for object in genesis::stakes(terms.package, &pool, nodes, amount.0) {
            live.insert(object.object_id(), object.clone());
            visible.insert(object.object_id(), object);
        }
    }

    /// How many transactions were executed, failed ones too.
    pub fn executed_transactions(&self) -> usize {
        self.ledger().transactions.len()
    }

    /// How often each object was read by its id since this was last asked, those that are not
    /// there too. A test facility.
    pub fn take_reads(&self) -> BTreeMap<chain::ObjectId, u64> {
        let reads = std::mem::take(&mut self.ledger().reads);
        reads.into_iter().map(|(id, n)| (id.into(), n)).collect()
    }

    /// All SUI that coins, stakes and pools hold, in MIST. Only gas may make it less.
    pub fn supply(&self) -> u64 {
        self.ledger().live.values().map(genesis::holds).sum()
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // a panic while the lock was held has failed its own test already
        self.shared
            .ledger
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What the ledger is at, and every checkpoint after it.
    pub(crate) fn subscribe(&self) -> (u64, broadcast::Receiver<Arc<News>>) {
        // checkpoints are sent under this lock, so that none falls in between
        let ledger = self.ledger();
        (ledger.height, self.shared.news.subscribe())
    }
}

impl Ledger {
    /// The number of the last checkpoint, and its time in milliseconds since the Unix epoch.
    pub(crate) fn tip(&self) -> (u64, u64) {
        (self.height, self.timestamp_ms)
    }

    /// The time that a transaction sees.
    pub(crate) fn now_ms(&self) -> u64 {
        chain::now_ms().saturating_add(self.ahead_ms)
    }

    /// The current epoch.
    pub(crate) fn epoch(&self) -> u64 {
        1 + self.now_ms().saturating_sub(self.genesis_ms) / self.terms.epoch_ms
    }

    /// An object as of the last checkpoint.
    pub(crate) fn visible(&self, id: &Address) -> Option<Object> {
        let object = self.visible.get(id)?;
        if *id == chain::abi::CLOCK {
            return Some(genesis::clock(object.version(), self.timestamp_ms));
        }
        Some(object.clone())
    }

    /// Counts that an object is read.
    pub(crate) fn count_read(&mut self, id: Address) {
        *self.reads.entry(id).or_default() += 1;
    }

    /// All objects as of the last checkpoint, by id, from an id on.
    pub(crate) fn visible_after(&self, after: Option<Address>) -> impl Iterator<Item = &Object> {
        use std::ops::Bound;
        let lower = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.visible
            .range((lower, Bound::Unbounded))
            .map(|(_, object)| object)
    }

    /// An object as the next transaction would find it.
    pub(crate) fn live(&self, id: &Address) -> Option<&Object> {
        self.live.get(id)
    }

    /// All objects as the next transaction would find them.
    pub(crate) fn all_live(&self) -> impl Iterator<Item = &Object> {
        self.live.values()
    }

    /// A transaction that was executed. It has a checkpoint as soon as one holds it.
    pub(crate) fn transaction(&self, digest: &Digest) -> Option<&proto::ExecutedTransaction> {
        self.transactions.get(digest)
    }

    /// Keeps what a transaction did.
    pub(crate) fn commit(
        &mut self,
        outcome: Result<Outcome, Rejection>,
    ) -> Result<proto::ExecutedTransaction, Rejection> {
        let outcome = outcome?;
        for object in &outcome.written {
            self.live.insert(object.object_id(), object.clone());
        }
        for id in &outcome.deleted {
            self.live.remove(id);
        }
        let executed = outcome.executed.clone();
        self.transactions.insert(outcome.digest, executed.clone());
        self.pending.push(outcome);
        Ok(executed)
    }

    fn checkpoint(&mut self) -> News {
        self.height += 1;
        self.timestamp_ms = self.now_ms().max(self.timestamp_ms);
        let timestamp = timestamp(self.timestamp_ms);
        let mut transactions = Vec::with_capacity(self.pending.len());
        let mut events = Vec::new();
        for (index, outcome) in (0u64..).zip(std::mem::take(&mut self.pending)) {
            for object in outcome.written {
                self.visible.insert(object.object_id(), object);
            }
            for id in outcome.deleted {
                self.visible.remove(&id);
            }
            let mut executed = outcome.executed;
            executed.checkpoint = Some(self.height);
            executed.timestamp = Some(timestamp);
            executed.transaction_index = Some(index);
            events.extend(event_log::place(&executed, self.height, index));
            self.transactions.insert(outcome.digest, executed.clone());
            transactions.push(executed);
        }
        self.events.extend(events.iter().cloned());
        News {
            sequence: self.height,
            timestamp_ms: self.timestamp_ms,
            transactions,
            events,
        }
    }
}

/// A time in the form of protobuf.
pub(crate) fn timestamp(milliseconds: u64) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: i64::try_from(milliseconds / 1000).unwrap_or(i64::MAX),
        nanos: i32::try_from(milliseconds % 1000 * 1_000_000).unwrap_or(0),
    }
}
