//! The masters of a pool, as its directory names them.

use chain_types::ObjectId;

use crate::key::PublicKey;

/// A master whose key counts now: its enclave is registered under the pool's configuration, and
/// neither it nor its version is retired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Master {
    /// Where it is, `https://…`.
    pub url: String,
    /// The object that registers its key.
    pub enclave: ObjectId,
    /// Its key.
    pub public_key: PublicKey,
    /// SHA-256 of the public key (SubjectPublicKeyInfo, DER) that it shows in TLS.
    pub tls_key_sha256: [u8; 32],
}
