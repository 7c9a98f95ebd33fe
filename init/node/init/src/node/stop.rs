//! The stop of the node, step by step, while the loop goes on.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tracing::{info, warn};

use super::Node;
use crate::cgroups;
use crate::power::{Act, Group, Reason, StopPlan, World, forget_secrets};
use crate::service::{Command, Name};
use log::timeline;

/// A group with a longer list of processes is killed rather than asked one by one.
const PROCESSES_LIMIT: usize = 1024 * 1024;
/// How deep cgroups are nested at most: the kubelet makes four levels, a container may add some.
const DEPTH_LIMIT: u32 = 16;

impl Node {
    /// Begins to stop, unless that is under way.
    pub(super) fn begin_stop(&mut self, reason: Reason, detail: &str) {
        if let Some((under_way, _)) = &mut self.stop {
            if reason.outranks(*under_way) {
                *under_way = reason;
                info!(%reason, detail, "the stop that is under way has another reason");
                if reason.forgets_secrets() {
                    forget_secrets();
                }
            } else {
                info!(%reason, "the node is stopping already");
            }
            return;
        }
        if let Some(name) = self.uninterruptible().filter(|_| !reason.is_of_reset()) {
            warn!(%reason, detail, service = %name, "not stopping: that is not to be cut off");
            return;
        }
        info!(%reason, detail, "stopping");
        if reason.forgets_secrets() {
            forget_secrets();
        }
        self.supervisor.halt();
        self.agent_stop = None;
        self.stop = Some((reason, StopPlan::node(timeline::now())));
    }

    /// A service that runs, and that nothing but its own end stops.
    fn uninterruptible(&self) -> Option<Name> {
        let mut services = self.inputs.services.iter();
        let service = services
            .find(|service| service.uninterruptible && self.supervisor.stage(service.name).runs());
        service.map(|service| service.name)
    }

    /// Does what the plan says.
    pub(super) fn advance_stop(&mut self, now: Duration) {
        let Some((reason, mut plan)) = self.stop.take() else {
            return;
        };
        for act in plan.advance(self, now) {
            if self.act(act, now) {
                self.finished = true;
                self.board.off();
            }
        }
        self.stop = Some((reason, plan));
    }

    /// Does what the plan of the agent's stop says.
    pub(super) fn advance_agent_stop(&mut self, now: Duration) {
        let Some(mut plan) = self.agent_stop.take() else {
            return;
        };
        let mut over = false;
        for act in plan.advance(self, now) {
            over |= self.act(act, now);
        }
        if over {
            info!("the agent and its pods are stopped");
        } else {
            self.agent_stop = Some(plan);
        }
    }

    /// Does one thing of a plan. `true` when that was its last.
    fn act(&mut self, act: Act, now: Duration) -> bool {
        match act {
            Act::Stop(name) => {
                if let Some(command) = self.supervisor.stop(name, now) {
                    info!(service = %name, "stopping");
                    self.carry_out(command);
                }
            }
            Act::Terminate(group) => {
                info!(group = ?group, "asking processes to end");
                let cgroup = Path::new(cgroups::ROOT).join(group.cgroup());
                terminate(&cgroup, DEPTH_LIMIT);
            }
            Act::Kill(group) => {
                info!(group = ?group, "killing processes");
                if let Err(error) = cgroups::kill(group.cgroup()) {
                    let error = log::chain(&error);
                    warn!(group = ?group, error, "processes can't be killed");
                }
            }
            Act::Finish => return true,
        }
        false
    }

    /// Carries one command of the supervisor out.
    pub(super) fn carry_out(&self, command: Command) {
        if let Command::Terminate(name) = command {
            self.signal(name, Signal::TERM);
        }
    }
}

impl World for Node {
    fn runs(&self, service: Name) -> bool {
        self.supervisor.stage(service).runs()
    }

    fn is_populated(&self, group: Group) -> bool {
        // what can't be asked is not waited for
        cgroups::is_populated(group.cgroup()).unwrap_or(false)
    }
}

/// SIGTERM for every process in a cgroup and below.
fn terminate(cgroup: &Path, depth: u32) {
    // a cgroup can go while this looks
    let processes = files::read_text(cgroup.join("cgroup.procs"), PROCESSES_LIMIT);
    for line in processes.unwrap_or_default().lines() {
        let process = line.parse().ok().and_then(Pid::from_raw);
        if let Some(process) = process.filter(|process| !process.is_init()) {
            // it may have ended by now
            let _ = kill_process(process, Signal::TERM);
        }
    }
    let Some(depth) = depth.checked_sub(1) else {
        return;
    };
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            terminate(&entry.path(), depth);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command as Program, Stdio};

    use super::*;

    /// A directory that looks like a part of the tree: the kernel's files, with a real process.
    #[test]
    fn processes_below_are_asked_too() {
        let tree = tempfile::tempdir().unwrap();
        let pod = tree.path().join("besteffort/pod1");
        fs::create_dir_all(&pod).unwrap();
        let mut child = Program::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        fs::write(tree.path().join("cgroup.procs"), "").unwrap();
        fs::write(pod.join("cgroup.procs"), format!("{}\n1\nx\n", child.id())).unwrap();
        terminate(tree.path(), DEPTH_LIMIT);
        let status = child.wait().unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(15)
        );
    }
}
