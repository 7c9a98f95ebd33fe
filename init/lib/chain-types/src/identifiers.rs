//! Names of things on the chain, as types that cannot be mixed up.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The length of every identifier of the chain, in bytes: an address, or a digest by BLAKE2b-256.
const LENGTH: usize = 32;
/// The most characters of base58 that [`LENGTH`] bytes take.
const LONGEST_BASE58: usize = 44;

/// A text that does not name what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct ParseError {
    /// What the text should have been.
    pub expected: &'static str,
}

/// An account: 32 bytes, written `0x` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address([u8; LENGTH]);

/// An object on the chain (a record, a token, a pool, a package): 32 bytes, written like an
/// address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId([u8; LENGTH]);

/// The chain itself: the digest of its genesis checkpoint, 32 bytes in base58.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChainId([u8; LENGTH]);

/// A transaction: the digest of its bytes, 32 bytes in base58.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TransactionId([u8; LENGTH]);

macro_rules! thirty_two_bytes {
    ($name:ident, $sdk:ident, $read:ident, $write:ident, $expected:literal) => {
        impl $name {
            /// From the raw bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; LENGTH]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            #[must_use]
            pub const fn to_bytes(self) -> [u8; LENGTH] {
                self.0
            }

            /// Whether every byte is zero, as in a field that nobody has set.
            #[must_use]
            pub fn is_zero(self) -> bool {
                self.0 == [0; LENGTH]
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                $write(&self.0, formatter)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                $write(&self.0, formatter)
            }
        }

        impl FromStr for $name {
            type Err = ParseError;

            fn from_str(text: &str) -> Result<Self, ParseError> {
                let expected = $expected;
                $read(text).map(Self).ok_or(ParseError { expected })
            }
        }

        /// Its text where people read the format, its bytes elsewhere.
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = String::deserialize(deserializer)?;
                    text.parse().map_err(de::Error::custom)
                } else {
                    <[u8; LENGTH]>::deserialize(deserializer).map(Self)
                }
            }
        }

        #[cfg(feature = "sui-sdk-types")]
        impl From<sui_sdk_types::$sdk> for $name {
            fn from(inner: sui_sdk_types::$sdk) -> Self {
                Self(inner.into_inner())
            }
        }

        #[cfg(feature = "sui-sdk-types")]
        impl From<$name> for sui_sdk_types::$sdk {
            fn from(name: $name) -> Self {
                Self::new(name.0)
            }
        }
    };
}

/// `0x` and all digits: a text that has lost one names nothing.
fn read_hex(text: &str) -> Option<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    hex::decode_to_slice(text.strip_prefix("0x")?, &mut bytes).ok()?;
    Some(bytes)
}

fn write_hex(bytes: &[u8; LENGTH], formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    formatter.write_str("0x")?;
    bytes
        .iter()
        .try_for_each(|byte| write!(formatter, "{byte:02x}"))
}

fn read_base58(text: &str) -> Option<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    // a long text is not decoded at all: that takes the square of its length
    let fits = text.len() <= LONGEST_BASE58;
    (fits && bs58::decode(text).onto(&mut bytes) == Ok(LENGTH)).then_some(bytes)
}

fn write_base58(bytes: &[u8; LENGTH], formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut text = [0; LONGEST_BASE58];
    let length = bs58::encode(bytes)
        .onto(&mut text[..])
        .map_err(|_| fmt::Error)?;
    let text = text
        .get(..length)
        .and_then(|text| std::str::from_utf8(text).ok());
    formatter.write_str(text.ok_or(fmt::Error)?)
}

