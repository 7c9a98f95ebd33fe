/// Verdicts of a master, for the tests of slashing by evidence.
#[test_only]
module k3s_daas::verdicts;

use k3s_daas::{
    enclave::{EnclaveConfig, Enclave},
    signer,
    slashing,
    staking::StakeRecord,
    world::{Self, World, digest, sui}
};
use std::unit_test::destroy;

const REPORTER: address = @0x5EE;

/// A verdict as it is signed, and as it is brought.
public struct Claim has copy, drop {
    reason: u16,
    evidence: vector<u8>,
    reporter: address,
    nonce: u64,
    timestamp_ms: u64,
}

public fun claim(): Claim {
    Claim {
        reason: 7,
        evidence: digest(0xee),
        reporter: REPORTER,
        nonce: 1,
        timestamp_ms: world::now_ms(),
    }
}

public fun with_reason(mut claim: Claim, value: u16): Claim {
    claim.reason = value;
    claim
}

public fun with_evidence(mut claim: Claim, value: vector<u8>): Claim {
    claim.evidence = value;
    claim
}

public fun with_reporter(mut claim: Claim, value: address): Claim {
    claim.reporter = value;
    claim
}

public fun with_nonce(mut claim: Claim, value: u64): Claim {
    claim.nonce = value;
    claim
}

public fun with_time(mut claim: Claim, value: u64): Claim {
    claim.timestamp_ms = value;
    claim
}

/// The master was registered, and offence 7 put in force, before the pool was open. It takes all.
public fun staked(): (World, EnclaveConfig, Enclave, StakeRecord) { staked_with(10_000, 10_000) }

public fun staked_with(basis_points: u64, cap: u64): (World, EnclaveConfig, Enclave, StakeRecord) {
    let mut world = world::begin();
    world.offence(basis_points, cap);
    let mut config = world.config();
    let enclave = world.master(&mut config);
    let record = world.stake(1, sui(5));
    (world, config, enclave, record)
}

/// The offence takes a tenth. The first master's key is ed25519, the second's P-256.
public fun two_enclaves(): (World, EnclaveConfig, Enclave, Enclave, StakeRecord) {
    let mut world = world::begin();
    world.offence(1_000, 10_000);
    let mut config = world.config();
    let first = world.master(&mut config);
    let cap = world.registrar(&mut config);
    let key = signer::p256_flagged_key();
    config.register_by_capability(world.pool(), &cap, key, digest(1), digest(2), world.clock());
    world.act_as(world::admin_address());
    let second = world.scenario().take_shared<Enclave>();
    destroy(cap);
    let record = world.stake(1, sui(5));
    (world, config, first, second, record)
}

public fun message(
    world: &World,
    enclave: &Enclave,
    record: &StakeRecord,
    claim: Claim,
): vector<u8> {
    let Claim { reason, evidence, reporter, nonce, timestamp_ms } = claim;
    slashing::verdict_message(
        enclave,
        object::id(world.pool()),
        object::id(record),
        reason,
        evidence,
        reporter,
        nonce,
        timestamp_ms,
    )
}

public fun signature(
    world: &World,
    enclave: &Enclave,
    record: &StakeRecord,
    claim: Claim,
): vector<u8> {
    signer::sign(&message(world, enclave, record, claim))
}

public fun bring(
    world: &mut World,
    config: &EnclaveConfig,
    enclave: &Enclave,
    record: &mut StakeRecord,
    claim: Claim,
    signature: vector<u8>,
) {
    let Claim { reason, evidence, reporter, nonce, timestamp_ms } = claim;
    let (pool, treasury, _, clock, ctx) = world.slasher_parts();
    slashing::slash_with_evidence(
        pool,
        treasury,
        config,
        enclave,
        record,
        reason,
        evidence,
        reporter,
        nonce,
        timestamp_ms,
        signature,
        clock,
        ctx,
    );
}

public fun slash(
    world: &mut World,
    config: &EnclaveConfig,
    enclave: &Enclave,
    record: &mut StakeRecord,
    claim: Claim,
) {
    let signature = signature(world, enclave, record, claim);
    bring(world, config, enclave, record, claim, signature);
}

public fun discard(world: World, config: EnclaveConfig, enclave: Enclave, record: StakeRecord) {
    destroy(config);
    destroy(enclave);
    destroy(record);
    world.end();
}
