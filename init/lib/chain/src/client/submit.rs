//! Staking.

use chain_types::{Address, Mist};

use super::Chain;
use super::kept::{Fate, StakeOf, StakeTransaction};
use crate::error::ChainError;
use crate::key::{NodeKey, PublicKey};
use crate::rpc::Fullnode;
use crate::stake::{Stake, Verdict};
use crate::transactions::Plan;

/// What staking takes.
#[derive(Debug, Clone)]
pub enum Prepared {
    /// Nothing: the node has a stake.
    Staked(Stake),
    /// This transaction.
    Transaction(StakeTransaction),
}

impl Chain {
    /// Finds the node's stake, or makes it: never two for one node. A stake that was withdrawn
    /// stays so.
    ///
    /// Coins and rewards will be paid to the beneficiary alone.
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
        beneficiary: Address,
    ) -> Result<Stake, ChainError> {
        match self
            .prepare_stake(key, node_id, amount, beneficiary)
            .await?
        {
            Prepared::Staked(stake) if stake.verdict.is_gone() => self.confirm(&stake).await,
            Prepared::Staked(stake) => Ok(stake),
            Prepared::Transaction(transaction) => self.submit_stake(&transaction).await,
        }
    }

    /// Looks for the node's stake and, where there definitely is none, builds the transaction
    /// that makes it, tries it in a dry run, and signs it. Nothing is submitted, nothing spent.
    ///
    /// # Errors
    /// [`ChainError::PoolNotOpen`], [`ChainError::BelowMinimum`], [`ChainError::BalanceShort`],
    /// [`ChainError::Aborted`], or what the conversation fails with.
    pub async fn prepare_stake(
        &self,
        key: &NodeKey,
        node_id: &str,
        amount: Mist,
        beneficiary: Address,
    ) -> Result<Prepared, ChainError> {
        if let Some(stake) = self.find_stake(key.public(), node_id).await? {
            return Ok(Prepared::Staked(stake));
        }
        let node_key = key.public().to_flagged_bytes();
        let to = Some(beneficiary);
        self.prepare(key, node_id, to, amount, async |fullnode| {
            Ok(Plan::Stake {
                pool: self.pool_on(fullnode).await?.shared,
                node_id: node_id.to_owned(),
                node_key: node_key.clone(),
                beneficiary: beneficiary.into(),
                amount: amount.0,
            })
        })
        .await
        .map(Prepared::Transaction)
    }

    /// As [`Self::prepare_stake`], for a stake that was withdrawn: its record is filled anew, and keeps
    /// its beneficiary.
    ///
    /// # Errors
    /// As for [`Self::prepare_stake`]; the contract refuses any stake but a withdrawn one.
    pub async fn prepare_restake(
        &self,
        key: &NodeKey,
        stake: &Stake,
        amount: Mist,
    ) -> Result<StakeTransaction, ChainError> {
        self.prepare(key, &stake.node_id, None, amount, async |fullnode| {
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
        beneficiary: Option<Address>,
        amount: Mist,
        plan: impl AsyncFn(&'a Fullnode) -> Result<Plan, ChainError>,
    ) -> Result<StakeTransaction, ChainError> {
        let plan = &plan;
        self.on_any(|fullnode| async move {
            fullnode.verify().await?;
            let terms = self.pool_on(fullnode).await?.terms;
            if !terms.open {
                return Err(ChainError::PoolNotOpen { pool: terms.id });
            }
            let minimum = terms.minimum_stake;
            if amount < minimum {
                return Err(ChainError::BelowMinimum { amount, minimum });
            }
            let plan = plan(fullnode).await?;
            let signed = self.pay_and_sign(fullnode, key, &plan).await?;
            let kept_for = StakeOf {
                node_id: node_id.to_owned(),
                node_key: key.public().to_flagged_bytes(),
                beneficiary: beneficiary.map(Address::to_bytes),
            };
            Ok(StakeTransaction::new(kept_for, signed))
        })
        .await
    }

    /// Submits a prepared stake, waits for the checkpoint that holds it, and reads the record.
    /// Submitting the same one again is safe, and gives the same stake.
    ///
    /// # Errors
    /// Where [`ChainError::never_executed`] says so, it was not executed and never will be: look
    /// for the stake and prepare anew. Any other says nothing about its fate: submit the same one
    /// again.
    pub async fn submit_stake(&self, transaction: &StakeTransaction) -> Result<Stake, ChainError> {
        let fate = &Fate::default();
        let submitted = self.on_any(|fullnode| async move {
            let executed = fate.submit(fullnode, transaction).await?;
            tracing::info!(
                transaction = %executed.transaction, checkpoint = executed.checkpoint,
                gas = %executed.gas, "staked"
            );
            let kept_for = &transaction.kept_for;
            let key = PublicKey::from_flagged_bytes(&kept_for.node_key)?;
            match self.find_on(fullnode, key, &kept_for.node_id).await? {
                Some(stake) if stake.verdict != Verdict::Withdrawn => Ok(stake),
                // the read may come from before the checkpoint: worth another try
                _ => Err(transaction.not_final()),
            }
        });
        let submitted = submitted.await;
        fate.settle(transaction, submitted)
    }
}
