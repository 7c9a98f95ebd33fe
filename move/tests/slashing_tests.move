/// Slashing by what an enclave has signed.
#[test_only]
module k3s_daas::slashing_tests;

use k3s_daas::{
    authority,
    bounds,
    enclave::{Self, EnclaveConfig, Enclave},
    evidence,
    signer,
    slashing,
    staking::{Self, StakeRecord},
    world::{Self, World, account, digest, sui}
};
use std::unit_test::{assert_eq, destroy};
use sui::{coin::Coin, sui::SUI};

const REPORTER: address = @0x5EE;

/// A verdict as it is signed, and as it is brought.
public struct Claim has copy, drop {
    basis_points: u64,
    evidence: vector<u8>,
    reporter: address,
    nonce: u64,
    timestamp_ms: u64,
}

fun claim(): Claim {
    Claim {
        basis_points: 10_000,
        evidence: digest(0xee),
        reporter: REPORTER,
        nonce: 1,
        timestamp_ms: world::now_ms(),
    }
}

fun with_basis_points(mut claim: Claim, value: u64): Claim {
    claim.basis_points = value;
    claim
}

fun with_evidence(mut claim: Claim, value: vector<u8>): Claim {
    claim.evidence = value;
    claim
}

fun with_reporter(mut claim: Claim, value: address): Claim {
    claim.reporter = value;
    claim
}

fun with_nonce(mut claim: Claim, value: u64): Claim {
    claim.nonce = value;
    claim
}

fun with_time(mut claim: Claim, value: u64): Claim {
    claim.timestamp_ms = value;
    claim
}

/// The master was registered before anybody staked.
fun staked(): (World, EnclaveConfig, Enclave, StakeRecord) {
    let mut world = world::begin();
    let mut config = world.config();
    let enclave = world.master(&mut config);
    let record = world.stake(1, sui(5));
    (world, config, enclave, record)
}

fun signature(world: &World, enclave: &Enclave, record: &StakeRecord, claim: Claim): vector<u8> {
    let Claim { basis_points, evidence, reporter, nonce, timestamp_ms } = claim;
    let message = slashing::verdict_message(
        enclave,
        object::id(world.pool()),
        object::id(record),
        basis_points,
        7,
        evidence,
        reporter,
        nonce,
        timestamp_ms,
    );
    signer::sign(&message)
}

fun bring(
    world: &mut World,
    config: &EnclaveConfig,
    enclave: &mut Enclave,
    record: &mut StakeRecord,
    claim: Claim,
    signature: vector<u8>,
) {
    let Claim { basis_points, evidence, reporter, nonce, timestamp_ms } = claim;
    let (pool, _, _, clock, ctx) = world.parts();
    slashing::slash_with_evidence(
        pool,
        config,
        enclave,
        record,
        basis_points,
        7,
        evidence,
        reporter,
        nonce,
        timestamp_ms,
        signature,
        clock,
        ctx,
    );
}

fun slash(
    world: &mut World,
    config: &EnclaveConfig,
    enclave: &mut Enclave,
    record: &mut StakeRecord,
    claim: Claim,
) {
    let signature = signature(world, enclave, record, claim);
    bring(world, config, enclave, record, claim, signature);
}

fun discard(world: World, config: EnclaveConfig, enclave: Enclave, record: StakeRecord) {
    destroy(config);
    destroy(enclave);
    destroy(record);
    world.end();
}

#[test]
fun a_verdict_slashes_and_pays_its_reporter() {
    let (mut world, config, mut enclave, mut record) = staked();
    // whoever brings it
    world.act_as(account(9));
    slash(&mut world, &config, &mut enclave, &mut record, claim());
    assert!(record.is_slashed());
    assert_eq!(world.pool().treasury(), sui(5) * 9 / 10);
    world.act_as(REPORTER);
    let reward = world.scenario().take_from_sender<Coin<SUI>>();
    assert_eq!(reward.burn_for_testing(), sui(5) / 10);
    discard(world, config, enclave, record);
}

#[test]
fun a_reward_for_nobody_goes_to_the_treasury() {
    let (mut world, config, mut enclave, mut record) = staked();
    let claim = claim().with_reporter(@0x0);
    slash(&mut world, &config, &mut enclave, &mut record, claim);
    assert_eq!(world.pool().treasury(), sui(5));
    discard(world, config, enclave, record);
}

