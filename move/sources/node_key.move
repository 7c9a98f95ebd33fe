/// The key of a node: a flag byte and a public key, as Sui writes them for its accounts
/// (<https://docs.sui.io/concepts/cryptography/transaction-auth/signatures>), and the proof that
/// whoever stakes for a node has the node's consent.
module k3s_daas::node_key;

use std::string::String;
use sui::{address, bcs, ecdsa_r1, ed25519, hash::blake2b256};

#[error(code = 0)]
const EInvalidProof: vector<u8> = b"The proof is no signature of the node key over this stake";

/// Flag byte of an ed25519 key.
const ED25519: u8 = 0;
/// Flag byte of a secp256r1 (P-256) key.
const SECP256R1: u8 = 2;
/// Bytes of an ed25519 key with its flag.
const ED25519_LENGTH: u64 = 33;
/// Bytes of a compressed secp256r1 key with its flag.
const SECP256R1_LENGTH: u64 = 34;
/// The number by which the framework's `ecdsa_r1` knows SHA-256.
const SHA256: u8 = 1;
/// Keeps a proof from being anything else that a node signs.
const DOMAIN: vector<u8> = b"k3s-daas/stake/v1";

/// What a node signs so that another account may stake for it.
public struct StakeProof has copy, drop {
    domain: vector<u8>,
    pool: ID,
    staker: address,
    node_id: String,
    node_key: vector<u8>,
}

/// Whether these bytes are a flag and a public key of its length.
public fun is_valid(node_key: &vector<u8>): bool {
    if (node_key.is_empty()) return false;
    (node_key[0] == ED25519 && node_key.length() == ED25519_LENGTH) ||
        (node_key[0] == SECP256R1 && node_key.length() == SECP256R1_LENGTH)
}

/// The Sui address of a key: BLAKE2b-256 over flag and key.
public fun account(node_key: &vector<u8>): address {
    address::from_bytes(blake2b256(node_key))
}

/// The bytes that a node signs: the BCS of `StakeProof`.
public fun proof_message(
    pool: ID,
    staker: address,
    node_id: String,
    node_key: vector<u8>,
): vector<u8> {
    bcs::to_bytes(&StakeProof { domain: DOMAIN, pool, staker, node_id, node_key })
}

/// Whether the key has signed the message: ed25519, or ECDSA on P-256 over SHA-256 with a low S.
/// The key must be valid.
public fun verify(node_key: &vector<u8>, message: &vector<u8>, signature: &vector<u8>): bool {
    let key = vector::tabulate!(node_key.length() - 1, |index| node_key[index + 1]);
    if (node_key[0] == ED25519) ed25519::ed25519_verify(signature, &key, message)
    else ecdsa_r1::secp256r1_verify(signature, &key, message, SHA256)
}

/// Aborts unless the node key, which must be valid, has signed this stake.
public(package) fun assert_proof(
    pool: ID,
    staker: address,
    node_id: String,
    node_key: vector<u8>,
    proof: vector<u8>,
) {
    let message = proof_message(pool, staker, node_id, node_key);
    assert!(verify(&node_key, &message, &proof), EInvalidProof);
}
