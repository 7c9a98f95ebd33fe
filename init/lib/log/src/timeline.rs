//! When the boot reached which point: kept as a file that outlives the switch of roots.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tracing::{info, warn};
use wire::status::{Phase, TimelineEntry};

/// Lines `PHASE SECONDS`, on the tmpfs that moves from the initramfs to the root.
const FILE: &str = "/run/daas/timeline";

/// The time since the kernel started: `CLOCK_BOOTTIME` of clock_gettime(2).
pub fn now() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Records that a phase is reached now.
pub fn mark(phase: Phase) -> TimelineEntry {
    mark_at(phase, now())
}

/// Records that a phase was reached at a time that was taken before there was a place to keep it.
pub fn mark_at(phase: Phase, at: Duration) -> TimelineEntry {
    let entry = TimelineEntry {
        phase,
        milliseconds: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
    };
    info!("timeline phase={phase} seconds={}", seconds(entry));
    if let Err(error) = append(Path::new(FILE), entry) {
        warn!(error = %error, "the timeline's file can't be written");
    }
    entry
}

/// What was recorded so far, the initramfs's entries first. Lines that are none are left out.
pub fn load() -> Vec<TimelineEntry> {
    fs::read_to_string(FILE)
        .unwrap_or_default()
        .lines()
        .filter_map(parse)
        .collect()
}

fn append(file: &Path, entry: TimelineEntry) -> std::io::Result<()> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).open(file)?;
    file.write_all(format!("{} {}\n", entry.phase, seconds(entry)).as_bytes())
}

fn seconds(entry: TimelineEntry) -> String {
    text(Duration::from_millis(entry.milliseconds))
}

/// A time as the timeline's lines have it: seconds with three decimals.
pub fn text(at: Duration) -> String {
    format!("{}.{:03}", at.as_secs(), at.subsec_millis())
}

fn parse(line: &str) -> Option<TimelineEntry> {
    let (name, seconds) = line.split_once(' ')?;
    let phase = *Phase::ALL.iter().find(|phase| phase.name() == name)?;
    let (whole, thousandths) = seconds.split_once('.')?;
    if thousandths.len() != 3 {
        return None;
    }
    let milliseconds = whole
        .parse::<u64>()
        .ok()?
        .checked_mul(1000)?
        .checked_add(thousandths.parse().ok()?)?;
    Some(TimelineEntry {
        phase,
        milliseconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("daas/timeline");
        let entries = [
            TimelineEntry {
                phase: Phase::Init,
                milliseconds: 7,
            },
            TimelineEntry {
                phase: Phase::SwitchRoot,
                milliseconds: 12_345,
            },
        ];
        for entry in entries {
            append(&file, entry).unwrap();
        }
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text, "init 0.007\nswitch-root 12.345\n");
        let read: Vec<TimelineEntry> = text.lines().filter_map(parse).collect();
        assert_eq!(read, entries);
    }

    #[test]
    fn what_is_no_entry_is_left_out() {
        for line in [
            "",
            "init",
            "init x",
            "init 1",
            "init 1.5",
            "flying 1.000",
            "init -1.000",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
