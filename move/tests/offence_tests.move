/// Verdicts and the table of offences, several records, and keys of both schemes.
#[test_only]
module k3s_daas::offence_tests;

use k3s_daas::{
    administration,
    offences,
    signer,
    slashing,
    staking,
    statement,
    verdicts,
    world::{Self, account, digest, sui}
};
use std::unit_test::{assert_eq, destroy};

// --- nonces ---

#[test]
fun verdict_leaves_an_earlier_one_of_another_record_alive() {
    let (mut world, config, enclave, mut first) = verdicts::staked_with(1_000, 10_000);
    let mut second = world.stake(2, sui(5));
    let earlier = verdicts::signature(&world, &enclave, &first, verdicts::claim().with_nonce(1));
    let later = verdicts::claim().with_nonce(2);
    verdicts::slash(&mut world, &config, &enclave, &mut second, later);
    verdicts::bring(
        &mut world,
        &config,
        &enclave,
        &mut first,
        verdicts::claim().with_nonce(1),
        earlier,
    );
    assert_eq!(first.balance(), sui(5) * 9 / 10);
    destroy(second);
    verdicts::discard(world, config, enclave, first);
}

#[test]
fun two_enclaves_count_their_own_nonces() {
    let (mut world, config, first, second, mut record) = verdicts::two_enclaves();
    let high = verdicts::claim().with_nonce(9);
    verdicts::slash(&mut world, &config, &first, &mut record, high);
    let low = verdicts::claim().with_nonce(1).with_evidence(digest(1));
    let message = verdicts::message(&world, &second, &record, low);
    verdicts::bring(&mut world, &config, &second, &mut record, low, signer::p256_sign(&message));
    assert_eq!(record.balance(), sui(5) * 81 / 100);
    destroy(second);
    verdicts::discard(world, config, first, record);
}

// --- offences ---

#[test, expected_failure(abort_code = offences::EUnknownOffence)]
fun verdict_names_an_offence_of_the_table() {
    let (mut world, config, enclave, mut record) = verdicts::staked();
    verdicts::slash(&mut world, &config, &enclave, &mut record, verdicts::claim().with_reason(8));
    abort
}

#[test, expected_failure(abort_code = offences::ENotInForce)]
fun verdict_of_an_offence_out_of_force_is_refused() {
    let mut world = world::begin();
    let mut config = world.config();
    let enclave = world.master(&mut config);
    let mut record = world.stake(1, sui(5));
    world.offence(10_000, 10_000);
    verdicts::slash(&mut world, &config, &enclave, &mut record, verdicts::claim());
    abort
}

#[test]
fun verdict_takes_no_more_than_the_days_cap() {
    let (mut world, config, enclave, mut record) = verdicts::staked_with(1_000, 1_500);
    verdicts::slash(&mut world, &config, &enclave, &mut record, verdicts::claim());
    let second = verdicts::claim().with_nonce(2).with_evidence(digest(2));
    verdicts::slash(&mut world, &config, &enclave, &mut record, second);
    // 10 % of what is left would be 0.45 SUI; the cap leaves 0.25
    assert_eq!(record.balance(), sui(5) * 85 / 100);
    verdicts::discard(world, config, enclave, record);
}

#[test, expected_failure(abort_code = slashing::EDailyCap)]
fun verdict_beyond_the_days_cap_is_refused() {
    let (mut world, config, enclave, mut record) = verdicts::staked_with(1_000, 1_000);
    verdicts::slash(&mut world, &config, &enclave, &mut record, verdicts::claim());
    let second = verdicts::claim().with_nonce(2).with_evidence(digest(2));
    verdicts::slash(&mut world, &config, &enclave, &mut record, second);
    abort
}

#[test]
fun next_day_has_a_cap_of_its_own() {
    let (mut world, config, enclave, mut record) = verdicts::staked_with(1_000, 1_000);
    verdicts::slash(&mut world, &config, &enclave, &mut record, verdicts::claim());
    world.wait(86_400_000);
    let now_ms = world.clock().timestamp_ms();
    let second = verdicts::claim().with_nonce(2).with_evidence(digest(2)).with_time(now_ms);
    verdicts::slash(&mut world, &config, &enclave, &mut record, second);
    assert_eq!(record.balance(), sui(5) * 81 / 100);
    verdicts::discard(world, config, enclave, record);
}

/// A stake that is made anew on the same day is another one: little was in the former.
#[test]
fun new_stake_of_a_record_has_a_cap_of_its_own() {
    let mut world = world::begin();
    world.offence(1_000, 1_000);
    let (pool, admin, _, clock, _) = world.parts();
    administration::set_unbonding(pool, admin, 3_600_000, clock);
    let mut config = world.config();
    let enclave = world.master(&mut config);
    let mut record = world.stake(1, sui(1));
    verdicts::slash(&mut world, &config, &enclave, &mut record, verdicts::claim());
    world.act_as(account(1));
    world.ask_back(&mut record);
    world.wait(3_600_000);
    world.withdraw(&mut record);
    world.restake(&mut record, sui(5));
    let now_ms = world.clock().timestamp_ms();
    assert_eq!(now_ms / 86_400_000, world::now_ms() / 86_400_000);
    let second = verdicts::claim().with_nonce(2).with_evidence(digest(2)).with_time(now_ms);
    verdicts::slash(&mut world, &config, &enclave, &mut record, second);
    assert_eq!(record.balance(), sui(5) * 9 / 10);
    verdicts::discard(world, config, enclave, record);
}

#[test]
fun capability_is_not_bound_by_the_table() {
    let (mut world, config, enclave, mut record) = verdicts::staked_with(1_000, 1_000);
    verdicts::slash(&mut world, &config, &enclave, &mut record, verdicts::claim());
    world.slash(&mut record, 10_000);
    assert!(record.is_slashed());
    verdicts::discard(world, config, enclave, record);
}

#[test, expected_failure(abort_code = staking::ESettled)]
fun verdict_against_a_slashed_record_is_refused() {
    let (mut world, config, enclave, mut record) = verdicts::staked();
    world.slash(&mut record, 10_000);
    verdicts::slash(&mut world, &config, &enclave, &mut record, verdicts::claim());
    abort
}

// --- keys ---

#[test]
fun verdict_of_a_p256_key_slashes() {
    let (mut world, config, first, second, mut record) = verdicts::two_enclaves();
    let message = verdicts::message(&world, &second, &record, verdicts::claim());
    verdicts::bring(
        &mut world,
        &config,
        &second,
        &mut record,
        verdicts::claim(),
        signer::p256_sign(&message),
    );
    assert_eq!(record.balance(), sui(5) * 9 / 10);
    destroy(second);
    verdicts::discard(world, config, first, record);
}

#[test, expected_failure(abort_code = statement::EInvalidSignature)]
fun signature_of_another_enclaves_key_is_refused() {
    let (mut world, config, _first, second, mut record) = verdicts::two_enclaves();
    let message = verdicts::message(&world, &second, &record, verdicts::claim());
    verdicts::bring(
        &mut world,
        &config,
        &second,
        &mut record,
        verdicts::claim(),
        signer::sign(&message),
    );
    abort
}
