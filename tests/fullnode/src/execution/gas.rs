//! What a transaction costs, and what is left of its coins.
//!
//! As on Sui, the coins that pay are merged into the first, the budget is held back while the
//! commands run, storage is a deposit that is given back (99 % of it) when an object goes, and a
//! failed transaction pays too. The prices are those of Sui's main network; how computation is
//! counted is simpler here.

use std::collections::{BTreeMap, BTreeSet};

use chain::abi::Coin;
use sui_sdk_types::{
    Address, Event, ExecutionError, GasCostSummary, GasPayment, Object, Owner, StructTag,
    Transaction,
};

use super::Failure;
use super::commands::Machine;
use super::inputs::{Access, Inputs, LEAST_GAS_UNITS, Loaded, Rejection};
use super::values::{Form, Place, Value};
use crate::ledger::{Ledger, object};

/// Units of gas for a byte of storage, and MIST for such a unit.
const UNITS_PER_BYTE: u64 = 100;
const STORAGE_PRICE: u64 = 76;

/// Basis points of a storage deposit that are given back.
const REBATE_BASIS_POINTS: u64 = 9900;

/// Commands that the lowest price of computation covers.
const COMMANDS_PER_BUCKET: usize = 16;

/// The coins that pay, merged.
#[derive(Debug)]
pub(super) struct Purse {
    id: Address,
    total: u64,
    budget: u64,
}

/// A transaction that has run and paid.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) failure: Option<Failure>,
    pub(super) written: Vec<Object>,
    /// Objects that went in and are no more.
    pub(super) deleted: BTreeSet<Address>,
    /// Of these, the dynamic fields, which the transaction does not name.
    pub(super) removed: Vec<Object>,
    pub(super) events: Vec<Event>,
    pub(super) costs: GasCostSummary,
    pub(super) gas_coin: Address,
}

impl Purse {
    /// The gas coin as the commands see it: without the budget.
    pub(super) fn spendable(&self) -> Option<Value> {
        let coin = Coin {
            id: self.id,
            balance: self.total.saturating_sub(self.budget),
        };
        Value::new(StructTag::gas_coin(), true, &coin).ok()
    }
}

/// Merges the coins that pay.
pub(super) fn smash(coins: &[Object], payment: &GasPayment) -> Result<Purse, Rejection> {
    let mut total = 0u64;
    for coin in coins {
        total = total
            .checked_add(balance(coin))
            .ok_or_else(|| Rejection("Gas coins overflow".to_owned()))?;
    }
    if total < payment.budget {
        return Err(Rejection(format!(
            "Balance of gas object {total} is lower than the needed amount: {}",
            payment.budget
        )));
    }
    let id = coins.first().map_or(Address::ZERO, Object::object_id);
    Ok(Purse {
        id,
        total,
        budget: payment.budget,
    })
}

/// Charges for what was done; or, where that failed or costs too much, undoes it and charges for
/// the try.
pub(super) fn settle(
    transaction: &Transaction,
    loaded: &Inputs,
    purse: Purse,
    machine: Machine<'_>,
    result: Result<(), Failure>,
) -> Settled {
    let commands = match &transaction.kind {
        sui_sdk_types::TransactionKind::ProgrammableTransaction(program) => program.commands.len(),
        _ => 0,
    };
    let buckets = commands.div_ceil(COMMANDS_PER_BUCKET).max(1);
    let computation = transaction
        .gas_payment
        .price
        .saturating_mul(LEAST_GAS_UNITS)
        .saturating_mul(u64::try_from(buckets).unwrap_or(u64::MAX));
    let mut settlement = Settlement {
        transaction,
        loaded,
        purse: &purse,
        computation,
        removed: machine.removed_children(),
    };
    let result = result.and_then(|()| settlement.keep(&machine));
    if result.is_err() {
        settlement.removed.clear();
    }
    match result {
        Ok(settled) => settled,
        Err(failure) => settlement.undo(failure),
    }
}

struct Settlement<'a> {
    transaction: &'a Transaction,
    loaded: &'a Inputs,
    purse: &'a Purse,
    computation: u64,
    /// Dynamic fields that go.
    removed: Vec<Object>,
}

