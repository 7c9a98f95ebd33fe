/// Calls of the contracts as traces name them: whole numbers alone, so that sequences of them can be
/// written by a program, and carried out by the contracts and by their double.
///
/// There are two pools, each with what belongs to it; `swap` has the calls to come take an object of
/// the other one. A step begins a transaction of its sender, and makes one call. The checks of its
/// events come before `settle`, which ends the transaction and takes what it made; those of coins and
/// objects after.
#[test_only]
module k3s_daas::trace_stage;

use k3s_daas::{
    administration,
    beneficiary,
    enclave::{Self, EnclaveConfig, Enclave, EnclaveRegistered, RegistrarCap},
    k8s_gateway::{Self, MasterDirectory, SealToken},
    maintenance,
    node_key,
    pool::{Self, Pool, AdminCap, SlasherCap},
    releases::{Self, Image, ReleaseCap, ReleaseRegistry, ReleaseVersion},
    rewards::{Self, Vault, Epoch},
    shown::{Self, Ids},
    signer,
    slashing,
    staking::{Self, StakeRecord},
    trace_rewards::{Self, Rewards},
    treasury::Treasury,
    world::{Self, digest, pcr}
};
use std::{string::String, unit_test::{assert_eq, destroy}};
use sui::{
    bcs,
    clock::{Self, Clock},
    coin::{Self, Coin},
    event,
    hash::blake2b256,
    sui::SUI,
    test_scenario::{Self, Scenario}
};

const ADMIN: address = @0xAD;
const OWNER: address = @0xC01D;
const HEIR: address = @0xC02D;
const STRANGER: address = @0xBAD;
const REPORTER: address = @0x5EE;

/// Nodes and masters of a trace. The last node and the second master have keys on P-256.
const NODES: u64 = 4;
const MASTERS: u64 = 5;

/// What there is two of, by the number under which a trace names it.
const POOL: u64 = 0;
const TREASURY: u64 = 1;
const ADMIN_CAP: u64 = 2;
const SLASHER: u64 = 3;
const CONFIG: u64 = 4;
const REGISTRAR: u64 = 5;
const REGISTRY: u64 = 6;
const RELEASE_CAP: u64 = 7;
const DIRECTORY: u64 = 8;
const VAULT: u64 = 9;
const KINDS: u64 = 10;
/// And what else has a version.
const RECORD: u64 = 10;
const EPOCH: u64 = 12;

/// A name that is too long for a target or for phases, and one that is too long for a node.
const LONG: vector<u8> = b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
const LONG_ID: vector<u8> = b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

public struct Stage {
    scenario: Scenario,
    clock: Clock,
    pools: vector<Pool>,
    treasuries: vector<Treasury>,
    admins: vector<AdminCap>,
    slashers: vector<SlasherCap>,
    configs: vector<EnclaveConfig>,
    registrars: vector<RegistrarCap>,
    registries: vector<ReleaseRegistry>,
    release_caps: vector<ReleaseCap>,
    directories: vector<MasterDirectory>,
    /// Of each of them, the one that calls take.
    at: vector<u64>,
    records: vector<Option<StakeRecord>>,
    tokens: vector<Option<SealToken>>,
    enclaves: vector<Option<Enclave>>,
    rewards: Rewards,
    /// The node that staked, the node whose token, the master whose key and the epoch whose root the step
    /// made; none: `NODES`, `MASTERS`, `trace_rewards::epochs()`.
    staked: u64,
    issued: u64,
    registered: u64,
    published: u64,
    /// Whether the step made a vault.
    vaulted: bool,
    vault_number: u8,
    token_number: u8,
    slasher_number: u8,
    ids: Ids,
    /// Whether values are compared.
    compares: bool,
}

/// For a sequence that another test compares: calls are carried out alone.
public fun begin_without_comparing(): Stage {
    let mut stage = begin();
    stage.compares = false;
    stage
}

public fun begin(): Stage {
    let mut scenario = test_scenario::begin(ADMIN);
    let mut clock = clock::create_for_testing(scenario.ctx());
    clock.set_for_testing(world::now_ms());
    let mut stage = Stage {
        scenario,
        clock,
        pools: vector[],
        treasuries: vector[],
        admins: vector[],
        slashers: vector[],
        configs: vector[],
        registrars: vector[],
        registries: vector[],
        release_caps: vector[],
        directories: vector[],
        at: vector::tabulate!(KINDS, |_| 0),
        records: vector::tabulate!(NODES, |_| option::none()),
        tokens: vector::tabulate!(NODES, |_| option::none()),
        enclaves: vector::tabulate!(MASTERS, |_| option::none()),
        staked: NODES,
        issued: NODES,
        rewards: trace_rewards::none(),
        registered: MASTERS,
        published: trace_rewards::epochs(),
        vaulted: false,
        vault_number: 0,
        token_number: 0,
        slasher_number: 0,
        ids: shown::none(),
        compares: true,
    };
    stage.add_side(0);
    stage.add_side(0x40);
    stage.ids.add(signer::public_key(), 0x71);
    let pool = object::id(&stage.pools[0]);
    let records = vector::tabulate!(NODES, |node| staking::record_address(pool, key(node)).to_id());
    stage.rewards.know_records(records);
    stage
}

