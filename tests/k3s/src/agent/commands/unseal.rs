//! What root inside the machine gets out of its TPM: an attempt, with all that lies on the machine.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use seal::envelope::Envelope;
use seal::release::{MAX_FILE, Phase, ReleasePolicies};
use seal::tpm::crypto::Digest;
use seal::tpm::error::Error as TpmError;
use seal::tpm::transport::{DEVICE, Device, Transport};
use seal::tpm::{Tpm, pcr};
use thiserror::Error;
use wire::paths::RELEASE_POLICIES as POLICIES;
use zeroize::Zeroizing;

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
    Tpm(#[source] TpmError),
}

/// The code of `TPM2_PCR_Read` (TPM 2.0 library, part 2, 6.5.2), where a command has it.
const PCR_READ: [u8; 4] = [0, 0, 1, 0x7e];

/// The machine's TPM, whose registers seem to be what they were while the machine booted. Our own code
/// looks before it asks, and would not ask; root's need not look.
struct Pretence {
    device: Device,
    /// What PCR 11 holds, and what it is to seem to hold.
    values: (Digest, Digest),
}

impl Transport for Pretence {
    fn transact(&mut self, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        let mut reply = self.device.transact(command)?;
        let (found, wanted) = &self.values;
        if command.get(6..10) == Some(&PCR_READ)
            && let Some(start) = reply.len().checked_sub(found.len())
            && let Some(value) = reply.get_mut(start..)
            && *value == *found
        {
            value.copy_from_slice(wanted);
        }
        Ok(reply)
    }
}

/// Tries to open a sealed file as the node's boot does, by the signed policy of the boot phase, and
/// leaves it to the TPM to refuse.
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
    let open = || Device::open(Path::new(DEVICE)).map_err(UnsealError::Tpm);
    let found = Tpm::new(Box::new(open()?))
        .read_pcr(pcr::KERNEL)
        .map_err(UnsealError::Tpm)?;
    let wanted = releases
        .foretold(Phase::Boot)
        .ok_or(UnsealError::Policies)?;
    let mut tpm = Tpm::new(Box::new(Pretence {
        device: open()?,
        values: (found, wanted),
    }));
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
