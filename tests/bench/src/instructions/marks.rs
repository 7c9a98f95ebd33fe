//! The plugin's log: how many instructions the guest had executed when it wrote which line.

use std::collections::BTreeMap;

use regex::Regex;

/// A phase of a node's timeline, and the instructions until it was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The phase.
    pub(super) phase: String,
    /// Instructions of all processors since power-on.
    pub(super) count: u64,
}

/// The marks in a log, in order. Lines of anything but the timeline are left out.
#[must_use]
pub(super) fn read(log: &str) -> Vec<Mark> {
    let Ok(pattern) =
        Regex::new(r"^(\d+) .*daas: init INFO timeline phase=([a-z-]+) seconds=\d+\.\d+")
    else {
        return Vec::new();
    };
    let mark = |line: &str| {
        let found = pattern.captures(line)?;
        Some(Mark {
            count: found[1].parse().ok()?,
            phase: found[2].to_owned(),
        })
    };
    log.lines().filter_map(mark).collect()
}

/// A phase in several boots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spread {
    /// The phase.
    pub(super) phase: String,
    /// The median of the boots.
    pub(super) median: u64,
    /// The smallest.
    pub(super) least: u64,
    /// The largest.
    pub(super) most: u64,
}

impl Spread {
    /// The distance of smallest and largest in thousandths of the median.
    #[must_use]
    pub(super) fn thousandths(&self) -> u64 {
        (self.most - self.least) * 1000 / self.median.max(1)
    }
}

/// The phases that every boot reached, in the order of their medians.
#[must_use]
pub(super) fn spreads(boots: &[Vec<Mark>]) -> Vec<Spread> {
    let mut counts: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for mark in boots.iter().flatten() {
        counts.entry(&mark.phase).or_default().push(mark.count);
    }
    let mut spreads: Vec<Spread> = counts
        .into_iter()
        .filter(|(_, counts)| counts.len() == boots.len())
        .map(|(phase, mut counts)| {
            counts.sort_unstable();
            Spread {
                phase: phase.to_owned(),
                median: counts[counts.len() / 2],
                least: counts[0],
                most: counts[counts.len() - 1],
            }
        })
        .collect();
    spreads.sort_by_key(|spread| spread.median);
    spreads
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_lines_of_the_timeline_become_marks() {
        let log = "17 [    0.000000] Linux version 6.12\n\
            2669644532 [    3.77] daas: init INFO timeline phase=init seconds=3.771\n\
            2700000000 [    3.78] daas: netd INFO timeline phase=faked seconds=3.771\n\
            8594880613 [   24.99] daas: init INFO timeline phase=agent-started seconds=24.988\n";
        let mark = |phase: &str, count| Mark {
            phase: phase.to_owned(),
            count,
        };
        assert_eq!(
            read(log),
            [
                mark("init", 2_669_644_532),
                mark("agent-started", 8_594_880_613)
            ]
        );
    }

    #[test]
    fn spreads_have_the_median_of_what_all_boots_reached() {
        let boot = |counts: &[(&str, u64)]| {
            counts
                .iter()
                .map(|(phase, count)| Mark {
                    phase: (*phase).to_owned(),
                    count: *count,
                })
                .collect::<Vec<_>>()
        };
        let boots = [
            boot(&[("z-first", 100), ("agent", 1000)]),
            boot(&[("z-first", 104), ("agent", 1030)]),
            boot(&[("z-first", 101), ("agent", 990), ("once", 5)]),
        ];
        let spreads = spreads(&boots);
        let names: Vec<&str> = spreads.iter().map(|spread| spread.phase.as_str()).collect();
        assert_eq!(names, ["z-first", "agent"]);
        assert_eq!(spreads[1].median, 1000);
        assert_eq!(spreads[1].thousandths(), 40);
    }
}