/// Makes a pool, and what belongs to it.
fun add_side(stage: &mut Stage, side: u8) {
    let Stage { scenario, clock, .. } = stage;
    pool::init_for_testing(scenario.ctx());
    scenario.next_tx(ADMIN);
    let pool: Pool = scenario.take_shared();
    let admin: AdminCap = scenario.take_from_sender();
    releases::new_registry(&pool, &admin, scenario.ctx());
    k8s_gateway::new_directory(&pool, &admin, scenario.ctx());
    enclave::new_config(
        &pool,
        &admin,
        pcr(0xa0),
        pcr(0xa1),
        pcr(0xa2),
        3_600_000,
        600_000,
        clock,
        scenario.ctx(),
    );
    trace_rewards::new_vault(&pool, &admin, clock, scenario.ctx());
    scenario.next_tx(ADMIN);
    let vault: Vault = scenario.take_shared();
    let treasury: Treasury = scenario.take_shared();
    let slasher: SlasherCap = scenario.take_from_sender();
    let mut config: EnclaveConfig = scenario.take_shared();
    let mut registry: ReleaseRegistry = scenario.take_shared();
    let directory: MasterDirectory = scenario.take_shared();
    let registrar = config.new_registrar_cap(&pool, &admin, clock, scenario.ctx());
    let release_cap = registry.new_release_cap(&pool, &admin, clock, scenario.ctx());
    stage.ids =
        stage
            .ids
            .of(&pool, side + 0x01)
            .of(&treasury, side + 0x02)
            .of(&slasher, side + 0x04)
            .of(&config, side + 0x05)
            .of(&directory, side + 0x06)
            .of(&registry, side + 0x07)
            .of(&registrar, side + 0x08)
            .of(&release_cap, side + 0x09)
            .of(&vault, side + 0x0a);
    stage.pools.push_back(pool);
    stage.treasuries.push_back(treasury);
    stage.admins.push_back(admin);
    stage.slashers.push_back(slasher);
    stage.configs.push_back(config);
    stage.registrars.push_back(registrar);
    stage.registries.push_back(registry);
    stage.release_caps.push_back(release_cap);
    stage.directories.push_back(directory);
    stage.rewards.add_vault(vault);
}

public fun end(stage: Stage) { destroy(stage) }

fun key(node: u64): vector<u8> {
    let byte = node as u8 + 1;
    if (node + 1 < NODES) return world::key(byte);
    let mut key = x"02";
    key.append(vector::tabulate!(33, |_| byte));
    key
}

fun sender(node: u64, who: u64): address {
    if (who == 0) node_key::account(&key(node))
    else if (who == 1) OWNER
    else if (who == 2) HEIR
    else if (who == 3) STRANGER
    else @0x0
}

fun act(stage: &mut Stage, node: u64, who: u64) { stage.scenario.next_tx(sender(node, who)); }

fun admin(stage: &mut Stage) { stage.scenario.next_tx(ADMIN); }

fun coins(stage: &mut Stage, amount: u64): Coin<SUI> {
    coin::mint_for_testing(amount, stage.scenario.ctx())
}

fun evidence(byte: u64): vector<u8> {
    if (byte == 0) vector[] else if (byte == 1) b"because"
    else digest(byte as u8)
}

fun release(patch: u64): ReleaseVersion { releases::release_version(0, 1, patch as u32) }

// --- steps without a call ---

public fun wait(stage: &mut Stage, ms: u64) {
    stage.admin();
    stage.clock.increment_for_testing(ms);
}

/// Everything is compared after it.
public fun look(stage: &mut Stage) { stage.admin(); }

/// Has the calls to come take the other pool's.
public fun swap(stage: &mut Stage, kind: u64) {
    stage.admin();
    *&mut stage.at[kind] = 1 - stage.at[kind];
}

