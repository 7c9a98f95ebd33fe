//! EFI system partitions: where a person drops a configuration from any machine, and where the node
//! keeps its sealed one.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, OFlags, fsync, mkdirat, openat, renameat, syncfs, unlinkat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use gpt::{Guid, Table};
use kernel::block_devices::{self, BlockDevice};
use kernel::modules::Loader;
use kernel::root_devices::{RootDevices, boot_disk};

/// The type of an EFI system partition (UEFI 2.10, table 5.7).
const TYPE: Guid = Guid::from_fields(0xc12a_7328, 0xf81f, 0x11d2, 0xba4b_00a0_c93e_c93b);
/// Where everything of this system's that is no boot loader lies. FAT knows no upper and lower case.
pub(crate) const DIRECTORY: &str = "daas";
/// The file system, and what it needs to read names: `CONFIG_FAT_DEFAULT_CODEPAGE` and
/// `CONFIG_FAT_DEFAULT_IOCHARSET` of Debian's kernels.
const MODULES: [&str; 4] = ["vfat", "nls_cp437", "nls_ascii", "nls_utf8"];
/// How many partitions are looked at.
pub(crate) const MAXIMUM_PARTITIONS: usize = 16;
/// How often a mount is tried that another task is in the way of, and how far apart.
const ATTEMPTS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);
/// The file system of such a partition.
pub(crate) const VFAT: &str = "vfat";
/// For the node's owner alone, on a file system that can't say so: vfat(5), `umask`.
const PRIVATE: &str = "0077";

/// Every such partition, those of other disks than the one this system runs from first: a disk that
/// somebody put in speaks louder than the one that was there.
///
/// # Errors
/// When disks can't be listed.
pub(crate) fn all() -> io::Result<Vec<BlockDevice>> {
    let devices = block_devices::all()?;
    let own = own_disk();
    let mut disks: Vec<&BlockDevice> = devices
        .iter()
        .filter(|device| block_devices::is_real_disk(device))
        .collect();
    disks.sort_by_key(|disk| own.as_deref() == Some(disk.name.as_str()));
    Ok(disks
        .into_iter()
        .flat_map(|disk| on_disk(disk, &devices))
        .take(MAXIMUM_PARTITIONS)
        .cloned()
        .collect())
}

/// The one of the disk that this system runs from; none where it runs from elsewhere.
///
/// # Errors
/// When disks can't be listed.
pub(crate) fn own() -> io::Result<Option<BlockDevice>> {
    let Some(name) = own_disk() else {
        return Ok(None);
    };
    let devices = block_devices::all()?;
    let disk = devices.iter().find(|device| device.name == name);
    Ok(disk
        .and_then(|disk| on_disk(disk, &devices).into_iter().next())
        .cloned())
}

/// The disk that the root is on; none in a namespace on another system.
fn own_disk() -> Option<String> {
    let (disk, _) = boot_disk(&RootDevices::load()?).ok()??;
    Some(disk.name)
}

fn on_disk<'a>(disk: &BlockDevice, devices: &'a [BlockDevice]) -> Vec<&'a BlockDevice> {
    // A disk without a table, or one that can't be read, has no such partition.
    let Some(table) = disk.open().ok().and_then(|file| Table::read(&file).ok()) else {
        return Vec::new();
    };
    table
        .partitions()
        .filter(|partition| partition.type_guid == TYPE)
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

