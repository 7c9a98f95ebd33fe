//! Staking: a transaction that is kept before it is sent, and sent until its fate is known.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use chain_types::{Mist, ParseError, TransactionId};
use serde::{Deserialize, Serialize};
use sui_sdk_types::{SignedTransaction, TransactionExpiration};

use super::Chain;
use super::transact::execute;
use crate::error::ChainError;
use crate::key::{NodeKey, PublicKey};
use crate::rpc::Fullnode;
use crate::stake::{Stake, Verdict};
use crate::transactions::Plan;

/// A stake transaction: built, tried in a dry run, signed, not yet submitted.
///
/// Kept on disk before it is submitted, it makes a node that lost power in between submit the
/// same transaction again, never a second one. It holds no secret. It can run in the epoch it was
/// made in and in the next, or never.
#[derive(Clone, Serialize, Deserialize)]
pub struct StakeTransaction {
    node_id: String,
    node_key: Vec<u8>,
    signed: Box<SignedTransaction>,
}

/// What staking takes.
#[derive(Debug, Clone)]
pub enum Prepared {
    /// Nothing: the node has a stake.
    Staked(Stake),
    /// This transaction.
    Transaction(StakeTransaction),
}

impl StakeTransaction {
    /// Most bytes that are looked at.
    const LONGEST: usize = 64 * 1024;

    /// For keeping on disk.
    pub fn to_bytes(&self) -> Vec<u8> {
        // BCS fails on maps and on numbers that these types do not have
        bcs::to_bytes(self).unwrap_or_default()
    }

    /// What was kept.
    ///
    /// # Errors
    /// Where it is not what [`Self::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ParseError> {
        let wrong = ParseError {
            expected: "a signed stake transaction",
        };
        if bytes.len() > Self::LONGEST {
            return Err(wrong);
        }
        let transaction: Self = bcs::from_bytes(bytes).map_err(|_error| wrong)?;
        match transaction.signed.signatures.len() {
            1 => Ok(transaction),
            _ => Err(wrong),
        }
    }

    /// Its digest.
    pub fn id(&self) -> TransactionId {
        self.signed.transaction.digest().into()
    }

    /// Nothing is known of its fate.
    fn not_final(&self) -> ChainError {
        ChainError::NotFinal {
            transaction: self.id(),
            seconds: 0,
        }
    }

    /// Whether it was made for this node and key.
    pub fn is_for(&self, key: PublicKey, node_id: &str) -> bool {
        self.node_id == node_id && self.node_key == key.to_flagged_bytes()
    }
}

impl fmt::Debug for StakeTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StakeTransaction")
            .field("id", &self.id())
            .field("node_id", &self.node_id)
            .finish()
    }
}

impl Chain {
    /// Finds the node's stake, or makes it: never two for one node. A stake that was withdrawn
    /// stays so.
    ///
    /// A node that may lose power keeps what [`Self::prepare_stake`] gives on disk before it
    /// calls [`Self::submit_stake`]; this does both at once.
    ///
    /// # Errors
    /// Those of both.
    pub async fn stake(
        &self,
        key: &NodeKey,
        node_id: &str,
        amount: Mist,
    ) -> Result<Stake, ChainError> {
        match self.prepare_stake(key, node_id, amount).await? {
            Prepared::Staked(stake) if stake.verdict.is_gone() => self.confirm(&stake).await,
            Prepared::Staked(stake) => Ok(stake),
            Prepared::Transaction(transaction) => self.submit_stake(&transaction).await,
        }
    }

    /// Looks for the node's stake and, where there definitely is none, builds the transaction
    /// that makes it, tries it in a dry run, and signs it. Nothing is submitted, nothing spent.
    ///
    /// # Errors
    /// [`ChainError::BelowMinimum`], [`ChainError::BalanceShort`], [`ChainError::Aborted`], or
    /// what the conversation fails with.
    pub async fn prepare_stake(
        &self,
        key: &NodeKey,
        node_id: &str,
        amount: Mist,
    ) -> Result<Prepared, ChainError> {
        if let Some(stake) = self.find_stake(key.public(), node_id).await? {
            return Ok(Prepared::Staked(stake));
        }
        let node_key = key.public().to_flagged_bytes();
        self.prepare(key, node_id, amount, async |fullnode| {
            Ok(Plan::Stake {
                pool: self.pool_on(fullnode).await?.shared,
                node_id: node_id.to_owned(),
                node_key: node_key.clone(),
                amount: amount.0,
            })
        })
        .await
        .map(Prepared::Transaction)
    }

