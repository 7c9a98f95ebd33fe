//! The public parts of the TPM's keys: with them a configuration is sealed for this machine elsewhere.

use std::path::Path;

use tracing::{debug, info, warn};
use wire::paths::{ENDORSEMENT_KEY, STORAGE_ROOT_KEY};

use super::sealed_file::Place;
use crate::sealing::{Sealer, hex_digits};

/// For a person who takes the disk or the stick to the machine on which they seal.
const FILE: &str = "srk.pub";

/// Lays the keys out for everybody on the node, once in a boot.
pub(super) fn show() {
    if Path::new(ENDORSEMENT_KEY).exists() {
        return;
    }
    if let Err(error) = lay_out() {
        debug!(error, "the TPM's public keys can't be shown");
    }
}

fn lay_out() -> Result<(), String> {
    let mut sealer = Sealer::open().map_err(|error| log::chain(&error))?;
    let told = |error: seal::tpm::error::Error| log::chain(&error);
    let root = sealer.tpm.storage_root_key().map_err(told)?;
    let endorsement = sealer.tpm.endorsement_public().map_err(told)?;
    for (path, key) in [
        (STORAGE_ROOT_KEY, root.public()),
        (ENDORSEMENT_KEY, &endorsement),
    ] {
        let text = format!("{}\n", hex_digits(&key.to_bytes().map_err(told)?));
        files::replace(path, text.as_bytes(), 0o644).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Where there is no configuration yet: tells how one is sealed for this machine.
pub(super) fn leave() {
    let Ok(key) = files::read_text(STORAGE_ROOT_KEY, 4096) else {
        return;
    };
    info!(
        "a configuration can be sealed for this machine elsewhere: `build.sh seal --for srk.pub \
         --policy release.pem node.toml -o node.sealed`"
    );
    info!("srk.pub of this machine: {key}");
    let left = Place::find().and_then(|place| place.leave(FILE, format!("{key}\n").as_bytes()));
    match left {
        Ok(()) => info!("it lies on the EFI system partition, too, as daas/{FILE}"),
        Err(error) => warn!("{}", log::chain(&error)),
    }
}
