/// Who is paid what by an epoch of rewards, and once.
#[test_only]
module k3s_daas::rewards_tests;

use k3s_daas::{
    pool,
    rewards::{Self, Epoch},
    rewards_stage,
    rewards_world::{Self, publish},
    staking,
    sum_tree,
    world::{Self, account, sui}
};
use std::unit_test::{assert_eq, destroy};

const DAY_MS: u64 = 86_400_000;

// --- claims ---

#[test]
fun claim_pays_the_share_to_the_beneficiary() {
    let (mut stage, mut epoch, proofs) = rewards_stage::claimable();
    assert_eq!(stage.vault().funds(), sui(9));
    // whoever brings it
    stage.claim(&mut epoch, 0, 1, 0, proofs[0]);
    assert_eq!(stage.world().paid(account(1)), sui(1) / 3);
    stage.claim(&mut epoch, 1, 2, 1, proofs[1]);
    assert_eq!(stage.world().paid(account(2)), sui(2) / 3);
    assert_eq!(epoch.left(), sui(1) - sui(1) / 3 - sui(2) / 3);
    destroy(epoch);
    stage.end();
}

#[test]
fun every_leaf_of_a_tree_is_claimed() {
    let nodes = 11u64;
    let mut stage = rewards_stage::stage(nodes as u8);
    let (root, total, proofs) = stage.points_tree();
    let mut epoch = stage.publish_tree(root, total, nodes, sui(1));
    stage.world().wait(DAY_MS);
    let mut sum = 0;
    nodes.do!(|index| {
        stage.claim(&mut epoch, index, index + 1, index, proofs[index]);
        sum = sum + stage.world().paid(account(index as u8 + 1));
    });
    assert_eq!(sum + epoch.left(), sui(1));
    assert!(epoch.left() < nodes);
    destroy(epoch);
    stage.end();
}

#[test]
fun one_record_alone_has_an_empty_proof() {
    let mut stage = rewards_stage::stage(1);
    let (root, total, _) = stage.points_tree();
    let mut epoch = stage.publish_tree(root, total, 1, sui(1));
    stage.world().wait(DAY_MS);
    stage.claim(&mut epoch, 0, 1, 0, b"");
    assert_eq!(stage.world().paid(account(1)), sui(1));
    destroy(epoch);
    stage.end();
}

#[test]
fun proof_for_a_hundred_thousand_records_is_small() {
    assert_eq!(sum_tree::depth(100_000) * 40, 680);
    assert_eq!(sum_tree::depth(1), 0);
    assert_eq!(sum_tree::depth(2), 1);
    assert_eq!(sum_tree::depth(3), 2);
    assert_eq!(sum_tree::depth(1 << 20), 20);
}

#[test, expected_failure(abort_code = rewards::EAlreadyClaimed)]
fun reward_is_paid_once() {
    let (mut stage, mut epoch, proofs) = rewards_stage::claimable();
    stage.claim(&mut epoch, 0, 1, 0, proofs[0]);
    stage.claim(&mut epoch, 0, 1, 0, proofs[0]);
    destroy(epoch);
    stage.end();
    abort
}

#[test, expected_failure(abort_code = rewards::EAlreadyClaimed)]
fun record_with_two_leaves_is_paid_once() {
    let mut stage = rewards_stage::stage(1);
    let vault = object::id(stage.vault());
    let record = object::id(stage.record(0));
    let hashes = vector[rewards::leaf(vault, 0, record, 3), rewards::leaf(vault, 0, record, 3)];
    let (root, total, proofs) = rewards_world::tree(hashes, vector[3, 3]);
    let mut epoch = stage.publish_tree(root, total, 2, sui(1));
    stage.world().wait(DAY_MS);
    stage.claim(&mut epoch, 0, 3, 0, proofs[0]);
    stage.claim(&mut epoch, 0, 3, 1, proofs[1]);
    destroy(epoch);
    stage.end();
    abort
}

#[test, expected_failure(abort_code = sum_tree::EWrongRoot)]
fun more_points_than_the_leafs_are_refused() {
    let (mut stage, mut epoch, proofs) = rewards_stage::claimable();
    stage.claim(&mut epoch, 0, 2, 0, proofs[0]);
    destroy(epoch);
    stage.end();
    abort
}

