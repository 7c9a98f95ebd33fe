/// Every struct and event that others decode, brought about by real calls, is written as
/// goldens.json says. Ids that a test can't choose are shown as the goldens' ids.
#[test_only]
module k3s_daas::golden_tests;

use k3s_daas::{
    administration,
    authority::{CapabilityIssued, CapabilityRevoked},
    beneficiary::{Self, BeneficiaryChanged},
    enclave::{EnclaveConfigChanged, EnclaveRegistered, EnclaveRetired, Enclave},
    goldens,
    k8s_gateway::{
        Self,
        SealToken,
        SealTokenIssued,
        SealTokenBurnt,
        MasterDirectory,
        DirectoryCreated,
        MasterListed,
        MasterRemoved,
    },
    maintenance::{Self, MaintenanceBegan, MaintenanceEnded},
    pool,
    releases::{Self, ReleaseRegistry},
    rewards::{Self, Vault, Epoch},
    rewards_stage,
    rewards_world,
    shown::{Self, Ids},
    slashing,
    staking,
    treasury::Treasury,
    version::Migrated,
    world::{Self, World, account, digest, key, pcr, sui}
};
use std::unit_test::{assert_eq, destroy};
use sui::{address, event, test_scenario};

/// The node of the goldens.
const NODE: u8 = 0x77;
const DAY_MS: u64 = 86_400_000;
const BENEFICIARY: address = @0xC01D;
const NEXT: address = @0xC02D;

fun ids(): Ids {
    shown::none()
        .with(account(NODE), 0x33)
        .with(world::admin_address(), 0x99)
        .with(BENEFICIARY, 0x34)
        .with(NEXT, 0x35)
}

fun staked(): (World, staking::StakeRecord, Ids) {
    let mut world = world::begin();
    world.act_as(account(NODE));
    let record = world.stake_for(
        b"edge-0001".to_string(),
        key(NODE),
        BENEFICIARY,
        1_500_000_000,
    );
    let ids = ids().of(world.pool(), 0x22).of(&record, 0x11);
    (world, record, ids)
}

#[test]
fun the_publisher_gets_the_capabilities() {
    let mut scenario = test_scenario::begin(world::admin_address());
    pool::init_for_testing(scenario.ctx());
    let events = event::events_by_type<pool::PoolCreated>();
    scenario.next_tx(world::admin_address());
    let mut pool = scenario.take_shared<pool::Pool>();
    let treasury = scenario.take_shared<Treasury>();
    let admin = scenario.take_from_sender<pool::AdminCap>();
    let slasher = scenario.take_from_sender<pool::SlasherCap>();
    let ids = ids().of(&pool, 0x22).of(&treasury, 0x88).of(&admin, 0x66).of(&slasher, 0x55);
    ids.shows(&events[0], goldens::pool_pool_created());
    ids.shows(&admin, goldens::pool_admin_cap());
    ids.shows(&slasher, goldens::pool_slasher_cap());
    administration::open_pool(&mut pool, &admin);
    ids.emitted<pool::PoolOpened>(goldens::pool_pool_opened());
    destroy(pool);
    destroy(treasury);
    destroy(admin);
    destroy(slasher);
    scenario.end();
}

