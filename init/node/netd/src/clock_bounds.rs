//! The times between which a clock is believed: not before this image was made or the node last ran,
//! and not far beyond.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where the image says when it was made, in seconds since 1970-01-01 UTC: no clock is earlier.
pub(crate) const BUILD_TIME: &str = "/usr/share/k3s-daas/build-time";

/// A time is believed so far beyond the floor. A node that was off for longer, with a clock that
/// stood still, needs two servers.
pub(crate) const LONGEST_JUMP: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// No image runs for longer than this after it was made.
const LONGEST_RELEASE: Duration = Duration::from_secs(20 * 366 * 24 * 60 * 60);

/// The times between which a clock on this machine is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) floor: SystemTime,
    pub(crate) ceiling: SystemTime,
}

impl Bounds {
    /// From the time at which the image was made, the last time that was kept when this boot began,
    /// and how long ago that was.
    pub(crate) fn new(built: SystemTime, kept: Option<SystemTime>, uptime: Duration) -> Self {
        // what is kept can be damaged: it must not take the clock to where nothing is valid
        let kept = kept.filter(|kept| *kept <= built + LONGEST_RELEASE);
        let floor = kept.map_or(built, |kept| kept.max(built));
        Self {
            floor,
            ceiling: floor + LONGEST_JUMP + uptime,
        }
    }
}

/// Reads from the image when it was made.
pub(crate) fn build_time(path: &Path) -> io::Result<SystemTime> {
    let text = fs::read_to_string(path)?;
    let seconds = text
        .trim()
        .parse()
        .map_err(|_| io::Error::other("expected seconds since 1970-01-01 UTC"))?;
    Ok(UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_the_later_of_both_and_the_ceiling_moves_with_the_time() {
        let built = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let day = Duration::from_secs(24 * 60 * 60);
        let bounds = |kept| Bounds::new(built, kept, day);
        assert_eq!(bounds(None).floor, built);
        assert_eq!(bounds(None).ceiling, built + LONGEST_JUMP + day);
        assert_eq!(bounds(Some(built - day)).floor, built);
        assert_eq!(bounds(Some(built + day)).floor, built + day);
        assert_eq!(
            bounds(Some(built + day)).ceiling,
            built + LONGEST_JUMP + day * 2
        );
        // what can't be
        assert_eq!(bounds(Some(built + LONGEST_RELEASE * 2)).floor, built);
    }

    #[test]
    fn the_build_time_is_read_from_the_image() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("build-time");
        fs::write(&path, "1700000000\n").expect("written");
        let built = build_time(&path).expect("a time");
        assert_eq!(built, UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        fs::write(&path, "yesterday").expect("written");
        assert!(build_time(&path).is_err());
    }
}