#[test, expected_failure(abort_code = sum_tree::EWrongRoot)]
fun proof_of_another_record_is_refused() {
    let (mut stage, mut epoch, proofs) = rewards_stage::claimable();
    stage.claim(&mut epoch, 0, 2, 1, proofs[1]);
    destroy(epoch);
    stage.end();
    abort
}

#[test, expected_failure(abort_code = sum_tree::EWrongRoot)]
fun proof_at_another_place_is_refused() {
    let (mut stage, mut epoch, proofs) = rewards_stage::claimable();
    stage.claim(&mut epoch, 0, 1, 1, proofs[0]);
    destroy(epoch);
    stage.end();
    abort
}

#[test, expected_failure(abort_code = sum_tree::EWrongRoot)]
fun leaf_of_another_epoch_is_refused() {
    let mut stage = rewards_stage::stage(1);
    let vault = object::id(stage.vault());
    let root = rewards::leaf(vault, 1, object::id(stage.record(0)), 1);
    let mut epoch = stage.publish_tree(root, 1, 1, sui(1));
    stage.world().wait(DAY_MS);
    stage.claim(&mut epoch, 0, 1, 0, b"");
    destroy(epoch);
    stage.end();
    abort
}

#[test, expected_failure(abort_code = sum_tree::EWrongRoot)]
fun node_is_no_leaf() {
    // the root of two leaves, brought as the one leaf of a tree
    let mut stage = rewards_stage::stage(2);
    let (root, total, _) = stage.points_tree();
    let mut epoch = stage.publish_tree(root, total, 1, sui(1));
    stage.world().wait(DAY_MS);
    stage.claim(&mut epoch, 0, 3, 0, b"");
    destroy(epoch);
    stage.end();
    abort
}

#[test, expected_failure(abort_code = sum_tree::EWrongRoot)]
fun total_below_the_trees_is_refused() {
    // who signs a smaller total raises every share: no leaf fits it
    let mut stage = rewards_stage::stage(2);
    let (root, _, proofs) = stage.points_tree();
    let mut epoch = stage.publish_tree(root, 2, 2, sui(1));
    stage.world().wait(DAY_MS);
    stage.claim(&mut epoch, 1, 2, 1, proofs[1]);
    destroy(epoch);
    stage.end();
    abort
}

#[test, expected_failure(abort_code = sum_tree::EWrongLength)]
fun longer_proof_is_refused() {
    let (mut stage, mut epoch, proofs) = rewards_stage::claimable();
    let mut proof = proofs[0];
    proof.append(vector::tabulate!(40, |_| 0));
    stage.claim(&mut epoch, 0, 1, 0, proof);
    destroy(epoch);
    stage.end();
    abort
}

#[test, expected_failure(abort_code = sum_tree::EWrongLength)]
fun shorter_proof_is_refused() {
    let (mut stage, mut epoch, mut proofs) = rewards_stage::claimable();
    proofs[0].pop_back();
    stage.claim(&mut epoch, 0, 1, 0, proofs[0]);
    destroy(epoch);
    stage.end();
    abort
}

#[test, expected_failure(abort_code = sum_tree::EIndexTooHigh)]
fun place_behind_the_last_leaf_is_refused() {
    let mut stage = rewards_stage::stage(3);
    let (root, total, proofs) = stage.points_tree();
    let mut epoch = stage.publish_tree(root, total, 3, sui(1));
    stage.world().wait(DAY_MS);
    stage.claim(&mut epoch, 2, 3, 3, proofs[2]);
    destroy(epoch);
    stage.end();
    abort
}

#[test, expected_failure(abort_code = sum_tree::ESumOverflow)]
fun sums_that_overflow_are_refused() {
    let mut stage = rewards_stage::stage(1);
    let most = 18_446_744_073_709_551_615;
    let id = object::id(stage.record(0));
    let (root, proof) = rewards_world::two_leaves(object::id(stage.vault()), id, 2, most);
    let mut epoch = stage.publish_tree(root, 1, 2, sui(1));
    stage.world().wait(DAY_MS);
    stage.claim(&mut epoch, 0, 2, 0, proof);
    destroy(epoch);
    stage.end();
    abort
}