#[test]
fun a_stakes_life() {
    let (mut world, mut record, ids) = staked();
    ids.emitted<staking::Staked>(goldens::staking_staked());
    ids.shows(&record, goldens::staking_stake_record_staked());

    world.issue_token(&mut record);
    let issued = event::events_by_type<SealTokenIssued>();
    world.act_as(account(NODE));
    let token = world.scenario().take_from_sender<SealToken>();
    let ids = ids.of(&token, 0x44);
    ids.shows(&issued[0], goldens::k8s_gateway_seal_token_issued());
    ids.shows(&token, goldens::k8s_gateway_seal_token());
    ids.shows(&record, goldens::staking_stake_record_active());

    world.top_up(&mut record, 500_000_000);
    ids.emitted<staking::ToppedUp>(goldens::staking_topped_up());
    world.slash_with(&mut record, 2_500, digest(0xee));
    ids.emitted<staking::Slashed>(goldens::staking_slashed());
    ids.of(world.treasury(), 0x88).shows(world.treasury(), goldens::treasury_treasury());

    world.wait(1_000);
    world.ask_back_with(&mut record, token);
    ids.emitted<SealTokenBurnt>(goldens::k8s_gateway_seal_token_burnt());
    world.act_as(BENEFICIARY);
    world.ask_back(&mut record);
    ids.emitted<staking::UnstakeRequested>(goldens::staking_unstake_requested());
    ids.shows(&record, goldens::staking_stake_record_unbonding());
    world.cancel(&mut record);
    ids.emitted<staking::UnstakeCancelled>(goldens::staking_unstake_cancelled());

    world.ask_back(&mut record);
    world.wait(7 * DAY_MS);
    let (pool, _, _, clock, ctx) = world.parts();
    staking::withdraw_stake(pool, &mut record, clock, ctx);
    ids.emitted<staking::Withdrawn>(goldens::staking_withdrawn());
    ids.shows(&record, goldens::staking_stake_record_withdrawn());
    world.act_as(account(NODE));
    world.restake(&mut record, sui(1));
    ids.emitted<staking::Restaked>(goldens::staking_restaked());
    destroy(record);
    world.end();
}

#[test]
fun a_slashed_stake() {
    let (mut world, mut record, ids) = staked();
    world.top_up(&mut record, 500_000_000);
    world.slash(&mut record, 10_000);
    ids.shows(&record, goldens::staking_stake_record_slashed());
    destroy(record);
    world.end();
}

#[test]
fun a_beneficiarys_calls() {
    let (mut world, mut record, ids) = staked();
    world.act_as(BENEFICIARY);
    let (pool, _, _, clock, ctx) = world.parts();
    beneficiary::set_beneficiary(pool, &mut record, NEXT, clock, ctx);
    ids.emitted<BeneficiaryChanged>(goldens::beneficiary_beneficiary_changed());
    let until_ms = clock.timestamp_ms() + DAY_MS;
    maintenance::begin_maintenance(pool, &mut record, until_ms, clock, ctx);
    ids.emitted<MaintenanceBegan>(goldens::maintenance_maintenance_began());
    ids.shows(&record, goldens::staking_stake_record_changing());
    clock.increment_for_testing(1_000);
    maintenance::end_maintenance(pool, &mut record, clock, ctx);
    ids.emitted<MaintenanceEnded>(goldens::maintenance_maintenance_ended());
    destroy(record);
    world.end();
}

#[test]
fun an_administrators_events() {
    let mut world = world::begin();
    world.offence(2_500, 5_000);
    world.act_as(account(NODE));
    let mut record = world.stake_as(b"edge-0001".to_string(), key(NODE), 2_000_000_000);
    let ids = ids().of(world.pool(), 0x22).of(&record, 0x11).of(world.treasury(), 0x88);
    world.slash(&mut record, 2_500);
    world.take_treasury(100_000_000);
    ids.emitted<administration::TreasuryWithdrawn>(goldens::administration_treasury_withdrawn());
    world.offence(10_000, 10_000);
    ids.emitted<administration::OffenceChanged>(goldens::administration_offence_changed());
    ids.shows(world.pool(), goldens::pool_pool());
    let (pool, admin, _, clock, _) = world.parts();
    administration::set_minimum_stake(pool, admin, sui(2), clock);
    ids.emitted<administration::RulesChanged>(goldens::administration_rules_changed());
    pool.set_version_for_testing(0);
    pool.migrate(admin);
    ids.emitted<Migrated>(goldens::version_migrated());
    destroy(record);
    world.end();
}

