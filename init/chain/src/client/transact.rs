//! Sending transactions: what a slasher, a staker and a node do besides staking.

use std::future::Future;

use sui_sdk_types::{Address as SuiAddress, SignedTransaction, StructTag, UserSignature};

use super::read::RecordView;
use super::{Chain, id};
use crate::abi;
use crate::amount::Mist;
use crate::error::ChainError;
use crate::identifiers::ObjectId;
use crate::key::NodeKey;
use crate::rpc::{Failure, Fullnode, Owner, present};
use crate::stake::{Executed, Stake};
use crate::transactions::{Gas, Plan};

/// What should be there for gas besides the stake. What is really spent is some 0.01 SUI, most
/// of it a deposit for storage.
const GAS_ALLOWANCE: u64 = 20_000_000;

/// Most that a dry run may spend.
const DRY_RUN_BUDGET: u64 = 500_000_000;

/// Least units of gas that a transaction can run with (Sui: the lowest bucket of computation).
const LEAST_GAS_UNITS: u64 = 1000;

/// Most coins that pay for one transaction (Sui's protocol limit is 256 gas objects).
const MOST_COINS: usize = 255;

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
                old: self.own_token(fullnode, &view, key).await?,
            })
        })
        .await?;
        self.reread(stake).await
    }

    /// Asks for the stake back. The node's seal token is burnt, where it is there, and counts no
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
                token: self.own_token(fullnode, &view, key).await?,
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

    /// Takes the coins back, once the unbonding time has passed.
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

    /// The record's seal token, where it is there and the key's account owns it.
    async fn own_token(
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
                let purse = self.purse(fullnode, key.address().into()).await?;
                let plan = plan(fullnode).await?;
                self.sign(fullnode, key, &plan, &purse).await
            })
            .await?;
        self.on_any(async |fullnode| execute(fullnode, &signed).await)
            .await
    }

    /// The account's coins, largest first, and the price of gas.
    pub(super) async fn purse(
        &self,
        fullnode: &Fullnode,
        owner: SuiAddress,
    ) -> Result<Purse, ChainError> {
        let (epoch, price) = fullnode.epoch().await?;
        let mut coins = Vec::new();
        for object in fullnode.owned(owner, &StructTag::gas_coin()).await? {
            let coin = abi::Coin::try_from(&object).map_err(|error| ChainError::WrongObject {
                what: "coin",
                id: id(object.id),
                expected: "a coin's layout".to_owned(),
                found: error.to_string(),
            })?;
            if object.owner == Owner::Address(owner) {
                coins.push((coin.balance, object.reference()));
            }
        }
        coins.sort_by(|(left, _), (right, _)| right.cmp(left));
        coins.truncate(MOST_COINS);
        let total = coins
            .iter()
            .fold(0u64, |sum, (balance, _)| sum.saturating_add(*balance));
        let gas = Gas {
            coins: coins.into_iter().map(|(_, reference)| reference).collect(),
            price,
            budget: 0,
            last_epoch: epoch.saturating_add(1),
        };
        Ok(Purse { total, gas })
    }

    /// Builds the transaction, learns from a dry run what it costs, and signs it.
    pub(super) async fn sign(
        &self,
        fullnode: &Fullnode,
        key: &NodeKey,
        plan: &Plan,
        purse: &Purse,
    ) -> Result<SignedTransaction, ChainError> {
        let sender = key.address();
        let short = || {
            let needed = Mist(plan.payment().saturating_add(GAS_ALLOWANCE));
            ChainError::BalanceShort {
                address: sender,
                needed,
                available: Mist(purse.total),
                missing: needed.saturating_sub(Mist(purse.total)),
            }
        };
        let build = |budget| {
            let gas = Gas {
                budget,
                ..purse.gas.clone()
            };
            plan.build(self.inner.package, sender.into(), &gas)
                .map_err(|error| ChainError::Unbuildable {
                    detail: error.to_string(),
                })
        };
        let left = purse.total.saturating_sub(plan.payment());
        if left < purse.gas.price.saturating_mul(LEAST_GAS_UNITS) {
            return Err(short());
        }
        let run = fullnode.dry_run(&build(left.min(DRY_RUN_BUDGET))?).await?;
        match run.failure {
            Some(Failure::Funds) => return Err(short()),
            Some(Failure::Other(error)) => return Err(error),
            None => {}
        }
        // a fifth more than the dry run, for what may change until it runs
        let reserve = (run.gas / 5).max(purse.gas.price.saturating_mul(LEAST_GAS_UNITS));
        let budget = run.gas.saturating_add(reserve).min(left);
        let transaction = build(budget)?;
        let signature: UserSignature = key.sign_transaction(&transaction)?;
        Ok(SignedTransaction {
            transaction,
            signatures: vec![signature],
        })
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

/// What an account can pay with.
pub(super) struct Purse {
    total: u64,
    gas: Gas,
}