    /// As [`Self::prepare_stake`], for a stake that was withdrawn: its record is filled anew.
    ///
    /// # Errors
    /// As for [`Self::prepare_stake`]; the contract refuses any stake but a withdrawn one.
    pub async fn prepare_restake(
        &self,
        key: &NodeKey,
        stake: &Stake,
        amount: Mist,
    ) -> Result<StakeTransaction, ChainError> {
        self.prepare(key, &stake.node_id, amount, async |fullnode| {
            let view = self.present_record(fullnode, stake.record).await?;
            Ok(Plan::Restake {
                pool: view.pool.shared,
                record: view.shared,
                amount: amount.0,
            })
        })
        .await
    }

    async fn prepare<'a>(
        &'a self,
        key: &NodeKey,
        node_id: &str,
        amount: Mist,
        plan: impl AsyncFn(&'a Fullnode) -> Result<Plan, ChainError>,
    ) -> Result<StakeTransaction, ChainError> {
        let plan = &plan;
        self.on_any(|fullnode| async move {
            fullnode.verify().await?;
            let minimum = self.pool_on(fullnode).await?.terms.minimum_stake;
            if amount < minimum {
                return Err(ChainError::BelowMinimum { amount, minimum });
            }
            let plan = plan(fullnode).await?;
            let signed = self.pay_and_sign(fullnode, key, &plan).await?;
            Ok(StakeTransaction {
                node_id: node_id.to_owned(),
                node_key: key.public().to_flagged_bytes(),
                signed: Box::new(signed),
            })
        })
        .await
    }

    /// Whether a prepared stake can't be executed any more, its last epoch being over. To be asked
    /// before looking for the stake once more: only when that then finds none was it never made.
    ///
    /// # Errors
    /// What the conversation fails with.
    pub async fn expired(&self, transaction: &StakeTransaction) -> Result<bool, ChainError> {
        let TransactionExpiration::Epoch(last) = transaction.signed.transaction.expiration else {
            return Ok(false);
        };
        let epoch = self
            .on_any(|fullnode| async { Ok(fullnode.verify().await?.epoch) })
            .await?;
        Ok(epoch > last)
    }

    /// Submits a prepared stake, waits for the checkpoint that holds it, and reads the record.
    /// Submitting the same one again is safe, and gives the same stake.
    ///
    /// # Errors
    /// Where [`ChainError::never_executed`] says so, it was not executed and never will be: look
    /// for the stake and prepare anew. Any other says nothing about its fate: submit the same one
    /// again.
    pub async fn submit_stake(&self, transaction: &StakeTransaction) -> Result<Stake, ChainError> {
        // Set where a fullnode has taken it and not said what became of it: what another makes of
        // it is then no longer the whole truth.
        let fate_unknown = AtomicBool::new(false);
        let fate_unknown = &fate_unknown;
        let submitted = self.on_any(|fullnode| async move {
            fullnode.verify().await?;
            let executed = match execute(fullnode, &transaction.signed).await {
                Err(error) if !error.never_executed() => {
                    fate_unknown.store(true, Ordering::Relaxed);
                    return Err(error);
                }
                executed => executed?,
            };
            tracing::info!(
                transaction = %executed.transaction, checkpoint = executed.checkpoint,
                gas = %executed.gas, "staked"
            );
            let key = PublicKey::from_flagged_bytes(&transaction.node_key)?;
            match self.find_on(fullnode, key, &transaction.node_id).await? {
                Some(stake) if stake.verdict != Verdict::Withdrawn => Ok(stake),
                // the read may come from before the checkpoint: worth another try
                _ => Err(transaction.not_final()),
            }
        });
        match submitted.await {
            Err(error @ ChainError::Refused { .. }) if fate_unknown.load(Ordering::Relaxed) => {
                tracing::warn!(%error, "another fullnode took it: what became of it is not known");
                Err(transaction.not_final())
            }
            submitted => submitted,
        }
    }
}
