/// Announced absences: by whom, and how much of them.
#[test_only]
module k3s_daas::maintenance_tests;

use k3s_daas::{
    bounds,
    maintenance,
    staking::{Self, StakeRecord},
    world::{Self, World, account, key, name, sui}
};
use std::unit_test::{assert_eq, destroy};

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 86_400_000;

fun staked(): (World, StakeRecord) {
    let mut world = world::begin();
    let record = world.stake(1, sui(5));
    (world, record)
}

fun begin(world: &mut World, record: &mut StakeRecord, length_ms: u64) {
    let (pool, _, _, clock, ctx) = world.parts();
    let until_ms = clock.timestamp_ms() + length_ms;
    maintenance::begin_maintenance(pool, record, until_ms, clock, ctx);
}

fun end(world: &mut World, record: &mut StakeRecord) {
    let (pool, _, _, clock, ctx) = world.parts();
    maintenance::end_maintenance(pool, record, clock, ctx);
}

#[test]
fun three_days_of_maintenance_are_announced() {
    let (mut world, mut record) = staked();
    begin(&mut world, &mut record, 3 * DAY_MS);
    let spans = record.maintenance();
    assert_eq!(spans[0].from_ms(), world::now_ms());
    assert_eq!(spans[0].until_ms(), world::now_ms() + 3 * DAY_MS);
    // the stake counts as before
    assert!(world.stands(&record));
    destroy(record);
    world.end();
}

#[test]
fun beneficiary_announces_maintenance() {
    let mut world = world::begin();
    world.act_as(account(1));
    let mut record = world.stake_for(name(1), key(1), @0xC01D, sui(5));
    world.act_as(@0xC01D);
    begin(&mut world, &mut record, HOUR_MS);
    world.act_as(account(1));
    end(&mut world, &mut record);
    destroy(record);
    world.end();
}

#[test]
fun what_is_left_of_maintenance_is_not_used_up() {
    let (mut world, mut record) = staked();
    begin(&mut world, &mut record, 3 * DAY_MS);
    world.wait(HOUR_MS);
    end(&mut world, &mut record);
    begin(&mut world, &mut record, 3 * DAY_MS - HOUR_MS);
    destroy(record);
    world.end();
}

/// Spans of a day each, the first from now on, the second in the window's middle. The third ends
/// thirty days after the first one's end: with it the window that ends then holds two days.
fun two_days_of_thirty(): (World, StakeRecord) {
    let (mut world, mut record) = staked();
    begin(&mut world, &mut record, DAY_MS);
    world.wait(10 * DAY_MS);
    begin(&mut world, &mut record, DAY_MS);
    world.wait(10 * DAY_MS);
    (world, record)
}

#[test]
fun third_day_in_thirty_is_announced() {
    let (mut world, mut record) = two_days_of_thirty();
    begin(&mut world, &mut record, DAY_MS);
    destroy(record);
    world.end();
}

#[test, expected_failure(abort_code = maintenance::ETooMuch)]
fun millisecond_more_in_thirty_days_is_refused() {
    let (mut world, mut record) = two_days_of_thirty();
    begin(&mut world, &mut record, DAY_MS + 1);
    abort
}

/// Two windows side by side would let six days in a row through.
#[test]
fun window_goes_along_with_the_span() {
    let (mut world, mut record) = staked();
    world.wait(27 * DAY_MS);
    begin(&mut world, &mut record, 3 * DAY_MS);
    // thirty days later a millisecond more is free with each that passes
    world.wait(30 * DAY_MS);
    begin(&mut world, &mut record, 1);
    destroy(record);
    world.end();
}

#[test, expected_failure(abort_code = maintenance::ETooMuch)]
fun windows_do_not_begin_anew() {
    let (mut world, mut record) = staked();
    world.wait(27 * DAY_MS);
    begin(&mut world, &mut record, 3 * DAY_MS);
    // a millisecond too soon: all three days lie within the thirty that end with this span
    world.wait(30 * DAY_MS - 1);
    begin(&mut world, &mut record, 1);
    abort
}

