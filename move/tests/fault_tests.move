/// The faults of the contracts that this project's story begins with, one by one.
#[test_only]
module k3s_daas::fault_tests;

use k3s_daas::{administration, k8s_gateway, pool, staking, world::{Self, account, key, name, sui}};
use std::unit_test::{assert_eq, destroy};

/// There, slashed coins were stuck in the contract.
#[test]
fun slashed_coins_are_not_stuck() {
    let mut world = world::begin();
    let mut record = world.stake(1, sui(5));
    world.slash(&mut record, 10_000);
    assert_eq!(world.take_treasury(sui(5)), sui(5));
    assert_eq!(world.treasury().value(), 0);
    destroy(record);
    world.end();
}

/// There, a partial slash left the total as it was.
#[test]
fun a_partial_slash_leaves_the_totals_right() {
    let mut world = world::begin();
    let mut record = world.stake(1, sui(5));
    let other = world.stake(2, sui(3));
    world.slash(&mut record, 3_333);
    assert_eq!(record.balance() + other.balance() + world.treasury().value(), sui(8));
    destroy(record);
    destroy(other);
    world.end();
}

/// There, a node still counted as staked after its slash.
#[test]
fun a_slashed_node_has_no_stake() {
    let mut world = world::begin();
    let mut record = world.stake(1, sui(5));
    let token = world.token(1, &mut record);
    world.slash(&mut record, 10_000);
    assert!(!record.is_active() && !world.stands(&record));
    assert!(!world.counts(&record, &token));
    destroy(token);
    destroy(record);
    world.end();
}

/// There, an address had one stake, whatever the number of its nodes. Here each node has a key and
/// an account of its own.
#[test]
fun every_node_has_a_stake() {
    let mut world = world::begin();
    let first = world.stake(1, sui(1));
    let second = world.stake(2, sui(1));
    assert!(world.stands(&first) && world.stands(&second));
    destroy(first);
    destroy(second);
    world.end();
}

/// There, a token was minted without a look at the stake.
#[test, expected_failure(abort_code = k8s_gateway::ERecordNotActive)]
fun no_token_without_an_active_stake() {
    let mut world = world::begin();
    let mut record = world.stake(1, sui(5));
    world.ask_back(&mut record);
    world.issue_token(&mut record);
    abort
}

/// There, a token was minted for another's stake.
#[test, expected_failure(abort_code = k8s_gateway::ENotStaker)]
fun no_token_for_anothers_stake() {
    let mut world = world::begin();
    let mut record = world.stake(1, sui(5));
    world.act_as(@0xBAD);
    world.issue_token(&mut record);
    abort
}

/// There, an API key stood in a public object. Here what is public names keys' hashes and public
/// keys alone: the goldens of `MasterDirectory` and `SealToken` are all that is in them.
#[test]
fun a_token_holds_no_secret() {
    let mut world = world::begin();
    let mut record = world.stake(1, sui(5));
    let token = world.token(1, &mut record);
    // id, record, node key with its length, two times
    assert_eq!(sui::bcs::to_bytes(&token).length(), 32 + 32 + 34 + 8 + 8);
    destroy(token);
    destroy(record);
    world.end();
}

/// There, anybody changed a node's status. Here it takes the capability of the pool.
#[test, expected_failure(abort_code = pool::EWrongPool)]
fun nobody_changes_a_status_without_the_right() {
    let mut world = world::begin();
    let mut record = world.stake(1, sui(5));
    let (_pool, _admin, slasher) = world.other();
    let (pool, treasury, _, clock, _) = world.slasher_parts();
    staking::slash_stake(pool, treasury, &slasher, &mut record, 1, 7, b"", clock);
    abort
}

/// There, unstaking burnt the stake.
#[test]
fun unstaking_pays_the_stake_back() {
    let mut world = world::begin();
    let mut record = world.stake(1, sui(5));
    world.ask_back(&mut record);
    world.wait(7 * 86_400_000);
    assert_eq!(world.withdraw(&mut record), sui(5));
    destroy(record);
    world.end();
}

/// There, a restarted node staked a second time.
#[test, expected_failure(abort_code = staking::EAlreadyStaked)]
fun a_restart_does_not_stake_twice() {
    let mut world = world::begin();
    destroy(world.stake(1, sui(5)));
    destroy(world.stake_as(name(2), key(1), sui(5)));
    abort
}

/// And what a stake must withstand besides: who fears a slash does not get away by unstaking.
#[test]
fun a_slash_is_not_outrun() {
    let mut world = world::begin();
    let mut record = world.stake(1, sui(5));
    world.ask_back(&mut record);
    world.slash(&mut record, 10_000);
    assert!(record.is_slashed());
    assert_eq!(record.balance(), 0);
    destroy(record);
    world.end();
}

/// The administrator's capability opens no record: what it pays out is the treasury's alone.
#[test, expected_failure(abort_code = staking::ENotOwner)]
fun an_administrator_takes_no_stake() {
    let mut world = world::begin();
    let mut record = world.stake(1, sui(5));
    world.ask_back(&mut record);
    world.wait(7 * 86_400_000);
    world.act_as(world::admin_address());
    world.withdraw(&mut record);
    abort
}

/// Nor is a stake taken by a slasher of the administrator's own making: whoever asks back in time has left before
/// it counts, even with the longest unbonding time.
#[test]
fun a_new_slasher_does_not_outrun_who_leaves() {
    let mut world = world::begin();
    let (pool, admin, _, clock, _) = world.parts();
    let longest = k3s_daas::bounds::unbonding_ms().most();
    administration::set_unbonding(pool, admin, longest, clock);
    let mut record = world.stake(1, sui(5));
    let (pool, admin, _, clock, ctx) = world.parts();
    destroy(administration::new_slasher_cap(pool, admin, clock, ctx));
    // a day to notice
    world.wait(86_400_000 - 1);
    world.act_as(account(1));
    world.ask_back(&mut record);
    world.wait(longest);
    assert!(world.clock().timestamp_ms() < world::now_ms() + k3s_daas::bounds::notice_ms());
    assert_eq!(world.withdraw(&mut record), sui(5));
    destroy(record);
    world.end();
}
