//! `daas/node.toml` on EFI system partitions: where a person drops it from any machine.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use super::sources::{Document, SourceError, failed, read};
use crate::block_devices::{self, BlockDevice};
use crate::corruption::{RootDevices, boot_disk};
use crate::gpt::{Guid, Table};
use crate::modules::Loader;

/// The type of an EFI system partition (UEFI 2.10, table 5.7).
const ESP: Guid = Guid::from_fields(0xc12a_7328, 0xf81f, 0x11d2, 0xba4b_00a0_c93e_c93b);
/// Below the partition's root. FAT knows no upper and lower case.
const FILE: &str = "daas/node.toml";
/// The file system, and what it needs to read names: `CONFIG_FAT_DEFAULT_CODEPAGE` and
/// `CONFIG_FAT_DEFAULT_IOCHARSET` of Debian's kernels.
const MODULES: [&str; 4] = ["vfat", "nls_cp437", "nls_ascii", "nls_utf8"];
/// How many partitions are looked at.
const MAXIMUM_PARTITIONS: usize = 16;

/// The first configuration on such a partition, those of other disks than the one this system
/// runs from first: a disk that somebody put in speaks louder than the one that was there.
pub(super) fn find() -> Result<Option<Document>, SourceError> {
    let devices = match block_devices::all() {
        Ok(devices) => devices,
        Err(error) => {
            tracing::warn!(%error, "disks can't be listed");
            return Ok(None);
        }
    };
    let own = own_disk();
    let mut disks: Vec<&BlockDevice> = devices
        .iter()
        .filter(|device| block_devices::is_real_disk(device))
        .collect();
    disks.sort_by_key(|disk| own.as_deref() == Some(disk.name.as_str()));
    let partitions: Vec<&BlockDevice> = disks
        .iter()
        .flat_map(|disk| system_partitions(disk, &devices))
        .take(MAXIMUM_PARTITIONS)
        .collect();
    if !partitions.is_empty() {
        load_modules();
    }
    for partition in partitions {
        let name = format!("{}:{FILE}", partition.path().display());
        match open(partition) {
            Ok(Some(file)) => return read(&name, file).map(Some),
            Ok(None) => {}
            // another system's partition, perhaps damaged: not ours to stop at
            Err(Step::Mount(error)) => {
                tracing::warn!(%error, partition = %partition.path().display(), "can't be mounted");
            }
            Err(Step::Open(error)) => return Err(failed(&name)(error)),
        }
    }
    Ok(None)
}

/// The disk that the root is on; none in a namespace on another system.
fn own_disk() -> Option<String> {
    let (disk, _) = boot_disk(&RootDevices::load()?).ok()??;
    Some(disk.name)
}

fn system_partitions<'a>(disk: &BlockDevice, devices: &'a [BlockDevice]) -> Vec<&'a BlockDevice> {
    // A disk without a table, or one that can't be read, has no such partition.
    let Some(table) = disk.open().ok().and_then(|file| Table::read(&file).ok()) else {
        return Vec::new();
    };
    table
        .partitions()
        .filter(|partition| partition.type_guid == ESP)
        .filter_map(|partition| {
            devices.iter().find(|device| {
                device
                    .partition_of
                    .as_ref()
                    .is_some_and(|(number, name)| *number == partition.number && *name == disk.name)
            })
        })
        .collect()
}

fn load_modules() {
    match Loader::open() {
        Ok(mut loader) => {
            for module in MODULES {
                if let Err(error) = loader.load(module) {
                    tracing::debug!(%error, module, "a module for FAT is missing");
                }
            }
        }
        Err(error) => tracing::debug!(%error, "kernel modules can't be found"),
    }
}

/// What failed.
enum Step {
    Mount(io::Error),
    Open(io::Error),
}

/// Opens the file on a mount that is nowhere in the tree (fsmount(2)): nobody else sees it, and it
/// goes when the file is closed.
fn open(partition: &BlockDevice) -> Result<Option<File>, Step> {
    let mount = mount(&partition.path()).map_err(|error| Step::Mount(error.into()))?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    match rustix::fs::openat(&mount, FILE, flags, Mode::empty()) {
        Ok(file) => Ok(Some(File::from(file))),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(Step::Open(error.into())),
    }
}

fn mount(device: &Path) -> Result<OwnedFd, Errno> {
    let context = fsopen("vfat", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), "source", device)?;
    fsconfig_set_flag(context.as_fd(), "ro")?;
    fsconfig_create(context.as_fd())?;
    fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC
            | MountAttrFlags::MOUNT_ATTR_NOSUID,
    )
}
