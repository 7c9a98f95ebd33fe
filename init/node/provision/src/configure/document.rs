//! A configuration as it was found in one of its places, and its removal from there.

use std::fs::File;
use std::io::{self, Read};

use thiserror::Error;
use tracing::{info, warn};
use zeroize::Zeroizing;

use kernel::block_devices::BlockDevice;

use super::drive::Drive;
use super::metadata;
use crate::system_partition::SystemPartition;

/// On EFI system partitions, below [`DIRECTORY`](crate::system_partition::DIRECTORY).
pub(super) const ESP_FILE: &str = "node.toml";
/// Left there by a person, or by what made the disk.
pub(super) const STATE_FILE: &str = "/var/lib/daas/node.toml";

/// Where a configuration was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The firmware hands it over at each boot: it can't be removed.
    Firmware,
    /// A file on this partition.
    SystemPartition(BlockDevice),
    /// The user data on a configuration drive.
    Drive(Drive),
    /// A file on the state disk.
    State,
    /// The user data that a cloud's metadata service has for this machine.
    Metadata,
}

/// A configuration as it was found.
pub(crate) struct Document {
    /// Where.
    pub(crate) origin: Origin,
    /// What errors call it.
    pub(crate) source: String,
    /// The text, which holds secrets.
    pub(crate) text: Zeroizing<String>,
}

/// Without the text, which holds secrets.
impl std::fmt::Debug for Document {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Document")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// A configuration that is there and can't be read.
#[derive(Debug, Error)]
#[error("{place}: can't be read")]
pub(crate) struct SourceError {
    place: String,
    #[source]
    source: io::Error,
}

impl Document {
    /// Whether it is one that stays where it is, boot for boot, and which nobody gives anew: it says what
    /// a node without a configuration begins with.
    pub(super) fn is_for_a_first_boot(&self) -> bool {
        match &self.origin {
            Origin::Drive(drive) => drive.is_read_only(),
            Origin::Metadata => true,
            Origin::Firmware | Origin::SystemPartition(_) | Origin::State => false,
        }
    }

    /// Whether the power failed while it was removed: it is nothing but zeros then.
    pub(super) fn is_remainder(&self) -> bool {
        !self.text.is_empty() && self.text.bytes().all(|byte| byte == 0)
    }
}

/// Reads a document that was found. A longer one than any configuration is cut one byte behind the
/// bound, so that the parser can say so.
pub(super) fn read(name: &str, origin: Origin, file: File) -> Result<Document, SourceError> {
    if !file.metadata().map_err(failed(name))?.is_file() {
        return Err(failed(name)(io::Error::other("it is not a file")));
    }
    // room from the start: a buffer that grows leaves copies of secrets behind
    let mut bytes = Zeroizing::new(Vec::with_capacity(config::MAXIMUM_LENGTH.saturating_add(2)));
    let bound = u64::try_from(config::MAXIMUM_LENGTH).unwrap_or(u64::MAX);
    file.take(bound.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(failed(name))?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let line = bytes
            .iter()
            .take(error.valid_up_to())
            .filter(|byte| **byte == b'\n')
            .count()
            .saturating_add(1);
        failed(name)(io::Error::other(format!("line {line} is not UTF-8")))
    })?;
    Ok(Document {
        origin,
        source: name.to_owned(),
        text: Zeroizing::new(text.to_owned()),
    })
}

pub(super) fn failed(name: &str) -> impl FnOnce(io::Error) -> SourceError {
    let place = name.to_owned();
    move |source| SourceError { place, source }
}

/// Overwrites and removes a document that is sealed now. Where it still stands in the plain, if it
/// does, and what to do about it.
pub(super) fn remove(document: &Document) -> Option<String> {
    let source = &document.source;
    let removed = match &document.origin {
        Origin::Firmware => {
            return stays(format!(
                "{source} stays with whoever runs this machine: take it away there"
            ));
        }
        Origin::SystemPartition(partition) => SystemPartition::open_for_writing(partition)
            .and_then(|mounted| mounted.forget(ESP_FILE).map(|_| ())),
        Origin::Drive(drive) if drive.is_read_only() => {
            return stays(format!(
                "the drive {} can't be written to: detach it, or empty it",
                drive.description()
            ));
        }
        Origin::Drive(drive) => drive.forget(),
        Origin::State => files::forget(STATE_FILE),
        Origin::Metadata => {
            if let Err(error) = metadata::forget() {
                warn!(%error, "the copy of the user data on this machine can't be removed");
            }
            return stays(format!(
                "{source} keeps it for as long as this machine has it as its user data: take it away \
                 there"
            ));
        }
    };
    match removed {
        Ok(()) => {
            info!(source, "the plain configuration is overwritten and removed");
            None
        }
        Err(error) => {
            warn!(%error, source, "the plain configuration can't be removed");
            stays(format!("{source} can't be removed: remove it by hand"))
        }
    }
}

fn stays(place: String) -> Option<String> {
    warn!("the configuration is sealed, and still stands in the plain: {place}");
    Some(place)
}
