//! Types of the module `staking`.

use serde::{Deserialize, Serialize};
use sui_sdk_types::Address;

/// `0x2::table::Table<K, V>`; its entries are objects of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// The table's id, from which those of its entries are derived.
    pub id: Address,
    /// How many entries there are.
    pub size: u64,
}

/// `staking::Pool`, shared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The object's id.
    pub id: Address,
    /// The package's version that may change it.
    pub version: u64,
    /// Least that a stake must hold, in MIST.
    pub minimum_stake: u64,
    /// How long coins stay locked after the request to unstake.
    pub unbonding_ms: u64,
    /// How long a seal token counts.
    pub seal_token_ms: u64,
    /// The share of a slash for who reported it with evidence, in basis points.
    pub reporter_basis_points: u64,
    /// What slashes have brought in, in MIST.
    pub treasury: u64,
    /// What all records hold together, in MIST.
    pub staked: u64,
    /// From a node id to its record.
    pub names: Table,
}

/// The key that a record's address is derived from: flag byte, then the public key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StakeKey(pub Vec<u8>);

/// `staking::StakeRecord`, shared, one for each node key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StakeRecord {
    /// The object's id, derived from pool and node key.
    pub id: Address,
    /// The package's version that may change it.
    pub version: u64,
    /// The pool it belongs to.
    pub pool: Address,
    /// Who staked.
    pub staker: Address,
    /// The node.
    pub node_id: String,
    /// The node's key: flag byte, then the public key.
    pub node_key: Vec<u8>,
    /// What is left, in MIST.
    pub balance: u64,
    /// One of [`super::status`].
    pub status: u8,
    /// When it was staked, in milliseconds since the Unix epoch.
    pub staked_at_ms: u64,
    /// From when on it can be withdrawn.
    pub unbonding_until_ms: Option<u64>,
    /// What was taken in all, in MIST.
    pub slashed: u64,
    /// The one seal token that counts.
    pub seal_token: Option<Address>,
}

/// `staking::AdminCap`, owned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminCap {
    /// The object's id.
    pub id: Address,
    /// The pool it counts for.
    pub pool: Address,
}

/// `staking::SlasherCap`, owned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlasherCap {
    /// The object's id.
    pub id: Address,
    /// The pool it counts for.
    pub pool: Address,
}

/// Event `staking::PoolCreated`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolCreated {
    /// The pool.
    pub pool: Address,
    /// The capability that sets its rules.
    pub admin_cap: Address,
    /// Who made it.
    pub creator: Address,
}

/// Event `staking::Staked`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staked {
    /// The pool.
    pub pool: Address,
    /// The new record.
    pub record: Address,
    /// Who staked.
    pub staker: Address,
    /// The node.
    pub node_id: String,
    /// How much, in MIST.
    pub amount: u64,
}

/// Event `staking::Restaked`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restaked {
    /// The pool.
    pub pool: Address,
    /// The record.
    pub record: Address,
    /// Who staked.
    pub staker: Address,
    /// The node.
    pub node_id: String,
    /// How much, in MIST.
    pub amount: u64,
}

/// Event `staking::ToppedUp`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToppedUp {
    /// The record.
    pub record: Address,
    /// What was added, in MIST.
    pub amount: u64,
    /// What it holds now, in MIST.
    pub balance: u64,
}

/// Event `staking::Slashed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slashed {
    /// The pool.
    pub pool: Address,
    /// The record.
    pub record: Address,
    /// What was taken, in MIST.
    pub amount: u64,
    /// What was left, in MIST.
    pub remaining: u64,
    /// The slasher's reason code.
    pub reason: u16,
    /// A digest of the evidence, or nothing.
    pub evidence: Vec<u8>,
    /// Who reported it.
    pub reporter: Address,
    /// What the reporter got of it, in MIST.
    pub reward: u64,
}

/// Event `staking::UnstakeRequested`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnstakeRequested {
    /// The record.
    pub record: Address,
    /// From when on it can be withdrawn.
    pub until_ms: u64,
}

/// Event `staking::UnstakeCancelled`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnstakeCancelled {
    /// The record.
    pub record: Address,
}

/// Event `staking::Withdrawn`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawn {
    /// The record.
    pub record: Address,
    /// What was paid out, in MIST.
    pub amount: u64,
}
