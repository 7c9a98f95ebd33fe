//! A stake that seems gone, and is not known to be: what is done until it is certain.

use std::time::Duration;

use chain::{ChainError, Stake};
use tracing::{info, warn};
use wire::status::DegradedReason;

use crate::agent::Hold;
use crate::board::explain;
use crate::life::{End, Judgement, Staker};
use crate::seams::{Chain, Init, Master, Meter};

/// How often a stake that seems gone is judged again.
const JUDGE_AGAIN: Duration = Duration::from_secs(5);

impl<C: Chain, M: Master, I: Init, U: Meter> Staker<C, M, I, U> {
    /// Asks for a second opinion on a stake that seems gone, and keeps the doubt until there is
    /// one.
    pub(crate) async fn corroborate(&self, stake: &Stake) -> Judgement {
        match self.chain.confirm(stake).await {
            Ok(confirmed) => {
                self.clear_doubt().await;
                match self.judge_confirmed(&confirmed) {
                    Some(end) => Judgement::Over(end),
                    None => self.judge_standing(&confirmed).await,
                }
            }
            Err(ChainError::Disagreement { agreeing: 0, .. }) => {
                info!(record = %stake.record, "no fullnode shows the stake as {} any more", stake.verdict);
                self.clear_doubt().await;
                Judgement::Waits
            }
            Err(failure) => {
                self.doubt(stake, &failure).await;
                Judgement::Waits
            }
        }
    }

    /// Keeps the doubt. While one fullnode alone shows that the stake is gone, and no other says
    /// anything else, the agent and the pods are stopped, which can be undone.
    pub(crate) async fn doubt(&self, stake: &Stake, failure: &ChainError) {
        let detail = explain(failure);
        warn!(verdict = %stake.verdict, detail, "the end of the stake is not confirmed");
        *self.unconfirmed.borrow_mut() = Some(stake.clone());
        match failure {
            ChainError::Unconfirmed { .. } => {
                self.hold_agent(Hold::Suspicion, detail.clone()).await;
            }
            ChainError::Disagreement { .. } => self.release_agent(Hold::Suspicion).await,
            // nobody answers: nothing new is known
            _ => {}
        }
        self.chain_failed(failure).await;
    }

    async fn clear_doubt(&self) {
        if self.unconfirmed.borrow_mut().take().is_some() {
            self.release_agent(Hold::Suspicion).await;
            self.board.recover(DegradedReason::ChainRefused).await;
        }
    }

    /// Judges again for as long as there is a doubt, whatever else happens.
    pub(crate) async fn reconsider(&self) -> End {
        loop {
            tokio::time::sleep(JUDGE_AGAIN).await;
            let Some(stake) = self.unconfirmed.borrow().clone() else {
                continue;
            };
            if let Judgement::Over(end) = self.corroborate(&stake).await {
                return end;
            }
        }
    }
}
