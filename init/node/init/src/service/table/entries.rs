//! The entries of the table: each service of a node.

use std::time::Duration;

use sys::capability::{Capabilities, Capability};
use sys::process::User;
use wire::paths::CONTAINERD_SOCKET;
use wire::status::{DegradedReason, NodeState, Phase, Probed};
use wire::{exit, users};

use super::{
    Arguments, Configured, Effect, Effects, IgnoredUntil, Kind, Name, OnChange, Readiness, Rights,
    Service, Settled,
};
use crate::power::Reason;

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
            Self::Configure => &CONFIGURE,
            Self::Measure => &MEASURE,
            Self::TeeReport => &TEE_REPORT,
            Self::TpmBroker => &TPM_BROKER,
            Self::Netd => &NETD,
            Self::Metadata => &METADATA,
            Self::Staker => &STAKER,
            Self::K3s => &K3S,
            Self::Probe => &PROBE,
            Self::LastEnd => &LAST_END,
            Self::Reset => &RESET,
        }
    }
}

/// The node's own daemons: longer than a write that a slow disk holds up. They send four keepalives in it.
const WATCHDOG: Duration = Duration::from_secs(60);

const fn task(name: Name, again: Option<Duration>, quiet: bool) -> Service {
    Service {
        name,
        program: "/usr/bin/provision",
        arguments: Arguments::Fixed(&[]),
        environment: &[],
        cgroup: "",
        starting_weight: None,
        user: None,
        filtered: false,
        requires: &[],
        unconfigured: false,
        after: &[],
        settled: Settled {
            failures: 3,
            status: None,
        },
        kind: Kind::Task { again, quiet },
        automatic: true,
        start_limit: None,
        watchdog: None,
        probed: None,
        degrades: DegradedReason::Service,
        failures: 3,
        effects: Effects::NONE,
        configured: None,
        ignored_until: None,
        uninterruptible: false,
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
    // The boot phase, in which alone it opens, ends once it is settled. With the waits between them, eight failures
    // take a minute: a TPM that is busy, or locked for a moment, is neither by then.
    settled: Settled {
        failures: 8,
        status: Some(exit::STATE_FAILED),
    },
    // a file system check of a large disk takes its time
    start_limit: Some(Duration::from_secs(30 * 60)),
    effects: Effects {
        // the state disk is one more place for the configuration
        up: &[
            Effect::ReadStateEncryption,
            Effect::Reach(Phase::State),
            Effect::Hasten(Name::Configure),
        ],
        // not half alive, without a state until somebody looks
        failed: &[(Some(exit::PHASE_OVER), Effect::Stop(Reason::BootPhaseOver))],
        ..Effects::NONE
    },
    ..task(Name::State, None, true)
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
                Effect::StartWithoutConfiguration(Name::Metadata),
            ),
            // what the cloud has can change
            (None, Effect::Redo(Name::Metadata)),
        ],
        ..Effects::NONE
    },
    // the state disk is one of the places that are looked at
    ignored_until: Some(IgnoredUntil {
        statuses: &[exit::NOT_FOUND, exit::ASK_CLOUD],
        finished: Name::State,
    }),
    ..task(Name::Configure, Some(Duration::from_secs(5)), true)
};

static MEASURE: Service = Service {
    arguments: Arguments::Fixed(&["measure"]),
    cgroup: "system/measure",
    requires: &[Name::Configure],
    // a state that could not be opened in this phase opens in the next boot, if at all
    after: &[Name::State],
    failures: 1,
    // a TPM that is busy with something else
    start_limit: Some(Duration::from_secs(180)),
    ..task(Name::Measure, None, true)
};

static CONTAINERD: Service = Service {
    program: "/usr/bin/containerd",
    cgroup: "system/containerd",
    // the boot waits for it longer than for the staker beside it
    starting_weight: Some(1000),
    // it believes what the state holds, and nothing does as long as anything can be unsealed
    requires: &[Name::State, Name::Measure],
    start_limit: Some(Duration::from_secs(300)),
    effects: Effects {
        up: &[
            Effect::Reach(Phase::Containerd),
            Effect::ShareProcessors(Name::Containerd),
        ],
        ..Effects::NONE
    },
    probed: Some(Probed::Containerd),
    talks_on_console: false,
    open_files: MANY_FILES,
    ..daemon(Name::Containerd, Readiness::Socket(CONTAINERD_SOCKET))
};

/// As root, for as long as it takes to find the sources of reports: then it gives up every right that
/// these don't need, by itself.
static TEE_REPORT: Service = Service {
    program: "/usr/bin/tee-report",
    cgroup: "system/tee-report",
    start_limit: Some(Duration::from_secs(60)),
    // a report alone may take 35 s
    watchdog: Some(Duration::from_secs(120)),
    open_files: 64,
    // it can be started again
    out_of_memory_score: 0,
    ..daemon(Name::TeeReport, Readiness::NotifyOrNothing)
};

