//! Sending transactions.

use std::fmt;
use std::future::Future;

use serde::{Deserialize, Serialize};
use sui_sdk_types::{Address as SuiAddress, SignedTransaction, StructTag, UserSignature};

use super::find::RecordView;
use super::{Chain, id};
use crate::abi::{self, MoveType};
use crate::amount::Mist;
use crate::error::{ChainError, ParseError};
use crate::identifiers::{ObjectId, TransactionId};
use crate::key::{NodeKey, PublicKey};
use crate::rpc::{Failure, Finished, Fullnode, Owner, present};
use crate::stake::{Executed, Stake, Verdict};
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
    /// Finds the node's stake, or makes it: never two for one node.
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
            Prepared::Staked(stake) if stake.verdict == Verdict::Slashed => {
                self.confirm(&stake).await
            }
            Prepared::Staked(stake) => Ok(stake),
            Prepared::Transaction(transaction) => self.submit_stake(&transaction).await,
        }
    }

    /// Looks for the node's stake and, where there is none, builds the transaction that makes
    /// it, tries it in a dry run, and signs it. Nothing is submitted, nothing spent.
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
        self.on_any(|fullnode| async move {
            fullnode.verify().await?;
            let pool = self.pool_on(fullnode).await?;
            // Coins before tokens, and both from one fullnode: had a stake of ours been executed
            // in between, the token would show; had it been executed later, these versions of
            // the coins would be spent, and a second stake could not be.
            let purse = self.purse(fullnode, key.address().into()).await?;
            if let Some(stake) = self.find_on(fullnode, key.public(), node_id).await? {
                return Ok(Prepared::Staked(stake));
            }
            // one that hides a stake, or lags far behind, must not make a node stake twice
            if let Some(stake) = self.find_elsewhere(fullnode, key.public(), node_id).await {
                return Ok(Prepared::Staked(stake));
            }
            if amount < pool.terms.minimum_stake {
                return Err(ChainError::BelowMinimum {
                    amount,
                    minimum: pool.terms.minimum_stake,
                });
            }
            let node_key = key.public().to_flagged_bytes().to_vec();
            let plan = Plan::Stake {
                pool: pool.shared,
                node_id: node_id.to_owned(),
                node_key: node_key.clone(),
                amount: amount.0,
            };
            let signed = self.sign(fullnode, key, &plan, &purse).await?;
            Ok(Prepared::Transaction(StakeTransaction {
                node_id: node_id.to_owned(),
                node_key,
                signed: Box::new(signed),
            }))
        })
        .await
    }

    /// Submits a prepared stake, waits for the checkpoint that holds it, and reads the record.
    /// Submitting the same one again is safe, and gives the same stake.
    ///
    /// # Errors
    /// Retryable ones say nothing about whether it was executed: submit the same one again.
    /// [`ChainError::Refused`], [`ChainError::Aborted`] and [`ChainError::Failed`] say that it
    /// was not and cannot be any more: look for the stake and prepare anew.
    pub async fn submit_stake(&self, transaction: &StakeTransaction) -> Result<Stake, ChainError> {
        self.on_any(|fullnode| async move {
            fullnode.verify().await?;
            let finished = execute(fullnode, &transaction.signed).await?;
            let created = |tag: StructTag| {
                finished
                    .created
                    .iter()
                    .find(|(_, found)| *found == tag)
                    .map(|(object, _)| *object)
            };
            let package = self.inner.package;
            let missing = |what| ChainError::Failed {
                transaction: finished.executed.transaction,
                detail: format!("it succeeded, but its effects name no {what} of the package"),
            };
            let record = created(abi::StakeRecord::tag(package))
                .ok_or_else(|| missing(abi::StakeRecord::NAME))?;
            let token = created(abi::SealToken::tag(package))
                .ok_or_else(|| missing(abi::SealToken::NAME))?;
            tracing::info!(
                transaction = %finished.executed.transaction,
                checkpoint = finished.executed.checkpoint,
                gas = %finished.executed.gas,
                record = %record,
                "staked"
            );
            let stake = self.stake_of_token_on(fullnode, token).await?;
            match stake {
                Some(stake)
                    if stake.record == id(record)
                        && stake.node_id == transaction.node_id
                        && stake.node_key.to_flagged_bytes()[..] == transaction.node_key[..] =>
                {
                    Ok(stake)
                }
                // the read may come from before the checkpoint: worth another try
                None => Err(ChainError::NotFinal {
                    transaction: finished.executed.transaction,
                    seconds: 0,
                }),
                Some(_) => Err(missing("record for this node")),
            }
        })
        .await
    }

    /// Slashes part of a stake, in basis points (1 to 10000), for a reason.
    ///
    /// # Errors
    /// [`ChainError::Aborted`] where the contract refuses, [`ChainError::NotFound`] and
    /// [`ChainError::WrongObject`] where cap or record are none, or what the conversation fails
    /// with. After a retryable error, read the record before trying again: a slash that was
    /// executed is not undone by not having been heard of.
    pub async fn slash(
        &self,
        slasher: &NodeKey,
        cap: ObjectId,
        record: ObjectId,
        basis_points: u64,
        reason: u16,
    ) -> Result<Executed, ChainError> {
        self.transact(slasher, |fullnode| async move {
            let object = present(fullnode.object(cap.into()).await?, "slasher cap", cap)?;
            let _: abi::SlasherCap = object.decode(self.inner.package)?;
            Ok(Plan::Slash {
                pool: self.pool_on(fullnode).await?.shared,
                cap: object.reference(),
                record: self.present_record(fullnode, record).await?.shared,
                basis_points,
                reason,
            })
        })
        .await
    }

    /// Burns the node's seal token and asks for the stake back.
    ///
    /// # Errors
    /// [`ChainError::WrongState`] where the stake has no token; else as for [`Self::slash`].
    pub async fn request_unstake(
        &self,
        key: &NodeKey,
        stake: &Stake,
    ) -> Result<Executed, ChainError> {
        let Some(token) = stake.seal_token else {
            return Err(ChainError::WrongState {
                record: stake.record,
                verdict: stake.verdict,
            });
        };
        self.transact(key, |fullnode| async move {
            let object = present(
                fullnode.object(token.id.into()).await?,
                "seal token",
                token.id,
            )?;
            let _: abi::SealToken = object.decode(self.inner.package)?;
            Ok(Plan::RequestUnstake {
                pool: self.pool_on(fullnode).await?.shared,
                record: self.present_record(fullnode, stake.record).await?.shared,
                token: object.reference(),
            })
        })
        .await
    }

    /// Takes the coins back, once the unbonding time has passed.
    ///
    /// # Errors
    /// As for [`Self::slash`].
    pub async fn withdraw(&self, key: &NodeKey, record: ObjectId) -> Result<Executed, ChainError> {
        self.transact(key, |fullnode| async move {
            Ok(Plan::Withdraw {
                pool: self.pool_on(fullnode).await?.shared,
                record: self.present_record(fullnode, record).await?.shared,
            })
        })
        .await
    }

    async fn present_record(
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
    async fn transact<'a, F>(
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
        self.on_any(async |fullnode| Ok(execute(fullnode, &signed).await?.executed))
            .await
    }

    /// The account's coins, largest first, and the price of gas.
    async fn purse(&self, fullnode: &Fullnode, owner: SuiAddress) -> Result<Purse, ChainError> {
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
    async fn sign(
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

async fn execute(fullnode: &Fullnode, signed: &SignedTransaction) -> Result<Finished, ChainError> {
    match signed.signatures.first() {
        Some(signature) => fullnode.execute(&signed.transaction, signature).await,
        None => Err(ChainError::Failed {
            transaction: signed.transaction.digest().into(),
            detail: "it is not signed".to_owned(),
        }),
    }
}

/// What an account can pay with.
struct Purse {
    total: u64,
    gas: Gas,
}
