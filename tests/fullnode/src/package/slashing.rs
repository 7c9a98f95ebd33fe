//! Slashing: by capability (`staking::slash_stake`), and by the verdict of an enclave (module
//! `slashing`).

use chain::abi::abort::Abort;
use chain::abi::authority::SLASH_INTENT;
use chain::abi::enclave::DOMAIN;
use chain::abi::{
    self, Clock, Day, DayKey, EVIDENCE_LENGTH, Enclave, EnclaveConfig, EvidenceKey, IntentMessage,
    MoveType, NonceKey, Pool, SlashedKey, SlasherCap, StakeRecord, Treasury, Verdict, status,
};
use sui_sdk_types::{Address, TypeTag};

use super::{
    assert_own, assert_treasury, authority, emit, field, object, require, set_field, staking,
    statement, today, wrong,
};
use crate::execution::{Arg, Scope, Stop};

/// What is to be taken, why, and who gets a share of it.
struct Slash {
    amount: u64,
    reason: u16,
    evidence: Vec<u8>,
    /// Zero: nobody.
    reporter: Address,
}

pub(super) fn slash_stake(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let pool: Pool = object(arguments, 0)?.read()?;
    let mut treasury: Treasury = object(arguments, 1)?.read()?;
    let cap: SlasherCap = object(arguments, 2)?.read()?;
    let mut record: StakeRecord = object(arguments, 3)?.read()?;
    let clock: Clock = object(arguments, 7)?.read()?;
    let [
        _,
        _,
        _,
        _,
        Arg::U64(basis_points),
        Arg::U16(reason),
        Arg::Bytes(evidence),
        _,
    ] = &*arguments
    else {
        return Err(wrong(4));
    };
    require(cap.pool == pool.id, &Abort::POOL_WRONG_POOL)?;
    let effective_from_ms = authority::effective_from_ms(scope, pool.id, cap.id)?;
    authority::assert_effective(effective_from_ms, &clock)?;
    require(
        (1..=abi::WHOLE_BASIS_POINTS).contains(basis_points),
        &Abort::INVALID_BASIS_POINTS,
    )?;
    let slash = Slash {
        amount: share(record.balance, *basis_points)?,
        reason: *reason,
        evidence: evidence.clone(),
        reporter: Address::ZERO,
    };
    // by capability: nobody is rewarded
    let _nothing = apply(scope, &pool, &mut treasury, &mut record, slash, &clock)?;
    object(arguments, 1)?.write(&treasury)?;
    object(arguments, 3)?.write(&record)
}

pub(super) fn slash_with_evidence(
    scope: &mut Scope<'_, '_>,
    arguments: &mut [Arg],
) -> Result<(), Stop> {
    let pool: Pool = object(arguments, 0)?.read()?;
    let mut treasury: Treasury = object(arguments, 1)?.read()?;
    let config: EnclaveConfig = object(arguments, 2)?.read()?;
    let enclave: Enclave = object(arguments, 3)?.read()?;
    let mut record: StakeRecord = object(arguments, 4)?.read()?;
    let clock: Clock = object(arguments, 11)?.read()?;
    let [
        _,
        _,
        _,
        _,
        _,
        Arg::U16(reason),
        Arg::Bytes(evidence),
        Arg::Address(reporter),
        Arg::U64(nonce),
        Arg::U64(timestamp_ms),
        Arg::Bytes(signature),
        _,
    ] = &*arguments
    else {
        return Err(wrong(5));
    };
    require(config.pool == pool.id, &Abort::SLASHING_WRONG_POOL)?;
    require(
        evidence.len() == EVIDENCE_LENGTH,
        &Abort::SLASHING_NO_EVIDENCE,
    )?;
    let message = IntentMessage {
        domain: DOMAIN.to_vec(),
        intent: SLASH_INTENT,
        enclave: enclave.id,
        config_version: enclave.config_version,
        nonce: *nonce,
        timestamp_ms: *timestamp_ms,
        data: Verdict {
            pool: pool.id,
            record: record.id,
            reason: *reason,
            evidence: evidence.clone(),
            reporter: *reporter,
        },
    };
    statement::verify(&config, &enclave, &message, signature, &clock)?;
    authority::assert_effective(enclave.effective_from_ms, &clock)?;
    assert_slashable(&pool, &record)?;
    count_nonce(scope, record.id, enclave.id, *nonce)?;
    let slash = Slash {
        amount: take_of_day(scope, &pool, &record, *reason, &clock)?,
        reason: *reason,
        evidence: evidence.clone(),
        reporter: *reporter,
    };
    let reporter = *reporter;
    let reward = apply(scope, &pool, &mut treasury, &mut record, slash, &clock)?;
    if reward > 0 {
        staking::pay(scope, reward, reporter)?;
    }
    object(arguments, 1)?.write(&treasury)?;
    object(arguments, 4)?.write(&record)
}

