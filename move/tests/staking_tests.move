/// What stakers, slashers and administrators may do with a stake.
#[test_only]
module k3s_daas::staking_tests;

use k3s_daas::{
    node_key,
    signer,
    staking::{Self, StakeRecord},
    world::{Self, World, account, key, name, sui}
};
use std::unit_test::{assert_eq, destroy};

const DAY_MS: u64 = 86_400_000;

fun staked(): (World, StakeRecord) {
    let mut world = world::begin();
    let record = world.stake(1, sui(5));
    (world, record)
}

fun unbonding(): (World, StakeRecord) {
    let (mut world, mut record) = staked();
    world.ask_back(&mut record);
    (world, record)
}

#[test]
fun a_stake_is_active_and_counted() {
    let (world, record) = staked();
    assert!(record.is_active() && world.stands(&record));
    assert_eq!(record.balance(), sui(5));
    assert_eq!(record.staker(), account(1));
    assert_eq!(record.node_id(), name(1));
    assert_eq!(
        object::id_address(&record),
        staking::record_address(object::id(world.pool()), key(1)),
    );
    destroy(record);
    world.end();
}

#[test]
fun a_stake_is_shared() {
    let (mut world, record) = staked();
    let id = object::id(&record);
    staking::share_stake(record);
    let effects = world.scenario().next_tx(account(2));
    assert!(effects.shared().contains(&id));
    let record = world.scenario().take_shared_by_id<StakeRecord>(id);
    assert_eq!(record.balance(), sui(5));
    destroy(record);
    world.end();
}

#[test]
fun unstake_wait_withdraw() {
    let (mut world, mut record) = unbonding();
    assert!(!record.is_active());
    world.wait(7 * DAY_MS);
    assert_eq!(world.withdraw(&mut record), sui(5));
    destroy(record);
    world.end();
}

#[test]
fun a_cancelled_request_leaves_the_stake_active() {
    let (mut world, mut record) = unbonding();
    world.cancel(&mut record);
    assert!(world.stands(&record));
    // the time begins anew with the next request
    world.wait(6 * DAY_MS);
    world.ask_back(&mut record);
    world.wait(7 * DAY_MS);
    assert_eq!(world.withdraw(&mut record), sui(5));
    destroy(record);
    world.end();
}

#[test]
fun a_withdrawn_stake_can_be_staked_anew() {
    let (mut world, mut record) = unbonding();
    world.wait(7 * DAY_MS);
    world.withdraw(&mut record);
    world.restake(&mut record, sui(1));
    assert!(world.stands(&record));
    assert_eq!(record.balance(), sui(1));
    destroy(record);
    world.end();
}

#[test]
fun a_partial_slash_leaves_the_rest_to_be_topped_up_or_withdrawn() {
    let (mut world, mut record) = staked();
    world.slash(&mut record, 9_000);
    assert_eq!(record.balance(), sui(1) / 2);
    assert_eq!(world.treasury().value(), sui(9) / 2);
    assert!(record.is_active() && !world.stands(&record));
    // anybody may top up
    world.act_as(account(2));
    world.top_up(&mut record, sui(1) / 2);
    assert!(world.stands(&record));
    world.slash(&mut record, 5_000);
    world.act_as(account(1));
    world.ask_back(&mut record);
    world.wait(7 * DAY_MS);
    assert_eq!(world.withdraw(&mut record), sui(1) / 2);
    destroy(record);
    world.end();
}

#[test]
fun a_full_slash_leaves_nothing_and_is_final() {
    let (mut world, mut record) = staked();
    world.slash(&mut record, 10_000);
    assert!(record.is_slashed());
    assert_eq!(record.balance(), 0);
    assert_eq!(world.treasury().value(), sui(5));
    assert_eq!(world.take_treasury(sui(5)), sui(5));
    destroy(record);
    world.end();
}

#[test]
fun an_unbonding_stake_is_slashed_until_it_is_withdrawn() {
    let (mut world, mut record) = unbonding();
    world.slash(&mut record, 5_000);
    assert!(!record.is_active() && !record.is_slashed());
    world.wait(7 * DAY_MS);
    // its time is over, and still it can be slashed
    world.slash(&mut record, 5_000);
    assert_eq!(world.withdraw(&mut record), sui(5) / 4);
    assert_eq!(world.treasury().value(), sui(5) - sui(5) / 4);
    destroy(record);
    world.end();
}

