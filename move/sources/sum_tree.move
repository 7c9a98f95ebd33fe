/// Merkle sum trees: a root stands for many leaves and for the sum of their points. Whatever the
/// root's author wrote into the tree, leaves at different places never sum up to more than its
/// total.
///
/// SHA-256 over: a leaf, 0x00, domain, and what it says; a node, 0x01, domain, its left child's
/// hash and sum, its right child's hash and sum (sums: 8 bytes, little-endian). The tree is filled
/// up to a power of two with leaves of 32 zero bytes and the sum 0.
module k3s_daas::sum_tree;

use std::hash::sha2_256;
use sui::bcs;

#[error(code = 0)]
const EInvalidSize: vector<u8> = b"A tree has 1 to 1048576 leaves";
#[error(code = 1)]
const EWrongLength: vector<u8> = b"The proof is not 40 bytes for each level of the tree";
#[error(code = 2)]
const EIndexTooHigh: vector<u8> = b"The tree has no leaf of this index";
#[error(code = 3)]
const ESumOverflow: vector<u8> = b"The sum of the points does not fit 64 bits";
#[error(code = 4)]
const EWrongRoot: vector<u8> = b"The proof does not lead to the root and its total";

/// Keeps these hashes from being anything else's.
const DOMAIN: vector<u8> = b"k3s-daas/rewards/v1";
const LEAF: u8 = 0;
const NODE: u8 = 1;
/// Most leaves.
const MOST_LEAVES: u64 = 1 << 20;
/// Bytes of a hash.
const HASH: u64 = 32;
/// Bytes of a step of a proof: the sibling's hash and its sum.
const STEP: u64 = 40;
const LARGEST: u64 = 18_446_744_073_709_551_615;

/// The levels above the leaves.
public(package) fun depth(leaves: u64): u64 {
    assert!(leaves >= 1 && leaves <= MOST_LEAVES, EInvalidSize);
    let mut depth = 0;
    while ((1 << (depth as u8)) < leaves) depth = depth + 1;
    depth
}

/// The hash of a leaf: what it says, points apart, and its points.
public fun leaf(said: vector<u8>, points: u64): vector<u8> {
    let mut bytes = vector[LEAF];
    bytes.append(DOMAIN);
    bytes.append(said);
    bytes.append(bcs::to_bytes(&points));
    sha2_256(bytes)
}

/// The hash of a node.
public fun node(left: vector<u8>, left_sum: u64, right: vector<u8>, right_sum: u64): vector<u8> {
    let mut bytes = vector[NODE];
    bytes.append(DOMAIN);
    bytes.append(left);
    bytes.append(bcs::to_bytes(&left_sum));
    bytes.append(right);
    bytes.append(bcs::to_bytes(&right_sum));
    sha2_256(bytes)
}

/// Aborts unless the leaf lies at its index in the tree. `proof` holds, from the leaf up, each
/// sibling's hash (32 bytes) and sum (8 bytes, little-endian).
public(package) fun assert_contains(
    root: &vector<u8>,
    total: u64,
    leaves: u64,
    index: u64,
    leaf: vector<u8>,
    points: u64,
    proof: &vector<u8>,
) {
    let depth = depth(leaves);
    assert!(proof.length() == depth * STEP, EWrongLength);
    assert!(index < leaves, EIndexTooHigh);
    let mut hash = leaf;
    let mut sum = points;
    let mut place = index;
    let mut level = 0;
    while (level < depth) {
        let start = level * STEP;
        let sibling = vector::tabulate!(HASH, |byte| proof[start + byte]);
        let mut sibling_sum = 0u64;
        8u8.do!(|byte| {
            let value = proof[start + HASH + (byte as u64)] as u64;
            sibling_sum = sibling_sum | (value << (8 * byte));
        });
        hash = if (place % 2 == 0) node(hash, sum, sibling, sibling_sum)
        else node(sibling, sibling_sum, hash, sum);
        assert!(sibling_sum <= LARGEST - sum, ESumOverflow);
        sum = sum + sibling_sum;
        place = place / 2;
        level = level + 1;
    };
    assert!(hash == *root && sum == total, EWrongRoot);
}
