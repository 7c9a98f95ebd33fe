//! The watchdog: hardware that restarts a machine whose PID 1 hangs
//! (Documentation/watchdog/watchdog-api.rst).

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

/// The device of the first watchdog.
const DEVICE: &str = "/dev/watchdog";
/// How long PID 1 may be silent, in seconds. The stop of a machine is longer, but not silent.
const LIMIT: u16 = 60;

/// A watchdog that was started.
#[derive(Debug)]
pub struct Watchdog {
    device: File,
    /// How often it is told that all is well.
    interval: Duration,
    next: Duration,
}

impl Watchdog {
    /// Starts the machine's watchdog, where there is one.
    pub fn start(now: Duration) -> Option<Self> {
        match Self::open(Path::new(DEVICE), now) {
            Ok(watchdog) => Some(watchdog),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(%error, "the watchdog can't be started");
                None
            }
        }
    }

    /// Starts the watchdog at a path.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path, now: Duration) -> io::Result<Self> {
        let device = OpenOptions::new().write(true).open(path)?;
        let limit = match sys::devices::set_watchdog_limit(&device, LIMIT) {
            Ok(limit) => limit,
            Err(error) => {
                // its own limit stands; those that are fixed are hardly ever below 10 s
                tracing::warn!(%error, "the watchdog keeps its own time limit");
                10
            }
        };
        let interval = Duration::from_secs(u64::from((limit / 4).max(1)));
        tracing::info!(seconds = limit, "watchdog started");
        Ok(Self {
            device,
            interval,
            next: now,
        })
    }

    /// Tells it that all is well, when that is due.
    pub fn pet(&mut self, now: Duration) {
        if now >= self.next {
            self.next = now.saturating_add(self.interval);
            if let Err(error) = self.device.write_all(b"\0") {
                tracing::warn!(%error, "the watchdog can't be told that all is well");
            }
        }
    }

    /// When [`Watchdog::pet`] is due.
    pub const fn deadline(&self) -> Duration {
        self.next
    }

    /// Stops it, by the character that it takes for a stop on purpose.
    pub fn stop(mut self) {
        if let Err(error) = self.device.write_all(b"V") {
            tracing::warn!(%error, "the watchdog can't be stopped");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn it_is_told_at_its_interval_and_stopped_on_purpose() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watchdog");
        assert!(Watchdog::open(&path, Duration::ZERO).is_err());
        fs::write(&path, b"").unwrap();
        let mut watchdog = Watchdog::open(&path, Duration::ZERO).unwrap();
        let step = Duration::from_secs(1);
        for second in 0..=4 {
            watchdog.pet(step * second);
        }
        // the file knows no time limit, so that 10 s are taken: told every 2 s
        assert_eq!(watchdog.deadline(), step * 6);
        watchdog.stop();
        assert_eq!(fs::read(&path).unwrap(), b"\0\0\0V");
    }
}
