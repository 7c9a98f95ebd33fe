//! Module `k8s_gateway`.

use chain::abi::abort::Abort;
use chain::abi::{self, Clock, MoveType, Pool, SealToken, StakeRecord, status};

use super::{assert_own, assert_owner, emit, object, require, staking};
use crate::execution::{Arg, Place, Scope, Stop, Value};

pub(super) fn create_worker_seal_token(
    scope: &mut Scope<'_, '_>,
    arguments: &mut [Arg],
) -> Result<(), Stop> {
    create(scope, arguments, 2)
}

pub(super) fn renew_worker_seal_token(
    scope: &mut Scope<'_, '_>,
    arguments: &mut [Arg],
) -> Result<(), Stop> {
    let record: StakeRecord = object(arguments, 1)?.read()?;
    let token: SealToken = object(arguments, 2)?.read()?;
    require(token.record == record.id, &Abort::WRONG_RECORD)?;
    burn(scope, &token)?;
    create(scope, arguments, 3)
}

pub(super) fn request_unstake(
    scope: &mut Scope<'_, '_>,
    arguments: &mut [Arg],
) -> Result<(), Stop> {
    let record: StakeRecord = object(arguments, 1)?.read()?;
    let token: SealToken = object(arguments, 2)?.read()?;
    require(token.record == record.id, &Abort::WRONG_RECORD)?;
    require(
        record.seal_token == Some(token.id),
        &Abort::SUPERSEDED_TOKEN,
    )?;
    burn(scope, &token)?;
    start_unbonding(scope, arguments, 3)
}

pub(super) fn request_unstake_without_token(
    scope: &mut Scope<'_, '_>,
    arguments: &mut [Arg],
) -> Result<(), Stop> {
    start_unbonding(scope, arguments, 2)
}

pub(super) fn cancel_unstake(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let pool: Pool = object(arguments, 0)?.read()?;
    let mut record: StakeRecord = object(arguments, 1)?.read()?;
    assert_own(&pool, &record)?;
    let clock: Clock = object(arguments, 2)?.read()?;
    assert_owner(scope, &record, &clock)?;
    require(record.status == status::UNBONDING, &Abort::NOT_UNBONDING)?;
    let by_beneficiary = record.beneficiary.at(clock.timestamp_ms) == scope.sender();
    require(
        by_beneficiary || !record.unbonding_by_beneficiary,
        &Abort::NOT_OWNER,
    )?;
    staking::end_unbonding(&mut record, status::ACTIVE);
    object(arguments, 1)?.write(&record)?;
    emit(scope, &abi::UnstakeCancelled { record: record.id })
}

pub(super) fn burn_seal_token(
    scope: &mut Scope<'_, '_>,
    arguments: &mut [Arg],
) -> Result<(), Stop> {
    let token: SealToken = object(arguments, 0)?.read()?;
    burn(scope, &token)
}

fn create(scope: &mut Scope<'_, '_>, arguments: &mut [Arg], clock: usize) -> Result<(), Stop> {
    let pool: Pool = object(arguments, 0)?.read()?;
    let mut record: StakeRecord = object(arguments, 1)?.read()?;
    let clock: Clock = object(arguments, clock)?.read()?;
    assert_own(&pool, &record)?;
    let sender = scope.sender();
    require(record.staker == sender, &Abort::NOT_STAKER)?;
    require(record.status == status::ACTIVE, &Abort::RECORD_NOT_ACTIVE)?;
    require(
        record.balance >= pool.minimum_for_standing(clock.timestamp_ms),
        &Abort::TOKEN_BELOW_MINIMUM_STAKE,
    )?;
    let token = SealToken {
        id: scope.new_id(),
        record: record.id,
        node_key: record.node_key.clone(),
        issued_at_ms: clock.timestamp_ms,
        expires_at_ms: clock.timestamp_ms.saturating_add(pool.seal_token_ms),
    };
    record.seal_token = Some(token.id);
    object(arguments, 1)?.write(&record)?;
    emit(
        scope,
        &abi::SealTokenIssued {
            record: token.record,
            token: token.id,
            expires_at_ms: token.expires_at_ms,
        },
    )?;
    let value = Value::new(SealToken::tag(scope.package()), false, &token)?;
    scope.made.placed.push((value, Place::Account(sender)));
    Ok(())
}

fn burn(scope: &mut Scope<'_, '_>, token: &SealToken) -> Result<(), Stop> {
    emit(
        scope,
        &abi::SealTokenBurnt {
            record: token.record,
            token: token.id,
        },
    )
}

fn start_unbonding(
    scope: &mut Scope<'_, '_>,
    arguments: &mut [Arg],
    clock: usize,
) -> Result<(), Stop> {
    let pool: Pool = object(arguments, 0)?.read()?;
    let mut record: StakeRecord = object(arguments, 1)?.read()?;
    let clock: Clock = object(arguments, clock)?.read()?;
    assert_own(&pool, &record)?;
    assert_owner(scope, &record, &clock)?;
    let by_beneficiary = record.beneficiary.at(clock.timestamp_ms) == scope.sender();
    let confirms =
        record.status == status::UNBONDING && by_beneficiary && !record.unbonding_by_beneficiary;
    require(
        record.status == status::ACTIVE || confirms,
        &Abort::NOT_ACTIVE,
    )?;
    if !confirms {
        record.status = status::UNBONDING;
        record.unbonding_until_ms = Some(
            clock
                .timestamp_ms
                .saturating_add(pool.unbonding_ms.at(clock.timestamp_ms)),
        );
        record.seal_token = None;
    }
    record.unbonding_by_beneficiary = by_beneficiary;
    let until_ms = record.unbonding_until_ms.unwrap_or_default();
    object(arguments, 1)?.write(&record)?;
    emit(
        scope,
        &abi::UnstakeRequested {
            record: record.id,
            until_ms,
            by_beneficiary,
        },
    )
}
