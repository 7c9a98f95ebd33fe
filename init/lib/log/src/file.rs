//! The log on the state disk: two files of bounded size.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Record;

/// A file that grows beyond this, in bytes, becomes the old one.
pub(crate) const MAXIMUM_FILE: u64 = 4 * 1024 * 1024;

/// `node.log`, and beside it `node.log.1`, which is older.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    file: File,
    length: u64,
    maximum: u64,
}

impl LogFile {
    /// Opens the file to go on where it ends; makes it and its directory where they are missing.
    pub(crate) fn open(path: &Path, maximum: u64) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let file = append(path)?;
        let length = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            length,
            maximum,
        })
    }

    /// Writes one line, into a new file when this one is full.
    pub(crate) fn write(&mut self, line: &str) -> io::Result<()> {
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if self.length.saturating_add(length) > self.maximum && self.length > 0 {
            fs::rename(&self.path, older(&self.path))?;
            self.file = append(&self.path)?;
            self.length = 0;
        }
        self.file.write_all(line.as_bytes())?;
        self.length = self.length.saturating_add(length);
        Ok(())
    }

    /// Waits until everything is on the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o640)
        .open(path)
}

fn older(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

/// `2026-01-02T03:04:05.678Z SECONDS SOURCE LEVEL TEXT`: the wall clock, which can jump, and the
/// time since the kernel started, which can't.
pub(crate) fn line(record: &Record, wall: SystemTime) -> String {
    format!(
        "{} {}.{:03} {} {} {}\n",
        utc(wall),
        record.at.as_secs(),
        record.at.subsec_millis(),
        record.source,
        record.level,
        record.text
    )
}

/// RFC 3339, UTC, with milliseconds. A time before 1970 is shown as 1970.
fn utc(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = since.as_secs();
    let (year, month, day) = date(seconds / 86_400);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
        since.subsec_millis()
    )
}

/// The Gregorian date of a day since 1970-01-01, by eras of 400 years of 146,097 days that begin
/// on the first of March.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days.saturating_add(719_468); // since 0000-03-01
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn times_as_date_prints_them() {
        // each by `date -u -d @SECONDS`
        for (seconds, shown) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_251_200, "2024-03-01T00:00:00.000Z"),
            (1_798_761_599, "2026-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(seconds)), shown);
        }
    }

    #[test]
    fn a_line_has_both_clocks() {
        let record = Record {
            at: Duration::from_millis(4512),
            level: Level::WARN,
            source: "netd",
            text: "no lease".to_owned(),
            console: true,
        };
        assert_eq!(
            line(&record, UNIX_EPOCH + Duration::from_millis(1500)),
            "1970-01-01T00:00:01.500Z 4.512 netd WARN no lease\n"
        );
    }

    #[test]
    fn two_files_of_bounded_size_with_the_newest_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("daas/node.log");
        let mut log = LogFile::open(&path, 25).unwrap();
        for number in 0..10 {
            log.write(&format!("line {number}...\n")).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "line 8...\nline 9...\n");
        // 10 bytes a line, so two to a file
        assert_eq!(
            fs::read_to_string(older(&path)).unwrap(),
            "line 6...\nline 7...\n"
        );
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2);
    }

    #[test]
    fn a_file_that_is_there_is_gone_on_with() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.log");
        LogFile::open(&path, 12).unwrap().write("before\n").unwrap();
        let mut log = LogFile::open(&path, 12).unwrap();
        log.write("after\n").unwrap();
        assert_eq!(fs::read_to_string(older(&path)).unwrap(), "before\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "after\n");
    }

    #[test]
    fn a_line_longer_than_a_file_is_written_all_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.log");
        let mut log = LogFile::open(&path, 4).unwrap();
        log.write("longer\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "longer\n");
        assert!(!older(&path).exists());
    }
}
