//! The node's key: it owns the stake, signs transactions, and proves to the master who asks.

use std::fmt;
use std::str::FromStr;

use bech32::Bech32;
use bech32::primitives::decode::CheckedHrpstring;
use sui_crypto::ed25519::{Ed25519PrivateKey, Ed25519VerifyingKey};
use sui_crypto::{SuiSigner, SuiVerifier};
use sui_sdk_types::{
    Ed25519PublicKey, PersonalMessage, SignatureScheme, SimpleSignature, Transaction, UserSignature,
};
use zeroize::Zeroizing;

use crate::error::KeyError;
use crate::identifiers::Address;

/// The human-readable part of a private key in Sui's text form (SIP-15).
const PRIVATE_KEY_PREFIX: &str = "suiprivkey";

/// `suiprivkey`, the separator, 33 bytes in groups of five bits, and six of checksum.
const PRIVATE_KEY_TEXT: usize = 70;

/// An ed25519 key pair. The secret half is wiped when it is dropped and never printed.
pub struct NodeKey(Ed25519PrivateKey);

impl NodeKey {
    /// Reads `suiprivkey1…`, the form that `sui keytool export` prints.
    ///
    /// # Errors
    /// Names what is wrong with the text, never the text itself.
    pub fn from_suiprivkey(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if !text.starts_with(PRIVATE_KEY_PREFIX) {
            return Err(KeyError::Prefix);
        }
        if text.len() != PRIVATE_KEY_TEXT {
            return Err(KeyError::Length {
                expected: PRIVATE_KEY_TEXT,
                found: text.len(),
            });
        }
        let checked = CheckedHrpstring::new::<Bech32>(text).map_err(|_error| KeyError::Checksum)?;
        if checked.hrp().as_str() != PRIVATE_KEY_PREFIX {
            return Err(KeyError::Prefix);
        }
        let mut bytes = checked.byte_iter();
        match bytes.next() {
            Some(flag) if flag == SignatureScheme::Ed25519.to_u8() => {}
            Some(flag) => return Err(KeyError::Scheme { flag }),
            None => return Err(KeyError::Checksum),
        }
        let mut secret = Zeroizing::new([0; Ed25519PrivateKey::LENGTH]);
        for place in secret.iter_mut() {
            *place = bytes.next().ok_or(KeyError::Checksum)?;
        }
        Ok(Self(Ed25519PrivateKey::new(*secret)))
    }

    /// A new key from the operating system's random numbers.
    ///
    /// # Errors
    /// [`KeyError::Random`] where the system has none to give.
    pub fn generate() -> Result<Self, KeyError> {
        let mut secret = Zeroizing::new([0; Ed25519PrivateKey::LENGTH]);
        getrandom::fill(secret.as_mut()).map_err(KeyError::Random)?;
        Ok(Self(Ed25519PrivateKey::new(*secret)))
    }

    /// The `suiprivkey1…` text: the secret itself.
    ///
    /// # Errors
    /// [`KeyError::Checksum`] where the encoder refuses, which it has no reason to.
    pub fn to_suiprivkey(&self) -> Result<Zeroizing<String>, KeyError> {
        self.0
            .to_suiprivkey()
            .map(Zeroizing::new)
            .map_err(|_error| KeyError::Checksum)
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.public_key())
    }

    /// The account that this key controls.
    pub fn address(&self) -> Address {
        self.public().address()
    }

    /// Signs a message as Sui's wallets do ("personal message": its own intent prefix), so that
    /// a signature over a message is never one over a transaction.
    ///
    /// # Errors
    /// [`KeyError::Signing`] where the signer refuses, which ed25519 has no reason to.
    pub fn sign_message(&self, message: &[u8]) -> Result<MessageSignature, KeyError> {
        self.0
            .sign_personal_message(&PersonalMessage(message.into()))
            .map(MessageSignature)
            .map_err(|_error| KeyError::Signing)
    }

    /// Signs a transaction.
    pub(crate) fn sign_transaction(&self, tx: &Transaction) -> Result<UserSignature, KeyError> {
        self.0
            .sign_transaction(tx)
            .map_err(|_error| KeyError::Signing)
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeKey")
            .field("address", &self.address())
            .field("secret", &"<redacted>")
            .finish()
    }
}

/// The public half of a node's key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(Ed25519PublicKey);

impl PublicKey {
    /// How long the flagged form is.
    pub const FLAGGED_LENGTH: usize = 1 + Ed25519PublicKey::LENGTH;

    /// The form that stands in stake records and seal tokens: the signature scheme's flag byte
    /// (0 is ed25519), then the key.
    pub fn to_flagged_bytes(self) -> [u8; Self::FLAGGED_LENGTH] {
        let mut bytes = [0; Self::FLAGGED_LENGTH];
        bytes[0] = SignatureScheme::Ed25519.to_u8();
        bytes[1..].copy_from_slice(self.0.as_bytes());
        bytes
    }

