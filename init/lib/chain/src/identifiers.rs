//! Names of things on the chain, as types that cannot be mixed up.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::ParseError;

/// An account: 32 bytes, written `0x` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Address(sui_sdk_types::Address);

/// An object on the chain (a record, a seal token, a pool, a package): 32 bytes, written like an
/// address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ObjectId(sui_sdk_types::Address);

/// The chain itself: the digest of its genesis checkpoint, 32 bytes in base58.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainId(sui_sdk_types::Digest);

/// A transaction: the digest of its bytes, 32 bytes in base58.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TransactionId(sui_sdk_types::Digest);

macro_rules! thirty_two_bytes {
    ($name:ident, $inner:ty, $prefix:literal, $expected:literal) => {
        impl $name {
            /// From the raw bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(<$inner>::new(bytes))
            }

            /// The raw bytes.
            pub fn to_bytes(self) -> [u8; 32] {
                self.0.into_inner()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl From<$inner> for $name {
            fn from(inner: $inner) -> Self {
                Self(inner)
            }
        }

        impl From<$name> for $inner {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl FromStr for $name {
            type Err = ParseError;

            fn from_str(text: &str) -> Result<Self, ParseError> {
                parse(text, $prefix).map(Self).ok_or(ParseError {
                    expected: $expected,
                })
            }
        }
    };
}

/// Room for the longest valid text, so that a huge one is not decoded at all.
const LONGEST_TEXT: usize = 80;

fn parse<T: FromStr>(text: &str, prefix: &str) -> Option<T> {
    if text.len() > LONGEST_TEXT || !text.starts_with(prefix) {
        return None;
    }
    text.parse().ok()
}

thirty_two_bytes!(
    Address,
    sui_sdk_types::Address,
    "0x",
    "a Sui address: 0x and up to 64 hexadecimal digits"
);
thirty_two_bytes!(
    ObjectId,
    sui_sdk_types::Address,
    "0x",
    "a Sui object id: 0x and up to 64 hexadecimal digits"
);
thirty_two_bytes!(
    ChainId,
    sui_sdk_types::Digest,
    "",
    "a chain id: the base58 digest of the genesis checkpoint"
);
thirty_two_bytes!(
    TransactionId,
    sui_sdk_types::Digest,
    "",
    "a transaction digest in base58"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_id_is_written_as_it_is_read() {
        let text = format!("0x{}", "a1".repeat(32));
        let id: ObjectId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(id.to_bytes(), [0xa1; 32]);
        let short: ObjectId = "0x6".parse().unwrap();
        assert_eq!(short.to_bytes()[31], 6);
    }

    #[test]
    fn wrong_texts_say_what_was_expected() {
        for text in ["", "a1", "0xzz", &"0".repeat(100_000)] {
            let error = text.parse::<ObjectId>().unwrap_err();
            assert!(error.to_string().contains("Sui object id"), "{error}");
        }
        assert!("0x12".parse::<ChainId>().is_err());
    }

    #[test]
    fn a_chain_id_is_base58() {
        let id = ChainId::from_bytes([7; 32]);
        assert_eq!(id.to_string().parse::<ChainId>().unwrap(), id);
    }
}