impl Settlement<'_> {
    /// What the commands left, charged for.
    fn keep(&self, machine: &Machine<'_>) -> Result<Settled, Failure> {
        let version = self.loaded.version;
        let mut values: BTreeMap<Address, (Value, Owner)> = BTreeMap::new();
        let remaining = machine.remaining();
        for input in &self.loaded.inputs {
            if let Loaded::Object(object, Access::Owned | Access::SharedWrite) = input
                && let Some(value) = remaining.get(&object.object_id())
            {
                values.insert(object.object_id(), ((*value).clone(), *object.owner()));
            }
        }
        for (value, place) in &machine.placed {
            values.insert(value.id(), (value.clone(), place.owner(version)));
        }
        for (value, parent) in machine.children.values().flatten() {
            let owner = Place::Parent(*parent).owner(version);
            values.insert(value.id(), (value.clone(), owner));
        }
        let left = machine.gas.as_ref().map(Value::read::<Coin>);
        let left = match left {
            Some(Ok(coin)) => coin.balance,
            _ => return Err(failed(ExecutionError::InvariantViolation)),
        };
        let receiver = machine
            .gas_receiver
            .unwrap_or(self.transaction.gas_payment.owner);
        self.charge(values, left, receiver, machine.events.clone(), None)
            .ok_or_else(|| failed(ExecutionError::InsufficientGas))
    }

    /// Nothing but the charge: everything else is as it was, at a new version.
    fn undo(&self, failure: Failure) -> Settled {
        let mut values = BTreeMap::new();
        for input in &self.loaded.inputs {
            if let Loaded::Object(object, Access::Owned | Access::SharedWrite) = input
                && let Some(value) = Value::of(object)
            {
                values.insert(object.object_id(), (value, *object.owner()));
            }
        }
        let left = self.purse.total - self.purse.budget;
        let owner = self.transaction.gas_payment.owner;
        let charged = self.charge(values, left, owner, Vec::new(), Some(failure.clone()));
        charged.unwrap_or_else(|| {
            // not even storage as before can be paid for: the whole budget goes
            let costs = GasCostSummary::new(self.purse.budget, 0, 0, 0);
            self.write(
                BTreeMap::new(),
                left,
                owner,
                Vec::new(),
                Some(failure),
                costs,
            )
        })
    }

    /// Prices what is to be written. `None` where the budget does not cover it.
    fn charge(
        &self,
        values: BTreeMap<Address, (Value, Owner)>,
        left: u64,
        receiver: Address,
        events: Vec<Event>,
        failure: Option<Failure>,
    ) -> Option<Settled> {
        let mut storage = deposit(&self.gas_object(left, receiver, 0));
        for (value, owner) in values.values() {
            storage = storage.saturating_add(deposit(&self.build(value, *owner, 0)));
        }
        let deposits = self.consumed().fold(0u64, |sum, object| {
            sum.saturating_add(object.storage_rebate())
        });
        let rebate = deposits / 10_000 * REBATE_BASIS_POINTS
            + deposits % 10_000 * REBATE_BASIS_POINTS / 10_000;
        if self.computation.saturating_add(storage) > self.purse.budget {
            return None;
        }
        let costs = GasCostSummary::new(self.computation, storage, rebate, deposits - rebate);
        Some(self.write(values, left, receiver, events, failure, costs))
    }

    fn write(
        &self,
        values: BTreeMap<Address, (Value, Owner)>,
        left: u64,
        receiver: Address,
        events: Vec<Event>,
        failure: Option<Failure>,
        costs: GasCostSummary,
    ) -> Settled {
        let balance = left
            .saturating_add(self.purse.budget)
            .saturating_sub(costs.gas_used())
            .saturating_add(costs.storage_rebate);
        let mut written = vec![self.gas_object(balance, receiver, 0)];
        written.extend(
            values
                .values()
                .map(|(value, owner)| self.build(value, *owner, 0)),
        );
        let written: Vec<Object> = written
            .iter()
            .map(|unpriced| {
                let value = Value::of(unpriced);
                let deposit = deposit(unpriced);
                match value {
                    Some(value) => self.build(&value, *unpriced.owner(), deposit),
                    None => unpriced.clone(),
                }
            })
            .collect();
        let kept: BTreeSet<Address> = written.iter().map(Object::object_id).collect();
        let deleted = self
            .consumed()
            .map(Object::object_id)
            .filter(|id| !kept.contains(id))
            .collect();
        Settled {
            failure,
            written,
            deleted,
            removed: self.removed.clone(),
            events,
            costs,
            gas_coin: self.purse.id,
        }
    }

    /// Everything that goes in and is written anew or deleted.
    fn consumed(&self) -> impl Iterator<Item = &Object> {
        let inputs = self.loaded.inputs.iter().filter_map(|input| match input {
            Loaded::Object(object, Access::Owned | Access::SharedWrite) => Some(object.as_ref()),
            _ => None,
        });
        self.loaded.gas.iter().chain(inputs).chain(&self.removed)
    }

    fn gas_object(&self, balance: u64, owner: Address, deposit: u64) -> Object {
        let contents = bcs::to_bytes(&Coin {
            id: self.purse.id,
            balance,
        })
        .unwrap_or_default();
        let value = Value {
            tag: StructTag::gas_coin(),
            form: Form::Object { store: true },
            contents,
        };
        self.build(&value, Owner::Address(owner), deposit)
    }

    fn build(&self, value: &Value, owner: Owner, deposit: u64) -> Object {
        object(
            value.tag.clone(),
            value.can_be_transferred(),
            self.loaded.version,
            value.contents.clone(),
            owner,
            self.transaction.digest(),
            deposit,
        )
    }
}

