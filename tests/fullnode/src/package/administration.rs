//! Module `administration`, but for the right to slash (`authority`), and `beneficiary`.

use chain::abi::abort::Abort;
use chain::abi::{
    self, AdminCap, Clock, Coin, MoveType, Offence, Penalty, Pool, PoolOpened, Scheduled,
    StakeRecord, Treasury,
};
use serde::{Deserialize, Serialize};
use sui_sdk_types::{Address, StructTag};

use super::{
    assert_admin, assert_own, assert_treasury, assert_version, authority, emit, object, require,
    staking, wrong,
};
use crate::execution::{Arg, Scope, Stop, Value};

/// Most offences of a table (`offences::MOST_OFFENCES`).
const MOST_OFFENCES: usize = 32;

const HOUR_MS: u64 = 60 * 60 * 1000;
const DAY_MS: u64 = 24 * HOUR_MS;
const SUI_MIST: u64 = 1_000_000_000;

macro_rules! events {
    ($($module:literal => $name:ident { $($field:ident: $type:ty),* $(,)? })+) => {
        $(
            #[derive(Serialize, Deserialize)]
            struct $name { $($field: $type),* }

            impl MoveType for $name {
                const MODULE: &'static str = $module;
                const NAME: &'static str = stringify!($name);
            }
        )+
    };
}

events! {
    "administration" => RulesChanged { pool: Address, minimum_stake: Scheduled<u64>, unbonding_ms: Scheduled<u64>, seal_token_ms: u64, reporter_basis_points: Scheduled<u64> }
    "administration" => OffenceChanged { pool: Address, reason: u16, basis_points: u64, daily_cap_basis_points: u64, in_force: bool, from_ms: u64 }
    "administration" => TreasuryWithdrawn { pool: Address, amount: u64, remaining: u64 }
    "beneficiary" => BeneficiaryChanged { record: Address, beneficiary: Address, from_ms: u64 }
}

fn admin(arguments: &mut [Arg], cap: usize) -> Result<Pool, Stop> {
    let pool: Pool = object(arguments, 0)?.read()?;
    let cap: AdminCap = object(arguments, cap)?.read()?;
    assert_admin(&pool, &cap)?;
    Ok(pool)
}

pub(super) fn open_pool(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let mut pool = admin(arguments, 1)?;
    require(!pool.open, &Abort::POOL_ALREADY_OPEN)?;
    pool.open = true;
    object(arguments, 0)?.write(&pool)?;
    emit(scope, &PoolOpened { pool: pool.id })
}

pub(super) fn set_minimum_stake(
    scope: &mut Scope<'_, '_>,
    arguments: &mut [Arg],
) -> Result<(), Stop> {
    let mut pool = admin(arguments, 1)?;
    let clock: Clock = object(arguments, 3)?.read()?;
    let [_, _, Arg::U64(value), _] = &*arguments else {
        return Err(wrong(2));
    };
    require(
        (SUI_MIST / 10..=100_000 * SUI_MIST).contains(value),
        &Abort::MINIMUM_STAKE_OUT_OF_BOUNDS,
    )?;
    let now_ms = clock.timestamp_ms;
    let before_grace = now_ms.saturating_sub(abi::pool::MINIMUM_STAKE_GRACE_MS);
    settle(&mut pool.minimum_stake, before_grace);
    if !pool.open || *value <= pool.minimum_for_standing(now_ms) {
        pool.minimum_stake = Scheduled::fixed(*value);
    } else {
        require(
            pool.minimum_stake.next.is_none(),
            &Abort::MINIMUM_STAKE_CHANGE_PENDING,
        )?;
        let from_ms = now_ms + abi::authority::NOTICE_MS;
        schedule(&mut pool.minimum_stake, *value, from_ms, now_ms);
    }
    object(arguments, 0)?.write(&pool)?;
    emit_rules(scope, &pool)
}

pub(super) fn set_unbonding(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    set_rules(scope, arguments, |pool, value, from_ms, now_ms| {
        schedule(&mut pool.unbonding_ms, value, from_ms, now_ms);
        (HOUR_MS..=14 * DAY_MS).contains(&value)
    })
}

pub(super) fn set_seal_token_lifetime(
    scope: &mut Scope<'_, '_>,
    arguments: &mut [Arg],
) -> Result<(), Stop> {
    let mut pool = admin(arguments, 1)?;
    let [_, _, Arg::U64(value)] = &*arguments else {
        return Err(wrong(2));
    };
    let allowed = (HOUR_MS..=365 * DAY_MS).contains(value);
    require(allowed, &Abort::POOL_OUT_OF_BOUNDS)?;
    pool.seal_token_ms = *value;
    object(arguments, 0)?.write(&pool)?;
    emit_rules(scope, &pool)
}

pub(super) fn set_reporter_share(
    scope: &mut Scope<'_, '_>,
    arguments: &mut [Arg],
) -> Result<(), Stop> {
    set_rules(scope, arguments, |pool, value, from_ms, now_ms| {
        schedule(&mut pool.reporter_basis_points, value, from_ms, now_ms);
        value <= 5_000
    })
}

/// Schedules a rule: `set` says whether the value lies within its bounds.
fn set_rules(
    scope: &mut Scope<'_, '_>,
    arguments: &mut [Arg],
    set: fn(&mut Pool, u64, u64, u64) -> bool,
) -> Result<(), Stop> {
    let mut pool = admin(arguments, 1)?;
    let clock: Clock = object(arguments, 3)?.read()?;
    let [_, _, Arg::U64(value), _] = &*arguments else {
        return Err(wrong(2));
    };
    let from_ms = authority::begins_ms(&pool, &clock);
    let allowed = set(&mut pool, *value, from_ms, clock.timestamp_ms);
    require(allowed, &Abort::POOL_OUT_OF_BOUNDS)?;
    object(arguments, 0)?.write(&pool)?;
    emit_rules(scope, &pool)
}

