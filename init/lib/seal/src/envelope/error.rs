//! Why a sealed file cannot be made or opened, and what to do.

use std::{io, path::PathBuf};

use crate::tpm::{self, object::Name, policy::Unsatisfied};

/// What is wrong with a sealed file, with the TPM, or with both together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read or written.
    #[error("the sealed file {} cannot be {what}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was to be done: "read" or "written".
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// Something else than a sealed file.
    #[error(
        "this is no sealed file: it does not begin with \"DAASSEAL\"; expected what `seal` or a node writes"
    )]
    NotSealed,
    /// A version that this program does not know.
    #[error(
        "the sealed file has the format version {found}, and this image reads up to {known}: start a newer image, or seal the file with the tool of this release"
    )]
    NewerVersion {
        /// The file's version.
        found: u16,
        /// The newest that is known.
        known: u16,
    },
    /// Bytes are missing or changed.
    #[error(
        "the sealed file is damaged ({0}): restore it from a copy, or seal the configuration anew"
    )]
    Damaged(&'static str),
    /// Whole by its checksum, but not what was sealed.
    #[error(
        "the sealed file was edited after it was sealed ({0}): restore it from a copy, or seal the configuration anew"
    )]
    Edited(&'static str),
    /// Sealed for something else.
    #[error(
        "the sealed file holds \"{found}\", and \"{expected}\" was expected: two files were mixed up"
    )]
    OtherContent {
        /// What it holds.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// More than a sealed file takes.
    #[error("{length} bytes are too many for a sealed file, which holds up to {limit}")]
    TooLong {
        /// The content's length.
        length: usize,
        /// The most.
        limit: usize,
    },
    /// Sealed by or for another machine.
    #[error(
        "the file was sealed for another machine's TPM (its storage root key is {expected}): put the disk back into its machine, or seal the configuration for this one"
    )]
    OtherTpm {
        /// The name of the storage root key that the file was sealed for.
        expected: Name,
    },
    /// This machine's TPM, but cleared since.
    #[error(
        "this machine's TPM was cleared since the file was sealed, so that nobody can open it any more: seal the configuration anew, or use the recovery key"
    )]
    Cleared,
    /// Another TPM, or this one and cleared: a file that was sealed from afar cannot tell.
    #[error(
        "the file was sealed for the storage root key {expected}, which this TPM does not have: it is another machine's, or the TPM was cleared; seal the configuration for this TPM"
    )]
    OtherOrCleared {
        /// The name of the storage root key that the file was sealed for.
        expected: Name,
    },
    /// The policy does not hold.
    #[error("the sealed file does not open in this boot")]
    Policy(#[source] Unsatisfied),
    /// A recovery key that is none, or another file's.
    #[error("{0}")]
    Recovery(&'static str),
    /// The TPM failed.
    #[error("the TPM failed")]
    Tpm(#[source] tpm::error::Error),
}

impl From<tpm::error::Error> for Error {
    fn from(error: tpm::error::Error) -> Self {
        Self::Tpm(error)
    }
}

impl From<Unsatisfied> for Error {
    fn from(error: Unsatisfied) -> Self {
        match error {
            Unsatisfied::Tpm(error) => Self::Tpm(error),
            other => Self::Policy(other),
        }
    }
}
