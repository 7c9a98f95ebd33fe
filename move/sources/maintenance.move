/// Announced absences of a node. What they are worth (that a node which is away loses no rewards)
/// is up to the masters, who read them.
module k3s_daas::maintenance;

use k3s_daas::{bounds, pool::Pool, spans, staking::StakeRecord};
use sui::{clock::Clock, event};

#[error(code = 0)]
const EInMaintenance: vector<u8> = b"The node is in maintenance already: end it first";
#[error(code = 1)]
const ENotInMaintenance: vector<u8> = b"The node is not in maintenance";
#[error(code = 2)]
const ENotAhead: vector<u8> = b"Maintenance ends later than now, and within three days";
#[error(code = 3)]
const ETooMuch: vector<u8> = b"More than three days of maintenance within thirty days";
#[error(code = 4)]
const ETooOften: vector<u8> = b"More than 16 times of maintenance within thirty days";
#[error(code = 5)]
const ENotActive: vector<u8> = b"The stake is not active";

/// Most spans that a record keeps.
const MOST_SPANS: u64 = 16;

public struct MaintenanceBegan has copy, drop { record: ID, from_ms: u64, until_ms: u64 }
public struct MaintenanceEnded has copy, drop { record: ID, at_ms: u64 }

/// Announces that the node is away from now on until a time. Staker and beneficiary may.
public fun begin_maintenance(
    pool: &Pool,
    record: &mut StakeRecord,
    until_ms: u64,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    record.assert_own(pool);
    record.assert_owner(clock, ctx);
    assert!(record.is_active(), ENotActive);
    let now_ms = clock.timestamp_ms();
    let most = bounds::maintenance_ms();
    assert!(until_ms > now_ms && until_ms - now_ms <= most, ENotAhead);
    let spans = record.maintenance_mut();
    assert!(!spans::is_running(spans, now_ms), EInMaintenance);
    // the window that ends with this span holds the most of all that reach into it
    let window = bounds::maintenance_window_ms();
    spans::forget(spans, now_ms - window.min(now_ms));
    let start_ms = until_ms - window.min(until_ms);
    assert!(spans::since(spans, start_ms) + (until_ms - now_ms) <= most, ETooMuch);
    assert!(spans.length() < MOST_SPANS, ETooOften);
    spans::add(spans, now_ms, until_ms);
    event::emit(MaintenanceBegan { record: object::id(record), from_ms: now_ms, until_ms });
}

/// Ends the maintenance that is running; what is left of it is not used up.
public fun end_maintenance(
    pool: &Pool,
    record: &mut StakeRecord,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    record.assert_own(pool);
    record.assert_owner(clock, ctx);
    let now_ms = clock.timestamp_ms();
    let spans = record.maintenance_mut();
    assert!(spans::is_running(spans, now_ms), ENotInMaintenance);
    spans::cut(spans, now_ms);
    event::emit(MaintenanceEnded { record: object::id(record), at_ms: now_ms });
}
