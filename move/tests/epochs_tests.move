/// Roots of epochs, objections to them, and what becomes of their coins.
#[test_only]
module k3s_daas::epochs_tests;

use k3s_daas::{
    authority,
    bounds,
    enclave,
    pool,
    rewards::{Self, Vault},
    rewards_stage,
    rewards_world::{Self, publish},
    signer,
    staking,
    statement,
    sum_tree,
    world::{Self, account, digest, sui}
};
use std::unit_test::{assert_eq, destroy};

const DAY_MS: u64 = 86_400_000;

// --- roots ---

#[test, expected_failure(abort_code = rewards::ENotOver)]
fun root_before_the_epochs_end_is_refused() {
    let mut world = world::begin();
    let mut config = world.config();
    let first = world.master(&mut config);
    let mut vault = rewards_world::vault(&mut world);
    let (_, _, _, clock, _) = world.parts();
    clock.set_for_testing(rewards_world::end_of(0) - 1);
    publish(&mut world, &mut vault, &config, &first, 0, digest(4), 1, 1, 1);
    abort
}

#[test, expected_failure(abort_code = rewards::ENotOver)]
fun root_of_a_future_epoch_is_refused() {
    let mut stage = rewards_stage::stage(0);
    let (world, config, first, _, vault) = stage.parts();
    publish(world, vault, config, first, 18_446_744_073_709_551_615, digest(4), 1, 1, 1);
    stage.end();
    abort
}

#[test]
fun root_is_published_within_31_days() {
    let mut stage = rewards_stage::stage(0);
    stage.world().wait(bounds::root_age_ms() - 1);
    destroy(stage.publish_tree(digest(4), 1, 1, 1));
    stage.end();
}

#[test, expected_failure(abort_code = rewards::ETooLate)]
fun root_after_31_days_is_refused() {
    let mut stage = rewards_stage::stage(0);
    stage.world().wait(bounds::root_age_ms());
    destroy(stage.publish_tree(digest(4), 1, 1, 1));
    stage.end();
    abort
}

#[test, expected_failure(abort_code = rewards::EAlreadyPublished)]
fun epoch_has_one_root() {
    let mut stage = rewards_stage::stage(0);
    destroy(stage.publish_tree(digest(4), 1, 1, 1));
    destroy(stage.publish_tree(digest(5), 1, 1, 1));
    stage.end();
    abort
}

#[test, expected_failure(abort_code = rewards::EInvalidRoot)]
fun root_without_points_is_refused() {
    let mut stage = rewards_stage::stage(0);
    destroy(stage.publish_tree(digest(4), 0, 1, 1));
    stage.end();
    abort
}

#[test, expected_failure(abort_code = rewards::EInvalidRoot)]
fun root_of_31_bytes_is_refused() {
    let mut stage = rewards_stage::stage(0);
    destroy(stage.publish_tree(vector::tabulate!(31, |_| 4), 1, 1, 1));
    stage.end();
    abort
}

#[test, expected_failure(abort_code = sum_tree::EInvalidSize)]
fun root_of_no_leaves_is_refused() {
    let mut stage = rewards_stage::stage(0);
    destroy(stage.publish_tree(digest(4), 1, 0, 1));
    stage.end();
    abort
}

#[test, expected_failure(abort_code = rewards::EBudgetTooHigh)]
fun budget_above_the_vaults_is_refused() {
    let mut stage = rewards_stage::stage(0);
    destroy(stage.publish_tree(digest(4), 1, 1, sui(2) + 1));
    stage.end();
    abort
}

#[test, expected_failure(abort_code = rewards::EVaultShort)]
fun budget_above_the_funds_is_refused() {
    let mut stage = rewards_stage::stage(0);
    let (world, _, _, _, vault) = stage.parts();
    let (pool, admin, _, clock, _) = world.parts();
    vault.set_budget(pool, admin, sui(20), clock);
    destroy(stage.publish_tree(digest(4), 1, 1, sui(10) + 1));
    stage.end();
    abort
}