fn emit_rules(scope: &mut Scope<'_, '_>, pool: &Pool) -> Result<(), Stop> {
    emit(
        scope,
        &RulesChanged {
            pool: pool.id,
            minimum_stake: pool.minimum_stake,
            unbonding_ms: pool.unbonding_ms,
            seal_token_ms: pool.seal_token_ms,
            reporter_basis_points: pool.reporter_basis_points,
        },
    )
}

pub(super) fn set_offence(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let mut pool = admin(arguments, 1)?;
    let clock: Clock = object(arguments, 6)?.read()?;
    let [
        _,
        _,
        Arg::U16(reason),
        Arg::U64(basis_points),
        Arg::U64(daily_cap_basis_points),
        Arg::Bool(in_force),
        _,
    ] = &*arguments
    else {
        return Err(wrong(2));
    };
    let whole = 1..=abi::WHOLE_BASIS_POINTS;
    require(
        whole.contains(basis_points)
            && whole.contains(daily_cap_basis_points)
            && basis_points <= daily_cap_basis_points,
        &Abort::OFFENCES_OUT_OF_BOUNDS,
    )?;
    let penalty = Penalty {
        basis_points: *basis_points,
        daily_cap_basis_points: *daily_cap_basis_points,
        in_force: *in_force,
    };
    let mut from_ms = authority::begins_ms(&pool, &clock);
    let known = pool
        .offences
        .iter()
        .position(|known| known.reason == *reason);
    if known.is_none() {
        require(
            pool.offences.len() < MOST_OFFENCES,
            &Abort::OFFENCES_TOO_MANY_OFFENCES,
        )?;
        pool.offences.push(Offence {
            reason: *reason,
            penalty: Scheduled::fixed(Penalty {
                in_force: false,
                ..penalty
            }),
        });
    }
    let mut offences = pool.offences.iter_mut();
    if let Some(offence) = offences.find(|offence| offence.reason == *reason) {
        from_ms = schedule(&mut offence.penalty, penalty, from_ms, clock.timestamp_ms);
    }
    let event = OffenceChanged {
        pool: pool.id,
        reason: *reason,
        basis_points: *basis_points,
        daily_cap_basis_points: *daily_cap_basis_points,
        in_force: *in_force,
        from_ms,
    };
    object(arguments, 0)?.write(&pool)?;
    emit(scope, &event)
}

pub(super) fn withdraw_treasury(
    scope: &mut Scope<'_, '_>,
    arguments: &mut [Arg],
) -> Result<(), Stop> {
    let pool = admin(arguments, 2)?;
    let mut treasury: Treasury = object(arguments, 1)?.read()?;
    let [_, _, _, Arg::U64(amount)] = &*arguments else {
        return Err(wrong(3));
    };
    assert_treasury(&treasury, pool.id)?;
    require(*amount > 0, &Abort::TREASURY_EMPTY_WITHDRAWAL)?;
    require(*amount <= treasury.balance, &Abort::TREASURY_SHORT)?;
    treasury.balance -= *amount;
    let coin = Coin {
        id: scope.new_id(),
        balance: *amount,
    };
    let event = TreasuryWithdrawn {
        pool: pool.id,
        amount: *amount,
        remaining: treasury.balance,
    };
    object(arguments, 1)?.write(&treasury)?;
    emit(scope, &event)?;
    let coin = Value::new(StructTag::gas_coin(), true, &coin)?;
    scope.made.returned.push(coin);
    Ok(())
}

pub(super) fn set_beneficiary(
    scope: &mut Scope<'_, '_>,
    arguments: &mut [Arg],
) -> Result<(), Stop> {
    let pool: Pool = object(arguments, 0)?.read()?;
    let mut record: StakeRecord = object(arguments, 1)?.read()?;
    let clock: Clock = object(arguments, 3)?.read()?;
    let [_, _, Arg::Address(beneficiary), _] = &*arguments else {
        return Err(wrong(2));
    };
    let beneficiary = *beneficiary;
    assert_version(&pool)?;
    assert_own(&pool, &record)?;
    let now_ms = clock.timestamp_ms;
    require(
        record.beneficiary.at(now_ms) == scope.sender(),
        &Abort::BENEFICIARY_NOT_BENEFICIARY,
    )?;
    staking::assert_beneficiary(beneficiary, record.pool, record.id)?;
    let from_ms = now_ms + abi::authority::NOTICE_MS;
    let from_ms = schedule(&mut record.beneficiary, beneficiary, from_ms, now_ms);
    object(arguments, 1)?.write(&record)?;
    emit(
        scope,
        &BeneficiaryChanged {
            record: record.id,
            beneficiary,
            from_ms,
        },
    )
}

/// `scheduled::settle`.
fn settle<T: Copy>(scheduled: &mut Scheduled<T>, now_ms: u64) {
    if scheduled.next.is_some() && now_ms >= scheduled.from_ms {
        *scheduled = Scheduled::fixed(scheduled.at(now_ms));
    }
}

/// `scheduled::schedule`: from when on the value counts.
pub(super) fn schedule<T: Copy + PartialEq>(
    scheduled: &mut Scheduled<T>,
    value: T,
    from_ms: u64,
    now_ms: u64,
) -> u64 {
    settle(scheduled, now_ms);
    if value == scheduled.current || from_ms <= now_ms {
        *scheduled = Scheduled::fixed(value);
        now_ms
    } else {
        scheduled.next = Some(value);
        scheduled.from_ms = from_ms;
        from_ms
    }
}
