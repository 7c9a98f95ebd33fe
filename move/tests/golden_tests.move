/// Every struct and event that others decode, brought about by real calls, is written as
/// goldens.json says. Ids that a test can't choose are shown as the goldens' ids.
#[test_only]
module k3s_daas::golden_tests;

use k3s_daas::{
    administration,
    authority::{CapabilityIssued, CapabilityRevoked},
    delegation,
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
    releases::{Self, ReleaseRegistry},
    slashing,
    staking,
    version::Migrated,
    world::{Self, World, account, digest, key, pcr, sui}
};
use std::unit_test::{assert_eq, destroy};
use sui::{bcs, event, test_scenario};

/// The node of the goldens.
const NODE: u8 = 0x77;
const DAY_MS: u64 = 86_400_000;

/// Which bytes stand for which.
public struct Ids has copy, drop { actual: vector<vector<u8>>, shown: vector<vector<u8>> }

fun ids(): Ids {
    Ids { actual: vector[], shown: vector[] }
        .with(account(NODE), 0x33)
        .with(world::admin_address(), 0x99)
}

fun with(mut ids: Ids, actual: address, byte: u8): Ids {
    ids.actual.push_back(bcs::to_bytes(&actual));
    ids.shown.push_back(digest(byte));
    ids
}

fun of<T: key>(ids: Ids, object: &T, byte: u8): Ids { ids.with(object::id_address(object), byte) }

fun show(ids: &Ids, bytes: vector<u8>): vector<u8> {
    let mut shown = vector[];
    let mut start = 0;
    while (start < bytes.length()) {
        let found = ids.actual.find_index!(|id| starts_with(&bytes, start, id));
        if (found.is_some()) {
            shown.append(ids.shown[found.destroy_some()]);
            start = start + 32;
        } else {
            shown.push_back(bytes[start]);
            start = start + 1;
        }
    };
    shown
}

fun starts_with(bytes: &vector<u8>, start: u64, part: &vector<u8>): bool {
    if (start + part.length() > bytes.length()) return false;
    let mut index = 0;
    while (index < part.length() && bytes[start + index] == part[index]) index = index + 1;
    index == part.length()
}

fun shows<T>(ids: &Ids, value: &T, golden: vector<u8>) {
    assert_eq!(ids.show(bcs::to_bytes(value)), golden);
}

/// The last event of its type in this transaction.
fun emitted<T: copy + drop>(ids: &Ids, golden: vector<u8>) {
    let events = event::events_by_type<T>();
    ids.shows(&events[events.length() - 1], golden);
}

fun staked(): (World, staking::StakeRecord, Ids) {
    let mut world = world::begin();
    world.act_as(account(NODE));
    let record = world.stake_as(b"edge-0001".to_string(), key(NODE), 1_500_000_000);
    let ids = ids().of(world.pool(), 0x22).of(&record, 0x11);
    (world, record, ids)
}

#[test]
fun the_publisher_gets_the_capabilities() {
    let mut scenario = test_scenario::begin(world::admin_address());
    staking::init_for_testing(scenario.ctx());
    let events = event::events_by_type<staking::PoolCreated>();
    scenario.next_tx(world::admin_address());
    let pool = scenario.take_shared<staking::Pool>();
    let admin = scenario.take_from_sender<staking::AdminCap>();
    let slasher = scenario.take_from_sender<staking::SlasherCap>();
    let ids = ids().of(&pool, 0x22).of(&admin, 0x66).of(&slasher, 0x55);
    ids.shows(&events[0], goldens::staking_pool_created());
    ids.shows(&admin, goldens::staking_admin_cap());
    ids.shows(&slasher, goldens::staking_slasher_cap());
    destroy(pool);
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
    let (pool, _, slasher, clock, _) = world.parts();
    pool.slash_stake(slasher, &mut record, 2_500, 7, digest(0xee), clock);
    ids.emitted<staking::Slashed>(goldens::staking_slashed());
    // the table's id stands before the pool's last eight bytes
    let bytes = bcs::to_bytes(world.pool());
    let end = bytes.length() - 8;
    let names = vector::tabulate!(32, |index| bytes[end - 32 + index]);
    let with_names = ids.with(sui::address::from_bytes(names), 0x88);
    with_names.shows(world.pool(), goldens::staking_pool());

    world.wait(1_000);
    world.ask_back_with(&mut record, token);
    ids.emitted<SealTokenBurnt>(goldens::k8s_gateway_seal_token_burnt());
    ids.emitted<staking::UnstakeRequested>(goldens::staking_unstake_requested());
    ids.shows(&record, goldens::staking_stake_record_unbonding());
    world.cancel(&mut record);
    ids.emitted<staking::UnstakeCancelled>(goldens::staking_unstake_cancelled());

    world.ask_back(&mut record);
    world.wait(7 * DAY_MS);
    world.withdraw(&mut record);
    ids.emitted<staking::Withdrawn>(goldens::staking_withdrawn());
    ids.shows(&record, goldens::staking_stake_record_withdrawn());
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
    let (pool, admin, _, _, _) = world.parts();
    administration::release_name(pool, admin, &record);
    ids.emitted<administration::NameReleased>(goldens::administration_name_released());
    destroy(record);
    world.end();
}

#[test]
fun an_administrators_events() {
    let (mut world, mut record, ids) = staked();
    world.top_up(&mut record, 500_000_000);
    world.slash(&mut record, 2_500);
    world.take_treasury(100_000_000);
    ids.emitted<administration::TreasuryWithdrawn>(goldens::administration_treasury_withdrawn());
    let (pool, admin, _, _, _) = world.parts();
    administration::set_minimum_stake(pool, admin, sui(2));
    ids.emitted<administration::RulesChanged>(goldens::administration_rules_changed());
    pool.set_versions_for_testing(&mut record, 0, 1);
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
    config.register_by_capability(&cap, digest(0x71), digest(0x72), world.clock());
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
        2_500,
        7,
        digest(0xee),
        sui::address::from_bytes(digest(0xfe)),
        5,
        world::now_ms(),
    );
    assert_eq!(ids.show(verdict), goldens::enclave_intent_message());
    let name = b"edge-0001".to_string();
    let proof = delegation::proof_message(pool, account(NODE), name, key(NODE));
    assert_eq!(ids.show(proof), goldens::delegation_stake_proof());
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
    registry.approve(&cap, second, digest(1), digest(2), vector[], clock);
    let launch = vector[releases::launch_measurement(0, pcr(7))];
    registry.approve(&cap, first, digest(1), digest(2), launch, clock);
    ids.emitted<releases::ReleaseApproved>(goldens::releases_release_approved());
    clock.increment_for_testing(1);
    registry.revoke(&cap, first, clock);
    ids.emitted<releases::ReleaseRevoked>(goldens::releases_release_revoked());
    registry.set_minimum(&cap, second);
    ids.emitted<releases::MinimumReleaseChanged>(goldens::releases_minimum_release_changed());
    ids.shows(&registry, goldens::releases_release_registry());
    registry.remove(&cap, first);
    ids.emitted<releases::ReleaseRemoved>(goldens::releases_release_removed());
    destroy(cap);
    destroy(registry);
    world.end();
}
