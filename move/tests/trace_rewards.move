/// Rewards of traces: vaults, epochs, trees of points, and the calls on them (`trace_stage`).
#[test_only]
module k3s_daas::trace_rewards;

use k3s_daas::{
    enclave::{EnclaveConfig, Enclave},
    pool::{Pool, AdminCap},
    rewards::{Self, Vault, Epoch},
    rewards_world,
    signer,
    staking::StakeRecord
};
use std::unit_test::destroy;
use sui::{clock::Clock, coin::Coin, sui::SUI};

const DAY_MS: u64 = 86_400_000;
const HOUR_MS: u64 = 3_600_000;
const SUI_MIST: u64 = 1_000_000_000;
/// How many epochs a trace keeps.
const EPOCHS: u64 = 6;

public struct Rewards {
    /// One of each pool.
    vaults: vector<Vault>,
    epochs: vector<Option<Epoch>>,
    /// The number of each epoch.
    numbers: vector<u64>,
    /// The records of all nodes, whether or not they are there.
    records: vector<ID>,
}

/// What an enclave signs of an epoch.
public struct Signed has drop {
    root: vector<u8>,
    total: u64,
    leaves: u64,
    time: u64,
    signature: vector<u8>,
}

public fun none(): Rewards {
    Rewards {
        vaults: vector[],
        epochs: vector::tabulate!(EPOCHS, |_| option::none()),
        numbers: vector::tabulate!(EPOCHS, |_| 0),
        records: vector[],
    }
}

public fun know_records(rewards: &mut Rewards, records: vector<ID>) { rewards.records = records; }

/// A vault that a side begins with: epochs of a day, an hour to object, a week to claim, 2 SUI an epoch.
public fun new_vault(pool: &Pool, cap: &AdminCap, clock: &Clock, ctx: &mut TxContext) {
    rewards::new_vault(pool, cap, 1, HOUR_MS, 7 * DAY_MS, 2 * SUI_MIST, clock, ctx);
}

public fun add_vault(rewards: &mut Rewards, vault: Vault) { rewards.vaults.push_back(vault); }

/// In place of a side's.
public fun put_vault(rewards: &mut Rewards, side: u64, vault: Vault) {
    rewards.vaults.push_back(vault);
    destroy(rewards.vaults.swap_remove(side));
}

public fun put_epoch(rewards: &mut Rewards, slot: u64, epoch: Epoch) {
    rewards.epochs[slot].fill(epoch);
}

public fun vault(rewards: &Rewards, side: u64): &Vault { &rewards.vaults[side] }

public fun epoch(rewards: &Rewards, slot: u64): &Epoch { rewards.epochs[slot].borrow() }

public fun epochs(): u64 { EPOCHS }

/// Of a vault and of an epoch.
public fun set_versions(rewards: &mut Rewards, side: u64, slot: u64, vault: u64, epoch: u64) {
    let Rewards { vaults, epochs, .. } = rewards;
    vaults[side].set_versions_for_testing(epochs[slot].borrow_mut(), vault, epoch);
}

fun points(form: u64, node: u64): u64 {
    if (form == 1) node + 2
    else if (form == 9) node
    else node + 1
}

/// A tree over all records: its root, total and proofs.
fun tree(
    rewards: &Rewards,
    vault: ID,
    number: u64,
    form: u64,
): (vector<u8>, u64, vector<vector<u8>>) {
    let sums = vector::tabulate!(rewards.records.length(), |node| points(form, node));
    let hashes = vector::tabulate!(
        sums.length(),
        |node| rewards::leaf(vault, number, rewards.records[node], sums[node]),
    );
    rewards_world::tree(hashes, sums)
}

/// In one of several forms: 0, 1 and 9 are as they should be.
fun sign(
    rewards: &Rewards,
    vault: ID,
    number: u64,
    form: u64,
    budget: u64,
    age: u64,
    enclave: &Enclave,
    master: u64,
    broken: u64,
    clock: &Clock,
): Signed {
    let (mut root, mut total, _) = rewards.tree(vault, number, form);
    let mut leaves = rewards.records.length();
    if (form == 2) { root.pop_back(); };
    if (form == 3) total = 0;
    if (form == 4) leaves = 0;
    if (form == 5) total = total + 1;
    if (form == 7) leaves = (1 << 20) + 1;
    if (form == 8) leaves = leaves - 1;
    let time = clock.timestamp_ms() - age;
    let message = rewards::root_message(
        enclave,
        vault,
        number,
        root,
        total,
        leaves,
        budget,
        time,
    );
    let mut signature = if (master == 1) signer::p256_sign(&message) else signer::sign(&message);
    if (broken == 1) *&mut signature[40] = signature[40] ^ 1;
    Signed { root, total, leaves, time, signature }
}

