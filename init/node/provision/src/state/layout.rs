//! What of the state outlives a boot, and with which mount flags: [`wire::state_paths`] carried out.
//!
//! Everything that no row of that table keeps is removed before a program reads it, what is to be on a tmpfs
//! gets one, and the kernel lets a program start from those places alone that hold containers' programs.
//! Whether it has taken the flags is read back.

use std::ffi::CStr;
use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{
    AtFlags, IFlags, Mode, OFlags, StatVfsMountFlags, StatxAttributes, StatxFlags, ioctl_getflags,
    ioctl_setflags, statvfs, statx,
};
use rustix::mount::{
    MountFlags, MountPropagationFlags, mount, mount_bind, mount_change, mount_remount,
};
use wire::state_paths::{self, Home, STATE_PATHS, StatePath};

use super::MOUNT_POINT;

/// The state's, and of a tmpfs on it: neither programs, nor devices, nor setuid files.
pub(super) const CLOSED: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);
/// Programs of containers.
const PROGRAMS: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);
/// The image's own programs.
const VERIFIED: MountFlags = PROGRAMS.union(MountFlags::RDONLY);

/// Much more than k3s has there: keys, certificates and configuration.
const TMPFS: &CStr = c"mode=0755,size=16m,nr_inodes=8k";

/// k3s's own programs, unpacked when the image was built. k3s would unpack them to the state,
/// where nothing checks them, and run them from there ever after.
const K3S_DATA_SOURCE: &str = "/usr/share/k3s-daas/k3s-data";
pub(super) const K3S_DATA: &str = "/var/lib/rancher/k3s/data";

/// What a file that may hold a key ends with: it is overwritten before it is removed.
const KEYS: [&str; 3] = ["key", "pem", "kubeconfig"];
/// How many directories deep k3s and the kubelet have keys below those that are swept.
const KEY_DEPTH: u32 = 2;
/// More than any of them: what is longer is no key, and overwriting it could take for ever.
const KEY_LENGTH: u64 = 1024 * 1024;

/// A path, and what went wrong there.
pub(super) type Failure = (&'static str, io::Error);

/// Removes all that no row keeps, and puts the links to `/run` in their places. Nothing that reads the state
/// may run yet.
///
/// # Errors
/// The first path that can't be made so.
pub(super) fn sweep() -> Result<(), Failure> {
    for row in STATE_PATHS.iter().filter(|row| is_ours(row)) {
        let path = Path::new(row.path);
        match row.home {
            Home::Emptied | Home::Tmpfs => empty(path),
            Home::Run(target) => link(path, target),
            Home::Root | Home::Kept | Home::KeptWithPrograms => Ok(()),
        }
        .map_err(|error| (row.path, error))?;
    }
    Ok(())
}

/// Whether a row lies on the state's file system.
fn is_ours(row: &StatePath) -> bool {
    Path::new(row.path).starts_with(MOUNT_POINT)
}

/// Removes what lies in a directory and is not kept; links are not followed. One that is not there, or has
/// another file system on it, is empty.
fn empty(directory: &Path) -> io::Result<()> {
    match fs::symlink_metadata(directory) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return remove_file(directory),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    if is_mount_root(directory)? {
        return Ok(());
    }
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        let row = state_paths::of(&path).filter(|row| path == Path::new(row.path));
        let is_directory = entry.file_type()?.is_dir();
        if row.is_some_and(|row| row.home.is_kept() || row.home == Home::Root) {
            continue;
        }
        if is_directory && state_paths::holds_kept(&path) {
            empty(&path)?;
        } else {
            remove(&entry)?;
        }
    }
    Ok(())
}

/// Removes it, also where root has made it immutable or append-only (ioctl_iflags(2)).
fn remove(entry: &DirEntry) -> io::Result<()> {
    match try_remove(entry) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            if let Some(parent) = entry.path().parent() {
                release(parent)?;
            }
            release_all(&entry.path())?;
            try_remove(entry)
        }
        outcome => outcome,
    }
}

fn try_remove(entry: &DirEntry) -> io::Result<()> {
    let path = entry.path();
    if !entry.file_type()?.is_dir() {
        if may_hold_key(entry)? {
            return files::forget(path);
        }
        return fs::remove_file(path);
    }
    if is_mount_root(&path)? {
        return Ok(());
    }
    overwrite_keys(&path, KEY_DEPTH)?;
    fs::remove_dir_all(&path)
}

/// Removes what is no directory, whatever flags it and its directory have. Links are not followed.
pub(super) fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            if let Some(parent) = path.parent() {
                release(parent)?;
            }
            release_all(path)?;
            fs::remove_file(path)
        }
        outcome => outcome,
    }
}