#[test, expected_failure(abort_code = staking::ESettled)]
fun a_full_slash_while_unbonding_leaves_nothing_to_withdraw() {
    let (mut world, mut record) = unbonding();
    world.slash(&mut record, 10_000);
    world.wait(7 * DAY_MS);
    world.withdraw(&mut record);
    abort
}

#[test]
fun amounts_near_the_limit_of_u64_are_shared_right() {
    let mut world = world::begin();
    // all of the SUI that there is
    let mut record = world.stake(1, 10_000_000_000_000_000_000);
    world.slash(&mut record, 9_999);
    assert_eq!(record.balance(), 1_000_000_000_000_000);
    assert_eq!(world.treasury().value(), 9_999_000_000_000_000_000);
    destroy(record);
    world.end();
}

#[test]
fun a_share_is_rounded_down() {
    let mut world = world::begin();
    let mut record = world.stake(1, sui(1) + 9_999);
    world.slash(&mut record, 1);
    assert_eq!(world.treasury().value(), 100_000);
    assert_eq!(record.balance(), sui(1) + 9_999 - 100_000);
    destroy(record);
    world.end();
}

#[test]
fun a_p256_account_stakes_for_its_own_key() {
    let mut world = world::begin();
    let node_key = signer::p256_flagged_key();
    world.act_as(node_key::account(&node_key));
    let record = world.stake_as(name(1), node_key, sui(1));
    assert!(world.stands(&record));
    destroy(record);
    world.end();
}

// --- refusals: the staker's calls ---

#[test, expected_failure(abort_code = staking::EBelowMinimumStake)]
fun too_small_a_stake_is_refused() {
    let mut world = world::begin();
    destroy(world.stake(1, sui(1) - 1));
    abort
}

#[test, expected_failure(abort_code = staking::EBelowMinimumStake)]
fun too_small_a_restake_is_refused() {
    let (mut world, mut record) = unbonding();
    world.wait(7 * DAY_MS);
    world.withdraw(&mut record);
    world.restake(&mut record, sui(1) - 1);
    abort
}

#[test, expected_failure(abort_code = staking::ENotNodeKey)]
fun nobody_occupies_anothers_key() {
    let mut world = world::begin();
    world.act_as(account(2));
    destroy(world.stake_as(name(1), key(1), sui(1)));
    abort
}

#[test, expected_failure(abort_code = staking::EInvalidNodeKey)]
fun a_key_of_an_unknown_scheme_is_refused() {
    let mut world = world::begin();
    let mut node_key = key(1);
    *&mut node_key[0] = 1;
    world.act_as(node_key::account(&node_key));
    destroy(world.stake_as(name(1), node_key, sui(1)));
    abort
}

#[test]
fun keys_are_a_flag_and_a_public_key() {
    assert!(node_key::is_valid(&key(1)));
    assert!(!node_key::is_valid(&b""));
    assert!(!node_key::is_valid(&x"00"));
    let mut long = key(1);
    long.push_back(0);
    assert!(!node_key::is_valid(&long));
    // a secp256r1 key is a byte longer
    *&mut long[0] = 2;
    assert!(node_key::is_valid(&long));
}

#[test, expected_failure(abort_code = staking::EInvalidNodeId)]
fun an_empty_name_is_refused() {
    let mut world = world::begin();
    world.act_as(account(1));
    destroy(world.stake_as(b"".to_string(), key(1), sui(1)));
    abort
}

#[test, expected_failure(abort_code = staking::EInvalidNodeId)]
fun a_name_of_51_bytes_is_refused() {
    let mut world = world::begin();
    world.act_as(account(1));
    let name = vector::tabulate!(51, |_| 97u8).to_string();
    destroy(world.stake_as(name, key(1), sui(1)));
    abort
}

#[test]
fun a_name_of_50_bytes_is_taken() {
    let mut world = world::begin();
    world.act_as(account(1));
    let name = vector::tabulate!(50, |_| 97u8).to_string();
    destroy(world.stake_as(name, key(1), sui(1)));
    world.end();
}

#[test]
fun name_of_another_record_is_no_obstacle() {
    let (mut world, record) = staked();
    world.act_as(account(2));
    let second = world.stake_as(name(1), key(2), sui(1));
    assert!(world.stands(&record) && world.stands(&second));
    destroy(record);
    destroy(second);
    world.end();
}

#[test, expected_failure(abort_code = staking::EAlreadyStaked)]
fun a_key_has_one_record() {
    let (mut world, record) = staked();
    destroy(record);
    destroy(world.stake_as(name(2), key(1), sui(1)));
    abort
}

