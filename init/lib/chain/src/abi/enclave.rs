//! Types of the module `enclave`.

use serde::{Deserialize, Serialize};
use sui_sdk_types::Address;

/// What an enclave's signatures for these contracts begin with (`statement::DOMAIN`).
pub const DOMAIN: &[u8] = b"k3s-daas/enclave/v1";

/// By how much an enclave's clock may be ahead of the chain's, in milliseconds
/// (`enclave::CLOCK_TOLERANCE_MS`, `statement::CLOCK_TOLERANCE_MS`).
pub const CLOCK_TOLERANCE_MS: u64 = 10_000;

/// The length of a SHA-256 digest.
pub const DIGEST_LENGTH: usize = 32;

/// The length of a Nitro PCR (SHA-384).
pub const PCR_LENGTH: usize = 48;

/// `enclave::EnclaveConfig`, shared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnclaveConfig {
    /// The object's id.
    pub id: Address,
    /// The package's version that may change it.
    pub version: u64,
    /// The pool it belongs to.
    pub pool: Address,
    /// Of the PCRs; rises with each change of them.
    pub config_version: u64,
    /// Keys that were registered under an earlier one are retired.
    pub minimum_config_version: u64,
    /// The enclave's image.
    pub pcr0: Vec<u8>,
    /// Its kernel.
    pub pcr1: Vec<u8>,
    /// Its application.
    pub pcr2: Vec<u8>,
    /// Greatest age of a document at registration.
    pub document_age_ms: u64,
    /// Greatest age of what an enclave signed.
    pub evidence_age_ms: u64,
    /// From when on keys of this version may bring evidence against stakes.
    pub effective_from_ms: u64,
}

/// `enclave::Enclave`, shared: a master's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enclave {
    /// The object's id, derived from the configuration's and the key.
    pub id: Address,
    /// The package's version that may change it.
    pub version: u64,
    /// The configuration it belongs to.
    pub config: Address,
    /// The configuration's version under which it was registered.
    pub config_version: u64,
    /// Flag byte and public key, made in the enclave or the TPM.
    pub public_key: Vec<u8>,
    /// SHA-256 of the public key (SubjectPublicKeyInfo) that the master shows in TLS.
    pub tls_key_sha256: Vec<u8>,
    /// SHA-256 of the evidence that a registrar verified; empty: a Nitro document.
    pub evidence: Vec<u8>,
    /// When it was registered, in milliseconds since the Unix epoch.
    pub registered_at_ms: u64,
    /// From when on it may bring evidence against stakes.
    pub effective_from_ms: u64,
    /// Whether it was retired alone.
    pub retired: bool,
}

/// From what an enclave's id is derived: the public key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnclaveKey(pub Vec<u8>);

/// `enclave::RegistrarCap`, owned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrarCap {
    /// The object's id.
    pub id: Address,
    /// The configuration it counts for.
    pub config: Address,
}

/// `statement::IntentMessage`: what an enclave signs, as BCS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntentMessage<T> {
    /// [`DOMAIN`].
    pub domain: Vec<u8>,
    /// What the data is for.
    pub intent: u8,
    /// Who signs.
    pub enclave: Address,
    /// The configuration's version under which it was registered.
    pub config_version: u64,
    /// For verdicts, one that counts once against a record; for roots of rewards, the epoch.
    pub nonce: u64,
    /// When it was signed, in milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
    /// What it says.
    pub data: T,
}

/// Event `enclave::EnclaveConfigChanged`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnclaveConfigChanged {
    /// The configuration.
    pub config: Address,
    /// Its pool.
    pub pool: Address,
    /// The version of its PCRs.
    pub config_version: u64,
    /// The least version that counts.
    pub minimum_config_version: u64,
    /// Of the enclave image, SHA-384.
    pub pcr0: Vec<u8>,
    /// Of its kernel.
    pub pcr1: Vec<u8>,
    /// Of its application.
    pub pcr2: Vec<u8>,
    /// Greatest age of a document at registration, in milliseconds.
    pub document_age_ms: u64,
    /// Greatest age of what an enclave signed, in milliseconds.
    pub evidence_age_ms: u64,
    /// From when on attested keys of this version may bring evidence against stakes.
    pub effective_from_ms: u64,
}

/// Event `enclave::EnclaveRegistered`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnclaveRegistered {
    /// The configuration.
    pub config: Address,
    /// The new enclave.
    pub enclave: Address,
    /// The configuration's version.
    pub config_version: u64,
    /// Its key.
    pub public_key: Vec<u8>,
    /// SHA-256 of the public key that the master shows in TLS.
    pub tls_key_sha256: Vec<u8>,
    /// The capability that registered it.
    pub registrar: Address,
    /// SHA-256 of the evidence that the registrar verified; empty: a Nitro document.
    pub evidence: Vec<u8>,
    /// From when on it may bring evidence against stakes, in milliseconds since the Unix epoch.
    pub effective_from_ms: u64,
}

/// Event `enclave::EnclaveRetired`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnclaveRetired {
    /// The configuration.
    pub config: Address,
    /// The enclave.
    pub enclave: Address,
}
