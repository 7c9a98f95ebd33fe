/// The key of a node: a flag byte and a public key, as Sui writes them for its accounts
/// (<https://docs.sui.io/concepts/cryptography/transaction-auth/signatures>).
module k3s_daas::node_key;

use sui::{address, ecdsa_r1, ed25519, hash::blake2b256};

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

/// Whether the key has signed the message: ed25519, or ECDSA on P-256 over SHA-256 with a low S.
/// The key must be valid.
public(package) fun verify(
    node_key: &vector<u8>,
    message: &vector<u8>,
    signature: &vector<u8>,
): bool {
    let key = vector::tabulate!(node_key.length() - 1, |index| node_key[index + 1]);
    if (node_key[0] == ED25519) ed25519::ed25519_verify(signature, &key, message)
    else ecdsa_r1::secp256r1_verify(signature, &key, message, SHA256)
}