/// The deposit for storing an object.
fn deposit(object: &Object) -> u64 {
    let size = bcs::serialized_size(object).unwrap_or(0);
    u64::try_from(size)
        .unwrap_or(0)
        .saturating_mul(UNITS_PER_BYTE)
        .saturating_mul(STORAGE_PRICE)
}

fn failed(error: ExecutionError) -> Failure {
    Failure {
        error: Box::new(error),
        abort: None,
        command: None,
    }
}

/// What a coin holds.
fn balance(object: &Object) -> u64 {
    Value::of(object)
        .and_then(|value| value.read::<Coin>().ok())
        .map_or(0, |coin| coin.balance)
}

/// Chooses coins to pay with and a budget, for a transaction that names none.
pub(crate) fn select(ledger: &Ledger, transaction: &mut Transaction) -> Result<(), Rejection> {
    /// Most that a try may cost.
    const TRY_BUDGET: u64 = 5_000_000_000;
    let owner = transaction.gas_payment.owner;
    let used: BTreeSet<Address> = match &transaction.kind {
        sui_sdk_types::TransactionKind::ProgrammableTransaction(program) => program
            .inputs
            .iter()
            .filter_map(|input| match input {
                sui_sdk_types::Input::ImmutableOrOwned(reference) => Some(*reference.object_id()),
                _ => None,
            })
            .collect(),
        _ => BTreeSet::new(),
    };
    let mut total = 0u64;
    transaction.gas_payment.objects = ledger
        .all_live()
        .filter(|object| {
            *object.owner() == Owner::Address(owner)
                && !used.contains(&object.object_id())
                && object
                    .as_struct()
                    .is_some_and(|data| *data.object_type() == StructTag::gas_coin())
        })
        .take(256)
        .map(|object| {
            total = total.saturating_add(balance(object));
            sui_sdk_types::ObjectReference::new(
                object.object_id(),
                object.version(),
                object.digest(),
            )
        })
        .collect();
    transaction.gas_payment.price = transaction.gas_payment.price.max(ledger.terms.gas_price);
    if transaction.gas_payment.budget == 0 {
        transaction.gas_payment.budget = total.min(TRY_BUDGET);
        let outcome = super::run(ledger, transaction)?;
        let used = outcome.executed.effects().gas_used();
        let overhead = transaction
            .gas_payment
            .price
            .saturating_mul(LEAST_GAS_UNITS);
        transaction.gas_payment.budget = (used.computation_cost() + used.storage_cost())
            .saturating_add(overhead)
            .min(total);
    }
    Ok(())
}
