//! Configuration drives: volumes by which clouds and hypervisors hand over user data without a network.
//!
//! - NoCloud: label `cidata`, file `user-data`
//!   (<https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html>);
//! - OpenStack's: label `config-2`, file `openstack/latest/user_data`
//!   (<https://docs.openstack.org/nova/latest/user/metadata.html>, "Config drives").
//!
//! Both are ISO 9660 or FAT, a whole device or a partition. Labels are compared as cloud-init does it,
//! without regard to case.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

use cloud::MAXIMUM_USER_DATA;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::system_partition::{self, VFAT};
use kernel::block_devices::{self, BlockDevice};
use kernel::modules::Loader;

/// The file system of optical media, and the kernel's name for it.
const ISO9660: &str = "iso9660";
/// ECMA-119, section 8.4: the primary volume descriptor, in sector 16 of 2048 bytes.
const DESCRIPTOR: u64 = 16 * 2048;
/// How many devices are looked at.
const MAXIMUM_DEVICES: usize = 64;

/// A kind of drive.
#[derive(Debug, PartialEq, Eq)]
struct Kind {
    label: &'static str,
    /// The file with the user data, and its folder.
    file: &'static str,
    folder: &'static str,
}

const KINDS: [Kind; 2] = [
    Kind {
        label: "cidata",
        file: "user-data",
        folder: ".",
    },
    Kind {
        label: "config-2",
        file: "openstack/latest/user_data",
        folder: "openstack/latest",
    },
];

/// A configuration drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Drive {
    device: BlockDevice,
    file_system: &'static str,
    kind: &'static Kind,
}

impl Drive {
    /// What errors call its user data.
    pub(super) fn name(&self) -> String {
        format!("{}:{}", self.device.path().display(), self.kind.file)
    }

    /// What a person calls it.
    pub(super) fn description(&self) -> String {
        let path = self.device.path();
        format!("{} (volume {})", path.display(), self.kind.label)
    }

    /// Reads its user data, of at most one byte more than [`MAXIMUM_USER_DATA`]; none: it has none.
    pub(super) fn read(&self) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        let root = system_partition::mount_detached(&self.device, self.file_system, false)?;
        let Some(file) = open(&root, self.kind.file, OFlags::RDONLY)? else {
            return Ok(None);
        };
        // room from the start: a buffer that grows leaves copies of secrets behind
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAXIMUM_USER_DATA.saturating_add(2)));
        let bound = u64::try_from(MAXIMUM_USER_DATA).unwrap_or(u64::MAX);
        file.take(bound.saturating_add(1)).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Whether nothing can be overwritten on it, whatever is done.
    pub(super) fn is_read_only(&self) -> bool {
        self.file_system != VFAT || self.device.is_read_only()
    }

    /// Overwrites and removes its user data.
    pub(super) fn forget(&self) -> io::Result<()> {
        let root = system_partition::mount_detached(&self.device, self.file_system, true)?;
        match open(&root, self.kind.file, OFlags::WRONLY)? {
            Some(file) => system_partition::forget(&root, self.kind.file, file, self.kind.folder),
            None => Ok(()),
        }
    }
}

/// Opens a file of a drive; no link of it leads anywhere else.
fn open(root: &OwnedFd, path: &str, access: OFlags) -> io::Result<Option<File>> {
    let flags = access | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let file = match openat2(root, path, flags, Mode::empty(), within) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    Ok(Some(file))
}

/// Every configuration drive, in the order of the devices' names.
pub(super) fn all() -> Vec<Drive> {
    let devices = match block_devices::all() {
        Ok(devices) => devices,
        Err(error) => {
            tracing::warn!(%error, "disks can't be listed");
            return Vec::new();
        }
    };
    let drives: Vec<Drive> = devices
        .into_iter()
        .filter(block_devices::is_real)
        .take(MAXIMUM_DEVICES)
        // a drive without a medium, or one that can't be read, has no label
        .filter_map(|device| {
            let (file_system, label) = label(&device.open().ok()?)?;
            let kind = KINDS
                .iter()
                .find(|kind| label.eq_ignore_ascii_case(kind.label))?;
            Some(Drive {
                device,
                file_system,
                kind,
            })
        })
        .collect();
    if drives.iter().any(|drive| drive.file_system == VFAT) {
        system_partition::load_modules();
    }
    if drives.iter().any(|drive| drive.file_system == ISO9660)
        && let Err(error) = Loader::open().and_then(|mut loader| loader.load("isofs"))
    {
        tracing::debug!(%error, "the module for ISO 9660 is missing");
    }
    drives
}

