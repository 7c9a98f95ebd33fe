//! The life of a node, from its key to its end.
//!
//! Two things run side by side once the stake is found: the watch over it (`watch`), and the
//! membership in the cluster (`membership`). Whichever sees the end first ends both. A stake that
//! can't be read is never an end, and neither is the master's word: only the chain's, confirmed.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use chain::{ChainError, NodeKey, Stake, Verdict};
use tracing::{info, warn};
use wire::child::PowerOffReason;
use wire::status::{DegradedReason, NodeState, Phase};

use crate::backoff::Backoff;
use crate::board::{Board, explain};
use crate::journal::Journal;
use crate::seams::{Chain, Init, Master, Meter, Prepared};

/// How long until `init` is asked again to power off, should the first message have been lost.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// How a node's life ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) reason: PowerOffReason,
    pub(crate) detail: String,
}

/// What a stake, as read, means for the node.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It works.
    Works,
    /// It does not count for the moment: too small, or gone by one fullnode's word alone.
    Waits,
    /// It is over, beyond doubt.
    Over(End),
}

/// Who the node is.
#[derive(Debug)]
pub struct Identity {
    /// Its name in the cluster and on chain.
    pub node_id: String,
    /// Its Sui key.
    pub key: Rc<NodeKey>,
}

/// Everything that a node's life needs.
pub struct Staker<C, M, I, U> {
    pub(crate) chain: C,
    pub(crate) master: M,
    pub(crate) board: Board<I>,
    pub(crate) meter: RefCell<U>,
    pub(crate) key: Rc<NodeKey>,
    pub(crate) node_id: String,
    pub(crate) journal: Journal,
    /// Seconds since 1970-01-01 UTC.
    pub(crate) clock: fn() -> u64,
    /// The stake, as last read.
    pub(crate) stake: RefCell<Option<Stake>>,
    /// Heartbeats that failed since the last one that was acknowledged, or since the last restart
    /// of the agent.
    pub(crate) failures: Cell<u32>,
    /// How many failures ask for a restart of the agent.
    pub(crate) failures_to_restart: Cell<u32>,
}

impl<C: Chain, M: Master, I: Init, U: Meter> Staker<C, M, I, U> {
    /// A node that has reached nothing yet.
    #[must_use]
    pub fn new(
        chain: C,
        master: M,
        board: Board<I>,
        meter: U,
        identity: Identity,
        journal: Journal,
        clock: fn() -> u64,
    ) -> Self {
        Self {
            chain,
            master,
            board,
            meter: RefCell::new(meter),
            key: identity.key,
            node_id: identity.node_id,
            journal,
            clock,
            stake: RefCell::new(None),
            failures: Cell::new(0),
            failures_to_restart: Cell::new(crate::membership::FAILURES_TO_RESTART),
        }
    }

    /// Where the node stands.
    pub fn board(&self) -> &Board<I> {
        &self.board
    }

    /// Lives. Never returns: at the end it waits to be stopped.
    pub async fn run(&self) -> Infallible {
        let address = self.key.address();
        info!(node_id = self.node_id, %address, "the configuration is read");
        self.board.reach(NodeState::Unsealed, Phase::Unsealed).await;
        let end = self.live().await;
        self.finish(&end).await
    }

    async fn live(&self) -> End {
        if let Err(end) = self.ensure_stake().await {
            return end;
        }
        self.board.reach(NodeState::Staked, Phase::Staked).await;
        tokio::select! {
            end = self.watch() => end,
            end = self.take_part() => end,
        }
    }

