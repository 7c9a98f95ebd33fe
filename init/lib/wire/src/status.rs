//! The life of a node, in one place.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A text that is no value's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no name of a value")]
pub struct UnknownName;

/// Makes an enum whose variants have one name each, used in logs, JSON and `Display` alike.
macro_rules! named {
    ($(#[$outer:meta])* $name:ident { $($(#[$inner:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$inner])* #[serde(rename = $text)] $variant,)+ }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The one name of this value.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownName;

            fn from_str(text: &str) -> Result<Self, UnknownName> {
                let mut all = Self::ALL.iter().copied();
                all.find(|value| value.name() == text).ok_or(UnknownName)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(self.name())
            }
        }
    };
}

named! {
    /// Where the node stands in its life.
    NodeState {
        /// PID 1 runs; the configuration is not yet read.
        Booting = "booting",
        /// The configuration is in the hands of the staker.
        Unsealed = "unsealed",
        /// The node's stake is on chain and active.
        Staked = "staked",
        /// The master has accepted the node and handed out a join token.
        Registered = "registered",
        /// `k3s agent` says that the node is part of the cluster.
        Joined = "joined",
        /// The stake is being withdrawn: the node stops working and powers off.
        Unbonding = "unbonding",
        /// The stake was slashed: the node powers off, and stays off.
        Slashed = "slashed",
        /// The last thing that a node says of itself.
        Off = "off",
    }
}

named! {
    /// What keeps a node from being whole. Several can hold at once, beside any [`NodeState`].
    DegradedReason {
        /// No configuration, or one that can't be used.
        Configuration = "configuration",
        /// The state disk can't be used.
        StateDisk = "state-disk",
        /// No link, no address or no route.
        Network = "network",
        /// The clock could not be set from a time server.
        Clock = "clock",
        /// No fullnode answers.
        ChainUnreachable = "chain-unreachable",
        /// The node's address holds too little to stake.
        BalanceShort = "balance-short",
        /// A transaction can't be kept on disk before it is sent, so none is sent.
        Journal = "journal",
        /// The stake is below the pool's minimum.
        StakeBelowMinimum = "stake-below-minimum",
        /// The stake was withdrawn before this boot, and its owner has to say whether it is made anew; or the
        /// node leaves.
        StakeWithdrawn = "stake-withdrawn",
        /// The chain refused what the node asked for, or answered what can't be.
        ChainRefused = "chain-refused",
        /// The master does not answer.
        MasterUnreachable = "master-unreachable",
        /// The master refuses this node.
        RegistrationRefused = "registration-refused",
        /// The master does not prove that its key is one that the chain knows: it gets nothing.
        MasterUntrusted = "master-untrusted",
        /// The node's TPM does not prove what the node runs.
        Attestation = "attestation",
        /// Heartbeats fail.
        Heartbeat = "heartbeat",
        /// The cluster's k3s server does not answer.
        ClusterUnreachable = "cluster-unreachable",
        /// The agent runs, and does not enforce network policies yet.
        PoliciesUnenforced = "policies-unenforced",
        /// A service stops again and again.
        Service = "service",
        /// `k3s agent` was stopped on request, or could not be started as requested.
        Agent = "agent",
    }
}

named! {
    /// What became of `k3s agent`, as the staker desires it
    /// ([`AgentDesire`](crate::child::AgentDesire)).
    AgentState {
        /// Nothing is desired of it yet.
        Unasked = "unasked",
        /// It is to run: it does, or will as soon as what it requires is up.
        Wanted = "wanted",
        /// It is stopped, or is being stopped, with every pod.
        Stopped = "stopped",
        /// It is to run in a way that could not be carried out; what it was before goes on.
        Refused = "refused",
    }
}

named! {
    /// A point in the boot that the timeline records.
    Phase {
        /// The first instruction of `init` in the initramfs.
        Init = "init",
        /// The root partition was found.
        RootDevice = "root-device",
        /// dm-verity is open.
        Verity = "verity",
        /// `init` runs again, from the root.
        SwitchRoot = "switch-root",
        /// File systems, cgroups and sysctls are in place.
        Mounts = "mounts",
        /// The state file system is mounted on `/var`.
        State = "state",
        /// A configuration was found and is valid.
        Configured = "configured",
        /// An address and a route.
        Network = "network",
        /// The clock is set, or the wait for it is over.
        Clock = "clock",
        /// containerd answers.
        Containerd = "containerd",
        /// All that `k3s agent` requires is up: from here on it waits for the master's answer alone.
        AgentMayStart = "agent-may-start",
        /// The staker holds the configuration.
        Unsealed = "unsealed",
        /// The stake is on chain and active.
        Staked = "staked",
        /// The master has accepted the node.
        Registered = "registered",
        /// `k3s agent` was started.
        AgentStarted = "agent-started",
        /// `k3s agent` is ready.
        Joined = "joined",
        /// A slash was seen.
        Slashed = "slashed",
        /// Every service is stopped and every file system unmounted.
        Stopped = "stopped",
    }
}

