/// Seal tokens, and the directory of masters.
#[test_only]
module k3s_daas::gateway_tests;

use k3s_daas::{
    enclave::{Self, EnclaveConfig, Enclave},
    k8s_gateway::{Self, MasterDirectory, SealToken},
    staking::{Self, StakeRecord},
    version,
    world::{Self, World, account, sui}
};
use std::unit_test::{assert_eq, destroy};

const DAY_MS: u64 = 86_400_000;

fun staked(): (World, StakeRecord) {
    let mut world = world::begin();
    let record = world.stake(1, sui(5));
    (world, record)
}

fun with_token(): (World, StakeRecord, SealToken) {
    let (mut world, mut record) = staked();
    let token = world.token(1, &mut record);
    (world, record, token)
}

#[test]
fun stake_and_token_come_from_one_transaction() {
    let mut world = world::begin();
    let mut record = world.stake(1, sui(5));
    world.issue_token(&mut record);
    let id = object::id(&record);
    staking::share_stake(record);
    let effects = world.scenario().next_tx(account(1));
    assert!(effects.shared().contains(&id));
    let token = world.scenario().take_from_sender<SealToken>();
    let record = world.scenario().take_shared_by_id<StakeRecord>(id);
    assert!(world.counts(&record, &token));
    destroy(token);
    destroy(record);
    world.end();
}

#[test]
fun a_token_counts_until_it_expires() {
    let (mut world, record, token) = with_token();
    world.wait(30 * DAY_MS - 1);
    assert!(world.counts(&record, &token));
    world.wait(1);
    assert!(!world.counts(&record, &token));
    destroy(token);
    destroy(record);
    world.end();
}

#[test]
fun an_expired_token_is_renewed() {
    let (mut world, mut record, token) = with_token();
    world.wait(31 * DAY_MS);
    world.renew(&mut record, token);
    world.act_as(account(1));
    let token = world.scenario().take_from_sender<SealToken>();
    assert!(world.counts(&record, &token));
    destroy(token);
    destroy(record);
    world.end();
}

#[test]
fun a_newer_token_makes_the_older_worthless() {
    let (mut world, mut record, old) = with_token();
    let new = world.token(1, &mut record);
    assert!(!world.counts(&record, &old) && world.counts(&record, &new));
    old.burn_seal_token();
    new.burn_seal_token();
    destroy(record);
    world.end();
}

#[test]
fun a_token_is_worth_what_its_record_is() {
    let (mut world, mut record, token) = with_token();
    // below the minimum, and topped up
    world.slash(&mut record, 9_000);
    assert!(!world.counts(&record, &token));
    world.top_up(&mut record, sui(1));
    assert!(world.counts(&record, &token));
    // slashed
    world.slash(&mut record, 10_000);
    assert!(!world.counts(&record, &token));
    destroy(token);
    destroy(record);
    world.end();
}

#[test]
fun unstaking_burns_the_token() {
    let (mut world, mut record, token) = with_token();
    world.ask_back_with(&mut record, token);
    assert_eq!(record.seal_token(), option::none());
    destroy(record);
    world.end();
}

#[test]
fun a_lost_token_does_not_lock_the_stake_and_comes_back_worthless() {
    let (mut world, mut record, token) = with_token();
    world.ask_back(&mut record);
    world.cancel(&mut record);
    assert!(record.is_active() && !world.counts(&record, &token));
    let new = world.token(1, &mut record);
    assert!(world.counts(&record, &new));
    destroy(token);
    destroy(new);
    destroy(record);
    world.end();
}

#[test]
fun a_token_of_another_record_does_not_count() {
    let (mut world, mut record, token) = with_token();
    let mut other = world.stake(2, sui(5));
    let other_token = world.token(2, &mut other);
    assert!(!world.counts(&record, &other_token));
    assert!(!world.counts(&other, &token));
    let (other_pool, _admin, _slasher) = world.other();
    assert!(!k8s_gateway::is_valid(&other_pool, &record, &token, world.clock()));
    world.slash(&mut record, 1);
    destroy(_admin);
    destroy(_slasher);
    destroy(other_pool);
    destroy(token);
    destroy(other_token);
    destroy(record);
    destroy(other);
    world.end();
}

