/// Calls of the contracts as traces name them: whole numbers alone, so that sequences of them can be
/// written by a program, and carried out by the contracts and by their double.
///
/// A step begins a transaction of its sender, and makes one call. The checks of its events come before
/// `settle`, which takes what it made; those of objects after.
#[test_only]
module k3s_daas::trace_stage;

use k3s_daas::{
    administration,
    beneficiary,
    enclave::{EnclaveConfig, Enclave, EnclaveRegistered, RegistrarCap},
    k8s_gateway::{Self, MasterDirectory, SealToken},
    maintenance,
    releases::{Self, Image, ReleaseCap, ReleaseRegistry, ReleaseVersion},
    shown::{Self, Ids},
    signer,
    slashing,
    staking::{Self, StakeRecord},
    world::{Self, World, account, digest, key, name, pcr}
};
use std::unit_test::{assert_eq, destroy};
use sui::{bcs, event};

const OWNER: address = @0xC01D;
const HEIR: address = @0xC02D;
const STRANGER: address = @0xBAD;
const REPORTER: address = @0x5EE;

/// Nodes and masters of a trace.
const NODES: u64 = 4;
const MASTERS: u64 = 3;

public struct Stage {
    world: World,
    config: EnclaveConfig,
    registrar: RegistrarCap,
    registry: ReleaseRegistry,
    release_cap: ReleaseCap,
    directory: MasterDirectory,
    records: vector<Option<StakeRecord>>,
    tokens: vector<Option<SealToken>>,
    enclaves: vector<Option<Enclave>>,
    /// The node whose token, and the master whose key, the step made; none: `NODES`, `MASTERS`.
    issued: u64,
    registered: u64,
    token_number: u8,
    ids: Ids,
}

public fun begin(): Stage {
    let mut world = world::begin();
    let mut config = world.config();
    let registrar = world.registrar(&mut config);
    let (pool, admin, _, _, ctx) = world.parts();
    releases::new_registry(pool, admin, ctx);
    k8s_gateway::new_directory(pool, admin, ctx);
    world.act_as(world::admin_address());
    let mut registry = world.scenario().take_shared<ReleaseRegistry>();
    let directory = world.scenario().take_shared<MasterDirectory>();
    let (pool, admin, _, clock, ctx) = world.parts();
    let release_cap = registry.new_release_cap(pool, admin, clock, ctx);
    let mut ids = shown::none()
        .of(pool, 0x01)
        .of(world.treasury(), 0x02)
        .of(&config, 0x05)
        .of(&directory, 0x06)
        .of(&registry, 0x07)
        .of(&registrar, 0x08)
        .of(&release_cap, 0x09);
    ids.add(signer::public_key(), 0x71);
    Stage {
        world,
        config,
        registrar,
        registry,
        release_cap,
        directory,
        records: vector::tabulate!(NODES, |_| option::none()),
        tokens: vector::tabulate!(NODES, |_| option::none()),
        enclaves: vector::tabulate!(MASTERS, |_| option::none()),
        issued: NODES,
        registered: MASTERS,
        token_number: 0,
        ids,
    }
}

public fun end(stage: Stage) { destroy(stage) }

fun sender(node: u64, who: u64): address {
    if (who == 0) account(node as u8 + 1)
    else if (who == 1) OWNER
    else if (who == 2) HEIR
    else if (who == 3) STRANGER
    else @0x0
}

fun act(stage: &mut Stage, node: u64, who: u64) { stage.world.act_as(sender(node, who)); }

fun admin(stage: &mut Stage) { stage.world.act_as(world::admin_address()); }

fun evidence(byte: u64): vector<u8> {
    if (byte == 0) vector[] else if (byte == 1) b"because"
    else digest(byte as u8)
}

fun release(patch: u64): ReleaseVersion { releases::release_version(0, 1, patch as u32) }

// --- steps ---

public fun wait(stage: &mut Stage, ms: u64) {
    stage.admin();
    stage.world.wait(ms);
}

public fun open(stage: &mut Stage) {
    stage.admin();
    let (pool, admin, _, _, _) = stage.world.parts();
    administration::open_pool(pool, admin);
}

