/// This code on objects of a later version: whoever has migrated an object must not see the code that
/// was replaced work on it. Each call that checks a version of its own is tried.
#[test_only]
module k3s_daas::later_version_tests;

use k3s_daas::{
    administration,
    enclave::{EnclaveConfig, Enclave},
    k8s_gateway::MasterDirectory,
    pool,
    releases::{Self, ReleaseRegistry},
    rewards_stage,
    staking::{Self, StakeRecord},
    version,
    world::{Self, World, account, digest, key, sui}
};
use std::unit_test::destroy;

fun later(): u64 { version::current() + 1 }

fun staked(): (World, StakeRecord) {
    let mut world = world::begin();
    let record = world.stake(1, sui(5));
    (world, record)
}

fun later_pool(): (World, StakeRecord) {
    let (mut world, record) = staked();
    let (pool, _, _, _, _) = world.parts();
    pool.set_version_for_testing(later());
    (world, record)
}

fun later_record(): (World, StakeRecord) {
    let (world, mut record) = staked();
    record.set_version_for_testing(later());
    (world, record)
}

// --- the pool ---

#[test, expected_failure(abort_code = pool::EWrongVersion)]
fun stake_in_a_later_pool_is_refused() {
    let (mut world, _record) = later_pool();
    destroy(world.stake(2, sui(5)));
    abort
}

#[test, expected_failure(abort_code = pool::EWrongVersion)]
fun top_up_through_a_later_pool_is_refused() {
    let (mut world, mut record) = later_pool();
    world.top_up(&mut record, 1);
    abort
}

#[test, expected_failure(abort_code = pool::EWrongVersion)]
fun slash_through_a_later_pool_is_refused() {
    let (mut world, mut record) = later_pool();
    world.slash(&mut record, 1);
    abort
}

#[test, expected_failure(abort_code = pool::EWrongVersion)]
fun rules_of_a_later_pool_are_not_set() {
    let (mut world, _record) = later_pool();
    let (pool, admin, _, clock, _) = world.parts();
    administration::set_unbonding(pool, admin, 3_600_000, clock);
    abort
}

#[test, expected_failure(abort_code = version::EAlreadyMigrated)]
fun later_pool_does_not_go_back() {
    let (mut world, _record) = later_pool();
    let (pool, admin, _, _, _) = world.parts();
    pool.migrate(admin);
    abort
}

// --- the treasury ---

#[test, expected_failure(abort_code = version::EWrongVersion)]
fun slash_into_a_later_treasury_is_refused() {
    let (mut world, mut record) = staked();
    let (_, treasury, _, _, _) = world.slasher_parts();
    treasury.set_version_for_testing(later());
    world.slash(&mut record, 1);
    abort
}

// --- records ---

#[test, expected_failure(abort_code = staking::EWrongVersion)]
fun later_record_is_not_topped_up() {
    let (mut world, mut record) = later_record();
    world.top_up(&mut record, 1);
    abort
}

#[test, expected_failure(abort_code = staking::EWrongVersion)]
fun later_record_gets_no_token() {
    let (mut world, mut record) = later_record();
    world.issue_token(&mut record);
    abort
}

#[test, expected_failure(abort_code = staking::EWrongVersion)]
fun later_record_is_not_slashed() {
    let (mut world, mut record) = later_record();
    world.slash(&mut record, 1);
    abort
}

#[test, expected_failure(abort_code = staking::EWrongVersion)]
fun later_record_is_not_unstaked() {
    let (mut world, mut record) = later_record();
    world.ask_back(&mut record);
    abort
}

#[test, expected_failure(abort_code = staking::EWrongVersion)]
fun later_record_is_not_withdrawn() {
    let (mut world, mut record) = staked();
    world.ask_back(&mut record);
    world.wait(7 * 86_400_000);
    world.act_as(account(1));
    record.set_version_for_testing(later());
    world.withdraw(&mut record);
    abort
}

// --- masters ---

