/// The way of every shared object from an earlier version to this one, and what must not go ahead
/// of what. The tests take the version from the code, so that they hold for later ones too.
#[test_only]
module k3s_daas::migration_tests;

use k3s_daas::{
    administration,
    enclave::{Self, EnclaveConfig, Enclave},
    k8s_gateway,
    pool,
    releases::{Self, ReleaseRegistry},
    rewards::{Self, Vault, Epoch},
    rewards_world,
    signer,
    slashing,
    staking::{Self, StakeRecord},
    treasury,
    version,
    world::{Self, World, account, digest, sui}
};
use std::unit_test::{assert_eq, destroy};

const DAY_MS: u64 = 86_400_000;

fun earlier(): u64 { version::current() - 1 }

/// A pool with its treasury and a stake, all of the earlier version.
fun staked_earlier(): (World, StakeRecord) {
    let mut world = world::begin();
    let mut record = world.stake(1, sui(5));
    let (pool, treasury, _, _, _) = world.slasher_parts();
    pool.set_version_for_testing(earlier());
    treasury.set_version_for_testing(earlier());
    record.set_version_for_testing(earlier());
    (world, record)
}

fun migrate_pool(world: &mut World) {
    let (pool, admin, _, _, _) = world.parts();
    pool.migrate(admin);
}

fun migrate_record(world: &World, record: &mut StakeRecord) {
    staking::migrate_record(world.pool(), record);
}

// --- records ---

/// Otherwise anybody could take a stake away from the old code, on which its pool still works: no
/// slash would reach it, while its unbonding runs. Where the AdminCap is lost before the pool is
/// migrated, pool and records stay as they are, and the old code goes on working on both.
#[test, expected_failure(abort_code = pool::EWrongVersion)]
fun record_is_not_migrated_before_its_pool() {
    let (world, mut record) = staked_earlier();
    migrate_record(&world, &mut record);
    destroy(record);
    world.end();
    abort
}

#[test]
fun record_is_migrated_by_anybody_after_its_pool() {
    let (mut world, mut record) = staked_earlier();
    migrate_pool(&mut world);
    world.act_as(account(2));
    migrate_record(&world, &mut record);
    world.act_as(account(1));
    world.ask_back(&mut record);
    world.wait(7 * DAY_MS);
    assert_eq!(world.withdraw(&mut record), sui(5));
    destroy(record);
    world.end();
}

/// The AdminCap is lost once the pool is migrated: nothing else that a stake needs waits for it.
#[test]
fun lost_admin_cap_after_the_pools_migration_locks_no_coins() {
    let (mut world, mut record) = staked_earlier();
    migrate_pool(&mut world);
    // none of what follows takes the AdminCap
    world.act_as(account(2));
    let (pool, treasury, _, _, _) = world.slasher_parts();
    administration::migrate_treasury(pool, treasury);
    staking::migrate_record(pool, &mut record);
    world.slash(&mut record, 5_000);
    world.act_as(account(1));
    world.ask_back(&mut record);
    world.wait(7 * DAY_MS);
    assert_eq!(world.withdraw(&mut record), sui(5) / 2);
    destroy(record);
    world.end();
}

#[test, expected_failure(abort_code = pool::EWrongVersion)]
fun new_code_does_not_work_on_a_pool_of_the_earlier_version() {
    let (mut world, mut record) = staked_earlier();
    record.set_version_for_testing(version::current());
    world.top_up(&mut record, 1);
    abort
}

#[test, expected_failure(abort_code = staking::EWrongVersion)]
fun new_code_does_not_work_on_a_record_of_the_earlier_version() {
    let (mut world, mut record) = staked_earlier();
    migrate_pool(&mut world);
    world.top_up(&mut record, 1);
    abort
}

#[test, expected_failure(abort_code = staking::EWrongPool)]
fun record_is_not_migrated_through_another_pool() {
    let (mut world, mut record) = staked_earlier();
    let (other, _admin, _slasher) = world.other();
    staking::migrate_record(&other, &mut record);
    abort
}

#[test, expected_failure(abort_code = version::EAlreadyMigrated)]
fun pool_is_migrated_once() {
    let mut world = world::begin();
    migrate_pool(&mut world);
    abort
}

#[test, expected_failure(abort_code = version::EAlreadyMigrated)]
fun record_of_a_later_version_does_not_go_back() {
    let (mut world, mut record) = staked_earlier();
    migrate_pool(&mut world);
    record.set_version_for_testing(version::current() + 1);
    migrate_record(&world, &mut record);
    abort
}

// --- treasury ---

#[test, expected_failure(abort_code = pool::EWrongVersion)]
fun treasury_is_not_migrated_before_its_pool() {
    let (mut world, _record) = staked_earlier();
    let (pool, treasury, _, _, _) = world.slasher_parts();
    administration::migrate_treasury(pool, treasury);
    abort
}

