//! A sealed file: content under a key that only one TPM gives out, under a policy.

mod error;
mod file;
mod format;
mod recovery;

use chacha20poly1305::{
    XChaCha20Poly1305, XNonce,
    aead::{Aead, KeyInit, Payload},
};
use tpm2_protocol::data::{TpmCc, TpmRc};
use zeroize::Zeroizing;

pub use self::{
    error::Error,
    format::{MAX_CONTENT, MAX_FILE},
    recovery::RecoveryKey,
};
use self::{
    format::{Header, KeyHolder, Parts},
    recovery::Recovery,
};
use crate::{
    release::ReleasePolicies,
    tpm::{
        self, Duplicate, Loaded, Public, Tpm,
        crypto::{self, Point},
        object::Name,
        policy::{Policy, Unsatisfied},
    },
};

/// The longest label in bytes.
const MAX_LABEL: usize = 64;

/// A sealed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope(Parts);

/// What a file is sealed as.
#[derive(Debug, Clone)]
pub struct Sealing<'a> {
    /// What the content is, such as `node.toml`; of at most 64 bytes.
    pub label: &'a str,
    /// The policy.
    pub policy: Policy,
    /// The public part of a recovery key, if one is to open the file, too.
    pub recovery: Option<Point>,
}

impl Envelope {
    /// Seals content for the TPM of this machine.
    ///
    /// # Errors
    ///
    /// When the content is too long, or the TPM refuses.
    pub fn seal(tpm: &mut Tpm, sealing: &Sealing<'_>, content: &[u8]) -> Result<Self, Error> {
        let root = tpm.storage_root_key()?;
        // a TPM whose endorsement hierarchy is closed still seals; only an error is less exact then
        let endorsement = tpm.endorsement_public().and_then(|key| key.name()).ok();
        Self::close(sealing, content, root.name(), endorsement, |key| {
            Ok(KeyHolder::Sealed(tpm.seal(&root, key, &sealing.policy)?))
        })
    }

    /// Seals content for the TPM whose storage root key this is, without that TPM.
    ///
    /// # Errors
    ///
    /// When the content is too long, or the key is no storage root key.
    pub fn seal_for(root: &Public, sealing: &Sealing<'_>, content: &[u8]) -> Result<Self, Error> {
        Self::close(sealing, content, root.name()?, None, |key| {
            Ok(KeyHolder::Duplicate(Duplicate::seal(
                root,
                key,
                &sealing.policy,
            )?))
        })
    }

    fn close(
        sealing: &Sealing<'_>,
        content: &[u8],
        root: Name,
        endorsement: Option<Name>,
        hold: impl FnOnce(&[u8]) -> Result<KeyHolder, Error>,
    ) -> Result<Self, Error> {
        let too_long = |length, limit| Error::TooLong { length, limit };
        if content.len() > MAX_CONTENT {
            return Err(too_long(content.len(), MAX_CONTENT));
        }
        if sealing.label.len() > MAX_LABEL {
            return Err(too_long(sealing.label.len(), MAX_LABEL));
        }
        let key = crypto::random::<32>()?;
        let nonce = crypto::random::<{ format::NONCE }>()?;
        let header = Header {
            label: sealing.label.to_owned(),
            root,
            endorsement,
            policy: sealing.policy.clone(),
            key: hold(key.as_ref())?,
            recovery: match &sealing.recovery {
                Some(public) => Some(Recovery::wrap(public, &key)?),
                None => None,
            },
        };
        let authenticated = format::authenticated(&header)?;
        let ciphertext = XChaCha20Poly1305::new((&*key).into())
            .encrypt(
                &XNonce::from(*nonce),
                Payload {
                    msg: content,
                    aad: &authenticated,
                },
            )
            .map_err(|_| too_long(content.len(), MAX_CONTENT))?;
        Ok(Self(Parts {
            header,
            authenticated,
            nonce: *nonce,
            ciphertext,
        }))
    }

    /// Opens the file by this machine's TPM.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with the file, the TPM, or the boot: each has its own error.
    pub fn open(
        &self,
        tpm: &mut Tpm,
        label: &str,
        releases: &ReleasePolicies,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.check_label(label)?;
        let root = self.root_key(tpm)?;
        let header = &self.0.header;
        let sealed = match &header.key {
            KeyHolder::Sealed(object) => object.clone(),
            KeyHolder::Duplicate(duplicate) => tpm.import(&root, duplicate).map_err(refused)?,
        };
        let under = sealed.is_under(&header.policy);
        if !under.map_err(|_| Error::Edited("its key's public part is malformed"))? {
            return Err(Error::Edited(
                "its key is under another policy than its header says",
            ));
        }
        let key = tpm
            .unseal(&root, &sealed, &header.policy, releases)
            .map_err(|error| match error {
                Unsatisfied::Tpm(error) => refused(error),
                other => Error::Policy(other),
            })?;
        let key = <[u8; 32]>::try_from(key.as_slice())
            .map(Zeroizing::new)
            .map_err(|_| Error::Edited("what is sealed is no key"))?;
        self.decrypt(&key)
    }