public fun stake(stage: &mut Stage, node: u64, amount: u64, beneficiary: u64) {
    stage.act(node, 0);
    let payment = stage.world.coins(amount);
    let (pool, _, _, clock, ctx) = stage.world.parts();
    let record = staking::stake_for_node(
        pool,
        name(node as u8 + 1),
        key(node as u8 + 1),
        sender(node, beneficiary),
        payment,
        clock,
        ctx,
    );
    stage.ids.add(bcs::to_bytes(&object::id(&record)), 0x10 + (node as u8));
    stage.records[node].fill(record);
}

public fun token(stage: &mut Stage, node: u64, who: u64) {
    stage.act(node, who);
    stage.world.issue_token(stage.records[node].borrow_mut());
    stage.number_token(node);
}

public fun renew(stage: &mut Stage, node: u64) {
    stage.act(node, 0);
    let token = stage.tokens[node].extract();
    stage.world.renew(stage.records[node].borrow_mut(), token);
    stage.number_token(node);
}

fun number_token(stage: &mut Stage, node: u64) {
    let token = stage.records[node].borrow().seal_token().destroy_some();
    stage.token_number = stage.token_number + 1;
    stage.ids.add(bcs::to_bytes(&token), 0x7f + stage.token_number);
    stage.issued = node;
}

public fun top_up(stage: &mut Stage, node: u64, amount: u64) {
    stage.act(node, 3);
    stage.world.top_up(stage.records[node].borrow_mut(), amount);
}

public fun slash(stage: &mut Stage, node: u64, basis_points: u64, proof: u64) {
    stage.admin();
    let record = stage.records[node].borrow_mut();
    stage.world.slash_with(record, basis_points, evidence(proof));
}

/// By master 0, `age` milliseconds ago.
public fun verdict(
    stage: &mut Stage,
    node: u64,
    reason: u64,
    proof: u64,
    rewarded: u64,
    nonce: u64,
    age: u64,
) {
    stage.act(node, 3);
    let Stage { world, config, enclaves, records, .. } = stage;
    let (enclave, record) = (enclaves[0].borrow(), records[node].borrow_mut());
    let reporter = if (rewarded == 0) @0x0 else REPORTER;
    let time = world.clock().timestamp_ms() - age;
    let message = slashing::verdict_message(
        enclave,
        object::id(world.pool()),
        object::id(record),
        reason as u16,
        evidence(proof),
        reporter,
        nonce,
        time,
    );
    let signature = signer::sign(&message);
    let (pool, treasury, _, clock, ctx) = world.slasher_parts();
    slashing::slash_with_evidence(
        pool,
        treasury,
        config,
        enclave,
        record,
        reason as u16,
        evidence(proof),
        reporter,
        nonce,
        time,
        signature,
        clock,
        ctx,
    );
}

public fun ask(stage: &mut Stage, node: u64, who: u64) {
    stage.act(node, who);
    stage.world.ask_back(stage.records[node].borrow_mut());
}

public fun ask_with_token(stage: &mut Stage, node: u64) {
    stage.act(node, 0);
    let token = stage.tokens[node].extract();
    stage.world.ask_back_with(stage.records[node].borrow_mut(), token);
}

public fun cancel(stage: &mut Stage, node: u64, who: u64) {
    stage.act(node, who);
    stage.world.cancel(stage.records[node].borrow_mut());
}

public fun withdraw(stage: &mut Stage, node: u64, who: u64) {
    stage.act(node, who);
    let Stage { world, records, .. } = stage;
    let (pool, _, _, clock, ctx) = world.parts();
    staking::withdraw_stake(pool, records[node].borrow_mut(), clock, ctx);
}

public fun restake(stage: &mut Stage, node: u64, amount: u64) {
    stage.act(node, 0);
    stage.world.restake(stage.records[node].borrow_mut(), amount);
}

public fun set_beneficiary(stage: &mut Stage, node: u64, who: u64, beneficiary: u64) {
    stage.act(node, who);
    let Stage { world, records, .. } = stage;
    let (pool, _, _, clock, ctx) = world.parts();
    let record = records[node].borrow_mut();
    beneficiary::set_beneficiary(pool, record, sender(node, beneficiary), clock, ctx);
}

