//! Types of the modules `rewards` and `sum_tree`: a vault, and an epoch's root with its budget.

use serde::{Deserialize, Serialize};
use sui_sdk_types::Address;

use super::Scheduled;

/// What an epoch's root is signed under (`rewards::ROOT_INTENT`).
pub const ROOT_INTENT: u8 = 2;

/// What every hash of a tree of points is over, after a byte that tells leaves from nodes
/// (`sum_tree::DOMAIN`).
pub const TREE_DOMAIN: &[u8] = b"k3s-daas/rewards/v1";

/// Most leaves of a tree (`sum_tree::MOST_LEAVES`).
pub const MOST_LEAVES: u64 = 1 << 20;

/// The bytes of a proof for each level of the tree: the sibling's SHA-256, and its sum as 8 bytes,
/// little-endian (`sum_tree::STEP`).
pub const PROOF_STEP: usize = 40;

/// For how long after its end an epoch's root can be published (`bounds::root_age_ms`).
pub const ROOT_AGE_MS: u64 = 31 * 24 * 60 * 60 * 1000;

/// The highest number of an epoch (`rewards::LAST_EPOCH`).
pub const LAST_EPOCH: u64 = 0xffff_ffff;

/// Values of [`Epoch::state`].
pub mod epoch_state {
    /// Its rewards can be claimed, once nobody can object any more.
    pub const OPEN: u8 = 0;
    /// There was an objection: it pays nothing.
    pub const VOID: u8 = 1;
    /// What was not claimed has returned to the vault.
    pub const CLOSED: u8 = 2;
}

/// `rewards::Vault`, shared: coins for rewards, and how they are given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vault {
    /// The object's id.
    pub id: Address,
    /// The package's version that may change it.
    pub version: u64,
    /// Its pool.
    pub pool: Address,
    /// What no epoch has reserved, in MIST.
    pub funds: u64,
    /// The day (UTC, since the Unix epoch) at which epoch 0 begins.
    pub first_day: u64,
    /// Days of an epoch.
    pub epoch_days: u64,
    /// How long one can object to a root, in milliseconds.
    pub objection_ms: u64,
    /// How long one can claim after that, in milliseconds.
    pub claim_ms: u64,
    /// Most that an epoch's root may reserve, in MIST.
    pub most_budget: Scheduled<u64>,
}

/// `rewards::Epoch`, shared: an epoch's root, and what it reserved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epoch {
    /// The object's id.
    pub id: Address,
    /// The package's version that may change it.
    pub version: u64,
    /// Its vault.
    pub vault: Address,
    /// Its pool.
    pub pool: Address,
    /// Its number.
    pub number: u64,
    /// Its first day (UTC, since the Unix epoch).
    pub first_day: u64,
    /// Its days.
    pub days: u64,
    /// The root of its tree.
    pub root: Vec<u8>,
    /// The sum of all points.
    pub total_points: u64,
    /// How many leaves the tree has.
    pub leaves: u64,
    /// What it reserved, in MIST.
    pub budget: u64,
    /// What is left of the budget, in MIST.
    pub funds: u64,
    /// Who signed the root.
    pub enclave: Address,
    /// Until when one can object, and from when on one can claim, in milliseconds since the
    /// Unix epoch.
    pub claimable_from_ms: u64,
    /// Until when one can claim, in milliseconds since the Unix epoch.
    pub claimable_until_ms: u64,
    /// One of [`epoch_state`].
    pub state: u8,
}

/// `rewards::EpochKey`: from what an epoch's id is derived, its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochKey(pub u64);

/// `rewards::ClaimKey`: under which an epoch keeps what it paid for a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimKey(pub Address);

/// `rewards::EpochRoot`: what an enclave signs, within a `statement::IntentMessage`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochRoot {
    /// The vault.
    pub vault: Address,
    /// The epoch's number.
    pub epoch: u64,
    /// The root of its tree.
    pub root: Vec<u8>,
    /// The sum of all points.
    pub total_points: u64,
    /// How many leaves the tree has.
    pub leaves: u64,
    /// What it reserves, in MIST.
    pub budget: u64,
}

/// `rewards::Leaf`: what a leaf says before its points.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaf {
    /// The vault.
    pub vault: Address,
    /// The epoch's number.
    pub epoch: u64,
    /// The record.
    pub record: Address,
}

/// Event `rewards::VaultCreated`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultCreated {
    /// The vault.
    pub vault: Address,
    /// Its pool.
    pub pool: Address,
    /// The day (UTC, since the Unix epoch) at which epoch 0 begins.
    pub first_day: u64,
    /// Days of an epoch.
    pub epoch_days: u64,
    /// How long one can object to a root, in milliseconds.
    pub objection_ms: u64,
    /// How long one can claim after that, in milliseconds.
    pub claim_ms: u64,
    /// Most that an epoch's root may reserve, in MIST.
    pub most_budget: u64,
}

/// Event `rewards::VaultFunded`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultFunded {
    /// The vault.
    pub vault: Address,
    /// What was added, in MIST.
    pub amount: u64,
    /// What no epoch has reserved, in MIST.
    pub funds: u64,
}

/// Event `rewards::BudgetChanged`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetChanged {
    /// The vault.
    pub vault: Address,
    /// Most that an epoch's root may reserve, in MIST.
    pub most_budget: u64,
    /// From when on it counts, in milliseconds since the Unix epoch.
    pub from_ms: u64,
}

/// Event `rewards::RootPublished`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootPublished {
    /// The vault.
    pub vault: Address,
    /// The epoch.
    pub epoch: Address,
    /// The epoch's number.
    pub number: u64,
    /// The root of its tree.
    pub root: Vec<u8>,
    /// The sum of all points.
    pub total_points: u64,
    /// How many leaves the tree has.
    pub leaves: u64,
    /// What it reserves, in MIST.
    pub budget: u64,
    /// Who signed the root.
    pub enclave: Address,
    /// Until when one can object, and from when on one can claim, in milliseconds since the
    /// Unix epoch.
    pub claimable_from_ms: u64,
    /// Until when one can claim, in milliseconds since the Unix epoch.
    pub claimable_until_ms: u64,
}

/// Event `rewards::EpochVoided`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochVoided {
    /// The vault.
    pub vault: Address,
    /// The epoch.
    pub epoch: Address,
    /// The epoch's number.
    pub number: u64,
    /// Who objected; none: the administrator.
    pub enclave: Option<Address>,
    /// The objecting root; empty in the administrator's objection.
    pub root: Vec<u8>,
    /// The sum of its points; 0 in the administrator's objection.
    pub total_points: u64,
    /// How many leaves its tree has; 0 in the administrator's objection.
    pub leaves: u64,
    /// What returned to the vault, in MIST.
    pub returned: u64,
}

/// Event `rewards::RewardPaid`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RewardPaid {
    /// The vault.
    pub vault: Address,
    /// The epoch.
    pub epoch: Address,
    /// The epoch's number.
    pub number: u64,
    /// The record.
    pub record: Address,
    /// Who was paid.
    pub beneficiary: Address,
    /// The record's points.
    pub points: u64,
    /// What was paid, in MIST.
    pub amount: u64,
}

/// Event `rewards::EpochClosed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochClosed {
    /// The vault.
    pub vault: Address,
    /// The epoch.
    pub epoch: Address,
    /// The epoch's number.
    pub number: u64,
    /// What returned to the vault, in MIST.
    pub returned: u64,
}
