//! A file of settings: one JSON object.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use zeroize::Zeroizing;

/// The longest file, in bytes: a document has at most 64 KiB, and JSON takes two bytes for the end of a
/// line.
pub const MAXIMUM_LENGTH: usize = 256 * 1024;

/// Settings that can't be read or written.
#[derive(Debug, Error)]
pub enum SettingsFileError {
    /// The file can't be read.
    #[error("{path} can't be read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is too long.
    #[error("{path} is longer than {MAXIMUM_LENGTH} bytes")]
    TooLong {
        /// Which.
        path: PathBuf,
    },
    /// The file holds something else.
    #[error("{path} does not hold the settings that it should")]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// The settings can't be written.
    #[error("the settings can't be written as JSON")]
    Encode(#[source] serde_json::Error),
}

impl SettingsFileError {
    /// Whether there is no such file.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Reads settings from a file.
///
/// # Errors
/// [`SettingsFileError`]: no such file, one that is too long, or one that holds something else.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, SettingsFileError> {
    let failed = |source| SettingsFileError::Read {
        path: path.to_owned(),
        source,
    };
    // room from the start: a buffer that grows leaves copies of secrets behind
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAXIMUM_LENGTH + 2));
    File::open(path)
        .and_then(|file| file.take(MAXIMUM_LENGTH as u64 + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() > MAXIMUM_LENGTH {
        return Err(SettingsFileError::TooLong {
            path: path.to_owned(),
        });
    }
    serde_json::from_slice(&bytes).map_err(|source| SettingsFileError::Malformed {
        path: path.to_owned(),
        source,
    })
}

/// Settings as the content of a file. The bytes are wiped on drop.
///
/// # Errors
/// [`SettingsFileError::Encode`] never happens for the types of this crate.
pub fn to_json<T: Serialize>(settings: &T) -> Result<Zeroizing<Vec<u8>>, SettingsFileError> {
    // as above
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAXIMUM_LENGTH));
    serde_json::to_writer(&mut *bytes, settings).map_err(SettingsFileError::Encode)?;
    Ok(bytes)
}
