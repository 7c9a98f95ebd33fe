//! The watch over the stake: the chain's event stream, for as long as the node lives.

use chain::WatchEvent;
use futures::StreamExt as _;
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::board::explain;
use crate::life::{End, Judgement, Staker};
use crate::seams::{Chain, Init, Master, Meter};

impl<C: Chain, M: Master, I: Init, U: Meter> Staker<C, M, I, U> {
    /// Watches until the stake is gone. A stream that ends is opened again.
    pub(crate) async fn watch(&self) -> End {
        let mut backoff = Backoff::default();
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
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    async fn take_event(&self, event: WatchEvent) -> Option<End> {
        let (stake, slash) = match event {
            // the read before each heartbeat tells whether the chain is out of reach altogether
            WatchEvent::Blind(failure) => {
                warn!(
                    detail = explain(&failure),
                    "the watch over the stake is blind"
                );
                return None;
            }
            WatchEvent::Doubtful { stake, error } => {
                self.doubt(&stake, &error).await;
                return None;
            }
            WatchEvent::Watching(stake) => {
                info!("the watch over the stake is up");
                (stake, None)
            }
            WatchEvent::Changed { stake, slash } => {
                info!(amount = %stake.amount, verdict = %stake.verdict, "the stake has changed");
                (stake, slash)
            }
            WatchEvent::Slashed { stake, slash } => {
                if let Some(slash) = slash {
                    warn!(amount = %slash.amount, reason_code = slash.reason, "the stake was slashed");
                }
                // confirmed already
                return self.judge_confirmed(&stake);
            }
            WatchEvent::Withdrawn(stake) => return self.judge_confirmed(&stake),
        };
        if let Some(slash) = slash {
            warn!(amount = %slash.amount, remaining = %slash.remaining, reason_code = slash.reason,
                "a part of the stake was slashed");
        }
        match self.judge(&stake).await {
            Judgement::Over(end) => Some(end),
            Judgement::Works | Judgement::Waits => None,
        }
    }
}
