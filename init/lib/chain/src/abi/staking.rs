//! Types of the module `staking`.

use serde::{Deserialize, Serialize};
use sui_sdk_types::Address;

use super::pool::Scheduled;

pub use chain_types::LONGEST_NODE_ID;

/// `spans::Span`: an announced absence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Its first millisecond, since the Unix epoch.
    pub from_ms: u64,
    /// The first one after it.
    pub until_ms: u64,
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
    /// The node key's account.
    pub staker: Address,
    /// To whom alone coins and rewards are paid.
    pub beneficiary: Scheduled<Address>,
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
    /// Whether the beneficiary asked for it, so that the staker can't take the request back.
    pub unbonding_by_beneficiary: bool,
    /// What was taken in all, in MIST.
    pub slashed: u64,
    /// The one seal token that counts.
    pub seal_token: Option<Address>,
    /// Announced absences of the last thirty days.
    pub maintenance: Vec<Span>,
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
    /// To whom coins and rewards are paid.
    pub beneficiary: Address,
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
    /// Whether the beneficiary asked.
    pub by_beneficiary: bool,
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
    /// To whom.
    pub beneficiary: Address,
}
