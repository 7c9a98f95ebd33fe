//! The table of services: all that `init` knows of them stands here.

use std::fmt;
use std::time::Duration;

use sys::capability::{Capabilities, Capability};
use sys::process::User;
use wire::child::ToInit;
use wire::paths::CONTAINERD_SOCKET;
use wire::status::{DegradedReason, NodeState, Phase};
use wire::{exit, users};

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
    /// Runs containers.
    Containerd = "containerd",
    /// Imports the images that the root carries.
    Images = "images",
    /// Finds the configuration.
    Configure = "configure",
    /// Ends the boot phase, in which what is sealed can be unsealed.
    Measure = "measure",
    /// Has reports of a trusted execution environment made, where the machine is in one.
    TeeReport = "tee-report",
    /// Brings up the network and the clock.
    Netd = "netd",
    /// Asks the metadata service of the cloud for a configuration.
    Metadata = "metadata",
    /// Stakes, registers, reports.
    Staker = "staker",
    /// The Kubernetes agent.
    K3s = "k3s",
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
    /// None: root.
    pub(crate) user: Option<User>,
    /// Whether the system calls that [`sys::system_calls`] lists are refused to it.
    pub(crate) filtered: bool,
    /// What must be up before it starts. What goes down later stops nothing.
    pub(crate) requires: &'static [Name],
    /// Whether it starts without a configuration, too, where the network may have one.
    pub(crate) unconfigured: bool,
    /// What must be up before it starts, or have failed again and again.
    pub(crate) after: &'static [Name],
    pub(crate) kind: Kind,
    /// Whether it starts by itself, or only once somebody asks.
    pub(crate) automatic: bool,
    /// Longer in [`Stage::Starting`](super::Stage) than this, and it is killed.
    pub(crate) start_limit: Option<Duration>,
    /// What the node is when the service fails `failures` times in a row.
    pub(crate) degrades: DegradedReason,
    pub(crate) failures: u32,
    /// What its life means for the node.
    pub(crate) effects: Effects,
    /// Which task gives it its configuration, and what becomes of it when that has another one.
    pub(crate) configured: Option<Configured>,
    /// Exit statuses that mean nothing before another service had its turn.
    pub(crate) too_early: Option<TooEarly>,
    /// What it may say to `init`; none: it has no connection.
    pub(crate) rights: Option<Rights>,
    /// Whether its lines of level INFO are on the console too. Warnings always are.
    pub(crate) talks_on_console: bool,
    pub(crate) open_files: u64,
    pub(crate) out_of_memory_score: i16,
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
}

impl Effects {
    const NONE: Self = Self {
        started: &[],
        up: &[],
        ended: &[],
        failed: &[],
    };
}

/// One thing that the node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// A point of the timeline is reached.
    Reach(Phase),
    /// The agent is a part of the cluster, or is no more.
    AgentReady(bool),
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
    WantUnconfigured(Name),
    /// The node stops, and powers off.
    PowerOff(Reason),
}

/// How a service depends on the configuration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Configured {
    /// The task that finds it: it runs once more when the service can't use what it found.
    pub(crate) by: Name,
    /// What is done with the service when the configuration is another one.
    pub(crate) anew: Anew,
}

/// What is done with a service when the configuration is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anew {
    /// It ends and starts again.
    Restart,
    /// If it waits after a failure, it waits no longer: it may have failed for the former one.
    Hasten,
}

/// Exit statuses that mean nothing, and are not logged, as long as another service has not had its turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TooEarly {
    /// The statuses.
    pub(crate) statuses: &'static [u8],
    /// The other service.
    pub(crate) before: Name,
}

/// What a service may say over its connection to `init`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rights {
    pub(crate) states: &'static [NodeState],
    pub(crate) degraded: &'static [DegradedReason],
    pub(crate) phases: &'static [Phase],
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
            ToInit::Desired { .. } => self.desired,
        }
    }
}

/// As many as the kernel allows (`fs.nr_open`): containers inherit the limit.
const MANY_FILES: u64 = 1 << 20;
const FEW_FILES: u64 = 4096;

/// The kubelet gives itself -999 and its containers more: what they depend on goes after them.
const LAST_TO_KILL: i16 = -999;

impl Name {
    /// The service's entry in [`SERVICES`].
    pub(crate) const fn service(self) -> &'static Service {
        match self {
            Self::State => &STATE,
            Self::Containerd => &CONTAINERD,
            Self::Images => &IMAGES,
            Self::Configure => &CONFIGURE,
            Self::Measure => &MEASURE,
            Self::TeeReport => &TEE_REPORT,
            Self::Netd => &NETD,
            Self::Metadata => &METADATA,
            Self::Staker => &STAKER,
            Self::K3s => &K3S,
            Self::Reset => &RESET,
        }
    }
}

