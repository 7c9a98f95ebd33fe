//! What signs: keys in this process's memory here, others elsewhere.

use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer as _;
use sui_crypto::ed25519::Ed25519PrivateKey;
use sui_sdk_types::{Ed25519Signature, Secp256r1PublicKey, SignatureScheme};
use zeroize::Zeroizing;

use super::PublicKey;
use super::error::KeyError;
use super::import::Payload;

/// A raw signature: for ed25519 the 64 bytes of RFC 8032; for secp256r1 r and s, big-endian.
pub type SignatureBytes = [u8; 64];

/// Something that holds a node's private key and signs with it.
pub trait Signer: Send + Sync {
    /// The public half.
    fn public(&self) -> PublicKey;

    /// Signs a message: with ed25519 as it is, with secp256r1 its SHA-256 digest. It does not
    /// matter whether s is low: who calls makes it so, as Sui demands.
    ///
    /// # Errors
    /// [`KeyError::Signing`] where it can't.
    fn sign(&self, message: &[u8]) -> Result<SignatureBytes, KeyError>;

    /// Whether [`Self::sign`] waits for something outside of this process: it is then called on a thread
    /// of its own wherever something else is to go on.
    fn waits(&self) -> bool {
        false
    }

    /// The scheme's flag byte and the secret itself, where it can be had.
    ///
    /// # Errors
    /// [`KeyError::NotExportable`] where it can't.
    fn export(&self) -> Result<Payload, KeyError> {
        Err(KeyError::NotExportable)
    }
}

/// An ed25519 key in memory; wiped when it is dropped.
pub(super) struct Ed25519(Ed25519PrivateKey, Zeroizing<[u8; 32]>);

impl Ed25519 {
    pub(super) const FLAG: u8 = SignatureScheme::Ed25519 as u8;

    pub(super) fn new(secret: &[u8; 32]) -> Self {
        Self(Ed25519PrivateKey::new(*secret), Zeroizing::new(*secret))
    }
}

impl Signer for Ed25519 {
    fn public(&self) -> PublicKey {
        PublicKey::ed25519(self.0.public_key())
    }

    fn sign(&self, message: &[u8]) -> Result<SignatureBytes, KeyError> {
        let signature: Ed25519Signature = self
            .0
            .try_sign(message)
            .map_err(|_error| KeyError::Signing)?;
        Ok(signature.into_inner())
    }

    fn export(&self) -> Result<Payload, KeyError> {
        Ok(Payload::new(Self::FLAG, &self.1))
    }
}

/// A secp256r1 key in memory; wiped when it is dropped.
pub(super) struct Secp256r1(SigningKey);

impl Secp256r1 {
    pub(super) const FLAG: u8 = SignatureScheme::Secp256r1 as u8;

    /// `secret` is the scalar, big-endian.
    pub(super) fn new(secret: &[u8; 32]) -> Result<Self, KeyError> {
        SigningKey::from_slice(secret)
            .map(Self)
            .map_err(|_error| KeyError::Secret)
    }
}

impl Signer for Secp256r1 {
    fn public(&self) -> PublicKey {
        let point = self.0.verifying_key().to_encoded_point(true);
        let mut compressed = [0; Secp256r1PublicKey::LENGTH];
        // a compressed point has just this length
        if point.len() == compressed.len() {
            compressed.copy_from_slice(point.as_bytes());
        }
        PublicKey::secp256r1(Secp256r1PublicKey::new(compressed))
    }

    fn sign(&self, message: &[u8]) -> Result<SignatureBytes, KeyError> {
        let signature: p256::ecdsa::Signature = self
            .0
            .try_sign(message)
            .map_err(|_error| KeyError::Signing)?;
        Ok(signature.to_bytes().into())
    }

    fn export(&self) -> Result<Payload, KeyError> {
        let secret = Zeroizing::new(<[u8; 32]>::from(self.0.to_bytes()));
        Ok(Payload::new(Self::FLAG, &secret))
    }
}
