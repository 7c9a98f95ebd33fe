//! Keys, roots and certificates that can't be used.

use std::path::PathBuf;

use attest_verify::RootsError;
use attest_verify::tee_report::tdx::CollateralError;

use crate::settings::error::MasterSettingsError;

/// Bytes of an ed25519 seed (RFC 8032, 5.1.5).
pub(super) const SEED: usize = 32;

/// A key, root or certificate that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file can't be read.
    #[error("a file of [attestation], [enclave] or the certificate can't be read")]
    File(#[from] MasterSettingsError),
    /// Not the certificates that it should hold.
    #[error("{}: the certificates can't be used", path.display())]
    Certificates {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: RootsError,
    },
    /// Not a key.
    #[error(
        "{}: expected an ed25519 key, as PKCS#8 in PEM form (openssl genpkey -algorithm ed25519) or as a \
         seed of {SEED} bytes", path.display()
    )]
    Key {
        /// Which file.
        path: PathBuf,
    },
    /// Not the certificates of chips.
    #[error("{}: expected certificates of SEV-SNP chips in PEM form", path.display())]
    Chips {
        /// Which file.
        path: PathBuf,
    },
    /// Not what TDX quotes are judged by.
    #[error("{}: the collateral for TDX can't be used", path.display())]
    Collateral {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: CollateralError,
    },
    /// The certificate of the TLS server can't be read.
    #[error("{}: its first certificate can't be read", path.display())]
    Leaf {
        /// Which file.
        path: PathBuf,
    },
}
