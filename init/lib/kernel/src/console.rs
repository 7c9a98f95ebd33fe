//! Screens on every console that the kernel prints to: for the end of a machine that nobody logs into.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use log::timeline;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use crate::watchdog::Watchdog;

/// How long the screen stands: the time to read it, or to take a picture.
pub const SHOWN_FOR: Duration = Duration::from_secs(10);
/// How long a console may take what is written; a serial line takes about a second.
const CONSOLE_PATIENCE: Duration = Duration::from_secs(3);
/// How often it is looked whether the watchdog is to be told that all is well.
const PET_PAUSE: Duration = Duration::from_millis(500);
/// Up to which level the kernel prints to the consoles (proc_sys_kernel(5)).
const PRINTK: &str = "/proc/sys/kernel/printk";
/// Bytes of an answer that are read at once.
const LINE_LIMIT: usize = 256;
/// Columns of a screen.
pub const WIDTH: usize = 78;
/// Which system runs: on the root; the initramfs has none.
pub const OS_RELEASE: &str = "/usr/lib/os-release";

/// Shows a screen on every console for [`SHOWN_FOR`]; `meanwhile` runs once it is written. Nothing that the
/// kernel prints but emergencies scrolls it away (syslog(2)). What can't be written to one console may still
/// be read on another, and in the log. The watchdog, if one is given, is kept from restarting the machine.
pub fn show(screen: &str, watchdog: &mut Option<Watchdog>, meanwhile: impl FnOnce()) {
    show_for(SHOWN_FOR, screen, watchdog, meanwhile);
}

/// As [`show`], for so long.
pub fn show_for(
    stands: Duration,
    screen: &str,
    watchdog: &mut Option<Watchdog>,
    meanwhile: impl FnOnce(),
) {
    let mut pet = || {
        if let Some(watchdog) = watchdog {
            watchdog.pet(timeline::now());
        }
    };
    let _ = files::write_existing(PRINTK, "1");
    let shown_at = Instant::now();
    for console in consoles() {
        let _ = write_to_console(&console, screen);
        pet();
    }
    meanwhile();
    loop {
        pet();
        let left = stands.saturating_sub(shown_at.elapsed());
        if left.is_zero() {
            break;
        }
        std::thread::sleep(left.min(PET_PAUSE));
    }
    let _ = files::write_existing(PRINTK, "7");
}

/// Shows a screen on every console, and waits for a line that is an answer, at most so long. Whether one came.
pub fn ask(screen: &str, patience: Duration, is_answer: &dyn Fn(&str) -> bool) -> bool {
    let _ = files::write_existing(PRINTK, "1");
    let names = consoles();
    for console in &names {
        let _ = write_to_console(console, screen);
    }
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let readers: Vec<File> = names
        .iter()
        .filter_map(|path| {
            OpenOptions::new()
                .read(true)
                .custom_flags(flags.bits().cast_signed())
                .open(path)
                .ok()
        })
        .collect();
    let answered = wait_for_line(readers, Instant::now() + patience, is_answer);
    let _ = files::write_existing(PRINTK, "7");
    answered
}

/// Reads lines until one is an answer. A console that can't be read is left out.
fn wait_for_line(
    mut readers: Vec<File>,
    deadline: Instant,
    is_answer: &dyn Fn(&str) -> bool,
) -> bool {
    // a terminal gives a line at once, and no more than that (termios(3), canonical mode)
    let mut line = [0; LINE_LIMIT];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(timeout) = Timespec::try_from(left) else {
            return false;
        };
        let mut descriptors: Vec<PollFd<'_>> = readers
            .iter()
            .map(|reader| PollFd::new(reader, PollFlags::IN))
            .collect();
        if left.is_zero() || !matches!(poll(&mut descriptors, Some(&timeout)), Ok(1..)) {
            return false;
        }
        let ready: Vec<bool> = descriptors
            .iter()
            .map(|descriptor| !descriptor.revents().is_empty())
            .collect();
        let mut answered = false;
        let mut ready = ready.into_iter();
        readers.retain_mut(|reader| {
            if !ready.next().unwrap_or_default() {
                return true;
            }
            match reader.read(&mut line) {
                Ok(0) => false,
                Ok(length) => {
                    let bytes = line.get(..length).unwrap_or_default();
                    answered |= String::from_utf8_lossy(bytes).lines().any(is_answer);
                    true
                }
                Err(error) => matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ),
            }
        });
        if answered {
            return true;
        }
    }
}

/// One labelled field, broken into lines that fit the screen.
pub fn field(text: &mut String, label: &str, value: &str) {
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

/// What runs here: from os-release on the root; the initramfs has none.
#[must_use]
pub fn version() -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_for_line_takes_an_answer_and_no_other_line() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let mut writer = File::from(writer);
        let soon = || Instant::now() + Duration::from_millis(20);
        let is_answer = |line: &str| line == "yes";
        let readers = || vec![File::from(reader.try_clone().unwrap())];
        assert!(!wait_for_line(readers(), soon(), &is_answer));
        writer.write_all(b"no\n").unwrap();
        assert!(!wait_for_line(readers(), soon(), &is_answer));
        writer.write_all(b"no\nyes\n").unwrap();
        let later = Instant::now() + Duration::from_secs(60);
        assert!(wait_for_line(readers(), later, &is_answer));
        // a console that is gone
        drop(writer);
        assert!(!wait_for_line(readers(), soon(), &is_answer));
        assert!(!wait_for_line(Vec::new(), soon(), &is_answer));
    }

    #[test]
    fn a_word_longer_than_the_screen_is_not_broken() {
        let mut text = String::new();
        field(&mut text, "A:", &"x".repeat(100));
        assert_eq!(text.trim().matches('x').count(), 100);
        assert_eq!(text.lines().count(), 1);
    }
}
