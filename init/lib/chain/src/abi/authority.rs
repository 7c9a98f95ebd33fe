//! Types of the modules `authority` and `slashing`: who may, and what an enclave says.

use serde::{Deserialize, Serialize};
use sui_sdk_types::Address;

/// What a verdict is signed under (`slashing::SLASH_INTENT`).
pub const SLASH_INTENT: u8 = 1;

/// How long a new authority over stakes does not count (`bounds::notice_ms`).
pub const NOTICE_MS: u64 = 15 * 24 * 60 * 60 * 1000;

/// `authority::ListKey`: under which an object keeps from when on a capability counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListKey(pub Address);

/// Event `authority::CapabilityIssued`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilityIssued {
    /// The object that lists it.
    pub object: Address,
    /// The capability.
    pub capability: Address,
    /// From when on it counts.
    pub effective_from_ms: u64,
}

/// Event `authority::CapabilityRevoked`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilityRevoked {
    /// The object that listed it.
    pub object: Address,
    /// The capability.
    pub capability: Address,
}

/// `slashing::Verdict`: what an enclave signs, within a `statement::IntentMessage`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The pool.
    pub pool: Address,
    /// The record to slash.
    pub record: Address,
    /// An offence of the pool's table.
    pub reason: u16,
    /// SHA-256 of the evidence.
    pub evidence: Vec<u8>,
    /// Who gets the reporter's share; zero: nobody.
    pub reporter: Address,
}

/// `slashing::DayKey`: under which a record keeps what verdicts of a reason took on a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayKey {
    /// The reason code.
    pub reason: u16,
    /// The day (UTC), since the Unix epoch.
    pub day: u64,
    /// When the stake was made, in milliseconds since the Unix epoch.
    pub staked_at_ms: u64,
}

/// `slashing::Day`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    /// What the record held at the day's first verdict, in MIST.
    pub base: u64,
    /// What verdicts took of it, in MIST.
    pub taken: u64,
}

/// `evidence::EvidenceKey`: under which a record keeps that evidence was counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceKey(pub Vec<u8>);

/// `evidence::NonceKey`: under which a record keeps that an enclave's nonce was counted against it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NonceKey {
    /// Who signed.
    pub enclave: Address,
    /// The verdict's nonce.
    pub nonce: u64,
}

/// `evidence::SlashedKey`: under which a record keeps that it was slashed on a day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlashedKey(pub u64);