#[test]
fun a_master() {
    let mut world = world::begin();
    let mut config = world.config();
    let ids = ids().of(world.pool(), 0x22).of(&config, 0xaa);
    ids.shows(&config, goldens::enclave_enclave_config());
    let (pool, admin, _, _, _) = world.parts();
    config.set_ages(pool, admin, 3_600_000, 600_000);
    ids.emitted<EnclaveConfigChanged>(goldens::enclave_enclave_config_changed());

    let cap = world.registrar(&mut config);
    let ids = ids.of(&cap, 0xdd);
    ids.emitted<CapabilityIssued>(goldens::authority_capability_issued());
    ids.shows(&cap, goldens::enclave_registrar_cap());
    config.register_by_capability(
        world.pool(),
        &cap,
        key(0x71),
        digest(0x72),
        digest(0xee),
        world.clock(),
    );
    let registered = event::events_by_type<EnclaveRegistered>();
    world.act_as(world::admin_address());
    let mut enclave = world.scenario().take_shared<Enclave>();
    let ids = ids.of(&enclave, 0xbb);
    ids.shows(&registered[0], goldens::enclave_enclave_registered());
    ids.shows(&enclave, goldens::enclave_enclave());

    let (pool, admin, _, _, ctx) = world.parts();
    k8s_gateway::new_directory(pool, admin, ctx);
    let created = event::events_by_type<DirectoryCreated>();
    world.act_as(world::admin_address());
    let mut directory = world.scenario().take_shared<MasterDirectory>();
    let ids = ids.of(&directory, 0xcc);
    ids.shows(&created[0], goldens::k8s_gateway_directory_created());
    let (pool, admin, _, _, _) = world.parts();
    let url = b"https://m.example.org:8443".to_string();
    directory.list_master(pool, admin, &config, &enclave, url);
    ids.emitted<MasterListed>(goldens::k8s_gateway_master_listed());
    ids.shows(&directory, goldens::k8s_gateway_master_directory());
    let masters = directory.get_nautilus_info_for_worker();
    ids.shows(&masters[0], goldens::k8s_gateway_master_info());
    directory.remove_master(pool, admin, object::id(&enclave));
    ids.emitted<MasterRemoved>(goldens::k8s_gateway_master_removed());

    config.retire(pool, admin, &mut enclave);
    ids.emitted<EnclaveRetired>(goldens::enclave_enclave_retired());
    config.revoke_registrar_cap(pool, admin, object::id(&cap));
    ids.emitted<CapabilityRevoked>(goldens::authority_capability_revoked());
    destroy(cap);
    destroy(directory);
    destroy(enclave);
    destroy(config);
    world.end();
}

#[test]
fun what_is_signed() {
    let (mut world, record, ids) = staked();
    let mut config = world.config();
    let enclave = world.master(&mut config);
    let ids = ids.of(&enclave, 0xbb);
    let pool = object::id(world.pool());
    let verdict = slashing::verdict_message(
        &enclave,
        pool,
        object::id(&record),
        7,
        digest(0xee),
        address::from_bytes(digest(0xfe)),
        5,
        world::now_ms(),
    );
    assert_eq!(ids.show(verdict), goldens::slashing_verdict());
    destroy(record);
    destroy(enclave);
    destroy(config);
    world.end();
}

#[test]
fun releases_of_images() {
    let mut world = world::begin();
    let (pool, admin, _, _, ctx) = world.parts();
    releases::new_registry(pool, admin, ctx);
    let created = event::events_by_type<releases::RegistryCreated>();
    world.act_as(world::admin_address());
    let mut registry = world.scenario().take_shared<ReleaseRegistry>();
    let (pool, admin, _, clock, ctx) = world.parts();
    let cap = registry.new_release_cap(pool, admin, clock, ctx);
    let ids = ids().of(pool, 0x22).of(&registry, 0xab).of(&cap, 0xcd);
    ids.shows(&created[0], goldens::releases_registry_created());
    ids.shows(&cap, goldens::releases_release_cap());
    let first = releases::release_version(0, 1, 0);
    let second = releases::release_version(0, 2, 3);
    let stub = vector[releases::phase_pcr(b"".to_string(), digest(6))];
    let netboot = b"netboot".to_string();
    let image = releases::image(netboot, b"aarch64".to_string(), digest(1), stub, vector[]);
    registry.approve(&cap, second, vector[image], digest(3), vector[], clock);
    let phases = vector[
        releases::phase_pcr(b"".to_string(), digest(2)),
        releases::phase_pcr(b"boot".to_string(), digest(5)),
    ];
    let launch = vector[releases::launch_measurement(0, pcr(7))];
    let disk = b"disk".to_string();
    let image = releases::image(disk, b"x86_64".to_string(), digest(1), phases, launch);
    let places = vector[b"https://r.example.org/0.1.0/".to_string()];
    registry.approve(&cap, first, vector[image], digest(3), places, clock);
    ids.emitted<releases::ReleaseApproved>(goldens::releases_release_approved());
    clock.increment_for_testing(1);
    registry.revoke(&cap, first, world::now_ms() + DAY_MS, clock);
    ids.emitted<releases::ReleaseRevoked>(goldens::releases_release_revoked());
    registry.set_minimum(&cap, second, world::now_ms() + 2 * DAY_MS, clock);
    ids.emitted<releases::MinimumReleaseChanged>(goldens::releases_minimum_release_changed());
    ids.shows(&registry, goldens::releases_release_registry());
    registry.lower_minimum(pool, admin, first);
    ids.emitted<releases::MinimumReleaseLowered>(goldens::releases_minimum_release_lowered());
    clock.increment_for_testing(DAY_MS);
    registry.remove(&cap, first, clock);
    ids.emitted<releases::ReleaseRemoved>(goldens::releases_release_removed());
    destroy(cap);
    destroy(registry);
    world.end();
}