#[test, expected_failure(abort_code = version::EWrongVersion)]
fun slash_waits_for_the_treasury() {
    let (mut world, mut record) = staked_earlier();
    migrate_pool(&mut world);
    migrate_record(&world, &mut record);
    world.slash(&mut record, 1);
    abort
}

#[test, expected_failure(abort_code = treasury::EWrongPool)]
fun treasury_is_not_migrated_through_another_pool() {
    let (mut world, _record) = staked_earlier();
    let (other, _admin, _slasher) = world.other();
    let (_, treasury, _, _, _) = world.slasher_parts();
    administration::migrate_treasury(&other, treasury);
    abort
}

// --- masters ---

fun master_earlier(): (World, EnclaveConfig, Enclave) {
    let mut world = world::begin();
    world.offence(10_000, 10_000);
    let mut config = world.config();
    let mut enclave = world.master(&mut config);
    config.set_versions_for_testing(&mut enclave, earlier());
    (world, config, enclave)
}

/// Otherwise anybody could take a master's key away from the old code: no verdict would count, while
/// evidence ages.
#[test, expected_failure(abort_code = version::EWrongVersion)]
fun enclave_is_not_migrated_before_its_configuration() {
    let (_world, config, mut enclave) = master_earlier();
    config.migrate_enclave(&mut enclave);
    destroy(enclave);
    abort
}

#[test, expected_failure(abort_code = pool::EWrongVersion)]
fun configuration_is_not_migrated_before_its_pool() {
    let (mut world, mut config, _enclave) = master_earlier();
    let (pool, _, _, _, _) = world.parts();
    pool.set_version_for_testing(earlier());
    config.migrate(pool);
    abort
}

#[test, expected_failure(abort_code = enclave::EWrongPool)]
fun configuration_is_not_migrated_through_another_pool() {
    let (mut world, mut config, _enclave) = master_earlier();
    let (other, _admin, _slasher) = world.other();
    config.migrate(&other);
    abort
}

#[test, expected_failure(abort_code = enclave::EWrongConfig)]
fun enclave_is_not_migrated_through_another_configuration() {
    let (mut world, _config, mut enclave) = master_earlier();
    let other = world.config();
    other.migrate_enclave(&mut enclave);
    abort
}

/// Pool, configuration and key in this order; a verdict that was signed before counts after.
#[test]
fun verdict_of_the_earlier_version_counts_after_the_migration() {
    let (mut world, mut config, mut enclave) = master_earlier();
    let (mut record, now_ms) = (world.stake(1, sui(5)), world.clock().timestamp_ms());
    let (pool, treasury, _, _, _) = world.slasher_parts();
    pool.set_version_for_testing(earlier());
    treasury.set_version_for_testing(earlier());
    record.set_version_for_testing(earlier());
    let pool_id = object::id(pool);
    let message = slashing::verdict_message(
        &enclave,
        pool_id,
        object::id(&record),
        7,
        digest(1),
        @0x0,
        1,
        now_ms,
    );
    let signature = signer::sign(&message);
    migrate_pool(&mut world);
    config.migrate(world.pool());
    config.migrate_enclave(&mut enclave);
    migrate_record(&world, &mut record);
    let (pool, treasury, _, clock, ctx) = world.slasher_parts();
    administration::migrate_treasury(pool, treasury);
    slashing::slash_with_evidence(
        pool,
        treasury,
        &config,
        &enclave,
        &mut record,
        7,
        digest(1),
        @0x0,
        1,
        now_ms,
        signature,
        clock,
        ctx,
    );
    assert!(record.is_slashed());
    destroy(record);
    destroy(enclave);
    destroy(config);
    world.end();
}

#[test, expected_failure(abort_code = pool::EWrongVersion)]
fun directory_is_not_migrated_before_its_pool() {
    let mut world = world::begin();
    let (pool, admin, _, _, ctx) = world.parts();
    k8s_gateway::new_directory(pool, admin, ctx);
    world.act_as(world::admin_address());
    let mut directory = world.scenario().take_shared<k8s_gateway::MasterDirectory>();
    directory.set_version_for_testing(earlier());
    let (pool, _, _, _, _) = world.parts();
    pool.set_version_for_testing(earlier());
    directory.migrate(pool);
    abort
}

#[test, expected_failure(abort_code = k8s_gateway::EWrongPool)]
fun directory_is_not_migrated_through_another_pool() {
    let mut world = world::begin();
    let (pool, admin, _, _, ctx) = world.parts();
    k8s_gateway::new_directory(pool, admin, ctx);
    world.act_as(world::admin_address());
    let mut directory = world.scenario().take_shared<k8s_gateway::MasterDirectory>();
    directory.set_version_for_testing(earlier());
    let (other, _admin, _slasher) = world.other();
    directory.migrate(&other);
    abort
}

