//! The token file. k3s takes any; the double insists on what this system promises: a file that
//! nobody else can read.

use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;
use zeroize::Zeroizing;

/// k3s waits for a token file that does not exist yet: 4 minutes (`pkg/util`, `ReadFile`).
const WAIT: Duration = Duration::from_secs(240);
/// How often it looks.
const PAUSE: Duration = Duration::from_secs(1);
/// No token is longer.
const LIMIT: u64 = 4096;

/// The token cannot be read, or others could read it too.
#[derive(Debug, Error)]
pub enum TokenFileError {
    /// Not there, even after waiting, or unreadable.
    #[error("cannot read the token file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Readable by others.
    #[error("the token file {path} has mode {mode:04o} and owner {owner}, expected 0600 and {me}")]
    Loose {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Its owner.
        owner: u32,
        /// Who reads it.
        me: u32,
    },
    /// A folder, a device, or too long.
    #[error("the token file {0} is no file of at most {LIMIT} bytes")]
    Kind(PathBuf),
}

/// Reads the token, waiting for the file to appear.
///
/// # Errors
/// [`TokenFileError`].
pub async fn read(path: &Path) -> Result<Zeroizing<String>, TokenFileError> {
    let deadline = tokio::time::Instant::now() + WAIT;
    loop {
        match read_now(path) {
            Err(TokenFileError::Read { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound
                    && tokio::time::Instant::now() < deadline =>
            {
                tracing::info!(path = %path.display(), "waiting for the token file");
                tokio::time::sleep(PAUSE).await;
            }
            result => return result,
        }
    }
}

/// Reads the token as it is now.
///
/// # Errors
/// [`TokenFileError`].
pub fn read_now(path: &Path) -> Result<Zeroizing<String>, TokenFileError> {
    let fail = |source| TokenFileError::Read {
        path: path.to_owned(),
        source,
    };
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    if !metadata.is_file() || metadata.len() > LIMIT {
        return Err(TokenFileError::Kind(path.to_owned()));
    }
    let me = rustix::process::geteuid().as_raw();
    let mode = metadata.mode() & 0o7777;
    if mode != 0o600 || metadata.uid() != me {
        let owner = metadata.uid();
        return Err(TokenFileError::Loose {
            path: path.to_owned(),
            mode,
            owner,
            me,
        });
    }
    let mut text = Zeroizing::new(String::with_capacity(LIMIT as usize));
    file.take(LIMIT).read_to_string(&mut text).map_err(fail)?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_that_others_could_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "hunter2\n").unwrap();
        for mode in [0o644, 0o640, 0o604, 0o400, 0o4600] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            let error = read_now(&path).unwrap_err();
            assert!(matches!(error, TokenFileError::Loose { .. }), "{mode:o}");
            assert!(!error.to_string().contains("hunter2"));
        }
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        assert_eq!(read_now(&path).unwrap().as_str(), "hunter2");
    }

    #[test]
    fn links_folders_and_long_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        crate::files::write(&path, &[b'x'; 5000], 0o600).unwrap();
        assert!(matches!(read_now(&path), Err(TokenFileError::Kind(_))));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(read_now(&link), Err(TokenFileError::Read { .. })));
        assert!(matches!(
            read_now(folder.path()),
            Err(TokenFileError::Kind(_))
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_comes_later_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let (token, ()) = tokio::join!(read(&path), async {
            tokio::time::sleep(Duration::from_secs(30)).await;
            crate::files::write(&path, b"late", 0o600).unwrap();
        });
        assert_eq!(token.unwrap().as_str(), "late");
        let missing = folder.path().join("missing");
        assert!(matches!(
            read(&missing).await,
            Err(TokenFileError::Read { .. })
        ));
    }
}
