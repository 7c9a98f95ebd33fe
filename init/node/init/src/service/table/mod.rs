//! The table of services: all that `init` knows of them. What stands in it is in [`entries`].

mod entries;

use std::fmt;
use std::time::Duration;

use sys::process::User;
use wire::child::ToInit;
use wire::status::{DegradedReason, NodeState, Phase, Probed};

pub(crate) use entries::{AGENT, LOOKS_ON_DISKS, RESET_SERVICES, SERVICES};

use crate::power::Reason;

macro_rules! names {
    ($($(#[$inner:meta])* $variant:ident = $text:literal,)+) => {
        /// A service.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum Name { $($(#[$inner])* $variant,)+ }

        impl Name {
            /// Every service.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its one name: in the log, in the status, and of its cgroup.
            pub(crate) const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

names! {
    /// Prepares the state disk and mounts it on /var.
    State = "state",
    /// Finds the configuration.
    Configure = "configure",
    /// Ends the boot phase, in which what is sealed can be unsealed.
    Measure = "measure",
    /// Runs containers.
    Containerd = "containerd",
    /// Has reports of a trusted execution environment made, where the machine is in one.
    TeeReport = "tee-report",
    /// Passes the staker's commands to the TPM, as far as it needs them.
    TpmBroker = "tpm-broker",
    /// Brings up the network and the clock.
    Netd = "netd",
    /// Asks the metadata service of the cloud for a configuration.
    Metadata = "metadata",
    /// Stakes, registers, reports.
    Staker = "staker",
    /// The Kubernetes agent.
    K3s = "k3s",
    /// Asks containerd and the kubelet whether they work.
    Probe = "probe",
    /// Tells how the last boot ended, and keeps what the kernel kept of a crash.
    LastEnd = "last-end",
    /// Wipes keys and state, and shows what was done; alone, where the command line asks for it.
    Reset = "reset",
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.text())
    }
}

/// All about one service.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) name: Name,
    pub(crate) program: &'static str,
    pub(crate) arguments: Arguments,
    /// Besides PATH, HOME and what `init` itself passes.
    pub(crate) environment: &'static [(&'static str, &'static str)],
    /// Below the root of the cgroup tree.
    pub(crate) cgroup: &'static str,
    /// Its share of the processors beside its siblings' until it is up (`cpu.weight`); theirs is 100, and so is
    /// its own then.
    pub(crate) starting_weight: Option<u16>,
    /// None: root.
    pub(crate) user: Option<User>,
    /// Whether the system calls that [`sys::system_calls`] lists are refused to it.
    pub(crate) filtered: bool,
    /// What must be up before it starts. What goes down later stops nothing.
    pub(crate) requires: &'static [Name],
    /// Whether it starts without a configuration, too, where the network may have one.
    pub(crate) unconfigured: bool,
    /// What must be up before it starts, or be settled.
    pub(crate) after: &'static [Name],
    /// When it is settled without being up, so that those that come after it wait no longer.
    pub(crate) settled: Settled,
    pub(crate) kind: Kind,
    /// Whether it starts by itself, or only once somebody asks.
    pub(crate) automatic: bool,
    /// Longer in [`Stage::Starting`](super::Stage) than this, and it is killed.
    pub(crate) start_limit: Option<Duration>,
    /// No keepalive (`WATCHDOG=1`) of its process for so long, and it counts as hung: it is killed, and starts
    /// again. None: none are expected, and `WATCHDOG_USEC` is not set.
    pub(crate) watchdog: Option<Duration>,
    /// What `probe` says of it: too many times in a row that it gives no good answer, and it counts as hung.
    pub(crate) probed: Option<Probed>,
    /// What the node is when the service fails `failures` times in a row.
    pub(crate) degrades: DegradedReason,
    pub(crate) failures: u32,
    /// What its life means for the node.
    pub(crate) effects: Effects,
    /// Which task gives it its configuration, and what becomes of it when that has another one.
    pub(crate) configured: Option<Configured>,
    /// Exit statuses that are ignored until another service has finished once.
    pub(crate) ignored_until: Option<IgnoredUntil>,
    /// Whether nothing but its own end stops the node while it runs.
    pub(crate) uninterruptible: bool,
    /// What it may say to `init`; none: it has no connection.
    pub(crate) rights: Option<Rights>,
    /// Whether its lines of level INFO are on the console too. Warnings always are.
    pub(crate) talks_on_console: bool,
    pub(crate) open_files: u64,
    pub(crate) out_of_memory_score: i16,
}

/// When a service that is not up is settled. It is tried again all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settled {
    /// After so many failures in a row: what passes by itself has passed by then.
    pub(crate) failures: u32,
    /// After one failure with this exit status or a higher one: it has failed for good in this boot.
    pub(crate) status: Option<u8>,
}

/// A service's arguments.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Arguments {
    /// Always these.
    Fixed(&'static [&'static str]),
    /// Those of `k3s agent`, which depend on the configuration and on the master's answer.
    Agent,
}