fun registry_earlier(): (World, ReleaseRegistry) {
    let mut world = world::begin();
    let (pool, admin, _, _, ctx) = world.parts();
    releases::new_registry(pool, admin, ctx);
    world.act_as(world::admin_address());
    let mut registry = world.scenario().take_shared<ReleaseRegistry>();
    registry.set_version_for_testing(earlier());
    (world, registry)
}

#[test, expected_failure(abort_code = pool::EWrongVersion)]
fun registry_is_not_migrated_before_its_pool() {
    let (mut world, mut registry) = registry_earlier();
    let (pool, _, _, _, _) = world.parts();
    pool.set_version_for_testing(earlier());
    registry.migrate(pool);
    abort
}

#[test, expected_failure(abort_code = releases::EWrongPool)]
fun registry_is_not_migrated_through_another_pool() {
    let (mut world, mut registry) = registry_earlier();
    let (other, _admin, _slasher) = world.other();
    registry.migrate(&other);
    abort
}

// --- rewards ---

#[test]
fun rewards_of_the_earlier_version_are_claimed_after_the_migration() {
    let mut world = world::begin();
    let mut config = world.config();
    let enclave = world.master(&mut config);
    let mut vault = rewards_world::vault(&mut world);
    let record = world.stake(1, sui(5));
    rewards_world::to_the_end_of(&mut world, 0);
    let root = rewards::leaf(object::id(&vault), 0, object::id(&record), 1);
    rewards_world::publish(&mut world, &mut vault, &config, &enclave, 0, root, 1, 1, sui(1));
    world.act_as(account(2));
    let mut epoch = world.scenario().take_shared<Epoch>();
    let (pool, _, _, _, _) = world.parts();
    pool.set_version_for_testing(earlier());
    vault.set_versions_for_testing(&mut epoch, earlier(), earlier());
    migrate_pool(&mut world);
    // by anybody
    vault.migrate(world.pool());
    vault.migrate_epoch(&mut epoch);
    world.wait(DAY_MS);
    let (pool, _, _, clock, ctx) = world.parts();
    epoch.claim(pool, &record, 1, 0, b"", clock, ctx);
    assert_eq!(world.paid(account(1)), sui(1));
    destroy(epoch);
    destroy(vault);
    destroy(record);
    destroy(enclave);
    destroy(config);
    world.end();
}

#[test, expected_failure(abort_code = version::EWrongVersion)]
fun epoch_is_not_migrated_before_its_vault() {
    let (_world, vault, mut epoch) = vault_earlier();
    vault.migrate_epoch(&mut epoch);
    destroy(vault);
    destroy(epoch);
    abort
}

#[test, expected_failure(abort_code = version::EWrongVersion)]
fun epoch_of_the_earlier_version_is_not_closed() {
    let (world, mut vault, mut epoch) = vault_earlier();
    vault.set_versions_for_testing(&mut epoch, version::current(), earlier());
    vault.close(&mut epoch, world.clock());
    world.end();
    destroy(vault);
    destroy(epoch);
    abort
}

#[test, expected_failure(abort_code = pool::EWrongVersion)]
fun vault_is_not_migrated_before_its_pool() {
    let (mut world, mut vault, _epoch) = vault_earlier();
    let (pool, _, _, _, _) = world.parts();
    pool.set_version_for_testing(earlier());
    vault.migrate(pool);
    abort
}

#[test, expected_failure(abort_code = rewards::EWrongPool)]
fun vault_is_not_migrated_through_another_pool() {
    let (mut world, mut vault, _epoch) = vault_earlier();
    let (other, _admin, _slasher) = world.other();
    vault.migrate(&other);
    abort
}

#[test, expected_failure(abort_code = rewards::EWrongVault)]
fun epoch_is_not_migrated_through_another_vault() {
    let (mut world, _vault, mut epoch) = vault_earlier();
    let other = rewards_world::vault(&mut world);
    other.migrate_epoch(&mut epoch);
    abort
}

fun vault_earlier(): (World, Vault, Epoch) {
    let mut world = world::begin();
    let mut config = world.config();
    let enclave = world.master(&mut config);
    let mut vault = rewards_world::vault(&mut world);
    rewards_world::to_the_end_of(&mut world, 0);
    rewards_world::publish(&mut world, &mut vault, &config, &enclave, 0, digest(4), 1, 1, 1);
    world.act_as(account(2));
    let mut epoch = world.scenario().take_shared<Epoch>();
    vault.set_versions_for_testing(&mut epoch, earlier(), earlier());
    destroy(enclave);
    destroy(config);
    (world, vault, epoch)
}
