//! Secrets that lie on tmpfs.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::configure::SECRET_FILE;
use crate::service::AGENT_DIRECTORY;

/// Overwrites and removes every secret. What fails is logged, and the others go on.
pub(crate) fn forget_secrets() {
    for file in [
        PathBuf::from(SECRET_FILE),
        Path::new(AGENT_DIRECTORY).join("token"),
    ] {
        match forget(&file) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                tracing::warn!(%error, file = %file.display(), "a secret can't be removed");
                continue;
            }
        }
        tracing::info!(file = %file.display(), "secret removed");
    }
}

fn forget(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let length = file.metadata()?.len();
    io::copy(&mut io::Read::take(io::repeat(0), length), &mut file)?;
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_overwritten_and_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        fs::write(&path, b"secret").unwrap();
        let open = fs::File::open(&path).unwrap();
        forget(&path).unwrap();
        assert!(!path.exists());
        assert_eq!(io::read_to_string(open).unwrap(), "\0\0\0\0\0\0");
        assert_eq!(forget(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
