//! Watching a stake: the event stream tells when to look, looking tells what is so.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use wire::backoff::Backoff;

use super::Chain;
use crate::error::ChainError;
use crate::rpc::{EventFeed, FeedItem, Fullnode};
use crate::stake::{Slash, Stake, Verdict};

/// News that wait to be taken; the watch pauses when there are more.
const BACKLOG: usize = 16;

/// The longest pause before another try, and all of them.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const PAUSES: Backoff = Backoff::new(Duration::from_millis(500), LONGEST_PAUSE);

/// How soon to look again when an event and the record do not fit together yet.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The longest pause without a stream, while the end of the stake is in doubt.
const LONGEST_DOUBT_PAUSE: Duration = Duration::from_secs(5);

/// How often in a row a feed may break before another fullnode is asked.
const PATIENCE: u32 = 3;

/// What a watch over a record reports: each change of what is known of it, once.
///
/// What stops work, the end of a stake or less than the minimum ([`Verdict::stops_work`]), is reported
/// as `Changed`, `Slashed` or `Withdrawn` only when it is confirmed ([`Chain::confirm`]). Until then it is `Suspected` or `Contradicted`, and in
/// the end confirmed or `Cleared`.
#[derive(Debug)]
pub enum WatchEvent {
    /// The event stream is up (again), and the record was read after it began: nothing that
    /// happened before has been missed. The stake stands as last reported. Never one that stops
    /// work and is not confirmed.
    Watching(Stake),
    /// The record changed: a part of it was slashed, it unbonds, or the like. Read again.
    Changed {
        /// As it is now.
        stake: Stake,
        /// The event behind it, where one was seen.
        slash: Option<Slash>,
    },
    /// All of the stake is gone. The watch ends after it.
    Slashed {
        /// As it is now.
        stake: Stake,
        /// The event behind it, where one was seen.
        slash: Option<Slash>,
    },
    /// The owner has withdrawn the stake. The watch ends after it.
    Withdrawn(Stake),
    /// One fullnode alone shows what stops work; no other says anything, or is configured.
    Suspected {
        /// As that fullnode shows it.
        stake: Stake,
        /// Its URL.
        by: String,
        /// How long it has to show that until it is believed; `None`: it is the only one configured,
        /// and has to show it at a later checkpoint.
        believed_after: Option<Duration>,
    },
    /// A fullnode shows what stops work, and another shows something else.
    Contradicted {
        /// As the first of them shows it.
        stake: Stake,
        /// Who shows what instead.
        contrary: String,
    },
    /// What was suspected or contradicted is shown by no fullnode any more. The stake as it
    /// is now.
    Cleared(Stake),
    /// The watch is blind for now; it goes on trying, with growing pauses.
    Blind(ChainError),
}

/// A watch over one stake: a stream that ends when the stake does. Dropping it ends it too.
#[derive(Debug)]
pub struct StakeWatch {
    events: mpsc::Receiver<WatchEvent>,
    task: JoinHandle<()>,
}

impl StakeWatch {
    /// The next news; `None` after [`WatchEvent::Slashed`] or [`WatchEvent::Withdrawn`].
    /// Cancelling it loses nothing.
    pub async fn next(&mut self) -> Option<WatchEvent> {
        self.events.recv().await
    }
}

impl Stream for StakeWatch {
    type Item = WatchEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<WatchEvent>> {
        self.events.poll_recv(cx)
    }
}

impl Drop for StakeWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Chain {
    /// Watches a stake until it is slashed whole or withdrawn, through every outage.
    ///
    /// A `Slashed` event only says that it is time to look: what counts is the record, read
    /// again; and what stops work ([`Verdict::stops_work`]) is confirmed ([`Chain::confirm`]). The
    /// record is read again every [`crate::Timeouts::reread`] besides, whatever the stream says;
    /// soon where it is in doubt, be it that another caller of [`Chain::confirm`] found that;
    /// and after each try where there is no stream at all.
    ///
    /// Must be called within a tokio runtime.
    pub fn watch_stake(&self, stake: &Stake) -> StakeWatch {
        let (tell, events) = mpsc::channel(BACKLOG);
        let watcher = Watcher {
            chain: self.clone(),
            certain: !stake.verdict.stops_work(),
            known: stake.clone(),
            tell,
            slash: None,
            blind: false,
            started: false,
            doubt: Doubt::None,
            turn: 0,
        };
        StakeWatch {
            events,
            task: tokio::spawn(watcher.run()),
        }
    }
}

/// Why the watch on one fullnode ended.
enum End {
    /// The stake is gone, or nobody listens any more.
    Over,
    /// This fullnode is no use for now.
    Lost(ChainError),
}

/// What a look at the record came to.
enum Look {
    /// It is as it should be.
    Settled,
    /// Event and record, or the fullnodes, do not fit together yet.
    Unsettled,
}