#[test, expected_failure(abort_code = statement::EInvalidSignature)]
fun root_that_no_enclave_signed_is_refused() {
    let mut stage = rewards_stage::stage(0);
    let (world, config, _, second, vault) = stage.parts();
    // the first one's signature under the second one's name
    publish(world, vault, config, second, 0, digest(4), 1, 1, 1);
    stage.end();
    abort
}

#[test, expected_failure(abort_code = enclave::ERetired)]
fun retired_enclave_publishes_no_root() {
    let mut stage = rewards_stage::stage(0);
    let (world, config, first, _, _) = stage.parts();
    let (pool, admin, _, _, _) = world.parts();
    config.retire(pool, admin, first);
    destroy(stage.publish_tree(digest(4), 1, 1, 1));
    stage.end();
    abort
}

#[test, expected_failure(abort_code = authority::ENotYetEffective)]
fun enclave_within_its_notice_publishes_no_root() {
    let mut world = world::begin();
    world.open();
    let mut config = world.config();
    let first = world.master(&mut config);
    let mut vault = rewards_world::vault(&mut world);
    rewards_world::to_the_end_of(&mut world, 0);
    publish(&mut world, &mut vault, &config, &first, 0, digest(4), 1, 1, 1);
    abort
}

#[test, expected_failure(abort_code = rewards::EWrongPool)]
fun another_pools_enclave_publishes_no_root() {
    let mut world = world::begin();
    let mut config = world.config();
    let first = world.master(&mut config);
    let (pool, admin, _slasher) = world.other();
    let (_, _, _, clock, ctx) = world.parts();
    rewards::new_vault(&pool, &admin, 7, DAY_MS, 90 * DAY_MS, sui(2), clock, ctx);
    world.act_as(world::admin_address());
    let mut vault = world.scenario().take_shared<Vault>();
    rewards_world::to_the_end_of(&mut world, 0);
    publish(&mut world, &mut vault, &config, &first, 0, digest(4), 1, 1, 1);
    abort
}

// --- objections ---

#[test]
fun differing_root_of_another_enclave_voids_the_epoch() {
    let mut stage = rewards_stage::stage(2);
    let mut epoch = stage.publish_tree(digest(4), 3, 2, sui(1));
    stage.world().wait(DAY_MS - 1);
    stage.object(&mut epoch, digest(5), 3, sui(1));
    assert_eq!(epoch.left(), 0);
    assert_eq!(stage.vault().funds(), sui(10));
    destroy(epoch);
    stage.end();
}

#[test]
fun differing_total_of_another_enclave_voids_the_epoch() {
    let mut stage = rewards_stage::stage(2);
    let mut epoch = stage.publish_tree(digest(4), 3, 2, sui(1));
    stage.object(&mut epoch, digest(4), 4, sui(1));
    assert_eq!(stage.vault().funds(), sui(10));
    destroy(epoch);
    stage.end();
}

#[test]
fun differing_leaves_of_another_enclave_void_the_epoch() {
    let mut stage = rewards_stage::stage(2);
    let mut epoch = stage.publish_tree(digest(4), 3, 1, sui(1));
    // it says 2
    stage.object(&mut epoch, digest(4), 3, sui(1));
    assert_eq!(stage.vault().funds(), sui(10));
    destroy(epoch);
    stage.end();
}

#[test, expected_failure(abort_code = rewards::ESameRoot)]
fun differing_budget_alone_is_no_objection() {
    let mut stage = rewards_stage::stage(2);
    let mut epoch = stage.publish_tree(digest(4), 3, 2, sui(1));
    stage.object(&mut epoch, digest(4), 3, sui(1) / 2);
    destroy(epoch);
    stage.end();
    abort
}

/// What could not be published voids nothing.
#[test, expected_failure(abort_code = rewards::EInvalidRoot)]
fun objection_without_points_is_refused() {
    let mut stage = rewards_stage::stage(2);
    let mut epoch = stage.publish_tree(digest(4), 3, 2, sui(1));
    stage.object(&mut epoch, digest(5), 0, sui(1));
    destroy(epoch);
    stage.end();
    abort
}

