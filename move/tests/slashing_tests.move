/// Slashing by what an enclave has signed.
#[test_only]
module k3s_daas::slashing_tests;

use k3s_daas::{
    authority,
    bounds,
    enclave::{Self, Enclave},
    evidence,
    signer,
    slashing,
    statement,
    verdicts,
    world::{Self, account, digest, sui}
};
use std::unit_test::{assert_eq, destroy};
use sui::{coin::Coin, sui::SUI};

const REPORTER: address = @0x5EE;

#[test]
fun a_verdict_slashes_and_pays_its_reporter() {
    let (mut world, config, enclave, mut record) = verdicts::staked();
    // whoever brings it
    world.act_as(account(9));
    verdicts::slash(&mut world, &config, &enclave, &mut record, verdicts::claim());
    assert!(record.is_slashed());
    assert_eq!(world.treasury().value(), sui(5) * 9 / 10);
    world.act_as(REPORTER);
    let reward = world.scenario().take_from_sender<Coin<SUI>>();
    assert_eq!(reward.burn_for_testing(), sui(5) / 10);
    verdicts::discard(world, config, enclave, record);
}

#[test]
fun a_reward_for_nobody_goes_to_the_treasury() {
    let (mut world, config, enclave, mut record) = verdicts::staked();
    let claim = verdicts::claim().with_reporter(@0x0);
    verdicts::slash(&mut world, &config, &enclave, &mut record, claim);
    assert_eq!(world.treasury().value(), sui(5));
    verdicts::discard(world, config, enclave, record);
}

#[test]
fun an_unbonding_stake_is_slashed_by_evidence() {
    let (mut world, config, enclave, mut record) = verdicts::staked_with(5_000, 10_000);
    world.ask_back(&mut record);
    verdicts::slash(&mut world, &config, &enclave, &mut record, verdicts::claim());
    world.wait(7 * 86_400_000);
    world.act_as(account(1));
    assert_eq!(world.withdraw(&mut record), sui(5) / 2);
    verdicts::discard(world, config, enclave, record);
}

/// Whoever brings the later verdict first does not make the earlier one void.
#[test]
fun verdicts_count_in_any_order() {
    let (mut world, config, enclave, mut record) = verdicts::staked_with(1_000, 10_000);
    let later = verdicts::claim().with_nonce(7);
    verdicts::slash(&mut world, &config, &enclave, &mut record, later);
    let earlier = later.with_nonce(6).with_evidence(digest(1));
    verdicts::slash(&mut world, &config, &enclave, &mut record, earlier);
    assert_eq!(record.balance(), sui(5) * 81 / 100);
    verdicts::discard(world, config, enclave, record);
}

#[test, expected_failure(abort_code = evidence::ENonceUsed)]
fun earlier_verdict_counts_once() {
    let (mut world, config, enclave, mut record) = verdicts::staked_with(1_000, 10_000);
    let earlier = verdicts::claim().with_nonce(6);
    verdicts::slash(&mut world, &config, &enclave, &mut record, earlier);
    let later = earlier.with_nonce(7).with_evidence(digest(1));
    verdicts::slash(&mut world, &config, &enclave, &mut record, later);
    // the nonce alone, as its evidence is another one
    let again = earlier.with_evidence(digest(2));
    verdicts::slash(&mut world, &config, &enclave, &mut record, again);
    abort
}

#[test, expected_failure(abort_code = evidence::ENonceUsed)]
fun a_replay_is_refused() {
    let (mut world, config, enclave, mut record) = verdicts::staked_with(1_000, 10_000);
    let claim = verdicts::claim();
    let signature = verdicts::signature(&world, &enclave, &record, claim);
    verdicts::bring(&mut world, &config, &enclave, &mut record, claim, signature);
    verdicts::bring(&mut world, &config, &enclave, &mut record, claim, signature);
    abort
}

#[test, expected_failure(abort_code = evidence::ENonceUsed)]
fun nonce_zero_counts_once() {
    let (mut world, config, enclave, mut record) = verdicts::staked_with(1_000, 10_000);
    let claim = verdicts::claim().with_nonce(0);
    verdicts::slash(&mut world, &config, &enclave, &mut record, claim);
    assert_eq!(record.balance(), sui(5) * 9 / 10);
    let again = claim.with_evidence(digest(1));
    verdicts::slash(&mut world, &config, &enclave, &mut record, again);
    abort
}

