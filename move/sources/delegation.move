/// Staking from another account than the node's: a cold wallet, a multisig, an operator of many
/// nodes. The node's key signs that it consents; without that, anybody could occupy a key that is
/// not theirs.
module k3s_daas::delegation;

use k3s_daas::{node_key, staking::{Pool, StakeRecord}};
use std::string::String;
use sui::{bcs, clock::Clock, coin::Coin, sui::SUI};

#[error(code = 0)]
const EInvalidProof: vector<u8> = b"The proof is no signature of the node key over this stake";

/// Keeps a proof from being anything else that a node signs.
const DOMAIN: vector<u8> = b"k3s-daas/stake/v1";

/// What a node signs, as BCS, so that another account may stake for it.
public struct StakeProof has copy, drop {
    domain: vector<u8>,
    pool: ID,
    staker: address,
    node_id: String,
    node_key: vector<u8>,
}

/// Stakes for a node that consents: `proof` is its key's signature over `proof_message`, with the
/// sender as the staker. The record must then be shared with `staking::share_stake`, in the same
/// transaction.
public fun stake_for_node_with_proof(
    pool: &mut Pool,
    node_id: String,
    node_key: vector<u8>,
    proof: vector<u8>,
    payment: Coin<SUI>,
    clock: &Clock,
    ctx: &mut TxContext,
): StakeRecord {
    let message = proof_message(object::id(pool), ctx.sender(), node_id, node_key);
    assert!(
        node_key::is_valid(&node_key) && node_key::verify(&node_key, &message, &proof),
        EInvalidProof,
    );
    pool.stake(node_id, node_key, payment, clock, ctx)
}

/// The bytes that the node's key signs.
public fun proof_message(
    pool: ID,
    staker: address,
    node_id: String,
    node_key: vector<u8>,
): vector<u8> {
    bcs::to_bytes(&StakeProof { domain: DOMAIN, pool, staker, node_id, node_key })
}
