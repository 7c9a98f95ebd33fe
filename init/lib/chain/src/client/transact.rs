//! Sending transactions: what a slasher, a staker and a node do besides staking.

use std::future::Future;

use chain_types::{Address, Mist, ObjectId};
use sui_sdk_types::SignedTransaction;

use super::Chain;
use super::read::RecordView;
use crate::abi;
use crate::error::ChainError;
use crate::key::NodeKey;
use crate::rpc::{Fullnode, Owner, present};
use crate::stake::{Executed, Stake};
use crate::transactions::Plan;

impl Chain {
    /// Slashes part of a stake, in basis points (1 to 10000), for a reason.
    ///
    /// # Errors
    /// As for [`Self::slash_with_evidence`].
    pub async fn slash(
        &self,
        slasher: &NodeKey,
        cap: ObjectId,
        record: ObjectId,
        basis_points: u64,
        reason: u16,
    ) -> Result<Executed, ChainError> {
        self.slash_with_evidence(slasher, cap, record, basis_points, reason, &[])
            .await
    }

    /// Slashes part of a stake, in basis points (1 to 10000), for a reason, and names the evidence
    /// by a digest of [`abi::EVIDENCE_LENGTH`] bytes, or not at all.
    ///
    /// # Errors
    /// [`ChainError::Aborted`] where the contract refuses, [`ChainError::NotFound`] and
    /// [`ChainError::WrongObject`] where cap or record are none, or what the conversation fails
    /// with. After a retryable error, read the record before trying again: a slash that was
    /// executed is not undone by not having been heard of.
    pub async fn slash_with_evidence(
        &self,
        slasher: &NodeKey,
        cap: ObjectId,
        record: ObjectId,
        basis_points: u64,
        reason: u16,
        evidence: &[u8],
    ) -> Result<Executed, ChainError> {
        self.transact(slasher, |fullnode| async move {
            let object = present(fullnode.object(cap.into()).await?, "slasher cap", cap)?;
            let _: abi::SlasherCap = object.decode(self.inner.package)?;
            let view = self.present_record(fullnode, record).await?;
            Ok(Plan::Slash {
                pool: view.pool.shared,
                treasury: self.treasury_on(fullnode, &view.pool).await?.1,
                cap: object.reference(),
                record: view.shared,
                basis_points,
                reason,
                evidence: evidence.to_vec(),
            })
        })
        .await
    }

    /// Adds to a stake that stands. Anybody can.
    ///
    /// # Errors
    /// As for [`Self::slash_with_evidence`]; [`ChainError::BalanceShort`] where the account holds
    /// too little.
    pub async fn top_up(
        &self,
        key: &NodeKey,
        record: ObjectId,
        amount: Mist,
    ) -> Result<Executed, ChainError> {
        self.transact(key, |fullnode| async move {
            let view = self.present_record(fullnode, record).await?;
            Ok(Plan::TopUp {
                pool: view.pool.shared,
                record: view.shared,
                amount: amount.0,
            })
        })
        .await
    }

    /// Takes a new seal token for the node's stake. The old one is burnt, where it is there, and
    /// counts no more in any case.
    ///
    /// # Errors
    /// As for [`Self::slash_with_evidence`].
    pub async fn renew_seal_token(
        &self,
        key: &NodeKey,
        stake: &Stake,
    ) -> Result<Stake, ChainError> {
        self.transact(key, |fullnode| async move {
            let view = self.present_record(fullnode, stake.record).await?;
            Ok(Plan::SealToken {
                pool: view.pool.shared,
                record: view.shared,
                old: self.own_seal_token(fullnode, &view, key).await?,
            })
        })
        .await?;
        self.reread(stake).await
    }