const fn task(name: Name, again: Option<Duration>, quiet: bool) -> Service {
    Service {
        name,
        program: "/usr/bin/provision",
        arguments: Arguments::Fixed(&[]),
        environment: &[],
        cgroup: "",
        user: None,
        filtered: false,
        requires: &[],
        unconfigured: false,
        after: &[],
        kind: Kind::Task { again, quiet },
        automatic: true,
        start_limit: None,
        degrades: DegradedReason::Service,
        failures: 3,
        effects: Effects::NONE,
        configured: None,
        too_early: None,
        rights: None,
        talks_on_console: true,
        open_files: FEW_FILES,
        out_of_memory_score: LAST_TO_KILL,
    }
}

const fn daemon(name: Name, readiness: Readiness) -> Service {
    Service {
        kind: Kind::Daemon(readiness),
        ..task(name, None, false)
    }
}

static STATE: Service = Service {
    arguments: Arguments::Fixed(&["state"]),
    cgroup: "system/state",
    degrades: DegradedReason::StateDisk,
    failures: 1,
    // a file system check of a large disk takes its time
    start_limit: Some(Duration::from_secs(30 * 60)),
    effects: Effects {
        // the state disk is one more place for the configuration
        up: &[
            Effect::ReadStateEncryption,
            Effect::Reach(Phase::State),
            Effect::Hasten(Name::Configure),
        ],
        ..Effects::NONE
    },
    ..task(Name::State, None, true)
};

static CONTAINERD: Service = Service {
    program: "/usr/bin/containerd",
    cgroup: "system/containerd",
    requires: &[Name::State],
    start_limit: Some(Duration::from_secs(300)),
    effects: Effects {
        up: &[Effect::Reach(Phase::Containerd)],
        ..Effects::NONE
    },
    talks_on_console: false,
    open_files: MANY_FILES,
    ..daemon(Name::Containerd, Readiness::Socket(CONTAINERD_SOCKET))
};

static IMAGES: Service = Service {
    program: "/usr/bin/ctr",
    arguments: Arguments::Fixed(&[
        "--namespace",
        "k8s.io",
        "images",
        "import",
        "/usr/share/k3s-daas/pause.tar",
    ]),
    cgroup: "system/images",
    requires: &[Name::Containerd],
    start_limit: Some(Duration::from_secs(300)),
    effects: Effects {
        up: &[Effect::Reach(Phase::Images)],
        ..Effects::NONE
    },
    ..task(Name::Images, None, false)
};

static CONFIGURE: Service = Service {
    arguments: Arguments::Fixed(&["configure"]),
    cgroup: "system/configure",
    degrades: DegradedReason::Configuration,
    failures: 1,
    start_limit: Some(Duration::from_secs(60)),
    effects: Effects {
        up: &[Effect::ReadConfiguration],
        failed: &[
            (
                Some(exit::ASK_CLOUD),
                Effect::WantUnconfigured(Name::Metadata),
            ),
            // what the cloud has can change
            (None, Effect::Redo(Name::Metadata)),
        ],
        ..Effects::NONE
    },
    // the state disk is one of the places that are looked at
    too_early: Some(TooEarly {
        statuses: &[exit::NOT_FOUND, exit::ASK_CLOUD],
        before: Name::State,
    }),
    ..task(Name::Configure, Some(Duration::from_secs(5)), true)
};

static MEASURE: Service = Service {
    arguments: Arguments::Fixed(&["measure"]),
    cgroup: "system/measure",
    requires: &[Name::Configure],
    // a state disk that could not be opened in this phase opens in the next boot, if at all
    after: &[Name::State],
    failures: 1,
    // a TPM that is busy with something else
    start_limit: Some(Duration::from_secs(180)),
    ..task(Name::Measure, None, true)
};

/// As root, for as long as it takes to find the sources of reports: then it gives up every right that
/// these don't need, by itself.
static TEE_REPORT: Service = Service {
    program: "/usr/bin/tee-report",
    cgroup: "system/tee-report",
    start_limit: Some(Duration::from_secs(60)),
    open_files: 64,
    // it can be started again
    out_of_memory_score: 0,
    ..daemon(Name::TeeReport, Readiness::NotifyOrNothing)
};

static NETD: Service = Service {
    program: "/usr/bin/netd",
    cgroup: "system/netd",
    user: Some(User {
        id: users::NETD,
        capabilities: Capabilities::NONE
            .with(Capability::CAP_NET_ADMIN)
            // renewals of a lease come from port 68
            .with(Capability::CAP_NET_BIND_SERVICE)
            .with(Capability::CAP_NET_RAW)
            .with(Capability::CAP_SYS_TIME),
    }),
    filtered: true,
    requires: &[Name::Configure],
    unconfigured: true,
    configured: Some(Configured {
        by: Name::Configure,
        anew: Anew::Restart,
    }),
    rights: Some(Rights {
        states: &[],
        degraded: &[DegradedReason::Network, DegradedReason::Clock],
        phases: &[Phase::Network, Phase::Clock],
        desired: false,
    }),
    ..daemon(Name::Netd, Readiness::Notify)
};