    /// Opens the file by its recovery key, without a TPM.
    ///
    /// # Errors
    ///
    /// When the file has no recovery key or another, or was edited.
    pub fn recover(&self, label: &str, key: &RecoveryKey) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.check_label(label)?;
        let recovery = self.0.header.recovery.as_ref();
        let recovery = recovery.ok_or(Error::Recovery(
            "the file was sealed without a recovery key",
        ))?;
        self.decrypt(&*recovery.unwrap(key)?)
    }

    /// What the file says that its content is. Nothing vouches for it before the file is opened.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.0.header.label
    }

    /// The policy that the file says it is under. Nothing vouches for it before the file is opened.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.0.header.policy
    }

    /// The public part of the file's recovery key, so that sealing anew keeps it.
    #[must_use]
    pub fn recovery(&self) -> Option<Point> {
        self.0
            .header
            .recovery
            .as_ref()
            .map(|recovery| recovery.public)
    }

    /// Whether the file was sealed from afar: it is to be sealed anew then, under this machine's
    /// PCR 7 and counter.
    #[must_use]
    pub fn is_from_afar(&self) -> bool {
        matches!(self.0.header.key, KeyHolder::Duplicate(_))
    }

    /// The file's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        format::write(&self.0)
    }

    /// Reads a file's bytes.
    ///
    /// # Errors
    ///
    /// When they are no sealed file, of a newer version, or damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        format::read(bytes).map(Self)
    }

    fn check_label(&self, expected: &str) -> Result<(), Error> {
        let found = &self.0.header.label;
        if found == expected {
            return Ok(());
        }
        // the label of a file that somebody edited may hold anything
        let found = found
            .chars()
            .filter(|letter| !letter.is_control())
            .take(MAX_LABEL)
            .collect();
        Err(Error::OtherContent {
            found,
            expected: expected.to_owned(),
        })
    }

    /// The storage root key, if it is the file's; else, why it is not.
    fn root_key(&self, tpm: &mut Tpm) -> Result<Loaded, Error> {
        let header = &self.0.header;
        match tpm.existing_storage_root_key() {
            Ok(root) if root.name() == header.root => return Ok(root),
            Ok(_) | Err(tpm::error::Error::NoStorageRootKey) => {}
            Err(error) => return Err(error.into()),
        }
        let expected = header.root;
        let Some(endorsement) = header.endorsement else {
            return Err(Error::OtherOrCleared { expected });
        };
        if tpm.endorsement_public()?.name()? == endorsement {
            Err(Error::Cleared)
        } else {
            Err(Error::OtherTpm { expected })
        }
    }

    fn decrypt(&self, key: &[u8; 32]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let Parts {
            authenticated,
            nonce,
            ciphertext,
            ..
        } = &self.0;
        XChaCha20Poly1305::new(key.into())
            .decrypt(
                &XNonce::from(*nonce),
                Payload {
                    msg: ciphertext,
                    aad: authenticated,
                },
            )
            .map(Zeroizing::new)
            .map_err(|_| Error::Edited("its content or its header"))
    }
}

/// What the TPM's refusal says about the file, since the storage root key is the right one: a command
/// that takes parts of the file finds fault with a parameter (Part 2, 6.6.3: format one).
fn refused(error: tpm::error::Error) -> Error {
    use tpm::error::Error as Refusal;
    match error {
        Refusal::Refused {
            command:
                TpmCc::Import | TpmCc::Load | TpmCc::Unseal | TpmCc::NvReadPublic | TpmCc::NvRead,
            code,
        } if matches!(TpmRc::try_from(code), Ok(TpmRc::Fmt1(_))) => {
            Error::Edited("the TPM does not take its key")
        }
        Refusal::Malformed {
            command: TpmCc::ReadPublic,
            ..
        }
        | Refusal::TooLong(TpmCc::Import | TpmCc::Load)
        | Refusal::ForeignCounter(..)
        | Refusal::NotP256(_) => Error::Edited("its key is malformed"),
        other => Error::Tpm(other),
    }
}