fun configured(): (World, EnclaveConfig, Enclave) {
    let mut world = world::begin();
    let mut config = world.config();
    let enclave = world.master(&mut config);
    (world, config, enclave)
}

#[test, expected_failure(abort_code = version::EWrongVersion)]
fun key_in_a_later_configuration_is_refused() {
    let (mut world, mut config, mut enclave) = configured();
    let cap = world.registrar(&mut config);
    config.set_versions_for_testing(&mut enclave, later());
    let clock = world.clock();
    config.register_by_capability(world.pool(), &cap, key(5), digest(6), digest(7), clock);
    destroy(cap);
    abort
}

#[test, expected_failure(abort_code = version::EWrongVersion)]
fun later_configuration_is_not_changed() {
    let (mut world, mut config, mut enclave) = configured();
    config.set_versions_for_testing(&mut enclave, later());
    let (pool, admin, _, _, _) = world.parts();
    config.set_ages(pool, admin, 3_600_000, 600_000);
    abort
}

#[test, expected_failure(abort_code = version::EWrongVersion)]
fun key_of_a_later_version_does_not_speak() {
    let (_world, config, mut enclave) = configured();
    enclave.set_version_for_testing(later());
    config.assert_current(&enclave);
    destroy(enclave);
    abort
}

#[test, expected_failure(abort_code = version::EWrongVersion)]
fun later_directory_lists_no_master() {
    let (mut world, config, enclave) = configured();
    let (pool, admin, _, _, ctx) = world.parts();
    k3s_daas::k8s_gateway::new_directory(pool, admin, ctx);
    world.act_as(world::admin_address());
    let mut directory = world.scenario().take_shared<MasterDirectory>();
    directory.set_version_for_testing(later());
    let (pool, admin, _, _, _) = world.parts();
    directory.list_master(pool, admin, &config, &enclave, b"https://m.example.org".to_string());
    abort
}

// --- releases ---

#[test, expected_failure(abort_code = version::EWrongVersion)]
fun later_registry_approves_nothing() {
    let mut world = world::begin();
    let (pool, admin, _, _, ctx) = world.parts();
    releases::new_registry(pool, admin, ctx);
    world.act_as(world::admin_address());
    let mut registry = world.scenario().take_shared<ReleaseRegistry>();
    let (pool, admin, _, clock, ctx) = world.parts();
    let cap = registry.new_release_cap(pool, admin, clock, ctx);
    registry.set_version_for_testing(later());
    registry.revoke(&cap, releases::release_version(0, 1, 0), 0, clock);
    destroy(cap);
    abort
}

// --- rewards ---

#[test, expected_failure(abort_code = version::EWrongVersion)]
fun later_vault_is_not_funded() {
    let mut stage = rewards_stage::stage(1);
    let mut epoch = stage.publish_tree(digest(4), 1, 1, 1);
    let (world, _, _, _, vault) = stage.parts();
    vault.set_versions_for_testing(&mut epoch, later(), version::current());
    vault.fund(world.coins(1));
    destroy(epoch);
    stage.end();
    abort
}

#[test, expected_failure(abort_code = version::EWrongVersion)]
fun later_vault_gets_no_root() {
    let mut stage = rewards_stage::stage(1);
    let mut epoch = stage.publish_tree(digest(4), 1, 1, 1);
    let (_, _, _, _, vault) = stage.parts();
    vault.set_versions_for_testing(&mut epoch, later(), version::current());
    destroy(stage.publish_tree(digest(4), 1, 1, 1));
    destroy(epoch);
    stage.end();
    abort
}

#[test, expected_failure(abort_code = version::EWrongVersion)]
fun later_epoch_pays_nothing() {
    let (mut stage, mut epoch, proofs) = rewards_stage::claimable();
    let (_, _, _, _, vault) = stage.parts();
    vault.set_versions_for_testing(&mut epoch, version::current(), later());
    stage.claim(&mut epoch, 0, 1, 0, proofs[0]);
    destroy(epoch);
    stage.end();
    abort
}
