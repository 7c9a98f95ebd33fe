//! Leaving: the stake is asked for, withdrawn, and sent on with all other coins.
//!
//! Nobody can log in to a node, and a key that is born in its TPM is nobody's else: so the node does
//! itself what its configuration says (`chain.leave`, `chain.beneficiary`). It runs nothing meanwhile. Every
//! step is taken from what the chain shows, so that a power cut anywhere is only a pause; coins are
//! sent by transactions that name the very coins, and are on disk before they are submitted.

use std::time::Duration;

use chain::{Address, ChainError, Stake, Verdict};
use tokio::time::sleep;
use tracing::{info, warn};
use wire::child::PowerOffReason;
use wire::status::{DegradedReason, NodeState};

use crate::backoff::{ATTEMPTS, pause};
use crate::desire::Hold;
use crate::node::{End, StakeFailure, Staker};
use crate::seams::{Chain, Init, Master, Meter};

/// Until the chain is looked at again after something was done.
const SOON: Duration = Duration::from_secs(2);
/// The longest until then while the stake unbonds: it can be slashed.
const WHILE_UNBONDING: Duration = Duration::from_secs(60);
/// How often coins are looked for that come late.
const LATE_COINS: Duration = Duration::from_secs(300);
/// How far the chain's clock can be behind the node's, in milliseconds.
const CLOCK_MARGIN: u64 = 5000;
/// How often in a row there is nothing to send after a withdrawal, until that is believed: a fullnode can
/// be behind.
const EMPTY_LOOKS: u32 = 30;
/// Transactions that send coins on, one after the other: each takes 255 coins.
const MOST_PAYOUTS: usize = 16;

/// What a look at the chain led to.
enum Step {
    /// Look again after this time.
    Wait(Duration),
    /// The node has left.
    Over(End),
}

/// What was done since the node was switched on.
#[derive(Default)]
struct Done {
    withdrawn: bool,
    sent: bool,
    /// Looks in a row that found nothing to send.
    empty: u32,
}

impl<C: Chain, M: Master, I: Init, U: Meter> Staker<C, M, I, U> {
    /// Leaves, however long it takes.
    pub(crate) async fn leave(&self) -> End {
        let reason = "the node leaves: chain.leave is set in its configuration";
        info!("{reason}");
        if self.beneficiary.is_none() {
            warn!("chain.beneficiary names no address: the coins stay with the node's key");
        }
        self.desire.hold(Hold::Leaving, reason);
        let (mut backoff, mut done) = (ATTEMPTS, Done::default());
        loop {
            let pause = match self.step(&mut done).await {
                Ok(Step::Over(end)) => return end,
                Ok(Step::Wait(pause)) => {
                    backoff.reset();
                    self.chain_works().await;
                    pause
                }
                Err(failure) => {
                    self.stake_failed(&failure).await;
                    pause(&mut backoff)
                }
            };
            sleep(pause).await;
        }
    }

    async fn step(&self, done: &mut Done) -> Result<Step, StakeFailure> {
        let Some(stake) = self.chain.find_stake().await? else {
            return self.settle(None, done).await;
        };
        self.keep(&stake);
        match stake.verdict {
            Verdict::Active | Verdict::BelowMinimum => {
                info!(record = %stake.record, amount = %stake.amount, "requesting the unstake");
                self.chain.request_unstake(&stake).await?;
                Ok(Step::Wait(SOON))
            }
            Verdict::Unbonding => Ok(self.withdraw(&stake, done).await?),
            // what can't be undone is not done on one fullnode's word
            Verdict::Slashed | Verdict::Withdrawn => {
                let confirmed = self.chain.confirm(&stake).await?;
                self.keep(&confirmed);
                match confirmed.verdict {
                    Verdict::Slashed | Verdict::Withdrawn => {
                        self.settle(Some(&confirmed), done).await
                    }
                    _ => Ok(Step::Wait(SOON)),
                }
            }
            Verdict::NotFound | Verdict::Unreachable => Ok(Step::Wait(WHILE_UNBONDING)),
        }
    }