/// What was reported of a doubt. The doubt itself is the chain's, which all callers of
/// [`Chain::confirm`] share.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Doubt {
    None,
    Suspected { by: String },
    Contradicted,
}

struct Watcher {
    chain: Chain,
    known: Stake,
    /// Whether `known` lets work go on, or is confirmed. Where the watch began with what stops work, it
    /// is not: whatever is read next is news then.
    certain: bool,
    tell: mpsc::Sender<WatchEvent>,
    /// The last slash that was seen but is not told yet.
    slash: Option<Slash>,
    /// Whether an outage was told, and not yet its end.
    blind: bool,
    /// What was reported last of a doubt about the stake.
    doubt: Doubt,
    /// Counts the looks: which fullnode is asked first.
    turn: usize,
    /// Whether the watch has been up at all.
    started: bool,
}

impl Watcher {
    async fn run(mut self) {
        let mut pauses = PAUSES;
        let mut index = 0;
        loop {
            let chain = self.chain.clone();
            let fullnodes = &chain.inner.fullnodes;
            let Some(fullnode) = fullnodes.get(index % fullnodes.len().max(1)) else {
                return;
            };
            let began = Instant::now();
            match self.watch_on(fullnode).await {
                End::Over => return,
                End::Lost(error) => {
                    if self.tell_blind(error).await.is_err() {
                        return;
                    }
                }
            }
            // without a stream the record can be read all the same
            match self.look().await {
                Ok(Ok(_look)) => {}
                Ok(Err(_over)) => return,
                Err(error) => tracing::debug!(%error, "the record can't be read either"),
            }
            index = index.wrapping_add(1);
            if began.elapsed() > LONGEST_PAUSE {
                pauses.reset();
            }
            let pause = match self.doubt {
                Doubt::None => pauses.fail(),
                _ => pauses.fail().min(LONGEST_DOUBT_PAUSE),
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = chain.inner.doubted.notified() => {}
                () = self.tell.closed() => return,
            }
        }
    }

    async fn watch_on(&mut self, fullnode: &Fullnode) -> End {
        match self.follow(fullnode).await {
            Ok(end) => end,
            Err(error) => End::Lost(error),
        }
    }

    async fn follow(&mut self, fullnode: &Fullnode) -> Result<End, ChainError> {
        let chain = self.chain.clone();
        let doubted = &chain.inner.doubted;
        fullnode.verify().await?;
        let mut feed = fullnode.slashes(self.chain.inner.package);
        match first(fullnode, &mut feed, self.chain.inner.timeouts.call).await? {
            FeedItem::Slashed(slashed) => self.saw(&slashed),
            FeedItem::Broken { error, .. } => return Err(error),
            FeedItem::Progress | FeedItem::Restored => false,
        };
        // after the feed has begun, so that nothing falls in between
        let mut look_at = match self.look().await? {
            Ok(look) => self.look_at(look),
            Err(end) => return Ok(end),
        };
        if self.watching().await.is_err() {
            return Ok(End::Over);
        }
        loop {
            // a point in time, not a pause: frames that tell nothing come several times a second
            let look = tokio::select! {
                () = self.tell.closed() => return Ok(End::Over),
                () = tokio::time::sleep_until(look_at) => true,
                () = doubted.notified() => true,
                item = fullnode.next(&mut feed) => match item? {
                    FeedItem::Progress => false,
                    FeedItem::Slashed(slashed) => self.saw(&slashed),
                    FeedItem::Restored => true,
                    FeedItem::Broken { error, times } => {
                        if times >= PATIENCE && self.chain.inner.fullnodes.len() > 1 {
                            return Err(error);
                        }
                        if self.tell_blind(error).await.is_err() {
                            return Ok(End::Over);
                        }
                        false
                    }
                },
            };
            if !look {
                continue;
            }
            let told = match self.look().await {
                Ok(Ok(look)) => {
                    look_at = self.look_at(look);
                    self.watching().await
                }
                Ok(Err(end)) => return Ok(end),
                Err(error) => {
                    look_at = self.look_at(Look::Unsettled);
                    self.tell_blind(error).await
                }
            };
            if told.is_err() {
                return Ok(End::Over);
            }
        }
    }

    /// When to look again.
    fn look_at(&self, look: Look) -> Instant {
        // found by another caller of `Chain::confirm` while this one looked
        let doubted = self.chain.doubted_claim(self.known.record).is_some();
        let look = if doubted { Look::Unsettled } else { look };
        Instant::now()
            + match look {
                Look::Settled => self.chain.inner.timeouts.reread,
                Look::Unsettled => LOOK_AGAIN,
            }
    }

    /// Takes note of a slash; whether it is about this stake.
    fn saw(&mut self, slashed: &crate::abi::Slashed) -> bool {
        if self.known.record != slashed.record.into() {
            return false;
        }
        self.slash = Some(Slash {
            record: self.known.record,
            amount: crate::Mist(slashed.amount),
            remaining: crate::Mist(slashed.remaining),
            reason: slashed.reason,
        });
        true
    }

