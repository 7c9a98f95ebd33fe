//! The directories that stand on the state file system from the start, and for whom.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use wire::paths;
use wire::users::{NETD, STAKER};

use super::{StateError, layout};
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
const DIRECTORIES: [Directory; 27] = [
    root("/var/cache", 0o755),
    root("/var/lib", 0o755),
    root("/var/log", 0o755),
    // Where /opt leads.
    root("/var/opt", 0o755),
    root("/var/spool", 0o755),
    root("/var/tmp", 0o1777),
    // Everybody may pass, nobody look: a configuration with secrets can stand here.
    root(paths::STATE, 0o711),
    root("/var/lib/daas/rancher", 0o755),
    // Where /etc/rancher/node leads; the node's password is there, mode 0600.
    root("/var/lib/daas/rancher/node", 0o755),
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
    root("/var/lib/containerd/io.containerd.grpc.v1.cri", 0o700),
    root(
        "/var/lib/containerd/io.containerd.grpc.v1.cri/containers",
        0o755,
    ),
    root("/var/lib/kubelet", 0o755),
    root("/var/lib/kubelet/pods", 0o750),
    root("/var/lib/kubelet/volumeplugins", 0o755),
    root("/var/lib/rancher", 0o755),
    root(paths::K3S_DATA, 0o755),
    root("/var/lib/rancher/k3s/agent", 0o755),
    root(layout::K3S_DATA, 0o755),
    root("/var/lib/rancher/k3s/storage", 0o700),
    root("/var/opt/cni", 0o755),
];

/// The version of this layout, as the state says it.
pub(super) const VERSION: &str = "1";
pub(super) const VERSION_FILE: &str = "/var/lib/daas/state-version";
/// The longest version, in bytes.
const VERSION_LIMIT: u64 = 64;

/// Makes what is missing, and sets owners and modes of all.
///
/// # Errors
/// The path and what the system said.
pub(super) fn prepare() -> Result<(), (&'static str, io::Error)> {
    for directory in &DIRECTORIES {
        make(directory).map_err(|error| (directory.path, error))?;
    }
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

/// The same of a state whose root this is, wherever it is mounted; no link leads out of it.
///
/// # Errors
/// As [`version()`].
pub(super) fn version_below(root: impl AsFd) -> io::Result<Option<String>> {
    let path = VERSION_FILE.trim_start_matches("/var/");
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let file = match openat2(root, path, flags, Mode::empty(), resolve) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    let mut version = String::new();
    file.take(VERSION_LIMIT).read_to_string(&mut version)?;
    Ok(Some(version.trim_end().escape_default().to_string()))
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
    // Not through a link that somebody put in its place: nothing that is no directory is ours.
    if let Ok(found) = fs::symlink_metadata(path)
        && !found.is_dir()
    {
        tracing::warn!(
            path = directory.path,
            "what is there is no directory: it is removed"
        );
        layout::remove_file(path)?;
    }
    match fs::DirBuilder::new().mode(directory.mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    let mode = Permissions::from_mode(directory.mode);
    match fs::set_permissions(path, mode.clone()) {
        // root has made it immutable: no state is lost by that
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            layout::release(path)?;
            fs::set_permissions(path, mode)?;
        }
        outcome => outcome?,
    }
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
    use wire::state_paths::Home;

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
        for row in wire::state_paths::STATE_PATHS {
            let mounted = match row.home {
                Home::KeptWithPrograms => row.path,
                Home::Tmpfs if row.path.ends_with("/agent") => row.path,
                Home::Run("/run") | Home::Run("/run/lock") => continue,
                Home::Run(target) => target,
                _ => continue,
            };
            assert!(made.contains(&mounted), "{mounted} is not made");
        }
    }

    #[test]
    fn version_below_a_root_is_read_and_no_link_is_followed() {
        let root = tempfile::tempdir().unwrap();
        let open = || File::open(root.path()).unwrap();
        assert_eq!(version_below(open()).unwrap(), None);
        let directory = root.path().join("lib/daas");
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join("state-version");
        fs::write(&file, "1\n").unwrap();
        assert_eq!(version_below(open()).unwrap().as_deref(), Some(VERSION));
        // an escape is no line of the log's
        fs::write(&file, "\x1b2").unwrap();
        let found = version_below(open()).unwrap().unwrap();
        assert_eq!(found, "\\u{1b}2");
        fs::remove_file(&file).unwrap();
        let elsewhere = tempfile::NamedTempFile::new().unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), &file).unwrap();
        assert!(version_below(open()).is_err());
        fs::remove_dir_all(&directory).unwrap();
        std::os::unix::fs::symlink("/", &directory).unwrap();
        assert!(version_below(open()).is_err());
    }

    #[test]
    fn only_temporary_files_are_for_everybody() {
        for directory in &DIRECTORIES {
            let for_all = directory.mode & 0o002 != 0;
            assert_eq!(for_all, directory.path == "/var/tmp", "{}", directory.path);
        }
    }
}