/// Makes an object one of another version. An enclave's is set with a configuration's: the one that no
/// call takes.
public fun set_version(stage: &mut Stage, kind: u64, index: u64, version: u64) {
    stage.admin();
    let at = if (kind < KINDS) stage.at[kind] else 1 - stage.at[CONFIG];
    if (kind == POOL) stage.pools[at].set_version_for_testing(version)
    else if (kind == TREASURY) stage.treasuries[at].set_version_for_testing(version)
    else if (kind == REGISTRY) stage.registries[at].set_version_for_testing(version)
    else if (kind == DIRECTORY) stage.directories[at].set_version_for_testing(version)
    else if (kind == VAULT) stage.rewards.set_versions(at, index, version, 1)
    else if (kind == EPOCH) stage.rewards.set_versions(0, index, 1, version)
    else if (kind == RECORD) stage.records[index].borrow_mut().set_version_for_testing(version)
    else {
        let Stage { configs, enclaves, .. } = stage;
        configs[at].set_versions_for_testing(enclaves[index].borrow_mut(), version);
        // of the configuration alone
        if (kind == CONFIG)
            configs[1 - at].set_versions_for_testing(enclaves[index].borrow_mut(), 1);
    }
}

// --- steps of stakes ---

/// In one of several forms: 0 is as it should be.
public fun stake(stage: &mut Stage, node: u64, amount: u64, beneficiary: u64, form: u64) {
    stage.act(node, if (form == 2) 3 else 0);
    let payment = stage.coins(amount);
    let mut name = b"edge-000".to_string();
    name.append((node + 1).to_string());
    if (form == 3) name = b"".to_string();
    if (form == 4) name = LONG_ID.to_string();
    let node_key = if (form == 1) x"0102" else key(node);
    let Stage { scenario, clock, pools, at, .. } = stage;
    let record = staking::stake_for_node(
        &mut pools[at[POOL]],
        name,
        node_key,
        sender(node, beneficiary),
        payment,
        clock,
        scenario.ctx(),
    );
    stage.ids.add(bcs::to_bytes(&object::id(&record)), 0x10 + (node as u8));
    staking::share_stake(record);
    stage.staked = node;
}

public fun token(stage: &mut Stage, node: u64, who: u64) {
    stage.act(node, who);
    let Stage { scenario, clock, pools, at, records, .. } = stage;
    let record = records[node].borrow_mut();
    k8s_gateway::create_worker_seal_token(&pools[at[POOL]], record, clock, scenario.ctx());
    stage.number_token(node);
}

/// With the token of a node.
public fun renew(stage: &mut Stage, node: u64, other: u64) {
    stage.act(node, 0);
    let Stage { scenario, clock, pools, at, records, tokens, .. } = stage;
    let (record, token) = (records[node].borrow_mut(), tokens[other].extract());
    k8s_gateway::renew_worker_seal_token(&pools[at[POOL]], record, token, clock, scenario.ctx());
    stage.number_token(node);
}

fun number_token(stage: &mut Stage, node: u64) {
    let token = stage.records[node].borrow().seal_token().destroy_some();
    stage.token_number = stage.token_number + 1;
    stage.ids.add(bcs::to_bytes(&token), 0x7f + stage.token_number);
    stage.issued = node;
}

public fun burn(stage: &mut Stage, node: u64) {
    stage.act(node, 0);
    k8s_gateway::burn_seal_token(stage.tokens[node].extract());
}

public fun top_up(stage: &mut Stage, node: u64, amount: u64) {
    stage.act(node, 3);
    let payment = stage.coins(amount);
    let Stage { pools, at, records, .. } = stage;
    staking::top_up(&pools[at[POOL]], records[node].borrow_mut(), payment);
}

public fun slash(stage: &mut Stage, node: u64, basis_points: u64, proof: u64) {
    stage.admin();
    let Stage { clock, pools, treasuries, slashers, at, records, .. } = stage;
    staking::slash_stake(
        &pools[at[POOL]],
        &mut treasuries[at[TREASURY]],
        &slashers[at[SLASHER]],
        records[node].borrow_mut(),
        basis_points,
        7,
        evidence(proof),
        clock,
    );
}