#[test]
fun sums_at_the_limit_of_u64_are_shared_right() {
    let mut stage = rewards_stage::stage(1);
    let most = 18_446_744_073_709_551_615;
    let id = object::id(stage.record(0));
    let (root, proof) = rewards_world::two_leaves(object::id(stage.vault()), id, most - 1, 1);
    let mut epoch = stage.publish_tree(root, most, 2, sui(1));
    stage.world().wait(DAY_MS);
    stage.claim(&mut epoch, 0, most - 1, 0, proof);
    assert_eq!(stage.world().paid(account(1)), sui(1) - 1);
    destroy(epoch);
    stage.end();
}

#[test, expected_failure(abort_code = rewards::ENothing)]
fun points_worth_nothing_are_not_claimed() {
    let mut stage = rewards_stage::stage(1);
    let id = object::id(stage.record(0));
    let (root, proof) = rewards_world::two_leaves(object::id(stage.vault()), id, 1, sui(3));
    let mut epoch = stage.publish_tree(root, sui(3) + 1, 2, sui(1));
    stage.world().wait(DAY_MS);
    stage.claim(&mut epoch, 0, 1, 0, proof);
    destroy(epoch);
    stage.end();
    abort
}

#[test, expected_failure(abort_code = rewards::EWindowOpen)]
fun nothing_is_claimed_within_the_window() {
    let mut stage = rewards_stage::stage(2);
    let (root, total, proofs) = stage.points_tree();
    let mut epoch = stage.publish_tree(root, total, 2, sui(1));
    stage.world().wait(DAY_MS - 1);
    stage.claim(&mut epoch, 0, 1, 0, proofs[0]);
    destroy(epoch);
    stage.end();
    abort
}

#[test]
fun reward_is_claimed_until_the_last_millisecond() {
    let (mut stage, mut epoch, proofs) = rewards_stage::claimable();
    stage.world().wait(90 * DAY_MS - 1);
    stage.claim(&mut epoch, 0, 1, 0, proofs[0]);
    destroy(epoch);
    stage.end();
}

#[test, expected_failure(abort_code = rewards::EDeadlinePassed)]
fun nothing_is_claimed_after_the_deadline() {
    let (mut stage, mut epoch, proofs) = rewards_stage::claimable();
    stage.world().wait(90 * DAY_MS);
    stage.claim(&mut epoch, 0, 1, 0, proofs[0]);
    destroy(epoch);
    stage.end();
    abort
}

// --- slashes ---

#[test, expected_failure(abort_code = rewards::ESlashed)]
fun record_slashed_on_the_epochs_first_day_gets_nothing() {
    let mut world = world::begin();
    let mut config = world.config();
    let first = world.master(&mut config);
    let mut vault = rewards_world::vault(&mut world);
    let mut record = world.stake(1, sui(5));
    let (_, _, _, clock, _) = world.parts();
    clock.set_for_testing(rewards_world::end_of(0) - 7 * DAY_MS);
    world.slash(&mut record, 1);
    rewards_world::to_the_end_of(&mut world, 0);
    let root = rewards::leaf(object::id(&vault), 0, object::id(&record), 1);
    publish(&mut world, &mut vault, &config, &first, 0, root, 1, 1, sui(1));
    world.wait(DAY_MS);
    // a later slash does not hide the earlier
    world.slash(&mut record, 1);
    world.act_as(account(1));
    let mut epoch = world.scenario().take_shared<Epoch>();
    let (pool, _, _, clock, ctx) = world.parts();
    epoch.claim(pool, &record, 1, 0, b"", clock, ctx);
    abort
}

#[test]
fun slash_outside_the_epoch_costs_no_reward() {
    let (mut stage, mut epoch, proofs) = rewards_stage::claimable();
    stage.slash(0, 10_000);
    stage.claim(&mut epoch, 0, 1, 0, proofs[0]);
    assert_eq!(stage.world().paid(account(1)), sui(1) / 3);
    destroy(epoch);
    stage.end();
}
