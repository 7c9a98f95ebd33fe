//! The end of a node that can't go on: one screen that says what, where and what to do, then a
//! restart. Never a shell.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::system::{RebootCommand, reboot};

use crate::power::Watchdog;
use crate::{files, timeline};

/// How long the screen stands: the time to read it, or to take a picture.
pub(crate) const RESTART_AFTER: Duration = Duration::from_secs(10);
/// How long a console may take what is written; a serial line takes about a second.
const CONSOLE_PATIENCE: Duration = Duration::from_secs(3);
/// How often it is looked whether the watchdog is to be told that all is well.
pub(crate) const PET_PAUSE: Duration = Duration::from_millis(500);
/// Columns of a screen.
pub(crate) const WIDTH: usize = 78;
/// The root has it, and the initramfs has not.
const OS_RELEASE: &str = "/usr/lib/os-release";
/// The last lines of the kernel that can explain a disk's failure.
const KERNEL_LINES: usize = 5;
const KERNEL_RECORDS_LIMIT: usize = 20_000;

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What is wrong, in one sentence.
    pub(crate) what: String,
    /// On which device, at which place.
    pub(crate) place: String,
    /// What a person can do.
    pub(crate) hint: String,
    /// Further facts, one a line.
    pub(crate) details: Vec<String>,
}

/// Shows a failure on every console, keeps it in the kernel's log, and restarts the machine after
/// 10 seconds. A watchdog that runs is told all the while that all is well: none given, the one that
/// a loop that is gone may have left behind.
pub(crate) fn show_and_restart(failure: &Failure, watchdog: Option<Watchdog>) -> ! {
    let mut watchdog = watchdog.or_else(|| Watchdog::start(timeline::now()));
    let headline = headline(Path::new(OS_RELEASE).exists());
    tracing::error!("{headline}: {} ({})", failure.what, failure.place);
    // Nothing the kernel says may scroll the screen away; only emergencies pass (syslog(2)).
    let _ = files::write_existing("/proc/sys/kernel/printk", "1");
    let screen = render(failure, headline, &kernel_lines(), &version());
    let shown_at = Instant::now();
    write_to_consoles(&screen, &mut watchdog);
    // Data of the running system, if there is one, reaches the disk meanwhile; the kernel does
    // this by itself, so that a disk that hangs can't hold the restart up
    // (Documentation/admin-guide/sysrq.rst: s syncs, u remounts read-only).
    for request in ["s", "u"] {
        let _ = files::write_existing("/proc/sysrq-trigger", request);
    }
    stand(shown_at, &mut watchdog);
    let _ = files::write_existing("/proc/sys/kernel/printk", "7");
    tracing::info!("power action=reboot reason=failure");
    let refused = reboot(RebootCommand::Restart);
    tracing::error!(?refused, "the kernel does not restart the machine");
    // The end of PID 1 is a panic of the kernel, which restarts as well (`panic=10`).
    std::process::abort()
}

/// Writes a screen to every console. What can't be written to one may still be read on another, and in
/// the log.
pub(crate) fn write_to_consoles(screen: &str, watchdog: &mut Option<Watchdog>) {
    for console in consoles() {
        let _ = write_to_console(&console, screen);
        pet(watchdog);
    }
}

/// Waits until a screen has stood for long enough to be read.
pub(crate) fn stand(shown_at: Instant, watchdog: &mut Option<Watchdog>) {
    loop {
        pet(watchdog);
        let left = RESTART_AFTER.saturating_sub(shown_at.elapsed());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(PET_PAUSE));
    }
}

/// Tells a watchdog that all is well, when that is due.
pub(crate) fn pet(watchdog: &mut Option<Watchdog>) {
    if let Some(watchdog) = watchdog {
        watchdog.pet(timeline::now());
    }
}

/// The screen's text.
fn render(failure: &Failure, headline: &str, kernel: &[String], version: &str) -> String {
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
        "\n The machine restarts in {} seconds.\n{rule}",
        RESTART_AFTER.as_secs()
    );
    text
}

/// One labelled field, broken into lines that fit the screen.
pub(crate) fn field(text: &mut String, label: &str, value: &str) {
    const INDENT: usize = 13;
    let mut line = format!(" {label:<width$}", width = INDENT - 1);
    let mut used = INDENT;
    for (position, word) in value.split_whitespace().enumerate() {
        let length = word.chars().count();
        if position > 0 && used + 1 + length > WIDTH {
            text.push_str(line.trim_end());
            text.push('\n');
            line = " ".repeat(INDENT);
            used = INDENT;
        } else if position > 0 {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += length;
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

/// In the initramfs a node does not start; on the root it may have run for a year.
fn headline(on_root: bool) -> &'static str {
    if on_root {
        "this node cannot go on"
    } else {
        "this node cannot start"
    }
}

/// What runs here: from os-release on the root; the initramfs has none.
pub(crate) fn version() -> String {
    let release = files::read_text(OS_RELEASE, 64 * 1024).unwrap_or_default();
    let value = |key: &str| {
        release
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .map(|value| value.trim_matches('"').to_owned())
    };
    match (value("NAME"), value("VERSION_ID")) {
        (Some(name), Some(version)) => format!("{name} {version}"),
        _ => "K3s-DaaS".to_owned(),
    }
}

/// The consoles that the kernel prints to (Documentation/ABI/testing/sysfs-tty), or failing that
/// the one that it gave us.
fn consoles() -> Vec<String> {
    let active = files::read_text("/sys/class/tty/console/active", 4096).unwrap_or_default();
    let mut consoles: Vec<String> = active
        .split_whitespace()
        .map(|name| format!("/dev/{name}"))
        .collect();
    if consoles.is_empty() {
        consoles.push("/dev/console".to_owned());
    }
    consoles
}

/// Writes within a bound of time: a serial line whose other end holds it off must not stop us.
fn write_to_console(path: &str, text: &str) -> io::Result<()> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut console = OpenOptions::new()
        .write(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    // Raw bytes reach the line, so each line end needs its carriage return only where the
    // terminal's output processing is off; a second one does no harm.
    let text = text.replace('\n', "\r\n");
    let mut rest = text.as_bytes();
    let deadline = Instant::now() + CONSOLE_PATIENCE;
    while !rest.is_empty() {
        match console.write(rest) {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let left = deadline.saturating_duration_since(Instant::now());
                let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
                let mut descriptors = [PollFd::from_borrowed_fd(console.as_fd(), PollFlags::OUT)];
                if left.is_zero() || poll(&mut descriptors, Some(&timeout))? == 0 {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
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
    fn a_word_longer_than_the_screen_is_not_broken() {
        let mut text = String::new();
        field(&mut text, "A:", &"x".repeat(100));
        assert_eq!(text.trim().matches('x').count(), 100);
        assert_eq!(text.lines().count(), 1);
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
