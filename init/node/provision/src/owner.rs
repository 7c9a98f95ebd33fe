//! Whose an encrypted state is: the key that the configuration names owns what its pods have left.
//!
//! Where a configuration lies, anybody who holds the disk can put another. That one gets no secret of
//! the former, and must not get the former's state either: no agent and no staker starts beside it.
//!
//! Nor does a state that somebody else has made get an owner's configuration: what names the owner is
//! a hash over a secret that lies sealed, and a state of an earlier boot that names none is made anew.

use std::io;
use std::path::Path;

use node_settings::{SettingsFileError, StakerSettings};
use seal::tpm::crypto::{Digest, sha256};
use thiserror::Error;
use wire::paths::{STAKER_SETTINGS, STATE_ENCRYPTION};
use wire::status::Protection;

use crate::configure::output::tpm_key;
use crate::sealing::hex_digits;
use crate::state;

/// On the state disk.
const FILE: &str = "/var/lib/daas/owner";
/// Longer than a digest in hexadecimal.
const LIMIT: usize = 128;
/// What is hashed first, so that the hash is of nothing else.
const DOMAIN: &[u8] = b"k3s-daas/state-owner/v1";

/// The state is not for this configuration, or that can't be told.
#[derive(Debug, Error)]
pub(crate) enum OwnerError {
    #[error(
        "the state belongs to another configuration, with another Sui key: give the node its former \
         configuration back, or wipe it by the boot menu's reset entry"
    )]
    Another,
    #[error("the configuration that was taken can't be read")]
    Configuration(#[source] SettingsFileError),
    #[error("{FILE} can't be used")]
    File(#[source] io::Error),
}

/// Whether the state that is mounted names an owner. One that does not was used by nothing but what runs
/// without a configuration. What can't be looked at is for [`check`] to tell.
pub(crate) fn is_settled() -> bool {
    has_owner(Path::new(FILE))
}

fn has_owner(file: &Path) -> bool {
    !matches!(file.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

/// Whether the state is this configuration's. A new one becomes so. A state that lies in the plain is
/// anybody's anyway.
pub(crate) fn check() -> Result<(), OwnerError> {
    let encryption = files::read_text(STATE_ENCRYPTION, LIMIT).unwrap_or_default();
    if encryption.parse() != Ok(Protection::Tpm) {
        return Ok(());
    }
    settle(Path::new(FILE), &of_configuration()?)?;
    // a state is an owner's without the mark, too: the next boot tries again
    if let Err(error) = state::mark_owner() {
        tracing::warn!(
            error = log::chain(&error),
            "the state's header can't be marked as an owner's"
        );
    }
    Ok(())
}

/// The owner that the configuration names: its Sui key, which only its hash shows. Of a key in the TPM
/// the public part is anybody's, and what lets it sign is hashed with it.
fn of_configuration() -> Result<Digest, OwnerError> {
    if let Some(key) = tpm_key() {
        let key = key.to_signing_key();
        return Ok(sha256(&[DOMAIN, b"/tpm", key.auth(), &key.object().public]));
    }
    let settings: StakerSettings =
        node_settings::read(Path::new(STAKER_SETTINGS)).map_err(OwnerError::Configuration)?;
    let key = settings.identity.sui_key.expose();
    Ok(sha256(&[DOMAIN, b"/key", key.as_bytes()]))
}

fn settle(file: &Path, owner: &Digest) -> Result<(), OwnerError> {
    let owner = hex_digits(owner);
    match files::read_text(file, LIMIT) {
        Ok(found) if found == owner => Ok(()),
        Ok(_) => Err(OwnerError::Another),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            files::replace(file, owner.as_bytes(), 0o600).map_err(OwnerError::File)
        }
        Err(error) => Err(OwnerError::File(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_owner_stays() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("owner");
        assert!(!has_owner(&file));
        settle(&file, &[1; 32]).unwrap();
        settle(&file, &[1; 32]).unwrap();
        assert!(has_owner(&file));
        let error = settle(&file, &[2; 32]).unwrap_err();
        assert!(matches!(error, OwnerError::Another));
        settle(&file, &[1; 32]).unwrap();
    }
}