#[test, expected_failure(abort_code = k8s_gateway::ENotStaker)]
fun only_the_staker_takes_a_token() {
    let (mut world, mut record) = staked();
    world.act_as(account(2));
    world.issue_token(&mut record);
    abort
}

#[test, expected_failure(abort_code = k8s_gateway::ERecordNotActive)]
fun an_unbonding_stake_gets_no_token() {
    let (mut world, mut record) = staked();
    world.ask_back(&mut record);
    world.issue_token(&mut record);
    abort
}

#[test, expected_failure(abort_code = k8s_gateway::ERecordNotActive)]
fun a_slashed_stake_gets_no_token() {
    let (mut world, mut record) = staked();
    world.slash(&mut record, 10_000);
    world.issue_token(&mut record);
    abort
}

#[test, expected_failure(abort_code = k8s_gateway::EBelowMinimumStake)]
fun too_small_a_stake_gets_no_token() {
    let (mut world, mut record) = staked();
    world.slash(&mut record, 9_000);
    world.issue_token(&mut record);
    abort
}

#[test, expected_failure(abort_code = staking::EWrongPool)]
fun another_pool_gives_no_token() {
    let (mut world, mut record) = staked();
    let (pool, _admin, _slasher) = world.other();
    world.act_as(account(1));
    let (_, _, _, clock, ctx) = world.parts();
    k8s_gateway::create_worker_seal_token(&pool, &mut record, clock, ctx);
    abort
}

#[test, expected_failure(abort_code = k8s_gateway::EWrongRecord)]
fun another_records_token_is_not_renewed() {
    let (mut world, record, token) = with_token();
    destroy(record);
    let mut other = world.stake(2, sui(5));
    world.renew(&mut other, token);
    abort
}

#[test, expected_failure(abort_code = k8s_gateway::EWrongRecord)]
fun another_records_token_does_not_unstake() {
    let (mut world, record, token) = with_token();
    destroy(record);
    let mut other = world.stake(2, sui(5));
    world.ask_back_with(&mut other, token);
    abort
}

#[test, expected_failure(abort_code = k8s_gateway::ESupersededToken)]
fun an_older_token_does_not_unstake() {
    let (mut world, mut record, old) = with_token();
    destroy(world.token(1, &mut record));
    world.ask_back_with(&mut record, old);
    abort
}

// --- masters ---

fun directory(): (World, MasterDirectory, EnclaveConfig, Enclave) {
    let mut world = world::begin();
    let mut config = world.config();
    let enclave = world.master(&mut config);
    let (pool, admin, _, _, ctx) = world.parts();
    k8s_gateway::new_directory(pool, admin, ctx);
    world.act_as(world::admin_address());
    let directory = world.scenario().take_shared();
    (world, directory, config, enclave)
}

fun list(
    world: &mut World,
    directory: &mut MasterDirectory,
    config: &EnclaveConfig,
    enclave: &Enclave,
    url: vector<u8>,
) {
    let (pool, admin, _, _, _) = world.parts();
    directory.list_master(pool, admin, config, enclave, url.to_string());
}

fun discard(directory: MasterDirectory, config: EnclaveConfig, enclave: Enclave, world: World) {
    destroy(directory);
    destroy(config);
    destroy(enclave);
    world.end();
}

#[test]
fun a_worker_finds_the_masters() {
    let (mut world, mut directory, config, enclave) = directory();
    assert!(directory.get_nautilus_info_for_worker().is_empty());
    list(&mut world, &mut directory, &config, &enclave, b"https://m.example.org:8443");
    assert_eq!(directory.get_nautilus_info_for_worker().length(), 1);
    let (pool, admin, _, _, _) = world.parts();
    directory.remove_master(pool, admin, object::id(&enclave));
    assert!(directory.get_nautilus_info_for_worker().is_empty());
    discard(directory, config, enclave, world);
}

