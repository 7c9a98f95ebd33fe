/// What a record keeps of the verdicts against it: the same evidence does not punish twice, an
/// enclave's verdict counts once, and on which days there was a slash.
module k3s_daas::evidence;

use k3s_daas::bounds;
use sui::{clock::Clock, dynamic_field};

#[error(code = 0)]
const EEvidenceUsed: vector<u8> = b"This evidence was already counted against this record";
#[error(code = 1)]
const ENonceUsed: vector<u8> =
    b"The enclave's verdict of this nonce was counted against this record: a replay";

/// Under which a record keeps (as a dynamic field) that evidence was counted.
public struct EvidenceKey(vector<u8>) has copy, drop, store;

/// Under which a record keeps that an enclave's verdict of a nonce was counted against it.
public struct NonceKey has copy, drop, store { enclave: ID, nonce: u64 }

/// Under which a record keeps that it was slashed on a day (UTC, since the Unix epoch).
public struct SlashedKey(u64) has copy, drop, store;

/// Counts evidence, by its digest, against the object.
public(package) fun count(object: &mut UID, digest: vector<u8>) {
    let key = EvidenceKey(digest);
    assert!(!dynamic_field::exists_(object, key), EEvidenceUsed);
    dynamic_field::add(object, key, true);
}

/// Counts an enclave's nonce against the object, once, in whatever order they are brought: whoever
/// brings a later verdict first must not make an earlier one void.
public(package) fun count_nonce(object: &mut UID, enclave: ID, nonce: u64) {
    let key = NonceKey { enclave, nonce };
    assert!(!dynamic_field::exists_(object, key), ENonceUsed);
    dynamic_field::add(object, key, true);
}

/// Notes that the object was slashed today.
public(package) fun mark_day(object: &mut UID, clock: &Clock) {
    let key = SlashedKey(today(clock));
    if (!dynamic_field::exists_(object, key)) dynamic_field::add(object, key, true);
}

/// Whether the object was slashed on one of so many days.
public(package) fun was_slashed(object: &UID, first_day: u64, days: u64): bool {
    let mut day = first_day;
    while (day < first_day + days) {
        if (dynamic_field::exists_(object, SlashedKey(day))) return true;
        day = day + 1;
    };
    false
}

/// The day (UTC), counted from the Unix epoch.
public(package) fun today(clock: &Clock): u64 { clock.timestamp_ms() / bounds::day_ms() }
