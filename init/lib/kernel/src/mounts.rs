//! The kernel's file systems and the tmpfs ones: a table of what is mounted where, with which
//! rights.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use std::ffi::CString;

/// One mount.
#[derive(Debug, Clone, Copy)]
struct Mount {
    source: &'static str,
    target: &'static str,
    kind: &'static str,
    flags: MountFlags,
    /// Options of the file system itself.
    data: &'static str,
    /// Whether a kernel without it is good enough.
    optional: bool,
}

/// A mount that is needed failed.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The kernel refuses it.
    #[error("{kind} cannot be mounted on {target}")]
    Mount {
        /// The file system.
        kind: &'static str,
        /// The mount point.
        target: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Mounts can't be made shared.
    #[error("the mounts cannot be made to reach containers")]
    Propagation(#[source] io::Error),
}

const fn flags(flags: &[MountFlags]) -> MountFlags {
    let mut all = MountFlags::empty();
    let mut rest = flags;
    while let [first, others @ ..] = rest {
        all = all.union(*first);
        rest = others;
    }
    all
}

/// Neither programs, nor devices, nor setuid files.
const CLOSED: MountFlags = flags(&[MountFlags::NOSUID, MountFlags::NODEV, MountFlags::NOEXEC]);
/// Devices, but nothing else.
const DEVICES: MountFlags = flags(&[MountFlags::NOSUID, MountFlags::NOEXEC]);

/// What the initramfs mounts; it moves to the root with everything below.
const INITRAMFS: [Mount; 4] = [
    needed("devtmpfs", "/dev", DEVICES, "mode=0755,size=4m"),
    needed("proc", "/proc", CLOSED, ""),
    needed("sysfs", "/sys", CLOSED, ""),
    // Sockets, pid files, images' bundles. A bound that a leak can't use to take all memory.
    needed("tmpfs", "/run", CLOSED, "mode=0755,size=20%,nr_inodes=800k"),
];

/// What the root mounts on top of that, in this order.
const ROOT: [Mount; 9] = [
    needed(
        "devpts",
        "/dev/pts",
        DEVICES,
        "mode=0620,ptmxmode=0666,gid=5",
    ),
    needed(
        "tmpfs",
        "/dev/shm",
        CLOSED,
        "mode=1777,size=25%,nr_inodes=400k",
    ),
    needed("mqueue", "/dev/mqueue", CLOSED, ""),
    // nsdelegate: a container's own cgroup namespace is a border. memory_recursiveprot: memory
    // protection of a group holds for all below it (Documentation/admin-guide/cgroup-v2.rst).
    needed(
        "cgroup2",
        "/sys/fs/cgroup",
        CLOSED,
        "nsdelegate,memory_recursiveprot",
    ),
    needed("tmpfs", "/tmp", CLOSED, "mode=1777,size=10%,nr_inodes=200k"),
    optional("bpf", "/sys/fs/bpf", CLOSED, "mode=0700"),
    optional("securityfs", "/sys/kernel/security", CLOSED, ""),
    optional("tracefs", "/sys/kernel/tracing", CLOSED, "mode=0700"),
    // The kernel's last words of an earlier boot.
    optional("pstore", "/sys/fs/pstore", CLOSED, ""),
];

const fn needed(
    kind: &'static str,
    target: &'static str,
    flags: MountFlags,
    data: &'static str,
) -> Mount {
    Mount {
        source: kind,
        target,
        kind,
        flags,
        data,
        optional: false,
    }
}

const fn optional(
    kind: &'static str,
    target: &'static str,
    flags: MountFlags,
    data: &'static str,
) -> Mount {
    Mount {
        optional: true,
        ..needed(kind, target, flags, data)
    }
}

/// Through which the kernel gives reports of SEV-SNP and TDX. Its mount point comes with its module.
const CONFIGFS: Mount = optional("configfs", "/sys/kernel/config", CLOSED, "");

/// Mounts configfs, where the kernel has it.
///
/// # Errors
/// What the system says.
pub fn configfs() -> io::Result<()> {
    if !fs::exists(CONFIGFS.target)? {
        return Ok(());
    }
    mount_once(&CONFIGFS)
}

/// Mounts what the initramfs needs. What is mounted already stays as it is.
///
/// # Errors
/// The first mount that fails.
pub fn initramfs() -> Result<(), MountError> {
    INITRAMFS.iter().try_for_each(apply)
}

/// Mounts the rest on the root, and makes every mount shared, so that containers see what is
/// mounted later (mount_namespaces(7)).
///
/// # Errors
/// The first mount that fails and is not optional.
pub fn root() -> Result<(), MountError> {
    let shared = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    mount_change("/", shared).map_err(|errno| MountError::Propagation(errno.into()))?;
    INITRAMFS.iter().chain(&ROOT).try_for_each(apply)
}

fn apply(entry: &Mount) -> Result<(), MountError> {
    match mount_once(entry) {
        Ok(()) => Ok(()),
        Err(error) if entry.optional => {
            tracing::info!(target = entry.target, %error, "not mounted");
            Ok(())
        }
        Err(source) => Err(MountError::Mount {
            kind: entry.kind,
            target: entry.target,
            source,
        }),
    }
}

fn mount_once(entry: &Mount) -> io::Result<()> {
    // The root is read-only and has its mount points; below /dev and in an initramfs that has
    // none they are made.
    match fs::DirBuilder::new().mode(0o755).create(entry.target) {
        Err(error) if !fs::exists(entry.target)? => return Err(error),
        _ => {}
    }
    if is_mount_point(entry.target)? {
        return Ok(());
    }
    let data = CString::new(entry.data)?;
    mount(
        entry.source,
        entry.target,
        entry.kind,
        entry.flags,
        Some(data.as_c_str()),
    )?;
    Ok(())
}

/// Whether something is mounted there: it then lies on another device than its parent.
///
/// # Errors
/// What the system says when there is no such directory.
pub fn is_mount_point(path: &str) -> io::Result<bool> {
    let here = fs::metadata(path)?;
    let above = fs::metadata(format!("{path}/.."))?;
    Ok(here.dev() != above.dev())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_mounted_without_nosuid() {
        for mount in INITRAMFS.iter().chain(&ROOT) {
            assert!(mount.flags.contains(MountFlags::NOSUID), "{}", mount.target);
            assert!(mount.flags.contains(MountFlags::NOEXEC), "{}", mount.target);
        }
    }

    #[test]
    fn a_tmpfs_has_a_bound() {
        for mount in INITRAMFS
            .iter()
            .chain(&ROOT)
            .filter(|mount| mount.kind == "tmpfs")
        {
            assert!(mount.data.contains("size="), "{}", mount.target);
            assert!(mount.data.contains("nr_inodes="), "{}", mount.target);
        }
    }

    #[test]
    fn mount_points_are_told_from_directories() {
        assert!(is_mount_point("/proc").unwrap());
        assert!(!is_mount_point("/proc/self").unwrap());
        assert!(is_mount_point("/nowhere").is_err());
    }
}
