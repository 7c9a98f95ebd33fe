/// What an administrator and a slasher may do, within which bounds, and with which pool.
#[test_only]
module k3s_daas::administration_tests;

use k3s_daas::{
    administration,
    authority,
    bounds,
    evidence,
    minimum_stake,
    pool,
    staking::{Self, StakeRecord},
    treasury,
    world::{Self, World, key, name, account, sui}
};
use std::unit_test::{assert_eq, destroy};

fun staked(): (World, StakeRecord) {
    let mut world = world::begin();
    let record = world.stake(1, sui(5));
    (world, record)
}

#[test]
fun rules_change_within_their_bounds() {
    let mut world = world::begin();
    let (pool, admin, _, clock, _) = world.parts();
    vector[bounds::minimum_stake().least(), bounds::minimum_stake().most()].do!(|value| {
        administration::set_minimum_stake(pool, admin, value, clock);
        assert_eq!(pool.minimum_for_new(clock), value);
        assert_eq!(pool.minimum_for_standing(clock), value);
    });
    vector[bounds::unbonding_ms().least(), bounds::unbonding_ms().most()].do!(|value| {
        administration::set_unbonding(pool, admin, value, clock);
        let (unbonding_ms, _, _) = pool.rules(clock);
        assert_eq!(unbonding_ms, value);
    });
    vector[bounds::seal_token_ms().least(), bounds::seal_token_ms().most()].do!(|value| {
        administration::set_seal_token_lifetime(pool, admin, value);
        let (_, seal_token_ms, _) = pool.rules(clock);
        assert_eq!(seal_token_ms, value);
    });
    vector[0, bounds::reporter_basis_points().most()].do!(|value| {
        administration::set_reporter_share(pool, admin, value, clock);
        let (_, _, reporter) = pool.rules(clock);
        assert_eq!(reporter, value);
    });
    world.end();
}

#[test, expected_failure(abort_code = minimum_stake::EOutOfBounds)]
fun a_minimum_below_its_bounds_is_refused() {
    let mut world = world::begin();
    let (pool, admin, _, clock, _) = world.parts();
    administration::set_minimum_stake(pool, admin, bounds::minimum_stake().least() - 1, clock);
    abort
}

#[test, expected_failure(abort_code = minimum_stake::EOutOfBounds)]
fun a_minimum_above_its_bounds_is_refused() {
    let mut world = world::begin();
    let (pool, admin, _, clock, _) = world.parts();
    administration::set_minimum_stake(pool, admin, bounds::minimum_stake().most() + 1, clock);
    abort
}

#[test, expected_failure(abort_code = pool::EOutOfBounds)]
fun stakes_cannot_be_locked_for_good() {
    let mut world = world::begin();
    let (pool, admin, _, clock, _) = world.parts();
    administration::set_unbonding(pool, admin, bounds::unbonding_ms().most() + 1, clock);
    abort
}

#[test, expected_failure(abort_code = pool::EOutOfBounds)]
fun unbonding_cannot_be_too_short_to_slash() {
    let mut world = world::begin();
    let (pool, admin, _, clock, _) = world.parts();
    administration::set_unbonding(pool, admin, bounds::unbonding_ms().least() - 1, clock);
    abort
}

#[test, expected_failure(abort_code = pool::EOutOfBounds)]
fun a_token_for_ever_is_refused() {
    let mut world = world::begin();
    let (pool, admin, _, _, _) = world.parts();
    administration::set_seal_token_lifetime(pool, admin, bounds::seal_token_ms().most() + 1);
    abort
}

#[test, expected_failure(abort_code = pool::EOutOfBounds)]
fun a_reporter_gets_no_more_than_a_half() {
    let mut world = world::begin();
    let (pool, admin, _, clock, _) = world.parts();
    administration::set_reporter_share(pool, admin, 5_001, clock);
    abort
}

// --- capabilities of another pool ---

#[test, expected_failure(abort_code = pool::EWrongPool)]
fun another_pools_administrator_sets_nothing() {
    let mut world = world::begin();
    let (other, other_admin, other_slasher) = world.other();
    let (pool, _, _, clock, _) = world.parts();
    administration::set_minimum_stake(pool, &other_admin, sui(2), clock);
    destroy(other);
    destroy(other_admin);
    destroy(other_slasher);
    abort
}

#[test, expected_failure(abort_code = pool::EWrongPool)]
fun another_pools_administrator_takes_no_treasury() {
    let (mut world, mut record) = staked();
    world.slash(&mut record, 10_000);
    let (other, other_admin, other_slasher) = world.other();
    let (pool, treasury, _, _, ctx) = world.slasher_parts();
    destroy(administration::withdraw_treasury(pool, treasury, &other_admin, 1, ctx));
    destroy(other);
    destroy(other_admin);
    destroy(other_slasher);
    destroy(record);
    abort
}