static METADATA: Service = Service {
    program: "/usr/bin/metadata",
    cgroup: "system/metadata",
    user: Some(User {
        id: users::METADATA,
        capabilities: Capabilities::NONE,
    }),
    filtered: true,
    requires: &[Name::Netd],
    // only where there is no configuration, on a machine in a cloud
    automatic: false,
    degrades: DegradedReason::Configuration,
    failures: 1,
    start_limit: Some(Duration::from_secs(300)),
    effects: Effects {
        // what it has brought is one more place for the configuration
        up: &[Effect::Hasten(Name::Configure)],
        ..Effects::NONE
    },
    ..task(Name::Metadata, Some(Duration::from_secs(20)), true)
};

static STAKER: Service = Service {
    program: "/usr/bin/staker",
    cgroup: "system/staker",
    user: Some(User {
        id: users::STAKER,
        capabilities: Capabilities::NONE,
    }),
    filtered: true,
    // not before the phase in which the TPM's key signs
    requires: &[Name::Configure, Name::Measure, Name::Netd],
    // it asks for a report when it registers, and goes on without one
    after: &[Name::TeeReport],
    configured: Some(Configured {
        by: Name::Configure,
        anew: Anew::Hasten,
    }),
    rights: Some(Rights {
        states: &[
            NodeState::Unsealed,
            NodeState::Staked,
            NodeState::Registered,
            NodeState::Unbonding,
            NodeState::Slashed,
        ],
        degraded: &[
            DegradedReason::ChainUnreachable,
            DegradedReason::BalanceShort,
            DegradedReason::StakeBelowMinimum,
            DegradedReason::StakeWithdrawn,
            DegradedReason::ChainRefused,
            DegradedReason::MasterUnreachable,
            DegradedReason::MasterUntrusted,
            DegradedReason::RegistrationRefused,
            DegradedReason::Attestation,
            DegradedReason::Heartbeat,
        ],
        phases: &[
            Phase::Unsealed,
            Phase::Staked,
            Phase::Registered,
            Phase::Slashed,
        ],
        desired: true,
    }),
    ..daemon(Name::Staker, Readiness::Notify)
};

static K3S: Service = Service {
    program: "/usr/bin/k3s",
    arguments: Arguments::Agent,
    // No certificate of the web: where the cluster's chain of trust ended in one of those, an
    // older k3s would leave out the check of the token's hash of the cluster's own.
    environment: &[
        ("SSL_CERT_FILE", "/dev/null"),
        ("SSL_CERT_DIR", "/run/daas/no-certificates"),
    ],
    cgroup: "k3s",
    // no pod runs as long as anything can be unsealed
    requires: &[Name::State, Name::Measure, Name::Containerd, Name::Images],
    automatic: false,
    effects: Effects {
        started: &[Effect::Reach(Phase::AgentStarted)],
        up: &[Effect::AgentReady(true), Effect::Reach(Phase::Joined)],
        ended: &[Effect::AgentReady(false)],
        ..Effects::NONE
    },
    talks_on_console: false,
    open_files: MANY_FILES,
    ..daemon(Name::K3s, Readiness::Notify)
};

/// It says that it is ready when it is through: a thread of it that hangs in the kernel keeps its process.
static RESET: Service = Service {
    arguments: Arguments::Fixed(&["reset"]),
    cgroup: "system/reset",
    effects: Effects {
        up: &[Effect::PowerOff(Reason::Reset)],
        failed: &[(None, Effect::PowerOff(Reason::Reset))],
        ..Effects::NONE
    },
    ..daemon(Name::Reset, Readiness::Notify)
};

/// The agent, which the staker has started and stopped.
pub(crate) const AGENT: Name = Name::K3s;
/// The task that looks again when a disk has come.
pub(crate) const LOOKS_ON_DISKS: Name = Name::Configure;

/// What runs instead of [`SERVICES`] where the command line asks for a reset.
pub(crate) static RESET_SERVICES: &[&Service] = &[&RESET];

/// Every service of a node.
pub(crate) static SERVICES: &[&Service] = &[
    &STATE,
    &CONTAINERD,
    &IMAGES,
    &CONFIGURE,
    &MEASURE,
    &TEE_REPORT,
    &NETD,
    &METADATA,
    &STAKER,
    &K3S,
];

#[cfg(test)]
mod tests;
