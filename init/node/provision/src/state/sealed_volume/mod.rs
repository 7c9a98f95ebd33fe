//! The header of an encrypted state from boot to boot: what is in it is opened by the TPM, or failing
//! that by the recovery key that a person put into the machine, and sealed anew where that is due.
//!
//! A new header goes to the place that is not in use, and the counter outdates the old one after that:
//! whenever the power fails, the newest that is whole opens.

use std::path::{Path, PathBuf};

use seal::envelope::{self, Envelope, RecoveryKey};
use seal::tpm::crypto::Point;

use super::error::StateError;
use super::header::{self, Header, Slot};
use super::volume::{self, Volume};
use crate::recovery;
use crate::sealing::Sealer;

/// The header of an encrypted volume, as it was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) header: Header,
    pub(super) slot: Slot,
    /// Why the header's other place cannot stand in for this one.
    pub(super) other: Option<&'static str>,
}

/// What a header gave.
pub(super) struct Opened {
    pub(super) volume: Volume,
    envelope: Envelope,
    /// It was not the TPM that opened it.
    recovered: bool,
}

impl Sealed {
    /// Opens it by the TPM. Where that can't be since the machine changed, by the key that `find`
    /// gives, if the header knows it.
    ///
    /// # Errors
    /// Why the TPM does not open it.
    pub(super) fn open(
        &self,
        device: &Path,
        sealer: &mut Sealer,
        find: impl FnOnce() -> Option<RecoveryKey>,
    ) -> Result<Opened, StateError> {
        let envelope = Envelope::from_bytes(&self.header.envelope)
            .map_err(|error| refused(device.to_owned(), error, false))?;
        if envelope.is_from_afar() {
            // whoever made it knows the volume's key
            let error = envelope::Error::Edited("it was sealed elsewhere, and a state never is");
            return Err(refused(device.to_owned(), error, false));
        }
        let error = match volume::open(sealer, &envelope) {
            Ok(volume) => {
                return Ok(Opened {
                    volume,
                    envelope,
                    recovered: false,
                });
            }
            Err(error) => error,
        };
        let recoverable = envelope.recovery().is_some() && recovery::is_for(&error);
        if recoverable && let Some(key) = find() {
            match volume::recover(&envelope, &key) {
                Ok(volume) => {
                    let error = log::chain(&error);
                    tracing::warn!(error, "the state is opened by its recovery key");
                    return Ok(Opened {
                        volume,
                        envelope,
                        recovered: true,
                    });
                }
                Err(error) => tracing::error!("the state: {}", log::chain(&error)),
            }
        }
        Err(refused(device.to_owned(), error, recoverable))
    }

    /// Brings it up to date: sealed by this machine, for no release below this one, whole in both
    /// places.
    ///
    /// # Errors
    /// [`StateError`]; what was there still opens.
    pub(super) fn keep(
        &self,
        device: &Path,
        sealer: &mut Sealer,
        opened: &Opened,
    ) -> Result<(), StateError> {
        let envelope = &opened.envelope;
        let failed = |error| refused(device.to_owned(), error, envelope.recovery().is_some());
        let mut newest = self.as_it_is();
        if opened.recovered || envelope.policy().floor < sealer.security_version() {
            let sealed = volume::seal_higher(sealer, &opened.volume, envelope.recovery());
            let sealed = sealed.map_err(failed)?;
            let policy = sealed.policy().clone();
            newest = newest.followed_by(sealed.to_bytes());
            newest.write(device)?;
            sealer
                .outdate_others(&policy)
                .map_err(|error| failed(error.into()))?;
            newest.other = Some("it was sealed for older releases, or as the machine was before");
        } else {
            sealer
                .outdate_others(envelope.policy())
                .map_err(|error| failed(error.into()))?;
        }
        newest.make_whole(device)
    }

    /// Lets a recovery key open it, too.
    ///
    /// # Errors
    /// [`StateError`]; what was there still opens.
    pub(super) fn adopt(
        &self,
        device: &Path,
        sealer: &mut Sealer,
        recovery: &Point,
    ) -> Result<(), StateError> {
        let failed = |error| refused(device.to_owned(), error, false);
        let envelope = Envelope::from_bytes(&self.header.envelope).map_err(failed)?;
        if envelope.recovery().as_ref() == Some(recovery) {
            return Ok(());
        }
        let volume = volume::open(sealer, &envelope).map_err(failed)?;
        let sealed = volume::seal(sealer, &volume, Some(*recovery)).map_err(failed)?;
        let mut newest = self.followed_by(sealed.to_bytes());
        newest.write(device)?;
        tracing::info!("the configuration's recovery key opens the state, too");
        newest.other = Some("it knows no recovery key, or another");
        newest.make_whole(device)
    }

    /// Writes what is newest to the other place, where that cannot stand in for it.
    fn make_whole(&self, device: &Path) -> Result<(), StateError> {
        let Some(what) = self.other else {
            return Ok(());
        };
        tracing::warn!(device = %device.display(), "a copy of the state's header is written anew: {what}");
        self.followed_by(self.header.envelope.clone()).write(device)
    }

    fn as_it_is(&self) -> Self {
        Self {
            header: self.header.clone(),
            ..*self
        }
    }

    /// The header that takes the place of this one's elder.
    fn followed_by(&self, envelope: Vec<u8>) -> Self {
        Self {
            header: Header {
                generation: self.header.generation.saturating_add(1),
                envelope,
            },
            slot: self.slot.other(),
            other: None,
        }
    }

    fn write(&self, device: &Path) -> Result<(), StateError> {
        super::open_for_writing(device)
            .and_then(|file| header::write(&file, self.slot, &self.header))
            .map_err(|source| StateError::Write {
                device: device.to_owned(),
                source,
            })
    }
}

/// Why a key is not sealed or not opened.
pub(super) fn refused(device: PathBuf, error: envelope::Error, recoverable: bool) -> StateError {
    match volume::refusal(error) {
        Ok(refusal) => StateError::Refused {
            device,
            refusal,
            recoverable,
        },
        Err(source) => StateError::Seal { device, source },
    }
}

#[cfg(test)]
mod tests;