/// Nobody bars a node from maintenance by spans that are worth nothing.
#[test]
fun empty_spans_are_not_kept() {
    let (mut world, mut record) = staked();
    17u64.do!(|_| {
        begin(&mut world, &mut record, HOUR_MS);
        end(&mut world, &mut record);
    });
    assert!(record.maintenance().is_empty());
    destroy(record);
    world.end();
}

#[test]
fun maintenance_older_than_thirty_days_is_forgotten() {
    let (mut world, mut record) = staked();
    begin(&mut world, &mut record, 3 * DAY_MS);
    world.wait(33 * DAY_MS);
    begin(&mut world, &mut record, 3 * DAY_MS);
    assert_eq!(record.maintenance().length(), 1);
    destroy(record);
    world.end();
}

#[test]
fun spans_end_where_the_window_begins() {
    let (mut world, mut record) = staked();
    begin(&mut world, &mut record, 3 * DAY_MS);
    // the window of the next span begins with the end of the first
    world.wait(30 * DAY_MS);
    begin(&mut world, &mut record, 3 * DAY_MS);
    destroy(record);
    world.end();
}

#[test, expected_failure(abort_code = maintenance::ENotAhead)]
fun maintenance_until_now_is_refused() {
    let (mut world, mut record) = staked();
    begin(&mut world, &mut record, 0);
    abort
}

#[test, expected_failure(abort_code = maintenance::ENotAhead)]
fun maintenance_beyond_three_days_is_refused() {
    let (mut world, mut record) = staked();
    begin(&mut world, &mut record, bounds::maintenance_ms() + 1);
    abort
}

#[test, expected_failure(abort_code = maintenance::EInMaintenance)]
fun maintenance_is_not_begun_twice() {
    let (mut world, mut record) = staked();
    begin(&mut world, &mut record, HOUR_MS);
    world.wait(HOUR_MS - 1);
    begin(&mut world, &mut record, HOUR_MS);
    abort
}

#[test, expected_failure(abort_code = maintenance::ENotInMaintenance)]
fun maintenance_that_is_over_is_not_ended() {
    let (mut world, mut record) = staked();
    begin(&mut world, &mut record, HOUR_MS);
    world.wait(HOUR_MS);
    end(&mut world, &mut record);
    abort
}

#[test, expected_failure(abort_code = maintenance::ENotInMaintenance)]
fun maintenance_that_never_began_is_not_ended() {
    let (mut world, mut record) = staked();
    end(&mut world, &mut record);
    abort
}

#[test, expected_failure(abort_code = maintenance::ETooOften)]
fun record_can_always_be_read_whole() {
    let (mut world, mut record) = staked();
    17u64.do!(|_| {
        begin(&mut world, &mut record, 1);
        world.wait(1);
    });
    abort
}

#[test, expected_failure(abort_code = maintenance::ENotActive)]
fun unbonding_stake_has_no_maintenance() {
    let (mut world, mut record) = staked();
    world.ask_back(&mut record);
    begin(&mut world, &mut record, HOUR_MS);
    abort
}

#[test, expected_failure(abort_code = staking::ENotOwner)]
fun stranger_announces_no_maintenance() {
    let (mut world, mut record) = staked();
    world.act_as(account(2));
    begin(&mut world, &mut record, HOUR_MS);
    abort
}

#[test, expected_failure(abort_code = staking::ENotOwner)]
fun stranger_ends_no_maintenance() {
    let (mut world, mut record) = staked();
    begin(&mut world, &mut record, HOUR_MS);
    world.act_as(account(2));
    end(&mut world, &mut record);
    abort
}

#[test, expected_failure(abort_code = staking::EWrongPool)]
fun another_pool_announces_no_maintenance() {
    let (mut world, mut record) = staked();
    let (other, _admin, _slasher) = world.other();
    world.act_as(account(1));
    let (_, _, _, clock, ctx) = world.parts();
    let until_ms = clock.timestamp_ms() + 1;
    maintenance::begin_maintenance(&other, &mut record, until_ms, clock, ctx);
    abort
}