/// Loads what the kernel needs to mount one.
pub(crate) fn load_modules() {
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

/// A mounted partition, or a folder that stands for one. The mount is nowhere in the tree (fsmount(2)):
/// nobody else sees it, and it goes with this.
#[derive(Debug)]
pub(crate) struct SystemPartition(OwnedFd);

impl SystemPartition {
    /// Mounts it for reading.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn open(partition: &BlockDevice) -> io::Result<Self> {
        Ok(mount(partition, false)?)
    }

    /// Mounts it for writing. It must not be mounted for reading at the same time.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn open_for_writing(partition: &BlockDevice) -> io::Result<Self> {
        Ok(mount(partition, true)?)
    }

    /// Opens a file below [`DIRECTORY`]; none: it is not there.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn read(&self, name: &str) -> io::Result<Option<File>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        match openat(&self.0, path(name), flags, Mode::empty()) {
            Ok(file) => Ok(Some(File::from(file))),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts a file in the place of the one of that name: written beside it as `name.new`, synced,
    /// renamed. FAT can lose a rename to a power cut, but not both files: whoever reads looks for
    /// both.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        match mkdirat(&self.0, DIRECTORY, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let temporary = path(&temporary_name(name));
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut file = File::from(openat(&self.0, &temporary, flags, Mode::RUSR | Mode::WUSR)?);
        file.write_all(content)?;
        file.sync_all()?;
        drop(file);
        self.sync()?;
        renameat(&self.0, &temporary, &self.0, path(name))?;
        self.sync()
    }

    /// Gives a file another name; whether it was there.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn rename(&self, name: &str, to: &str) -> io::Result<bool> {
        match renameat(&self.0, path(name), &self.0, path(to)) {
            Ok(()) => self.sync().map(|()| true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Overwrites a file with zeros and removes it; whether it was there. What a flash memory held
    /// elsewhere of it, it may keep.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn forget(&self, name: &str) -> io::Result<bool> {
        let path = path(name);
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match openat(&self.0, &path, flags, Mode::empty()) {
            Ok(file) => forget(&self.0, &path, File::from(file), DIRECTORY).map(|()| true),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        sync(&self.0, DIRECTORY)
    }

    /// A folder in place of a partition, as fsmount(2) would give it.
    #[cfg(test)]
    pub(crate) fn folder(folder: &std::path::Path) -> Self {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Self(rustix::fs::open(folder, flags, Mode::empty()).unwrap())
    }
}

/// Overwrites a file of a mounted file system with zeros and removes it. `file` is open for writing,
/// and `path` and `folder` are its own and its folder's, from the mount's root.
///
/// # Errors
/// What the system says.
pub(crate) fn forget(root: &OwnedFd, path: &str, mut file: File, folder: &str) -> io::Result<()> {
    let length = file.metadata()?.len();
    io::copy(&mut io::Read::take(io::repeat(0), length), &mut file)?;
    file.sync_all()?;
    drop(file);
    unlinkat(root, path, AtFlags::empty())?;
    sync(root, folder)
}

/// What fsmount(2) gives is as a file of `O_PATH`: it can't be synced itself (open(2)).
fn sync(root: &OwnedFd, folder: &str) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(root, folder, flags, Mode::empty())?;
    fsync(&directory)?;
    Ok(syncfs(&directory)?)
}

/// What a file is written as before it takes its name.
pub(crate) fn temporary_name(name: &str) -> String {
    format!("{name}.new")
}

fn path(name: &str) -> String {
    format!("{DIRECTORY}/{name}")
}

/// Mounts a partition, once nobody has it mounted the other way: tasks of a boot run side by side, and
/// none keeps it for long.
fn mount(partition: &BlockDevice, writing: bool) -> Result<SystemPartition, Errno> {
    let attempt = || mount_detached(partition, VFAT, writing).map(SystemPartition);
    for _ in 1..ATTEMPTS {
        match attempt() {
            Err(Errno::BUSY) => std::thread::sleep(PAUSE),
            other => return other,
        }
    }
    attempt()
}

/// Mounts a file system that somebody else may have made: nothing on it is a device, runs, or gains
/// rights. The mount is nowhere in the tree, and goes with what is returned.
///
/// # Errors
/// What the system says.
pub(crate) fn mount_detached(
    device: &BlockDevice,
    file_system: &str,
    writing: bool,
) -> Result<OwnedFd, Errno> {
    let context = fsopen(file_system, FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), "source", device.path())?;
    if file_system == VFAT {
        fsconfig_set_string(context.as_fd(), "umask", PRIVATE)?;
    }
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_NOSUID;
    if !writing {
        fsconfig_set_flag(context.as_fd(), "ro")?;
        attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_takes_the_place_of_another_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let partition = SystemPartition::folder(folder.path());
        assert!(partition.read("node.sealed").unwrap().is_none());
        assert!(!partition.forget("node.sealed").unwrap());
        assert!(!partition.rename("node.sealed", "node.sealed.old").unwrap());
        for content in ["one", "two"] {
            partition
                .replace("node.sealed", content.as_bytes())
                .unwrap();
            let file = partition.read("node.sealed").unwrap().unwrap();
            assert_eq!(io::read_to_string(file).unwrap(), content);
        }
        let place = folder.path().join(DIRECTORY);
        assert_eq!(fs::read_dir(&place).unwrap().count(), 1);
        let open = File::open(place.join("node.sealed")).unwrap();
        assert!(partition.forget("node.sealed").unwrap());
        assert_eq!(io::read_to_string(open).unwrap(), "\0\0\0");
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
    }
}
