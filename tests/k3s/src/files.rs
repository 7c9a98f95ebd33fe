//! Files that are either whole or not there: written beside their place, synced, renamed.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Reading or writing a file failed.
#[derive(Debug, Error)]
#[error("cannot {action} {path}")]
pub struct FileError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl FileError {
    /// Names the file that `source` is about.
    pub fn new(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// Whether the file does not exist.
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// Puts `contents` in place of `path` with the permission bits `mode`.
///
/// # Errors
/// The folder is missing or read-only, or the disk is full; `path` is then as it was.
pub fn write(path: &Path, contents: &[u8], mode: u32) -> Result<(), FileError> {
    let fail = |source| FileError::new("write", path, source);
    // A leading dot and another ending: whoever watches the folder for `*.conflist` skips it.
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let written = (|| {
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&temporary)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    written.map_err(|source| {
        // Best effort: the error that matters is the first one.
        let _ = fs::remove_file(&temporary);
        fail(source)
    })
}

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// The file cannot be read, is no UTF-8, or is longer than `limit`.
pub fn read(path: &Path, limit: u64) -> Result<String, FileError> {
    let fail = |source| FileError::new("read", path, source);
    let mut contents = String::new();
    let length = fs::File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_string(&mut contents))
        .map_err(fail)?;
    if length as u64 > limit {
        return Err(fail(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("longer than {limit} bytes"),
        )));
    }
    Ok(contents)
}

/// Reads a file, or says that it is not there.
///
/// # Errors
/// As [`read`], but for a missing file.
pub fn read_if_present(path: &Path, limit: u64) -> Result<Option<String>, FileError> {
    match read(path, limit) {
        Ok(contents) => Ok(Some(contents)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes a folder and its parents; `mode` holds for those that were missing.
///
/// # Errors
/// A parent is no folder or is read-only.
pub fn make_folder(path: &Path, mode: u32) -> Result<(), FileError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|source| FileError::new("make the folder", path, source))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_written_file_has_its_mode_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.key");
        write(&path, b"one", 0o600).unwrap();
        write(&path, b"two", 0o600).unwrap();
        assert_eq!(read(&path, 16).unwrap(), "two");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
            0o600
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_beyond_the_limit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("long");
        write(&path, b"12345", 0o644).unwrap();
        assert!(read(&path, 4).is_err());
        assert_eq!(read(&path, 5).unwrap(), "12345");
        assert!(
            read_if_present(&folder.path().join("none"), 5)
                .unwrap()
                .is_none()
        );
    }
}
