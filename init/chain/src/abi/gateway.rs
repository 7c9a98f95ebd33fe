//! Types of the module `k8s_gateway`.

use serde::{Deserialize, Serialize};
use sui_sdk_types::Address;

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

/// Event `k8s_gateway::SealTokenIssued`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealTokenIssued {
    /// The record.
    pub record: Address,
    /// The token.
    pub token: Address,
    /// From when on it counts no more.
    pub expires_at_ms: u64,
}

/// Event `k8s_gateway::SealTokenBurnt`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealTokenBurnt {
    /// The record.
    pub record: Address,
    /// The token.
    pub token: Address,
}
