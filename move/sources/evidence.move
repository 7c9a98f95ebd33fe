/// The same evidence does not punish twice.
module k3s_daas::evidence;

use sui::dynamic_field;

#[error(code = 0)]
const EEvidenceUsed: vector<u8> = b"This evidence was already counted against this record";

/// Under which a record keeps (as a dynamic field) that evidence was counted.
public struct EvidenceKey(vector<u8>) has copy, drop, store;

/// Counts evidence, by its digest, against the object.
public(package) fun count(object: &mut UID, digest: vector<u8>) {
    let key = EvidenceKey(digest);
    assert!(!dynamic_field::exists_(object, key), EEvidenceUsed);
    dynamic_field::add(object, key, true);
}
