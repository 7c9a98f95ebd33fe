//! Module `staking`.

use chain::abi::abort::Abort;
use chain::abi::{
    self, Clock, Coin, EVIDENCE_LENGTH, Field, MoveType, Pool, SlasherCap, StakeRecord, status,
};
use sui_sdk_types::hash::Hasher;
use sui_sdk_types::{Address, Identifier, SignatureScheme, StructTag, TypeTag};

use super::{assert_own, assert_version, authority, emit, object, require, wrong};
use crate::execution::{Arg, Place, Scope, Stop, Value};

/// Most bytes of a node id: those of a DNS label.
const LONGEST_NODE_ID: usize = 63;

fn key_is_valid(node_key: &[u8]) -> bool {
    match node_key.split_first() {
        Some((&flag, key)) if flag == SignatureScheme::Ed25519.to_u8() => key.len() == 32,
        Some((&flag, key)) if flag == SignatureScheme::Secp256r1.to_u8() => key.len() == 33,
        _ => false,
    }
}

/// The account of a key: BLAKE2b-256 over flag and key.
fn account(node_key: &[u8]) -> Address {
    let mut hasher = Hasher::new();
    hasher.update(node_key);
    Address::new(hasher.finalize().into_inner())
}

pub(super) fn stake_for_node(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let mut pool: Pool = object(arguments, 0)?.read()?;
    let coin: Coin = object(arguments, 3)?.read()?;
    let clock: Clock = object(arguments, 4)?.read()?;
    let [_, Arg::Text(node_id), Arg::Bytes(node_key), ..] = arguments else {
        return Err(wrong(1));
    };
    require(key_is_valid(node_key), &Abort::INVALID_NODE_KEY)?;
    require(account(node_key) == scope.sender(), &Abort::NOT_NODE_KEY)?;
    assert_version(&pool)?;
    require(
        (1..=LONGEST_NODE_ID).contains(&node_id.len()),
        &Abort::INVALID_NODE_ID,
    )?;
    require(
        coin.balance >= pool.minimum_stake,
        &Abort::BELOW_MINIMUM_STAKE,
    )?;
    let id = abi::record_id(scope.package(), pool.id, node_key);
    require(scope.claim(id), &Abort::ALREADY_STAKED)?;
    let record = StakeRecord {
        id,
        version: abi::VERSION,
        pool: pool.id,
        staker: scope.sender(),
        node_id: node_id.clone(),
        node_key: node_key.clone(),
        balance: coin.balance,
        status: status::ACTIVE,
        staked_at_ms: clock.timestamp_ms,
        unbonding_until_ms: None,
        slashed: 0,
        seal_token: None,
    };
    take_name(scope, &mut pool, &record.node_id, id)?;
    pool.staked += coin.balance;
    object(arguments, 0)?.write(&pool)?;
    emit(
        scope,
        &abi::Staked {
            pool: pool.id,
            record: record.id,
            staker: record.staker,
            node_id: record.node_id.clone(),
            amount: record.balance,
        },
    )?;
    let tag = StakeRecord::tag(scope.package());
    scope.made.returned.push(Value::new(tag, false, &record)?);
    Ok(())
}

pub(super) fn share_stake(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let record = object(arguments, 0)?.clone();
    scope.made.placed.push((record, Place::Shared));
    Ok(())
}

pub(super) fn restake(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let mut pool: Pool = object(arguments, 0)?.read()?;
    let mut record: StakeRecord = object(arguments, 1)?.read()?;
    let coin: Coin = object(arguments, 2)?.read()?;
    let clock: Clock = object(arguments, 3)?.read()?;
    assert_own(&pool, &record)?;
    require(record.staker == scope.sender(), &Abort::NOT_OWNER)?;
    require(record.status == status::WITHDRAWN, &Abort::NOT_WITHDRAWN)?;
    require(
        coin.balance >= pool.minimum_stake,
        &Abort::BELOW_MINIMUM_STAKE,
    )?;
    take_name(scope, &mut pool, &record.node_id, record.id)?;
    record.status = status::ACTIVE;
    record.staked_at_ms = clock.timestamp_ms;
    record.balance += coin.balance;
    pool.staked += coin.balance;
    object(arguments, 0)?.write(&pool)?;
    object(arguments, 1)?.write(&record)?;
    emit(
        scope,
        &abi::Restaked {
            pool: pool.id,
            record: record.id,
            staker: record.staker,
            node_id: record.node_id,
            amount: coin.balance,
        },
    )
}

pub(super) fn top_up(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let mut pool: Pool = object(arguments, 0)?.read()?;
    let mut record: StakeRecord = object(arguments, 1)?.read()?;
    let coin: Coin = object(arguments, 2)?.read()?;
    assert_own(&pool, &record)?;
    require(record.status == status::ACTIVE, &Abort::NOT_ACTIVE)?;
    require(coin.balance > 0, &Abort::EMPTY_COIN)?;
    record.balance += coin.balance;
    pool.staked += coin.balance;
    object(arguments, 0)?.write(&pool)?;
    object(arguments, 1)?.write(&record)?;
    emit(
        scope,
        &abi::ToppedUp {
            record: record.id,
            amount: coin.balance,
            balance: record.balance,
        },
    )
}

