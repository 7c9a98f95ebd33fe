//! The seal token: renewed before its time is over, made anew where it is missing.

use std::convert::Infallible;
use std::time::Duration;

use chain::{Stake, Verdict};
use tracing::{info, warn};

use crate::backoff::{ATTEMPTS, pause};
use crate::explain;
use crate::node::Staker;
use crate::seams::{Chain, Init, Master, Meter};

/// How often the token's time is looked at.
const LOOK: Duration = Duration::from_secs(10);

/// The part of a token's time that is left when it is renewed: one in so many.
const RENEWED_AT: u64 = 3;

impl<C: Chain, M: Master, I: Init, U: Meter> Staker<C, M, I, U> {
    /// Keeps the stake with a token that counts.
    pub(crate) async fn keep_seal_token(&self) -> Infallible {
        let mut backoff = ATTEMPTS;
        loop {
            tokio::time::sleep(LOOK).await;
            let stake = self.stake.borrow().clone();
            let now_ms = (self.clock)().saturating_mul(1000);
            let Some(stake) = stake.filter(|stake| needs_seal_token(stake, now_ms)) else {
                continue;
            };
            info!(record = %stake.record, "taking a new seal token");
            match self.chain.renew_seal_token(&stake).await {
                Ok(renewed) => {
                    backoff.reset();
                    self.keep(&renewed);
                }
                Err(failure) => {
                    warn!(detail = explain(&failure), "no new seal token");
                    self.chain_failed(&failure).await;
                    tokio::time::sleep(pause(&mut backoff)).await;
                }
            }
        }
    }
}

fn needs_seal_token(stake: &Stake, now_ms: u64) -> bool {
    if stake.verdict != Verdict::Active {
        return false;
    }
    let Some(token) = stake.seal_token else {
        return true;
    };
    let lifetime = token.expires_at_ms.saturating_sub(token.issued_at_ms);
    token.expires_at_ms.saturating_sub(now_ms) < lifetime / RENEWED_AT
}
