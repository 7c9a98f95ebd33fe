//! What stops work, the end of the stake or less than the minimum, as the chain's watch reports it.
//! This program holds no doubt of its own: it follows the last report.

use chain::{ChainError, Stake, Verdict};
use tracing::{info, warn};
use wire::child::PowerOffReason;
use wire::status::DegradedReason;

use crate::desire::Hold;
use crate::explain;
use crate::node::{End, Staker};
use crate::seams::{Chain, Init, Master, Meter};

impl<C: Chain, M: Master, I: Init, U: Meter> Staker<C, M, I, U> {
    /// Takes a stake over that was read. What stops work is confirmed before; as long as it is not,
    /// nothing is done here: the watch hears of every doubt, and reports what it makes of it. Whether
    /// it was taken over.
    ///
    /// # Errors
    /// The end of the node, where the stake is over, beyond doubt.
    pub(crate) async fn take_stake(&self, stake: &Stake) -> Result<bool, End> {
        if !stake.verdict.stops_work() || self.is_known(stake) {
            self.take_standing(stake).await;
            return Ok(true);
        }
        match self.chain.confirm(stake).await {
            Ok(confirmed) => match self.end_of(&confirmed) {
                Some(end) => Err(end),
                None => {
                    self.take_standing(&confirmed).await;
                    Ok(true)
                }
            },
            Err(failure @ (ChainError::Unconfirmed { .. } | ChainError::Disagreement { .. })) => {
                let detail = explain(&failure);
                warn!(verdict = %stake.verdict, detail, "what stops work is not confirmed");
                Ok(false)
            }
            Err(failure) => {
                self.chain_failed(&failure).await;
                Ok(false)
            }
        }
    }

    /// Whether a stake below the minimum is the one that was confirmed before.
    fn is_known(&self, stake: &Stake) -> bool {
        let known = self.stake.borrow();
        let seen = |stake: &Stake| (stake.version, stake.verdict, stake.minimum);
        stake.verdict == Verdict::BelowMinimum
            && known
                .as_ref()
                .is_some_and(|known| seen(known) == seen(stake))
    }

    /// One fullnode alone shows what stops work. That the stake is over stops agent and pods before
    /// it is confirmed, as it ends in a power-off; that it is below the minimum does nothing more
    /// than stop them, so it waits until it is.
    pub(crate) async fn suspect(&self, stake: &Stake, detail: String) {
        self.doubt(stake.verdict, &detail).await;
        if stake.verdict == Verdict::BelowMinimum {
            self.desire.release(Hold::Suspicion);
        } else {
            self.desire.hold(Hold::Suspicion, &detail);
        }
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
        warn!(%verdict, detail, "what stops work is in doubt");
        self.doubted.set(Some(verdict));
        self.board
            .degrade(DegradedReason::ChainRefused, detail)
            .await;
    }

    /// No fullnode shows what stops work (any more), or it is certain.
    pub(crate) async fn clear_doubt(&self) {
        if self.doubted.take().is_some() {
            info!("the stake is in doubt no more");
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
