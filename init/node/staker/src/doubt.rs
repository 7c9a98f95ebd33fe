//! The end of the stake, as the chain's watch reports it. This program holds no doubt of its own: it
//! follows the last report.

use chain::{ChainError, Stake, Verdict};
use tracing::{info, warn};
use wire::child::PowerOffReason;
use wire::status::DegradedReason;

use crate::desire::Hold;
use crate::explain;
use crate::node::{End, Staker};
use crate::seams::{Chain, Init, Master, Meter};

impl<C: Chain, M: Master, I: Init, U: Meter> Staker<C, M, I, U> {
    /// Takes a stake over that was read. One that is over is confirmed before; as long as it is not,
    /// nothing is done here: the watch hears of every doubt, and reports what it makes of it.
    ///
    /// # Errors
    /// The end of the node, where the stake is over, beyond doubt.
    pub(crate) async fn take_stake(&self, stake: &Stake) -> Result<(), End> {
        if !stake.verdict.is_over() {
            self.take_standing(stake).await;
            return Ok(());
        }
        match self.chain.confirm(stake).await {
            Ok(confirmed) => match self.end_of(&confirmed) {
                Some(end) => Err(end),
                None => {
                    self.take_standing(&confirmed).await;
                    Ok(())
                }
            },
            Err(failure @ (ChainError::Unconfirmed { .. } | ChainError::Disagreement { .. })) => {
                let detail = explain(&failure);
                warn!(verdict = %stake.verdict, detail, "the end of the stake is not confirmed");
                Ok(())
            }
            Err(failure) => {
                self.chain_failed(&failure).await;
                Ok(())
            }
        }
    }

    /// One fullnode alone shows that the stake is over: agent and pods are stopped, which can be
    /// undone.
    pub(crate) async fn suspect(&self, stake: &Stake, detail: String) {
        self.doubt(stake.verdict, &detail).await;
        self.desire.hold(Hold::Suspicion, &detail);
    }

    /// Another fullnode contradicts: what runs goes on, and why is shown.
    pub(crate) async fn contradicted(&self, stake: &Stake, contrary: &str) {
        let detail = format!(
            "fullnodes disagree about the stake {}: one shows it as {}, {contrary}",
            stake.record, stake.verdict
        );
        self.doubt(stake.verdict, &detail).await;
        self.desire.release(Hold::Suspicion);
    }

    async fn doubt(&self, verdict: Verdict, detail: &str) {
        warn!(%verdict, detail, "the end of the stake is in doubt");
        self.doubted.set(Some(verdict));
        self.board
            .degrade(DegradedReason::ChainRefused, detail)
            .await;
    }

    /// Nobody shows that the stake is over (any more).
    pub(crate) async fn clear_doubt(&self) {
        if self.doubted.take().is_some() {
            info!("the end of the stake is in doubt no more");
            self.desire.release(Hold::Suspicion);
            self.board.recover(DegradedReason::ChainRefused).await;
        }
    }

    /// Keeps a stake that stands, and shows it. Below the pool's minimum the node runs nothing.
    pub(crate) async fn take_standing(&self, stake: &Stake) {
        self.keep(stake);
        self.chain_works().await;
        self.board.recover(DegradedReason::StakeWithdrawn).await;
        if stake.verdict == Verdict::Active {
            self.board.recover(DegradedReason::StakeBelowMinimum).await;
            self.desire.release(Hold::BelowMinimum);
            return;
        }
        let detail = format!(
            "the stake {} holds {}, {} less than the pool's minimum of {}: top it up (staker top-up, \
             or staking::top_up from any account); until then the node runs nothing",
            stake.record,
            stake.amount,
            stake.missing(),
            stake.minimum
        );
        self.board
            .degrade(DegradedReason::StakeBelowMinimum, &detail)
            .await;
        self.desire.hold(Hold::BelowMinimum, &detail);
    }

    /// The end that a confirmed stake means, if any.
    pub(crate) fn end_of(&self, stake: &Stake) -> Option<End> {
        if !stake.verdict.is_over() {
            return None;
        }
        let reason = match stake.verdict {
            Verdict::Slashed => PowerOffReason::Slashed,
            _ => PowerOffReason::Unbonding,
        };
        self.keep(stake);
        let detail = format!("the stake {} is {}", stake.record, stake.verdict);
        Some(End { reason, detail })
    }
}
