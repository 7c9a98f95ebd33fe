/// To whom coins go, whoever holds the node's key.
#[test_only]
module k3s_daas::beneficiary_tests;

use k3s_daas::{
    beneficiary,
    bounds,
    k8s_gateway,
    staking::{Self, StakeRecord},
    world::{Self, World, account, key, name, sui}
};
use std::unit_test::{assert_eq, destroy};
use sui::{bcs, coin::Coin, event, sui::SUI};

const OWNER: address = @0xC01D;
const HEIR: address = @0xC02D;
const DAY_MS: u64 = 86_400_000;

/// Node 1 stakes; the owner is the beneficiary.
fun staked(): (World, StakeRecord) {
    let mut world = world::begin();
    world.act_as(account(1));
    let record = world.stake_for(name(1), key(1), OWNER, sui(5));
    (world, record)
}

fun set(world: &mut World, record: &mut StakeRecord, sender: address, beneficiary: address) {
    world.act_as(sender);
    let (pool, _, _, clock, ctx) = world.parts();
    beneficiary::set_beneficiary(pool, record, beneficiary, clock, ctx);
}

#[test]
fun stake_comes_back_without_the_nodes_key() {
    let (mut world, mut record) = staked();
    world.act_as(OWNER);
    world.ask_back(&mut record);
    world.wait(7 * DAY_MS);
    world.act_as(OWNER);
    assert_eq!(world.withdraw(&mut record), sui(5));
    destroy(record);
    world.end();
}

#[test]
fun staker_withdraws_to_the_beneficiary_alone() {
    let (mut world, mut record) = staked();
    world.ask_back(&mut record);
    world.wait(7 * DAY_MS);
    let (pool, _, _, clock, ctx) = world.parts();
    staking::withdraw_stake(pool, &mut record, clock, ctx);
    world.act_as(account(1));
    let coin = world.scenario().take_from_address<Coin<SUI>>(OWNER);
    assert_eq!(coin.burn_for_testing(), sui(5));
    destroy(record);
    world.end();
}

#[test, expected_failure(abort_code = staking::ENotOwner)]
fun stranger_does_not_withdraw() {
    let (mut world, mut record) = staked();
    world.ask_back(&mut record);
    world.wait(7 * DAY_MS);
    world.act_as(HEIR);
    world.withdraw(&mut record);
    abort
}

#[test, expected_failure(abort_code = staking::ENotOwner)]
fun stolen_node_key_does_not_cancel_the_beneficiarys_request() {
    let (mut world, mut record) = staked();
    world.act_as(OWNER);
    world.ask_back(&mut record);
    world.act_as(account(1));
    world.cancel(&mut record);
    abort
}

#[test, expected_failure(abort_code = staking::ENotOwner)]
fun request_by_a_stolen_key_becomes_the_beneficiarys() {
    let (mut world, mut record) = staked();
    // the thief asks first, so as to cancel again and again
    world.ask_back(&mut record);
    world.wait(DAY_MS);
    world.act_as(OWNER);
    world.ask_back(&mut record);
    world.act_as(account(1));
    world.cancel(&mut record);
    abort
}

#[test]
fun beneficiarys_request_keeps_an_earlier_ones_time() {
    let (mut world, mut record) = staked();
    world.ask_back(&mut record);
    world.wait(DAY_MS);
    world.act_as(OWNER);
    world.ask_back(&mut record);
    world.wait(6 * DAY_MS);
    assert_eq!(world.withdraw(&mut record), sui(5));
    destroy(record);
    world.end();
}

#[test, expected_failure(abort_code = staking::ENotActive)]
fun beneficiary_asks_once() {
    let (mut world, mut record) = staked();
    world.act_as(OWNER);
    world.ask_back(&mut record);
    world.ask_back(&mut record);
    abort
}

#[test]
fun beneficiary_cancels_whosever_request() {
    let (mut world, mut record) = staked();
    world.ask_back(&mut record);
    world.act_as(OWNER);
    world.cancel(&mut record);
    assert!(record.is_active());
    world.ask_back(&mut record);
    world.cancel(&mut record);
    // and the staker its own, after the beneficiary's is cancelled
    world.act_as(account(1));
    world.ask_back(&mut record);
    world.cancel(&mut record);
    assert!(record.is_active());
    destroy(record);
    world.end();
}

#[test, expected_failure(abort_code = k8s_gateway::ENotStaker)]
fun beneficiary_takes_no_seal_token() {
    let (mut world, mut record) = staked();
    world.act_as(OWNER);
    world.issue_token(&mut record);
    abort
}

#[test, expected_failure(abort_code = staking::ENotOwner)]
fun beneficiary_does_not_stake_anew() {
    let (mut world, mut record) = staked();
    world.act_as(OWNER);
    world.ask_back(&mut record);
    world.wait(7 * DAY_MS);
    world.withdraw(&mut record);
    world.restake(&mut record, sui(5));
    abort
}

// --- another beneficiary ---

#[test]
fun another_beneficiary_is_paid_after_the_notice() {
    let (mut world, mut record) = staked();
    set(&mut world, &mut record, OWNER, HEIR);
    world.wait(bounds::notice_ms() - 1);
    assert_eq!(record.beneficiary(world.clock()), OWNER);
    world.wait(1);
    assert_eq!(record.beneficiary(world.clock()), HEIR);
    world.act_as(HEIR);
    world.ask_back(&mut record);
    world.wait(7 * DAY_MS);
    assert_eq!(world.withdraw(&mut record), sui(5));
    world.act_as(HEIR);
    destroy(record);
    world.end();
}