#[test]
fun anybody_removes_a_retired_master() {
    let (mut world, mut directory, config, mut enclave) = directory();
    list(&mut world, &mut directory, &config, &enclave, b"https://m.example.org:8443");
    let (pool, admin, _, _, _) = world.parts();
    config.retire(pool, admin, &mut enclave);
    world.act_as(account(1));
    directory.remove_retired_master(&config, &enclave);
    assert!(directory.get_nautilus_info_for_worker().is_empty());
    discard(directory, config, enclave, world);
}

#[test, expected_failure(abort_code = k8s_gateway::EStillCurrent)]
fun nobody_else_removes_a_current_master() {
    let (mut world, mut directory, config, enclave) = directory();
    list(&mut world, &mut directory, &config, &enclave, b"https://m.example.org:8443");
    directory.remove_retired_master(&config, &enclave);
    abort
}

#[test, expected_failure(abort_code = k8s_gateway::ENotListed)]
fun an_unlisted_master_is_not_removed() {
    let (mut world, mut directory, _config, enclave) = directory();
    let (pool, admin, _, _, _) = world.parts();
    directory.remove_master(pool, admin, object::id(&enclave));
    abort
}

#[test, expected_failure(abort_code = k8s_gateway::EAlreadyListed)]
fun a_master_is_listed_once() {
    let (mut world, mut directory, config, enclave) = directory();
    list(&mut world, &mut directory, &config, &enclave, b"https://m.example.org:8443");
    list(&mut world, &mut directory, &config, &enclave, b"https://n.example.org:8443");
    abort
}

#[test, expected_failure(abort_code = k8s_gateway::EInvalidUrl)]
fun a_master_speaks_https() {
    let (mut world, mut directory, config, enclave) = directory();
    list(&mut world, &mut directory, &config, &enclave, b"http://m.example.org:8443/");
    abort
}

#[test, expected_failure(abort_code = k8s_gateway::EInvalidUrl)]
fun an_endless_url_is_refused() {
    let (mut world, mut directory, config, enclave) = directory();
    let mut url = b"https://";
    url.append(vector::tabulate!(249, |_| 97));
    list(&mut world, &mut directory, &config, &enclave, url);
    abort
}

#[test, expected_failure(abort_code = enclave::ERetired)]
fun a_retired_master_is_not_listed() {
    let (mut world, mut directory, config, mut enclave) = directory();
    let (pool, admin, _, _, _) = world.parts();
    config.retire(pool, admin, &mut enclave);
    list(&mut world, &mut directory, &config, &enclave, b"https://m.example.org:8443");
    abort
}

#[test, expected_failure(abort_code = k8s_gateway::ETooManyMasters)]
fun a_directory_can_always_be_read_whole() {
    let (mut world, mut directory, mut config, _enclave) = directory();
    let cap = world.registrar(&mut config);
    65u8.do!(|index| {
        config.register_by_capability(
            world.pool(),
            &cap,
            world::key(index + 1),
            world::digest(9),
            world::digest(8),
            world.clock(),
        );
        world.act_as(world::admin_address());
        let enclave = world.scenario().take_shared<Enclave>();
        list(&mut world, &mut directory, &config, &enclave, b"https://m.example.org:8443");
        destroy(enclave);
    });
    abort
}

#[test, expected_failure(abort_code = k8s_gateway::EWrongPool)]
fun another_pools_administrator_lists_nothing() {
    let (mut world, mut directory, config, enclave) = directory();
    let (pool, admin, _slasher) = world.other();
    let url = b"https://m.example.org:8443".to_string();
    directory.list_master(&pool, &admin, &config, &enclave, url);
    abort
}

#[test, expected_failure(abort_code = version::EWrongVersion)]
fun a_directory_of_another_version_is_refused() {
    let (mut world, mut directory, config, enclave) = directory();
    directory.set_version_for_testing(version::current() + 1);
    list(&mut world, &mut directory, &config, &enclave, b"https://m.example.org:8443");
    abort
}

#[test]
fun a_directory_is_migrated() {
    let (mut world, mut directory, config, enclave) = directory();
    directory.set_version_for_testing(version::current() - 1);
    directory.migrate(world.pool());
    list(&mut world, &mut directory, &config, &enclave, b"https://m.example.org:8443");
    discard(directory, config, enclave, world);
}
