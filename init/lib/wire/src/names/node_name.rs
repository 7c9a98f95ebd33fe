//! A node's name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::InvalidName;

/// The longest label, in bytes (RFC 1035, section 2.3.4).
const MAXIMUM_LENGTH: usize = 63;

/// A node's name in the cluster and on chain, and its host name: a label of RFC 1123, section 2.1, in
/// lower case, as Kubernetes takes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(String);

impl NodeName {
    /// What [`FromStr`] takes.
    pub const EXPECTED: &str = "1 to 63 lower-case letters, digits and inner hyphens";

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let bytes = text.as_bytes();
        let inner = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let valid = (1..=MAXIMUM_LENGTH).contains(&bytes.len())
            && bytes.iter().all(inner)
            && !text.starts_with('-')
            && !text.ends_with('-');
        valid
            .then(|| Self(text.to_owned()))
            .ok_or(InvalidName::new(Self::EXPECTED))
    }
}

impl TryFrom<String> for NodeName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn node_name_takes_labels_alone() {
        for good in ["a", "edge-0001", "0", &"x".repeat(63)] {
            assert!(good.parse::<NodeName>().is_ok(), "{good}");
        }
        let long = "x".repeat(64);
        for wrong in [
            "", "-", "-a", "a-", "A", "a.b", "a_b", "a b", "a\n", "ä", "--help", &long,
        ] {
            assert!(wrong.parse::<NodeName>().is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn node_name_accepts_what_it_prints(text in "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?") {
            let name: NodeName = text.parse().unwrap();
            prop_assert_eq!(name.to_string(), &*text);
            let json = serde_json::to_string(&name).unwrap();
            prop_assert_eq!(serde_json::from_str::<NodeName>(&json).unwrap(), name);
        }

        #[test]
        fn node_name_is_never_anything_else(text in "\\PC{0,70}|[ -~\\x00-\\x1f]{0,70}") {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if let Ok(name) = text.parse::<NodeName>() {
                prop_assert!(name.as_str().chars().all(plain) && name.as_str().len() <= 63);
            }
        }
    }
}
