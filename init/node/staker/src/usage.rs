//! Measured usage of the node: `/proc` by sysinfo, `/var` by statvfs(3), pods by their cgroups.

use std::fs;
use std::path::{Path, PathBuf};

use master_api::ResourceUsage;
use sysinfo::System;
use tracing::{debug, warn};

use crate::seams::{Measurement, Meter};

/// The kubelet's cgroups with the driver cgroupfs: pods of the class Guaranteed stand in the first,
/// those of the other two classes below it
/// (<https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/>, kubelet `--cgroup-root`).
const POD_PARENTS: &[&str] = &["kubepods", "kubepods/burstable", "kubepods/besteffort"];
/// Where cgroup v2 is mounted.
const CGROUP_ROOT: &str = "/sys/fs/cgroup";
/// The file system whose fill is reported.
const STATE: &str = "/var";
/// The most entries of a directory that are looked at.
const MOST_ENTRIES: usize = 4096;

/// Measures this machine.
#[derive(Debug)]
pub struct NodeMeter {
    /// None where `/proc` can't be read: usage then counts as nothing.
    system: Option<System>,
    cgroups: PathBuf,
    state: PathBuf,
}

impl Default for NodeMeter {
    fn default() -> Self {
        Self::new(CGROUP_ROOT.into(), STATE.into())
    }
}

impl NodeMeter {
    /// With other places, as tests need them.
    #[must_use]
    pub fn new(cgroups: PathBuf, state: PathBuf) -> Self {
        let mut system = System::new()
            .inspect_err(|error| warn!(%error, "the node's usage can't be measured"))
            .ok();
        // processor time counts from here on
        if let Some(system) = &mut system {
            system.refresh_cpu_usage();
        }
        Self {
            system,
            cgroups,
            state,
        }
    }
}

impl Meter for NodeMeter {
    fn measure(&mut self) -> Measurement {
        let (cpu_percent, memory_percent) = self.system.as_mut().map_or((0.0, 0.0), |system| {
            system.refresh_cpu_usage();
            system.refresh_memory();
            let total = system.total_memory();
            let taken = total.saturating_sub(system.available_memory());
            let cpu_percent = f64::from(system.global_cpu_usage());
            (cpu_percent, percent(taken, total))
        });
        Measurement {
            usage: ResourceUsage {
                cpu_percent,
                memory_percent,
                disk_percent: disk_percent(&self.state),
            },
            running_pods: running_pods(&self.cgroups),
        }
    }
}

/// A part of a whole; an empty whole has none.
#[expect(
    clippy::cast_precision_loss,
    reason = "a percentage needs no 53 bits of it"
)]
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    100.0 * part as f64 / whole as f64
}

/// As df(1) has it: what is used, of what is used and what unprivileged users can still use.
fn disk_percent(path: &Path) -> f64 {
    match rustix::fs::statvfs(path) {
        Ok(state) => {
            let used = state.f_blocks.saturating_sub(state.f_bfree);
            percent(used, used.saturating_add(state.f_bavail))
        }
        Err(error) => {
            debug!(path = %path.display(), %error, "the file system can't be measured");
            0.0
        }
    }
}

/// Pods with at least one process (`populated` in cgroup.events, the kernel's cgroup-v2.rst).
fn running_pods(root: &Path) -> u32 {
    let mut pods = 0;
    for parent in POD_PARENTS {
        let Ok(entries) = fs::read_dir(root.join(parent)) else {
            continue;
        };
        for entry in entries.take(MOST_ENTRIES).flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(b"pod")
                && is_populated(&entry.path())
            {
                pods += 1;
            }
        }
    }
    pods
}

fn is_populated(cgroup: &Path) -> bool {
    fs::read_to_string(cgroup.join("cgroup.events"))
        .is_ok_and(|events| events.lines().any(|line| line == "populated 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_with_processes_are_counted() {
        let root = tempfile::tempdir().unwrap();
        for (cgroup, populated) in [
            ("kubepods/pod1", 1),
            ("kubepods/pod2", 0),
            ("kubepods/besteffort/pod3", 1),
            ("kubepods/burstable/pod4", 1),
            ("kubepods/burstable/other", 1),
            ("system/podman", 1),
        ] {
            let path = root.path().join(cgroup);
            fs::create_dir_all(&path).unwrap();
            let events = format!("populated {populated}\nfrozen 0\n");
            fs::write(path.join("cgroup.events"), events).unwrap();
        }
        assert_eq!(running_pods(root.path()), 3);
        assert_eq!(running_pods(&root.path().join("missing")), 0);
    }

    #[test]
    fn this_machine_is_measured() {
        let directory = tempfile::tempdir().unwrap();
        let mut meter = NodeMeter::new(directory.path().into(), directory.path().into());
        let usage = meter.measure().usage;
        assert!(usage.memory_percent > 0.0 && usage.memory_percent < 100.0);
        assert!((0.0..=100.0).contains(&usage.disk_percent));
        assert!((0.0..=100.0).contains(&usage.cpu_percent));
    }

    #[test]
    fn nothing_of_nothing_is_nothing() {
        assert!(percent(1, 0).abs() < f64::EPSILON);
        assert!((percent(1, 4) - 25.0).abs() < f64::EPSILON);
    }
}