    /// Requests the unstake. The node's seal token is burnt, where it is there, and counts no
    /// more in any case.
    ///
    /// # Errors
    /// As for [`Self::slash_with_evidence`].
    pub async fn request_unstake(
        &self,
        key: &NodeKey,
        stake: &Stake,
    ) -> Result<Executed, ChainError> {
        self.transact(key, |fullnode| async move {
            let view = self.present_record(fullnode, stake.record).await?;
            Ok(Plan::RequestUnstake {
                pool: view.pool.shared,
                record: view.shared,
                token: self.own_seal_token(fullnode, &view, key).await?,
            })
        })
        .await
    }

    /// Lets a stake that unbonds stand after all.
    ///
    /// # Errors
    /// As for [`Self::slash_with_evidence`].
    pub async fn cancel_unstake(
        &self,
        key: &NodeKey,
        record: ObjectId,
    ) -> Result<Executed, ChainError> {
        self.transact(key, |fullnode| async move {
            let view = self.present_record(fullnode, record).await?;
            Ok(Plan::CancelUnstake {
                pool: view.pool.shared,
                record: view.shared,
            })
        })
        .await
    }

    /// Has the coins paid to the beneficiary, once the unbonding time has passed.
    ///
    /// # Errors
    /// As for [`Self::slash_with_evidence`].
    pub async fn withdraw(&self, key: &NodeKey, record: ObjectId) -> Result<Executed, ChainError> {
        self.transact(key, |fullnode| async move {
            let view = self.present_record(fullnode, record).await?;
            Ok(Plan::Withdraw {
                pool: view.pool.shared,
                record: view.shared,
            })
        })
        .await
    }

    /// Sends coins to another account. What is sent again is paid again.
    ///
    /// # Errors
    /// [`ChainError::BalanceShort`] where the account holds too little; else what the conversation
    /// fails with.
    pub async fn send(
        &self,
        key: &NodeKey,
        receiver: Address,
        amount: Mist,
    ) -> Result<Executed, ChainError> {
        self.transact(key, |_fullnode| async move {
            Ok(Plan::Send {
                amount: amount.0,
                receiver: receiver.into(),
            })
        })
        .await
    }

    /// The record's seal token, where it is there and the key's account owns it.
    async fn own_seal_token(
        &self,
        fullnode: &Fullnode,
        view: &RecordView,
        key: &NodeKey,
    ) -> Result<Option<sui_sdk_types::ObjectReference>, ChainError> {
        let Some(token) = view.seal_token else {
            return Ok(None);
        };
        let Some(object) = fullnode.object(token).await? else {
            return Ok(None);
        };
        let _: abi::SealToken = object.decode(self.inner.package)?;
        let ours = object.owner == Owner::Address(key.address().into());
        Ok(ours.then(|| object.reference()))
    }

    pub(super) async fn present_record(
        &self,
        fullnode: &Fullnode,
        record: ObjectId,
    ) -> Result<RecordView, ChainError> {
        self.record_on(fullnode, record.into())
            .await?
            .ok_or(ChainError::NotFound {
                what: "stake record",
                id: record,
            })
    }

    /// Signs one transaction, and submits that one until a fullnode takes it.
    pub(super) async fn transact<'a, F>(
        &'a self,
        key: &NodeKey,
        plan: impl Fn(&'a Fullnode) -> F,
    ) -> Result<Executed, ChainError>
    where
        F: Future<Output = Result<Plan, ChainError>>,
    {
        let plan = &plan;
        let signed = self
            .on_any(|fullnode| async move {
                fullnode.verify().await?;
                let plan = plan(fullnode).await?;
                self.pay_and_sign(fullnode, key, &plan).await
            })
            .await?;
        self.on_any(async |fullnode| execute(fullnode, &signed).await)
            .await
    }
}

pub(super) async fn execute(
    fullnode: &Fullnode,
    signed: &SignedTransaction,
) -> Result<Executed, ChainError> {
    match signed.signatures.first() {
        Some(signature) => fullnode.execute(&signed.transaction, signature).await,
        None => Err(ChainError::Failed {
            transaction: signed.transaction.digest().into(),
            detail: "it is not signed".to_owned(),
        }),
    }
}
