//! What can be wrong with a key or a signature.

/// A fault of a key or a signature. Never shows the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not a Sui private key at all.
    #[error(
        "expected a Sui private key: suiprivkey1… or an entry of sui.keystore (44 characters of \
         base64)"
    )]
    Prefix,
    /// Cut off, or more than a key.
    #[error("expected {expected} characters, found {found}")]
    Length {
        /// The right length.
        expected: usize,
        /// The length found.
        found: usize,
    },
    /// A typing or copying mistake.
    #[error("the key's checksum does not fit: a character is missing or wrong")]
    Checksum,
    /// Another signature scheme.
    #[error(
        "expected an ed25519 (flag 0) or secp256r1 key (flag 2), found the scheme with flag {flag}"
    )]
    Scheme {
        /// The scheme's flag byte.
        flag: u8,
    },
    /// A number that is no secret key of its scheme.
    #[error("the secret is no key of its scheme")]
    Secret,
    /// The secret is not in this process.
    #[error("the secret half of this key can't be had")]
    NotExportable,
    /// Not hexadecimal.
    #[error("expected hexadecimal digits")]
    Hexadecimal,
    /// No random numbers.
    #[error("the system gives no random numbers")]
    Random(#[source] getrandom::Error),
    /// The signer refused.
    #[error("the key does not sign")]
    Signing,
    /// The signer takes too long.
    #[error("the key does not sign in time")]
    Slow,
    /// Another key signed.
    #[error("the signature was made by another key")]
    WrongSigner,
    /// The signature does not fit.
    #[error("the signature does not fit the message")]
    BadSignature,
}
