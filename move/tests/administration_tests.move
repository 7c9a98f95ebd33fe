/// What an administrator and a slasher may do, within which bounds, and with which pool.
#[test_only]
module k3s_daas::administration_tests;

use k3s_daas::{
    administration,
    authority,
    bounds,
    evidence,
    staking::{Self, StakeRecord},
    version,
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
    let (pool, admin, _, _, _) = world.parts();
    vector[bounds::minimum_stake().least(), bounds::minimum_stake().most()].do!(|value| {
        administration::set_minimum_stake(pool, admin, value);
        let (minimum_stake, _, _, _) = pool.rules();
        assert_eq!(minimum_stake, value);
    });
    vector[bounds::unbonding_ms().least(), bounds::unbonding_ms().most()].do!(|value| {
        administration::set_unbonding(pool, admin, value);
        let (_, unbonding_ms, _, _) = pool.rules();
        assert_eq!(unbonding_ms, value);
    });
    vector[bounds::seal_token_ms().least(), bounds::seal_token_ms().most()].do!(|value| {
        administration::set_seal_token_lifetime(pool, admin, value);
        let (_, _, seal_token_ms, _) = pool.rules();
        assert_eq!(seal_token_ms, value);
    });
    vector[0, bounds::reporter_basis_points().most()].do!(|value| {
        administration::set_reporter_share(pool, admin, value);
        let (_, _, _, reporter) = pool.rules();
        assert_eq!(reporter, value);
    });
    world.end();
}

#[test, expected_failure(abort_code = staking::EOutOfBounds)]
fun a_minimum_below_its_bounds_is_refused() {
    let mut world = world::begin();
    let (pool, admin, _, _, _) = world.parts();
    administration::set_minimum_stake(pool, admin, bounds::minimum_stake().least() - 1);
    abort
}

#[test, expected_failure(abort_code = staking::EOutOfBounds)]
fun a_minimum_above_its_bounds_is_refused() {
    let mut world = world::begin();
    let (pool, admin, _, _, _) = world.parts();
    administration::set_minimum_stake(pool, admin, bounds::minimum_stake().most() + 1);
    abort
}

#[test, expected_failure(abort_code = staking::EOutOfBounds)]
fun stakes_cannot_be_locked_for_good() {
    let mut world = world::begin();
    let (pool, admin, _, _, _) = world.parts();
    administration::set_unbonding(pool, admin, bounds::unbonding_ms().most() + 1);
    abort
}

#[test, expected_failure(abort_code = staking::EOutOfBounds)]
fun unbonding_cannot_be_too_short_to_slash() {
    let mut world = world::begin();
    let (pool, admin, _, _, _) = world.parts();
    administration::set_unbonding(pool, admin, bounds::unbonding_ms().least() - 1);
    abort
}

#[test, expected_failure(abort_code = staking::EOutOfBounds)]
fun a_token_for_ever_is_refused() {
    let mut world = world::begin();
    let (pool, admin, _, _, _) = world.parts();
    administration::set_seal_token_lifetime(pool, admin, bounds::seal_token_ms().most() + 1);
    abort
}

#[test, expected_failure(abort_code = staking::EOutOfBounds)]
fun a_reporter_gets_no_more_than_a_half() {
    let mut world = world::begin();
    let (pool, admin, _, _, _) = world.parts();
    administration::set_reporter_share(pool, admin, 5_001);
    abort
}

#[test]
fun a_raised_minimum_takes_no_coins() {
    let (mut world, mut record) = staked();
    let (pool, admin, _, _, _) = world.parts();
    administration::set_minimum_stake(pool, admin, sui(6));
    assert!(!world.pool().counts(&record) && record.is_active());
    world.ask_back(&mut record);
    world.wait(7 * 86_400_000);
    assert_eq!(world.withdraw(&mut record), sui(5));
    destroy(record);
    world.end();
}

// --- capabilities of another pool ---

#[test, expected_failure(abort_code = staking::EWrongPool)]
fun another_pools_administrator_sets_nothing() {
    let mut world = world::begin();
    let (other, other_admin, other_slasher) = world.other();
    let (pool, _, _, _, _) = world.parts();
    administration::set_minimum_stake(pool, &other_admin, sui(2));
    destroy((other));
    destroy(other_admin);
    destroy(other_slasher);
    abort
}