/// By a master, `age` milliseconds ago or `ahead` from now.
public fun verdict(
    stage: &mut Stage,
    node: u64,
    reason: u64,
    proof: u64,
    rewarded: u64,
    nonce: u64,
    age: u64,
    ahead: u64,
    master: u64,
    broken: u64,
) {
    stage.act(node, 3);
    let Stage { scenario, clock, pools, treasuries, configs, at, enclaves, records, .. } = stage;
    let (enclave, record) = (enclaves[master].borrow(), records[node].borrow_mut());
    let pool = &pools[at[POOL]];
    let reporter = if (rewarded == 0) @0x0 else REPORTER;
    let time = clock.timestamp_ms() + ahead - age;
    let message = slashing::verdict_message(
        enclave,
        object::id(pool),
        object::id(record),
        reason as u16,
        evidence(proof),
        reporter,
        nonce,
        time,
    );
    let mut signature = if (master == 1) signer::p256_sign(&message) else signer::sign(&message);
    if (broken == 1) *&mut signature[40] = signature[40] ^ 1;
    slashing::slash_with_evidence(
        pool,
        &mut treasuries[at[TREASURY]],
        &configs[at[CONFIG]],
        enclave,
        record,
        reason as u16,
        evidence(proof),
        reporter,
        nonce,
        time,
        signature,
        clock,
        scenario.ctx(),
    );
}

public fun ask(stage: &mut Stage, node: u64, who: u64) {
    stage.act(node, who);
    let Stage { scenario, clock, pools, at, records, .. } = stage;
    let record = records[node].borrow_mut();
    k8s_gateway::request_unstake_without_token(&pools[at[POOL]], record, clock, scenario.ctx());
}

/// With the token of a node.
public fun ask_with_token(stage: &mut Stage, node: u64, other: u64) {
    stage.act(node, 0);
    let Stage { scenario, clock, pools, at, records, tokens, .. } = stage;
    let (record, token) = (records[node].borrow_mut(), tokens[other].extract());
    k8s_gateway::request_unstake(&pools[at[POOL]], record, token, clock, scenario.ctx());
}

public fun cancel(stage: &mut Stage, node: u64, who: u64) {
    stage.act(node, who);
    let Stage { scenario, clock, pools, at, records, .. } = stage;
    let record = records[node].borrow_mut();
    k8s_gateway::cancel_unstake(&pools[at[POOL]], record, clock, scenario.ctx());
}

public fun withdraw(stage: &mut Stage, node: u64, who: u64) {
    stage.act(node, who);
    let Stage { scenario, clock, pools, at, records, .. } = stage;
    let record = records[node].borrow_mut();
    staking::withdraw_stake(&pools[at[POOL]], record, clock, scenario.ctx());
}

public fun restake(stage: &mut Stage, node: u64, who: u64, amount: u64) {
    stage.act(node, who);
    let payment = stage.coins(amount);
    let Stage { scenario, clock, pools, at, records, .. } = stage;
    let record = records[node].borrow_mut();
    staking::restake(&pools[at[POOL]], record, payment, clock, scenario.ctx());
}

public fun set_beneficiary(stage: &mut Stage, node: u64, who: u64, other: u64) {
    stage.act(node, who);
    let Stage { scenario, clock, pools, at, records, .. } = stage;
    let (record, other) = (records[node].borrow_mut(), sender(node, other));
    beneficiary::set_beneficiary(&pools[at[POOL]], record, other, clock, scenario.ctx());
}

public fun begin_maintenance(stage: &mut Stage, node: u64, who: u64, length: u64) {
    stage.act(node, who);
    let Stage { scenario, clock, pools, at, records, .. } = stage;
    let (record, until_ms) = (records[node].borrow_mut(), clock.timestamp_ms() + length);
    maintenance::begin_maintenance(&pools[at[POOL]], record, until_ms, clock, scenario.ctx());
}

public fun end_maintenance(stage: &mut Stage, node: u64, who: u64) {
    stage.act(node, who);
    let Stage { scenario, clock, pools, at, records, .. } = stage;
    let record = records[node].borrow_mut();
    maintenance::end_maintenance(&pools[at[POOL]], record, clock, scenario.ctx());
}

// --- steps of the administrator ---

public fun open(stage: &mut Stage) {
    stage.admin();
    let Stage { pools, admins, at, .. } = stage;
    administration::open_pool(&mut pools[at[POOL]], &admins[at[ADMIN_CAP]]);
}

public fun set_minimum_stake(stage: &mut Stage, value: u64) {
    stage.admin();
    let Stage { clock, pools, admins, at, .. } = stage;
    let (pool, admin) = (&mut pools[at[POOL]], &admins[at[ADMIN_CAP]]);
    administration::set_minimum_stake(pool, admin, value, clock);
}

public fun set_unbonding(stage: &mut Stage, value: u64) {
    stage.admin();
    let Stage { clock, pools, admins, at, .. } = stage;
    administration::set_unbonding(&mut pools[at[POOL]], &admins[at[ADMIN_CAP]], value, clock);
}

public fun set_seal_token_lifetime(stage: &mut Stage, value: u64) {
    stage.admin();
    let Stage { pools, admins, at, .. } = stage;
    administration::set_seal_token_lifetime(&mut pools[at[POOL]], &admins[at[ADMIN_CAP]], value);
}

