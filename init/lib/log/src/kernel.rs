//! The kernel's log, /dev/kmsg: what stands there is on the console too.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::OnceLock;

use tracing::Level;

use super::Record;

const DEVICE: &str = "/dev/kmsg";

/// The kernel refuses a longer record: `PRINTKRB_RECORD_MAX` of kernel/printk/printk.c is 1024
/// bytes, head included.
const MAXIMUM_RECORD: usize = 1000;

/// The facility of system daemons, `LOG_DAEMON` of syslog(3).
const FACILITY: u8 = 3;

/// The kernel's log. Opened at the first line for which that works.
#[derive(Debug)]
pub(crate) struct KernelLog {
    path: &'static str,
    file: OnceLock<File>,
}

impl Default for KernelLog {
    fn default() -> Self {
        Self::at(DEVICE)
    }
}

impl KernelLog {
    /// Another place, for tests.
    pub(crate) const fn at(path: &'static str) -> Self {
        Self {
            path,
            file: OnceLock::new(),
        }
    }

    /// Writes a line; where it can't, there is nobody left to tell.
    pub(crate) fn write(&self, record: &Record) {
        let file = match self.file.get() {
            Some(file) => file,
            None => match OpenOptions::new().write(true).open(self.path) {
                Ok(file) => self.file.get_or_init(|| file),
                Err(_) => return,
            },
        };
        let mut writer: &File = file;
        let _ = writer.write_all(line(record).as_bytes());
    }
}

/// Writes a line past every queue: for the last words of a panic.
pub fn emergency(text: &str) {
    KernelLog::default().write(&Record {
        at: crate::timeline::now(),
        level: Level::ERROR,
        source: super::OWN_SOURCE,
        text: super::format::visible(text),
        console: true,
    });
}

/// `<pri>daas: SOURCE LEVEL MESSAGE`, cut to what the kernel takes.
fn line(record: &Record) -> String {
    let priority = FACILITY << 3 | severity(record.level);
    let mut line = format!(
        "<{priority}>daas: {} {} {}",
        record.source, record.level, record.text
    );
    if line.len() > MAXIMUM_RECORD {
        line.truncate(line.floor_char_boundary(MAXIMUM_RECORD));
        line.push('…');
    }
    line.push('\n');
    line
}

/// The severities of syslog(3). INFO is a notice: the console shows those with `loglevel=6`, but
/// not the kernel's own informational lines.
fn severity(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 5,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn record(text: &str) -> Record {
        Record {
            at: Duration::ZERO,
            level: Level::INFO,
            source: "staker",
            text: text.to_owned(),
            console: true,
        }
    }

    #[test]
    fn the_line_of_the_contract() {
        assert_eq!(
            line(&record("stake found amount=1")),
            "<29>daas: staker INFO stake found amount=1\n"
        );
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let line = line(&record(&"ö".repeat(2000)));
        assert!(line.len() <= 1024, "{}", line.len());
        assert!(line.ends_with("ö…\n"));
    }
}
