//! What root inside the machine gets out of its TPM: an attempt, with all that lies on the machine.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use seal::envelope::Envelope;
use seal::release::{MAX_FILE, POLICIES, ReleasePolicies};
use seal::tpm::Tpm;
use seal::tpm::transport::DEVICE;
use thiserror::Error;

use crate::control::Unsealed;

/// The attempt cannot be made.
#[derive(Debug, Error)]
pub(super) enum UnsealError {
    /// It is not base64, or no sealed file.
    #[error("what is to be unsealed is no sealed file")]
    NotSealed,
    /// The policies are not there, or cannot be used.
    #[error("{POLICIES} cannot be used")]
    Policies,
    /// The TPM cannot be opened.
    #[error("the TPM cannot be opened")]
    Tpm(#[source] seal::tpm::error::Error),
}

/// Tries to open a sealed file as the node's boot does.
pub(super) fn attempt(sealed: &str) -> Result<Unsealed, UnsealError> {
    let bytes = STANDARD
        .decode(sealed)
        .map_err(|_| UnsealError::NotSealed)?;
    let envelope = Envelope::from_bytes(&bytes).map_err(|_| UnsealError::NotSealed)?;
    let json = std::fs::read(POLICIES).map_err(|_| UnsealError::Policies)?;
    if json.len() > MAX_FILE {
        return Err(UnsealError::Policies);
    }
    let releases = ReleasePolicies::from_json(&json).map_err(|_| UnsealError::Policies)?;
    let mut tpm = Tpm::open(Path::new(DEVICE)).map_err(UnsealError::Tpm)?;
    Ok(match envelope.open(&mut tpm, envelope.label(), &releases) {
        Ok(_) => Unsealed {
            opened: true,
            refusal: String::new(),
        },
        Err(error) => Unsealed {
            opened: false,
            refusal: crate::logging::chain(&error),
        },
    })
}