/// Takes the flags that forbid a removal from a file or a tree. Links, sockets and devices have none.
fn release_all(path: &Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(path)?.file_type();
    if kind.is_file() || kind.is_dir() {
        release(path)?;
    }
    if kind.is_dir() && !is_mount_root(path)? {
        for entry in fs::read_dir(path)? {
            release_all(&entry?.path())?;
        }
    }
    Ok(())
}

/// Takes the flags that forbid a change from a file or a directory.
pub(super) fn release(path: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    let found = ioctl_getflags(&file)?;
    let forbid = IFlags::IMMUTABLE | IFlags::APPEND;
    if found.intersects(forbid) {
        ioctl_setflags(&file, found.difference(forbid))?;
    }
    Ok(())
}

/// Overwrites the keys in a directory, and below it as far as the programs of a node have any.
fn overwrite_keys(directory: &Path, depth: u32) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if may_hold_key(&entry)? {
            files::forget(entry.path())?;
        } else if depth > 0 && entry.file_type()?.is_dir() {
            overwrite_keys(&entry.path(), depth - 1)?;
        }
    }
    Ok(())
}

/// Whether it is a regular file with the name of a key.
fn may_hold_key(entry: &DirEntry) -> io::Result<bool> {
    let path = entry.path();
    let extension = path.extension().unwrap_or_default();
    let is_named_so = KEYS.iter().any(|key| extension == *key);
    Ok(is_named_so && entry.file_type()?.is_file() && entry.metadata()?.len() <= KEY_LENGTH)
}

/// Makes a path the link that it is to be, whatever is there.
fn link(path: &Path, target: &str) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
        Ok(found) if found.is_symlink() && fs::read_link(path)? == Path::new(target) => {
            return Ok(());
        }
        Ok(found) if found.is_dir() => {
            release_all(path)?;
            fs::remove_dir_all(path)?;
        }
        Ok(_) => remove_file(path)?,
    }
    symlink(target, path)
}

/// Mounts what lies elsewhere than on the state, and opens the places of containers' programs. What is
/// mounted stays as it is.
///
/// # Errors
/// The first path where the kernel does not do it, or has not the flags that it was given.
pub(super) fn mount_all() -> Result<(), Failure> {
    check(MOUNT_POINT, CLOSED)?;
    for row in STATE_PATHS.iter().filter(|row| is_ours(row)) {
        let flags = match row.home {
            Home::Tmpfs if is_topmost(row) => {
                mount_tmpfs(row.path).map_err(|error| (row.path, error))?;
                CLOSED
            }
            Home::KeptWithPrograms => {
                open_for_programs(row.path).map_err(|error| (row.path, error))?;
                PROGRAMS
            }
            _ => continue,
        };
        check(row.path, flags)?;
    }
    mount_k3s_data()
}

/// Whether no other tmpfs holds it already.
fn is_topmost(row: &StatePath) -> bool {
    let parent = Path::new(row.path).parent().and_then(state_paths::of);
    parent.is_none_or(|parent| parent.home != Home::Tmpfs)
}

fn mount_tmpfs(path: &str) -> io::Result<()> {
    if is_mount_root(Path::new(path))? {
        return Ok(());
    }
    Ok(mount("tmpfs", path, "tmpfs", CLOSED, Some(TMPFS))?)
}

/// A mount of its own over a directory of the state, from which programs start.
fn open_for_programs(path: &str) -> io::Result<()> {
    if !is_mount_root(Path::new(path))? {
        mount_bind(path, path)?;
        // its own peer group: what is mounted below would be mounted on the directory beneath, too
        mount_change(path, MountPropagationFlags::PRIVATE)?;
        mount_change(path, MountPropagationFlags::SHARED)?;
    }
    Ok(mount_remount(path, MountFlags::BIND | PROGRAMS, "")?)
}

/// Lays the image's k3s programs over the place where k3s looks for them; nothing where the image
/// has none.
fn mount_k3s_data() -> Result<(), Failure> {
    if !Path::new(K3S_DATA_SOURCE).is_dir() {
        return Ok(());
    }
    let bind = || -> io::Result<()> {
        if !is_mount_root(Path::new(K3S_DATA))? {
            mount_bind(K3S_DATA_SOURCE, K3S_DATA)?;
        }
        Ok(mount_remount(K3S_DATA, MountFlags::BIND | VERIFIED, "")?)
    };
    bind().map_err(|error| (K3S_DATA, error))?;
    check(K3S_DATA, VERIFIED)
}

