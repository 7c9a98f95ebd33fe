//! What is not written to, and why.

use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::SECTOR;
use super::candidates::{Disk, is_built_of_others};
use super::system::System;
use crate::progress::human_size;

/// A target that is refused. Nothing was written to it.
#[derive(Debug, Error)]
#[allow(missing_docs)] // the sentences say what the fields are
pub enum Refusal {
    #[error("{path}: there is no such file; expected a whole disk: ./build.sh flash lists them")]
    Missing { path: PathBuf },
    #[error(
        "{path} is {what}; expected a whole disk, or a file that is to be a disk's image: ./build.sh flash lists disks"
    )]
    NotADisk { path: PathBuf, what: &'static str },
    #[error(
        "{path} is partition of /dev/{disk}; expected a whole disk: name /dev/{disk} if all that is on it may go"
    )]
    Partition { path: PathBuf, disk: String },
    #[error(
        "{path} is built of other devices or of memory; expected a whole disk, which firmware can start from: ./build.sh flash lists them"
    )]
    BuiltOfOthers { path: PathBuf },
    #[error(
        "{path} holds the system that runs here; expected another disk: to write it to this one, start the machine from other media"
    )]
    SystemDisk { path: PathBuf },
    #[error(
        "{path} is in use: {device} is mounted at {point}; expected a disk that nothing uses: umount {point}, and try again"
    )]
    Mounted {
        path: PathBuf,
        device: String,
        point: String,
    },
    #[error(
        "{path} is in use: {device} is swapped to; expected a disk that nothing uses: swapoff /dev/{device}, and try again"
    )]
    Swap { path: PathBuf, device: String },
    #[error(
        "{path} is in use: {device} is part of {holder} (LVM, RAID, LUKS, multipath); expected a disk that nothing uses: take {holder} down, and try again"
    )]
    Held {
        path: PathBuf,
        device: String,
        holder: String,
    },
    #[error(
        "{path} is in use: {device} stands for it; expected a file that nothing uses: losetup --detach /dev/{device}, and try again"
    )]
    BehindLoop { path: PathBuf, device: String },
    #[error(
        "{path} is in use by another program; expected a disk that nothing uses: end that program (fuser --verbose {path}), and try again"
    )]
    Busy { path: PathBuf },
    #[error(
        "{path} is read-only; expected a disk that can be written: look for the write-protect switch of the card or stick"
    )]
    ReadOnly { path: PathBuf },
    #[error("{path} has no medium; expected a disk: insert the card, and try again")]
    NoMedium { path: PathBuf },
    #[error("{path} has {} ({has} bytes); the image needs {} ({needs} bytes): take a larger one", human_size(*has), human_size(*needs))]
    TooSmall { path: PathBuf, has: u64, needs: u64 },
    #[error(
        "{path} has logical sectors of {has} bytes; expected {SECTOR}, for which the image's partition table is made: take another disk, or format its namespace to {SECTOR} bytes (nvme format --lbaf)"
    )]
    SectorSize { path: PathBuf, has: u64 },
    #[error(
        "{path} is not a whole number of sectors: {has} bytes; expected a multiple of {SECTOR}: truncate --size=%{SECTOR} {path}"
    )]
    PartOfSector { path: PathBuf, has: u64 },
    #[error(
        "{path} is the image itself; expected another file or a disk: copy it, and name the copy"
    )]
    Image { path: PathBuf },
    #[error(
        "{path} can't be opened for reading and writing; expected to be allowed to: run this as root"
    )]
    Forbidden { path: PathBuf },
    #[error("{path} can't be opened: {error}; expected a disk that can be read and written")]
    Unopened {
        path: PathBuf,
        error: std::io::Error,
    },
}

/// What is written to.
#[derive(Debug, Clone)]
pub enum Target {
    /// A whole disk.
    Disk(Disk),
    /// A regular file, which is to be a disk's image.
    File {
        /// Where it is.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
}

impl Target {
    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Disk(disk) => &disk.node,
            Self::File { path, .. } => path,
        }
    }

    /// Its size in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        match self {
            Self::Disk(disk) => disk.size,
            Self::File { size, .. } => *size,
        }
    }
}

