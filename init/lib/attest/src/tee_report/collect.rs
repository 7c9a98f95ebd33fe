//! Has this machine report what it runs, where it can.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use super::configfs::{self, Configfs};
use super::error::CollectError;
use super::nitro_message;
use super::report::{REPORT_DATA, TeeKind, TeeReport};

/// Where the kernel offers reports of SEV-SNP and TDX.
pub const CONFIGFS: &str = "/sys/kernel/config/tsm/report";

/// Where the kernel offers the Nitro Security Module. Its ioctl asks for `CAP_SYS_ADMIN`.
pub const NITRO_DEVICE: &str = "/dev/nsm";

/// How long a report may take. A TDX quote comes from another enclave on the host, for which Linux
/// itself waits 30 s (`GETQUOTE_TIMEOUT`, drivers/virt/coco/tdx-guest).
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// How many entries this process has made in configfs.
static ENTRIES: AtomicU64 = AtomicU64::new(0);

/// What the names of our entries begin with.
const PREFIX: &str = "k3s-daas-";

/// A name for an entry: no two at once share one, and one that hangs may keep its own.
fn entry_name() -> String {
    let number = ENTRIES.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}{}-{number}", std::process::id())
}

/// The sources of reports on this machine.
#[derive(Debug, Clone)]
pub struct Sources {
    configfs: PathBuf,
    nitro: PathBuf,
    timeout: Duration,
}

impl Default for Sources {
    fn default() -> Self {
        Self::at(CONFIGFS.into(), NITRO_DEVICE.into(), TIMEOUT)
    }
}

impl Sources {
    /// Sources elsewhere, for tests and machines with another layout.
    #[must_use]
    pub fn at(configfs: PathBuf, nitro: PathBuf, timeout: Duration) -> Self {
        Self {
            configfs,
            nitro,
            timeout,
        }
    }

    /// Whether this machine has a source of reports, as far as can be told without asking for one. One
    /// that can't be used is one, too: asking for a report tells what is wrong with it. Blocks no longer
    /// than a directory takes to be made.
    #[must_use]
    pub fn are_there(&self) -> bool {
        let entries = Configfs(self.configfs.clone());
        let by_configfs = self.configfs.is_dir()
            && !matches!(configfs::provider(&entries, &entry_name()), Ok(None));
        by_configfs || self.nitro.exists()
    }

    /// Removes the entries in configfs that an earlier process has left behind. What can't be removed
    /// stays until the next boot, and is in nobody's way.
    pub fn clear(&self) {
        let Ok(entries) = fs::read_dir(&self.configfs) else {
            return;
        };
        let ours = entries.flatten().filter(|entry| {
            let name = entry.file_name();
            name.to_str().is_some_and(|name| name.starts_with(PREFIX))
        });
        for entry in ours {
            let _ = fs::remove_dir(entry.path());
        }
    }

    /// A report over `report_data`, or nothing where the machine has no source of reports.
    ///
    /// Blocks, at most for the time allowed. What hangs beyond that in the kernel hangs in a thread
    /// of its own, which stays behind: the process should not go on for long after
    /// [`CollectError::TimedOut`].
    ///
    /// # Errors
    ///
    /// When there is a source, and it gives no report.
    pub fn collect(
        &self,
        report_data: &[u8; REPORT_DATA],
    ) -> Result<Option<TeeReport>, CollectError> {
        let report_data = *report_data;
        if self.configfs.is_dir() {
            let entries = Configfs(self.configfs.clone());
            let name = entry_name();
            let report = within(self.timeout, move || {
                configfs::collect(&entries, &name, &report_data)
            })?;
            if report.is_some() {
                return Ok(report);
            }
        }
        if self.nitro.exists() {
            let device = self.nitro.clone();
            return within(self.timeout, move || nitro(&device, &report_data)).map(Some);
        }
        Ok(None)
    }
}

/// Asks the security module for a document with `report_data` as its nonce.
fn nitro(device: &Path, report_data: &[u8; REPORT_DATA]) -> Result<TeeReport, CollectError> {
    let request = nitro_message::request(report_data);
    let answer = sys::nitro_security_module::exchange(device, &request)
        .map_err(CollectError::NitroDevice)?;
    let document = nitro_message::document(&answer)?;
    Ok(TeeReport::new(TeeKind::Nitro, document, Vec::new())?)
}

/// Does something that may hang, and waits for it at most so long.
fn within<T: Send + 'static>(
    timeout: Duration,
    work: impl FnOnce() -> Result<T, CollectError> + Send + 'static,
) -> Result<T, CollectError> {
    let (sender, receiver) = sync_channel(1);
    thread::Builder::new()
        .name("report".to_owned())
        .spawn(move || {
            // nobody takes what comes too late
            let _ = sender.send(work());
        })
        .map_err(CollectError::Thread)?;
    match receiver.recv_timeout(timeout) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout) => Err(CollectError::TimedOut(timeout)),
        Err(RecvTimeoutError::Disconnected) => Err(CollectError::Thread(io::Error::other(
            "the thread ended without an outcome",
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_sources_has_no_report() {
        let directory = tempfile::tempdir().unwrap();
        let absent = directory.path().join("absent");
        let sources = Sources::at(absent.clone(), absent, TIMEOUT);
        assert!(sources.collect(&[1; REPORT_DATA]).unwrap().is_none());
    }

    #[test]
    fn a_device_that_is_no_security_module_is_an_error_that_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let sources = Sources::at(directory.path().join("absent"), "/dev/null".into(), TIMEOUT);
        let error = sources.collect(&[1; REPORT_DATA]).unwrap_err();
        assert!(matches!(error, CollectError::NitroDevice(_)), "{error}");
    }

    #[test]
    fn a_directory_that_is_no_configfs_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let sources = Sources::at(directory.path().into(), "/absent".into(), TIMEOUT);
        let error = sources.collect(&[1; REPORT_DATA]).unwrap_err();
        assert!(
            matches!(
                error,
                CollectError::Attribute {
                    attribute: "provider",
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn sources_that_are_there_are_told_from_those_that_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let absent = directory.path().join("absent");
        let at = |configfs: &Path, nitro: &Path| {
            Sources::at(configfs.to_owned(), nitro.to_owned(), TIMEOUT).are_there()
        };
        assert!(!at(&absent, &absent));
        assert!(at(&absent, Path::new("/dev/null")));
        // an interface that can't be used is told of when a report is asked for
        assert!(at(directory.path(), &absent));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_an_earlier_process_left_is_removed_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["k3s-daas-7-0", "another"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        Sources::at(directory.path().into(), "/absent".into(), TIMEOUT).clear();
        let left: Vec<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["another"]);
        Sources::at("/absent".into(), "/absent".into(), TIMEOUT).clear();
    }

    #[test]
    fn what_hangs_is_given_up_after_the_time_allowed() {
        let (release, hang) = sync_channel::<()>(0);
        let error = within(Duration::from_millis(1), move || {
            let _ = hang.recv();
            Ok(())
        })
        .unwrap_err();
        assert!(matches!(error, CollectError::TimedOut(_)), "{error}");
        drop(release);
    }
}
