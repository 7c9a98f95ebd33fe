//! A key on paper that opens a sealed file when its TPM cannot.
//!
//! It is a P-256 secret key. Files carry its public part, so that whatever seals them anew needs no
//! secret to keep them recoverable.

use std::fmt::Write;

use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{Aead, KeyInit},
};
use p256::SecretKey;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::error::Error;
use crate::tpm::crypto::{self, Point, sha256};

/// The content's key, encrypted for a recovery key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Recovery {
    pub(super) public: Point,
    ephemeral: Point,
    wrapped: Vec<u8>,
}

/// A recovery key: to be printed once, and kept off the machine.
pub struct RecoveryKey(SecretKey);

/// The wrapping key is used once, so its nonce may be anything.
fn once() -> XNonce {
    XNonce::from([0; 24])
}

impl RecoveryKey {
    /// A new key.
    ///
    /// # Errors
    ///
    /// When the kernel has no random numbers.
    pub fn generate() -> Result<Self, Error> {
        Ok(Self(crypto::random_scalar()?))
    }

    /// The public part, for sealing.
    #[must_use]
    pub fn public(&self) -> Point {
        Point::from_public_key(&self.0.public_key())
    }

    /// The key as a person keeps it: groups of four hexadecimal digits, the last a checksum.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let bytes = Zeroizing::new(<[u8; 32]>::from(self.0.to_bytes()));
        let [first, second, ..] = sha256(&[bytes.as_ref()]);
        let mut text = Zeroizing::new(String::with_capacity(17 * 5));
        for pair in bytes.chunks(2).chain([[first, second].as_slice()]) {
            if !text.is_empty() {
                text.push('-');
            }
            for byte in pair {
                // writing to a String does not fail
                let _ = write!(text, "{byte:02x}");
            }
        }
        text
    }

    /// Reads what [`RecoveryKey::to_text`] gave; case, spaces and dashes do not matter.
    ///
    /// # Errors
    ///
    /// When it is mistyped.
    pub fn from_text(text: &str) -> Result<Self, Error> {
        let wrong = || {
            Error::Recovery("this is no recovery key: expected 17 groups of 4 digits; check each")
        };
        let digits: Zeroizing<String> = Zeroizing::new(
            text.chars()
                .filter(|letter| !letter.is_whitespace() && *letter != '-')
                .collect(),
        );
        let mut bytes = Zeroizing::new([0; 34]);
        hex::decode_to_slice(digits.as_bytes(), bytes.as_mut()).map_err(|_| wrong())?;
        let (key, checksum) = bytes.split_at(32);
        if !sha256(&[key]).starts_with(checksum) {
            return Err(wrong());
        }
        SecretKey::from_slice(key).map(Self).map_err(|_| wrong())
    }
}

impl Recovery {
    pub(super) fn wrap(public: &Point, key: &[u8; 32]) -> Result<Self, Error> {
        let (seed, ephemeral) = crypto::share_secret_point(public, "RECOVERY")?;
        let wrapped = XChaCha20Poly1305::new((&*seed).into())
            .encrypt(&once(), key.as_slice())
            .map_err(|_| Error::Recovery("the key cannot be wrapped for recovery"))?;
        Ok(Self {
            public: *public,
            ephemeral,
            wrapped,
        })
    }

    pub(super) fn unwrap(&self, key: &RecoveryKey) -> Result<Zeroizing<[u8; 32]>, Error> {
        let wrong = || Error::Recovery("this recovery key is not the sealed file's");
        let seed = crypto::open_secret(&key.0, &self.ephemeral, "RECOVERY").map_err(|_| wrong())?;
        let opened = XChaCha20Poly1305::new((&*seed).into())
            .decrypt(&once(), self.wrapped.as_slice())
            .map(Zeroizing::new)
            .map_err(|_| wrong())?;
        let mut bytes = Zeroizing::new([0; 32]);
        if opened.len() != bytes.len() {
            return Err(wrong());
        }
        bytes.copy_from_slice(&opened);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_key_survives_paper() {
        let key = RecoveryKey::generate().expect("a key");
        let text = key.to_text();
        assert_eq!(text.split('-').count(), 17);
        let typed = text.to_uppercase().replace('-', " ");
        assert_eq!(
            RecoveryKey::from_text(&typed).expect("a key").public(),
            key.public()
        );
        let mistyped = text.replacen(|digit| digit != '0', "0", 1);
        assert!(RecoveryKey::from_text(&mistyped).is_err());
        assert!(RecoveryKey::from_text("").is_err());
    }
}
