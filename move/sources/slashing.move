/// Slashing by evidence: a verdict that a registered enclave has signed, for an offence that the
/// pool's table has in force.
module k3s_daas::slashing;

use k3s_daas::{
    authority,
    basis_points,
    enclave::{EnclaveConfig, Enclave},
    evidence,
    pool::Pool,
    staking::StakeRecord,
    statement,
    treasury::Treasury
};
use sui::{clock::Clock, dynamic_field};

#[error(code = 0)]
const EWrongPool: vector<u8> = b"The enclave configuration belongs to another pool";
#[error(code = 1)]
const ENoEvidence: vector<u8> = b"A verdict names the digest of its evidence, 32 bytes";
#[error(code = 2)]
const EDailyCap: vector<u8> = b"The offence's daily cap of this record is used up";

/// What a verdict is signed under.
const SLASH_INTENT: u8 = 1;
/// Bytes of an evidence digest.
const DIGEST: u64 = 32;

/// What an enclave signs, within a `statement::IntentMessage` of intent 1.
public struct Verdict has copy, drop {
    pool: ID,
    record: ID,
    /// An offence of the pool's table, which says how much it costs.
    reason: u16,
    /// SHA-256 of the evidence, which the master keeps.
    evidence: vector<u8>,
    /// Who gets the reporter's share; `0x0`: nobody, all of it goes to the treasury. It is signed,
    /// so that nobody who sees the transaction can put their own name into it.
    reporter: address,
}

/// Under which a record keeps what verdicts of a reason took on a day of a stake, which its time
/// tells from the record's former ones.
public struct DayKey has copy, drop, store { reason: u16, day: u64, staked_at_ms: u64 }

/// What the record held at the day's first verdict of the reason, and what they took, in MIST.
public struct Day has drop, store { base: u64, taken: u64 }

/// Slashes by an enclave's verdict. Anybody may bring it; it counts once, for the configuration's
/// evidence age, as long as the enclave is current, and in any order with others.
public fun slash_with_evidence(
    pool: &Pool,
    treasury: &mut Treasury,
    config: &EnclaveConfig,
    enclave: &Enclave,
    record: &mut StakeRecord,
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
        reason,
        evidence,
        reporter,
    };
    statement::verify(
        config,
        enclave,
        SLASH_INTENT,
        nonce,
        timestamp_ms,
        verdict,
        &signature,
        clock,
    );
    authority::assert_effective(enclave.effective_from_ms(), clock);
    record.assert_slashable(pool);
    evidence::count_nonce(record.uid_mut(), object::id(enclave), nonce);
    let (share, daily_cap) = pool.penalty(reason, clock);
    let amount = take_of_day(record, reason, share, daily_cap, clock);
    let reward = record.slash(pool, treasury, amount, reason, evidence, reporter, clock);
    if (reward.value() == 0) reward.destroy_zero()
    else transfer::public_transfer(reward.into_coin(ctx), reporter)
}

/// The bytes that an enclave signs for a verdict.
public fun verdict_message(
    enclave: &Enclave,
    pool: ID,
    record: ID,
    reason: u16,
    evidence: vector<u8>,
    reporter: address,
    nonce: u64,
    timestamp_ms: u64,
): vector<u8> {
    let verdict = Verdict { pool, record, reason, evidence, reporter };
    statement::message(enclave, SLASH_INTENT, nonce, timestamp_ms, verdict)
}

/// What a verdict takes, no more than is left of the day's cap. Counts it.
fun take_of_day(
    record: &mut StakeRecord,
    reason: u16,
    share: u64,
    daily_cap: u64,
    clock: &Clock,
): u64 {
    let balance = record.balance();
    let key = DayKey { reason, day: evidence::today(clock), staked_at_ms: record.staked_at_ms() };
    let id = record.uid_mut();
    if (!dynamic_field::exists_(id, key)) {
        dynamic_field::add(id, key, Day { base: balance, taken: 0 });
    };
    let day: &mut Day = dynamic_field::borrow_mut(id, key);
    let cap = basis_points::share(day.base, daily_cap);
    // a change of the table within the day may leave less than was taken
    assert!(cap > day.taken, EDailyCap);
    let amount = basis_points::share(balance, share).min(cap - day.taken);
    day.taken = day.taken + amount;
    amount
}