/// What a service is, and when it is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It goes on running.
    Daemon(Readiness),
    /// It ends, and is up for good when it ends with status 0.
    Task {
        /// After a failure it runs again so much later; none: with a growing wait.
        again: Option<Duration>,
        /// Its lines are held until it ends, and left out when they are those of the last run.
        quiet: bool,
    },
}

/// When a daemon is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// When it says `READY=1` (sd_notify(3)).
    Notify,
    /// When its socket takes connections, or when it says `READY=1`.
    Socket(&'static str),
    /// When it says `READY=1`; or when it ends with status 0 before that: there is nothing for it to do
    /// on this machine, for good.
    NotifyOrNothing,
}

/// What the life of a service means for the node, beside what others require of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effects {
    /// Its process was made.
    pub(crate) started: &'static [Effect],
    /// It is up: a daemon is ready, a task is done.
    pub(crate) up: &'static [Effect],
    /// Its process has ended, however that was.
    pub(crate) ended: &'static [Effect],
    /// It has failed with this exit status; none: with any.
    pub(crate) failed: &'static [(Option<u8>, Effect)],
    /// Its start took longer than its limit. It is killed, which does not help where it hangs in the kernel.
    pub(crate) overdue: &'static [Effect],
}

impl Effects {
    const NONE: Self = Self {
        started: &[],
        up: &[],
        ended: &[],
        failed: &[],
        overdue: &[],
    };
}

/// One thing that the node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// A point of the timeline is reached.
    Reach(Phase),
    /// The service has no greater share of the processors than the others any more.
    ShareProcessors(Name),
    /// The agent is a part of the cluster, or is no more.
    AgentReady(bool),
    /// The agent enforces network policies, or does not, which degrades a node whose agent is to run.
    PoliciesEnforced(bool),
    /// How the state is encrypted is read from where the service has left it.
    ReadStateEncryption,
    /// The configuration is read from where the service has left it.
    ReadConfiguration,
    /// A service that waits after a failure looks again at once.
    Hasten(Name),
    /// A task that is done runs once more, after its wait.
    Redo(Name),
    /// A service that does not start by itself starts, and so do those that can do without a
    /// configuration.
    StartWithoutConfiguration(Name),
    /// The node stops, and the machine powers off, or restarts where that is what the reason asks for.
    Stop(Reason),
    /// A screen says that the reset was not done; the node stops, and powers off.
    FailReset,
}

/// How a service depends on the configuration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Configured {
    /// The task that finds it: it runs once more when the service can't use what it found.
    pub(crate) by: Name,
    /// What is done with the service when the configuration is another one.
    pub(crate) on_change: OnChange,
}

/// What is done with a service when the configuration is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnChange {
    /// It ends and starts again.
    Restart,
    /// If it waits after a failure, it waits no longer: it may have failed for the former one.
    Hasten,
}

/// Exit statuses that are ignored, and not logged, until another service has finished once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IgnoredUntil {
    /// The statuses.
    pub(crate) statuses: &'static [u8],
    /// The other service: done, or failed at least once.
    pub(crate) finished: Name,
}

/// What a service may say over its connection to `init`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rights {
    pub(crate) states: &'static [NodeState],
    pub(crate) degraded: &'static [DegradedReason],
    pub(crate) phases: &'static [Phase],
    /// Whether it may say what others answer to it.
    pub(crate) probes: bool,
    /// Whether it may desire a state of agent and power.
    pub(crate) desired: bool,
}

impl Rights {
    /// Whether a message may be sent by whoever has these rights.
    pub(crate) fn allow(&self, message: &ToInit) -> bool {
        match message {
            ToInit::State { state } => self.states.contains(state),
            ToInit::Degraded { reason, .. } | ToInit::Recovered { reason } => {
                self.degraded.contains(reason)
            }
            ToInit::Reached { phase } => self.phases.contains(phase),
            ToInit::Probed { .. } => self.probes,
            ToInit::Desired { .. } => self.desired,
        }
    }
}

#[cfg(test)]
mod tests;