/// A thief of the beneficiary's key does not outrun an owner who looks once a day.
#[test]
fun former_beneficiary_is_paid_if_it_asks_in_time() {
    let mut world = world::begin();
    let (pool, admin, _, clock, _) = world.parts();
    let longest = bounds::unbonding_ms().most();
    k3s_daas::administration::set_unbonding(pool, admin, longest, clock);
    world.act_as(account(1));
    let mut record = world.stake_for(name(1), key(1), OWNER, sui(5));
    set(&mut world, &mut record, OWNER, HEIR);
    world.wait(DAY_MS - 1);
    world.act_as(account(1));
    world.ask_back(&mut record);
    world.wait(bounds::unbonding_ms().most());
    let (pool, _, _, clock, ctx) = world.parts();
    staking::withdraw_stake(pool, &mut record, clock, ctx);
    assert_eq!(world.paid(OWNER), sui(5));
    destroy(record);
    world.end();
}

#[test]
fun beneficiary_cancels_a_change_by_naming_itself() {
    let (mut world, mut record) = staked();
    set(&mut world, &mut record, OWNER, HEIR);
    set(&mut world, &mut record, OWNER, OWNER);
    world.wait(bounds::notice_ms());
    assert_eq!(record.beneficiary(world.clock()), OWNER);
    destroy(record);
    world.end();
}

#[test]
fun later_change_takes_the_place_of_an_earlier() {
    let (mut world, mut record) = staked();
    set(&mut world, &mut record, OWNER, HEIR);
    world.wait(DAY_MS);
    set(&mut world, &mut record, OWNER, @0xC03D);
    world.wait(bounds::notice_ms() - DAY_MS);
    assert_eq!(record.beneficiary(world.clock()), OWNER);
    world.wait(DAY_MS);
    assert_eq!(record.beneficiary(world.clock()), @0xC03D);
    destroy(record);
    world.end();
}

#[test, expected_failure(abort_code = beneficiary::ENotBeneficiary)]
fun nodes_key_names_no_beneficiary() {
    let (mut world, mut record) = staked();
    set(&mut world, &mut record, account(1), account(1));
    abort
}

#[test, expected_failure(abort_code = beneficiary::ENotBeneficiary)]
fun next_beneficiary_waits_for_the_notice() {
    let (mut world, mut record) = staked();
    set(&mut world, &mut record, OWNER, HEIR);
    world.wait(bounds::notice_ms() - 1);
    set(&mut world, &mut record, HEIR, HEIR);
    abort
}

#[test, expected_failure(abort_code = beneficiary::ENotBeneficiary)]
fun former_beneficiary_names_no_other() {
    let (mut world, mut record) = staked();
    set(&mut world, &mut record, OWNER, HEIR);
    world.wait(bounds::notice_ms());
    set(&mut world, &mut record, OWNER, OWNER);
    abort
}

#[test, expected_failure(abort_code = staking::EInvalidBeneficiary)]
fun no_account_is_no_beneficiary() {
    let (mut world, mut record) = staked();
    set(&mut world, &mut record, OWNER, @0x0);
    abort
}

#[test, expected_failure(abort_code = staking::EInvalidBeneficiary)]
fun stake_for_no_account_is_refused() {
    let mut world = world::begin();
    world.act_as(account(1));
    destroy(world.stake_for(name(1), key(1), @0x0, sui(5)));
    abort
}

#[test, expected_failure(abort_code = staking::EWrongPool)]
fun beneficiary_is_not_set_through_another_pool() {
    let (mut world, mut record) = staked();
    let (other, _admin, _slasher) = world.other();
    world.act_as(OWNER);
    let (_, _, _, clock, ctx) = world.parts();
    beneficiary::set_beneficiary(&other, &mut record, HEIR, clock, ctx);
    abort
}

// --- addresses that are no account ---

#[test, expected_failure(abort_code = staking::EInvalidBeneficiary)]
fun record_is_not_its_own_beneficiary() {
    let (mut world, mut record) = staked();
    let itself = object::id(&record).to_address();
    set(&mut world, &mut record, OWNER, itself);
    abort
}

#[test, expected_failure(abort_code = staking::EInvalidBeneficiary)]
fun pool_is_no_beneficiary() {
    let (mut world, mut record) = staked();
    let pool = object::id(world.pool()).to_address();
    set(&mut world, &mut record, OWNER, pool);
    abort
}

#[test, expected_failure(abort_code = staking::EInvalidBeneficiary)]
fun stake_for_its_own_record_is_refused() {
    let mut world = world::begin();
    let itself = staking::record_address(object::id(world.pool()), key(1));
    world.act_as(account(1));
    destroy(world.stake_for(name(1), key(1), itself, sui(5)));
    abort
}

#[test, expected_failure(abort_code = staking::EInvalidBeneficiary)]
fun stake_for_its_pool_is_refused() {
    let mut world = world::begin();
    let pool = object::id(world.pool()).to_address();
    world.act_as(account(1));
    destroy(world.stake_for(name(1), key(1), pool, sui(5)));
    abort
}

/// The event of a cancellation says that the former one counts from now on.
#[test]
fun cancelled_change_says_from_when_it_counts() {
    let (mut world, mut record) = staked();
    set(&mut world, &mut record, OWNER, HEIR);
    world.wait(DAY_MS);
    set(&mut world, &mut record, OWNER, OWNER);
    let mut expected = bcs::to_bytes(&object::id(&record));
    expected.append(bcs::to_bytes(&OWNER));
    expected.append(bcs::to_bytes(&(world::now_ms() + DAY_MS)));
    let events = event::events_by_type<beneficiary::BeneficiaryChanged>();
    assert_eq!(bcs::to_bytes(&events[0]), expected);
    destroy(record);
    world.end();
}
