/// A pool with its capabilities, a clock and some nodes, for the other tests.
#[test_only]
module k3s_daas::world;

use k3s_daas::{
    administration,
    enclave::{Self, EnclaveConfig, Enclave, RegistrarCap},
    k8s_gateway::{Self, SealToken},
    node_key,
    pool::{Self, Pool, AdminCap, SlasherCap},
    signer,
    staking::{Self, StakeRecord},
    treasury::Treasury
};
use std::{string::String, unit_test};
use sui::{clock::{Self, Clock}, coin::{Self, Coin}, sui::SUI, test_scenario::{Self, Scenario}};

const ADMIN: address = @0xAD;
const SUI_MIST: u64 = 1_000_000_000;
const NOW_MS: u64 = 1_700_000_000_000;

public struct World {
    scenario: Scenario,
    pool: Pool,
    treasury: Treasury,
    admin: AdminCap,
    slasher: SlasherCap,
    clock: Clock,
}

/// The pool is not open before the first stake.
public fun begin(): World {
    let mut scenario = test_scenario::begin(ADMIN);
    pool::init_for_testing(scenario.ctx());
    scenario.next_tx(ADMIN);
    let mut clock = clock::create_for_testing(scenario.ctx());
    clock.set_for_testing(NOW_MS);
    World {
        pool: scenario.take_shared(),
        treasury: scenario.take_shared(),
        admin: scenario.take_from_sender(),
        slasher: scenario.take_from_sender(),
        clock,
        scenario,
    }
}

/// Another pool, open, with its own capabilities. Its treasury is `other_treasury`.
public fun other(world: &mut World): (Pool, AdminCap, SlasherCap) {
    world.act_as(ADMIN);
    pool::init_for_testing(world.scenario.ctx());
    world.act_as(ADMIN);
    let mut pool = world.scenario.take_shared();
    let admin = world.scenario.take_from_sender();
    administration::open_pool(&mut pool, &admin);
    (pool, admin, world.scenario.take_from_sender())
}

public fun other_treasury(world: &mut World): Treasury { world.scenario.take_shared() }

public fun end(world: World) { unit_test::destroy(world) }

public fun admin_address(): address { ADMIN }

public fun sui(amount: u64): u64 { amount * SUI_MIST }

public fun now_ms(): u64 { NOW_MS }

/// The pool, its capabilities, the clock, and the transaction.
public fun parts(
    world: &mut World,
): (&mut Pool, &AdminCap, &SlasherCap, &mut Clock, &mut TxContext) {
    (&mut world.pool, &world.admin, &world.slasher, &mut world.clock, world.scenario.ctx())
}

/// The pool, its treasury, its slasher's capability, the clock, and the transaction.
public fun slasher_parts(
    world: &mut World,
): (&mut Pool, &mut Treasury, &SlasherCap, &mut Clock, &mut TxContext) {
    (&mut world.pool, &mut world.treasury, &world.slasher, &mut world.clock, world.scenario.ctx())
}

/// Opens the pool, if it is not open.
public fun open(world: &mut World) {
    if (!world.pool.is_open()) administration::open_pool(&mut world.pool, &world.admin);
}

public fun pool(world: &World): &Pool { &world.pool }

public fun treasury(world: &World): &Treasury { &world.treasury }

public fun clock(world: &World): &Clock { &world.clock }

public fun scenario(world: &mut World): &mut Scenario { &mut world.scenario }

public fun act_as(world: &mut World, sender: address) { world.scenario.next_tx(sender); }

public fun wait(world: &mut World, ms: u64) { world.clock.increment_for_testing(ms) }

public fun coins(world: &mut World, amount: u64): Coin<SUI> {
    coin::mint_for_testing(amount, world.scenario.ctx())
}

/// The key of node `n`, and the account that it is.
public fun key(n: u8): vector<u8> {
    let mut key = x"00";
    key.append(vector::tabulate!(32, |_| n));
    key
}

public fun account(n: u8): address { node_key::account(&key(n)) }

public fun name(n: u8): String {
    let mut name = b"edge-000".to_string();
    name.append((n as u64).to_string());
    name
}

/// Node `n` stakes.
public fun stake(world: &mut World, n: u8, amount: u64): StakeRecord {
    world.act_as(account(n));
    world.stake_as(name(n), key(n), amount)
}

/// The sender stakes, and is the beneficiary.
public fun stake_as(
    world: &mut World,
    name: String,
    node_key: vector<u8>,
    amount: u64,
): StakeRecord {
    let beneficiary = world.scenario.ctx().sender();
    world.stake_for(name, node_key, beneficiary, amount)
}

public fun stake_for(
    world: &mut World,
    name: String,
    node_key: vector<u8>,
    beneficiary: address,
    amount: u64,
): StakeRecord {
    world.open();
    let payment = world.coins(amount);
    staking::stake_for_node(
        &mut world.pool,
        name,
        node_key,
        beneficiary,
        payment,
        &world.clock,
        world.scenario.ctx(),
    )
}

/// Whether the record counts.
public fun stands(world: &World, record: &StakeRecord): bool {
    staking::counts(&world.pool, record, &world.clock)
}