#[test, expected_failure(abort_code = pool::EWrongPool)]
fun another_pools_slasher_slashes_nothing() {
    let (mut world, mut record) = staked();
    let (other, other_admin, other_slasher) = world.other();
    let (pool, treasury, _, clock, _) = world.slasher_parts();
    staking::slash_stake(pool, treasury, &other_slasher, &mut record, 10_000, 7, b"", clock);
    destroy(other);
    destroy(other_admin);
    destroy(other_slasher);
    abort
}

#[test, expected_failure(abort_code = staking::EWrongPool)]
fun another_pools_slasher_slashes_nothing_through_its_own_pool() {
    let (mut world, mut record) = staked();
    let (other, other_admin, other_slasher) = world.other();
    let (_, treasury, _, clock, _) = world.slasher_parts();
    staking::slash_stake(&other, treasury, &other_slasher, &mut record, 10_000, 7, b"", clock);
    destroy(other);
    destroy(other_admin);
    destroy(other_slasher);
    abort
}

#[test, expected_failure(abort_code = staking::EWrongPool)]
fun a_stake_is_not_withdrawn_from_another_pool() {
    let (mut world, mut record) = staked();
    world.ask_back(&mut record);
    let (other, _other_admin, _other_slasher) = world.other();
    world.act_as(account(1));
    world.wait(7 * 86_400_000);
    let (_, _, _, clock, ctx) = world.parts();
    staking::withdraw_stake(&other, &mut record, clock, ctx);
    abort
}

#[test, expected_failure(abort_code = pool::EWrongPool)]
fun another_pools_administrator_migrates_nothing() {
    let mut world = world::begin();
    let (_other, other_admin, _other_slasher) = world.other();
    let (pool, _, _, _, _) = world.parts();
    pool.migrate(&other_admin);
    abort
}

#[test]
fun two_pools_have_a_record_each_for_one_key() {
    let (mut world, record) = staked();
    let (mut other, other_admin, other_slasher) = world.other();
    world.act_as(account(1));
    let payment = world.coins(sui(2));
    let (_, _, _, clock, ctx) = world.parts();
    let second = staking::stake_for_node(
        &mut other,
        name(1),
        key(1),
        account(1),
        payment,
        clock,
        ctx,
    );
    let clock = world.clock();
    assert!(staking::counts(&other, &second, clock) && !staking::counts(&other, &record, clock));
    assert!(!world.stands(&second));
    destroy(other);
    destroy(other_admin);
    destroy(other_slasher);
    destroy(record);
    destroy(second);
    world.end();
}

// --- the treasury ---

#[test, expected_failure(abort_code = treasury::EShort)]
fun stakes_are_not_in_the_treasury() {
    let (mut world, record) = staked();
    world.take_treasury(1);
    destroy(record);
    abort
}

#[test, expected_failure(abort_code = treasury::EEmptyWithdrawal)]
fun nothing_is_no_withdrawal() {
    let mut world = world::begin();
    world.take_treasury(0);
    abort
}

#[test, expected_failure(abort_code = treasury::EWrongPool)]
fun another_pools_treasury_pays_nothing() {
    let (mut world, _record) = staked();
    let (_other, _other_admin, _other_slasher) = world.other();
    let mut treasury = world.other_treasury();
    let (pool, admin, _, _, ctx) = world.parts();
    destroy(administration::withdraw_treasury(pool, &mut treasury, admin, 1, ctx));
    abort
}

#[test, expected_failure(abort_code = treasury::EWrongPool)]
fun slash_does_not_fill_another_pools_treasury() {
    let (mut world, mut record) = staked();
    let (_other, _other_admin, _other_slasher) = world.other();
    let mut treasury = world.other_treasury();
    let (pool, _, slasher, clock, _) = world.parts();
    staking::slash_stake(pool, &mut treasury, slasher, &mut record, 1, 7, b"", clock);
    abort
}

// --- the right to slash ---

#[test]
fun slasher_made_before_the_pool_is_open_counts_at_once() {
    let mut world = world::begin();
    let (pool, admin, _, clock, ctx) = world.parts();
    let cap = administration::new_slasher_cap(pool, admin, clock, ctx);
    let mut record = world.stake(1, sui(5));
    let (pool, treasury, _, clock, _) = world.slasher_parts();
    staking::slash_stake(pool, treasury, &cap, &mut record, 10_000, 7, b"", clock);
    destroy(cap);
    destroy(record);
    world.end();
}