/// File system and label of a volume; none: it is neither of the two, or has none.
fn label(volume: &File) -> Option<(&'static str, String)> {
    let mut sector = [0_u8; 512];
    if volume.read_exact_at(&mut sector, 0).is_ok()
        && let Some(label) = fat_label(&sector)
    {
        return Some((VFAT, label));
    }
    let mut descriptor = [0_u8; 512];
    volume.read_exact_at(&mut descriptor, DESCRIPTOR).ok()?;
    iso9660_label(&descriptor).map(|label| (ISO9660, label))
}

/// The label in a boot sector of FAT ("FAT: General Overview of On-Disk Format", version 1.03:
/// `BS_VolLab` and `BS_FilSysType`, at 43 and 54 in FAT12 and FAT16, at 71 and 82 in FAT32).
fn fat_label(sector: &[u8; 512]) -> Option<String> {
    if sector.get(510..) != Some(&[0x55, 0xaa]) {
        return None;
    }
    [(43, 54), (71, 82)].into_iter().find_map(|(label, kind)| {
        let is_fat = sector.get(kind..)?.starts_with(b"FAT");
        let label = sector.get(label..)?.get(..11)?;
        is_fat.then(|| trimmed(label)).flatten()
    })
}

/// The volume identifier of a primary volume descriptor (ECMA-119, section 8.4).
fn iso9660_label(descriptor: &[u8; 512]) -> Option<String> {
    if !descriptor.starts_with(b"\x01CD001") {
        return None;
    }
    trimmed(descriptor.get(40..72)?)
}

fn trimmed(label: &[u8]) -> Option<String> {
    let label = std::str::from_utf8(label).ok()?;
    Some(label.trim_end_matches([' ', '\0']).to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn fat(label: &[u8; 11], kind: &[u8; 8], offset: (usize, usize)) -> [u8; 512] {
        let mut sector = [0_u8; 512];
        sector[offset.0..offset.0 + 11].copy_from_slice(label);
        sector[offset.1..offset.1 + 8].copy_from_slice(kind);
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        sector
    }

    fn volume(sector: &[u8; 512], descriptor: &[u8; 512]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(sector, 0).unwrap();
        file.write_all_at(descriptor, DESCRIPTOR).unwrap();
        file
    }

    #[test]
    fn volumes_of_both_file_systems_are_known_by_their_labels() {
        let mut descriptor = [0_u8; 512];
        descriptor[..6].copy_from_slice(b"\x01CD001");
        descriptor[40..72].copy_from_slice(b"config-2                        ");
        let none = [0_u8; 512];
        let found = |file: File| label(&file);
        assert_eq!(
            found(volume(&none, &descriptor)),
            Some((ISO9660, "config-2".to_owned()))
        );
        let small = fat(b"CIDATA     ", b"FAT16   ", (43, 54));
        assert_eq!(
            found(volume(&small, &none)),
            Some((VFAT, "CIDATA".to_owned()))
        );
        let large = fat(b"cidata     ", b"FAT32   ", (71, 82));
        assert_eq!(
            found(volume(&large, &none)),
            Some((VFAT, "cidata".to_owned()))
        );
    }

    #[test]
    fn other_volumes_have_no_label() {
        let none = [0_u8; 512];
        assert_eq!(label(&volume(&none, &none)), None);
        assert_eq!(label(&tempfile::tempfile().unwrap()), None);
        let mut unsigned = fat(b"cidata     ", b"FAT16   ", (43, 54));
        unsigned[511] = 0;
        assert_eq!(fat_label(&unsigned), None);
        let other = fat(b"cidata     ", b"NTFS    ", (43, 54));
        assert_eq!(fat_label(&other), None);
        let mut descriptor = [0_u8; 512];
        descriptor[..6].copy_from_slice(b"\x02CD001");
        assert_eq!(iso9660_label(&descriptor), None);
    }

    #[test]
    fn no_link_on_a_drive_leads_out_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        fs::create_dir(folder.path().join("latest")).unwrap();
        fs::write(folder.path().join("latest/user_data"), "version = 1").unwrap();
        symlink("latest", folder.path().join("link")).unwrap();
        symlink(outside.path(), folder.path().join("user-data")).unwrap();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(folder.path(), flags, Mode::empty()).unwrap();
        let read = |path| open(&root, path, OFlags::RDONLY);
        let file = read("latest/user_data").unwrap().unwrap();
        assert_eq!(io::read_to_string(file).unwrap(), "version = 1");
        for path in ["user-data", "link/user_data", "../user-data", "latest"] {
            assert!(read(path).is_err(), "{path}");
        }
        assert!(read("missing").unwrap().is_none());
        assert!(read("latest/user_data/more").unwrap().is_none());
    }
}