#[test, expected_failure(abort_code = evidence::EEvidenceUsed)]
fun the_same_evidence_signed_anew_does_not_punish_twice() {
    let (mut world, config, enclave, mut record) = verdicts::staked_with(1_000, 10_000);
    let claim = verdicts::claim();
    verdicts::slash(&mut world, &config, &enclave, &mut record, claim);
    verdicts::slash(&mut world, &config, &enclave, &mut record, claim.with_nonce(2));
    abort
}

#[test, expected_failure(abort_code = statement::EInvalidSignature)]
fun a_verdict_does_not_move_to_another_record() {
    let (mut world, config, enclave, record) = verdicts::staked();
    let mut other = world.stake(2, sui(5));
    let signature = verdicts::signature(&world, &enclave, &record, verdicts::claim());
    verdicts::bring(&mut world, &config, &enclave, &mut other, verdicts::claim(), signature);
    destroy(record);
    abort
}

#[test, expected_failure(abort_code = statement::EInvalidSignature)]
fun nobody_puts_their_own_name_on_a_report() {
    let (mut world, config, enclave, mut record) = verdicts::staked();
    let signature = verdicts::signature(&world, &enclave, &record, verdicts::claim());
    let stolen = verdicts::claim().with_reporter(@0xBAD);
    verdicts::bring(&mut world, &config, &enclave, &mut record, stolen, signature);
    abort
}

#[test, expected_failure(abort_code = statement::EInvalidSignature)]
fun nobody_turns_it_into_another_offence() {
    let (mut world, config, enclave, mut record) = verdicts::staked();
    let small = verdicts::claim().with_reason(8);
    let signature = verdicts::signature(&world, &enclave, &record, small);
    verdicts::bring(&mut world, &config, &enclave, &mut record, verdicts::claim(), signature);
    abort
}

#[test, expected_failure(abort_code = statement::EInvalidSignature)]
fun another_intent_is_another_message() {
    let (mut world, config, enclave, mut record) = verdicts::staked();
    // all as in a verdict, but the intent
    let message = statement::message(&enclave, 2, 1, world::now_ms(), digest(0));
    verdicts::bring(
        &mut world,
        &config,
        &enclave,
        &mut record,
        verdicts::claim(),
        signer::sign(&message),
    );
    abort
}

#[test, expected_failure(abort_code = statement::EInvalidSignature)]
fun an_empty_signature_is_none() {
    let (mut world, config, enclave, mut record) = verdicts::staked();
    verdicts::bring(&mut world, &config, &enclave, &mut record, verdicts::claim(), b"");
    abort
}

#[test]
fun a_verdict_counts_for_ten_minutes() {
    let (mut world, config, enclave, mut record) = verdicts::staked();
    world.wait(600_000);
    verdicts::slash(&mut world, &config, &enclave, &mut record, verdicts::claim());
    verdicts::discard(world, config, enclave, record);
}

#[test, expected_failure(abort_code = statement::ETooOld)]
fun a_millisecond_later_it_is_too_old() {
    let (mut world, config, enclave, mut record) = verdicts::staked();
    world.wait(600_001);
    verdicts::slash(&mut world, &config, &enclave, &mut record, verdicts::claim());
    abort
}

#[test, expected_failure(abort_code = statement::EFromFuture)]
fun verdict_of_the_future_is_refused() {
    let (mut world, config, enclave, mut record) = verdicts::staked();
    let claim = verdicts::claim().with_time(world::now_ms() + 10_001);
    verdicts::slash(&mut world, &config, &enclave, &mut record, claim);
    abort
}

#[test, expected_failure(abort_code = enclave::ERetired)]
fun a_retired_enclave_slashes_nothing() {
    let (mut world, config, mut enclave, mut record) = verdicts::staked();
    let (pool, admin, _, _, _) = world.parts();
    config.retire(pool, admin, &mut enclave);
    verdicts::slash(&mut world, &config, &enclave, &mut record, verdicts::claim());
    abort
}

#[test, expected_failure(abort_code = enclave::ERetired)]
fun an_enclave_of_a_retired_version_slashes_nothing() {
    let mut world = world::begin();
    world.offence(10_000, 10_000);
    let mut config = world.config();
    let enclave = world.master(&mut config);
    let (pool, admin, _, clock, _) = world.parts();
    let pcr = world::pcr(0xb0);
    config.update_pcrs(pool, admin, pcr, pcr, pcr, clock);
    let cap = world.registrar(&mut config);
    config.register_by_capability(
        world.pool(),
        &cap,
        world::key(1),
        digest(1),
        digest(2),
        world.clock(),
    );
    world.act_as(world::admin_address());
    let successor = world.scenario().take_shared<Enclave>();
    let (pool, admin, _, clock, _) = world.parts();
    config.set_minimum_config_version(pool, admin, 2, &successor, clock);
    destroy(successor);
    destroy(cap);
    let mut record = world.stake(1, sui(5));
    verdicts::slash(&mut world, &config, &enclave, &mut record, verdicts::claim());
    abort
}