#[test]
fun rewards_of_an_epoch() {
    let mut world = world::begin();
    let mut config = world.config();
    let enclave = world.master(&mut config);
    let (pool, admin, _, clock, ctx) = world.parts();
    rewards::new_vault(pool, admin, 7, DAY_MS, 90 * DAY_MS, sui(1), clock, ctx);
    let created = event::events_by_type<rewards::VaultCreated>();
    world.act_as(account(NODE));
    let record = world.stake_for(b"edge-0001".to_string(), key(NODE), BENEFICIARY, sui(2));
    let mut vault = world.scenario().take_shared<Vault>();
    let ids = ids().of(world.pool(), 0x22).of(&enclave, 0xbb).of(&record, 0x11).of(&vault, 0xfa);
    ids.shows(&created[0], goldens::rewards_vault_created());
    vault.fund(world.coins(sui(5)));
    ids.emitted<rewards::VaultFunded>(goldens::rewards_vault_funded());
    let (pool, admin, _, clock, _) = world.parts();
    vault.set_budget(pool, admin, sui(2), clock);
    ids.emitted<rewards::BudgetChanged>(goldens::rewards_budget_changed());
    ids.shows(&vault, goldens::rewards_vault());

    clock.set_for_testing((world::now_ms() / DAY_MS + 8) * DAY_MS);
    let now_ms = clock.timestamp_ms();
    let id = object::id(&vault);
    let message = rewards::root_message(&enclave, id, 0, digest(4), 10, 2, sui(1), now_ms);
    assert_eq!(ids.show(message), goldens::rewards_epoch_root());

    // the goldens' root stands for no tree: shown in the place of the real one
    let (root, proof) = rewards_world::two_leaves(id, object::id(&record), 4, 6);
    let ids = ids.with(address::from_bytes(root), 0x04);
    rewards_world::publish(&mut world, &mut vault, &config, &enclave, 0, root, 10, 2, sui(1));
    let published = event::events_by_type<rewards::RootPublished>();
    world.act_as(account(NODE));
    let mut epoch = world.scenario().take_shared<Epoch>();
    let ids = ids.of(&epoch, 0xfb);
    ids.shows(&published[0], goldens::rewards_root_published());
    ids.shows(&epoch, goldens::rewards_epoch());

    world.wait(DAY_MS);
    let (pool, _, _, clock, ctx) = world.parts();
    epoch.claim(pool, &record, 4, 0, proof, clock, ctx);
    ids.emitted<rewards::RewardPaid>(goldens::rewards_reward_paid());
    clock.increment_for_testing(90 * DAY_MS);
    vault.close(&mut epoch, clock);
    ids.emitted<rewards::EpochClosed>(goldens::rewards_epoch_closed());
    destroy(epoch);
    destroy(vault);
    destroy(record);
    destroy(enclave);
    destroy(config);
    world.end();
}

#[test]
fun a_void_epoch() {
    let mut stage = rewards_stage::stage(2);
    let mut epoch = stage.publish_tree(digest(5), 3, 2, sui(1));
    stage.object(&mut epoch, digest(4), 10, sui(1));
    let (_, _, _, second, vault) = stage.parts();
    let ids = ids().of(&epoch, 0xfb).of(second, 0xbb).of(vault, 0xfa);
    ids.emitted<rewards::EpochVoided>(goldens::rewards_epoch_voided());
    destroy(epoch);
    stage.end();
}
