//! Signatures over messages.

use std::fmt;
use std::str::FromStr;

use sui_sdk_types::UserSignature;

use super::PublicKey;
use super::error::KeyError;

/// A signature over a message, with the key that made it. Its text is Sui's base64 form:
/// flag, signature, public key.
#[derive(Clone, PartialEq, Eq)]
pub struct MessageSignature(pub(super) UserSignature);

impl MessageSignature {
    /// Longest text that is looked at: a secp256r1 signature is 132 characters.
    const LONGEST_TEXT: usize = 200;

    /// Sui's binary form: flag, signature, public key; 97 bytes for ed25519.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_bytes()
    }

    /// Reads the binary form.
    ///
    /// # Errors
    /// [`KeyError::BadSignature`] where it is none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() > Self::LONGEST_TEXT {
            return Err(KeyError::BadSignature);
        }
        UserSignature::from_bytes(bytes)
            .map(Self)
            .map_err(|_error| KeyError::BadSignature)
    }

    /// The key that claims to have signed.
    ///
    /// # Errors
    /// [`KeyError::Scheme`] where the signature is of a scheme not known here.
    pub fn signer(&self) -> Result<PublicKey, KeyError> {
        PublicKey::of(&self.0).ok_or_else(|| KeyError::Scheme {
            flag: self.0.scheme().to_u8(),
        })
    }
}

impl fmt::Display for MessageSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_base64())
    }
}

impl fmt::Debug for MessageSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MessageSignature {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        if text.len() > Self::LONGEST_TEXT {
            return Err(KeyError::BadSignature);
        }
        UserSignature::from_base64(text)
            .map(Self)
            .map_err(|_error| KeyError::BadSignature)
    }
}
