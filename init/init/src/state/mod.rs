//! `init state`: the state disk on `/var`. A task that PID 1 starts as a child, as making and
//! checking a file system takes its time.
//!
//! The state partition is the one of the Discoverable Partitions Specification's type `var` on the
//! disk that the root is on. In the image it is 64 MiB of zeros. Whatever moment the power fails
//! at, the next boot goes on from there:
//!
//! 1. The partition is looked at. Neither zeros nor ours, of another version, too small: said, and
//!    nothing at all is written.
//! 2. The partition table is written: grown to the disk's end, and for a state that has yet to be
//!    made with a mark in the partition's attributes. `gpt` says how a cut is survived there.
//! 3. The file system is made, mounted and filled; last comes the file `state-version`.
//! 4. The mark is taken away. Until then nothing uses the state, and a boot that finds the mark
//!    makes it anew: a half-made file system can look like anything.
//!
//! A file system that exists is checked, mounted and grown while mounted, which the kernel does
//! through the journal.

mod content;
mod directories;
mod file_system;
mod partition;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use content::Content;
use partition::StatePartition;

use crate::gpt::{ReadError, WriteError};
use crate::identity::{self, IdentityError};
use crate::{log, mounts};

const MOUNT_POINT: &str = "/var";
/// The least that images, logs and k3s itself need.
const SIZE_LIMIT: u64 = 1024 * 1024 * 1024;
/// Less than this is not worth growing a file system for.
const GROWTH_LIMIT: u64 = 1024 * 1024;

