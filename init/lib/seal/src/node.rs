//! What a node's sealed configuration holds.

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::tpm::{SealedObject, SigningKey, policy::Policy};

/// What a node seals: a [`Content`].
pub const LABEL: &str = "node";
/// What is sealed from afar: the document alone, as text.
pub const DOCUMENT_LABEL: &str = "node.toml";

/// The longest stored key in bytes: two structures of a TPM's, and a policy.
pub const MAX_KEY: usize = 4096;

/// A node's configuration, and the key that its TPM made for it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// The document `node.toml`.
    #[serde(with = "wiped")]
    pub document: Zeroizing<String>,
    /// The node's Sui key, where it is the TPM's.
    pub sui_key: Option<StoredKey>,
}

/// Without the document, which holds secrets.
impl std::fmt::Debug for Content {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Content")
            .field("sui_key", &self.sui_key)
            .finish_non_exhaustive()
    }
}

/// A text that is wiped, as any other.
mod wiped {
    use serde::{Deserialize, Deserializer, Serializer};
    use zeroize::Zeroizing;

    pub(super) fn serialize<S: Serializer>(
        text: &Zeroizing<String>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Zeroizing<String>, D::Error> {
        String::deserialize(deserializer).map(Zeroizing::new)
    }
}

/// A signing key as it is stored: what the TPM takes to load it, and the authorisation value without
/// which it does not sign.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredKey {
    object: SealedObject,
    auth: [u8; 32],
    policy: Policy,
}

impl Drop for StoredKey {
    fn drop(&mut self) {
        self.auth.zeroize();
    }
}

impl std::fmt::Debug for StoredKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("StoredKey")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

/// Bytes that are not what a node sealed.
#[derive(Debug, thiserror::Error)]
#[error("{what} is malformed: another version of this system wrote it")]
pub struct Malformed {
    what: &'static str,
    source: bcs::Error,
}

fn malformed(what: &'static str) -> impl Fn(bcs::Error) -> Malformed {
    move |source| Malformed { what, source }
}

impl Content {
    /// The bytes to seal.
    ///
    /// # Errors
    ///
    /// Never for a document of a length that a configuration can have.
    pub fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>, Malformed> {
        // room from the start: a buffer that grows leaves copies of secrets behind
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.document.len() + MAX_KEY));
        bcs::serialize_into(&mut *bytes, self).map_err(malformed("the sealed configuration"))?;
        Ok(bytes)
    }

    /// Reads what was sealed.
    ///
    /// # Errors
    ///
    /// When it is not what [`Content::to_bytes`] gives.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        bcs::from_bytes(bytes).map_err(malformed("the sealed configuration"))
    }
}

impl StoredKey {
    /// What is to be stored of a key.
    #[must_use]
    pub fn new(key: &SigningKey) -> Self {
        Self {
            object: key.object().clone(),
            auth: *key.auth(),
            policy: key.policy().clone(),
        }
    }

    /// The key, to sign with.
    #[must_use]
    pub fn to_signing_key(&self) -> SigningKey {
        let auth = Zeroizing::new(self.auth);
        SigningKey::new(self.object.clone(), auth, self.policy.clone())
    }

    /// The bytes to hand to the program that signs. They hold the authorisation value.
    ///
    /// # Errors
    ///
    /// Never for a key that a TPM made.
    pub fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>, Malformed> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_KEY));
        bcs::serialize_into(&mut *bytes, self).map_err(malformed("the stored key"))?;
        Ok(bytes)
    }

    /// Reads the bytes of a stored key.
    ///
    /// # Errors
    ///
    /// When they are not what [`StoredKey::to_bytes`] gives.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        bcs::from_bytes(bytes).map_err(malformed("the stored key"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{release::Phase, tpm::crypto::Point};

    fn key() -> StoredKey {
        StoredKey {
            object: SealedObject {
                private: vec![1; 200],
                public: vec![2; 90],
            },
            auth: [0xa5; 32],
            policy: Policy {
                release_key: Point {
                    x: [3; 32],
                    y: [4; 32],
                },
                phase: Phase::Run,
                floor: 1,
                secure_boot: None,
                counter: None,
                auth_value: true,
            },
        }
    }

    #[test]
    fn content_comes_back_and_shows_no_secret() {
        let content = Content {
            document: Zeroizing::new("version = 1\n".to_owned()),
            sui_key: Some(key()),
        };
        let bytes = content.to_bytes().expect("bytes");
        assert_eq!(Content::from_bytes(&bytes).expect("content"), content);
        let shown = format!("{content:?} {:?}", key());
        assert!(
            !shown.contains("165") && !shown.contains("version"),
            "{shown}"
        );
        for length in 0..bytes.len() {
            assert!(Content::from_bytes(&bytes[..length]).is_err(), "{length}");
        }
        let bytes = key().to_bytes().expect("bytes");
        assert!(bytes.len() <= MAX_KEY);
        assert_eq!(StoredKey::from_bytes(&bytes).expect("a key"), key());
    }
}
