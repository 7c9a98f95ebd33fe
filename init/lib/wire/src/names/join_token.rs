//! The token that an agent joins a cluster with.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::InvalidName;
use crate::Secret;

/// What a secure token begins with (k3s, "Token Format").
const PREFIX: &str = "K10";
/// Digits of the hash of the cluster's certificate authority: SHA-256 in hexadecimal.
const HASH_DIGITS: usize = 64;

/// A join token of k3s in its secure form, `K10<hash>::<credentials>`: it names the hash of the
/// cluster's certificate authority, without which an agent joins whoever answers. The master hands out no
/// other, and a node takes no other.
///
/// It is wiped when it is dropped, and `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Secret", into = "Secret")]
pub struct JoinToken(Secret);

impl JoinToken {
    /// The longest token, in bytes.
    pub const MAXIMUM_LENGTH: usize = 4096;
    /// What [`Self::new`] takes.
    pub const EXPECTED: &str = "a join token of up to 4096 printable characters that names the cluster's authority: \
         K10<64 hexadecimal digits>::<user>:<password>, as k3s keeps it in server/node-token";

    /// Takes a token over.
    ///
    /// # Errors
    /// [`InvalidName`] where it is too long, holds anything but printable ASCII, or does not name the
    /// cluster's authority.
    pub fn new(token: Secret) -> Result<Self, InvalidName> {
        if is_secure(token.expose()) {
            Ok(Self(token))
        } else {
            Err(InvalidName::new(Self::EXPECTED))
        }
    }

    /// The token itself. Whoever calls this answers for where it goes.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

fn is_secure(token: &str) -> bool {
    if token.len() > JoinToken::MAXIMUM_LENGTH || !token.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return false;
    }
    let Some((hash, credentials)) = token
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split_once("::"))
    else {
        return false;
    };
    hash.len() == HASH_DIGITS
        && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
        && !credentials.is_empty()
}

impl TryFrom<Secret> for JoinToken {
    type Error = InvalidName;

    fn try_from(token: Secret) -> Result<Self, InvalidName> {
        Self::new(token)
    }
}

impl From<JoinToken> for Secret {
    fn from(token: JoinToken) -> Self {
        token.0
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JoinToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<JoinToken, InvalidName> {
        JoinToken::new(Secret::new(text.to_owned()))
    }

    #[test]
    fn join_token_without_the_whole_hash_is_refused() {
        let hash = "ca".repeat(32);
        let longest = format!("K10{hash}::{}", "x".repeat(4096 - 69));
        assert!(parse(&format!("K10{hash}::node:secret")).is_ok());
        assert!(parse(&longest).is_ok());
        for token in [
            String::new(),
            "secret".to_owned(),
            format!("K10{hash}:node:secret"),
            format!("K10{hash}::"),
            format!("K10{}::node:secret", &hash[1..]),
            format!("K10{hash}0::node:secret"),
            format!("K10{}::node:secret", "xy".repeat(32)),
            format!("k10{hash}::node:secret"),
            format!("K10{hash}::node:se cret"),
            format!("K10{hash}::node:secret\n"),
            format!("K10{hash}::node:sécret"),
            format!("{longest}x"),
        ] {
            let error = parse(&token).expect_err("refused");
            assert!(token.is_empty() || !error.to_string().contains(&token));
        }
    }

    #[test]
    fn join_token_debug_hides_the_text() {
        let token = parse(&format!("K10{}::node:hunter2", "ca".repeat(32))).unwrap();
        assert_eq!(format!("{token:?}"), "JoinToken(…)");
    }

    proptest! {
        #[test]
        fn join_token_accepts_what_it_prints(text in "K10[0-9a-fA-F]{64}::[!-~]{1,200}") {
            let token = parse(&text).unwrap();
            prop_assert_eq!(token.expose(), &*text);
            let json = serde_json::to_string(&token).unwrap();
            prop_assert_eq!(serde_json::from_str::<JoinToken>(&json).unwrap(), token);
        }

        #[test]
        fn join_token_refuses_a_foreign_character(
            text in "K10[0-9a-f]{64}::[!-~]{1,40}",
            wrong in "[\\x00-\\x20\\x7f]|[^\\x00-\\x7f]",
            place in 0_usize..110,
        ) {
            let mut text = text;
            text.insert_str(place % (text.len() + 1), &wrong);
            prop_assert!(parse(&text).is_err());
        }
    }
}
