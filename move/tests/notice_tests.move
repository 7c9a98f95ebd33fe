/// What an administrator changes after a notice: the minimum, and offences; and the opening of a
/// pool, before which there is none.
#[test_only]
module k3s_daas::notice_tests;

use k3s_daas::{
    administration,
    authority,
    bounds,
    minimum_stake,
    offences,
    pool,
    staking::{Self, StakeRecord},
    world::{Self, World, key, account, sui}
};
use std::unit_test::{assert_eq, destroy};

fun staked(): (World, StakeRecord) {
    let mut world = world::begin();
    let record = world.stake(1, sui(5));
    (world, record)
}

// --- a higher minimum ---

fun raise(world: &mut World, minimum: u64) {
    let (pool, admin, _, clock, _) = world.parts();
    administration::set_minimum_stake(pool, admin, minimum, clock);
}

#[test]
fun raised_minimum_counts_after_notice_and_grace() {
    let (mut world, mut record) = staked();
    raise(&mut world, sui(6));
    // new stakes
    world.wait(bounds::notice_ms() - 1);
    let (pool, _, _, clock, _) = world.parts();
    assert_eq!(pool.minimum_for_new(clock), sui(1));
    clock.increment_for_testing(1);
    assert_eq!(pool.minimum_for_new(clock), sui(6));
    // stakes that stand
    world.wait(bounds::minimum_stake_grace_ms() - 1);
    assert!(world.stands(&record));
    world.act_as(account(1));
    world.issue_token(&mut record);
    world.wait(1);
    assert!(!world.stands(&record) && record.is_active());
    // no coins are taken
    world.act_as(account(1));
    world.ask_back(&mut record);
    world.wait(7 * 86_400_000);
    assert_eq!(world.withdraw(&mut record), sui(5));
    destroy(record);
    world.end();
}

#[test, expected_failure(abort_code = staking::EBelowMinimumStake)]
fun stake_below_a_minimum_in_its_grace_is_refused() {
    let (mut world, record) = staked();
    raise(&mut world, sui(6));
    world.wait(bounds::notice_ms());
    destroy(record);
    destroy(world.stake(2, sui(5)));
    abort
}

#[test]
fun record_below_the_former_minimum_has_no_grace() {
    let (mut world, mut record) = staked();
    raise(&mut world, sui(6));
    world.slash(&mut record, 9_000);
    assert!(!world.stands(&record));
    destroy(record);
    world.end();
}

#[test]
fun lower_minimum_counts_at_once_and_cancels_a_rise() {
    let (mut world, record) = staked();
    raise(&mut world, sui(6));
    raise(&mut world, sui(1) / 2);
    world.wait(bounds::notice_ms() + bounds::minimum_stake_grace_ms());
    let (pool, _, _, clock, _) = world.parts();
    assert_eq!(pool.minimum_for_new(clock), sui(1) / 2);
    assert!(world.stands(&record));
    destroy(record);
    world.end();
}

#[test]
fun minimum_rises_again_once_a_rise_is_over() {
    let (mut world, record) = staked();
    raise(&mut world, sui(3));
    world.wait(bounds::notice_ms() + bounds::minimum_stake_grace_ms());
    raise(&mut world, sui(6));
    assert!(world.stands(&record));
    let (pool, _, _, clock, _) = world.parts();
    assert_eq!(pool.minimum_for_new(clock), sui(3));
    assert_eq!(pool.minimum_for_standing(clock), sui(3));
    destroy(record);
    world.end();
}

#[test, expected_failure(abort_code = minimum_stake::EChangePending)]
fun second_rise_before_the_grace_is_over_is_refused() {
    let (mut world, record) = staked();
    raise(&mut world, sui(3));
    world.wait(bounds::notice_ms() + bounds::minimum_stake_grace_ms() - 1);
    destroy(record);
    raise(&mut world, sui(6));
    abort
}

// --- opening ---

#[test, expected_failure(abort_code = pool::ENotOpen)]
fun stake_before_the_pool_is_open_is_refused() {
    let mut world = world::begin();
    world.act_as(account(1));
    let payment = world.coins(sui(5));
    let (pool, _, _, clock, ctx) = world.parts();
    destroy(staking::stake_for_node(pool, world::name(1), key(1), account(1), payment, clock, ctx));
    abort
}

#[test, expected_failure(abort_code = pool::EAlreadyOpen)]
fun pool_is_opened_once() {
    let mut world = world::begin();
    world.open();
    let (pool, admin, _, _, _) = world.parts();
    administration::open_pool(pool, admin);
    abort
}

#[test, expected_failure(abort_code = pool::EWrongPool)]
fun another_pools_administrator_opens_nothing() {
    let mut world = world::begin();
    let (_pool, other_admin, _slasher) = world.other();
    let (pool, _, _, _, _) = world.parts();
    administration::open_pool(pool, &other_admin);
    abort
}