#[test, expected_failure(abort_code = authority::ENotYetEffective)]
fun a_new_slasher_waits_for_its_notice() {
    let (mut world, mut record) = staked();
    let (pool, admin, _, clock, ctx) = world.parts();
    let cap = administration::new_slasher_cap(pool, admin, clock, ctx);
    clock.increment_for_testing(bounds::notice_ms() - 1);
    let (pool, treasury, _, clock, _) = world.slasher_parts();
    staking::slash_stake(pool, treasury, &cap, &mut record, 10_000, 7, b"", clock);
    destroy(cap);
    abort
}

#[test]
fun a_new_slasher_counts_after_its_notice() {
    let (mut world, mut record) = staked();
    let (pool, admin, _, clock, ctx) = world.parts();
    let cap = administration::new_slasher_cap(pool, admin, clock, ctx);
    clock.increment_for_testing(bounds::notice_ms());
    let (pool, treasury, _, clock, _) = world.slasher_parts();
    staking::slash_stake(pool, treasury, &cap, &mut record, 10_000, 7, b"", clock);
    destroy(cap);
    destroy(record);
    world.end();
}

#[test]
fun the_notice_outlasts_the_longest_unbonding() {
    assert!(bounds::notice_ms() > bounds::unbonding_ms().most());
}

#[test, expected_failure(abort_code = authority::ERevoked)]
fun a_revoked_slasher_slashes_nothing() {
    let (mut world, mut record) = staked();
    let (pool, admin, slasher, _, _) = world.parts();
    let id = object::id(slasher);
    administration::revoke_slasher_cap(pool, admin, id);
    world.slash(&mut record, 10_000);
    abort
}

#[test, expected_failure(abort_code = authority::ERevoked)]
fun a_slasher_is_revoked_once() {
    let mut world = world::begin();
    let (pool, admin, slasher, _, _) = world.parts();
    let id = object::id(slasher);
    administration::revoke_slasher_cap(pool, admin, id);
    administration::revoke_slasher_cap(pool, admin, id);
    abort
}

// --- evidence with the capability ---

#[test]
fun different_evidence_counts_once_each() {
    let (mut world, mut record) = staked();
    world.slash_with(&mut record, 1_000, world::digest(1));
    world.slash_with(&mut record, 1_000, world::digest(2));
    assert_eq!(record.balance(), sui(5) * 81 / 100);
    destroy(record);
    world.end();
}

#[test, expected_failure(abort_code = evidence::EEvidenceUsed)]
fun the_same_evidence_does_not_punish_twice() {
    let (mut world, mut record) = staked();
    world.slash_with(&mut record, 1_000, world::digest(1));
    world.slash_with(&mut record, 1_000, world::digest(1));
    abort
}

#[test, expected_failure(abort_code = staking::EInvalidEvidence)]
fun evidence_is_a_digest() {
    let (mut world, mut record) = staked();
    world.slash_with(&mut record, 1_000, b"because");
    abort
}

// --- rules after their notice ---

#[test]
fun longer_unbonding_counts_after_its_notice() {
    let (mut world, mut record) = staked();
    let (pool, admin, _, clock, _) = world.parts();
    let longest = bounds::unbonding_ms().most();
    administration::set_unbonding(pool, admin, longest, clock);
    // until then the former one counts
    clock.increment_for_testing(bounds::notice_ms() - 1);
    let (unbonding_ms, _, _) = pool.rules(clock);
    assert_eq!(unbonding_ms, 7 * 86_400_000);
    world.act_as(account(1));
    world.ask_back(&mut record);
    world.wait(7 * 86_400_000);
    let (pool, _, _, clock, _) = world.parts();
    let (unbonding_ms, _, _) = pool.rules(clock);
    assert_eq!(unbonding_ms, longest);
    // who requested before is not held
    world.act_as(account(1));
    assert_eq!(world.withdraw(&mut record), sui(5));
    destroy(record);
    world.end();
}

/// Nor does an administrator let an offender out sooner.
#[test, expected_failure(abort_code = staking::EStillLocked)]
fun shorter_unbonding_waits_for_its_notice() {
    let (mut world, mut record) = staked();
    let (pool, admin, _, clock, _) = world.parts();
    administration::set_unbonding(pool, admin, bounds::unbonding_ms().least(), clock);
    world.act_as(account(1));
    world.ask_back(&mut record);
    world.wait(7 * 86_400_000 - 1);
    world.withdraw(&mut record);
    destroy(record);
    abort
}

#[test]
fun reporter_share_changes_after_its_notice() {
    let (mut world, record) = staked();
    let (pool, admin, _, clock, _) = world.parts();
    administration::set_reporter_share(pool, admin, 5_000, clock);
    clock.increment_for_testing(bounds::notice_ms() - 1);
    let (_, _, reporter) = pool.rules(clock);
    assert_eq!(reporter, 1_000);
    clock.increment_for_testing(1);
    let (_, _, reporter) = pool.rules(clock);
    assert_eq!(reporter, 5_000);
    destroy(record);
    world.end();
}