#[test]
fun an_unbonding_stake_is_slashed_by_evidence() {
    let (mut world, config, mut enclave, mut record) = staked();
    world.ask_back(&mut record);
    let claim = claim().with_basis_points(5_000);
    slash(&mut world, &config, &mut enclave, &mut record, claim);
    world.wait(7 * 86_400_000);
    world.act_as(account(1));
    assert_eq!(world.withdraw(&mut record), sui(5) / 2);
    discard(world, config, enclave, record);
}

#[test]
fun nonces_rise_with_gaps() {
    let (mut world, config, mut enclave, mut record) = staked();
    let first = claim().with_basis_points(1_000).with_nonce(5);
    slash(&mut world, &config, &mut enclave, &mut record, first);
    let second = first.with_nonce(7).with_evidence(digest(1));
    slash(&mut world, &config, &mut enclave, &mut record, second);
    assert_eq!(record.balance(), sui(5) * 81 / 100);
    discard(world, config, enclave, record);
}

#[test, expected_failure(abort_code = enclave::ENonceNotHigher)]
fun a_replay_is_refused() {
    let (mut world, config, mut enclave, mut record) = staked();
    let claim = claim().with_basis_points(1_000);
    let signature = signature(&world, &enclave, &record, claim);
    bring(&mut world, &config, &mut enclave, &mut record, claim, signature);
    bring(&mut world, &config, &mut enclave, &mut record, claim, signature);
    abort
}

#[test, expected_failure(abort_code = enclave::ENonceNotHigher)]
fun nonces_begin_above_zero() {
    let (mut world, config, mut enclave, mut record) = staked();
    slash(&mut world, &config, &mut enclave, &mut record, claim().with_nonce(0));
    abort
}

#[test, expected_failure(abort_code = evidence::EEvidenceUsed)]
fun the_same_evidence_signed_anew_does_not_punish_twice() {
    let (mut world, config, mut enclave, mut record) = staked();
    let claim = claim().with_basis_points(1_000);
    slash(&mut world, &config, &mut enclave, &mut record, claim);
    slash(&mut world, &config, &mut enclave, &mut record, claim.with_nonce(2));
    abort
}

#[test, expected_failure(abort_code = enclave::EInvalidSignature)]
fun a_verdict_does_not_move_to_another_record() {
    let (mut world, config, mut enclave, record) = staked();
    let mut other = world.stake(2, sui(5));
    let signature = signature(&world, &enclave, &record, claim());
    bring(&mut world, &config, &mut enclave, &mut other, claim(), signature);
    destroy(record);
    abort
}

#[test, expected_failure(abort_code = enclave::EInvalidSignature)]
fun nobody_puts_their_own_name_on_a_report() {
    let (mut world, config, mut enclave, mut record) = staked();
    let signature = signature(&world, &enclave, &record, claim());
    let stolen = claim().with_reporter(@0xBAD);
    bring(&mut world, &config, &mut enclave, &mut record, stolen, signature);
    abort
}

#[test, expected_failure(abort_code = enclave::EInvalidSignature)]
fun nobody_raises_the_share() {
    let (mut world, config, mut enclave, mut record) = staked();
    let small = claim().with_basis_points(1);
    let signature = signature(&world, &enclave, &record, small);
    bring(&mut world, &config, &mut enclave, &mut record, claim(), signature);
    abort
}

#[test, expected_failure(abort_code = enclave::EInvalidSignature)]
fun another_intent_is_another_message() {
    let (mut world, config, mut enclave, mut record) = staked();
    // all as in a verdict, but the intent
    let message = enclave.message(2, 1, world::now_ms(), digest(0));
    bring(&mut world, &config, &mut enclave, &mut record, claim(), signer::sign(&message));
    abort
}

#[test, expected_failure(abort_code = enclave::EInvalidSignature)]
fun an_empty_signature_is_none() {
    let (mut world, config, mut enclave, mut record) = staked();
    bring(&mut world, &config, &mut enclave, &mut record, claim(), b"");
    abort
}

#[test]
fun a_verdict_counts_for_ten_minutes() {
    let (mut world, config, mut enclave, mut record) = staked();
    world.wait(600_000);
    slash(&mut world, &config, &mut enclave, &mut record, claim());
    discard(world, config, enclave, record);
}

