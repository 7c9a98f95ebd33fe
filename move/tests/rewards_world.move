/// A vault, and trees of points, for the tests of rewards.
#[test_only]
module k3s_daas::rewards_world;

use k3s_daas::{
    enclave::{EnclaveConfig, Enclave},
    rewards::{Self, Vault},
    signer,
    sum_tree,
    world::{Self, World, sui}
};
use sui::bcs;

const DAY_MS: u64 = 86_400_000;
/// Days of an epoch.
const DAYS: u64 = 7;

/// A vault of 10 SUI: epochs of a week, a day for objections, 90 days to claim, 2 SUI an epoch.
public fun vault(world: &mut World): Vault {
    world.act_as(world::admin_address());
    let (pool, admin, _, clock, ctx) = world.parts();
    rewards::new_vault(pool, admin, DAYS, DAY_MS, 90 * DAY_MS, sui(2), clock, ctx);
    world.act_as(world::admin_address());
    let mut vault = world.scenario().take_shared<Vault>();
    vault.fund(world.coins(sui(10)));
    vault
}

/// When an epoch of such a vault, made when the tests begin, ends.
public fun end_of(epoch: u64): u64 {
    (world::now_ms() / DAY_MS + 1 + DAYS * (epoch + 1)) * DAY_MS
}

public fun to_the_end_of(world: &mut World, epoch: u64) {
    let (_, _, _, clock, _) = world.parts();
    clock.set_for_testing(end_of(epoch));
}

/// Has the signer's ed25519 key sign a root, and publishes it.
public fun publish(
    world: &mut World,
    vault: &mut Vault,
    config: &EnclaveConfig,
    enclave: &Enclave,
    epoch: u64,
    root: vector<u8>,
    total: u64,
    leaves: u64,
    budget: u64,
) {
    let now_ms = world.clock().timestamp_ms();
    let id = object::id(vault);
    let message = rewards::root_message(enclave, id, epoch, root, total, leaves, budget, now_ms);
    let signature = signer::sign(&message);
    vault.publish_root(
        config,
        enclave,
        epoch,
        root,
        total,
        leaves,
        budget,
        now_ms,
        signature,
        world.clock(),
    );
}

/// The root of a tree of two leaves of epoch 0, the record's and another's, and the record's proof.
public fun two_leaves(vault: ID, record: ID, points: u64, others: u64): (vector<u8>, vector<u8>) {
    let first = rewards::leaf(vault, 0, record, points);
    let second = rewards::leaf(vault, 0, @0x5.to_id(), others);
    let mut proof = second;
    proof.append(bcs::to_bytes(&others));
    (sum_tree::node(first, points, second, others), proof)
}

/// A tree over leaves: its root, its total, and each leaf's proof.
public fun tree(
    mut hashes: vector<vector<u8>>,
    mut sums: vector<u64>,
): (vector<u8>, u64, vector<vector<u8>>) {
    let leaves = hashes.length();
    let depth = sum_tree::depth(leaves);
    let mut width = 1 << (depth as u8);
    while (hashes.length() < width) {
        hashes.push_back(world::digest(0));
        sums.push_back(0);
    };
    let mut proofs = vector::tabulate!(leaves, |_| vector<u8>[]);
    let mut level = 0u8;
    while (width > 1) {
        leaves.do!(|leaf| {
            let sibling = (leaf >> level) ^ 1;
            proofs[leaf].append(hashes[sibling]);
            proofs[leaf].append(bcs::to_bytes(&sums[sibling]));
        });
        width = width / 2;
        let nodes = vector::tabulate!(
            width,
            |i| sum_tree::node(hashes[2 * i], sums[2 * i], hashes[2 * i + 1], sums[2 * i + 1]),
        );
        sums = vector::tabulate!(width, |i| sums[2 * i] + sums[2 * i + 1]);
        hashes = nodes;
        level = level + 1;
    };
    (hashes[0], sums[0], proofs)
}
