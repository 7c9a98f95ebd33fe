//! Marks on a console: when a system reached a point, in seconds of its own clock.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use regex::Regex;

/// The first instruction of the first program.
pub const PID_1: &str = "pid-1";
/// The root is open, and the system's own PID 1 begins.
pub const ROOT: &str = "root";
/// containerd's socket takes connections (under systemd: containerd says that it is ready).
pub const CONTAINERD: &str = "containerd";
/// All that the agent needs is up.
pub const AGENT_MAY_START: &str = "agent-may-start";
/// A node has started its agent: the master has answered, too.
pub const AGENT_STARTED: &str = "agent-started";

/// A node's phases that are marks of other names.
const ALIASES: [(&str, &str); 2] = [("init", PID_1), ("switch-root", ROOT)];

/// A line with a mark: of a node's timeline, or of a peer.
const PATTERN: &str =
    r"(?:daas: init INFO timeline phase|bench: mark)=([a-z0-9-]+) seconds=(\d+\.\d+)";

/// Seconds from PID 1 to each mark.
pub type Marks = BTreeMap<String, f64>;

/// The expression of the line that ends a boot: its last mark, or a failure.
#[must_use]
pub fn last(mark: &str) -> String {
    format!(r"(?:(?:phase|mark)={mark} seconds=\d|bench: (failed .*)|Kernel panic.*)")
}

/// The marks in a console's text, each where it stands first.
///
/// # Errors
/// When there is none of PID 1.
pub fn read(console: &str) -> Result<Marks> {
    let pattern = Regex::new(PATTERN).context("the expression of marks")?;
    let mut marks = Marks::new();
    for line in console.lines() {
        let Some(captures) = pattern.captures(line) else {
            continue;
        };
        let seconds: f64 = captures[2].parse().context("a mark without a time")?;
        let name = ALIASES
            .into_iter()
            .find(|(phase, _)| *phase == &captures[1])
            .map_or(&captures[1], |(_, mark)| mark);
        marks.entry(name.to_owned()).or_insert(seconds);
    }
    let start = *marks
        .get(PID_1)
        .context("the console has no mark of PID 1")?;
    for seconds in marks.values_mut() {
        *seconds -= start;
    }
    Ok(marks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_counts_from_pid_1_and_keeps_the_first() {
        let marks = read(
            "[    4.5] daas: init INFO timeline phase=init seconds=4.500\n\
             [    4.6] daas: netd INFO timeline phase=faked seconds=9.000\n\
             [    5.0] daas: init INFO timeline phase=switch-root seconds=5.000\n\
             [    9.0] daas: init INFO timeline phase=containerd seconds=8.750\n\
             [   10.0] daas: init INFO timeline phase=containerd seconds=9.750\n",
        )
        .unwrap();
        let expected = [(CONTAINERD, 4.25), (PID_1, 0.0), (ROOT, 0.5)];
        assert_eq!(
            marks,
            expected.map(|(name, at)| (name.to_owned(), at)).into()
        );
    }

    #[test]
    fn read_takes_a_peers_marks() {
        let marks =
            read("[1] bench: mark=pid-1 seconds=3.21\n[2] bench: mark=containerd seconds=6.46\n");
        assert!((marks.unwrap()[CONTAINERD] - 3.25).abs() < 1e-9);
        assert!(read("bench: mark=containerd seconds=6.46").is_err());
    }

    #[test]
    fn last_matches_its_mark_and_failures_alone() {
        let pattern = Regex::new(&last(AGENT_MAY_START)).unwrap();
        assert!(pattern.is_match("bench: mark=agent-may-start seconds=7.100"));
        assert!(pattern.is_match("daas: init INFO timeline phase=agent-may-start seconds=7.100"));
        assert!(!pattern.is_match("bench: mark=containerd seconds=7.100"));
        let failed = pattern.captures("bench: failed no network").unwrap();
        assert_eq!(&failed[1], "failed no network");
    }
}