#[test, expected_failure(abort_code = staking::EWrongPool)]
fun another_pools_administrator_takes_no_treasury() {
    let (mut world, mut record) = staked();
    world.slash(&mut record, 10_000);
    let (other, other_admin, other_slasher) = world.other();
    let (pool, _, _, _, ctx) = world.parts();
    destroy(administration::withdraw_treasury(pool, &other_admin, 1, ctx));
    destroy(other);
    destroy(other_admin);
    destroy(other_slasher);
    destroy(record);
    abort
}

#[test, expected_failure(abort_code = staking::EWrongPool)]
fun another_pools_slasher_slashes_nothing() {
    let (mut world, mut record) = staked();
    let (other, other_admin, other_slasher) = world.other();
    let (pool, _, _, clock, _) = world.parts();
    pool.slash_stake(&other_slasher, &mut record, 10_000, 7, b"", clock);
    destroy(other);
    destroy(other_admin);
    destroy(other_slasher);
    abort
}

#[test, expected_failure(abort_code = staking::EWrongPool)]
fun another_pools_slasher_slashes_nothing_through_its_own_pool() {
    let (mut world, mut record) = staked();
    let (mut other, other_admin, other_slasher) = world.other();
    other.slash_stake(&other_slasher, &mut record, 10_000, 7, b"", world.clock());
    destroy(other);
    destroy(other_admin);
    destroy(other_slasher);
    abort
}

#[test, expected_failure(abort_code = staking::EWrongPool)]
fun a_stake_is_not_withdrawn_from_another_pool() {
    let (mut world, mut record) = staked();
    world.ask_back(&mut record);
    let (mut other, _other_admin, _other_slasher) = world.other();
    world.act_as(account(1));
    world.wait(7 * 86_400_000);
    let (_, _, _, clock, ctx) = world.parts();
    destroy(other.withdraw_stake(&mut record, clock, ctx));
    abort
}

#[test, expected_failure(abort_code = staking::EWrongPool)]
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
    let second = other.stake_for_node(name(1), key(1), payment, clock, ctx);
    assert!(other.counts(&second) && !other.counts(&record));
    assert!(!world.pool().counts(&second));
    destroy(other);
    destroy(other_admin);
    destroy(other_slasher);
    destroy(record);
    destroy(second);
    world.end();
}

// --- the treasury ---

#[test, expected_failure(abort_code = administration::ETreasuryShort)]
fun stakes_are_not_in_the_treasury() {
    let (mut world, record) = staked();
    world.take_treasury(1);
    destroy(record);
    abort
}

#[test, expected_failure(abort_code = administration::EEmptyWithdrawal)]
fun nothing_is_no_withdrawal() {
    let mut world = world::begin();
    world.take_treasury(0);
    abort
}

// --- the right to slash ---

#[test]
fun a_slasher_made_before_the_first_stake_counts_at_once() {
    let mut world = world::begin();
    let (pool, admin, _, clock, ctx) = world.parts();
    let cap = administration::new_slasher_cap(pool, admin, clock, ctx);
    let mut record = world.stake(1, sui(5));
    let (pool, _, _, clock, _) = world.parts();
    pool.slash_stake(&cap, &mut record, 10_000, 7, b"", clock);
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
    pool.slash_stake(&cap, &mut record, 10_000, 7, b"", clock);
    destroy(cap);
    abort
}

#[test]
fun a_new_slasher_counts_after_its_notice() {
    let (mut world, mut record) = staked();
    let (pool, admin, _, clock, ctx) = world.parts();
    let cap = administration::new_slasher_cap(pool, admin, clock, ctx);
    clock.increment_for_testing(bounds::notice_ms());
    pool.slash_stake(&cap, &mut record, 10_000, 7, b"", clock);
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
    let (pool, _, slasher, clock, _) = world.parts();
    pool.slash_stake(slasher, &mut record, 1_000, 7, world::digest(1), clock);
    pool.slash_stake(slasher, &mut record, 1_000, 7, world::digest(2), clock);
    assert_eq!(record.balance(), sui(5) * 81 / 100);
    destroy(record);
    world.end();
}

#[test, expected_failure(abort_code = evidence::EEvidenceUsed)]
fun the_same_evidence_does_not_punish_twice() {
    let (mut world, mut record) = staked();
    let (pool, _, slasher, clock, _) = world.parts();
    pool.slash_stake(slasher, &mut record, 1_000, 7, world::digest(1), clock);
    pool.slash_stake(slasher, &mut record, 1_000, 7, world::digest(1), clock);
    abort
}

#[test, expected_failure(abort_code = staking::EInvalidEvidence)]
fun evidence_is_a_digest() {
    let (mut world, mut record) = staked();
    let (pool, _, slasher, clock, _) = world.parts();
    pool.slash_stake(slasher, &mut record, 1_000, 7, b"because", clock);
    abort
}

