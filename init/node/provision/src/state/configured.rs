//! What is added to the header of an open state once there is a configuration: whose it is, and which recovery key opens
//! it, too.

use seal::tpm::crypto::Point;

use super::error::StateError;
use super::partition::StatePartition;
use super::volume::Machine;
use super::{Action, content, header, open_for_writing, plan};

/// Marks the encrypted state, which is open, as one that has an owner.
///
/// # Errors
/// [`StateError`]; the next boot does it then.
pub(crate) fn mark_owner() -> Result<(), impl std::error::Error> {
    try_mark_owner()
}

fn try_mark_owner() -> Result<(), StateError> {
    let device = StatePartition::find()?.device().path();
    let marked = open_for_writing(&device).and_then(|file| header::mark_owner(&file));
    marked.map_err(|source| StateError::Write { device, source })
}

/// Lets a recovery key, whose public part this is, open the state, too. The state must be open, and the
/// boot phase must not be over. Where there is none that is encrypted, nothing happens.
///
/// # Errors
/// [`StateError`]; the header is as it was then, or as it is to be.
pub(crate) fn adopt_recovery(recovery: &Point) -> Result<(), impl std::error::Error> {
    try_adopt(recovery)
}

fn try_adopt(recovery: &Point) -> Result<(), StateError> {
    let partition = StatePartition::find()?;
    let device = partition.device();
    let content = device
        .open()
        .and_then(|file| content::inspect(&file, device.size))
        .map_err(|source| StateError::Read {
            device: device.path(),
            source,
        })?;
    match (
        plan(content, Ok(()), &device.path()),
        partition.is_being_formatted(),
    ) {
        (Ok(Action::OpenSealed(sealed)), false) => match Machine::look()? {
            Machine::Seals(mut sealer) => sealed.adopt(&device.path(), &mut sealer, recovery),
            Machine::Cannot(_) => Ok(()),
        },
        _ => Ok(()),
    }
}