#[test, expected_failure(abort_code = enclave::ETooOld)]
fun a_millisecond_later_it_is_too_old() {
    let (mut world, config, mut enclave, mut record) = staked();
    world.wait(600_001);
    slash(&mut world, &config, &mut enclave, &mut record, claim());
    abort
}

#[test, expected_failure(abort_code = enclave::EFromFuture)]
fun a_verdict_of_a_time_to_come_is_refused() {
    let (mut world, config, mut enclave, mut record) = staked();
    let claim = claim().with_time(world::now_ms() + 10_001);
    slash(&mut world, &config, &mut enclave, &mut record, claim);
    abort
}

#[test, expected_failure(abort_code = enclave::ERetired)]
fun a_retired_enclave_slashes_nothing() {
    let (mut world, config, mut enclave, mut record) = staked();
    let (pool, admin, _, _, _) = world.parts();
    config.retire(pool, admin, &mut enclave);
    slash(&mut world, &config, &mut enclave, &mut record, claim());
    abort
}

#[test, expected_failure(abort_code = enclave::ERetired)]
fun an_enclave_of_a_retired_version_slashes_nothing() {
    let (mut world, mut config, mut enclave, mut record) = staked();
    let (pool, admin, _, clock, _) = world.parts();
    let pcr = world::pcr(0xb0);
    config.update_pcrs(pool, admin, pcr, pcr, pcr, clock);
    config.set_minimum_config_version(pool, admin, 2);
    slash(&mut world, &config, &mut enclave, &mut record, claim());
    abort
}

#[test, expected_failure(abort_code = slashing::EWrongPool)]
fun another_pools_masters_slash_nothing() {
    let (mut world, config, mut enclave, mut record) = staked();
    let signature = signature(&world, &enclave, &record, claim());
    let (mut pool, _admin, _slasher) = world.other();
    let (_, _, _, clock, ctx) = world.parts();
    slashing::slash_with_evidence(
        &mut pool,
        &config,
        &mut enclave,
        &mut record,
        10_000,
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
    let (mut world, _config, mut enclave, mut record) = staked();
    let other = world.config();
    slash(&mut world, &other, &mut enclave, &mut record, claim());
    abort
}

#[test, expected_failure(abort_code = slashing::ENoEvidence)]
fun a_verdict_names_its_evidence() {
    let (mut world, config, mut enclave, mut record) = staked();
    slash(&mut world, &config, &mut enclave, &mut record, claim().with_evidence(b""));
    abort
}

#[test, expected_failure(abort_code = staking::EInvalidBasisPoints)]
fun a_verdict_takes_no_more_than_all() {
    let (mut world, config, mut enclave, mut record) = staked();
    let claim = claim().with_basis_points(10_001);
    slash(&mut world, &config, &mut enclave, &mut record, claim);
    abort
}

#[test, expected_failure(abort_code = authority::ENotYetEffective)]
fun masters_of_a_new_image_wait_for_their_notice() {
    let mut world = world::begin();
    let mut record = world.stake(1, sui(5));
    let mut config = world.config();
    let mut enclave = world.master(&mut config);
    world.wait(bounds::notice_ms() - 1);
    let claim = claim().with_time(world::now_ms() + bounds::notice_ms() - 1);
    slash(&mut world, &config, &mut enclave, &mut record, claim);
    abort
}

#[test]
fun masters_of_a_new_image_count_after_their_notice() {
    let mut world = world::begin();
    let mut record = world.stake(1, sui(5));
    let mut config = world.config();
    let mut enclave = world.master(&mut config);
    world.wait(bounds::notice_ms());
    let claim = claim().with_time(world::now_ms() + bounds::notice_ms());
    slash(&mut world, &config, &mut enclave, &mut record, claim);
    discard(world, config, enclave, record);
}

#[test, expected_failure(abort_code = authority::ENotYetEffective)]
fun keys_of_a_new_registrar_wait_for_their_notice() {
    let mut world = world::begin();
    let mut config = world.config();
    let mut record = world.stake(1, sui(5));
    let cap = world.registrar(&mut config);
    config.register_by_capability(&cap, signer::public_key(), digest(1), world.clock());
    world.act_as(world::admin_address());
    let mut enclave = world.scenario().take_shared<Enclave>();
    slash(&mut world, &config, &mut enclave, &mut record, claim());
    destroy(cap);
    abort
}
