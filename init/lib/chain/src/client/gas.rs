//! What pays for a transaction: the account's coins, and how much of them.

use chain_types::Mist;
use sui_sdk_types::{
    Address as SuiAddress, ObjectReference, SignedTransaction, StructTag, UserSignature,
};

use super::transact::execute;
use super::{Chain, id};
use crate::abi;
use crate::error::ChainError;
use crate::key::NodeKey;
use crate::rpc::{Failure, Fullnode, Owner};
use crate::transactions::{Gas, Plan};

/// What should be there for gas besides the stake. What is really spent is some 0.01 SUI, most
/// of it a deposit for storage.
const GAS_ALLOWANCE: u64 = 20_000_000;

/// Most that a dry run may spend. It spends nothing; a lower budget would hide what it costs.
const DRY_RUN_BUDGET: u64 = 2_000_000_000;

/// Least units of gas that a transaction can run with (Sui: the lowest bucket of computation).
const LEAST_GAS_UNITS: u64 = 1000;

/// The most that is paid for a unit of gas, in MIST.
///
/// What is signed for a unit is paid, be the chain's own price a hundredth of it: a fullnode that
/// tells a high price would burn the account's coins. Sui's main network has asked between 500 and
/// 1000 since it began; at this bound the least computation costs 0.02 SUI, which is what should
/// be there for gas anyway ([`GAS_ALLOWANCE`]).
const MOST_GAS_PRICE: u64 = 20_000;

/// Most coins that pay for one transaction (Sui's protocol limit is 256 gas objects).
const MOST_COINS: usize = 255;

/// Most coins that are merged into those that pay by one transaction (Sui's protocol limit is 512
/// arguments of a command; each is some 75 of a transaction's 131,072 bytes).
const MOST_MERGED: usize = 500;

/// How often coins are merged for one transaction: more than what is read of an account's coins
/// can take.
const MOST_ROUNDS: usize = 8;

/// What an account can pay with.
struct Purse {
    /// What the coins that pay hold.
    total: u64,
    gas: Gas,
    /// The other coins, largest first, and what they hold.
    rest: Vec<ObjectReference>,
    rest_total: u64,
}

impl Purse {
    /// What all coins hold.
    fn all(&self) -> u64 {
        self.total.saturating_add(self.rest_total)
    }

    /// Whether the coins that pay do not suffice, and with the others do.
    fn is_scattered(&self, plan: &Plan) -> bool {
        let needed = plan.payment().saturating_add(GAS_ALLOWANCE);
        !self.rest.is_empty() && self.total < needed && self.all() >= needed
    }
}

impl Chain {
    /// Finds coins that pay for a plan, merging them first where they are too many for one
    /// transaction, and signs it.
    ///
    /// Merging is a transaction of its own and executed at once. It changes nothing but the number
    /// of the account's coins, so that it does no harm to do it and then lose power.
    pub(super) async fn pay_and_sign(
        &self,
        fullnode: &Fullnode,
        key: &NodeKey,
        plan: &Plan,
    ) -> Result<SignedTransaction, ChainError> {
        let owner = key.address().into();
        let mut purse = self.purse(fullnode, owner).await?;
        for _round in 0..MOST_ROUNDS {
            if !purse.is_scattered(plan) {
                break;
            }
            let coins: Vec<_> = purse.rest.iter().take(MOST_MERGED).cloned().collect();
            let merged = coins.len();
            let consolidation = Plan::Consolidate { coins };
            let signed = self.sign(fullnode, key, &consolidation, &purse).await?;
            let executed = execute(fullnode, &signed).await?;
            tracing::info!(
                transaction = %executed.transaction, gas = %executed.gas,
                coins = purse.gas.coins.len().saturating_add(merged),
                "merged coins: they were too many for one transaction"
            );
            purse = self.purse(fullnode, owner).await?;
        }
        self.sign(fullnode, key, plan, &purse).await
    }

    /// The account's coins, largest first, and the price of gas.
    async fn purse(&self, fullnode: &Fullnode, owner: SuiAddress) -> Result<Purse, ChainError> {
        let (epoch, price) = fullnode.epoch().await?;
        within_bound(fullnode, "a unit of gas", price, MOST_GAS_PRICE)?;
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
        let rest = coins.split_off(coins.len().min(MOST_COINS));
        let (total, coins) = add_up(coins);
        let (rest_total, rest) = add_up(rest);
        let gas = Gas {
            coins,
            price,
            budget: 0,
            last_epoch: epoch.saturating_add(1),
        };
        Ok(Purse {
            total,
            gas,
            rest,
            rest_total,
        })
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
            let available = Mist(purse.all());
            ChainError::BalanceShort {
                address: sender,
                needed,
                available,
                missing: needed.saturating_sub(available),
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
        within_bound(fullnode, "the transaction", run.gas, plan.most_gas())?;
        // a fifth more than the dry run, for what may change until it runs
        let reserve = (run.gas / 5).max(purse.gas.price.saturating_mul(LEAST_GAS_UNITS));
        let budget = run
            .gas
            .saturating_add(reserve)
            .min(left)
            .min(plan.most_gas());
        let transaction = build(budget)?;
        let signature: UserSignature = key.sign_transaction(&transaction).await?;
        Ok(SignedTransaction {
            transaction,
            signatures: vec![signature],
        })
    }
}

/// What coins hold together, and how transactions name them.
fn add_up(coins: Vec<(u64, ObjectReference)>) -> (u64, Vec<ObjectReference>) {
    let total = coins
        .iter()
        .fold(0_u64, |sum, (balance, _)| sum.saturating_add(*balance));
    let references = coins.into_iter().map(|(_, reference)| reference).collect();
    (total, references)
}

fn within_bound(
    fullnode: &Fullnode,
    what: &'static str,
    asked: u64,
    bound: u64,
) -> Result<(), ChainError> {
    if asked <= bound {
        return Ok(());
    }
    Err(ChainError::DearGas {
        fullnode: fullnode.url().to_owned(),
        what,
        asked: Mist(asked),
        bound: Mist(bound),
    })
}
