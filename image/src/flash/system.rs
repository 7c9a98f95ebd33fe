//! What the kernel says of block devices: `/sys` and `/proc`, below roots that tests can choose.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The longest attribute or table that is read, in bytes.
const LIMIT: usize = 4 << 20;
/// What the kernel counts sizes in, whatever the disk's own sectors.
const SECTOR: u64 = 512;
/// The mount points of a running system.
const OF_SYSTEM: [&str; 5] = ["/", "/usr", "/boot", "/boot/efi", "/efi"];
/// How deep devices are built of others: LUKS on LVM on RAID is three.
const DEPTH: usize = 8;

/// Where sysfs, procfs and the device nodes are.
#[derive(Debug, Clone)]
pub struct System {
    sys: PathBuf,
    proc: PathBuf,
    dev: PathBuf,
}

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// `major:minor` of its device; of btrfs and the like a number that no device has.
    pub number: String,
    /// The name of its device, without `/dev/`; empty where it has none.
    pub device: String,
    /// Where it is mounted.
    pub point: String,
}

impl System {
    /// That of this machine.
    #[must_use]
    pub fn of_this_machine() -> Self {
        Self {
            sys: "/sys".into(),
            proc: "/proc".into(),
            dev: "/dev".into(),
        }
    }

    /// One whose `sys`, `proc` and `dev` are directories of `root`.
    #[cfg(test)]
    pub(crate) fn below(root: &Path) -> Self {
        Self {
            sys: root.join("sys"),
            proc: root.join("proc"),
            dev: root.join("dev"),
        }
    }

    /// The names of all whole devices, in order.
    #[must_use]
    pub fn disks(&self) -> Vec<String> {
        names(&self.sys.join("block"))
    }

    /// The name of the device of a number: the last part of its path in sysfs.
    #[must_use]
    pub fn name_of(&self, major: u32, minor: u32) -> Option<String> {
        let link = self.sys.join(format!("dev/block/{major}:{minor}"));
        file_name(&fs::canonicalize(link).ok()?)
    }

    /// Where the device node is. In sysfs `!` stands for a `/` (lib/kobject.c, cciss/c0d0).
    #[must_use]
    pub fn node(&self, name: &str) -> PathBuf {
        self.dev.join(name.replace('!', "/"))
    }

    fn directory(&self, name: &str) -> PathBuf {
        self.sys.join("class/block").join(name)
    }

    /// The device's directory in sysfs, with every link of its path resolved.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        fs::canonicalize(self.directory(name)).unwrap_or_default()
    }

    /// An attribute of a device, without white space around it.
    #[must_use]
    pub fn attribute(&self, name: &str, attribute: &str) -> Option<String> {
        text(&self.directory(name).join(attribute))
    }

    /// An attribute that is a number.
    #[must_use]
    pub fn number(&self, name: &str, attribute: &str) -> Option<u64> {
        self.attribute(name, attribute)?.parse().ok()
    }

    /// The bytes of an attribute.
    #[must_use]
    pub fn bytes(&self, name: &str, attribute: &str) -> Option<Vec<u8>> {
        files::read_bounded(self.directory(name).join(attribute), LIMIT).ok()
    }

    /// Size in bytes; 0 for a drive without a medium.
    #[must_use]
    pub fn size(&self, name: &str) -> u64 {
        self.number(name, "size")
            .unwrap_or(0)
            .saturating_mul(SECTOR)
    }

    /// The disk that a partition is of; `None` for a whole device.
    #[must_use]
    pub fn disk_of(&self, name: &str) -> Option<String> {
        self.attribute(name, "partition")?;
        file_name(self.path(name).parent()?)
    }

    /// The device and its partitions.
    #[must_use]
    pub fn with_partitions(&self, name: &str) -> Vec<String> {
        let partitions = names(&self.path(name)).into_iter().filter(|entry| {
            entry.starts_with(name) && self.attribute(entry, "partition").is_some()
        });
        std::iter::once(name.to_owned()).chain(partitions).collect()
    }

    /// The devices that are built of this one: device mapper, RAID, bcache.
    #[must_use]
    pub fn holders(&self, name: &str) -> Vec<String> {
        names(&self.directory(name).join("holders"))
    }

    /// The file that a loop device stands for.
    #[must_use]
    pub fn backing_file(&self, name: &str) -> Option<PathBuf> {
        self.attribute(name, "loop/backing_file").map(PathBuf::from)
    }

    /// The mounted file systems (proc(5), `/proc/pid/mountinfo`).
    #[must_use]
    pub fn mounts(&self) -> Vec<Mount> {
        let table = text(&self.proc.join("self/mountinfo")).unwrap_or_default();
        table
            .lines()
            .filter_map(|line| {
                let (left, right) = line.split_once(" - ")?;
                let left: Vec<&str> = left.split(' ').collect();
                Some(Mount {
                    number: (*left.get(2)?).to_owned(),
                    point: unescape(left.get(4)?),
                    device: self.device_name(&unescape(right.split(' ').nth(1)?)),
                })
            })
            .collect()
    }

    /// What is swapped to: names of devices, or paths of files.
    #[must_use]
    pub fn swaps(&self) -> Vec<String> {
        let table = text(&self.proc.join("swaps")).unwrap_or_default();
        table
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().next())
            .map(|path| {
                let path = unescape(path);
                match self.device_name(&path) {
                    name if name.is_empty() => path,
                    name => name,
                }
            })
            .collect()
    }

    /// The kernel's name of a device node; empty for what is none. Links such as `/dev/mapper/root` are followed.
    fn device_name(&self, path: &str) -> String {
        let Some(below) = path.strip_prefix("/dev/") else {
            return String::new();
        };
        let node = self.dev.join(below);
        let resolved = fs::canonicalize(&node).unwrap_or(node);
        let name = resolved.strip_prefix(&self.dev).unwrap_or(Path::new(below));
        name.to_string_lossy().replace('/', "!")
    }

    /// The whole disks that the running system is on, through whatever is built of them.
    #[must_use]
    pub fn own_disks(&self) -> BTreeSet<String> {
        let mut disks = BTreeSet::new();
        for mount in self.mounts() {
            if !OF_SYSTEM.contains(&mount.point.as_str()) {
                continue;
            }
            let by_number = mount
                .number
                .split_once(':')
                .and_then(|(major, minor)| self.name_of(major.parse().ok()?, minor.parse().ok()?));
            for name in by_number.into_iter().chain([mount.device]) {
                if !name.is_empty() {
                    self.below_device(&name, DEPTH, &mut disks);
                }
            }
        }
        disks
    }

    fn below_device(&self, name: &str, depth: usize, disks: &mut BTreeSet<String>) {
        let disk = self.disk_of(name).unwrap_or_else(|| name.to_owned());
        let slaves = names(&self.directory(name).join("slaves"));
        disks.insert(disk);
        if depth > 0 {
            for slave in slaves {
                self.below_device(&slave, depth - 1, disks);
            }
        }
    }
}

fn text(path: &Path) -> Option<String> {
    let bytes = files::read_bounded(path, LIMIT).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().to_owned())
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

fn file_name(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_str()?.to_owned())
}

/// The kernel writes white space and backslashes in its tables as `\ooo`.
fn unescape(field: &str) -> String {
    let mut parts = field.split('\\');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let octal = part
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) if byte.is_ascii() => {
                text.push(char::from(byte));
                text.push_str(part.get(3..).unwrap_or_default());
            }
            _ => {
                text.push('\\');
                text.push_str(part);
            }
        }
    }
    text
}