/// Whether a mount begins there; a bind mount of the same file system, too.
fn is_mount_root(path: &Path) -> io::Result<bool> {
    let found = statx(
        rustix::fs::CWD,
        path,
        AtFlags::SYMLINK_NOFOLLOW,
        StatxFlags::TYPE,
    )?;
    Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Reads back what the kernel has set.
fn check(path: &'static str, wanted: MountFlags) -> Result<(), Failure> {
    let found = statvfs(path).map_err(|error| (path, error.into()))?.f_flag;
    let pairs = [
        (MountFlags::NOSUID, StatVfsMountFlags::NOSUID),
        (MountFlags::NODEV, StatVfsMountFlags::NODEV),
        (MountFlags::NOEXEC, StatVfsMountFlags::NOEXEC),
        (MountFlags::RDONLY, StatVfsMountFlags::RDONLY),
    ];
    let as_wanted = pairs
        .iter()
        .all(|(asked, shown)| wanted.contains(*asked) == found.contains(*shown));
    if as_wanted {
        return Ok(());
    }
    let message = format!("it is mounted with {found:?}, not with {wanted:?}");
    Err((path, io::Error::other(message)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tmpfs_holds_what_k3s_obeys() {
        let mounted: Vec<&str> = STATE_PATHS
            .iter()
            .filter(|row| row.home == Home::Tmpfs && is_topmost(row))
            .map(|row| row.path)
            .collect();
        assert_eq!(mounted, [format!("{}/agent", wire::paths::K3S_DATA)]);
    }

    #[test]
    fn k3s_programs_are_those_of_the_table() {
        let row = state_paths::of(Path::new(K3S_DATA)).unwrap();
        assert_eq!((row.path, row.home), (K3S_DATA, Home::Root));
    }

    /// Nothing is mounted on the state, and so nothing kept is hidden, but by a row of its own.
    #[test]
    fn no_kept_path_lies_on_a_tmpfs_or_behind_a_link() {
        for row in STATE_PATHS.iter().filter(|row| row.home.is_kept()) {
            for other in STATE_PATHS {
                let hides = matches!(other.home, Home::Tmpfs | Home::Run(_));
                assert!(
                    !hides || !Path::new(row.path).starts_with(other.path),
                    "{}",
                    row.path
                );
            }
        }
    }

    #[test]
    fn link_replaces_whatever_is_in_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cni");
        let places: [&dyn Fn(); 4] = [
            &|| {},
            &|| fs::create_dir_all(path.join("networks/cbr0")).unwrap(),
            &|| fs::write(&path, b"x").unwrap(),
            &|| symlink("/etc", &path).unwrap(),
        ];
        for place in places {
            let _ = fs::remove_file(&path);
            place();
            link(&path, "/run/cni").unwrap();
            link(&path, "/run/cni").unwrap();
            assert_eq!(fs::read_link(&path).unwrap(), Path::new("/run/cni"));
        }
    }

    #[test]
    fn remove_takes_trees_and_follows_no_link() {
        let directory = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("file"), b"stays").unwrap();
        let tree = directory.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::write(tree.join("a/b/client.key"), b"secret").unwrap();
        symlink(outside.path(), tree.join("a/link")).unwrap();
        for entry in fs::read_dir(directory.path()).unwrap() {
            remove(&entry.unwrap()).unwrap();
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        assert!(outside.path().join("file").exists());
    }

    #[test]
    #[ignore = "needs root, for flags that only root sets"]
    fn remove_takes_what_was_made_immutable_as_root() {
        // not below /tmp, which may be a tmpfs without such flags
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        let tree = directory.path().join("tree/pods");
        fs::create_dir_all(&tree).unwrap();
        fs::write(tree.join("planted.yaml"), b"x").unwrap();
        let file = directory.path().join("file");
        fs::write(&file, b"x").unwrap();
        let fixed = [tree.join("planted.yaml"), tree.clone(), file.clone()];
        for path in &fixed {
            let file = fs::File::open(path).unwrap();
            let flags = ioctl_getflags(&file).unwrap();
            ioctl_setflags(&file, flags | IFlags::IMMUTABLE).unwrap();
        }
        assert!(fs::remove_dir_all(directory.path().join("tree")).is_err());
        link(&file, "/run/cni").unwrap();
        assert!(fs::symlink_metadata(&file).unwrap().is_symlink());
        for entry in fs::read_dir(directory.path()).unwrap() {
            remove(&entry.unwrap()).unwrap();
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn key_of_an_impossible_length_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("huge.key");
        fs::File::create(&path)
            .unwrap()
            .set_len(KEY_LENGTH + 1)
            .unwrap();
        let entry = fs::read_dir(directory.path()).unwrap().next().unwrap();
        assert!(!may_hold_key(&entry.unwrap()).unwrap());
    }

    #[test]
    fn mount_roots_are_told_from_directories() {
        assert!(is_mount_root(Path::new("/proc")).unwrap());
        assert!(!is_mount_root(Path::new("/proc/self/task")).unwrap());
    }

    #[test]
    fn flags_that_the_kernel_has_not_set_are_an_error() {
        assert!(
            check(
                "/proc",
                MountFlags::NOSUID | MountFlags::NODEV | MountFlags::RDONLY
            )
            .is_err()
        );
    }
}