thirty_two_bytes!(
    Address,
    Address,
    read_hex,
    write_hex,
    "a Sui address: 0x and 64 hexadecimal digits"
);
thirty_two_bytes!(
    ObjectId,
    Address,
    read_hex,
    write_hex,
    "a Sui object id: 0x and 64 hexadecimal digits"
);
thirty_two_bytes!(
    ChainId,
    Digest,
    read_base58,
    write_base58,
    "a chain id: the base58 digest of the genesis checkpoint"
);
thirty_two_bytes!(
    TransactionId,
    Digest,
    read_base58,
    write_base58,
    "a transaction digest in base58"
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn object_id_hex_text_reads_back() {
        let text = format!("0x{}", "a1".repeat(32));
        let id: ObjectId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(id.to_bytes(), [0xa1; 32]);
        let upper = format!("0x{}", "A1".repeat(32));
        assert_eq!(upper.parse::<ObjectId>().unwrap(), id);
        assert!(!id.is_zero() && ObjectId::from_bytes([0; 32]).is_zero());
    }

    #[test]
    fn object_id_wrong_text_says_what_is_expected() {
        let digits = "a1".repeat(32);
        for text in [
            "",
            "a1",
            "0x6",
            "0xzz",
            &digits,
            &format!("0x{}", &digits[1..]),
            &format!("0x{digits}a"),
            &format!("0X{digits}"),
            &format!(" 0x{digits}"),
            &"0".repeat(100_000),
        ] {
            let error = text.parse::<ObjectId>().unwrap_err();
            assert!(error.to_string().contains("Sui object id"), "{error}");
        }
    }

    #[test]
    fn chain_id_is_base58_of_thirty_two_bytes() {
        let text = "4btiuiMPvEENsttpZC7CZ53DruC3MAgfznDbASZ7DR6S";
        assert_eq!(text.parse::<ChainId>().unwrap().to_string(), text);
        for text in ["", "0x12", "M", &format!("{text}1"), &"1".repeat(44)] {
            assert!(text.parse::<ChainId>().is_err(), "{text}");
        }
    }

    #[test]
    fn object_id_json_is_text_and_bcs_bytes() {
        let id = ObjectId::from_bytes([0xb2; 32]);
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, format!("\"{id}\""));
        assert_eq!(serde_json::from_str::<ObjectId>(&json).unwrap(), id);
        assert!(serde_json::from_str::<ObjectId>("\"0xb2\"").is_err());
        assert_eq!(bcs::to_bytes(&id).unwrap(), [0xb2; 32]);
        assert_eq!(bcs::from_bytes::<ObjectId>(&[0xb2; 32]).unwrap(), id);
    }

    proptest! {
        #[test]
        fn identifiers_accept_what_they_print(bytes in any::<[u8; 32]>()) {
            macro_rules! reads_back {
                ($($name:ident),*) => {$(
                    let value = $name::from_bytes(bytes);
                    prop_assert_eq!(value.to_string().parse::<$name>(), Ok(value));
                    let json = serde_json::to_string(&value).unwrap();
                    prop_assert_eq!(serde_json::from_str::<$name>(&json).unwrap(), value);
                )*};
            }
            reads_back!(Address, ObjectId, ChainId, TransactionId);
        }

        #[test]
        fn identifiers_refuse_a_foreign_character(
            bytes in any::<[u8; 32]>(),
            wrong in "[\\PC\\x00-\\x20]",
            place in 0_usize..80,
        ) {
            let foreign = |text: String, alphabet: fn(char) -> bool| {
                let place = place % (text.len() + 1);
                let character = wrong.chars().next().filter(|c| !alphabet(*c))?;
                let mut text = text;
                text.insert(place, character);
                Some(text)
            };
            // one digit more is refused, too
            let id = foreign(ObjectId::from_bytes(bytes).to_string(), |_| false);
            prop_assert!(id.is_none_or(|text| text.parse::<ObjectId>().is_err()));
            let base58 = |c: char| c.is_ascii_alphanumeric();
            let id = foreign(ChainId::from_bytes(bytes).to_string(), base58);
            prop_assert!(id.is_none_or(|text| text.parse::<ChainId>().is_err()));
        }
    }
}