public fun set_reporter_share(stage: &mut Stage, value: u64) {
    stage.admin();
    let Stage { clock, pools, admins, at, .. } = stage;
    administration::set_reporter_share(&mut pools[at[POOL]], &admins[at[ADMIN_CAP]], value, clock);
}

public fun set_offence(stage: &mut Stage, reason: u64, share: u64, cap: u64, in_force: u64) {
    stage.admin();
    let Stage { clock, pools, admins, at, .. } = stage;
    let (pool, admin) = (&mut pools[at[POOL]], &admins[at[ADMIN_CAP]]);
    administration::set_offence(pool, admin, reason as u16, share, cap, in_force == 1, clock);
}

/// The administrator keeps what it is paid.
public fun withdraw_treasury(stage: &mut Stage, amount: u64) {
    stage.admin();
    let Stage { scenario, pools, treasuries, admins, at, .. } = stage;
    let paid = administration::withdraw_treasury(
        &pools[at[POOL]],
        &mut treasuries[at[TREASURY]],
        &admins[at[ADMIN_CAP]],
        amount,
        scenario.ctx(),
    );
    transfer::public_transfer(paid, scenario.ctx().sender());
}

/// The new capability slashes from now on, in place of the one that did.
public fun new_slasher(stage: &mut Stage) {
    stage.admin();
    let Stage { scenario, clock, pools, admins, slashers, at, slasher_number, ids, .. } = stage;
    let (pool, admin) = (&mut pools[at[POOL]], &admins[at[ADMIN_CAP]]);
    let slasher = administration::new_slasher_cap(pool, admin, clock, scenario.ctx());
    ids.add(bcs::to_bytes(&object::id(&slasher)), 0xd0 + *slasher_number);
    *slasher_number = *slasher_number + 1;
    // it takes the place of the one that is removed
    slashers.push_back(slasher);
    destroy(slashers.swap_remove(at[SLASHER]));
}

public fun revoke_slasher(stage: &mut Stage) {
    stage.admin();
    let Stage { pools, admins, slashers, at, .. } = stage;
    let (pool, admin) = (&mut pools[at[POOL]], &admins[at[ADMIN_CAP]]);
    administration::revoke_slasher_cap(pool, admin, object::id(&slashers[at[SLASHER]]));
}

// --- steps of masters ---

/// Of so many bytes.
public fun update_pcrs(stage: &mut Stage, byte: u64, length: u64) {
    stage.admin();
    let Stage { clock, pools, admins, configs, at, .. } = stage;
    let value = vector::tabulate!(length, |_| byte as u8);
    let (pool, admin) = (&pools[at[POOL]], &admins[at[ADMIN_CAP]]);
    configs[at[CONFIG]].update_pcrs(pool, admin, value, value, value, clock);
}

/// In one of several forms: 0 is as it should be.
public fun register(stage: &mut Stage, master: u64, form: u64) {
    stage.admin();
    let mut public_key = if (master == 0) signer::flagged_key()
    else if (master == 1) signer::p256_flagged_key()
    else world::key(0x80 + (master as u8));
    let (mut tls_key, mut evidence) = (digest(0x72), digest(0x73));
    if (form == 1) { public_key.pop_back(); };
    if (form == 2) { tls_key.pop_back(); };
    if (form == 3) { evidence.pop_back(); };
    let Stage { clock, pools, configs, registrars, at, .. } = stage;
    let (pool, registrar) = (&pools[at[POOL]], &registrars[at[REGISTRAR]]);
    configs[at[CONFIG]].register_by_capability(
        pool,
        registrar,
        public_key,
        tls_key,
        evidence,
        clock,
    );
    let events = event::events_by_type<EnclaveRegistered>();
    let bytes = bcs::to_bytes(&events[0]);
    let id = vector::tabulate!(32, |index| bytes[32 + index]);
    stage.ids.add(id, 0x30 + (master as u8));
    stage.registered = master;
}

public fun retire(stage: &mut Stage, master: u64) {
    stage.admin();
    let Stage { pools, admins, configs, at, enclaves, .. } = stage;
    let (pool, admin) = (&pools[at[POOL]], &admins[at[ADMIN_CAP]]);
    configs[at[CONFIG]].retire(pool, admin, enclaves[master].borrow_mut());
}