#[test, expected_failure(abort_code = rewards::EInvalidRoot)]
fun objection_of_31_bytes_is_refused() {
    let mut stage = rewards_stage::stage(2);
    let mut epoch = stage.publish_tree(digest(4), 3, 2, sui(1));
    stage.object(&mut epoch, vector::tabulate!(31, |_| 5), 3, sui(1));
    destroy(epoch);
    stage.end();
    abort
}

#[test, expected_failure(abort_code = rewards::ENotOpen)]
fun void_epoch_pays_nothing() {
    let mut stage = rewards_stage::stage(2);
    let (root, total, proofs) = stage.points_tree();
    let mut epoch = stage.publish_tree(root, total, 2, sui(1));
    stage.object(&mut epoch, digest(5), 3, sui(1));
    stage.world().wait(DAY_MS);
    stage.claim(&mut epoch, 0, 1, 0, proofs[0]);
    destroy(epoch);
    stage.end();
    abort
}

#[test, expected_failure(abort_code = rewards::ENotOpen)]
fun epoch_is_void_once() {
    let mut stage = rewards_stage::stage(2);
    let mut epoch = stage.publish_tree(digest(4), 3, 2, sui(1));
    stage.object(&mut epoch, digest(5), 3, sui(1));
    stage.object(&mut epoch, digest(5), 3, sui(1));
    destroy(epoch);
    stage.end();
    abort
}

#[test, expected_failure(abort_code = rewards::EAlreadyPublished)]
fun void_epoch_gets_no_second_root() {
    let mut stage = rewards_stage::stage(2);
    let mut epoch = stage.publish_tree(digest(4), 3, 2, sui(1));
    stage.object(&mut epoch, digest(5), 3, sui(1));
    destroy(stage.publish_tree(digest(5), 3, 2, sui(1)));
    destroy(epoch);
    stage.end();
    abort
}

#[test, expected_failure(abort_code = rewards::EWindowClosed)]
fun objection_after_the_window_is_refused() {
    let mut stage = rewards_stage::stage(2);
    let mut epoch = stage.publish_tree(digest(4), 3, 2, sui(1));
    stage.world().wait(DAY_MS);
    stage.object(&mut epoch, digest(5), 3, sui(1));
    destroy(epoch);
    stage.end();
    abort
}

#[test, expected_failure(abort_code = rewards::ESameRoot)]
fun same_root_is_no_objection() {
    let mut stage = rewards_stage::stage(2);
    let mut epoch = stage.publish_tree(digest(4), 3, 2, sui(1));
    stage.object(&mut epoch, digest(4), 3, sui(1));
    destroy(epoch);
    stage.end();
    abort
}

#[test, expected_failure(abort_code = rewards::ESameEnclave)]
fun enclave_does_not_object_to_itself() {
    let mut stage = rewards_stage::stage(2);
    let mut epoch = stage.publish_tree(digest(4), 3, 2, sui(1));
    let (world, config, first, _, vault) = stage.parts();
    let now_ms = world.clock().timestamp_ms();
    let id = object::id(vault);
    let message = rewards::root_message(first, id, 0, digest(5), 3, 2, sui(1), now_ms);
    let signature = signer::sign(&message);
    vault.object_with_root(
        &mut epoch,
        config,
        first,
        digest(5),
        3,
        2,
        sui(1),
        now_ms,
        signature,
        world.clock(),
    );
    destroy(epoch);
    stage.end();
    abort
}

#[test]
fun administrator_voids_within_the_window() {
    let mut stage = rewards_stage::stage(2);
    let mut epoch = stage.publish_tree(digest(4), 3, 2, sui(1));
    let (world, _, _, _, vault) = stage.parts();
    let (pool, admin, _, clock, _) = world.parts();
    vault.object_by_admin(&mut epoch, pool, admin, clock);
    assert_eq!(vault.funds(), sui(10));
    destroy(epoch);
    stage.end();
}

#[test, expected_failure(abort_code = rewards::EWindowClosed)]
fun administrator_takes_back_no_reward() {
    let (mut stage, mut epoch, _) = rewards_stage::claimable();
    let (world, _, _, _, vault) = stage.parts();
    let (pool, admin, _, clock, _) = world.parts();
    vault.object_by_admin(&mut epoch, pool, admin, clock);
    destroy(epoch);
    stage.end();
    abort
}

