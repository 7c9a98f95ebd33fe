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
    /// The seal token.
    pub token: Address,
    /// From when on it counts no more.
    pub expires_at_ms: u64,
}

/// Event `k8s_gateway::SealTokenBurnt`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealTokenBurnt {
    /// The record.
    pub record: Address,
    /// The seal token.
    pub token: Address,
}

/// Most masters of a directory (`k8s_gateway::MOST_MASTERS`).
pub const MOST_MASTERS: usize = 64;

/// Most bytes of a master's URL (`k8s_gateway::LONGEST_URL`).
pub const LONGEST_URL: usize = 256;

/// `k8s_gateway::MasterDirectory`, shared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MasterDirectory {
    /// The object's id.
    pub id: Address,
    /// The package's version that may change it.
    pub version: u64,
    /// The pool it belongs to.
    pub pool: Address,
    /// In the order in which they were listed.
    pub masters: Vec<MasterInfo>,
}

/// `k8s_gateway::MasterInfo`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MasterInfo {
    /// Where it is.
    pub url: String,
    /// The enclave that holds its key.
    pub enclave: Address,
    /// Flag byte and public key, as registered.
    pub public_key: Vec<u8>,
    /// SHA-256 of the public key (SubjectPublicKeyInfo) that the master shows in TLS.
    pub tls_key_sha256: Vec<u8>,
}

/// Event `k8s_gateway::DirectoryCreated`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryCreated {
    /// The directory.
    pub directory: Address,
    /// Its pool.
    pub pool: Address,
}

/// Event `k8s_gateway::MasterListed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MasterListed {
    /// The directory.
    pub directory: Address,
    /// The enclave.
    pub enclave: Address,
    /// Where the master is.
    pub url: String,
    /// Its key, flag byte and public key.
    pub public_key: Vec<u8>,
    /// SHA-256 of the public key that it shows in TLS.
    pub tls_key_sha256: Vec<u8>,
}

/// Event `k8s_gateway::MasterRemoved`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MasterRemoved {
    /// The directory.
    pub directory: Address,
    /// The enclave.
    pub enclave: Address,
}
