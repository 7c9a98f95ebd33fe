//! Looking at files: metadata of any, contents of a few kinds that hold no secret.

use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::control::{FileState, READ_LIMIT};

/// Whose contents may be shown; links are followed first.
const OPEN: [&str; 6] = [
    "/proc",
    "/sys",
    "/etc",
    wire::paths::NETD_RUN,
    "/usr/lib/os-release",
    "/usr/share/k3s-daas",
];
/// Files that never end, or that say what was in memory.
const CLOSED: [&str; 6] = ["kmsg", "kcore", "mem", "trace_pipe", "pagemap", "environ"];
/// The most names of a folder.
const MOST_ENTRIES: usize = 4096;
/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A file cannot be looked at.
#[derive(Debug, Error)]
pub(super) enum ReadError {
    /// Relative.
    #[error("expected an absolute path, not {0}")]
    Relative(PathBuf),
    /// Not there, or not readable.
    #[error("cannot look at {0}")]
    Look(PathBuf, #[source] std::io::Error),
    /// It blocks.
    #[error("{0} did not answer within {limit} s", limit = PATIENCE.as_secs())]
    Timeout(PathBuf),
}

/// A file's or folder's state.
pub(super) async fn state(path: &Path) -> Result<FileState, ReadError> {
    let wanted = path.to_owned();
    let look = tokio::task::spawn_blocking(move || look(&wanted));
    match tokio::time::timeout(PATIENCE, look).await {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => Err(ReadError::Look(
            path.to_owned(),
            std::io::Error::other(error),
        )),
        Err(_) => Err(ReadError::Timeout(path.to_owned())),
    }
}

fn look(path: &Path) -> Result<FileState, ReadError> {
    if !path.is_absolute() {
        return Err(ReadError::Relative(path.to_owned()));
    }
    let fail = |error| ReadError::Look(path.to_owned(), error);
    let real = path.canonicalize().map_err(fail)?;
    let metadata = real.metadata().map_err(fail)?;
    let mut state = FileState {
        kind: if metadata.is_file() {
            "file"
        } else if metadata.is_dir() {
            "folder"
        } else {
            "other"
        }
        .to_owned(),
        mode: format!("{:04o}", metadata.mode() & 0o7777),
        uid: metadata.uid(),
        gid: metadata.gid(),
        size: metadata.len(),
        contents: None,
        truncated: false,
        entries: None,
        path: real,
    };
    if metadata.is_dir() {
        let mut entries = Vec::new();
        for entry in state.path.read_dir().map_err(fail)?.take(MOST_ENTRIES) {
            entries.push(
                entry
                    .map_err(fail)?
                    .file_name()
                    .to_string_lossy()
                    .into_owned(),
            );
        }
        entries.sort();
        state.entries = Some(entries);
    } else if metadata.is_file() && may_be_shown(&state.path) {
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
        let file = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(&state.path)
            .map_err(fail)?;
        let mut bytes = Vec::new();
        file.take(READ_LIMIT as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(fail)?;
        state.truncated = bytes.len() > READ_LIMIT;
        bytes.truncate(READ_LIMIT);
        state.contents = Some(String::from_utf8_lossy(&bytes).into_owned());
    }
    Ok(state)
}

/// `path` has no links in it any more.
fn may_be_shown(path: &Path) -> bool {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    OPEN.iter().any(|open| path.starts_with(open)) && !CLOSED.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_files_are_shown_and_secrets_only_described() {
        let mounts = look(Path::new("/proc/self/mounts")).unwrap();
        assert!(mounts.contents.unwrap().contains("proc"));

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        crate::files::write(&path, b"hunter2", 0o600).unwrap();
        let token = look(&path).unwrap();
        assert_eq!((token.mode.as_str(), token.contents), ("0600", None));
        // Not by a detour through the process's own root either.
        let detour = PathBuf::from(format!("/proc/self/root{}", path.display()));
        assert_eq!(look(&detour).unwrap().contents, None);
        assert_eq!(
            look(Path::new("/proc/self/environ")).unwrap().contents,
            None
        );
        assert_eq!(look(folder.path()).unwrap().entries.unwrap(), ["token"]);
        assert!(matches!(
            look(Path::new("token")),
            Err(ReadError::Relative(_))
        ));
        assert!(matches!(
            look(Path::new("/no/such")),
            Err(ReadError::Look(..))
        ));
    }

    #[test]
    fn only_named_places_are_open() {
        for (path, shown) in [
            ("/etc/os-release", true),
            ("/sys/fs/cgroup/cgroup.controllers", true),
            (wire::paths::AGENT_TOKEN, false),
            ("/var/lib/daas/rancher/node/password", false),
            ("/proc/kmsg", false),
            ("/etcetera", false),
        ] {
            assert_eq!(may_be_shown(Path::new(path)), shown, "{path}");
        }
    }
}