#[test, expected_failure(abort_code = staking::EAlreadyStaked)]
fun a_slashed_key_gets_no_second_record() {
    let (mut world, mut record) = staked();
    world.slash(&mut record, 10_000);
    destroy(record);
    destroy(world.stake_as(name(2), key(1), sui(1)));
    abort
}

#[test, expected_failure(abort_code = staking::ENotWithdrawn)]
fun a_slashed_stake_is_not_staked_anew() {
    let (mut world, mut record) = staked();
    world.slash(&mut record, 10_000);
    world.restake(&mut record, sui(1));
    abort
}

#[test, expected_failure(abort_code = staking::ENotWithdrawn)]
fun an_active_stake_is_not_staked_anew() {
    let (mut world, mut record) = staked();
    world.restake(&mut record, sui(1));
    abort
}

#[test, expected_failure(abort_code = staking::ENotOwner)]
fun only_the_staker_stakes_anew() {
    let (mut world, mut record) = unbonding();
    world.wait(7 * DAY_MS);
    world.withdraw(&mut record);
    world.act_as(account(2));
    world.restake(&mut record, sui(1));
    abort
}

#[test, expected_failure(abort_code = staking::EEmptyCoin)]
fun nothing_is_no_top_up() {
    let (mut world, mut record) = staked();
    world.top_up(&mut record, 0);
    abort
}

#[test, expected_failure(abort_code = staking::ENotActive)]
fun coins_cannot_be_locked_in_a_slashed_record() {
    let (mut world, mut record) = staked();
    world.slash(&mut record, 10_000);
    world.top_up(&mut record, 1);
    abort
}

#[test, expected_failure(abort_code = staking::ENotActive)]
fun an_unbonding_stake_is_not_topped_up() {
    let (mut world, mut record) = unbonding();
    world.top_up(&mut record, 1);
    abort
}

#[test, expected_failure(abort_code = staking::ENotOwner)]
fun only_the_staker_asks_back() {
    let (mut world, mut record) = staked();
    world.act_as(account(2));
    world.ask_back(&mut record);
    abort
}

#[test, expected_failure(abort_code = staking::ENotActive)]
fun asking_twice_does_not_prolong() {
    let (mut world, mut record) = unbonding();
    world.ask_back(&mut record);
    abort
}

#[test, expected_failure(abort_code = staking::ENotOwner)]
fun only_the_staker_cancels() {
    let (mut world, mut record) = unbonding();
    world.act_as(account(2));
    world.cancel(&mut record);
    abort
}

#[test, expected_failure(abort_code = staking::ENotUnbonding)]
fun what_was_not_asked_back_is_not_cancelled() {
    let (mut world, mut record) = staked();
    world.cancel(&mut record);
    abort
}

#[test, expected_failure(abort_code = staking::ENotUnbonding)]
fun what_was_not_asked_back_is_not_withdrawn() {
    let (mut world, mut record) = staked();
    world.withdraw(&mut record);
    abort
}

#[test, expected_failure(abort_code = staking::EStillLocked)]
fun a_millisecond_early_is_too_early() {
    let (mut world, mut record) = unbonding();
    world.wait(7 * DAY_MS - 1);
    world.withdraw(&mut record);
    abort
}

#[test, expected_failure(abort_code = staking::ENotOwner)]
fun only_the_staker_withdraws() {
    let (mut world, mut record) = unbonding();
    world.wait(7 * DAY_MS);
    world.act_as(world::admin_address());
    world.withdraw(&mut record);
    abort
}

#[test, expected_failure(abort_code = staking::ESettled)]
fun nothing_is_withdrawn_twice() {
    let (mut world, mut record) = unbonding();
    world.wait(7 * DAY_MS);
    world.withdraw(&mut record);
    world.withdraw(&mut record);
    abort
}

#[test, expected_failure(abort_code = staking::ESettled)]
fun a_withdrawn_stake_is_not_slashed() {
    let (mut world, mut record) = unbonding();
    world.wait(7 * DAY_MS);
    world.withdraw(&mut record);
    world.slash(&mut record, 1);
    abort
}

#[test, expected_failure(abort_code = staking::EInvalidBasisPoints)]
fun nothing_is_no_slash() {
    let (mut world, mut record) = staked();
    world.slash(&mut record, 0);
    abort
}

#[test, expected_failure(abort_code = staking::EInvalidBasisPoints)]
fun more_than_all_is_no_slash() {
    let (mut world, mut record) = staked();
    world.slash(&mut record, 10_001);
    abort
}
