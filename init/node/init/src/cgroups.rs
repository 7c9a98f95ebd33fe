//! Control groups, version 2 (Documentation/admin-guide/cgroup-v2.rst): the tree's upper part,
//! and creating and ending groups in it.
//!
//! PID 1 stays in the root group, where k3s expects it. Below stand `/system/<service>`, `/k3s`,
//! and `/kubepods`, which the kubelet makes itself.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

pub(crate) const ROOT: &str = "/sys/fs/cgroup";
/// The groups that hold others, with every controller passed on to those.
const INNER: [&str; 2] = ["", "system"];
/// The groups that hold processes of the cluster.
const LEAVES: [&str; 1] = ["k3s"];
/// What the kubelet cannot do without (pkg/kubelet/cm, cgroup v2).
const NEEDED: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];
const FILE_LIMIT: usize = 4096;
/// The kernel's default of `cpu.weight`.
pub(crate) const CPU_WEIGHT: u16 = 100;

/// The tree can't be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CgroupError {
    #[error("the control group {group} cannot be {action}")]
    Group {
        group: String,
        action: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the kernel does not offer the cgroup controllers {}", missing.join(", "))]
    Controllers { missing: Vec<&'static str> },
    #[error("{group:?} is not the path of a control group below the root")]
    Path { group: String },
}

/// Makes `/system` and `/k3s`, and passes every controller that the kernel has on to the groups
/// below the root and below `/system`.
///
/// # Errors
/// [`CgroupError::Controllers`] when one that the kubelet needs is not there,
/// [`CgroupError::Group`] for what the kernel refuses.
pub(crate) fn prepare() -> Result<(), CgroupError> {
    let offered = files::read_text(Path::new(ROOT).join("cgroup.controllers"), FILE_LIMIT)
        .map_err(|source| group_error("", "read", source))?;
    let missing: Vec<&str> = NEEDED
        .into_iter()
        .filter(|needed| {
            !offered
                .split_whitespace()
                .any(|controller| controller == *needed)
        })
        .collect();
    if !missing.is_empty() {
        return Err(CgroupError::Controllers { missing });
    }
    for group in INNER {
        create(group)?;
        delegate(group, &offered)?;
    }
    for group in LEAVES {
        create(group)?;
    }
    Ok(())
}

/// Passes controllers on to the groups below one: one at a time, as a single one that the kernel
/// refuses would take all others with it.
fn delegate(group: &str, offered: &str) -> Result<(), CgroupError> {
    let file = directory(group)?.join("cgroup.subtree_control");
    for controller in offered.split_whitespace() {
        match files::write_existing(&file, &format!("+{controller}")) {
            Ok(()) => {}
            Err(source) if NEEDED.contains(&controller) => {
                return Err(group_error(group, "given its controllers", source));
            }
            Err(error) => tracing::info!(group, controller, %error, "a controller is left out"),
        }
    }
    Ok(())
}

/// Makes a group, such as `system/netd`, and gives its directory. One that is there is fine.
///
/// # Errors
/// See [`CgroupError`].
pub(crate) fn create(group: &str) -> Result<PathBuf, CgroupError> {
    let directory = directory(group)?;
    match fs::create_dir(&directory) {
        Ok(()) => Ok(directory),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(directory),
        Err(source) => Err(group_error(group, "made", source)),
    }
}

/// Sets a group's share of the processors beside its siblings' (`cpu.weight`, 1 to 10000). A group that can't be given
/// it is logged, and works.
pub(crate) fn set_cpu_weight(group: &str, weight: u16) {
    let set = directory(group).and_then(|directory| {
        files::write_existing(directory.join("cpu.weight"), &weight.to_string())
            .map_err(|source| group_error(group, "given its weight", source))
    });
    if let Err(error) = set {
        tracing::warn!("{}", log::chain(&error));
    }
}

/// Sends SIGKILL to every process of a group and of those below it, all at once (`cgroup.kill`).
/// A group that is not there has none.
///
/// # Errors
/// See [`CgroupError`]; the root group is refused.
pub(crate) fn kill(group: &str) -> Result<(), CgroupError> {
    if group.is_empty() {
        return Err(CgroupError::Path {
            group: group.to_owned(),
        });
    }
    match files::write_existing(directory(group)?.join("cgroup.kill"), "1") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|source| group_error(group, "killed", source)),
    }
}

/// Whether any process is in a group or below it. A group that is not there is empty.
///
/// # Errors
/// See [`CgroupError`].
pub(crate) fn is_populated(group: &str) -> Result<bool, CgroupError> {
    match files::read_text(directory(group)?.join("cgroup.events"), FILE_LIMIT) {
        Ok(events) => Ok(events.lines().any(|line| line == "populated 1")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(group_error(group, "read", source)),
    }
}

fn directory(group: &str) -> Result<PathBuf, CgroupError> {
    let path = Path::new(group);
    if path
        .components()
        .all(|component| matches!(component, Component::Normal(_)))
    {
        Ok(Path::new(ROOT).join(path))
    } else {
        Err(CgroupError::Path {
            group: group.to_owned(),
        })
    }
}

fn group_error(group: &str, action: &'static str, source: io::Error) -> CgroupError {
    CgroupError::Group {
        group: format!("/{group}"),
        action,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below_the_root() {
        assert_eq!(
            directory("system/netd").unwrap(),
            Path::new("/sys/fs/cgroup/system/netd")
        );
        assert_eq!(directory("").unwrap(), Path::new("/sys/fs/cgroup"));
        for group in ["/system", "..", "system/../../x", "./x"] {
            assert!(
                matches!(directory(group), Err(CgroupError::Path { .. })),
                "{group}"
            );
        }
    }

    #[test]
    fn the_root_group_is_not_killed() {
        assert!(matches!(kill(""), Err(CgroupError::Path { .. })));
    }

    #[test]
    fn a_group_that_is_not_there_is_empty() {
        assert!(!is_populated("no-such-group").unwrap());
    }
}