public fun set_minimum_config_version(stage: &mut Stage, minimum: u64, successor: u64) {
    stage.admin();
    let Stage { clock, pools, admins, configs, at, enclaves, .. } = stage;
    let (pool, admin) = (&pools[at[POOL]], &admins[at[ADMIN_CAP]]);
    let successor = enclaves[successor].borrow();
    configs[at[CONFIG]].set_minimum_config_version(pool, admin, minimum, successor, clock);
}

public fun revoke_registrar(stage: &mut Stage) {
    stage.admin();
    let Stage { pools, admins, configs, registrars, at, .. } = stage;
    let (pool, admin) = (&pools[at[POOL]], &admins[at[ADMIN_CAP]]);
    let registrar = object::id(&registrars[at[REGISTRAR]]);
    configs[at[CONFIG]].revoke_registrar_cap(pool, admin, registrar);
}

public fun list_master(stage: &mut Stage, master: u64, secure: u64) {
    stage.admin();
    let Stage { pools, admins, configs, directories, at, enclaves, .. } = stage;
    let (pool, admin) = (&pools[at[POOL]], &admins[at[ADMIN_CAP]]);
    let url = if (secure == 1) b"https://m.example.org" else b"http://m.example.org/";
    let (config, enclave) = (&configs[at[CONFIG]], enclaves[master].borrow());
    directories[at[DIRECTORY]].list_master(pool, admin, config, enclave, url.to_string());
}

public fun remove_master(stage: &mut Stage, master: u64) {
    stage.admin();
    let Stage { pools, admins, directories, at, enclaves, .. } = stage;
    let (pool, admin) = (&pools[at[POOL]], &admins[at[ADMIN_CAP]]);
    let enclave = object::id(enclaves[master].borrow());
    directories[at[DIRECTORY]].remove_master(pool, admin, enclave);
}

public fun remove_retired_master(stage: &mut Stage, master: u64) {
    stage.act(0, 3);
    let Stage { configs, directories, at, enclaves, .. } = stage;
    let (config, enclave) = (&configs[at[CONFIG]], enclaves[master].borrow());
    directories[at[DIRECTORY]].remove_retired_master(config, enclave);
}

// --- steps of releases ---

/// In one of several forms: 0 and 13 are as they should be.
fun image(target: vector<u8>, byte: u64, form: u64): Image {
    let byte = byte as u8;
    let first = if (form == 2) LONG
    else if (form == 6) b"boot"
    else b"";
    let mut pcr11 = vector[releases::phase_pcr(first.to_string(), digest(byte))];
    let more = if (form == 7) vector[b""] else if (form == 13) vector[b"boot"] else if (
        form == 15
    ) vector[b"a", b"b", b"c", b"d"] else vector[];
    more.do!(|phases| pcr11.push_back(releases::phase_pcr(phases.to_string(), digest(byte + 100))));
    let mut launch = vector[];
    let measurements = if (form == 5) 5u8 else 1;
    measurements.do!(|_| {
        launch.push_back(releases::launch_measurement(if (form == 4) 3 else 1, pcr(7)));
    });
    let target = if (form == 1) b"" else target;
    let architecture = if (form == 16) LONG else b"x86_64";
    let root_hash = digest(if (form == 3) 0 else 1);
    releases::image(target.to_string(), architecture.to_string(), root_hash, pcr11, launch)
}

/// A version with an image, and one more for the network where `byte` is even.
public fun approve(stage: &mut Stage, patch: u64, byte: u64, form: u64) {
    stage.admin();
    let mut images = vector[image(b"disk", byte, form)];
    if (form == 9) images.push_back(image(b"disk", byte + 1, form))
    else if (byte % 2 == 0) images.push_back(image(b"netboot", byte + 1, form));
    if (form == 8) images = vector[];
    let mut manifest = digest(3);
    if (form == 10) { manifest.pop_back(); };
    let mut place = b"https://r.example.org/";
    if (form == 11) place = b"http://r.example.org/";
    if (form == 14) { 236u8.do!(|_| place.push_back(120)); };
    let count = if (form == 12) 5u64 else 1;
    let places: vector<String> = vector::tabulate!(count, |_| place.to_string());
    let Stage { clock, registries, release_caps, at, .. } = stage;
    let cap = &release_caps[at[RELEASE_CAP]];
    registries[at[REGISTRY]].approve(cap, release(patch), images, manifest, places, clock);
}

public fun revoke(stage: &mut Stage, patch: u64, ahead: u64) {
    stage.admin();
    let Stage { clock, registries, release_caps, at, .. } = stage;
    let (cap, deadline) = (&release_caps[at[RELEASE_CAP]], clock.timestamp_ms() + ahead);
    registries[at[REGISTRY]].revoke(cap, release(patch), deadline, clock);
}

