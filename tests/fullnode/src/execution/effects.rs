//! What clients are told about a transaction.

use std::collections::{BTreeMap, BTreeSet};

use chain::abi::Coin;
use sui_rpc::field::FieldMaskTree;
use sui_rpc::merge::Merge;
use sui_rpc::proto::sui::rpc::v2 as proto;
use sui_sdk_types::{
    Address, ChangedObject, Digest, ExecutionStatus, IdOperation, Object, ObjectIn, ObjectOut,
    ObjectType, Owner, StructTag, Transaction, TransactionEffects, TransactionEffectsV2,
    TransactionEvents, UnchangedConsensusKind, UnchangedConsensusObject,
};

use super::gas::Settled;
use super::inputs::{Access, Inputs, Loaded};
use super::values::Value;
use super::{Failure, Outcome};
use crate::ledger::Ledger;

/// Effects, events and objects of a transaction that has run.
pub(super) fn render(
    ledger: &Ledger,
    transaction: &Transaction,
    loaded: &Inputs,
    settled: Settled,
) -> Outcome {
    let before: BTreeMap<Address, &Object> = objects_in(loaded)
        .filter(|(_, access)| matches!(access, Access::Owned | Access::SharedWrite))
        .map(|(object, _)| object)
        .chain(&settled.removed)
        .map(|object| (object.object_id(), object))
        .collect();
    let after: BTreeMap<Address, &Object> = settled
        .written
        .iter()
        .map(|object| (object.object_id(), object))
        .collect();
    let changed: Vec<ChangedObject> = before
        .keys()
        .chain(after.keys())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .map(|id| change(*id, before.get(id).copied(), after.get(id).copied()))
        .collect();
    let events = (!settled.events.is_empty()).then(|| TransactionEvents(settled.events.clone()));
    let dependencies: BTreeSet<Digest> = objects_in(loaded)
        .map(|(object, _)| object.previous_transaction())
        .collect();
    let effects = TransactionEffects::V2(Box::new(TransactionEffectsV2 {
        status: match &settled.failure {
            None => ExecutionStatus::Success,
            Some(failure) => ExecutionStatus::Failure {
                error: (*failure.error).clone(),
                command: failure.command,
            },
        },
        epoch: ledger.epoch(),
        gas_used: settled.costs.clone(),
        transaction_digest: transaction.digest(),
        gas_object_index: changed
            .iter()
            .position(|object| object.object_id == settled.gas_coin)
            .and_then(|index| u32::try_from(index).ok()),
        events_digest: events.as_ref().map(TransactionEvents::digest),
        dependencies: dependencies.into_iter().collect(),
        lamport_version: loaded.version,
        changed_objects: changed,
        unchanged_consensus_objects: unchanged(loaded),
        auxiliary_data_digest: None,
    }));

    let all = FieldMaskTree::new_wildcard();
    let mut told = proto::TransactionEffects::merge_from(&effects, &all);
    name_types(&mut told, &before, &after);
    name_abort(&mut told, settled.failure.as_ref());
    let mut executed = proto::ExecutedTransaction::default();
    executed.digest = Some(transaction.digest().to_string());
    executed.transaction = Some(transaction.clone().into());
    executed.effects = Some(told);
    executed.events = events.map(Into::into);
    executed.balance_changes = balance_changes(before.values(), after.values());
    executed.objects = Some(
        proto::ObjectSet::default().with_objects(
            objects_in(loaded)
                .map(|(object, _)| object)
                .chain(&settled.written)
                .map(|object| proto::Object::merge_from(object.clone(), &all))
                .collect(),
        ),
    );
    Outcome {
        digest: transaction.digest(),
        written: settled.written,
        deleted: settled.deleted.into_iter().collect(),
        executed,
    }
}

fn objects_in(loaded: &Inputs) -> impl Iterator<Item = (&Object, Access)> {
    let inputs = loaded.inputs.iter().filter_map(|input| match input {
        Loaded::Object(object, access) => Some((object.as_ref(), *access)),
        Loaded::Pure(_) => None,
    });
    loaded
        .gas
        .iter()
        .map(|object| (object, Access::Owned))
        .chain(inputs)
}

