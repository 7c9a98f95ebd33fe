//! The process table, from `/proc` (proc_pid_status(5), proc_pid_cgroup(5)).

use std::collections::HashMap;
use std::path::Path;

use crate::control::{Capabilities, Process, Processes};
use crate::files;

/// A process's status is no longer than this.
const STATUS_LIMIT: u64 = 64 * 1024;
/// How much of a command line is shown.
const ARGUMENTS: usize = 4096;

/// Every process of the machine, in the order of their numbers.
pub(super) fn all() -> Processes {
    let mut processes: Vec<Process> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(one)
        .collect();
    processes.sort_by_key(|process| process.pid);
    Processes { processes }
}

/// The cgroup v2 path of a process, or that of the first hierarchy under cgroup v1.
pub fn cgroup_of(pid: i32) -> Option<String> {
    let path = format!("/proc/{pid}/cgroup");
    let text = files::read(Path::new(&path), STATUS_LIMIT).ok()?;
    let line = text
        .lines()
        .find(|line| line.starts_with("0::"))
        .or_else(|| text.lines().next())?;
    Some(line.splitn(3, ':').nth(2)?.to_owned())
}

/// One process; `None` when it has gone meanwhile.
fn one(pid: i32) -> Option<Process> {
    let path = |name: &str| format!("/proc/{pid}/{name}");
    let status = files::read(Path::new(&path("status")), STATUS_LIMIT).ok()?;
    let arguments = std::fs::read(path("cmdline")).unwrap_or_default();
    parse(pid, &status, &arguments, cgroup_of(pid).unwrap_or_default())
}

fn parse(pid: i32, status: &str, arguments: &[u8], cgroup: String) -> Option<Process> {
    let fields: HashMap<&str, &str> = status
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key, value.trim()))
        .collect();
    let field = |key: &str| fields.get(key).copied().unwrap_or_default();
    let first = |key: &str| field(key).split_whitespace().next().unwrap_or_default();
    let set = |key: &str| field(key).to_owned();
    let shown = arguments
        .get(..arguments.len().min(ARGUMENTS))
        .unwrap_or_default();
    Some(Process {
        name: field("Name").to_owned(),
        pid,
        ppid: first("PPid").parse().ok()?,
        uid: first("Uid").parse().ok()?,
        gid: first("Gid").parse().ok()?,
        state: first("State").to_owned(),
        capabilities: Capabilities {
            effective: set("CapEff"),
            permitted: set("CapPrm"),
            inheritable: set("CapInh"),
            bounding: set("CapBnd"),
            ambient: set("CapAmb"),
        },
        no_new_privileges: first("NoNewPrivs") == "1",
        seccomp: first("Seccomp").parse().unwrap_or_default(),
        cgroup,
        arguments: shown
            .split(|byte| *byte == 0)
            .filter(|argument| !argument.is_empty())
            .map(|argument| String::from_utf8_lossy(argument).into_owned())
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_taken_apart() {
        let status = "Name:\tstaker\nState:\tS (sleeping)\nPPid:\t1\nUid:\t901\t901\t901\t901\n\
                      Gid:\t901\t901\t901\t901\nCapInh:\t0000000000000000\nCapPrm:\t\
                      0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t000001ffffffffff\n\
                      CapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n";
        let process = parse(
            42,
            status,
            b"/usr/bin/staker\0--x\0",
            "/system/staker".into(),
        )
        .unwrap();
        assert_eq!(
            (process.name.as_str(), process.ppid, process.uid),
            ("staker", 1, wire::users::STAKER)
        );
        assert_eq!(process.state, "S");
        assert!(process.no_new_privileges);
        assert_eq!(process.seccomp, 2);
        assert_eq!(process.arguments, ["/usr/bin/staker", "--x"]);
        assert_eq!(process.capabilities.bounding, "000001ffffffffff");
    }

    #[test]
    fn this_process_is_in_the_table() {
        let me = rustix::process::getpid().as_raw_nonzero().get();
        let processes = all().processes;
        let process = processes.iter().find(|process| process.pid == me).unwrap();
        assert_eq!(process.uid, rustix::process::getuid().as_raw());
        assert!(!process.cgroup.is_empty());
    }
}
