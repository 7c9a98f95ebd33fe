//! The life of a node, from its key to its end.
//!
//! Two things run side by side once the stake is found: the watch over it (`watch`), and the
//! membership in the cluster (`membership`). Whichever sees the end first ends both. A stake that
//! can't be read is never an end, and neither is the master's word: only the chain's, confirmed.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::Rc;

use chain::{Address, ChainError, NodeKey, Stake, Verdict};
use tracing::{info, warn};
use wire::child::{PowerDesire, PowerOffReason};
use wire::status::{AgentState, DegradedReason, NodeState, Phase};

use crate::backoff::{ATTEMPTS, pause};
use crate::board::{Board, explain};
use crate::desire::{Desire, Hold};
use crate::funding;
use crate::journal::Journal;
use crate::prover::Prover;
use crate::seams::{Chain, Init, Master, Meter, Prepared};

/// How a node's life ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) reason: PowerOffReason,
    pub(crate) detail: String,
}

/// Who the node is.
pub struct Identity {
    /// Its name in the cluster and on chain.
    pub node_id: String,
    /// Its Sui key.
    pub key: Rc<NodeKey>,
    /// Whether it stakes anew what was withdrawn.
    pub restake: bool,
    /// Whether it gives its stake up.
    pub leave: bool,
    /// Where a node that leaves sends its coins.
    pub payout: Option<Address>,
    /// Its TPM, which proves what it runs.
    pub prover: Prover,
}

/// Everything that a node's life needs.
pub struct Staker<C, M, I, U> {
    pub(crate) chain: C,
    pub(crate) master: M,
    pub(crate) board: Board<I>,
    pub(crate) meter: RefCell<U>,
    pub(crate) key: Rc<NodeKey>,
    pub(crate) node_id: String,
    pub(crate) prover: Prover,
    pub(crate) journal: Journal,
    /// Whether a stake that was withdrawn is made anew.
    restake: bool,
    /// Whether the stake is not wanted any more.
    leaves: bool,
    /// Where all coins are sent then.
    pub(crate) payout: Option<Address>,
    /// Seconds since 1970-01-01 UTC.
    pub(crate) clock: fn() -> u64,
    /// The stake, as last read.
    pub(crate) stake: RefCell<Option<Stake>>,
    /// Heartbeats that failed since the last one that was acknowledged, or since the last restart
    /// of the agent.
    pub(crate) failures: Cell<u32>,
    /// How many failures ask for a restart of the agent.
    pub(crate) failures_to_restart: Cell<u32>,
    /// What `init` is to make of agent and power.
    pub(crate) desire: Desire,
    /// What the watch last told of a doubt about the end of the stake: what it is doubted to be.
    pub(crate) doubted: Cell<Option<Verdict>>,
    /// Whether it was said where coins are to be sent, since there were enough.
    funding_shown: Cell<bool>,
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
            prover: identity.prover,
            journal,
            clock,
            stake: RefCell::new(None),
            failures: Cell::new(0),
            failures_to_restart: Cell::new(crate::membership::FAILURES_TO_RESTART),
            desire: Desire::default(),
            doubted: Cell::default(),
            funding_shown: Cell::default(),
            restake: identity.restake,
            leaves: identity.leave,
            payout: identity.payout,
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
            never = self.keep_token() => match never {},
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
                    self.take_stake(&stake).await?;
                    if !stake.verdict.is_over() {
                        return Ok(());
                    }
                    // until it is certain, nothing is done with it
                    if let Some(end) = self.watch_until_certain(&stake).await {
                        return Err(end);
                    }
                }
                Err(failure) => self.chain_failed(&failure).await,
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

    async fn find_or_stake(&self) -> Result<Stake, ChainError> {
        let pending = self.journal.pending();
        let mut pending = pending.and_then(|bytes| self.chain.decode(&bytes));
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
        submitted
    }

    async fn prepare(
        &self,
        withdrawn: Option<&Stake>,
    ) -> Result<Prepared<C::Transaction>, ChainError> {
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
        if let Prepared::Transaction(transaction) = &prepared
            && let Err(error) = self.journal.keep(&self.chain.encode(transaction))
        {
            warn!(%error, "the stake transaction can't be kept on disk before it is sent");
        }
        Ok(prepared)
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

    pub(crate) fn keep(&self, stake: &Stake) {
        self.board.show_stake(stake);
        *self.stake.borrow_mut() = Some(stake.clone());
    }

    /// Gives the reason of a failed conversation with the chain.
    pub(crate) async fn chain_failed(&self, failure: &ChainError) {
        let reason = match failure {
            ChainError::BalanceShort { .. } => DegradedReason::BalanceShort,
            ChainError::BelowMinimum { .. } => DegradedReason::StakeBelowMinimum,
            ChainError::Unconfirmed { .. } | ChainError::Disagreement { .. } => {
                DegradedReason::ChainRefused
            }
            failure if failure.retryable() => DegradedReason::ChainUnreachable,
            _ => DegradedReason::ChainRefused,
        };
        if reason == DegradedReason::BalanceShort && !self.funding_shown.replace(true) {
            self.show_funding();
        }
        self.board.degrade(reason, &explain(failure)).await;
    }

    /// For whoever stands before the machine.
    fn show_funding(&self) {
        let address = self.key.address();
        info!("send SUI to {address}");
        for line in funding::code(&address) {
            info!("{line}");
        }
    }

    pub(crate) async fn chain_works(&self) {
        self.board.recover(DegradedReason::ChainUnreachable).await;
        self.board.recover(DegradedReason::BalanceShort).await;
        self.funding_shown.set(false);
        // a doubt is not settled by one fullnode that knows of none
        if self.doubted.get().is_none() {
            self.board.recover(DegradedReason::ChainRefused).await;
        }
    }
}
