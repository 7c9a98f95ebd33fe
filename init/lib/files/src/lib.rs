//! Small files: read within a bound, replaced in one step.
#![deny(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used
)]
#![cfg_attr(not(test), deny(clippy::string_slice))]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// Reads a whole file of at most `limit` bytes. Of a named pipe, which would be waited for, nothing is read.
///
/// # Errors
/// What the system says, or `InvalidData` for a longer file.
pub fn read_bounded(path: impl AsRef<Path>, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    file.take(bound).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        let message = format!("the file is longer than {limit} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(bytes)
}

/// As [`read_bounded`], as text without white space at its ends.
///
/// # Errors
/// As [`read_bounded`], and `InvalidData` for what is no UTF-8.
pub fn read_text(path: impl AsRef<Path>, limit: usize) -> io::Result<String> {
    let text = String::from_utf8(read_bounded(path, limit)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the file is not UTF-8"))?;
    Ok(text.trim().to_owned())
}

/// Writes `content` to a file that exists, such as one below `/proc` or `/sys`: in one `write(2)`,
/// as those want it.
///
/// # Errors
/// What the system says.
pub fn write_existing(path: impl AsRef<Path>, content: &str) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .open(path)?
        .write_all(content.as_bytes())
}

/// Replaces a file by one with this content and mode: written beside it, synced, renamed. Whoever
/// reads it, now or after a power cut, finds the old content or the new, never a part.
///
/// # Errors
/// What the system says.
pub fn replace(path: impl AsRef<Path>, content: &[u8], mode: u32) -> io::Result<()> {
    replace_with(path.as_ref(), content, mode, None)
}

/// As [`replace`], for a user and the group of the same number: the file is theirs before it has content.
///
/// # Errors
/// What the system says; only root gives a file to another user.
pub fn replace_owned(
    path: impl AsRef<Path>,
    content: &[u8],
    mode: u32,
    owner: u32,
) -> io::Result<()> {
    replace_with(path.as_ref(), content, mode, Some(owner))
}

fn replace_with(path: &Path, content: &[u8], mode: u32, owner: Option<u32>) -> io::Result<()> {
    let temporary = temporary_name(path);
    let written = write_synced(&temporary, content, mode, owner)
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| sync_directory(path));
    if written.is_err() {
        // It may not even exist; the error to tell is the first one.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Overwrites a file with zeros and removes it. On a tmpfs nothing of it is left; a disk may keep
/// what it held elsewhere.
///
/// # Errors
/// What the system says; a file that is not there is `NotFound`.
pub fn forget(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    let mut file = OpenOptions::new()
        .write(true)
        .custom_flags(flags)
        .open(path)?;
    let length = file.metadata()?.len();
    io::copy(&mut io::repeat(0).take(length), &mut file)?;
    file.sync_data()?;
    fs::remove_file(path)
}

/// What [`replace`] writes before it takes the file's name. A process that is killed meanwhile leaves it behind.
#[must_use]
pub fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

fn write_synced(path: &Path, content: &[u8], mode: u32, owner: Option<u32>) -> io::Result<()> {
    // Left over from a power cut, perhaps with another mode.
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    if owner.is_some() {
        fchown(&file, owner, owner)?;
    }
    file.write_all(content)?;
    file.sync_all()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) if directory != Path::new("") => File::open(directory)?.sync_all(),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_over_its_bound_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        fs::write(&path, b"12345").unwrap();
        assert_eq!(read_bounded(&path, 5).unwrap(), b"12345");
        assert_eq!(
            read_bounded(&path, 4).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }

    #[test]
    fn a_secret_is_overwritten_and_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        fs::write(&path, b"secret").unwrap();
        let open = File::open(&path).unwrap();
        forget(&path).unwrap();
        assert!(!path.exists());
        assert_eq!(io::read_to_string(open).unwrap(), "\0\0\0\0\0\0");
        assert_eq!(forget(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn replacing_leaves_one_file_with_the_mode() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        fs::write(temporary_name(&path), b"left over").unwrap();
        replace(&path, b"one", 0o600).unwrap();
        replace(&path, b"two", 0o644).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o644
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
