//! The pod's files on the host: folders, `/etc/hosts`, last words, logs and a tmpfs volume.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use thiserror::Error;

use super::specification::Specification;
use crate::agent::kernel::{self, ToolError};
use crate::files::{self, FileError};

/// The kernel's list of mounts is no longer than this.
const MOUNTS_LIMIT: u64 = 4 * 1024 * 1024;
/// How much of a log's end is shown.
const TAIL: u64 = 4096;

/// The pod's files cannot be made.
#[derive(Debug, Error)]
pub enum FilesError {
    /// A file or folder.
    #[error(transparent)]
    File(#[from] FileError),
    /// The volume.
    #[error("MountVolume.SetUp failed for volume \"scratch\"")]
    Mount(#[from] ToolError),
}

/// Mounts the pod's tmpfs volume, unless it is mounted.
///
/// # Errors
/// The folder cannot be made or the host's `mount` refuses.
pub async fn mount_volume(pod: &Specification) -> Result<(), FilesError> {
    let volume = pod.volume();
    files::make_folder(&volume, 0o755)?;
    let mounts = files::read(Path::new("/proc/self/mountinfo"), MOUNTS_LIMIT)?;
    if is_mounted(&mounts, &volume) {
        return Ok(());
    }
    let target = volume.display().to_string();
    Ok(kernel::run(
        "mount",
        &["-t", "tmpfs", "-o", "size=1m,mode=0777", "tmpfs", &target],
    )
    .await?)
}

/// Makes the folders and files that a pod needs before its first sandbox. What is there stays.
///
/// # Errors
/// A file system is read-only or full.
pub fn prepare(pod: &Specification) -> Result<(), FilesError> {
    files::make_folder(&pod.kubelet_folder, 0o750)?;
    files::make_folder(&pod.pod_folder(), 0o750)?;
    files::make_folder(&pod.pod_log_folder(), 0o755)?;
    files::make_folder(&pod.log_folder.join("containers"), 0o755)?;
    // The runtime mounts this file, so it must exist before the sandbox has an address.
    write_hosts(pod, None)
}

/// The pod's `/etc/hosts`. Written in place: the container has this very file mounted.
///
/// # Errors
/// The file cannot be written.
pub fn write_hosts(pod: &Specification, address: Option<&str>) -> Result<(), FilesError> {
    let path = pod.hosts_file();
    let mut text = "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n".to_owned();
    if let Some(address) = address {
        text.push_str(&format!("{address}\t{}\n", pod.name));
    }
    std::fs::write(&path, text).map_err(|source| FileError::new("write", &path, source).into())
}

/// Makes the folders and the file of a container's life.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_container(pod: &Specification, attempt: u32) -> Result<(), FilesError> {
    let last_words = pod.termination_log(attempt);
    for path in [&last_words, &pod.container_log(attempt)] {
        if let Some(folder) = path.parent() {
            files::make_folder(folder, 0o755)?;
        }
    }
    files::write(&last_words, b"", 0o666)?;
    Ok(())
}

/// Links a container's log into `/var/log/containers`.
///
/// # Errors
/// As [`prepare`].
pub fn link_log(pod: &Specification, container: &str, attempt: u32) -> Result<(), FilesError> {
    let link = pod.container_log_link(container);
    match std::os::unix::fs::symlink(pod.container_log(attempt), &link) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(FileError::new("link", &link, error).into())
        }
        _ => Ok(()),
    }
}

/// The end of a log; empty when there is none yet.
pub fn log_tail(path: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// Whether proc_pid_mountinfo(5) lists `path`: its fifth field, with blanks as `\040`.
fn is_mounted(mounts: &str, path: &Path) -> bool {
    let path = path.display().to_string().replace(' ', "\\040");
    mounts
        .lines()
        .any(|line| line.split(' ').nth(4) == Some(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_by_their_place() {
        let mounts = "36 35 98:0 / /var/lib/a\\040b rw shared:1 - tmpfs tmpfs rw\n";
        assert!(is_mounted(mounts, Path::new("/var/lib/a b")));
        assert!(!is_mounted(mounts, Path::new("/var/lib/a")));
    }

    #[test]
    fn a_log_is_shown_from_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.log");
        assert_eq!(log_tail(&path), "");
        std::fs::write(&path, format!("{}end", "x".repeat(10_000))).unwrap();
        let tail = log_tail(&path);
        assert_eq!(tail.len(), 4096);
        assert!(tail.ends_with("end"));
    }
}
