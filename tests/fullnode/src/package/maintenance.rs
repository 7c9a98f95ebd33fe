//! Module `maintenance`, with `spans`.

use chain::abi::abort::Abort;
use chain::abi::{Clock, MoveType, Pool, Span, StakeRecord, status};
use serde::{Deserialize, Serialize};
use sui_sdk_types::Address;

use super::{assert_own, assert_owner, emit, object, require, wrong};
use crate::execution::{Arg, Scope, Stop};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Most maintenance within the window (`bounds::maintenance_ms`).
const MOST_MS: u64 = 3 * DAY_MS;
/// The window (`bounds::maintenance_window_ms`).
const WINDOW_MS: u64 = 30 * DAY_MS;
/// Most spans that a record keeps (`maintenance::MOST_SPANS`).
const MOST_SPANS: usize = 16;

#[derive(Serialize, Deserialize)]
struct MaintenanceBegan {
    record: Address,
    from_ms: u64,
    until_ms: u64,
}

impl MoveType for MaintenanceBegan {
    const MODULE: &'static str = chain::abi::MAINTENANCE;
    const NAME: &'static str = "MaintenanceBegan";
}

#[derive(Serialize, Deserialize)]
struct MaintenanceEnded {
    record: Address,
    at_ms: u64,
}

impl MoveType for MaintenanceEnded {
    const MODULE: &'static str = chain::abi::MAINTENANCE;
    const NAME: &'static str = "MaintenanceEnded";
}

pub(super) fn begin_maintenance(
    scope: &mut Scope<'_, '_>,
    arguments: &mut [Arg],
) -> Result<(), Stop> {
    let (mut record, clock) = opened(scope, arguments, 3)?;
    let [_, _, Arg::U64(until_ms), _] = &*arguments else {
        return Err(wrong(2));
    };
    let (now_ms, until_ms) = (clock.timestamp_ms, *until_ms);
    require(
        record.status == status::ACTIVE,
        &Abort::MAINTENANCE_NOT_ACTIVE,
    )?;
    require(
        until_ms > now_ms && until_ms - now_ms <= MOST_MS,
        &Abort::MAINTENANCE_NOT_AHEAD,
    )?;
    require(
        !is_running(&record.maintenance, now_ms),
        &Abort::MAINTENANCE_IN_MAINTENANCE,
    )?;
    let forgotten = now_ms.saturating_sub(WINDOW_MS);
    let old = |span: &Span| span.until_ms <= forgotten;
    while record.maintenance.first().is_some_and(old) {
        record.maintenance.remove(0);
    }
    let start_ms = until_ms.saturating_sub(WINDOW_MS);
    let within = |span: &Span| span.until_ms.saturating_sub(span.from_ms.max(start_ms));
    let used: u64 = record.maintenance.iter().map(within).sum();
    require(
        used + (until_ms - now_ms) <= MOST_MS,
        &Abort::MAINTENANCE_TOO_MUCH,
    )?;
    require(
        record.maintenance.len() < MOST_SPANS,
        &Abort::MAINTENANCE_TOO_OFTEN,
    )?;
    record.maintenance.push(Span {
        from_ms: now_ms,
        until_ms,
    });
    object(arguments, 1)?.write(&record)?;
    emit(
        scope,
        &MaintenanceBegan {
            record: record.id,
            from_ms: now_ms,
            until_ms,
        },
    )
}

pub(super) fn end_maintenance(
    scope: &mut Scope<'_, '_>,
    arguments: &mut [Arg],
) -> Result<(), Stop> {
    let (mut record, clock) = opened(scope, arguments, 2)?;
    let at_ms = clock.timestamp_ms;
    require(
        is_running(&record.maintenance, at_ms),
        &Abort::MAINTENANCE_NOT_IN_MAINTENANCE,
    )?;
    // a span that is empty is not kept
    record.maintenance.pop_if(|last| last.from_ms >= at_ms);
    if let Some(last) = record.maintenance.last_mut() {
        last.until_ms = last.until_ms.min(at_ms);
    }
    object(arguments, 1)?.write(&record)?;
    emit(
        scope,
        &MaintenanceEnded {
            record: record.id,
            at_ms,
        },
    )
}

fn opened(
    scope: &Scope<'_, '_>,
    arguments: &mut [Arg],
    clock: usize,
) -> Result<(StakeRecord, Clock), Stop> {
    let pool: Pool = object(arguments, 0)?.read()?;
    let record: StakeRecord = object(arguments, 1)?.read()?;
    let clock: Clock = object(arguments, clock)?.read()?;
    assert_own(&pool, &record)?;
    assert_owner(scope, &record, &clock)?;
    Ok((record, clock))
}

/// `spans::is_running`.
fn is_running(spans: &[Span], now_ms: u64) -> bool {
    spans.last().is_some_and(|last| now_ms < last.until_ms)
}
