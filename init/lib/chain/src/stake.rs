//! A stake as the rest of the system sees it.

use std::fmt;

use chain_types::{Address, Mist, NODE_NAME_DIGITS, ObjectId, TransactionId};
use serde::{Deserialize, Serialize};
use wire::{InvalidName, NodeName};

use crate::key::PublicKey;

/// A stake record of the expected package and pool, as last read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stake {
    /// The record's object.
    pub record: ObjectId,
    /// The record's version when it was read; it grows with every change.
    pub version: u64,
    /// The one seal token that counts for this record; `None` where there is none: burnt to
    /// unstake, or by its owner.
    pub seal_token: Option<SealToken>,
    /// Who staked: the node key's account.
    pub staker: Address,
    /// To whom alone coins and rewards are paid, when the record was read.
    pub beneficiary: Address,
    /// The node that the stake stands for.
    pub node_id: String,
    /// The node's key.
    pub node_key: PublicKey,
    /// What is left of the stake.
    pub amount: Mist,
    /// Least that a stake which stands must hold, when the record was read.
    pub minimum: Mist,
    /// What was taken of it in all.
    pub slashed: Mist,
    /// When it was staked, in milliseconds since the Unix epoch, by the chain's clock.
    pub staked_at_ms: u64,
    /// From when on it can be withdrawn, while it unbonds.
    pub unbonding_until_ms: Option<u64>,
    /// What all of it comes to.
    pub verdict: Verdict,
}

impl Stake {
    /// What is missing to the pool's minimum.
    pub const fn missing(&self) -> Mist {
        self.minimum.saturating_sub(self.amount)
    }

    /// The name of the stake's Node in a cluster.
    ///
    /// # Errors
    /// Where the node id is none that the cluster takes.
    pub fn node_name(&self) -> Result<NodeName, InvalidName> {
        node_name(&self.node_id, self.record)
    }
}

/// The name of a Node: the node id, and ten characters of its stake's record. Two records have two
/// names, whatever ids their owners chose, and a certificate of a former owner fits no later one.
///
/// # Errors
/// Where the node id is none that a cluster takes.
pub fn node_name(node_id: &str, record: ObjectId) -> Result<NodeName, InvalidName> {
    let record = record.to_string();
    let digits = record
        .trim_start_matches("0x")
        .chars()
        .take(NODE_NAME_DIGITS);
    format!("{node_id}-{}", digits.collect::<String>()).parse()
}

/// The seal token that a node shows to the master. It cannot be handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealToken {
    /// The seal token's object.
    pub id: ObjectId,
    /// When it was issued, in milliseconds since the Unix epoch, by the chain's clock.
    pub issued_at_ms: u64,
    /// From when on it counts no more.
    pub expires_at_ms: u64,
}

impl SealToken {
    /// Whether the seal token has run out at `now_ms` (milliseconds since the Unix epoch).
    pub fn expired(&self, now_ms: u64) -> bool {
        now_ms >= self.expires_at_ms
    }
}

/// What a stake is worth to those who rely on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It stands, and is large enough.
    Active,
    /// It stands, but less than the pool's minimum is left.
    BelowMinimum,
    /// It was asked back.
    Unbonding,
    /// All of it was taken.
    Slashed,
    /// It was paid back.
    Withdrawn,
    /// There is none.
    NotFound,
    /// The chain could not be asked.
    Unreachable,
}

impl Verdict {
    /// Whether the stake is gone for good, which is not believed of one fullnode at once.
    pub const fn is_gone(self) -> bool {
        matches!(self, Self::Slashed | Self::Withdrawn)
    }

    /// Whether the node is no part of a cluster any more: the stake is gone, or its owner asked for
    /// it back. One that holds too little is not: it can be topped up.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Slashed | Self::Unbonding | Self::Withdrawn)
    }

    /// Whether the node's workloads end for it, for now or for good. That is not done on one
    /// fullnode's word ([`crate::Chain::confirm`]).
    pub const fn stops_work(self) -> bool {
        self.is_over() || matches!(self, Self::BelowMinimum)
    }

    /// The word for it, as in status pages and heartbeats.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::BelowMinimum => "below-minimum",
            Self::Unbonding => "unbonding",
            Self::Slashed => "slashed",
            Self::Withdrawn => "withdrawn",
            Self::NotFound => "not-found",
            Self::Unreachable => "unreachable",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Terms of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// The pool's object.
    pub id: ObjectId,
    /// Least that a new stake must hold, when the pool was read.
    pub minimum_stake: Mist,
    /// How long coins stay locked after the request to unstake, in milliseconds.
    pub unbonding_ms: u64,
    /// How long a seal token counts, in milliseconds.
    pub seal_token_ms: u64,
    /// Whether it takes stakes.
    pub open: bool,
}

/// One slash, from the chain's event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slash {
    /// The record that was slashed.
    pub record: ObjectId,
    /// What was taken.
    pub amount: Mist,
    /// What was left.
    pub remaining: Mist,
    /// The slasher's reason code.
    pub reason: u16,
}

/// A transaction that the chain has in a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Executed {
    /// Its digest.
    pub transaction: TransactionId,
    /// The checkpoint that holds it.
    pub checkpoint: u64,
    /// What it cost, less what it gave back.
    pub gas: Mist,
}
