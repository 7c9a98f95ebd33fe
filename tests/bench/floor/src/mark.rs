//! Marks: points that a system has reached, on its console.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::time::Duration;

use log::timeline;

/// The kernel's log, which the console shows. 29: the facility of daemons, level "notice".
const LOG: (&str, u8) = ("/dev/kmsg", 29);

/// The line of a mark: `bench: mark=NAME seconds=S`, with the time since the kernel started.
#[must_use]
pub fn line(name: &str, at: Duration) -> String {
    format!("bench: mark={name} seconds={}", timeline::text(at))
}

/// Says that a point is reached now.
///
/// # Errors
/// When the kernel's log cannot be written.
pub fn mark(name: &str) -> io::Result<()> {
    mark_at(name, timeline::now())
}

/// Says that a point was reached before there was a place to say so.
///
/// # Errors
/// When the kernel's log cannot be written.
pub fn mark_at(name: &str, at: Duration) -> io::Result<()> {
    say(&line(name, at))
}

/// Writes a line into the kernel's log.
///
/// # Errors
/// When it cannot be written.
pub fn say(text: &str) -> io::Result<()> {
    let (path, priority) = LOG;
    let mut log = OpenOptions::new().write(true).open(path)?;
    log.write_all(format!("<{priority}>{text}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_has_three_decimals() {
        let text = line("pid-1", Duration::from_micros(4_512_900));
        assert_eq!(text, "bench: mark=pid-1 seconds=4.512");
    }
}
