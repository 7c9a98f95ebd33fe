//! What the Move package `k3s_daas` keeps on the chain, mirrored byte for byte.
//!
//! BCS writes the fields of a struct one after another in the order of their declaration in
//! Move: integers little-endian, a `UID`, an `ID` and an `address` as 32 raw bytes, a
//! `Balance<T>` as its `u64`, a `String` and a `vector<u8>` as a ULEB128 length and the bytes, an
//! `Option<T>` as a vector of none or one (<https://github.com/diem/bcs>). The tests hold the
//! bytes of one value of each type; the Move package's tests must hold the same.

pub mod abort;

use serde::{Deserialize, Serialize};
use sui_sdk_types::{Address, Identifier, StructTag};

/// The module that holds pools and stakes.
pub const STAKING: &str = "staking";

/// The module that holds seal tokens.
pub const GATEWAY: &str = "k8s_gateway";

/// The version of shared objects that this crate reads.
pub const VERSION: u64 = 1;

/// The whole of a stake, in basis points.
pub const WHOLE_BASIS_POINTS: u64 = 10_000;

/// The chain's clock, a shared object that has been there since genesis (Sui framework,
/// `clock.move`): id `0x6`, initial version 1.
pub const CLOCK: Address = Address::from_static("0x6");

/// Functions of the package.
pub mod function {
    /// `staking::stake_for_node(&Pool, String, vector<u8>, Coin<SUI>, &Clock, &mut TxContext): StakeRecord`
    pub const STAKE_FOR_NODE: &str = "stake_for_node";
    /// `staking::share_stake(StakeRecord)`
    pub const SHARE_STAKE: &str = "share_stake";
    /// `staking::slash_stake(&mut Pool, &SlasherCap, &mut StakeRecord, u64, u16, &Clock)`
    pub const SLASH_STAKE: &str = "slash_stake";
    /// `staking::withdraw_stake(&Pool, &mut StakeRecord, &Clock, &mut TxContext): Coin<SUI>`
    pub const WITHDRAW_STAKE: &str = "withdraw_stake";
    /// `k8s_gateway::create_worker_seal_token(&StakeRecord, &Clock, &mut TxContext)`
    pub const CREATE_WORKER_SEAL_TOKEN: &str = "create_worker_seal_token";
    /// `k8s_gateway::request_unstake(&Pool, &mut StakeRecord, SealToken, &Clock)`. It stands in
    /// this module because it burns the token, and Move forbids that two modules use each other.
    pub const REQUEST_UNSTAKE: &str = "request_unstake";
}

/// Values of [`StakeRecord::status`].
pub mod status {
    /// The stake stands.
    pub const ACTIVE: u8 = 0;
    /// Its owner asked for it back.
    pub const UNBONDING: u8 = 1;
    /// All of it was taken.
    pub const SLASHED: u8 = 2;
    /// Its owner took it back.
    pub const WITHDRAWN: u8 = 3;
}

/// `staking::Pool`, shared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The object's id.
    pub id: Address,
    /// The layout's version.
    pub version: u64,
    /// Least that a stake must hold, in MIST.
    pub minimum_stake: u64,
    /// How long coins stay locked after the request to unstake.
    pub unbonding_ms: u64,
    /// What slashes have brought in, in MIST.
    pub treasury: u64,
}

/// `staking::StakeRecord`, shared, one for each node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StakeRecord {
    /// The object's id.
    pub id: Address,
    /// The layout's version.
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
    /// One of [`status`].
    pub status: u8,
    /// When it was staked, in milliseconds since the Unix epoch.
    pub staked_at_ms: u64,
    /// From when on it can be withdrawn.
    pub unbonding_until_ms: Option<u64>,
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

/// `k8s_gateway::SealToken`, owned by the staker for good: it has `key` and no `store`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealToken {
    /// The object's id.
    pub id: Address,
    /// The record it names.
    pub record: Address,
    /// The node's key, as in the record.
    pub node_key: Vec<u8>,
    /// When it was issued, in milliseconds since the Unix epoch.
    pub issued_at_ms: u64,
    /// From when on it counts no more.
    pub expires_at_ms: u64,
}

/// `0x2::coin::Coin<T>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coin {
    /// The object's id.
    pub id: Address,
    /// What it holds, in the smallest unit.
    pub balance: u64,
}

/// `0x2::clock::Clock`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// The object's id.
    pub id: Address,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
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
}

/// Event `staking::UnstakeRequested`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnstakeRequested {
    /// The record.
    pub record: Address,
    /// From when on it can be withdrawn.
    pub until_ms: u64,
}

/// Event `staking::Withdrawn`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawn {
    /// The record.
    pub record: Address,
    /// What was paid out, in MIST.
    pub amount: u64,
}

/// A Move type of which this module mirrors the bytes.
pub trait MoveType {
    /// The module that declares it.
    const MODULE: &'static str;
    /// Its name there.
    const NAME: &'static str;

    /// The type's full name in a package.
    fn tag(package: Address) -> StructTag {
        StructTag::new(
            package,
            Identifier::from_static(Self::MODULE),
            Identifier::from_static(Self::NAME),
            Vec::new(),
        )
    }
}

macro_rules! move_type {
    ($module:expr => $($name:ident),+) => {
        $(impl MoveType for $name {
            const MODULE: &'static str = $module;
            const NAME: &'static str = stringify!($name);
        })+
    };
}

move_type!(STAKING => Pool, StakeRecord, AdminCap, SlasherCap, Staked, Slashed, UnstakeRequested,
    Withdrawn);
move_type!(GATEWAY => SealToken);
move_type!("clock" => Clock);

#[cfg(test)]
mod tests;
