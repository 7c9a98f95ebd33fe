//! The key of the state's volume, and the TPM that gives it out: to this machine alone, to images of
//! the same publisher alone, and only while the machine boots.

use std::fmt;

use seal::envelope::{self, Envelope, RecoveryKey};
use seal::tpm::crypto::Point;
use seal::tpm::policy::{Policy, Unsatisfied};
use seal::tpm::{self, nv, pcr};
use zeroize::Zeroizing;

use crate::sealing::{CannotSeal, Sealer};

/// What the sealed file says it holds, so that no other sealed file is taken for it.
const LABEL: &str = "state";
/// Two keys of AES-256, as XTS takes them (IEEE 1619).
pub(super) const KEY_LENGTH: usize = 64;
/// What is sealed: the sector size, big-endian, and the key.
const CONTENT_LENGTH: usize = 4 + KEY_LENGTH;

/// Why a machine's state is not encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unable {
    /// It has no TPM.
    NoTpm,
    /// No firmware has measured what was booted: what is sealed to a measurement would open for
    /// anything that is booted the same way.
    NotMeasured,
}

impl fmt::Display for Unable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NoTpm => "has no TPM",
            Self::NotMeasured => "has not measured what it booted",
        })
    }
}

/// The unit of encryption in bytes for a disk with blocks of this size: what the disk writes in one
/// piece, so that a power cut never leaves half a unit.
pub(super) const fn sector_size(block_size: u32) -> u32 {
    match block_size {
        512 => 512,
        _ => 4096,
    }
}

/// What a volume is encrypted with.
pub(super) struct Volume {
    /// The unit of encryption in bytes: 512 or 4096.
    pub(super) sector_size: u32,
    key: Zeroizing<[u8; KEY_LENGTH]>,
}

/// What a machine can do about a key.
pub(super) enum Machine {
    /// It seals and opens.
    Seals(Box<Sealer>),
    /// It does not.
    Cannot(Unable),
}

impl Machine {
    /// Looks at what this machine has. A TPM that is there and does not answer is an error, and no
    /// machine without one: a state that is made without encryption stays so.
    ///
    /// # Errors
    /// See [`CannotSeal`].
    pub(super) fn look() -> Result<Self, CannotSeal> {
        match Sealer::open() {
            Ok(mut sealer) => {
                sealer.tpm.read_pcr(pcr::SECURE_BOOT)?;
                Ok(Self::Seals(Box::new(sealer)))
            }
            Err(CannotSeal::NoTpm) => Ok(Self::Cannot(Unable::NoTpm)),
            Err(CannotSeal::NotMeasured) => Ok(Self::Cannot(Unable::NotMeasured)),
            Err(error) => Err(error),
        }
    }

    /// Whether it seals; otherwise, why not.
    pub(super) const fn ability(&self) -> Result<(), Unable> {
        match self {
            Self::Seals(_) => Ok(()),
            Self::Cannot(why) => Err(*why),
        }
    }
}

impl Volume {
    /// A new volume with a key from the kernel's random numbers.
    ///
    /// # Errors
    /// When the kernel gives none.
    pub(super) fn generate(sector_size: u32) -> Result<Self, getrandom::Error> {
        let mut key = Zeroizing::new([0; KEY_LENGTH]);
        getrandom::fill(key.as_mut())?;
        Ok(Self { sector_size, key })
    }

    /// The key.
    pub(super) fn key(&self) -> &[u8; KEY_LENGTH] {
        &self.key
    }

    fn to_content(&self) -> Zeroizing<Vec<u8>> {
        let mut content = Zeroizing::new(Vec::with_capacity(CONTENT_LENGTH));
        content.extend_from_slice(&self.sector_size.to_be_bytes());
        content.extend_from_slice(self.key.as_ref());
        content
    }

    /// None for what [`Volume::to_content`] did not write.
    fn from_content(content: &[u8]) -> Option<Self> {
        let (sector_size, rest) = content.split_first_chunk()?;
        let sector_size = u32::from_be_bytes(*sector_size);
        if rest.len() != KEY_LENGTH || !matches!(sector_size, 512 | 4096) {
            return None;
        }
        let mut key = Zeroizing::new([0; KEY_LENGTH]);
        key.copy_from_slice(rest);
        Some(Self { sector_size, key })
    }
}

