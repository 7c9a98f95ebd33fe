/// An epoch of rewards with two enclaves and some stakes, for the tests of rewards.
#[test_only]
module k3s_daas::rewards_stage;

use k3s_daas::{
    enclave::{EnclaveConfig, Enclave},
    pool::Pool,
    rewards::{Self, Vault, Epoch},
    rewards_world::{Self, publish},
    signer,
    staking::StakeRecord,
    world::{Self, World, account, digest, sui}
};
use std::unit_test::destroy;

const DAY_MS: u64 = 86_400_000;

/// What a test works with: the first enclave's key is ed25519, the second's P-256.
public struct Stage {
    world: World,
    config: EnclaveConfig,
    first: Enclave,
    second: Enclave,
    vault: Vault,
    records: vector<StakeRecord>,
}

/// At the end of epoch 0, with so many stakes of 5 SUI.
public fun stage(nodes: u8): Stage {
    let mut world = world::begin();
    let mut config = world.config();
    let first = world.master(&mut config);
    let cap = world.registrar(&mut config);
    let key = signer::p256_flagged_key();
    config.register_by_capability(world.pool(), &cap, key, digest(1), digest(2), world.clock());
    world.act_as(world::admin_address());
    let second = world.scenario().take_shared<Enclave>();
    destroy(cap);
    let vault = rewards_world::vault(&mut world);
    let records = vector::tabulate!(nodes as u64, |index| world.stake(index as u8 + 1, sui(5)));
    rewards_world::to_the_end_of(&mut world, 0);
    Stage { world, config, first, second, vault, records }
}

public fun end(stage: Stage) { destroy(stage) }

public fun world(stage: &mut Stage): &mut World { &mut stage.world }

public fun vault(stage: &Stage): &Vault { &stage.vault }

public fun record(stage: &mut Stage, index: u64): &mut StakeRecord { &mut stage.records[index] }

/// Its parts but for the records.
public fun parts(
    stage: &mut Stage,
): (&mut World, &EnclaveConfig, &mut Enclave, &Enclave, &mut Vault) {
    (&mut stage.world, &stage.config, &mut stage.first, &stage.second, &mut stage.vault)
}

public fun close(stage: &mut Stage, epoch: &mut Epoch) {
    let Stage { world, vault, .. } = stage;
    vault.close(epoch, world.clock());
}

/// Node n has earned n + 1 points of epoch 0: root, total, proofs.
public fun points_tree(stage: &Stage): (vector<u8>, u64, vector<vector<u8>>) {
    let vault = object::id(&stage.vault);
    let sums = vector::tabulate!(stage.records.length(), |index| index + 1);
    let hashes = vector::tabulate!(
        sums.length(),
        |index| rewards::leaf(vault, 0, object::id(&stage.records[index]), sums[index]),
    );
    rewards_world::tree(hashes, sums)
}

public fun publish_tree(
    stage: &mut Stage,
    root: vector<u8>,
    total: u64,
    leaves: u64,
    budget: u64,
): Epoch {
    let Stage { world, config, first, vault, .. } = stage;
    publish(world, vault, config, first, 0, root, total, leaves, budget);
    world.act_as(account(9));
    world.scenario().take_shared()
}

public fun claim(
    stage: &mut Stage,
    epoch: &mut Epoch,
    record: u64,
    points: u64,
    index: u64,
    proof: vector<u8>,
) {
    let Stage { world, records, .. } = stage;
    let (pool, _, _, clock, ctx) = world.parts();
    epoch.claim(pool, &records[record], points, index, proof, clock, ctx);
}

/// The second enclave's objection.
public fun object(stage: &mut Stage, epoch: &mut Epoch, root: vector<u8>, total: u64, budget: u64) {
    let Stage { world, config, second, vault, .. } = stage;
    let now_ms = world.clock().timestamp_ms();
    let id = object::id(vault);
    let message = rewards::root_message(second, id, 0, root, total, 2, budget, now_ms);
    let signature = signer::p256_sign(&message);
    vault.object_with_root(
        epoch,
        config,
        second,
        root,
        total,
        2,
        budget,
        now_ms,
        signature,
        world.clock(),
    );
}

/// An epoch of two records whose window for objections is over: 1 and 2 points of 1 SUI.
public fun claimable(): (Stage, Epoch, vector<vector<u8>>) {
    let mut stage = stage(2);
    let (root, total, proofs) = points_tree(&stage);
    let epoch = publish_tree(&mut stage, root, total, 2, sui(1));
    stage.world.wait(DAY_MS);
    (stage, epoch, proofs)
}

public fun slash(stage: &mut Stage, record: u64, basis_points: u64) {
    let Stage { world, records, .. } = stage;
    world.slash(&mut records[record], basis_points);
}

/// Claims through another pool.
public fun claim_through(
    stage: &mut Stage,
    pool: &Pool,
    epoch: &mut Epoch,
    record: u64,
    points: u64,
    index: u64,
    proof: vector<u8>,
) {
    let Stage { world, records, .. } = stage;
    let (_, _, _, clock, ctx) = world.parts();
    epoch.claim(pool, &records[record], points, index, proof, clock, ctx);
}
