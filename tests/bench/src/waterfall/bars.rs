//! The bars of a node's boot, read from its console.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use regex::Regex;

/// A phase of the timeline.
const PHASE: &str = r"daas: init INFO timeline phase=([a-z0-9-]+) seconds=(\d+\.\d+)";
/// A service's start or end, with the time that the kernel gives the line and, mostly, a better one in it.
const SERVICE: &str = r"^\[ *(\d+\.\d+)\] daas: init INFO (started|ready|done) service=([a-z0-9-]+)\b(?:.* seconds=(\d+\.\d+))?";

/// Phases that follow one another before any service starts; each ends what began with the one before.
const SEQUENCE: [&str; 5] = ["init", "root-device", "verity", "switch-root", "mounts"];
/// Phases within a service: each ends a step that began with the one before, or with the service's start.
const STEPS: [(&str, &[&str]); 2] = [
    ("netd", &["network", "clock"]),
    ("staker", &["unsealed", "staked", "registered"]),
];
/// Phases that a service's own bar ends with; from the mounts on where its start was not logged.
const OUTCOMES: [(&str, &str); 3] = [
    ("state", "state"),
    ("configure", "configured"),
    ("containerd", "containerd"),
];
/// Points that are marked, the first of them being where the critical path leads.
const POINTS: [&str; 3] = ["agent-may-start", "agent-started", "joined"];

/// One thing that took time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bar {
    /// Its name: a phase's or a service's.
    pub(super) name: String,
    /// Seconds of the guest's clock.
    pub(super) start: f64,
    /// Seconds of the guest's clock; the timeline's end where it is not finished.
    pub(super) end: f64,
    /// Whether its end was seen.
    pub(super) finished: bool,
}

/// A boot.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Timeline {
    /// Bars, in the order in which they begin.
    pub(super) bars: Vec<Bar>,
    /// Points and when they were reached.
    pub(super) points: Vec<(String, f64)>,
    /// Where the critical path leads: a point, or the last bar's end.
    pub(super) target: (String, f64),
}

#[derive(Default)]
struct Events {
    phases: BTreeMap<String, f64>,
    started: BTreeMap<String, f64>,
    up: BTreeMap<String, f64>,
}

impl Timeline {
    /// Reads the first boot on a console.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn read(console: &str) -> Result<Self> {
        let events = Events::read(console)?;
        let mut bars = events.sequence();
        bars.extend(events.services());
        bars.extend(events.steps());
        bars.sort_by(|left, right| left.start.total_cmp(&right.start));
        let points: Vec<(String, f64)> = POINTS
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), *events.phases.get(name)?)))
            .collect();
        let last = || {
            let finished = bars.iter().filter(|bar| bar.finished);
            let last = finished.max_by(|left, right| left.end.total_cmp(&right.end));
            last.map(|bar| (bar.name.clone(), bar.end))
        };
        let target = points
            .first()
            .cloned()
            .or_else(last)
            .context("the log has no timeline of a node")?;
        Ok(Self {
            bars,
            points,
            target,
        })
    }
}

impl Events {
    fn read(console: &str) -> Result<Self> {
        let phase = Regex::new(PHASE).context("the expression of phases")?;
        let service = Regex::new(SERVICE).context("the expression of services")?;
        let mut events = Self::default();
        for line in console.lines() {
            if let Some(found) = phase.captures(line) {
                let name = &found[1];
                // a second boot on the same console
                if name == "init" && events.phases.contains_key(name) {
                    break;
                }
                let at = found[2].parse().context("a phase without a time")?;
                events.phases.entry(name.to_owned()).or_insert(at);
            } else if let Some(found) = service.captures(line) {
                let at = found.get(4).map_or(&found[1], |seconds| seconds.as_str());
                let at = at.parse().context("a service without a time")?;
                let times = match &found[2] {
                    "started" => &mut events.started,
                    _ => &mut events.up,
                };
                times.entry(found[3].to_owned()).or_insert(at);
            }
        }
        Ok(events)
    }

    fn phase(&self, name: &str) -> Option<f64> {
        self.phases.get(name).copied()
    }

    /// The last time of all.
    fn end(&self) -> f64 {
        let times = self.phases.values().chain(self.started.values());
        times.chain(self.up.values()).copied().fold(0.0, f64::max)
    }

    /// From the kernel to the mounts.
    fn sequence(&self) -> Vec<Bar> {
        let mut bars = Vec::new();
        let mut start = 0.0;
        for name in SEQUENCE {
            let Some(end) = self.phase(name) else {
                continue;
            };
            let name = if name == "init" { "kernel" } else { name };
            bars.push(bar(name, start, end));
            start = end;
        }
        bars
    }