#[test, expected_failure(abort_code = pool::EWrongPool)]
fun another_pools_administrator_does_not_object() {
    let (mut stage, mut epoch, _) = rewards_stage::claimable();
    let (world, _, _, _, vault) = stage.parts();
    let (_pool, other_admin, _slasher) = world.other();
    let (pool, _, _, clock, _) = world.parts();
    vault.object_by_admin(&mut epoch, pool, &other_admin, clock);
    destroy(_pool);
    destroy(other_admin);
    destroy(_slasher);
    destroy(epoch);
    stage.end();
    abort
}

#[test, expected_failure(abort_code = rewards::EWrongVault)]
fun objection_through_another_vault_is_refused() {
    let mut stage = rewards_stage::stage(2);
    let mut epoch = stage.publish_tree(digest(4), 3, 2, sui(1));
    let mut other = rewards_world::vault(stage.world());
    let (pool, admin, _, clock, _) = stage.world().parts();
    other.object_by_admin(&mut epoch, pool, admin, clock);
    destroy(other);
    destroy(epoch);
    stage.end();
    abort
}

// --- the end of an epoch ---

#[test]
fun unclaimed_coins_return_to_the_vault() {
    let (mut stage, mut epoch, proofs) = rewards_stage::claimable();
    stage.claim(&mut epoch, 0, 1, 0, proofs[0]);
    stage.world().wait(90 * DAY_MS);
    stage.close(&mut epoch);
    assert_eq!(stage.vault().funds(), sui(10) - sui(1) / 3);
    assert_eq!(epoch.left(), 0);
    destroy(epoch);
    stage.end();
}

#[test, expected_failure(abort_code = rewards::EStillOpen)]
fun epoch_is_not_closed_before_its_deadline() {
    let (mut stage, mut epoch, _) = rewards_stage::claimable();
    stage.world().wait(90 * DAY_MS - 1);
    stage.close(&mut epoch);
    destroy(epoch);
    stage.end();
    abort
}

#[test, expected_failure(abort_code = rewards::ENotOpen)]
fun epoch_is_closed_once() {
    let (mut stage, mut epoch, _) = rewards_stage::claimable();
    stage.world().wait(90 * DAY_MS);
    stage.close(&mut epoch);
    stage.close(&mut epoch);
    destroy(epoch);
    stage.end();
    abort
}

#[test, expected_failure(abort_code = rewards::EWrongVault)]
fun unclaimed_coins_return_to_no_other_vault() {
    let (mut stage, mut epoch, _) = rewards_stage::claimable();
    stage.world().wait(90 * DAY_MS);
    let mut other = rewards_world::vault(stage.world());
    other.close(&mut epoch, stage.world().clock());
    destroy(other);
    destroy(epoch);
    stage.end();
    abort
}

// --- vaults ---

#[test, expected_failure(abort_code = rewards::EBudgetTooHigh)]
fun larger_budget_waits_for_its_notice() {
    let mut stage = rewards_stage::stage(1);
    let (world, _, _, _, vault) = stage.parts();
    let (pool, admin, _, clock, _) = world.parts();
    vault.set_budget(pool, admin, sui(3), clock);
    stage.world().wait(bounds::notice_ms() - 1);
    destroy(stage.publish_tree(digest(4), 1, 1, sui(3)));
    stage.end();
    abort
}

#[test]
fun larger_budget_counts_after_its_notice() {
    let mut stage = rewards_stage::stage(1);
    let (world, _, _, _, vault) = stage.parts();
    let (pool, admin, _, clock, _) = world.parts();
    vault.set_budget(pool, admin, sui(3), clock);
    stage.world().wait(bounds::notice_ms());
    destroy(stage.publish_tree(digest(4), 1, 1, sui(3)));
    stage.end();
}