// --- names ---

#[test]
fun a_slashed_nodes_name_is_kept_until_it_is_released() {
    let (mut world, mut record) = staked();
    world.slash(&mut record, 10_000);
    let (pool, admin, _, _, _) = world.parts();
    administration::release_name(pool, admin, &record);
    world.act_as(account(2));
    let second = world.stake_as(name(1), key(2), sui(1));
    destroy(second);
    destroy(record);
    world.end();
}

#[test, expected_failure(abort_code = staking::ENameTaken)]
fun a_released_name_stays_with_its_new_holder() {
    let (mut world, mut record) = staked();
    world.slash(&mut record, 10_000);
    let (pool, admin, _, _, _) = world.parts();
    administration::release_name(pool, admin, &record);
    world.act_as(account(2));
    destroy(world.stake_as(name(1), key(2), sui(1)));
    let (pool, admin, _, _, _) = world.parts();
    administration::release_name(pool, admin, &record);
    world.act_as(account(3));
    destroy(world.stake_as(name(1), key(3), sui(1)));
    abort
}

#[test, expected_failure(abort_code = staking::ENameTaken)]
fun a_slashed_nodes_name_is_not_free_by_itself() {
    let (mut world, mut record) = staked();
    world.slash(&mut record, 10_000);
    world.act_as(account(2));
    destroy(world.stake_as(name(1), key(2), sui(1)));
    destroy(record);
    abort
}

#[test, expected_failure(abort_code = administration::ENotSlashed)]
fun a_standing_nodes_name_is_not_released() {
    let (mut world, record) = staked();
    let (pool, admin, _, _, _) = world.parts();
    administration::release_name(pool, admin, &record);
    destroy(record);
    abort
}

#[test]
fun a_withdrawn_stakes_name_is_free() {
    let (mut world, mut record) = staked();
    world.ask_back(&mut record);
    world.wait(7 * 86_400_000);
    world.withdraw(&mut record);
    world.act_as(account(2));
    destroy(world.stake_as(name(1), key(2), sui(1)));
    destroy(record);
    world.end();
}

// --- versions ---

#[test, expected_failure(abort_code = staking::EWrongVersion)]
fun a_pool_of_another_version_is_refused() {
    let (mut world, mut record) = staked();
    let (pool, _, _, _, _) = world.parts();
    pool.set_versions_for_testing(&mut record, 2, 1);
    world.top_up(&mut record, 1);
    abort
}

#[test, expected_failure(abort_code = staking::EWrongVersion)]
fun a_record_of_another_version_is_refused() {
    let (mut world, mut record) = staked();
    let (pool, _, _, _, _) = world.parts();
    pool.set_versions_for_testing(&mut record, 1, 0);
    world.top_up(&mut record, 1);
    abort
}

#[test]
fun an_upgrade_locks_no_coins() {
    let (mut world, mut record) = staked();
    let (pool, admin, _, _, _) = world.parts();
    pool.set_versions_for_testing(&mut record, 0, 0);
    pool.migrate(admin);
    // by anybody
    world.act_as(account(2));
    staking::migrate_record(&mut record);
    world.act_as(account(1));
    world.ask_back(&mut record);
    world.wait(7 * 86_400_000);
    assert_eq!(world.withdraw(&mut record), sui(5));
    destroy(record);
    world.end();
}

#[test, expected_failure(abort_code = version::EAlreadyMigrated)]
fun a_pool_is_migrated_once() {
    let mut world = world::begin();
    let (pool, admin, _, _, _) = world.parts();
    pool.migrate(admin);
    abort
}

#[test, expected_failure(abort_code = version::EAlreadyMigrated)]
fun a_record_of_a_later_version_does_not_go_back() {
    let (mut world, mut record) = staked();
    let (pool, _, _, _, _) = world.parts();
    pool.set_versions_for_testing(&mut record, 1, 2);
    staking::migrate_record(&mut record);
    abort
}

#[test]
fun a_longer_unbonding_time_does_not_hold_who_asked_before() {
    let (mut world, mut record) = staked();
    world.ask_back(&mut record);
    let (pool, admin, _, _, _) = world.parts();
    let longest = bounds::unbonding_ms().most();
    administration::set_unbonding(pool, admin, longest);
    world.wait(7 * 86_400_000);
    assert_eq!(world.withdraw(&mut record), sui(5));
    destroy(record);
    world.end();
}