    /// Reads the flagged form.
    ///
    /// # Errors
    /// Where the flag names a scheme that is not known here, or the length is another.
    pub fn from_flagged_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let Some((&flag, key)) = bytes.split_first() else {
            return Err(KeyError::Length {
                expected: Self::FLAGGED_LENGTH,
                found: 0,
            });
        };
        if flag != SignatureScheme::Ed25519.to_u8() {
            return Err(KeyError::Scheme { flag });
        }
        Ed25519PublicKey::from_bytes(key)
            .map(Self)
            .map_err(|_error| KeyError::Length {
                expected: Self::FLAGGED_LENGTH,
                found: bytes.len(),
            })
    }

    /// The account of this key: the BLAKE2b-256 hash of the flagged form.
    pub fn address(self) -> Address {
        self.0.derive_address().into()
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
        Ed25519VerifyingKey::new(&self.0)
            .and_then(|key| {
                key.verify_personal_message(&PersonalMessage(message.into()), &signature.0)
            })
            .map_err(|_error| KeyError::BadSignature)
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
        let digits = text.strip_prefix("0x").unwrap_or(text);
        if digits.len() != 2 * Self::FLAGGED_LENGTH || !digits.is_ascii() {
            return Err(KeyError::Length {
                expected: 2 * Self::FLAGGED_LENGTH,
                found: digits.len(),
            });
        }
        let mut bytes = [0; Self::FLAGGED_LENGTH];
        for (index, place) in bytes.iter_mut().enumerate() {
            *place = u8::from_str_radix(&digits[2 * index..2 * index + 2], 16)
                .map_err(|_error| KeyError::Hexadecimal)?;
        }
        Self::from_flagged_bytes(&bytes)
    }
}

/// A signature over a message, with the key that made it. Its text is Sui's base64 form:
/// flag, signature, public key.
#[derive(Clone, PartialEq, Eq)]
pub struct MessageSignature(UserSignature);

impl MessageSignature {
    /// Longest text that is looked at: an ed25519 signature is 132 characters.
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
        match &self.0 {
            UserSignature::Simple(SimpleSignature::Ed25519 { public_key, .. }) => {
                Ok(PublicKey(*public_key))
            }
            other => Err(KeyError::Scheme {
                flag: other.scheme().to_u8(),
            }),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A key as the Sui CLI exports it.
    const TEXT: &str = "suiprivkey1qzwant3kaegmjy4qxex93s0jzvemekkjmyv3r2sjwgnv2y479pgsywhveae";

    #[test]
    fn text_is_read_and_written() {
        let key = NodeKey::from_suiprivkey(TEXT).unwrap();
        assert_eq!(key.to_suiprivkey().unwrap().as_str(), TEXT);
        let generated = NodeKey::generate().unwrap();
        let again = NodeKey::from_suiprivkey(&generated.to_suiprivkey().unwrap()).unwrap();
        assert_eq!(generated.address(), again.address());
    }

    #[test]
    fn debug_does_not_show_the_secret() {
        let key = NodeKey::from_suiprivkey(TEXT).unwrap();
        let shown = format!("{key:?}");
        assert!(
            shown.contains("<redacted>") && !shown.contains("suiprivkey"),
            "{shown}"
        );
    }

    #[test]
    fn wrong_texts_are_told_apart_without_showing_them() {
        let flipped = format!("{}q", &TEXT[..TEXT.len() - 1]);
        for (text, expected) in [
            ("", "suiprivkey"),
            ("suiprivkey1abc", "70 characters"),
            (flipped.as_str(), "checksum"),
        ] {
            let error = NodeKey::from_suiprivkey(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn signatures_hold_for_one_message_and_one_key() {
        let (key, other) = (NodeKey::generate().unwrap(), NodeKey::generate().unwrap());
        let signature = key.sign_message(b"hello").unwrap();
        assert_eq!(
            MessageSignature::from_bytes(&signature.to_bytes()).unwrap(),
            signature
        );
        assert!(MessageSignature::from_bytes(&signature.to_bytes()[1..]).is_err());
        let signature: MessageSignature = signature.to_string().parse().unwrap();
        key.public().verify_message(b"hello", &signature).unwrap();
        assert!(matches!(
            key.public().verify_message(b"hullo", &signature),
            Err(KeyError::BadSignature)
        ));
        assert!(matches!(
            other.public().verify_message(b"hello", &signature),
            Err(KeyError::WrongSigner)
        ));
    }

    #[test]
    fn public_keys_go_through_their_flagged_form() {
        let key = NodeKey::generate().unwrap().public();
        assert_eq!(
            PublicKey::from_flagged_bytes(&key.to_flagged_bytes()).unwrap(),
            key
        );
        assert_eq!(key.to_string().parse::<PublicKey>().unwrap(), key);
        let mut flagged = key.to_flagged_bytes();
        flagged[0] = 2;
        assert!(matches!(
            PublicKey::from_flagged_bytes(&flagged),
            Err(KeyError::Scheme { flag: 2 })
        ));
        assert!(PublicKey::from_flagged_bytes(&flagged[..10]).is_err());
        assert!("0xé".parse::<PublicKey>().is_err());
    }
}
