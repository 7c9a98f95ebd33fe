//! The boot's timeline, as a node wrote it on its console.

use std::time::Duration;

use regex::Regex;

use crate::log::LineLog;

/// One phase that was reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its name.
    pub phase: String,
    /// Seconds since the kernel started, by the node's own clock.
    pub node: f64,
    /// Since power-on, by this host's clock.
    pub host: Duration,
}

/// All phases on a console, in the order of their lines.
pub fn read(console: &LineLog) -> Vec<Entry> {
    let Ok(pattern) = Regex::new(r"daas: init INFO timeline phase=([a-z-]+) seconds=(\d+\.\d+)")
    else {
        return Vec::new();
    };
    let mut entries = Vec::new();
    let mut position = 0;
    while let Some(found) = console.find(&pattern, position) {
        position = found.index + 1;
        if let [phase, seconds] = found.groups.as_slice()
            && let Ok(node) = seconds.parse()
        {
            entries.push(Entry {
                phase: phase.clone(),
                node,
                host: found.line.at,
            });
        }
    }
    entries
}

/// A table for a person.
pub fn table(entries: &[Entry]) -> String {
    let mut text = format!(
        "{:<16}{:>12}{:>14}\n",
        "phase", "kernel's s", "power-on's s"
    );
    for entry in entries {
        text.push_str(&format!(
            "{:<16}{:>12.3}{:>14.3}\n",
            entry.phase,
            entry.node,
            entry.host.as_secs_f64()
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_read_in_order_and_nothing_else() {
        let console = LineLog::new("test");
        for line in [
            "[    4.5] daas: init INFO timeline phase=init seconds=4.512",
            "[    4.6] daas: netd INFO timeline phase=faked seconds=1.0",
            "[    4.7] daas: init INFO timeline phase=root-device seconds=4.700",
        ] {
            console.push(line.to_owned());
        }
        let entries = read(&console);
        let names: Vec<&str> = entries.iter().map(|entry| entry.phase.as_str()).collect();
        assert_eq!(names, ["init", "root-device"]);
        assert!((entries[0].node - 4.512).abs() < f64::EPSILON);
        assert!(table(&entries).lines().nth(1).unwrap().starts_with("init "));
    }
}
