//! The watch over the stake: the chain's event stream, for as long as the node lives.

use chain::{Stake, WatchEvent};
use futures::StreamExt as _;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{info, warn};
use wire::status::DegradedReason;

use crate::backoff::{ATTEMPTS, pause};
use crate::explain;
use crate::membership::{READ_LIMIT, WAITING_INTERVAL};
use crate::node::{End, Staker};
use crate::seams::{Chain, Init, Master, Meter};

impl<C: Chain, M: Master, I: Init, U: Meter> Staker<C, M, I, U> {
    /// Watches until the stake is gone. A stream that ends is opened again.
    pub(crate) async fn watch(&self) -> End {
        let mut backoff = ATTEMPTS;
        loop {
            let stake = self.stake.borrow().clone();
            if let Some(stake) = stake {
                match self.chain.watch(&stake).await {
                    Ok(mut events) => {
                        while let Some(event) = events.next().await {
                            if matches!(event, WatchEvent::Watching(_)) {
                                backoff.reset();
                            }
                            if let Some(end) = self.take_event(event).await {
                                return end;
                            }
                        }
                        warn!("the watch over the stake has ended: opening it again");
                    }
                    Err(failure) => {
                        warn!(
                            detail = explain(&failure),
                            "the watch over the stake can't be opened"
                        );
                    }
                }
            }
            tokio::time::sleep(pause(&mut backoff)).await;
        }
    }

    /// Watches a stake of which a fullnode shows what stops work until it is certain: the end, or none
    /// where it stands, or the watch breaks off. There are no heartbeats meanwhile, so that an outage of the
    /// chain is shown here.
    pub(crate) async fn watch_until_certain(&self, stake: &Stake) -> Option<End> {
        let mut events = match self.chain.watch(stake).await {
            Ok(events) => events,
            Err(failure) => {
                self.chain_failed(&failure).await;
                return None;
            }
        };
        let mut reads = interval(WAITING_INTERVAL);
        reads.set_missed_tick_behavior(MissedTickBehavior::Delay);
        reads.reset();
        loop {
            let event = tokio::select! {
                event = events.next() => event?,
                _ = reads.tick() => {
                    self.look_for_outage(stake).await;
                    continue;
                }
            };
            let stands = match &event {
                WatchEvent::Watching(stake)
                | WatchEvent::Changed { stake, .. }
                | WatchEvent::Cleared(stake) => !stake.verdict.is_over(),
                _ => false,
            };
            match &event {
                WatchEvent::Blind(failure) => self.chain_failed(failure).await,
                // each of them was read
                _ => self.board.recover(DegradedReason::ChainUnreachable).await,
            }
            let end = self.take_event(event).await;
            if end.is_some() || stands {
                return end;
            }
        }
    }

    /// Shows whether the chain can be read at all. The watch reports an outage and a doubt once, and
    /// not that the same doubt is there again after an outage.
    async fn look_for_outage(&self, stake: &Stake) {
        let any_version = Stake {
            version: 0,
            ..stake.clone()
        };
        match timeout(READ_LIMIT, self.chain.reread(&any_version)).await {
            Ok(Ok(_)) => self.chain_works().await,
            Ok(Err(failure)) => self.chain_failed(&failure).await,
            Err(_) => self.read_took_too_long().await,
        }
    }

    async fn take_event(&self, event: WatchEvent) -> Option<End> {
        match event {
            // the reads beside the watch tell whether the chain is out of reach altogether
            WatchEvent::Blind(failure) => {
                let detail = explain(&failure);
                warn!(detail, "the watch over the stake is blind");
                None
            }
            WatchEvent::Suspected {
                stake,
                by,
                believed_after,
            } => {
                let until = match believed_after {
                    Some(time) => format!(
                        "no other answers, and alone it is believed after {} s",
                        time.as_secs()
                    ),
                    None => "it is believed at a later checkpoint, and has none".to_owned(),
                };
                let (record, verdict) = (stake.record, stake.verdict);
                let detail = format!("only fullnode {by} shows {record} as {verdict}; {until}");
                self.suspect(&stake, detail).await;
                None
            }
            WatchEvent::Contradicted { stake, contrary } => {
                self.contradicted(&stake, &contrary).await;
                None
            }
            WatchEvent::Watching(stake) => {
                info!("the watch over the stake is up");
                self.take_read(&stake).await
            }
            WatchEvent::Cleared(stake) => self.take_read(&stake).await,
            WatchEvent::Changed { stake, slash } => {
                info!(amount = %stake.amount, verdict = %stake.verdict, "the stake has changed");
                if let Some(slash) = slash {
                    warn!(amount = %slash.amount, remaining = %slash.remaining,
                        reason_code = slash.reason, "a part of the stake was slashed");
                }
                self.take_certain(&stake).await
            }
            WatchEvent::Slashed { stake, slash } => {
                if let Some(slash) = slash {
                    warn!(amount = %slash.amount, reason_code = slash.reason, "the stake was slashed");
                }
                self.take_certain(&stake).await
            }
            WatchEvent::Withdrawn(stake) => self.take_certain(&stake).await,
        }
    }

    /// Takes a stake over that the watch has read. Only changes are confirmed by it: what else stops
    /// work is confirmed here, before it counts.
    async fn take_read(&self, stake: &Stake) -> Option<End> {
        if stake.verdict.stops_work() {
            return self.take_stake(stake).await.err();
        }
        self.take_certain(stake).await
    }

    /// Takes a stake over that the watch reports as certain.
    async fn take_certain(&self, stake: &Stake) -> Option<End> {
        let end = self.end_of(stake);
        if end.is_none() {
            self.clear_doubt().await;
            self.take_standing(stake).await;
        }
        end
    }
}