public fun begin_maintenance(stage: &mut Stage, node: u64, who: u64, length: u64) {
    stage.act(node, who);
    let Stage { world, records, .. } = stage;
    let (pool, _, _, clock, ctx) = world.parts();
    let until_ms = clock.timestamp_ms() + length;
    maintenance::begin_maintenance(pool, records[node].borrow_mut(), until_ms, clock, ctx);
}

public fun end_maintenance(stage: &mut Stage, node: u64, who: u64) {
    stage.act(node, who);
    let Stage { world, records, .. } = stage;
    let (pool, _, _, clock, ctx) = world.parts();
    maintenance::end_maintenance(pool, records[node].borrow_mut(), clock, ctx);
}

public fun set_minimum_stake(stage: &mut Stage, value: u64) {
    stage.admin();
    let (pool, admin, _, clock, _) = stage.world.parts();
    administration::set_minimum_stake(pool, admin, value, clock);
}

public fun set_unbonding(stage: &mut Stage, value: u64) {
    stage.admin();
    let (pool, admin, _, clock, _) = stage.world.parts();
    administration::set_unbonding(pool, admin, value, clock);
}

public fun set_seal_token_lifetime(stage: &mut Stage, value: u64) {
    stage.admin();
    let (pool, admin, _, _, _) = stage.world.parts();
    administration::set_seal_token_lifetime(pool, admin, value);
}

public fun set_reporter_share(stage: &mut Stage, value: u64) {
    stage.admin();
    let (pool, admin, _, clock, _) = stage.world.parts();
    administration::set_reporter_share(pool, admin, value, clock);
}

public fun set_offence(stage: &mut Stage, reason: u64, share: u64, cap: u64, in_force: u64) {
    stage.admin();
    let (pool, admin, _, clock, _) = stage.world.parts();
    administration::set_offence(pool, admin, reason as u16, share, cap, in_force == 1, clock);
}

public fun withdraw_treasury(stage: &mut Stage, amount: u64) {
    stage.admin();
    stage.world.take_treasury(amount);
}

public fun update_pcrs(stage: &mut Stage, byte: u64) {
    stage.admin();
    let Stage { world, config, .. } = stage;
    let (pool, admin, _, clock, _) = world.parts();
    let value = pcr(byte as u8);
    config.update_pcrs(pool, admin, value, value, value, clock);
}

public fun register(stage: &mut Stage, master: u64) {
    stage.admin();
    let public_key = if (master == 0) signer::flagged_key() else key(0x80 + (master as u8));
    let Stage { world, config, registrar, .. } = stage;
    let (pool, clock) = (world.pool(), world.clock());
    config.register_by_capability(pool, registrar, public_key, digest(0x72), digest(0x73), clock);
    let events = event::events_by_type<EnclaveRegistered>();
    let bytes = bcs::to_bytes(&events[0]);
    let id = vector::tabulate!(32, |index| bytes[32 + index]);
    stage.ids.add(id, 0x30 + (master as u8));
    stage.registered = master;
}

public fun retire(stage: &mut Stage, master: u64) {
    stage.admin();
    let Stage { world, config, enclaves, .. } = stage;
    let (pool, admin, _, _, _) = world.parts();
    config.retire(pool, admin, enclaves[master].borrow_mut());
}

public fun set_minimum_config_version(stage: &mut Stage, minimum: u64, successor: u64) {
    stage.admin();
    let Stage { world, config, enclaves, .. } = stage;
    let (pool, admin, _, clock, _) = world.parts();
    let successor = enclaves[successor].borrow();
    config.set_minimum_config_version(pool, admin, minimum, successor, clock);
}

public fun list_master(stage: &mut Stage, master: u64, secure: u64) {
    stage.admin();
    let Stage { world, config, enclaves, directory, .. } = stage;
    let (pool, admin, _, _, _) = world.parts();
    let url = if (secure == 1) b"https://m.example.org" else b"http://m.example.org/";
    directory.list_master(pool, admin, config, enclaves[master].borrow(), url.to_string());
}

public fun remove_master(stage: &mut Stage, master: u64) {
    stage.admin();
    let Stage { world, enclaves, directory, .. } = stage;
    let (pool, admin, _, _, _) = world.parts();
    directory.remove_master(pool, admin, object::id(enclaves[master].borrow()));
}