/// Whoever stakes and leaves does not make the pool new again.
#[test, expected_failure(abort_code = authority::ENotYetEffective)]
fun empty_open_pool_still_asks_for_the_notice() {
    let (mut world, mut record) = staked();
    world.ask_back(&mut record);
    world.wait(7 * 86_400_000);
    world.withdraw(&mut record);
    let (pool, admin, _, clock, ctx) = world.parts();
    let cap = administration::new_slasher_cap(pool, admin, clock, ctx);
    world.act_as(account(1));
    world.restake(&mut record, sui(5));
    let (pool, treasury, _, clock, _) = world.slasher_parts();
    staking::slash_stake(pool, treasury, &cap, &mut record, 10_000, 7, b"", clock);
    destroy(cap);
    abort
}

// --- offences ---

fun offence(world: &mut World, reason: u16, basis_points: u64, cap: u64, in_force: bool) {
    let (pool, admin, _, clock, _) = world.parts();
    administration::set_offence(pool, admin, reason, basis_points, cap, in_force, clock);
}

fun penalty(world: &mut World, reason: u16): (u64, u64) {
    let (pool, _, _, clock, _) = world.parts();
    pool.penalty(reason, clock)
}

#[test]
fun offence_of_a_pool_that_is_not_open_counts_at_once() {
    let mut world = world::begin();
    offence(&mut world, 3, 10_000, 10_000, true);
    let (share, cap) = penalty(&mut world, 3);
    assert_eq!(share, 10_000);
    assert_eq!(cap, 10_000);
    world.end();
}

#[test]
fun offence_changes_after_its_notice() {
    let mut world = world::begin();
    offence(&mut world, 3, 100, 500, true);
    world.open();
    offence(&mut world, 3, 200, 600, true);
    world.wait(bounds::notice_ms() - 1);
    let (share, cap) = penalty(&mut world, 3);
    assert_eq!(share, 100);
    assert_eq!(cap, 500);
    world.wait(1);
    let (share, cap) = penalty(&mut world, 3);
    assert_eq!(share, 200);
    assert_eq!(cap, 600);
    // a change that is due is not lost when another is published
    offence(&mut world, 3, 300, 700, true);
    let (share, _) = penalty(&mut world, 3);
    assert_eq!(share, 200);
    world.end();
}

#[test, expected_failure(abort_code = offences::ENotInForce)]
fun new_offence_of_an_open_pool_waits_for_its_notice() {
    let mut world = world::begin();
    world.open();
    offence(&mut world, 3, 100, 500, true);
    world.wait(bounds::notice_ms() - 1);
    penalty(&mut world, 3);
    abort
}

#[test]
fun new_offence_of_an_open_pool_counts_after_its_notice() {
    let mut world = world::begin();
    world.open();
    offence(&mut world, 3, 100, 500, true);
    world.wait(bounds::notice_ms());
    let (share, _) = penalty(&mut world, 3);
    assert_eq!(share, 100);
    world.end();
}

/// Nor does an administrator let an offender off at once.
#[test]
fun offence_stays_in_force_until_its_notice_is_over() {
    let mut world = world::begin();
    offence(&mut world, 3, 100, 500, true);
    world.open();
    offence(&mut world, 3, 100, 500, false);
    world.wait(bounds::notice_ms() - 1);
    let (share, _) = penalty(&mut world, 3);
    assert_eq!(share, 100);
    world.end();
}

#[test, expected_failure(abort_code = offences::ENotInForce)]
fun offence_out_of_force_has_no_penalty() {
    let mut world = world::begin();
    offence(&mut world, 3, 100, 500, true);
    world.open();
    offence(&mut world, 3, 100, 500, false);
    world.wait(bounds::notice_ms());
    penalty(&mut world, 3);
    abort
}

#[test, expected_failure(abort_code = offences::EUnknownOffence)]
fun unknown_reason_has_no_penalty() {
    let mut world = world::begin();
    penalty(&mut world, 3);
    abort
}

#[test, expected_failure(abort_code = offences::EOutOfBounds)]
fun offence_of_nothing_is_refused() {
    let mut world = world::begin();
    offence(&mut world, 3, 0, 500, true);
    abort
}

#[test, expected_failure(abort_code = offences::EOutOfBounds)]
fun offence_of_more_than_all_is_refused() {
    let mut world = world::begin();
    offence(&mut world, 3, 100, 10_001, true);
    abort
}

#[test, expected_failure(abort_code = offences::EOutOfBounds)]
fun offence_above_its_own_cap_is_refused() {
    let mut world = world::begin();
    offence(&mut world, 3, 501, 500, true);
    abort
}

#[test, expected_failure(abort_code = offences::ETooManyOffences)]
fun table_of_offences_can_always_be_read_whole() {
    let mut world = world::begin();
    33u16.do!(|reason| offence(&mut world, reason, 100, 500, true));
    abort
}

#[test, expected_failure(abort_code = pool::EWrongPool)]
fun another_pools_administrator_sets_no_offence() {
    let mut world = world::begin();
    let (_pool, other_admin, _slasher) = world.other();
    let (pool, _, _, clock, _) = world.parts();
    administration::set_offence(pool, &other_admin, 3, 100, 500, true, clock);
    abort
}