    /// Reads the record and tells what changed.
    async fn look(&mut self) -> Result<Result<Look, End>, ChainError> {
        self.turn = self.turn.wrapping_add(1);
        let mut known = self.known.clone();
        if !self.certain {
            known.version = 0;
        }
        let now = self.chain.reread_by_turns(&known, self.turn).await?;
        let is_news =
            !self.certain || (now.version, now.verdict) != (self.known.version, self.known.verdict);
        let claim = if now.verdict.stops_work() && is_news {
            Some(now.clone())
        } else {
            self.chain.doubted_claim(now.record)
        };
        let Some(claim) = claim else {
            return Ok(self.stands(now).await);
        };
        match self.chain.confirm(&claim).await {
            Ok(stake) => {
                self.doubt = Doubt::None;
                Ok(self.take(stake).await)
            }
            Err(ChainError::Unconfirmed {
                fullnode,
                needed_seconds,
                ..
            }) => {
                let doubt = Doubt::Suspected {
                    by: fullnode.clone(),
                };
                let event = WatchEvent::Suspected {
                    stake: claim,
                    by: fullnode,
                    believed_after: needed_seconds.map(Duration::from_secs),
                };
                Ok(self.tell_doubt(doubt, event).await)
            }
            Err(ChainError::Disagreement { agreeing: 0, .. })
                if now.verdict.stops_work() && is_news =>
            {
                Ok(Ok(Look::Unsettled))
            }
            Err(ChainError::Disagreement { agreeing: 0, .. }) => Ok(self.stands(now).await),
            Err(ChainError::Disagreement { contrary, .. }) => {
                let event = WatchEvent::Contradicted {
                    stake: claim,
                    contrary,
                };
                Ok(self.tell_doubt(Doubt::Contradicted, event).await)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes a record as it is, where it is not in doubt (any more).
    async fn stands(&mut self, now: Stake) -> Result<Look, End> {
        if std::mem::replace(&mut self.doubt, Doubt::None) != Doubt::None {
            let told = self.tell.send(WatchEvent::Cleared(now.clone())).await;
            told.map_err(|_closed| End::Over)?;
        }
        let known = (self.known.version, self.known.verdict);
        if !self.certain || (now.version, now.verdict) != known {
            return self.take(now).await;
        }
        // An event without a change: the record was read after it already, or else the fullnode
        // that was asked does not know of it yet. Stakes only ever shrink.
        match self.slash {
            Some(slash) if slash.remaining < self.known.amount => Ok(Look::Unsettled),
            _ => {
                self.slash = None;
                Ok(Look::Settled)
            }
        }
    }

    /// Takes over what is certain, and tells it.
    async fn take(&mut self, stake: Stake) -> Result<Look, End> {
        self.known = stake.clone();
        self.certain = true;
        let slash = self.slash.take();
        let (event, over) = match stake.verdict {
            Verdict::Slashed => (WatchEvent::Slashed { stake, slash }, true),
            Verdict::Withdrawn => (WatchEvent::Withdrawn(stake), true),
            _ => (WatchEvent::Changed { stake, slash }, false),
        };
        let told = self.tell.send(event).await;
        if over || told.is_err() {
            Err(End::Over)
        } else {
            Ok(Look::Settled)
        }
    }

    /// Tells a doubt, once until it changes; and looks again soon.
    async fn tell_doubt(&mut self, doubt: Doubt, event: WatchEvent) -> Result<Look, End> {
        if self.doubt == doubt {
            return Ok(Look::Unsettled);
        }
        self.doubt = doubt;
        let told = self.tell.send(event).await;
        told.map_or(Err(End::Over), |()| Ok(Look::Unsettled))
    }

    /// Tells that the watch is up, where the last word was that it is not.
    async fn watching(&mut self) -> Result<(), Closed> {
        if self.doubt != Doubt::None || !self.certain {
            // reported once it is settled
            return Ok(());
        }
        if !std::mem::replace(&mut self.blind, false) && self.started {
            return Ok(());
        }
        self.started = true;
        self.tell
            .send(WatchEvent::Watching(self.known.clone()))
            .await
            .map_err(|_error| Closed)
    }

    /// Tells that the watch is blind, once for each outage.
    async fn tell_blind(&mut self, error: ChainError) -> Result<(), Closed> {
        if std::mem::replace(&mut self.blind, true) {
            tracing::debug!(%error, "still blind");
            return Ok(());
        }
        self.tell
            .send(WatchEvent::Blind(error))
            .await
            .map_err(|_error| Closed)
    }
}

/// Nobody listens any more.
struct Closed;

async fn first(
    fullnode: &Fullnode,
    feed: &mut EventFeed,
    limit: Duration,
) -> Result<FeedItem, ChainError> {
    tokio::time::timeout(limit, fullnode.next(feed))
        .await
        .map_err(|_elapsed| fullnode.late("SubscribeEvents", limit))?
}
