//! The disks and partitions that the kernel knows, from sysfs
//! (Documentation/ABI/stable/sysfs-block).

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const CLASS: &str = "/sys/class/block";
const ATTRIBUTE_LIMIT: usize = 4096;
/// `SECTOR_SIZE`: what the kernel counts sizes in, whatever the disk's own blocks.
pub const SECTOR: u64 = 512;
/// Devices that the kernel makes itself: nobody's disk.
const VIRTUAL: [&str; 5] = ["loop", "ram", "zram", "dm-", "md"];

/// A disk or a partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockDevice {
    /// The kernel's name, such as `vda2`.
    pub name: String,
    /// Size in bytes; 0 for a drive without a medium.
    pub size: u64,
    /// A partition's number and the name of its disk.
    pub partition_of: Option<(u32, String)>,
}

impl BlockDevice {
    /// Where devtmpfs has the device.
    pub fn path(&self) -> PathBuf {
        // The kernel writes `!` in sysfs for a `/` below /dev (lib/kobject.c, cciss/c0d0).
        Path::new("/dev").join(self.name.replace('!', "/"))
    }

    /// Path, and for a partition its label in parentheses.
    pub fn description(&self) -> String {
        let uevent = Path::new(CLASS).join(&self.name).join("uevent");
        let label = files::read_text(uevent, ATTRIBUTE_LIMIT).unwrap_or_default();
        let label = label
            .lines()
            .find_map(|line| line.strip_prefix("PARTNAME="));
        let path = self.path();
        match label {
            Some(label) => format!("{} ({label})", path.display()),
            None => path.display().to_string(),
        }
    }

    /// `major:minor`.
    ///
    /// # Errors
    /// What the system says when the device is gone.
    pub fn number(&self) -> io::Result<String> {
        files::read_text(
            Path::new(CLASS).join(&self.name).join("dev"),
            ATTRIBUTE_LIMIT,
        )
    }

    /// Whether nothing can be written to it; a device that is gone can't be either.
    pub fn is_read_only(&self) -> bool {
        let path = Path::new(CLASS).join(&self.name).join("ro");
        files::read_text(path, ATTRIBUTE_LIMIT).map_or(true, |text| text != "0")
    }

    /// Opens it for reading. A drive that is still getting ready does not block.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(&self) -> io::Result<File> {
        let flags = rustix::fs::OFlags::NONBLOCK.bits();
        OpenOptions::new()
            .read(true)
            .custom_flags(flags.cast_signed())
            .open(self.path())
    }

    /// The device of that name; `None` when there is none.
    pub fn from_sysfs(name: &str) -> Option<Self> {
        let directory = Path::new(CLASS).join(name);
        let attribute = |name: &str| files::read_text(directory.join(name), ATTRIBUTE_LIMIT).ok();
        let sectors: u64 = attribute("size")?.parse().ok()?;
        let partition_of = match attribute("partition") {
            None => None,
            Some(number) => {
                // /sys/class/block/vda2 is a link to …/block/vda/vda2.
                let device = fs::canonicalize(&directory).ok()?;
                let disk = device.parent()?.file_name()?.to_str()?.to_owned();
                Some((number.parse().ok()?, disk))
            }
        };
        Some(Self {
            name: name.to_owned(),
            size: sectors.saturating_mul(SECTOR),
            partition_of,
        })
    }
}

/// Every block device there is, ordered by name. One that goes while this looks is left out.
///
/// # Errors
/// What the system says when sysfs is not there.
pub fn all() -> io::Result<Vec<BlockDevice>> {
    let mut devices: Vec<_> = fs::read_dir(CLASS)?
        .flatten()
        .filter_map(|entry| BlockDevice::from_sysfs(entry.file_name().to_str()?))
        .collect();
    devices.sort();
    Ok(devices)
}

/// Whether it is a disk that somebody could have written an image to.
pub fn is_real_disk(device: &BlockDevice) -> bool {
    device.partition_of.is_none() && is_real(device)
}

/// Whether it is a disk or a partition of one, and not made by the kernel itself.
pub fn is_real(device: &BlockDevice) -> bool {
    device.size > 0 && !VIRTUAL.iter().any(|prefix| device.name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str, partition_of: Option<(u32, &str)>) -> BlockDevice {
        BlockDevice {
            name: name.to_owned(),
            size: 1 << 30,
            partition_of: partition_of.map(|(number, disk)| (number, disk.to_owned())),
        }
    }

    #[test]
    fn disks_are_told_from_what_the_kernel_makes() {
        assert!(is_real_disk(&device("vda", None)));
        assert!(is_real_disk(&device("nvme0n1", None)));
        assert!(!is_real_disk(&device("nvme0n1p1", Some((1, "nvme0n1")))));
        assert!(!is_real_disk(&device("loop0", None)));
        assert!(!is_real_disk(&device("dm-0", None)));
        assert!(!is_real_disk(&BlockDevice {
            size: 0,
            ..device("sr0", None)
        }));
    }

    #[test]
    fn names_with_a_slash() {
        assert_eq!(
            device("cciss!c0d0", None).path(),
            Path::new("/dev/cciss/c0d0")
        );
    }

    #[test]
    fn this_machine_lists_its_devices() {
        if Path::new(CLASS).exists() {
            all().unwrap();
        }
    }
}