named! {
    /// How secrets are kept on disk: the configuration's, or the state's.
    Protection {
        /// It is not known yet.
        Unknown = "unknown",
        /// Sealed by this machine's TPM.
        Tpm = "tpm",
        /// As plaintext: anybody who reads the disk reads them.
        None = "none",
    }
}

named! {
    /// What the program `probe` asks whether it works, as PID 1 speaks neither HTTP nor gRPC.
    Probed {
        /// containerd, by its CRI.
        Containerd = "containerd",
        /// The kubelet, by its `/healthz`.
        Kubelet = "kubelet",
    }
}

/// What stands in [`NodeStatus::probes`] of what works.
pub const WELL: &str = "ok";

/// One entry of the timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimelineEntry {
    /// What was reached.
    pub phase: Phase,
    /// When: milliseconds of `CLOCK_BOOTTIME` (clock_gettime(2)), which starts with the kernel.
    pub milliseconds: u64,
}

/// What the node says of itself. `init` owns it; everybody else shows what `init` sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeStatus {
    /// Where the node stands.
    pub state: NodeState,
    /// What keeps it from being whole, each with one sentence for a person.
    pub degraded: BTreeMap<DegradedReason, String>,
    /// How the configuration's secrets are kept.
    pub seal: Protection,
    /// Where the configuration still stands in the plain though it is sealed, and what to do about it.
    pub plain_copy: Option<String>,
    /// How the state disk is encrypted.
    pub state_encryption: Protection,
    /// What became of `k3s agent`, beside what stands of its process in `services`.
    pub agent: AgentState,
    /// The largest number of a run of the agent that was desired
    /// ([`AgentDesire::Run`](crate::child::AgentDesire::Run)).
    pub agent_run: u64,
    /// The number of the desired state that was carried out last
    /// ([`Desired`](crate::child::Desired)); 0: none.
    pub desired: u64,
    /// The services that `init` runs, each with its state's name.
    pub services: BTreeMap<String, String>,
    /// What containerd and the kubelet answer while they are up: [`WELL`], or what is wrong.
    pub probes: BTreeMap<Probed, String>,
    /// What was reached when, in the order in which it was reached. A phase stands here once.
    pub timeline: Vec<TimelineEntry>,
}

impl Default for NodeStatus {
    fn default() -> Self {
        Self {
            state: NodeState::Booting,
            degraded: BTreeMap::new(),
            seal: Protection::Unknown,
            plain_copy: None,
            state_encryption: Protection::Unknown,
            agent: AgentState::Unasked,
            agent_run: 0,
            desired: 0,
            services: BTreeMap::new(),
            probes: BTreeMap::new(),
            timeline: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_in_json_and_display() {
        for state in NodeState::ALL {
            let json = serde_json::to_string(state).expect("a name");
            assert_eq!(json, format!("\"{state}\""));
        }
        assert_eq!("tpm".parse(), Ok(Protection::Tpm));
        assert_eq!("TPM".parse::<Protection>(), Err(UnknownName));
        for phase in Phase::ALL {
            let json = serde_json::to_string(phase).expect("a name");
            assert_eq!(
                serde_json::from_str::<Phase>(&json).expect("the same"),
                *phase
            );
        }
    }

    #[test]
    fn degraded_reasons_are_json_keys() {
        let mut status = NodeStatus::default();
        status
            .degraded
            .insert(DegradedReason::Clock, "no time server answers".to_owned());
        let json = serde_json::to_string(&status).expect("a status");
        assert!(
            json.contains(r#""degraded":{"clock":"no time server answers"}"#),
            "{json}"
        );
        assert_eq!(
            serde_json::from_str::<NodeStatus>(&json).expect("the same"),
            status
        );
    }
}
