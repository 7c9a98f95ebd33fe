//! The life of a node, from its key to its end.
//!
//! Two things run side by side once the stake is found: the watch over it (`watch`), and the
//! membership in the cluster (`membership`). Whichever sees the end first ends both. A stake that
//! can't be read is never an end, and neither is the master's word: only the chain's, confirmed.

use std::convert::Infallible;

use chain::{Stake, Verdict};
use tracing::{info, warn};
use wire::child::{PowerDesire, PowerOffReason};
use wire::status::{AgentState, DegradedReason, NodeState, Phase};

use crate::backoff::{ATTEMPTS, pause};
use crate::node::{End, StakeFailure, Staker};
use crate::seams::{Chain, Init, Master, Meter, Prepared};

impl<C: Chain, M: Master, I: Init, U: Meter> Staker<C, M, I, U> {
    /// Lives. Never returns: at the end it waits to be stopped.
    pub async fn run(&self) -> Infallible {
        let address = self.key.address();
        info!(node_id = self.node_id.as_str(), %address, "the configuration is read");
        self.board.reach(NodeState::Unsealed, Phase::Unsealed).await;
        let life = async {
            let end = self.live().await;
            self.finish(end).await
        };
        tokio::select! {
            never = life => never,
            never = self.desire.keep(&self.board) => never,
        }
    }

    async fn live(&self) -> End {
        if self.leaves {
            return self.leave().await;
        }
        if let Err(end) = self.ensure_stake().await {
            return end;
        }
        self.board.reach(NodeState::Staked, Phase::Staked).await;
        tokio::select! {
            end = self.watch() => end,
            end = self.take_part() => end,
            never = self.keep_seal_token() => match never {},
            never = self.watch_cluster() => match never {},
        }
    }

    async fn finish(&self, end: End) -> Infallible {
        match end.reason {
            PowerOffReason::Slashed => {
                self.board.reach(NodeState::Slashed, Phase::Slashed).await;
            }
            PowerOffReason::Unbonding => self.board.advance(NodeState::Unbonding).await,
        }
        warn!(detail = end.detail, "asking for the power to be cut");
        self.desire.power_off(PowerDesire::Off {
            reason: end.reason,
            detail: end.detail,
        });
        std::future::pending().await
    }

    /// Finds the stake, or stakes. Comes back when the stake works or waits to be topped up, and
    /// with the end where it is over.
    async fn ensure_stake(&self) -> Result<(), End> {
        let mut backoff = ATTEMPTS;
        loop {
            match self.find_or_stake().await {
                Ok(stake) if self.is_left_alone(&stake) => self.wait_for_restake(&stake).await,
                Ok(stake) => {
                    if self.take_stake(&stake).await? {
                        return Ok(());
                    }
                    // until it is certain, nothing is done with it
                    if let Some(end) = self.watch_until_certain(&stake).await {
                        return Err(end);
                    }
                }
                Err(failure) => self.stake_failed(&failure).await,
            }
            tokio::time::sleep(pause(&mut backoff)).await;
        }
    }

    /// Whether the stake was withdrawn before this boot: then the node is no part of the cluster,
    /// and waits for its owner's word.
    fn is_left_alone(&self, stake: &Stake) -> bool {
        stake.verdict == Verdict::Withdrawn && self.board.echo().agent != AgentState::Wanted
    }

    async fn wait_for_restake(&self, stake: &Stake) {
        self.keep(stake);
        self.chain_works().await;
        let detail = format!(
            "the stake {} was withdrawn: set chain.restake = true to stake anew with this key, or \
             give the node another",
            stake.record
        );
        self.board.recover(DegradedReason::StakeBelowMinimum).await;
        self.board
            .degrade(DegradedReason::StakeWithdrawn, &detail)
            .await;
    }

    async fn find_or_stake(&self) -> Result<Stake, StakeFailure> {
        let kept = self.journal.pending();
        // that the journal can't be read matters only where there is no stake
        let bytes = kept.as_ref().ok().and_then(Option::as_deref);
        let mut pending = bytes.and_then(|bytes| self.chain.decode(bytes));
        // before the stake is looked for: had it been executed, it would be found then
        let expired = match &pending {
            Some(transaction) => self.chain.expired(transaction).await?,
            None => false,
        };
        let found = self.chain.find_stake().await?;
        match &found {
            Some(stake) if stake.verdict == Verdict::Withdrawn && self.restake => {}
            Some(stake) => {
                info!(record = %stake.record, amount = %stake.amount, verdict = %stake.verdict,
                    "the stake is on chain");
                if stake.verdict != Verdict::Withdrawn {
                    self.journal.clear();
                }
                return Ok(stake.clone());
            }
            None => {}
        }
        kept?;
        if expired && pending.take().is_some() {
            info!("the stake transaction that was cut off has expired, and was never executed");
            self.journal.clear();
        }
        let transaction = match pending {
            Some(transaction) => {
                info!("submitting the stake transaction again that was cut off");
                transaction
            }
            None => match self.prepare(found.as_ref()).await? {
                Prepared::Transaction(transaction) => transaction,
                Prepared::Staked(stake) => return Ok(*stake),
            },
        };
        let submitted = self.chain.submit_stake(&transaction).await;
        match &submitted {
            Ok(_) => self.journal.clear(),
            Err(failure) if failure.never_executed() => self.journal.clear(),
            // its fate is not known: it stays, and is submitted again
            Err(_) => {}
        }
        Ok(submitted?)
    }

    async fn prepare(
        &self,
        withdrawn: Option<&Stake>,
    ) -> Result<Prepared<C::Transaction>, StakeFailure> {
        let prepared = match withdrawn {
            Some(stake) => {
                info!(record = %stake.record, "staking anew what was withdrawn");
                Prepared::Transaction(self.chain.prepare_restake(stake).await?)
            }
            None => {
                info!("no stake on chain: staking");
                self.chain.prepare_stake().await?
            }
        };
        if let Prepared::Transaction(transaction) = &prepared {
            self.journal.keep(&self.chain.encode(transaction))?;
        }
        Ok(prepared)
    }
}
