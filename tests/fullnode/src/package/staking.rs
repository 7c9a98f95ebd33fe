//! Module `staking`.

use chain::abi::abort::Abort;
use chain::abi::staking::LONGEST_NODE_ID;
use chain::abi::{self, Clock, Coin, MoveType, Pool, Scheduled, StakeRecord, status};
use sui_sdk_types::hash::Hasher;
use sui_sdk_types::{Address, SignatureScheme, StructTag};

use super::{assert_own, assert_owner, assert_version, emit, object, require, wrong};
use crate::execution::{Arg, Place, Scope, Stop, Value};

pub(super) fn key_is_valid(node_key: &[u8]) -> bool {
    match node_key.split_first() {
        Some((&flag, key)) if flag == SignatureScheme::Ed25519.to_u8() => key.len() == 32,
        Some((&flag, key)) if flag == SignatureScheme::Secp256r1.to_u8() => key.len() == 33,
        _ => false,
    }
}

/// The account of a key: BLAKE2b-256 over flag and key.
pub(super) fn account(node_key: &[u8]) -> Address {
    let mut hasher = Hasher::new();
    hasher.update(node_key);
    Address::new(hasher.finalize().into_inner())
}

pub(super) fn stake_for_node(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let pool: Pool = object(arguments, 0)?.read()?;
    let coin: Coin = object(arguments, 4)?.read()?;
    let clock: Clock = object(arguments, 5)?.read()?;
    let [
        _,
        Arg::Text(node_id),
        Arg::Bytes(node_key),
        Arg::Address(beneficiary),
        ..,
    ] = arguments
    else {
        return Err(wrong(1));
    };
    assert_version(&pool)?;
    require(pool.open, &Abort::POOL_NOT_OPEN)?;
    require(key_is_valid(node_key), &Abort::INVALID_NODE_KEY)?;
    require(account(node_key) == scope.sender(), &Abort::NOT_NODE_KEY)?;
    require(
        (1..=LONGEST_NODE_ID).contains(&node_id.len()),
        &Abort::INVALID_NODE_ID,
    )?;
    require(
        coin.balance >= pool.minimum_for_new(clock.timestamp_ms),
        &Abort::BELOW_MINIMUM_STAKE,
    )?;
    let id = abi::record_id(scope.package(), pool.id, node_key);
    require(scope.claim(id), &Abort::ALREADY_STAKED)?;
    assert_beneficiary(*beneficiary, pool.id, id)?;
    let record = StakeRecord {
        id,
        version: abi::VERSION,
        pool: pool.id,
        staker: scope.sender(),
        beneficiary: Scheduled::fixed(*beneficiary),
        node_id: node_id.clone(),
        node_key: node_key.clone(),
        balance: coin.balance,
        status: status::ACTIVE,
        staked_at_ms: clock.timestamp_ms,
        unbonding_until_ms: None,
        unbonding_by_beneficiary: false,
        slashed: 0,
        seal_token: None,
        maintenance: Vec::new(),
    };
    emit(
        scope,
        &abi::Staked {
            pool: pool.id,
            record: record.id,
            staker: record.staker,
            beneficiary: *beneficiary,
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
    let pool: Pool = object(arguments, 0)?.read()?;
    let mut record: StakeRecord = object(arguments, 1)?.read()?;
    let coin: Coin = object(arguments, 2)?.read()?;
    let clock: Clock = object(arguments, 3)?.read()?;
    assert_own(&pool, &record)?;
    require(record.staker == scope.sender(), &Abort::NOT_OWNER)?;
    require(record.status == status::WITHDRAWN, &Abort::NOT_WITHDRAWN)?;
    require(
        coin.balance >= pool.minimum_for_new(clock.timestamp_ms),
        &Abort::BELOW_MINIMUM_STAKE,
    )?;
    record.status = status::ACTIVE;
    record.staked_at_ms = clock.timestamp_ms;
    record.balance += coin.balance;
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
    let pool: Pool = object(arguments, 0)?.read()?;
    let mut record: StakeRecord = object(arguments, 1)?.read()?;
    let coin: Coin = object(arguments, 2)?.read()?;
    assert_own(&pool, &record)?;
    require(record.status == status::ACTIVE, &Abort::NOT_ACTIVE)?;
    require(coin.balance > 0, &Abort::EMPTY_COIN)?;
    record.balance += coin.balance;
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
    let pool: Pool = object(arguments, 0)?.read()?;
    let mut record: StakeRecord = object(arguments, 1)?.read()?;
    let clock: Clock = object(arguments, 2)?.read()?;
    assert_own(&pool, &record)?;
    assert_owner(scope, &record, &clock)?;
    require(
        !matches!(record.status, status::SLASHED | status::WITHDRAWN),
        &Abort::SETTLED,
    )?;
    require(record.status == status::UNBONDING, &Abort::NOT_UNBONDING)?;
    let until_ms = record.unbonding_until_ms.unwrap_or(u64::MAX);
    require(clock.timestamp_ms >= until_ms, &Abort::STILL_LOCKED)?;
    let amount = std::mem::take(&mut record.balance);
    let beneficiary = record.beneficiary.at(clock.timestamp_ms);
    end_unbonding(&mut record, status::WITHDRAWN);
    object(arguments, 1)?.write(&record)?;
    emit(
        scope,
        &abi::Withdrawn {
            record: record.id,
            amount,
            beneficiary,
        },
    )?;
    pay(scope, amount, beneficiary)
}

/// `record.end_unbonding(status)`.
pub(super) fn end_unbonding(record: &mut StakeRecord, status: u8) {
    record.status = status;
    record.unbonding_until_ms = None;
    record.unbonding_by_beneficiary = false;
}

/// A coin for an account.
pub(super) fn pay(scope: &mut Scope<'_, '_>, amount: u64, account: Address) -> Result<(), Stop> {
    let coin = Coin {
        id: scope.new_id(),
        balance: amount,
    };
    let coin = Value::new(StructTag::gas_coin(), true, &coin)?;
    scope.made.placed.push((coin, Place::Account(account)));
    Ok(())
}

/// `staking::assert_beneficiary`.
pub(super) fn assert_beneficiary(
    beneficiary: Address,
    pool: Address,
    record: Address,
) -> Result<(), Stop> {
    require(
        ![Address::ZERO, pool, record].contains(&beneficiary),
        &Abort::INVALID_BENEFICIARY,
    )
}