    async fn finish(&self, end: &End) -> Infallible {
        match end.reason {
            PowerOffReason::Slashed => {
                self.board.reach(NodeState::Slashed, Phase::Slashed).await;
            }
            PowerOffReason::Unbonding => self.board.advance(NodeState::Unbonding).await,
        }
        loop {
            warn!(detail = end.detail, "asking for the power to be cut");
            self.board.power_off(end.reason, &end.detail).await;
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// Finds the stake, or stakes. Comes back when the stake works or waits to be topped up, and
    /// with the end where it is over.
    async fn ensure_stake(&self) -> Result<(), End> {
        let mut backoff = Backoff::default();
        loop {
            match self.find_or_stake().await {
                Ok(stake) => match self.judge(&stake).await {
                    Judgement::Over(end) => return Err(end),
                    Judgement::Works => return Ok(()),
                    Judgement::Waits if stake.verdict == Verdict::BelowMinimum => return Ok(()),
                    // whether it is gone is not certain; until it is, nothing is done with it
                    Judgement::Waits => {}
                },
                Err(failure) => self.chain_failed(&failure).await,
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    async fn find_or_stake(&self) -> Result<Stake, ChainError> {
        if let Some(stake) = self.chain.find_stake().await? {
            info!(record = %stake.record, amount = %stake.amount, verdict = %stake.verdict,
                "the stake is on chain");
            self.journal.clear();
            return Ok(stake);
        }
        let pending = self.journal.pending();
        let transaction = match pending.and_then(|bytes| self.chain.decode(&bytes)) {
            Some(transaction) => {
                info!("submitting the stake transaction again that was cut off");
                transaction
            }
            None => {
                info!("no stake on chain: staking");
                let transaction = match self.chain.prepare_stake().await? {
                    Prepared::Transaction(transaction) => transaction,
                    Prepared::Staked(stake) => return Ok(*stake),
                };
                if let Err(error) = self.journal.keep(&self.chain.encode(&transaction)) {
                    warn!(%error, "the stake transaction can't be kept on disk before it is sent");
                }
                transaction
            }
        };
        match self.chain.submit_stake(&transaction).await {
            Ok(stake) => {
                self.journal.clear();
                Ok(stake)
            }
            Err(failure) => {
                if never_executed(&failure) {
                    self.journal.clear();
                }
                Err(failure)
            }
        }
    }

    /// Keeps what was read, shows it, and says what it means. Anything that ends the node's life
    /// is confirmed before.
    pub(crate) async fn judge(&self, stake: &Stake) -> Judgement {
        match stake.verdict {
            Verdict::Active | Verdict::BelowMinimum => self.judge_standing(stake).await,
            Verdict::Slashed | Verdict::Unbonding | Verdict::Withdrawn => {
                match self.chain.confirm(stake).await {
                    Ok(confirmed) => match self.judge_confirmed(&confirmed) {
                        Some(end) => Judgement::Over(end),
                        None => self.judge_standing(&confirmed).await,
                    },
                    Err(failure) => {
                        warn!(verdict = %stake.verdict, detail = explain(&failure),
                            "the end of the stake is not confirmed");
                        self.chain_failed(&failure).await;
                        Judgement::Waits
                    }
                }
            }
        }
    }

    async fn judge_standing(&self, stake: &Stake) -> Judgement {
        self.keep(stake);
        self.chain_works().await;
        if stake.verdict == Verdict::Active {
            self.board.recover(DegradedReason::StakeBelowMinimum).await;
            return Judgement::Works;
        }
        let detail = format!(
            "the stake {} holds {}, less than the pool's minimum: top it up",
            stake.record, stake.amount
        );
        self.board
            .degrade(DegradedReason::StakeBelowMinimum, &detail)
            .await;
        Judgement::Waits
    }

    /// The end that a confirmed stake means, if any.
    pub(crate) fn judge_confirmed(&self, stake: &Stake) -> Option<End> {
        let reason = match stake.verdict {
            Verdict::Active | Verdict::BelowMinimum => return None,
            Verdict::Slashed => PowerOffReason::Slashed,
            Verdict::Unbonding | Verdict::Withdrawn => PowerOffReason::Unbonding,
        };
        self.keep(stake);
        let detail = format!("the stake {} is {}", stake.record, stake.verdict);
        Some(End { reason, detail })
    }

    fn keep(&self, stake: &Stake) {
        let mut stake = stake.clone();
        let mut kept = self.stake.borrow_mut();
        if stake.seal_token.is_none() {
            // a record that was read by itself does not name its token
            stake.seal_token = kept.as_ref().and_then(|before| before.seal_token);
        }
        self.board.show_stake(&stake);
        *kept = Some(stake);
    }

    /// Gives the reason of a failed conversation with the chain.
    pub(crate) async fn chain_failed(&self, failure: &ChainError) {
        let reason = match failure {
            ChainError::BalanceShort { .. } => DegradedReason::BalanceShort,
            ChainError::BelowMinimum { .. } => DegradedReason::StakeBelowMinimum,
            failure if failure.retryable() => DegradedReason::ChainUnreachable,
            _ => DegradedReason::ChainRefused,
        };
        self.board.degrade(reason, &explain(failure)).await;
    }

    async fn chain_works(&self) {
        for reason in [
            DegradedReason::ChainUnreachable,
            DegradedReason::ChainRefused,
            DegradedReason::BalanceShort,
        ] {
            self.board.recover(reason).await;
        }
    }
}

/// Whether a failed submission says for certain that this transaction will never be executed.
fn never_executed(failure: &ChainError) -> bool {
    matches!(
        failure,
        ChainError::Aborted { .. } | ChainError::Failed { .. } | ChainError::Refused { .. }
    )
}
