//! What stands on the state file system from the start, and for whom.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown, symlink};
use std::path::Path;

use rustix::mount::{MountFlags, mount_bind, mount_remount};

use wire::paths;
use wire::users::{NETD, STAKER};

use super::StateError;
use crate::last_end;

/// A directory of the state.
struct Directory {
    path: &'static str,
    mode: u32,
    owner: u32,
}

const fn root(path: &'static str, mode: u32) -> Directory {
    Directory {
        path,
        mode,
        owner: 0,
    }
}

/// Parents first.
const DIRECTORIES: [Directory; 25] = [
    root("/var/cache", 0o755),
    root("/var/lib", 0o755),
    root("/var/log", 0o755),
    // Where /opt leads: k3s and CNI plugins look there.
    root("/var/opt", 0o755),
    root("/var/spool", 0o755),
    root("/var/tmp", 0o1777),
    // Everybody may pass, nobody look: a configuration with secrets can stand here.
    root(paths::STATE, 0o711),
    // Where /etc/rancher leads; the node's password is there, mode 0600.
    root("/var/lib/daas/rancher", 0o755),
    root("/var/lib/daas/rancher/node", 0o755),
    // Where /etc/cni leads.
    root("/var/lib/daas/cni", 0o755),
    root("/var/lib/daas/cni/net.d", 0o755),
    Directory {
        path: paths::NETD_STATE,
        mode: 0o700,
        owner: NETD,
    },
    Directory {
        path: paths::STAKER_STATE,
        mode: 0o700,
        owner: STAKER,
    },
    root("/var/log/daas", 0o750),
    root("/var/log/pods", 0o755),
    root("/var/log/containers", 0o755),
    // Where /var/lib/cni leads: no pod's network outlives a boot, and what CNI notes of one without
    // fsync is an empty file after a power cut, over which its removal would fail for ever.
    root("/run/cni", 0o755),
    root("/var/lib/containerd", 0o711),
    root("/var/lib/kubelet", 0o755),
    root("/var/lib/kubelet/volumeplugins", 0o755),
    root("/var/lib/rancher", 0o755),
    root(paths::K3S_DATA, 0o755),
    root("/var/lib/rancher/k3s/agent", 0o755),
    root("/var/lib/rancher/k3s/data", 0o755),
    root("/var/opt/cni", 0o755),
];

/// Links from `/var` to what is on the tmpfs.
const LINKS: [(&str, &str); 3] = [
    ("/var/run", "/run"),
    ("/var/lock", "/run/lock"),
    ("/var/lib/cni", "/run/cni"),
];

/// The version of this layout, as the state says it.
pub(super) const VERSION: &str = "1";
pub(super) const VERSION_FILE: &str = "/var/lib/daas/state-version";

/// k3s's own programs, unpacked when the image was built. k3s would unpack them to the state,
/// where nothing checks them, and run them from there ever after.
const K3S_DATA_SOURCE: &str = "/usr/share/k3s-daas/k3s-data";
const K3S_DATA: &str = "/var/lib/rancher/k3s/data";

/// Makes what is missing, and sets owners and modes of all.
///
/// # Errors
/// The path and what the system said.
pub(super) fn prepare() -> Result<(), (&'static str, io::Error)> {
    for directory in &DIRECTORIES {
        make(directory).map_err(|error| (directory.path, error))?;
    }
    for (link, target) in LINKS {
        match symlink(target, link) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err((link, error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Lays the image's k3s programs over the place where k3s looks for them; nothing where the image
/// has none.
///
/// # Errors
/// What the system says.
pub(super) fn bind_k3s_data() -> io::Result<()> {
    if !Path::new(K3S_DATA_SOURCE).is_dir() {
        return Ok(());
    }
    mount_bind(K3S_DATA_SOURCE, K3S_DATA)?;
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    mount_remount(K3S_DATA, flags, "")?;
    Ok(())
}

/// The version that the state says it has; `None` when it says nothing.
///
/// # Errors
/// What the system says, but for a file that is not there.
pub(super) fn version() -> io::Result<Option<String>> {
    match files::read_text(VERSION_FILE, 64) {
        Ok(version) => Ok(Some(version.escape_default().to_string())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes the version, and everything else to the disk: the last step of making a state.
///
/// # Errors
/// What the system says.
pub(super) fn write_version() -> io::Result<()> {
    files::replace(paths::LAST_END, last_end::NEW.as_bytes(), 0o600)?;
    files::replace(VERSION_FILE, format!("{VERSION}\n").as_bytes(), 0o444)?;
    rustix::fs::syncfs(File::open(super::MOUNT_POINT)?)?;
    Ok(())
}

fn make(directory: &Directory) -> io::Result<()> {
    let path = Path::new(directory.path);
    match fs::DirBuilder::new().mode(directory.mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    // Not through a link that somebody put in its place.
    if !fs::symlink_metadata(path)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    fs::set_permissions(path, Permissions::from_mode(directory.mode))?;
    chown(path, Some(directory.owner), Some(directory.owner))
}

/// Whether this system knows a state of the version that was found.
///
/// # Errors
/// [`StateError::Version`].
pub(super) fn check_version(device: &Path, found: &str) -> Result<(), StateError> {
    if found == VERSION {
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
    fn parents_stand_before_their_children() {
        let mut made = vec!["/var", "/run"];
        for directory in &DIRECTORIES {
            let parent = Path::new(directory.path)
                .parent()
                .unwrap()
                .to_str()
                .unwrap();
            assert!(made.contains(&parent), "{} has no parent", directory.path);
            assert!(
                !made.contains(&directory.path),
                "{} stands twice",
                directory.path
            );
            made.push(directory.path);
        }
        assert!(made.contains(&K3S_DATA));
    }

    #[test]
    fn only_temporary_files_are_for_everybody() {
        for directory in &DIRECTORIES {
            let for_all = directory.mode & 0o002 != 0;
            assert_eq!(for_all, directory.path == "/var/tmp", "{}", directory.path);
        }
    }
}