/// Finds the target, and refuses what is not to be written to. `image` is open, and has `needs` bytes.
///
/// # Errors
/// [`Refusal`].
pub fn check(system: &System, path: &Path, image: &File, needs: u64) -> Result<Target, Refusal> {
    let resolved = fs::canonicalize(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Refusal::Missing {
            path: path.to_owned(),
        },
        _ => Refusal::Unopened {
            path: path.to_owned(),
            error,
        },
    })?;
    let metadata = fs::metadata(&resolved).map_err(|error| Refusal::Unopened {
        path: resolved.clone(),
        error,
    })?;
    let kind = metadata.file_type();
    if kind.is_block_device() {
        let number = metadata.rdev();
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        let name = system.name_of(major, minor);
        let name = name.ok_or(Refusal::Missing { path: resolved })?;
        return disk(system, &name, needs).map(Target::Disk);
    }
    if kind.is_file() {
        let is_image = image
            .metadata()
            .is_ok_and(|image| (image.dev(), image.ino()) == (metadata.dev(), metadata.ino()));
        if is_image {
            return Err(Refusal::Image { path: resolved });
        }
        return file(system, &resolved, metadata.len(), needs);
    }
    let what = if kind.is_dir() {
        "a directory"
    } else if kind.is_char_device() {
        "a character device"
    } else {
        "a pipe or a socket"
    };
    Err(Refusal::NotADisk {
        path: resolved,
        what,
    })
}

fn file(system: &System, path: &Path, size: u64, needs: u64) -> Result<Target, Refusal> {
    let path = path.to_owned();
    let behind = system
        .disks()
        .into_iter()
        .find(|name| system.backing_file(name).as_ref() == Some(&path));
    if let Some(device) = behind {
        return Err(Refusal::BehindLoop { path, device });
    }
    if system.swaps().iter().any(|swap| Path::new(swap) == path) {
        return Err(Refusal::Swap {
            device: path.display().to_string(),
            path,
        });
    }
    fits(&path, size, needs)?;
    if !size.is_multiple_of(u64::from(SECTOR)) {
        return Err(Refusal::PartOfSector { path, has: size });
    }
    Ok(Target::File { path, size })
}

/// A block device by the kernel's name.
pub(super) fn disk(system: &System, name: &str, needs: u64) -> Result<Disk, Refusal> {
    let path = system.node(name);
    if let Some(disk) = system.disk_of(name) {
        return Err(Refusal::Partition { path, disk });
    }
    if is_built_of_others(name) {
        return Err(Refusal::BuiltOfOthers { path });
    }
    if system.own_disks().contains(name) {
        return Err(Refusal::SystemDisk { path });
    }
    unused(system, name, &path)?;
    let size = system.size(name);
    if size == 0 {
        return Err(Refusal::NoMedium { path });
    }
    if system.number(name, "ro") != Some(0) {
        return Err(Refusal::ReadOnly { path });
    }
    let sector = system.number(name, "queue/logical_block_size");
    let sector = sector.unwrap_or(SECTOR.into());
    if sector != u64::from(SECTOR) {
        return Err(Refusal::SectorSize { path, has: sector });
    }
    fits(&path, size, needs)?;
    Ok(Disk::of(system, name))
}

fn fits(path: &Path, has: u64, needs: u64) -> Result<(), Refusal> {
    if has < needs {
        return Err(Refusal::TooSmall {
            path: path.to_owned(),
            has,
            needs,
        });
    }
    Ok(())
}

/// Refuses a disk of which something is mounted, swapped to, or part of another device.
fn unused(system: &System, name: &str, path: &Path) -> Result<(), Refusal> {
    let (mounts, swaps) = (system.mounts(), system.swaps());
    let path = path.to_owned();
    for device in system.with_partitions(name) {
        let number = system.attribute(&device, "dev");
        let mounted = mounts
            .iter()
            .find(|mount| mount.device == device || Some(&mount.number) == number.as_ref());
        if let Some(mount) = mounted {
            let point = mount.point.clone();
            return Err(Refusal::Mounted {
                path,
                device,
                point,
            });
        }
        if swaps.contains(&device) {
            return Err(Refusal::Swap { path, device });
        }
        if let Some(holder) = system.holders(&device).into_iter().next() {
            return Err(Refusal::Held {
                path,
                device,
                holder,
            });
        }
    }
    Ok(())
}
