//! The node's Sui key, where it is born in the TPM and never leaves it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use chain::{KeyError, PublicKey, SignatureBytes, Signer};
use seal::node::{MAX_KEY, StoredKey};
use seal::release::{MAX_FILE, ReleasePolicies};
use seal::tpm::{Tpm, crypto::sha256};
use tracing::warn;
use zeroize::Zeroizing;

use crate::explain;

/// Why the TPM's key can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TpmKeyError {
    /// A file can't be read.
    #[error("{path}: can't be read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What was stored is not a key.
    #[error(transparent)]
    Stored(#[from] seal::node::Malformed),
    /// The policies can't be used.
    #[error(transparent)]
    Policies(#[from] seal::release::FileError),
    /// The key's public half is not one.
    #[error("the stored key's public half can't be used")]
    Public(#[source] seal::tpm::error::Error),
    /// Nor does the chain take it.
    #[error("the chain takes no such key")]
    Key(#[source] KeyError),
}

/// A key in the TPM.
pub(crate) struct TpmKey {
    broker: PathBuf,
    stored: StoredKey,
    releases: ReleasePolicies,
    public: PublicKey,
}

impl TpmKey {
    /// Reads what is stored of the key.
    pub(crate) fn load(key: &Path, policies: &Path, broker: &Path) -> Result<Self, TpmKeyError> {
        let stored = StoredKey::from_bytes(&read(key, MAX_KEY)?)?;
        let releases = ReleasePolicies::from_json(&read(policies, MAX_FILE)?)?;
        let point = stored
            .to_signing_key()
            .public_key()
            .map_err(TpmKeyError::Public)?;
        let mut flagged = vec![PublicKey::SECP256R1_FLAG];
        flagged.extend_from_slice(&point.to_compressed());
        Ok(Self {
            broker: broker.to_owned(),
            stored,
            releases,
            public: PublicKey::from_flagged_bytes(&flagged).map_err(TpmKeyError::Key)?,
        })
    }
}

impl Signer for TpmKey {
    fn public(&self) -> PublicKey {
        self.public
    }

    fn waits(&self) -> bool {
        true
    }

    /// The TPM takes its time: some ten milliseconds, on old ones some hundred.
    fn sign(&self, message: &[u8]) -> Result<SignatureBytes, KeyError> {
        let sign = || -> Result<_, Box<dyn std::error::Error>> {
            let mut tpm = Tpm::through_broker(&self.broker)?;
            let root = tpm.existing_storage_root_key()?;
            let key = self.stored.to_signing_key();
            Ok(tpm.sign(&root, &key, &self.releases, &sha256(&[message]))?)
        };
        sign().map_err(|failure| {
            warn!(detail = explain(&*failure), "the TPM does not sign");
            KeyError::Signing
        })
    }
}

fn read(path: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>, TpmKeyError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit + 2));
    let outcome = File::open(path)
        .and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut bytes))
        .and_then(|length| {
            if length > limit {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            Ok(())
        });
    match outcome {
        Ok(()) => Ok(bytes),
        Err(source) => Err(TpmKeyError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}