public fun set_minimum(stage: &mut Stage, patch: u64, ahead: u64) {
    stage.admin();
    let Stage { clock, registries, release_caps, at, .. } = stage;
    let (cap, deadline) = (&release_caps[at[RELEASE_CAP]], clock.timestamp_ms() + ahead);
    registries[at[REGISTRY]].set_minimum(cap, release(patch), deadline, clock);
}

public fun lower_minimum(stage: &mut Stage, patch: u64) {
    stage.admin();
    let Stage { pools, admins, registries, at, .. } = stage;
    let (pool, admin) = (&pools[at[POOL]], &admins[at[ADMIN_CAP]]);
    registries[at[REGISTRY]].lower_minimum(pool, admin, release(patch));
}

public fun remove(stage: &mut Stage, patch: u64) {
    stage.admin();
    let Stage { clock, registries, release_caps, at, .. } = stage;
    registries[at[REGISTRY]].remove(&release_caps[at[RELEASE_CAP]], release(patch), clock);
}

public fun revoke_release_cap(stage: &mut Stage) {
    stage.admin();
    let Stage { pools, admins, registries, release_caps, at, .. } = stage;
    let (pool, admin) = (&pools[at[POOL]], &admins[at[ADMIN_CAP]]);
    let cap = object::id(&release_caps[at[RELEASE_CAP]]);
    registries[at[REGISTRY]].revoke_release_cap(pool, admin, cap);
}

// --- steps of rewards ---

public fun new_vault(stage: &mut Stage, days: u64, objection: u64, claim: u64, budget: u64) {
    stage.admin();
    let Stage { scenario, clock, pools, admins, at, .. } = stage;
    let (pool, admin) = (&pools[at[POOL]], &admins[at[ADMIN_CAP]]);
    rewards::new_vault(pool, admin, days, objection, claim, budget, clock, scenario.ctx());
    let events = event::events_by_type<rewards::VaultCreated>();
    let bytes = bcs::to_bytes(&events[0]);
    stage.ids.add(vector::tabulate!(32, |index| bytes[index]), 0x18 + stage.vault_number);
    stage.vault_number = stage.vault_number + 1;
    stage.vaulted = true;
}

public fun fund(stage: &mut Stage, amount: u64) {
    stage.act(0, 3);
    let payment = stage.coins(amount);
    stage.rewards.fund(stage.at[VAULT], payment);
}

public fun set_budget(stage: &mut Stage, budget: u64) {
    stage.admin();
    let Stage { clock, pools, admins, at, rewards, .. } = stage;
    rewards.set_budget(at[VAULT], &pools[at[POOL]], &admins[at[ADMIN_CAP]], budget, clock);
}

/// To a place of the trace's, the root of an epoch by its number.
public fun publish(
    stage: &mut Stage,
    slot: u64,
    number: u64,
    tree: u64,
    budget: u64,
    age: u64,
    master: u64,
    broken: u64,
) {
    stage.act(0, 3);
    let Stage { clock, configs, at, enclaves, rewards, .. } = stage;
    let (config, enclave) = (&configs[at[CONFIG]], enclaves[master].borrow());
    let side = at[VAULT];
    rewards.publish(
        side,
        config,
        enclave,
        slot,
        number,
        tree,
        budget,
        age,
        master,
        broken,
        clock,
    );
    let epoch = rewards::epoch_address(object::id(rewards.vault(side)), number);
    stage.ids.add(bcs::to_bytes(&epoch), 0x20 + (slot as u8));
    stage.published = slot;
    stage.show_root(slot, tree);
}

public fun object(
    stage: &mut Stage,
    slot: u64,
    tree: u64,
    budget: u64,
    age: u64,
    master: u64,
    broken: u64,
) {
    stage.act(0, 3);
    let Stage { clock, configs, at, enclaves, rewards, .. } = stage;
    let (config, enclave) = (&configs[at[CONFIG]], enclaves[master].borrow());
    rewards.object(at[VAULT], config, enclave, slot, tree, budget, age, master, broken, clock);
    stage.show_root(slot, tree);
}

fun show_root(stage: &mut Stage, slot: u64, tree: u64) {
    let root = stage.rewards.root(slot, tree);
    stage.ids.add(root, 0x60 + (tree as u8));
}

public fun object_by_admin(stage: &mut Stage, slot: u64) {
    stage.admin();
    let Stage { clock, pools, admins, at, rewards, .. } = stage;
    rewards.object_by_admin(at[VAULT], slot, &pools[at[POOL]], &admins[at[ADMIN_CAP]], clock);
}