#[test, expected_failure(abort_code = rewards::EBudgetTooHigh)]
fun smaller_budget_counts_at_once_and_cancels_a_rise() {
    let mut stage = rewards_stage::stage(1);
    let (world, _, _, _, vault) = stage.parts();
    let (pool, admin, _, clock, _) = world.parts();
    vault.set_budget(pool, admin, sui(3), clock);
    vault.set_budget(pool, admin, sui(1), clock);
    stage.world().wait(bounds::notice_ms());
    destroy(stage.publish_tree(digest(4), 1, 1, sui(1) + 1));
    stage.end();
    abort
}

#[test, expected_failure(abort_code = rewards::EEmptyCoin)]
fun nothing_is_no_funding() {
    let mut stage = rewards_stage::stage(0);
    let (world, _, _, _, vault) = stage.parts();
    vault.fund(world.coins(0));
    stage.end();
    abort
}

fun new_vault(epoch_days: u64, objection_ms: u64, claim_ms: u64) {
    let mut world = world::begin();
    let (pool, admin, _, clock, ctx) = world.parts();
    rewards::new_vault(pool, admin, epoch_days, objection_ms, claim_ms, 1, clock, ctx);
    world.end();
}

#[test]
fun vault_of_the_least_times_is_made() {
    new_vault(1, bounds::objection_ms().least(), bounds::claim_ms().least());
}

#[test]
fun vault_of_the_longest_times_is_made() {
    new_vault(31, bounds::objection_ms().most(), bounds::claim_ms().most());
}

#[test, expected_failure(abort_code = rewards::EOutOfBounds)]
fun epochs_of_no_days_are_refused() { new_vault(0, DAY_MS, 90 * DAY_MS) }

#[test, expected_failure(abort_code = rewards::EOutOfBounds)]
fun window_too_short_to_object_is_refused() {
    new_vault(7, bounds::objection_ms().least() - 1, 90 * DAY_MS)
}

#[test, expected_failure(abort_code = rewards::EOutOfBounds)]
fun window_that_keeps_rewards_away_is_refused() {
    new_vault(7, bounds::objection_ms().most() + 1, 90 * DAY_MS)
}

#[test, expected_failure(abort_code = rewards::EOutOfBounds)]
fun time_too_short_to_claim_is_refused() {
    new_vault(7, DAY_MS, bounds::claim_ms().least() - 1)
}

#[test, expected_failure(abort_code = pool::EWrongPool)]
fun another_pools_administrator_sets_no_budget() {
    let mut stage = rewards_stage::stage(0);
    let (_pool, other_admin, _slasher) = stage.world().other();
    let (world, _, _, _, vault) = stage.parts();
    let (pool, _, _, clock, _) = world.parts();
    vault.set_budget(pool, &other_admin, 1, clock);
    destroy(_pool);
    destroy(other_admin);
    destroy(_slasher);
    stage.end();
    abort
}

#[test, expected_failure(abort_code = rewards::EWrongPool)]
fun claim_through_another_pool_is_refused() {
    let (mut stage, mut epoch, proofs) = rewards_stage::claimable();
    let (other, _admin, _slasher) = stage.world().other();
    stage.claim_through(&other, &mut epoch, 0, 1, 0, proofs[0]);
    destroy(other);
    destroy(_admin);
    destroy(_slasher);
    destroy(epoch);
    stage.end();
    abort
}

#[test, expected_failure(abort_code = staking::EWrongPool)]
fun record_of_another_pool_claims_nothing() {
    let (mut stage, mut epoch, proofs) = rewards_stage::claimable();
    let (mut other, _admin, _slasher) = stage.world().other();
    stage.world().act_as(account(1));
    let payment = stage.world().coins(sui(5));
    let (_, _, _, clock, ctx) = stage.world().parts();
    let record = staking::stake_for_node(
        &mut other,
        world::name(1),
        world::key(1),
        account(1),
        payment,
        clock,
        ctx,
    );
    let (pool, _, _, clock, ctx) = stage.world().parts();
    epoch.claim(pool, &record, 1, 0, proofs[0], clock, ctx);
    destroy(other);
    destroy(_admin);
    destroy(_slasher);
    destroy(record);
    destroy(epoch);
    stage.end();
    abort
}
