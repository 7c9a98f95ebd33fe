//! The end of a node that can't go on: one screen that says what, where and what to do, then a
//! restart. Never a shell. After several failures in a row the screen stands for longer.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use log::timeline;
use rustix::fs::OFlags;
use rustix::system::{RebootCommand, reboot};

use crate::console::{self, OS_RELEASE, SHOWN_FOR, WIDTH, field, version};
use crate::watchdog::Watchdog;

/// The last lines of the kernel that can explain a disk's failure.
const KERNEL_LINES: usize = 5;
const KERNEL_RECORDS_LIMIT: usize = 20_000;

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What is wrong, in one sentence.
    pub what: String,
    /// On which device, at which place.
    pub place: String,
    /// What a person can do.
    pub hint: String,
    /// Further facts, one a line.
    pub details: Vec<String>,
}

/// Shows a failure on every console, keeps it in the kernel's log, and restarts the machine after
/// [`SHOWN_FOR`], or as much longer as `stands` says. A running watchdog is kept alive all the while: none given, the one that
/// a loop that is gone may have left behind.
pub fn show_and_restart(failure: &Failure, stands: Duration, watchdog: Option<Watchdog>) -> ! {
    let mut watchdog = watchdog.or_else(|| Watchdog::start(timeline::now()));
    let headline = headline(Path::new(OS_RELEASE).exists());
    tracing::error!("{headline}: {} ({})", failure.what, failure.place);
    let stands = stands.max(SHOWN_FOR);
    let screen = render(
        failure,
        headline,
        &kernel_lines(),
        &version(),
        RESTARTS,
        stands,
    );
    // Data of the running system, if there is one, reaches the disk meanwhile; the kernel does
    // this by itself, so that a disk that hangs can't hold the restart up
    // (Documentation/admin-guide/sysrq.rst: s syncs, u remounts read-only).
    console::show_for(stands, &screen, &mut watchdog, || {
        for request in ["s", "u"] {
            let _ = files::write_existing("/proc/sysrq-trigger", request);
        }
    });
    tracing::info!("power action=reboot reason=failure");
    let refused = reboot(RebootCommand::Restart);
    tracing::error!(?refused, "the kernel does not restart the machine");
    // The end of PID 1 is a panic of the kernel, which restarts as well (`panic=10`).
    std::process::abort()
}

/// Shows that the reset of a node was not done, as [`show_and_restart`] does, and returns: the machine is to be
/// powered off.
pub fn show_before_power_off(failure: &Failure, watchdog: &mut Option<Watchdog>) {
    let headline = "this node was NOT reset";
    tracing::error!("{headline}: {} ({})", failure.what, failure.place);
    let screen = render(
        failure,
        headline,
        &kernel_lines(),
        &version(),
        POWERS_OFF,
        SHOWN_FOR,
    );
    console::show(&screen, watchdog, || {});
}

/// What becomes of the machine after a screen.
const RESTARTS: &str = "restarts";
const POWERS_OFF: &str = "powers off";

/// The screen's text.
fn render(
    failure: &Failure,
    headline: &str,
    kernel: &[String],
    version: &str,
    then: &str,
    stands: Duration,
) -> String {
    let rule = "=".repeat(WIDTH);
    let mut text = format!("\n{rule}\n {version}: {headline}\n\n");
    field(&mut text, "What:", &failure.what);
    field(&mut text, "Where:", &failure.place);
    field(&mut text, "What to do:", &failure.hint);
    for (label, lines) in [("Found:", failure.details.as_slice()), ("Kernel:", kernel)] {
        let mut label = label;
        for line in lines {
            field(&mut text, label, line);
            label = "";
        }
    }
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "\n The machine {then} in {}.\n{rule}",
        in_words(stands)
    );
    text
}

fn in_words(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} seconds"),
        seconds => format!("{} minutes", seconds / 60),
    }
}

/// In the initramfs a node does not start; on the root it may have run for a year.
fn headline(on_root: bool) -> &'static str {
    if on_root {
        "this node cannot go on"
    } else {
        "this node cannot start"
    }
}

/// The kernel's last lines about disks, dm-verity and the file system, oldest first
/// (Documentation/ABI/testing/dev-kmsg: one record a read).
fn kernel_lines() -> Vec<String> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let Ok(mut log) = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open("/dev/kmsg")
    else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    let mut record = [0; 8192];
    for _ in 0..KERNEL_RECORDS_LIMIT {
        match log.read(&mut record) {
            Ok(length) => {
                let text = String::from_utf8_lossy(record.get(..length).unwrap_or_default());
                lines.extend(about_disks(&text));
            }
            // Overwritten while we read: the next read goes on with what is there.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(_) => break,
        }
    }
    lines.split_off(lines.len().saturating_sub(KERNEL_LINES))
}

/// The message of a record of the kernel itself, if it is a complaint about a disk.
fn about_disks(record: &str) -> Option<String> {
    const COMPLAINTS: [&str; 4] = [
        "device-mapper: verity",
        "device-mapper: table",
        "I/O error",
        "erofs",
    ];
    let (prefix, message) = record.split_once(';')?;
    let priority: u32 = prefix.split(',').next()?.parse().ok()?;
    // The facility (bits 3 and up) of the kernel is 0; a level below 5 is a warning or worse.
    let complaint = priority < 5 && COMPLAINTS.iter().any(|word| message.contains(word));
    complaint.then(|| message.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_says_everything_and_fits() {
        let failure = Failure {
            what:
                "the root file system is corrupt: data block 7 is not what was signed, and so it \
                   cannot be used"
                    .to_owned(),
            place: "/dev/vda2 (root-a), byte 28672".to_owned(),
            hint: "Write the image to the disk again.".to_owned(),
            details: vec!["one".to_owned(), "two".to_owned()],
        };
        let screen = render(
            &failure,
            headline(false),
            &["device-mapper: verity: corrupted".to_owned()],
            "OS 1",
            RESTARTS,
            SHOWN_FOR,
        );
        assert!(
            screen.lines().all(|line| line.chars().count() <= 80),
            "{screen}"
        );
        assert!(screen.lines().count() <= 24, "{screen}");
        for part in [
            "OS 1: this node cannot start",
            " What:       the root file system is corrupt: data block 7",
            " Where:      /dev/vda2 (root-a), byte 28672\n",
            " Found:      one\n             two\n",
            "restarts in 10 seconds",
        ] {
            assert!(screen.contains(part), "{part} is not in {screen}");
        }
    }

    #[test]
    fn long_screens_are_told_in_minutes() {
        assert_eq!(in_words(SHOWN_FOR), "10 seconds");
        assert_eq!(in_words(Duration::from_secs(3600)), "60 minutes");
    }

    #[test]
    fn kernel_complaints() {
        let record =
            "3,402,5;device-mapper: verity: 254:2: data block 7 is corrupted\n SUBSYSTEM=x";
        assert_eq!(
            about_disks(record).as_deref(),
            Some("device-mapper: verity: 254:2: data block 7 is corrupted")
        );
        assert_eq!(about_disks("6,402,5;device-mapper: ioctl: 4.48.0"), None);
        assert_eq!(about_disks("30,4,5;daas: I/O error"), None);
        assert_eq!(about_disks("nonsense"), None);
    }
}
