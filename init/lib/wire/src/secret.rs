//! Text that must not be shown.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// A text that is wiped when it is dropped and never shown by `Debug`.
///
/// It serialises as plain text, since the messages that carry it go over a socket pair or TLS.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a text over.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself. Whoever calls this answers for where it goes.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<Secret> for String {
    fn from(secret: Secret) -> Self {
        secret.0.to_string()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_text() {
        let shown = format!("{:?}", Secret::new("K10abc::token".to_owned()));
        assert!(!shown.contains("K10"), "{shown}");
    }

    #[test]
    fn serialises_as_plain_text() {
        let secret = Secret::new("token".to_owned());
        let json = serde_json::to_string(&secret).expect("a string");
        assert_eq!(json, "\"token\"");
        assert_eq!(
            serde_json::from_str::<Secret>(&json).expect("a string"),
            secret
        );
    }
}