/// Why there is no state.
#[derive(Debug, thiserror::Error)]
enum StateError {
    #[error("the disk that the root is on is not known")]
    NoBootDisk,
    #[error("the kernel's block devices cannot be listed")]
    Devices(#[source] io::Error),
    #[error("{} cannot be opened for writing", disk.display())]
    Disk {
        disk: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the partition table of {} cannot be used", disk.display())]
    Table {
        disk: PathBuf,
        #[source]
        source: ReadError,
    },
    #[error("{} has no state partition", disk.display())]
    NoPartition { disk: PathBuf },
    #[error("the kernel has no device for the state partition, number {number}")]
    NoDevice { number: u32 },
    #[error("{} cannot be read", device.display())]
    Read {
        device: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the state partition {} would have {} MiB with all of its disk, and needs {} MiB", device.display(), size >> 20, SIZE_LIMIT >> 20)]
    TooSmall { device: PathBuf, size: u64 },
    #[error("the state partition {} holds {description}, and nothing of this system", device.display())]
    Foreign {
        device: PathBuf,
        description: String,
    },
    #[error("the state on {} has version {found}, and this system knows version {}", device.display(), directories::VERSION)]
    Version { device: PathBuf, found: String },
    #[error("the state file system on {} is damaged beyond what can be repaired without loss", device.display())]
    Damaged { device: PathBuf },
    #[error(transparent)]
    WriteTable(#[from] WriteError),
    #[error("the kernel does not take the partition's new size")]
    Resize(#[source] io::Error),
    #[error("{tool} cannot be started")]
    Start {
        tool: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{tool} failed with status {status}")]
    Tool { tool: &'static str, status: i32 },
    #[error("{} cannot be mounted on {MOUNT_POINT}", device.display())]
    Mount {
        device: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{MOUNT_POINT} cannot be unmounted")]
    Unmount(#[source] io::Error),
    #[error("{path} cannot be prepared")]
    Directory {
        path: &'static str,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl StateError {
    /// The task's exit status. From 10 on: a person has to do something, and trying again is of no
    /// use.
    fn status(&self) -> u8 {
        match self {
            Self::NoBootDisk | Self::NoPartition { .. } => 10,
            Self::TooSmall { .. } => 11,
            Self::Foreign { .. } => 12,
            Self::Version { .. } => 13,
            Self::Damaged { .. } => 14,
            _ => 1,
        }
    }

    /// What a person can do.
    fn hint(&self) -> &'static str {
        match self {
            Self::NoBootDisk => "start the node from its own image",
            Self::NoPartition { .. } => "write the image to the disk again",
            Self::TooSmall { .. } => "give the machine a larger disk; nothing was written",
            Self::Foreign { .. } => {
                "keep what is there, then fill the partition's first 16 MiB with zeros; nothing \
                 was written"
            }
            Self::Version { .. } => {
                "boot the image that made it, or fill the partition's first 16 MiB with zeros to \
                 start anew; nothing was written"
            }
            Self::Damaged { .. } => {
                "repair it on another machine with e2fsck, or fill the partition's first 16 MiB \
                 with zeros to start anew"
            }
            _ => "check the disk",
        }
    }
}

/// The name of a [`wire::status::Seal`]: how the state is encrypted.
pub(crate) const STATE_ENCRYPTION_FILE: &str = "/run/daas/state-encryption";

/// Runs the task. Exit status 0: the state is on `/var`. Otherwise it is not, and what stands in
/// the log says why: 10 no state partition, 11 too small, 12 foreign data, 13 another version,
/// 14 damaged, 1 anything else.
pub(crate) fn run() -> ExitCode {
    match prepare() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{} ({})", log::chain(&error), error.hint());
            ExitCode::from(error.status())
        }
    }
}

fn prepare() -> Result<(), StateError> {
    let mounted = mounts::is_mount_point(MOUNT_POINT).map_err(|source| StateError::Directory {
        path: MOUNT_POINT,
        source,
    })?;
    if mounted {
        tracing::info!("the state is mounted already");
    } else {
        mount_state()?;
    }
    directories::prepare().map_err(|(path, source)| StateError::Directory { path, source })?;
    identity::settle_machine_id()?;
    directories::bind_k3s_data().map_err(|source| StateError::Directory {
        path: "/var/lib/rancher/k3s/data",
        source,
    })
}

fn mount_state() -> Result<(), StateError> {
    let mut partition = StatePartition::find()?;
    let device = partition.device().path();
    let read_error = |source| StateError::Read {
        device: device.clone(),
        source,
    };
    let content = match partition.is_being_formatted() {
        // Whatever it looks like, it was never used.
        true => Content::Empty,
        false => {
            let file = partition.device().open().map_err(read_error)?;
            content::inspect(&file, partition.device().size).map_err(read_error)?
        }
    };
    match content {
        Content::Foreign { description } => Err(StateError::Foreign {
            device,
            description,
        }),
        Content::Empty => {
            let size = partition.size_when_grown();
            if size < SIZE_LIMIT {
                return Err(StateError::TooSmall { device, size });
            }
            create(&mut partition)
        }
        Content::Ours { size } => open(&mut partition, size),
    }
}

/// Makes a new state.
fn create(partition: &mut StatePartition) -> Result<(), StateError> {
    partition.settle(true)?;
    let device = partition.device().path();
    tracing::info!(device = %device.display(), "making the state file system");
    file_system::make(&device)?;
    file_system::mount_state(&device)?;
    directories::prepare().map_err(|(path, source)| StateError::Directory { path, source })?;
    directories::write_version().map_err(|source| StateError::Directory {
        path: directories::VERSION_FILE,
        source,
    })?;
    partition.settle(false)
}

/// Opens the state of an earlier boot, whose file system has `size` bytes.
fn open(partition: &mut StatePartition, size: u64) -> Result<(), StateError> {
    let device = partition.device().path();
    // Before anything is changed, as far as a journal that is not replayed lets it be read.
    let mut found = None;
    if file_system::mount_untouched(&device).is_ok() {
        found = directories::version().unwrap_or_default();
        file_system::unmount_state()?;
    }
    check_version(&device, found.as_deref().unwrap_or(directories::VERSION))?;

    partition.settle(false)?;
    file_system::check(&device)?;
    file_system::mount_state(&device)?;
    let found = directories::version().map_err(|source| StateError::Directory {
        path: directories::VERSION_FILE,
        source,
    })?;
    let checked = check_version(&device, found.as_deref().unwrap_or("none"));
    if checked.is_err() {
        file_system::unmount_state()?;
        return checked;
    }
    if partition.device().size.saturating_sub(size) >= GROWTH_LIMIT {
        tracing::info!(device = %device.display(), "growing the state file system");
        // A state that did not grow is still a state.
        if let Err(error) = file_system::grow(&device) {
            tracing::error!("the state keeps its size: {}", log::chain(&error));
        }
    }
    Ok(())
}

fn check_version(device: &std::path::Path, found: &str) -> Result<(), StateError> {
    if found == directories::VERSION {
        return Ok(());
    }
    Err(StateError::Version {
        device: device.to_owned(),
        found: found.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_must_decide_has_a_status_of_its_own() {
        let device = PathBuf::from("/dev/vda6");
        let errors = [
            StateError::NoBootDisk,
            StateError::TooSmall {
                device: device.clone(),
                size: 5 << 20,
            },
            StateError::Foreign {
                device: device.clone(),
                description: "x".to_owned(),
            },
            StateError::Version {
                device: device.clone(),
                found: "2".to_owned(),
            },
            StateError::Damaged { device },
        ];
        let statuses: Vec<_> = errors.iter().map(StateError::status).collect();
        assert_eq!(statuses, [10, 11, 12, 13, 14]);
        let text = errors[1].to_string();
        assert!(
            text.contains("/dev/vda6") && text.contains("1024 MiB"),
            "{text}"
        );
    }
}