public fun claim(stage: &mut Stage, slot: u64, node: u64, tree: u64, form: u64) {
    stage.act(0, 3);
    let Stage { scenario, clock, pools, at, records, rewards, .. } = stage;
    let (pool, record) = (&pools[at[POOL]], records[node].borrow());
    rewards.claim(slot, pool, record, node, tree, form, clock, scenario.ctx());
}

public fun close(stage: &mut Stage, slot: u64) {
    stage.act(0, 3);
    let Stage { clock, at, rewards, .. } = stage;
    rewards.close(at[VAULT], slot, clock);
}

// --- checks ---

/// So many events in all.
public fun events(count: u64) { assert_eq!(event::num_events() as u64, count); }

/// An event of its type.
public fun shows_event<T: copy + drop>(stage: &Stage, index: u64, expected: vector<u8>) {
    if (stage.compares) stage.ids.shows(&event::events_by_type<T>()[index], expected);
}

/// Ends the step's transaction, which gave accounts so many objects and shared so many, and takes what
/// it made out of the scenario.
public fun settle(stage: &mut Stage, given: u64, shared: u64) {
    let effects = stage.scenario.next_tx(ADMIN);
    assert_eq!(effects.transferred_to_account().length(), given);
    assert_eq!(effects.shared().length(), shared);
    if (stage.vaulted) {
        stage.vaulted = false;
        stage.rewards.put_vault(stage.at[VAULT], stage.scenario.take_shared());
    };
    if (stage.published < trace_rewards::epochs()) {
        stage.rewards.put_epoch(stage.published, stage.scenario.take_shared<Epoch>());
        stage.published = trace_rewards::epochs();
    };
    let Stage { scenario, records, tokens, enclaves, .. } = stage;
    if (stage.issued < NODES) {
        let node = stage.issued;
        stage.issued = NODES;
        let token = scenario.take_from_address<SealToken>(sender(node, 0));
        // an older one that was not burnt counts for nothing
        if (tokens[node].is_some()) destroy(tokens[node].extract());
        tokens[node].fill(token);
    };
    if (stage.staked < NODES) {
        records[stage.staked].fill(scenario.take_shared());
        stage.staked = NODES;
    };
    if (stage.registered < MASTERS) {
        enclaves[stage.registered].fill(scenario.take_shared());
        stage.registered = MASTERS;
    };
}

/// The step paid an account one coin of this amount.
public fun pays(stage: &mut Stage, account: address, amount: u64) {
    let coin = stage.scenario.take_from_address<Coin<SUI>>(account);
    assert_eq!(coin.burn_for_testing(), amount);
}

/// An object's bytes; where they are many, their BLAKE2b-256.
fun shows<T>(stage: &Stage, value: &T, expected: vector<u8>) {
    if (!stage.compares) return;
    let bytes = stage.ids.show(bcs::to_bytes(value));
    if (expected.length() == 32) assert_eq!(blake2b256(&bytes), expected)
    else assert_eq!(bytes, expected);
}

public fun shows_record(stage: &Stage, node: u64, expected: vector<u8>) {
    stage.shows(stage.records[node].borrow(), expected);
}

public fun shows_token(stage: &Stage, node: u64, expected: vector<u8>) {
    stage.shows(stage.tokens[node].borrow(), expected);
}

public fun shows_enclave(stage: &Stage, master: u64, expected: vector<u8>) {
    stage.shows(stage.enclaves[master].borrow(), expected);
}

public fun shows_pool(stage: &Stage, expected: vector<u8>) {
    stage.shows(&stage.pools[stage.at[POOL]], expected);
}

public fun shows_treasury(stage: &Stage, expected: vector<u8>) {
    stage.shows(&stage.treasuries[stage.at[TREASURY]], expected);
}

public fun shows_slasher(stage: &Stage, expected: vector<u8>) {
    stage.shows(&stage.slashers[stage.at[SLASHER]], expected);
}

public fun shows_config(stage: &Stage, expected: vector<u8>) {
    stage.shows(&stage.configs[stage.at[CONFIG]], expected);
}

public fun shows_registry(stage: &Stage, expected: vector<u8>) {
    stage.shows(&stage.registries[stage.at[REGISTRY]], expected);
}

public fun shows_directory(stage: &Stage, expected: vector<u8>) {
    stage.shows(&stage.directories[stage.at[DIRECTORY]], expected);
}

public fun shows_vault(stage: &Stage, expected: vector<u8>) {
    stage.shows(stage.rewards.vault(stage.at[VAULT]), expected);
}

public fun shows_epoch(stage: &Stage, slot: u64, expected: vector<u8>) {
    stage.shows(stage.rewards.epoch(slot), expected);
}
