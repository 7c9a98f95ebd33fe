/// Slashing by evidence: a verdict that a registered enclave has signed.
module k3s_daas::slashing;

use k3s_daas::{authority, enclave::{EnclaveConfig, Enclave}, staking::{Pool, StakeRecord}};
use sui::clock::Clock;

#[error(code = 0)]
const EWrongPool: vector<u8> = b"The enclave configuration belongs to another pool";
#[error(code = 1)]
const ENoEvidence: vector<u8> = b"A verdict names the digest of its evidence, 32 bytes";

/// What a verdict is signed under.
const SLASH_INTENT: u8 = 1;
/// Bytes of an evidence digest.
const DIGEST: u64 = 32;

/// What an enclave signs, within an `enclave::IntentMessage` of intent 1.
public struct Verdict has copy, drop {
    pool: ID,
    record: ID,
    basis_points: u64,
    reason: u16,
    /// SHA-256 of the evidence, which the master keeps.
    evidence: vector<u8>,
    /// Who gets the reporter's share; `0x0`: nobody, all of it goes to the treasury. It is signed,
    /// so that nobody who sees the transaction can put their own name into it.
    reporter: address,
}

/// Slashes by an enclave's verdict. Anybody may bring it; it counts once, for the configuration's
/// evidence age, as long as the enclave is current.
public fun slash_with_evidence(
    pool: &mut Pool,
    config: &EnclaveConfig,
    enclave: &mut Enclave,
    record: &mut StakeRecord,
    basis_points: u64,
    reason: u16,
    evidence: vector<u8>,
    reporter: address,
    nonce: u64,
    timestamp_ms: u64,
    signature: vector<u8>,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    assert!(config.pool() == object::id(pool), EWrongPool);
    assert!(evidence.length() == DIGEST, ENoEvidence);
    let verdict = Verdict {
        pool: object::id(pool),
        record: object::id(record),
        basis_points,
        reason,
        evidence,
        reporter,
    };
    config.verify(enclave, SLASH_INTENT, nonce, timestamp_ms, verdict, &signature, clock);
    authority::assert_effective(enclave.effective_from_ms(), clock);
    let reward = pool.slash(record, basis_points, reason, evidence, reporter);
    if (reward.value() == 0) reward.destroy_zero()
    else transfer::public_transfer(reward.into_coin(ctx), reporter)
}

/// The bytes that an enclave signs for a verdict.
public fun verdict_message(
    enclave: &Enclave,
    pool: ID,
    record: ID,
    basis_points: u64,
    reason: u16,
    evidence: vector<u8>,
    reporter: address,
    nonce: u64,
    timestamp_ms: u64,
): vector<u8> {
    let verdict = Verdict { pool, record, basis_points, reason, evidence, reporter };
    enclave.message(SLASH_INTENT, nonce, timestamp_ms, verdict)
}
