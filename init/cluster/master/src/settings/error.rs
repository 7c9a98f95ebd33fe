//! Why a configuration can't be used.

use std::io;
use std::path::PathBuf;

use chain::SettingsError;

/// A configuration that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum MasterSettingsError {
    /// A file can't be read.
    #[error("{path}: the file can't be read")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The document is not as it should be; the parser names line and field.
    #[error("{path}: {detail}")]
    Document {
        /// Which file.
        path: PathBuf,
        /// What is wrong, where, and what was expected.
        detail: String,
    },
    /// The chain table is not as it should be.
    #[error("{path}: [chain]")]
    Chain {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: SettingsError,
    },
    /// A field is not as it should be.
    #[error("{path}: {field} = {found:?}; expected {expected}")]
    Field {
        /// Which file.
        path: PathBuf,
        /// Which field.
        field: &'static str,
        /// What stands there.
        found: String,
        /// What should.
        expected: &'static str,
    },
    /// Anybody can read a secret.
    #[error("{path}: everybody can read this secret (mode {mode:o}); run chmod o= on it")]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}