public fun remove_retired_master(stage: &mut Stage, master: u64) {
    stage.act(0, 3);
    let Stage { config, enclaves, directory, .. } = stage;
    directory.remove_retired_master(config, enclaves[master].borrow());
}

fun image(target: vector<u8>, byte: u64): Image {
    let pcr11 = vector[releases::phase_pcr(b"".to_string(), digest(byte as u8))];
    let launch = vector[releases::launch_measurement(1, pcr(7))];
    let architecture = b"x86_64".to_string();
    releases::image(target.to_string(), architecture, digest(1), pcr11, launch)
}

/// A version with an image, and one more for the network where `byte` is even.
public fun approve(stage: &mut Stage, patch: u64, byte: u64) {
    stage.admin();
    let Stage { world, registry, release_cap, .. } = stage;
    let mut images = vector[image(b"disk", byte)];
    if (byte % 2 == 0) images.push_back(image(b"netboot", byte + 1));
    let places = vector[b"https://r.example.org/".to_string()];
    let clock = world.clock();
    registry.approve(release_cap, release(patch), images, digest(3), places, clock);
}

public fun revoke(stage: &mut Stage, patch: u64, ahead: u64) {
    stage.admin();
    let Stage { world, registry, release_cap, .. } = stage;
    let deadline = world.clock().timestamp_ms() + ahead;
    registry.revoke(release_cap, release(patch), deadline, world.clock());
}

public fun set_minimum(stage: &mut Stage, patch: u64, ahead: u64) {
    stage.admin();
    let Stage { world, registry, release_cap, .. } = stage;
    let deadline = world.clock().timestamp_ms() + ahead;
    registry.set_minimum(release_cap, release(patch), deadline, world.clock());
}

public fun remove(stage: &mut Stage, patch: u64) {
    stage.admin();
    let Stage { world, registry, release_cap, .. } = stage;
    registry.remove(release_cap, release(patch), world.clock());
}

// --- checks ---

/// So many events in all.
public fun events(count: u64) { assert_eq!(event::num_events() as u64, count); }

/// An event of its type.
public fun shows_event<T: copy + drop>(stage: &Stage, index: u64, expected: vector<u8>) {
    stage.ids.shows(&event::events_by_type<T>()[index], expected);
}

/// Takes what the step made out of the scenario.
public fun settle(stage: &mut Stage) {
    if (stage.issued < NODES) {
        let node = stage.issued;
        stage.issued = NODES;
        stage.act(node, 0);
        let token = stage.world.scenario().take_from_sender<SealToken>();
        // an older one that was not burnt counts for nothing
        if (stage.tokens[node].is_some()) destroy(stage.tokens[node].extract());
        stage.tokens[node].fill(token);
    };
    if (stage.registered < MASTERS) {
        let master = stage.registered;
        stage.registered = MASTERS;
        stage.admin();
        let enclave = stage.world.scenario().take_shared<Enclave>();
        stage.enclaves[master].fill(enclave);
    };
}

public fun shows_record(stage: &Stage, node: u64, expected: vector<u8>) {
    stage.ids.shows(stage.records[node].borrow(), expected);
}

public fun shows_token(stage: &Stage, node: u64, expected: vector<u8>) {
    stage.ids.shows(stage.tokens[node].borrow(), expected);
}

public fun shows_enclave(stage: &Stage, master: u64, expected: vector<u8>) {
    stage.ids.shows(stage.enclaves[master].borrow(), expected);
}

public fun shows_pool(stage: &Stage, expected: vector<u8>) {
    stage.ids.shows(stage.world.pool(), expected);
}

public fun shows_treasury(stage: &Stage, expected: vector<u8>) {
    stage.ids.shows(stage.world.treasury(), expected);
}

public fun shows_config(stage: &Stage, expected: vector<u8>) {
    stage.ids.shows(&stage.config, expected);
}

public fun shows_registry(stage: &Stage, expected: vector<u8>) {
    stage.ids.shows(&stage.registry, expected);
}

public fun shows_directory(stage: &Stage, expected: vector<u8>) {
    stage.ids.shows(&stage.directory, expected);
}