/// The calls below are the sender's.
public fun restake(world: &mut World, record: &mut StakeRecord, amount: u64) {
    let payment = world.coins(amount);
    staking::restake(&world.pool, record, payment, &world.clock, world.scenario.ctx());
}

public fun top_up(world: &mut World, record: &mut StakeRecord, amount: u64) {
    let payment = world.coins(amount);
    staking::top_up(&world.pool, record, payment);
}

public fun slash(world: &mut World, record: &mut StakeRecord, basis_points: u64) {
    world.slash_with(record, basis_points, b"");
}

public fun slash_with(
    world: &mut World,
    record: &mut StakeRecord,
    basis_points: u64,
    evidence: vector<u8>,
) {
    staking::slash_stake(
        &world.pool,
        &mut world.treasury,
        &world.slasher,
        record,
        basis_points,
        7,
        evidence,
        &world.clock,
    );
}

/// Withdraws, and takes what the beneficiary was paid.
public fun withdraw(world: &mut World, record: &mut StakeRecord): u64 {
    let beneficiary = record.beneficiary(&world.clock);
    staking::withdraw_stake(&world.pool, record, &world.clock, world.scenario.ctx());
    world.paid(beneficiary)
}

/// Takes the coin that an account was paid last.
public fun paid(world: &mut World, account: address): u64 {
    let sender = world.scenario.ctx().sender();
    world.act_as(sender);
    world.scenario.take_from_address<Coin<SUI>>(account).burn_for_testing()
}

public fun ask_back(world: &mut World, record: &mut StakeRecord) {
    k8s_gateway::request_unstake_without_token(
        &world.pool,
        record,
        &world.clock,
        world.scenario.ctx(),
    );
}

public fun cancel(world: &mut World, record: &mut StakeRecord) {
    k8s_gateway::cancel_unstake(&world.pool, record, &world.clock, world.scenario.ctx());
}

public fun issue_token(world: &mut World, record: &mut StakeRecord) {
    k8s_gateway::create_worker_seal_token(
        &world.pool,
        record,
        &world.clock,
        world.scenario.ctx(),
    );
}

/// Issues a token for node `n`'s record and takes it out of its account.
public fun token(world: &mut World, n: u8, record: &mut StakeRecord): SealToken {
    world.act_as(account(n));
    world.issue_token(record);
    world.act_as(account(n));
    world.scenario.take_from_sender()
}

public fun renew(world: &mut World, record: &mut StakeRecord, token: SealToken) {
    k8s_gateway::renew_worker_seal_token(
        &world.pool,
        record,
        token,
        &world.clock,
        world.scenario.ctx(),
    );
}

public fun ask_back_with(world: &mut World, record: &mut StakeRecord, token: SealToken) {
    k8s_gateway::request_unstake(
        &world.pool,
        record,
        token,
        &world.clock,
        world.scenario.ctx(),
    );
}

public fun counts(world: &World, record: &StakeRecord, token: &SealToken): bool {
    k8s_gateway::is_valid(&world.pool, record, token, &world.clock)
}

/// What slashes brought in is the administrator's to take.
public fun take_treasury(world: &mut World, amount: u64): u64 {
    administration::withdraw_treasury(
        &world.pool,
        &mut world.treasury,
        &world.admin,
        amount,
        world.scenario.ctx(),
    ).burn_for_testing()
}

/// An offence that takes all of a stake: of reason 7, as long as the pool is not open.
public fun offence(world: &mut World, basis_points: u64, daily_cap: u64) {
    administration::set_offence(
        &mut world.pool,
        &world.admin,
        7,
        basis_points,
        daily_cap,
        true,
        &world.clock,
    );
}

/// PCRs 0, 1 and 2 of the image that masters run.
public fun pcrs(): vector<vector<u8>> { vector[pcr(0xa0), pcr(0xa1), pcr(0xa2)] }

public fun pcr(byte: u8): vector<u8> { vector::tabulate!(48, |_| byte) }

public fun digest(byte: u8): vector<u8> { vector::tabulate!(32, |_| byte) }

/// An enclave configuration: documents count for an hour, evidence for ten minutes.
public fun config(world: &mut World): EnclaveConfig {
    world.act_as(ADMIN);
    enclave::new_config(
        &world.pool,
        &world.admin,
        pcr(0xa0),
        pcr(0xa1),
        pcr(0xa2),
        3_600_000,
        600_000,
        &world.clock,
        world.scenario.ctx(),
    );
    world.act_as(ADMIN);
    world.scenario.take_shared()
}

/// Registers the signer's key by a document of now.
public fun master(world: &mut World, config: &mut EnclaveConfig): Enclave {
    let now_ms = world.clock.timestamp_ms();
    let cap = world.registrar(config);
    config.register_attested_for_testing(
        &world.pool,
        &cap,
        now_ms,
        pcrs(),
        signer::flagged_key(),
        digest(0x71),
        &world.clock,
    );
    unit_test::destroy(cap);
    world.act_as(ADMIN);
    world.scenario.take_shared()
}

public fun registrar(world: &mut World, config: &mut EnclaveConfig): RegistrarCap {
    config.new_registrar_cap(&world.pool, &world.admin, &world.clock, world.scenario.ctx())
}