fn change(id: Address, before: Option<&Object>, after: Option<&Object>) -> ChangedObject {
    ChangedObject {
        object_id: id,
        input_state: match before {
            None => ObjectIn::NotExist,
            Some(object) => ObjectIn::Exist {
                version: object.version(),
                digest: object.digest(),
                owner: *object.owner(),
            },
        },
        output_state: match after {
            None => ObjectOut::NotExist,
            Some(object) => ObjectOut::ObjectWrite {
                digest: object.digest(),
                owner: *object.owner(),
            },
        },
        id_operation: match (before, after) {
            (None, Some(_)) => IdOperation::Created,
            (Some(_), None) => IdOperation::Deleted,
            _ => IdOperation::None,
        },
    }
}

fn unchanged(loaded: &Inputs) -> Vec<UnchangedConsensusObject> {
    objects_in(loaded)
        .filter(|(_, access)| *access == Access::SharedRead)
        .map(|(object, _)| UnchangedConsensusObject {
            object_id: object.object_id(),
            kind: UnchangedConsensusKind::ReadOnlyRoot {
                version: object.version(),
                digest: object.digest(),
            },
        })
        .collect()
}

/// Effects do not hold types; fullnodes add them.
fn name_types(
    effects: &mut proto::TransactionEffects,
    before: &BTreeMap<Address, &Object>,
    after: &BTreeMap<Address, &Object>,
) {
    for changed in effects
        .changed_objects
        .iter_mut()
        .chain(&mut effects.gas_object)
    {
        let object = changed
            .object_id()
            .parse()
            .ok()
            .and_then(|id: Address| after.get(&id).or_else(|| before.get(&id)));
        changed.object_type = object.map(|object| match object.object_type() {
            ObjectType::Package => "package".to_owned(),
            ObjectType::Struct(tag) => tag.to_string(),
        });
    }
}

/// Abort codes hold no names; fullnodes look them up in the package.
fn name_abort(effects: &mut proto::TransactionEffects, failure: Option<&Failure>) {
    use proto::execution_error::ErrorDetails;

    let Some(abort) = failure.and_then(|failure| failure.abort) else {
        return;
    };
    let Some(error) = effects
        .status
        .as_mut()
        .and_then(|status| status.error.as_mut())
    else {
        return;
    };
    error.description = Some(format!("{}: {}", abort.name, abort.text));
    if let Some(ErrorDetails::Abort(details)) = &mut error.error_details {
        let mut clever = proto::CleverError::default();
        clever.error_code = Some(u64::from(abort.code));
        clever.constant_name = Some(abort.name.to_owned());
        clever.constant_type = Some("vector<u8>".to_owned());
        clever.value = Some(proto::clever_error::Value::Rendered(abort.text.to_owned()));
        details.clever_error = Some(clever);
    }
}

fn balance_changes<'a>(
    before: impl Iterator<Item = &'a &'a Object>,
    after: impl Iterator<Item = &'a &'a Object>,
) -> Vec<proto::BalanceChange> {
    let mut changes: BTreeMap<Address, i128> = BTreeMap::new();
    let mut count = |object: &Object, sign: i128| {
        if let (Owner::Address(owner), Some(value)) = (object.owner(), Value::of(object))
            && value.tag == StructTag::gas_coin()
            && let Ok(coin) = value.read::<Coin>()
        {
            *changes.entry(*owner).or_default() += sign * i128::from(coin.balance);
        }
    };
    before.for_each(|object| count(object, -1));
    after.for_each(|object| count(object, 1));
    changes
        .into_iter()
        .filter(|(_, amount)| *amount != 0)
        .map(|(address, amount)| {
            let mut change = proto::BalanceChange::default();
            change.address = Some(address.to_string());
            change.coin_type = Some(StructTag::sui().to_string());
            change.amount = Some(amount.to_string());
            change
        })
        .collect()
}