/// `record.assert_slashable(pool)`.
fn assert_slashable(pool: &Pool, record: &StakeRecord) -> Result<(), Stop> {
    assert_own(pool, record)?;
    require(
        matches!(record.status, status::ACTIVE | status::UNBONDING),
        &Abort::SETTLED,
    )
}

/// `evidence::count_nonce(…)`.
fn count_nonce(
    scope: &mut Scope<'_, '_>,
    record: Address,
    enclave: Address,
    nonce: u64,
) -> Result<(), Stop> {
    let key = NonceKey { enclave, nonce };
    let used: Option<bool> = field(scope, record, &key, TypeTag::Bool)?;
    require(used.is_none(), &Abort::EVIDENCE_NONCE_USED)?;
    set_field(scope, record, &key, TypeTag::Bool, true)
}

/// `pool.penalty(reason, clock)` and `take_of_day(…)`: what a verdict takes, no more than is left of
/// the day's cap.
fn take_of_day(
    scope: &mut Scope<'_, '_>,
    pool: &Pool,
    record: &StakeRecord,
    reason: u16,
    clock: &Clock,
) -> Result<u64, Stop> {
    let mut offences = pool.offences.iter();
    let offence = offences
        .find(|offence| offence.reason == reason)
        .ok_or(Stop::Abort(&Abort::OFFENCES_UNKNOWN_OFFENCE))?;
    let penalty = offence.penalty.at(clock.timestamp_ms);
    require(penalty.in_force, &Abort::OFFENCES_NOT_IN_FORCE)?;
    let key = DayKey {
        reason,
        day: today(clock),
        staked_at_ms: record.staked_at_ms,
    };
    let scope_package = scope.package();
    let tag = || {
        let name = sui_sdk_types::Identifier::from_static("Day");
        let module = sui_sdk_types::Identifier::from_static(DayKey::MODULE);
        let tag = sui_sdk_types::StructTag::new(scope_package, module, name, Vec::new());
        TypeTag::Struct(Box::new(tag))
    };
    let day: Option<Day> = field(scope, record.id, &key, tag())?;
    let mut day = day.unwrap_or(Day {
        base: record.balance,
        taken: 0,
    });
    let cap = share(day.base, penalty.daily_cap_basis_points)?;
    require(cap > day.taken, &Abort::SLASHING_DAILY_CAP)?;
    let amount = share(record.balance, penalty.basis_points)?.min(cap - day.taken);
    day.taken += amount;
    set_field(scope, record.id, &key, tag(), day)?;
    Ok(amount)
}

/// `record.slash(pool, …)`: takes the amount, and tells what of it is the reporter's.
fn apply(
    scope: &mut Scope<'_, '_>,
    pool: &Pool,
    treasury: &mut Treasury,
    record: &mut StakeRecord,
    slash: Slash,
    clock: &Clock,
) -> Result<u64, Stop> {
    assert_slashable(pool, record)?;
    assert_treasury(treasury, pool.id)?;
    count_evidence(scope, record, &slash.evidence)?;
    let amount = slash.amount;
    record.balance -= amount;
    record.slashed += amount;
    if amount > 0 {
        let key = SlashedKey(today(clock));
        set_field(scope, record.id, &key, TypeTag::Bool, true)?;
    }
    if record.balance == 0 {
        staking::end_unbonding(record, status::SLASHED);
    }
    let reward = if slash.reporter == Address::ZERO {
        0
    } else {
        share(amount, pool.reporter_basis_points.at(clock.timestamp_ms))?
    };
    treasury.balance += amount - reward;
    emit(
        scope,
        &abi::Slashed {
            pool: pool.id,
            record: record.id,
            amount,
            remaining: record.balance,
            reason: slash.reason,
            evidence: slash.evidence,
            reporter: slash.reporter,
            reward,
        },
    )?;
    Ok(reward)
}

/// `basis_points::share`.
fn share(of: u64, basis_points: u64) -> Result<u64, Stop> {
    let share = u128::from(of) * u128::from(basis_points) / u128::from(abi::WHOLE_BASIS_POINTS);
    u64::try_from(share).map_err(|error| Stop::Broken(error.to_string()))
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
    let key = EvidenceKey(evidence.to_vec());
    let used: Option<bool> = field(scope, record.id, &key, TypeTag::Bool)?;
    require(used.is_none(), &Abort::EVIDENCE_USED)?;
    set_field(scope, record.id, &key, TypeTag::Bool, true)
}