    fn services(&self) -> Vec<Bar> {
        let mut bars: Vec<Bar> = self
            .started
            .iter()
            .map(|(name, start)| match self.up.get(name) {
                Some(end) => bar(name, *start, *end),
                None => Bar {
                    finished: false,
                    ..bar(name, *start, self.end())
                },
            })
            .collect();
        for (service, phase) in OUTCOMES {
            if let (None, Some(start), Some(end)) = (
                self.started.get(service),
                self.phase("mounts"),
                self.phase(phase),
            ) {
                bars.push(bar(service, start, end));
            }
        }
        bars
    }

    fn steps(&self) -> Vec<Bar> {
        let mut bars = Vec::new();
        for (service, steps) in STEPS {
            let Some(mut start) = self.started.get(service).copied() else {
                continue;
            };
            for step in steps {
                if let Some(end) = self.phase(step) {
                    bars.push(bar(step, start, end));
                    start = end;
                }
            }
        }
        bars
    }
}

fn bar(name: &str, start: f64, end: f64) -> Bar {
    Bar {
        name: name.to_owned(),
        start,
        end: end.max(start),
        finished: true,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A boot whose path leads over the state.
    pub(crate) const CONSOLE: &str = "\
[    3.313675] daas: init INFO timeline phase=init seconds=3.000
[    3.670199] daas: init INFO timeline phase=root-device seconds=3.500
[    4.104529] daas: init INFO timeline phase=verity seconds=4.000
[    4.364205] daas: init INFO timeline phase=switch-root seconds=4.250
[    5.080155] daas: init INFO timeline phase=mounts seconds=5.000
[    5.100000] daas: init INFO started service=state process=157 seconds=5.010
[    5.100000] daas: init INFO started service=configure process=158 seconds=5.020
[    6.100000] daas: init INFO done service=configure seconds=6.000
[    6.100000] daas: init INFO timeline phase=configured seconds=6.000
[    6.701889] daas: init INFO started service=netd process=185
[    7.100000] daas: init INFO done service=state seconds=7.000
[    7.100000] daas: init INFO started service=containerd process=186 seconds=7.010
[    7.461471] daas: init INFO timeline phase=network seconds=7.400
[    7.488580] daas: init INFO ready service=netd
[    7.500000] daas: netd INFO timeline phase=joined seconds=7.500
[    9.611608] daas: init INFO ready service=containerd seconds=9.500
[    9.611608] daas: init INFO timeline phase=agent-may-start seconds=9.501
[   10.000000] daas: init INFO started service=staker process=187 seconds=9.600
[   11.000000] daas: init INFO timeline phase=init seconds=3.000
[   11.000000] daas: init INFO timeline phase=joined seconds=11.000
";

    pub(crate) fn timeline() -> Timeline {
        Timeline::read(CONSOLE).unwrap()
    }

    #[test]
    fn read_gives_phases_services_and_steps() {
        let timeline = timeline();
        let find = |name: &str| {
            let bar = timeline.bars.iter().find(|bar| bar.name == name).unwrap();
            (bar.start, bar.end, bar.finished)
        };
        assert_eq!(find("kernel"), (0.0, 3.0, true));
        assert_eq!(find("mounts"), (4.25, 5.0, true));
        assert_eq!(find("state"), (5.01, 7.0, true));
        // a line without a time of its own has the kernel's
        assert_eq!(find("netd"), (6.701_889, 7.488_58, true));
        assert_eq!(find("network"), (6.701_889, 7.4, true));
        assert_eq!(find("staker"), (9.6, 9.6, false));
        assert_eq!(timeline.points, [("agent-may-start".to_owned(), 9.501)]);
        assert_eq!(timeline.target, timeline.points[0]);
    }

    #[test]
    fn read_of_an_older_node_draws_what_its_phases_say() {
        let console = "\
[    5.0] daas: init INFO timeline phase=mounts seconds=5.000
[    8.0] daas: init INFO timeline phase=state seconds=8.000
";
        let timeline = Timeline::read(console).unwrap();
        let state = timeline
            .bars
            .iter()
            .find(|bar| bar.name == "state")
            .unwrap();
        assert_eq!((state.start, state.end), (5.0, 8.0));
        assert_eq!(timeline.target, ("state".to_owned(), 8.0));
        assert!(Timeline::read("nothing\n").is_err());
    }
}
