//! The watch over the stake: the chain's event stream, for as long as the node lives.

use chain::{Stake, WatchEvent};
use futures::StreamExt as _;
use tracing::{info, warn};

use crate::backoff::{ATTEMPTS, pause};
use crate::explain;
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

    /// Watches a stake that a fullnode shows as over until it is certain: the end, or none where it
    /// stands, or the watch breaks off.
    pub(crate) async fn watch_until_certain(&self, stake: &Stake) -> Option<End> {
        let mut events = match self.chain.watch(stake).await {
            Ok(events) => events,
            Err(failure) => {
                self.chain_failed(&failure).await;
                return None;
            }
        };
        while let Some(event) = events.next().await {
            let stands = matches!(
                event,
                WatchEvent::Watching(_) | WatchEvent::Changed { .. } | WatchEvent::Cleared(_)
            );
            let end = self.take_event(event).await;
            if end.is_some() || stands {
                return end;
            }
        }
        None
    }

    async fn take_event(&self, event: WatchEvent) -> Option<End> {
        match event {
            // the read before each heartbeat tells whether the chain is out of reach altogether
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
                let detail = format!(
                    "only fullnode {by} shows {} as {}; no other answers, and alone it is believed \
                     after {} s",
                    stake.record,
                    stake.verdict,
                    believed_after.as_secs()
                );
                self.suspect(&stake, detail).await;
                None
            }
            WatchEvent::Contradicted { stake, contrary } => {
                self.contradicted(&stake, &contrary).await;
                None
            }
            WatchEvent::Watching(stake) => {
                info!("the watch over the stake is up");
                self.take_certain(&stake).await
            }
            WatchEvent::Cleared(stake) => self.take_certain(&stake).await,
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