#[test, expected_failure(abort_code = slashing::EWrongPool)]
fun another_pools_masters_slash_nothing() {
    let (mut world, config, enclave, mut record) = verdicts::staked();
    let signature = verdicts::signature(&world, &enclave, &record, verdicts::claim());
    let (pool, _admin, _slasher) = world.other();
    let (_, treasury, _, clock, ctx) = world.slasher_parts();
    slashing::slash_with_evidence(
        &pool,
        treasury,
        &config,
        &enclave,
        &mut record,
        7,
        digest(0xee),
        REPORTER,
        1,
        world::now_ms(),
        signature,
        clock,
        ctx,
    );
    abort
}

#[test, expected_failure(abort_code = enclave::EWrongConfig)]
fun another_configurations_enclave_slashes_nothing() {
    let (mut world, _config, enclave, mut record) = verdicts::staked();
    let other = world.config();
    verdicts::slash(&mut world, &other, &enclave, &mut record, verdicts::claim());
    abort
}

#[test, expected_failure(abort_code = slashing::ENoEvidence)]
fun a_verdict_names_its_evidence() {
    let (mut world, config, enclave, mut record) = verdicts::staked();
    verdicts::slash(
        &mut world,
        &config,
        &enclave,
        &mut record,
        verdicts::claim().with_evidence(b""),
    );
    abort
}

#[test, expected_failure(abort_code = authority::ENotYetEffective)]
fun masters_of_a_new_image_wait_for_their_notice() {
    let mut world = world::begin();
    world.offence(10_000, 10_000);
    let mut record = world.stake(1, sui(5));
    let mut config = world.config();
    let enclave = world.master(&mut config);
    world.wait(bounds::notice_ms() - 1);
    let claim = verdicts::claim().with_time(world::now_ms() + bounds::notice_ms() - 1);
    verdicts::slash(&mut world, &config, &enclave, &mut record, claim);
    abort
}

#[test]
fun masters_of_a_new_image_count_after_their_notice() {
    let mut world = world::begin();
    world.offence(10_000, 10_000);
    let mut record = world.stake(1, sui(5));
    let mut config = world.config();
    let enclave = world.master(&mut config);
    world.wait(bounds::notice_ms());
    let claim = verdicts::claim().with_time(world::now_ms() + bounds::notice_ms());
    verdicts::slash(&mut world, &config, &enclave, &mut record, claim);
    verdicts::discard(world, config, enclave, record);
}

#[test, expected_failure(abort_code = authority::ENotYetEffective)]
fun keys_of_a_new_registrar_wait_for_their_notice() {
    let mut world = world::begin();
    world.offence(10_000, 10_000);
    let mut config = world.config();
    let mut record = world.stake(1, sui(5));
    let cap = world.registrar(&mut config);
    let key = signer::flagged_key();
    config.register_by_capability(world.pool(), &cap, key, digest(1), digest(2), world.clock());
    world.act_as(world::admin_address());
    let enclave = world.scenario().take_shared<Enclave>();
    verdicts::slash(&mut world, &config, &enclave, &mut record, verdicts::claim());
    destroy(cap);
    abort
}

/// A key that was registered in the open pool, by a capability that counts, so long after.
fun verdict_after_registration(wait_ms: u64) {
    let mut world = world::begin();
    world.offence(10_000, 10_000);
    let mut config = world.config();
    let cap = world.registrar(&mut config);
    let mut record = world.stake(1, sui(5));
    let key = signer::flagged_key();
    config.register_by_capability(world.pool(), &cap, key, digest(1), digest(2), world.clock());
    world.act_as(world::admin_address());
    let enclave = world.scenario().take_shared<Enclave>();
    world.wait(wait_ms);
    let claim = verdicts::claim().with_time(world::now_ms() + wait_ms);
    verdicts::slash(&mut world, &config, &enclave, &mut record, claim);
    assert!(record.is_slashed());
    destroy(cap);
    verdicts::discard(world, config, enclave, record);
}

#[test, expected_failure(abort_code = authority::ENotYetEffective)]
fun registered_key_slashes_nothing_before_its_day() {
    verdict_after_registration(bounds::registration_ms() - 1);
}

#[test]
fun registered_key_slashes_once_its_day_has_come() {
    verdict_after_registration(bounds::registration_ms());
}
