//! Public keys.

use std::fmt;
use std::str::FromStr;

use chain_types::Address;
use sui_crypto::ed25519::Ed25519VerifyingKey;
use sui_crypto::secp256r1::Secp256r1VerifyingKey;
use sui_crypto::simple::SimpleVerifier;
use sui_crypto::{SuiVerifier, Verifier};
use sui_sdk_types::{
    Ed25519PublicKey, Ed25519Signature, PersonalMessage, Secp256r1PublicKey, Secp256r1Signature,
    SignatureScheme, SimpleSignature, UserSignature,
};

use super::error::KeyError;
use super::{MessageSignature, SignatureBytes};

/// The public half of a node's key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(Key);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Ed25519(Ed25519PublicKey),
    Secp256r1(Secp256r1PublicKey),
}

impl PublicKey {
    /// How long the longest flagged form is: that of secp256r1.
    pub const LONGEST: usize = 1 + Secp256r1PublicKey::LENGTH;

    /// The flag byte of secp256r1 (P-256), the scheme of keys in a TPM.
    pub const SECP256R1_FLAG: u8 = SignatureScheme::Secp256r1 as u8;

    pub(super) fn ed25519(key: Ed25519PublicKey) -> Self {
        Self(Key::Ed25519(key))
    }

    /// An ed25519 key from its 32 bytes.
    pub const fn from_ed25519_bytes(bytes: [u8; 32]) -> Self {
        Self(Key::Ed25519(Ed25519PublicKey::new(bytes)))
    }

    pub(super) fn secp256r1(key: Secp256r1PublicKey) -> Self {
        Self(Key::Secp256r1(key))
    }

    /// The form that stands in stake records and seal tokens: the signature scheme's flag byte
    /// (0 is ed25519, 2 secp256r1), then the key, that of secp256r1 compressed.
    pub fn to_flagged_bytes(self) -> Vec<u8> {
        let (scheme, key) = match &self.0 {
            Key::Ed25519(key) => (SignatureScheme::Ed25519, &key.inner()[..]),
            Key::Secp256r1(key) => (SignatureScheme::Secp256r1, &key.inner()[..]),
        };
        let mut bytes = vec![scheme.to_u8()];
        bytes.extend_from_slice(key);
        bytes
    }

    /// Reads the flagged form.
    ///
    /// # Errors
    /// Where the flag names a scheme that is not known here, or the length is another.
    pub fn from_flagged_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let Some((&flag, key)) = bytes.split_first() else {
            return Err(KeyError::Length {
                expected: 1 + Ed25519PublicKey::LENGTH,
                found: 0,
            });
        };
        let length = |expected: usize| KeyError::Length {
            expected: 1 + expected,
            found: bytes.len(),
        };
        if flag == SignatureScheme::Ed25519.to_u8() {
            return Ed25519PublicKey::from_bytes(key)
                .map(Self::ed25519)
                .map_err(|_error| length(Ed25519PublicKey::LENGTH));
        }
        if flag == SignatureScheme::Secp256r1.to_u8() {
            return Secp256r1PublicKey::from_bytes(key)
                .map(Self::secp256r1)
                .map_err(|_error| length(Secp256r1PublicKey::LENGTH));
        }
        Err(KeyError::Scheme { flag })
    }

    /// The account of this key: the BLAKE2b-256 hash of the flagged form.
    pub fn address(self) -> Address {
        match self.0 {
            Key::Ed25519(key) => key.derive_address().into(),
            Key::Secp256r1(key) => key.derive_address().into(),
        }
    }

    /// Checks that this key signed the message.
    ///
    /// # Errors
    /// [`KeyError::WrongSigner`] where another key signed, [`KeyError::BadSignature`] where the
    /// signature does not fit the message.
    pub fn verify_message(
        self,
        message: &[u8],
        signature: &MessageSignature,
    ) -> Result<(), KeyError> {
        if signature.signer()? != self {
            return Err(KeyError::WrongSigner);
        }
        SimpleVerifier
            .verify_personal_message(&PersonalMessage(message.into()), &signature.0)
            .map_err(|_error| KeyError::BadSignature)
    }

    /// Checks a bare signature of this key over bytes, as Move does: ed25519, or ECDSA on P-256 over
    /// SHA-256 with a low S; 64 bytes each.
    ///
    /// # Errors
    /// [`KeyError::BadSignature`].
    pub fn verify_bytes(self, bytes: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        let wrong = |_error| KeyError::BadSignature;
        match self.0 {
            Key::Ed25519(key) => {
                let signature = Ed25519Signature::from_bytes(signature)
                    .map_err(|_error| KeyError::BadSignature)?;
                Ed25519VerifyingKey::new(&key)
                    .and_then(|key| key.verify(bytes, &signature))
                    .map_err(wrong)
            }
            Key::Secp256r1(key) => {
                let parsed = p256::ecdsa::Signature::from_slice(signature)
                    .map_err(|_error| KeyError::BadSignature)?;
                if parsed.normalize_s().is_some() {
                    return Err(KeyError::BadSignature);
                }
                let signature = Secp256r1Signature::from_bytes(signature)
                    .map_err(|_error| KeyError::BadSignature)?;
                Secp256r1VerifyingKey::new(&key)
                    .and_then(|key| key.verify(bytes, &signature))
                    .map_err(wrong)
            }
        }
    }

    /// The key of a signature, where its scheme is known here.
    pub(super) fn of(signature: &UserSignature) -> Option<Self> {
        match signature {
            UserSignature::Simple(SimpleSignature::Ed25519 { public_key, .. }) => {
                Some(Self::ed25519(*public_key))
            }
            UserSignature::Simple(SimpleSignature::Secp256r1 { public_key, .. }) => {
                Some(Self::secp256r1(*public_key))
            }
            _ => None,
        }
    }

    /// A raw signature of this key in Sui's form. Of the two that ECDSA has for a message, the one
    /// with the lower s: Sui takes no other.
    pub(super) fn user_signature(self, raw: &SignatureBytes) -> Result<UserSignature, KeyError> {
        Ok(UserSignature::Simple(match self.0 {
            Key::Ed25519(public_key) => SimpleSignature::Ed25519 {
                signature: Ed25519Signature::new(*raw),
                public_key,
            },
            Key::Secp256r1(public_key) => {
                let signature =
                    p256::ecdsa::Signature::from_slice(raw).map_err(|_error| KeyError::Signing)?;
                let signature = signature.normalize_s().unwrap_or(signature);
                SimpleSignature::Secp256r1 {
                    signature: Secp256r1Signature::new(signature.to_bytes().into()),
                    public_key,
                }
            }
        }))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x")?;
        self.to_flagged_bytes()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    /// Reads what `Display` writes: `0x`, the flag byte and the key in hexadecimal.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let digits = text.strip_prefix("0x").unwrap_or(text).as_bytes();
        if digits.len() > 2 * Self::LONGEST || !digits.len().is_multiple_of(2) {
            return Err(KeyError::Length {
                expected: 2 * Self::LONGEST,
                found: digits.len(),
            });
        }
        let bytes: Option<Vec<u8>> = digits
            .chunks_exact(2)
            .map(|pair| {
                let pair = std::str::from_utf8(pair).ok()?;
                u8::from_str_radix(pair, 16).ok()
            })
            .collect();
        Self::from_flagged_bytes(&bytes.ok_or(KeyError::Hexadecimal)?)
    }
}