    async fn withdraw(&self, stake: &Stake, done: &mut Done) -> Result<Step, ChainError> {
        self.board.advance(NodeState::Unbonding).await;
        let now = (self.clock)().saturating_mul(1000);
        let until = stake.unbonding_until_ms.unwrap_or_default();
        let left = until.saturating_add(CLOCK_MARGIN).saturating_sub(now);
        if until > 0 && left > 0 {
            let detail = format!(
                "the node leaves, and runs nothing: its stake {} of {} can be withdrawn at {} (seconds \
                 since 1970); it does that by itself, if it is on then",
                stake.record,
                stake.amount,
                until.div_ceil(1000)
            );
            let reason = DegradedReason::StakeWithdrawn;
            self.board.degrade(reason, &detail).await;
            let left = Duration::from_millis(left);
            return Ok(Step::Wait(left.min(WHILE_UNBONDING)));
        }
        info!(record = %stake.record, amount = %stake.amount, "withdrawing the stake");
        self.chain.withdraw(stake).await?;
        done.withdrawn = true;
        Ok(Step::Wait(SOON))
    }

    /// No stake stands: what is left is sent on, then the node goes off. One that had nothing to do
    /// stays, and says so.
    async fn settle(&self, stake: Option<&Stake>, done: &mut Done) -> Result<Step, StakeFailure> {
        let own = self.key.address();
        let receiver = self.beneficiary.filter(|receiver| *receiver != own);
        if let Some(receiver) = receiver {
            if self.send_all(receiver).await? {
                (done.sent, done.empty) = (true, 0);
                // what a fullnode that is behind did not show
                return Ok(Step::Wait(SOON));
            }
            done.empty = done.empty.saturating_add(1);
            if done.withdrawn && !done.sent && done.empty < EMPTY_LOOKS {
                return Ok(Step::Wait(SOON));
            }
        }
        if let Some(stake) = stake.filter(|stake| stake.verdict == Verdict::Slashed) {
            let detail = format!("the stake {} is {}", stake.record, stake.verdict);
            let reason = PowerOffReason::Slashed;
            return Ok(Step::Over(End { reason, detail }));
        }
        let coins = receiver.map_or_else(
            || format!("its coins are at {own}"),
            |receiver| format!("its coins were sent to {receiver}"),
        );
        if done.withdrawn || done.sent {
            let detail = format!("the node has left: {coins}");
            let reason = PowerOffReason::Unbonding;
            return Ok(Step::Over(End { reason, detail }));
        }
        let detail = format!(
            "the node has left, {coins}: switch it off; to stake anew, take chain.leave out of the \
             configuration, set chain.restake = true, and fund the address {own}"
        );
        let reason = DegradedReason::StakeWithdrawn;
        self.board.degrade(reason, &detail).await;
        Ok(Step::Wait(LATE_COINS))
    }

    /// Sends on whatever pays for its own sending. Whether there was something.
    async fn send_all(&self, receiver: Address) -> Result<bool, StakeFailure> {
        let journal = self.journal.of_payout();
        let kept = journal.pending()?;
        let mut pending = kept.and_then(|bytes| self.chain.decode_payout(&bytes, receiver));
        if let Some(payout) = &pending
            && self.chain.payout_expired(payout).await?
        {
            info!("the transaction with the coins that was cut off has expired");
            journal.clear();
            pending = None;
        }
        let mut sent = false;
        for _ in 0..MOST_PAYOUTS {
            let payout = match pending.take() {
                Some(payout) => {
                    info!("submitting the transaction with the coins again that was cut off");
                    payout
                }
                None => {
                    let Some(payout) = self.chain.prepare_payout(receiver).await? else {
                        break;
                    };
                    info!(%receiver, "sending all coins on");
                    journal.keep(&self.chain.encode_payout(&payout))?;
                    payout
                }
            };
            let submitted = self.chain.submit_payout(&payout).await;
            match &submitted {
                Ok(()) => journal.clear(),
                Err(failure) if failure.never_executed() => journal.clear(),
                // its fate is not known: it stays, and is submitted again, and no other is signed
                Err(_) => {}
            }
            submitted?;
            sent = true;
        }
        Ok(sent)
    }
}
