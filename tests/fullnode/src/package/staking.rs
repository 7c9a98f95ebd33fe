//! Module `staking`.

use chain::abi::abort::Abort;
use chain::abi::{self, Clock, Coin, Field, MoveType, Pool, StakeRecord, status};
use sui_sdk_types::hash::Hasher;
use sui_sdk_types::{Address, SignatureScheme, StructTag};

use super::{assert_own, assert_version, emit, object, require, wrong};
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