pub(super) fn withdraw_stake(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let mut pool: Pool = object(arguments, 0)?.read()?;
    let mut record: StakeRecord = object(arguments, 1)?.read()?;
    let clock: Clock = object(arguments, 2)?.read()?;
    assert_own(&pool, &record)?;
    require(record.staker == scope.sender(), &Abort::NOT_OWNER)?;
    require(
        !matches!(record.status, status::SLASHED | status::WITHDRAWN),
        &Abort::SETTLED,
    )?;
    require(record.status == status::UNBONDING, &Abort::NOT_UNBONDING)?;
    let until_ms = record.unbonding_until_ms.unwrap_or(u64::MAX);
    require(clock.timestamp_ms >= until_ms, &Abort::STILL_LOCKED)?;
    let amount = std::mem::take(&mut record.balance);
    pool.staked -= amount;
    record.status = status::WITHDRAWN;
    record.unbonding_until_ms = None;
    free_name(scope, &mut pool, &record);
    object(arguments, 0)?.write(&pool)?;
    object(arguments, 1)?.write(&record)?;
    emit(
        scope,
        &abi::Withdrawn {
            record: record.id,
            amount,
        },
    )?;
    let coin = Coin {
        id: scope.new_id(),
        balance: amount,
    };
    scope
        .made
        .returned
        .push(Value::new(StructTag::gas_coin(), true, &coin)?);
    Ok(())
}

pub(super) fn slash_stake(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let mut pool: Pool = object(arguments, 0)?.read()?;
    let cap: SlasherCap = object(arguments, 1)?.read()?;
    let mut record: StakeRecord = object(arguments, 2)?.read()?;
    let clock: Clock = object(arguments, 6)?.read()?;
    let [
        _,
        _,
        _,
        Arg::U64(basis_points),
        Arg::U16(reason),
        Arg::Bytes(evidence),
        _,
    ] = &*arguments
    else {
        return Err(wrong(3));
    };
    let (basis_points, reason, evidence) = (*basis_points, *reason, evidence.clone());
    require(cap.pool == pool.id, &Abort::WRONG_POOL)?;
    let effective_from_ms = authority::effective_from_ms(scope, pool.id, cap.id)?;
    authority::assert_effective(effective_from_ms, &clock)?;
    assert_own(&pool, &record)?;
    require(
        (1..=abi::WHOLE_BASIS_POINTS).contains(&basis_points),
        &Abort::INVALID_BASIS_POINTS,
    )?;
    require(
        matches!(record.status, status::ACTIVE | status::UNBONDING),
        &Abort::SETTLED,
    )?;
    count_evidence(scope, &record, &evidence)?;
    let share =
        u128::from(record.balance) * u128::from(basis_points) / u128::from(abi::WHOLE_BASIS_POINTS);
    let amount = u64::try_from(share).map_err(|error| Stop::Broken(error.to_string()))?;
    record.balance -= amount;
    record.slashed += amount;
    pool.staked -= amount;
    // by capability: nobody is rewarded
    pool.treasury += amount;
    if record.balance == 0 {
        record.status = status::SLASHED;
        record.unbonding_until_ms = None;
    }
    object(arguments, 0)?.write(&pool)?;
    object(arguments, 2)?.write(&record)?;
    emit(
        scope,
        &abi::Slashed {
            pool: pool.id,
            record: record.id,
            amount,
            remaining: record.balance,
            reason,
            evidence,
            reporter: Address::ZERO,
            reward: 0,
        },
    )
}

/// The pool keeps a name for one record.
fn take_name(
    scope: &mut Scope<'_, '_>,
    pool: &mut Pool,
    node_id: &str,
    record: Address,
) -> Result<(), Stop> {
    let id = abi::name_id(&pool.names, node_id);
    require(scope.child(id).is_none(), &Abort::NAME_TAKEN)?;
    let entry = Field {
        id,
        name: node_id.to_owned(),
        value: record,
    };
    let value = Value::new(abi::name_tag(), false, &entry)?;
    scope.add_child(pool.names.id, value);
    pool.names.size += 1;
    Ok(())
}

fn free_name(scope: &mut Scope<'_, '_>, pool: &mut Pool, record: &StakeRecord) {
    let id = abi::name_id(&pool.names, &record.node_id);
    let kept = scope
        .child(id)
        .and_then(|entry| entry.read::<Field<String, Address>>().ok());
    if kept.is_some_and(|entry| entry.value == record.id) {
        scope.remove_child(id);
        pool.names.size -= 1;
    }
}

/// The same evidence does not punish twice: the record keeps it as a dynamic field.
fn count_evidence(
    scope: &mut Scope<'_, '_>,
    record: &StakeRecord,
    evidence: &[u8],
) -> Result<(), Stop> {
    if evidence.is_empty() {
        return Ok(());
    }
    require(evidence.len() == EVIDENCE_LENGTH, &Abort::INVALID_EVIDENCE)?;
    let key = TypeTag::Struct(Box::new(StructTag::new(
        scope.package(),
        Identifier::from_static("evidence"),
        Identifier::from_static("EvidenceKey"),
        Vec::new(),
    )));
    let bytes = bcs::to_bytes(evidence).map_err(|error| Stop::Broken(error.to_string()))?;
    let id = record.id.derive_dynamic_child_id(&key, &bytes);
    require(scope.child(id).is_none(), &Abort::EVIDENCE_USED)?;
    let entry = Field {
        id,
        name: evidence.to_vec(),
        value: true,
    };
    let tag = StructTag::new(
        Address::TWO,
        Identifier::from_static("dynamic_field"),
        Identifier::from_static("Field"),
        vec![key, TypeTag::Bool],
    );
    let value = Value::new(tag, false, &entry)?;
    scope.add_child(record.id, value);
    Ok(())
}