/// Seals a volume's key under what this machine is now: its TPM, its publisher, the security version
/// of its image, the phase of the boot, the state of Secure Boot, the TPM's counter. Then opens it
/// once, so that nothing is encrypted by a key that no later boot gets. `recovery` is the public part
/// of a key on paper that opens it, too.
///
/// # Errors
/// What is wrong with the TPM, or keeps the sealed file from opening again.
pub(super) fn seal(
    sealer: &mut Sealer,
    volume: &Volume,
    recovery: Option<Point>,
) -> Result<Envelope, envelope::Error> {
    let policy = sealer.policy(nv::STATE_COUNTER)?;
    seal_under(sealer, volume, policy, recovery)
}

/// As [`seal()`], so that it still opens once the counter has outdated what was sealed before.
///
/// # Errors
/// As [`seal()`].
pub(super) fn seal_higher(
    sealer: &mut Sealer,
    volume: &Volume,
    recovery: Option<Point>,
) -> Result<Envelope, envelope::Error> {
    let policy = sealer.outdating_policy(nv::STATE_COUNTER)?;
    seal_under(sealer, volume, policy, recovery)
}

fn seal_under(
    sealer: &mut Sealer,
    volume: &Volume,
    policy: Policy,
    recovery: Option<Point>,
) -> Result<Envelope, envelope::Error> {
    let envelope = sealer.seal(LABEL, policy, recovery, &volume.to_content())?;
    open(sealer, &envelope)?;
    Ok(envelope)
}

/// Opens a sealed key.
///
/// # Errors
/// What is wrong with the file, the TPM, or the boot.
pub(super) fn open(sealer: &mut Sealer, envelope: &Envelope) -> Result<Volume, envelope::Error> {
    let content = sealer.unseal(envelope, LABEL)?;
    Volume::from_content(&content)
        .ok_or(envelope::Error::Edited("what is sealed is no volume's key"))
}

/// Opens a sealed key by the recovery key, without the TPM.
///
/// # Errors
/// When it is not this file's recovery key, or the file was edited.
pub(super) fn recover(envelope: &Envelope, key: &RecoveryKey) -> Result<Volume, envelope::Error> {
    let content = envelope.recover(LABEL, key)?;
    Volume::from_content(&content)
        .ok_or(envelope::Error::Edited("what is sealed is no volume's key"))
}

/// Why a key does not open, as far as people have to do different things about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Another machine's TPM has sealed it.
    OtherTpm,
    /// This machine's TPM has, and was cleared.
    Cleared,
    /// One of the two: it cannot be told.
    OtherOrCleared,
    /// Secure Boot, its keys or the firmware changed.
    SecureBoot,
    /// The image is not one that the publisher lets in, or its boot is over.
    NotReleased {
        /// The lowest security version that is accepted.
        floor: u32,
    },
    /// The kernel was given a command line or credentials from outside its image.
    Overridden,
    /// The image is another publisher's.
    OtherPublisher,
    /// A copy from before a reset, or from before a newer release sealed it anew.
    RolledBack,
    /// The sealed file is not what was written.
    Edited,
    /// It has a newer version.
    Newer,
    /// The TPM was set up by another system.
    ForeignTpm,
}

/// What a refusal is; the error itself when it is the TPM's failing, and may go away.
pub(super) fn refusal(error: envelope::Error) -> Result<Refusal, envelope::Error> {
    use envelope::Error;
    Ok(match error {
        Error::OtherTpm { .. } => Refusal::OtherTpm,
        Error::Cleared => Refusal::Cleared,
        Error::OtherOrCleared { .. } => Refusal::OtherOrCleared,
        Error::Policy(Unsatisfied::SecureBoot) => Refusal::SecureBoot,
        Error::Policy(Unsatisfied::NotReleased { floor, .. }) => Refusal::NotReleased { floor },
        Error::Policy(Unsatisfied::Overridden) => Refusal::Overridden,
        Error::Policy(Unsatisfied::OtherPublisher) => Refusal::OtherPublisher,
        Error::Policy(Unsatisfied::RolledBack { .. } | Unsatisfied::OtherCounter) => {
            Refusal::RolledBack
        }
        Error::NotSealed | Error::Damaged(_) | Error::Edited(_) | Error::OtherContent { .. } => {
            Refusal::Edited
        }
        Error::NewerVersion { .. } => Refusal::Newer,
        Error::Tpm(
            tpm::error::Error::ForeignStorageRootKey(_)
            | tpm::error::Error::ForeignCounter(..)
            | tpm::error::Error::NoBank(_),
        ) => Refusal::ForeignTpm,
        other => return Err(other),
    })
}

#[cfg(test)]
mod tests;
