//! The last time that a time server gave, kept on the state disk: no later clock is earlier.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The longest file, in bytes: the digits of a `u64`, and the end of the line.
const MAXIMUM_LENGTH: u64 = 21;

/// The time that is kept; `None` where there is none, or what can't be one.
pub(crate) fn read(path: &Path) -> Option<SystemTime> {
    let mut text = String::new();
    File::open(path)
        .ok()?
        .take(MAXIMUM_LENGTH + 1)
        .read_to_string(&mut text)
        .ok()?;
    let seconds = text.trim().parse().ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Keeps a time, whole or not at all. An earlier one than the one that is kept is not.
///
/// # Errors
/// What the system says; `NotFound` while the state disk is not there.
pub(crate) fn write(path: &Path, time: SystemTime) -> io::Result<()> {
    if read(path).is_some_and(|kept| kept >= time) {
        return Ok(());
    }
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(format!("{seconds}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_time_is_kept_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("last-time");
        let time = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(read(&path), None);
        for (seconds, kept) in [(1_700_000_000, 1_700_000_000), (7, 1_700_000_000)] {
            write(&path, time(seconds)).expect("written");
            assert_eq!(read(&path), Some(time(kept)));
        }
        assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 1);
        let missing = folder.path().join("no/last-time");
        let error = write(&missing, time(1)).expect_err("no disk");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_is_no_time_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("last-time");
        for text in ["", "yesterday", "-1", "99999999999999999999", "1 2"] {
            fs::write(&path, text).expect("written");
            assert_eq!(read(&path), None, "{text}");
        }
        fs::write(&path, "1".repeat(100)).expect("written");
        assert_eq!(read(&path), None);
        write(&path, UNIX_EPOCH + Duration::from_secs(9)).expect("written over it");
        assert_eq!(read(&path), Some(UNIX_EPOCH + Duration::from_secs(9)));
    }
}
