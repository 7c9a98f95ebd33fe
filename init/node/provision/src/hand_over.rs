//! The TPM at the end of the boot phase: what it still lacks is made, and its device becomes that of
//! `tpm-broker`, which passes on what can't harm what the TPM keeps.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use seal::tpm::Tpm;
use seal::tpm::clear::Clear;
use seal::tpm::transport::DEVICE;
use tpm::error::Error as TpmError;
use wire::users::TPM_BROKER;

/// Hands the TPM over. Without one there is nothing to do. What goes wrong is logged: a node that has no use
/// for its TPM is still a node.
pub(crate) fn tpm() {
    let device = Path::new(DEVICE);
    if !device.exists() {
        return;
    }
    let prepared = Tpm::open(device).and_then(|mut tpm| prepare(&mut tpm));
    if let Err(error) = prepared {
        tracing::warn!("the TPM: {}", log::chain(&error));
    }
    if let Err(error) = give(device) {
        tracing::error!(%error, "the TPM can't be handed to its broker");
    }
}

/// The storage root key, which the staker's sessions begin with and which it can't make; and no clear by
/// the operating system any more.
fn prepare(tpm: &mut Tpm) -> Result<(), TpmError> {
    let clear = tpm.switch_clear_off();
    match &clear {
        Ok(Clear::WasOff) => tracing::info!("the firmware alone clears the TPM"),
        Ok(Clear::Off) => tracing::info!("the firmware alone clears the TPM, from now on"),
        Ok(Clear::HasPassword) => tracing::warn!(
            "who knows the TPM's lockout password can clear it, and the keys in it with it: \
             TPM2_ClearControl is left to that owner"
        ),
        Err(_) => {}
    }
    tpm.storage_root_key()?;
    clear.map(drop)
}

fn give(device: &Path) -> io::Result<()> {
    fs::set_permissions(device, Permissions::from_mode(0o600))?;
    chown(device, Some(TPM_BROKER), Some(TPM_BROKER))
}

#[cfg(test)]
mod tests {
    use fixtures::software_tpm::Swtpm;

    use super::*;

    #[test]
    fn prepare_twice_leaves_a_root_key_and_no_clear() {
        let (_swtpm, mut tpm) = Swtpm::booted();
        for _ in 0..2 {
            prepare(&mut tpm).unwrap();
            tpm.existing_storage_root_key().unwrap();
        }
        assert_eq!(tpm.switch_clear_off().unwrap(), Clear::WasOff);
    }
}