static TPM_BROKER: Service = Service {
    program: "/usr/bin/tpm-broker",
    cgroup: "system/tpm-broker",
    user: Some(User {
        id: users::TPM_BROKER,
        capabilities: Capabilities::NONE,
    }),
    filtered: true,
    // which hands it the device: nothing of the TPM is anybody's but root's in the boot phase
    requires: &[Name::Measure],
    start_limit: Some(Duration::from_secs(60)),
    watchdog: Some(WATCHDOG),
    open_files: 64,
    // it can be started again
    out_of_memory_score: 0,
    ..daemon(Name::TpmBroker, Readiness::NotifyOrNothing)
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
        on_change: OnChange::Restart,
    }),
    rights: Some(Rights {
        states: &[],
        degraded: &[DegradedReason::Network, DegradedReason::Clock],
        phases: &[Phase::Network, Phase::Clock],
        probes: false,
        desired: false,
    }),
    watchdog: Some(WATCHDOG),
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
    // it asks for a report when it registers, and goes on without one; and for the TPM, again and again
    after: &[Name::TeeReport, Name::TpmBroker],
    configured: Some(Configured {
        by: Name::Configure,
        on_change: OnChange::Hasten,
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
            DegradedReason::Journal,
            DegradedReason::StakeBelowMinimum,
            DegradedReason::StakeWithdrawn,
            DegradedReason::ChainRefused,
            DegradedReason::MasterUnreachable,
            DegradedReason::MasterUntrusted,
            DegradedReason::RegistrationRefused,
            DegradedReason::Attestation,
            DegradedReason::Heartbeat,
            DegradedReason::ClusterUnreachable,
        ],
        phases: &[
            Phase::Unsealed,
            Phase::Staked,
            Phase::Registered,
            Phase::Slashed,
        ],
        probes: false,
        desired: true,
    }),
    watchdog: Some(WATCHDOG),
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
    requires: &[Name::State, Name::Measure, Name::Containerd],
    automatic: false,
    effects: Effects {
        started: &[
            Effect::Reach(Phase::AgentStarted),
            Effect::PoliciesEnforced(false),
        ],
        up: &[
            Effect::AgentReady(true),
            Effect::PoliciesEnforced(true),
            Effect::Reach(Phase::Joined),
        ],
        ended: &[Effect::AgentReady(false), Effect::PoliciesEnforced(false)],
        ..Effects::NONE
    },
    probed: Some(Probed::Kubelet),
    talks_on_console: false,
    open_files: MANY_FILES,
    ..daemon(Name::K3s, Readiness::Notify)
};

static PROBE: Service = Service {
    program: "/usr/bin/probe",
    cgroup: "system/probe",
    user: Some(User {
        id: users::PROBE,
        capabilities: Capabilities::NONE,
    }),
    filtered: true,
    // there is nothing to ask before
    requires: &[Name::Containerd],
    start_limit: Some(Duration::from_secs(60)),
    watchdog: Some(WATCHDOG),
    rights: Some(Rights {
        states: &[],
        degraded: &[],
        phases: &[],
        probes: true,
        desired: false,
    }),
    open_files: 64,
    // it can be started again
    out_of_memory_score: 0,
    ..daemon(Name::Probe, Readiness::Notify)
};

static LAST_END: Service = Service {
    arguments: Arguments::Fixed(&["last-end"]),
    cgroup: "system/last-end",
    // it reads the firmware's variables, which is slow: not before the boot is over
    requires: &[Name::State, Name::Containerd],
    start_limit: Some(Duration::from_secs(60)),
    ..task(Name::LastEnd, None, true)
};

/// It says that it is ready when it is through: a thread of it that hangs in the kernel keeps its process.
static RESET: Service = Service {
    arguments: Arguments::Fixed(&["reset"]),
    cgroup: "system/reset",
    // longer than its question of 60 s, the task's own bound of 300 s, and its screen
    start_limit: Some(Duration::from_secs(460)),
    effects: Effects {
        up: &[Effect::Stop(Reason::Reset)],
        failed: &[(None, Effect::FailReset)],
        overdue: &[Effect::FailReset],
        ..Effects::NONE
    },
    uninterruptible: true,
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
    &CONFIGURE,
    &MEASURE,
    &CONTAINERD,
    &TEE_REPORT,
    &TPM_BROKER,
    &NETD,
    &METADATA,
    &STAKER,
    &K3S,
    &PROBE,
    &LAST_END,
];