/// The root of a published epoch's tree, which a trace shows as a byte: it stands for ids.
public fun root(rewards: &Rewards, slot: u64, form: u64): vector<u8> {
    let (root, _, _) = rewards.tree(object::id(&rewards.vaults[0]), rewards.numbers[slot], form);
    root
}

public fun fund(rewards: &mut Rewards, side: u64, payment: Coin<SUI>) {
    rewards.vaults[side].fund(payment);
}

public fun set_budget(
    rewards: &mut Rewards,
    side: u64,
    pool: &Pool,
    cap: &AdminCap,
    budget: u64,
    clock: &Clock,
) {
    rewards.vaults[side].set_budget(pool, cap, budget, clock);
}

public fun publish(
    rewards: &mut Rewards,
    side: u64,
    config: &EnclaveConfig,
    enclave: &Enclave,
    slot: u64,
    number: u64,
    form: u64,
    budget: u64,
    age: u64,
    master: u64,
    broken: u64,
    clock: &Clock,
) {
    let id = object::id(&rewards.vaults[side]);
    let said = rewards.sign(id, number, form, budget, age, enclave, master, broken, clock);
    let Signed { root, total, leaves, time, signature } = said;
    rewards
        .vaults[side]
        .publish_root(
            config,
            enclave,
            number,
            root,
            total,
            leaves,
            budget,
            time,
            signature,
            clock,
        );
    *&mut rewards.numbers[slot] = number;
}

public fun object(
    rewards: &mut Rewards,
    side: u64,
    config: &EnclaveConfig,
    enclave: &Enclave,
    slot: u64,
    form: u64,
    budget: u64,
    age: u64,
    master: u64,
    broken: u64,
    clock: &Clock,
) {
    // roots are published of the first pool's vault alone
    let (id, number) = (object::id(&rewards.vaults[0]), rewards.numbers[slot]);
    let said = rewards.sign(id, number, form, budget, age, enclave, master, broken, clock);
    let Signed { root, total, leaves, time, signature } = said;
    let Rewards { vaults, epochs, .. } = rewards;
    vaults[side].object_with_root(
        epochs[slot].borrow_mut(),
        config,
        enclave,
        root,
        total,
        leaves,
        budget,
        time,
        signature,
        clock,
    );
}

public fun object_by_admin(
    rewards: &mut Rewards,
    side: u64,
    slot: u64,
    pool: &Pool,
    cap: &AdminCap,
    clock: &Clock,
) {
    let Rewards { vaults, epochs, .. } = rewards;
    vaults[side].object_by_admin(epochs[slot].borrow_mut(), pool, cap, clock);
}

/// With a node's proof in a tree, in one of several forms: 0 is as it should be.
public fun claim(
    rewards: &mut Rewards,
    slot: u64,
    pool: &Pool,
    record: &StakeRecord,
    node: u64,
    tree: u64,
    form: u64,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    let (id, number) = (object::id(&rewards.vaults[0]), rewards.numbers[slot]);
    let (_, _, proofs) = rewards.tree(id, number, tree);
    let (mut proof, mut points, mut index) = (proofs[node], points(tree, node), node);
    if (form == 1) { proof.pop_back(); };
    if (form == 2) index = index ^ 1;
    if (form == 3) index = rewards.records.length();
    if (form == 4) 8u64.do!(|byte| *&mut proof[32 + byte] = 0xff);
    if (form == 5) points = points + 1;
    rewards.epochs[slot].borrow_mut().claim(pool, record, points, index, proof, clock, ctx);
}

public fun close(rewards: &mut Rewards, side: u64, slot: u64, clock: &Clock) {
    let Rewards { vaults, epochs, .. } = rewards;
    vaults[side].close(epochs[slot].borrow_mut(), clock);
}
