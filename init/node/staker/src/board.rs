//! Where the node stands: told to `init` when it changes, and shown by the status page.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use chain::{Address, Stake, Verdict};
use serde::Serialize;
use tokio::sync::watch;
use tracing::{error, info, warn};
use wire::NodeName;
use wire::child::{AgentDesire, Desired, PowerDesire, ToInit};
use wire::paths;
use wire::status::{AgentState, DegradedReason, NodeState, NodeStatus, Phase, Probed};

use crate::explain;
use crate::seams::Init;
use crate::tee::TeeOutcome;

/// The longest detail that is sent on, in characters: an answer from outside can be in it.
const LONGEST_DETAIL: usize = 512;
/// The longest public key, in hexadecimal digits; those of P-256 have some 250.
const LONGEST_KEY: u64 = 4096;

/// The reasons that the staker gives; all others are somebody else's to give and to take back.
const OURS: &[DegradedReason] = &[
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
];

/// What `GET /health` answers.
#[derive(Debug, Clone, Serialize)]
pub struct Health {
    /// The version of this build.
    pub version: &'static str,
    /// The node's name.
    pub node_id: NodeName,
    /// Whether `init` is there; without it nothing can be started or powered off.
    pub init_connected: bool,
    /// The node's status, as `init` last sent it.
    #[serde(flatten)]
    pub node: NodeStatus,
    /// The account that stakes, and that is to be funded.
    pub address: Option<String>,
    /// The public parts of the TPM's keys, as hexadecimal digits of `TPM2B_PUBLIC`: with them a
    /// configuration is sealed for this machine elsewhere. None without a measured boot.
    pub tpm: Option<TpmReport>,
    /// The stake, as last read from the chain.
    pub stake: Option<StakeReport>,
    /// Who has to confirm that the stake is gone before the node powers off.
    pub second_opinion: &'static str,
    /// By what the node knows the master.
    pub master_known_by: &'static str,
    /// What the node last showed of what it runs.
    pub evidence: &'static str,
    /// The report of a trusted execution environment in it, or why there is none.
    pub tee_report: String,
    /// The reports to the master.
    pub heartbeat: HeartbeatReport,
}

/// The public parts of the TPM's keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TpmReport {
    /// The storage root key's, for `seal --for`.
    pub storage_root_key: String,
    /// The endorsement key's, which the manufacturer's certificate names.
    pub endorsement_key: String,
}

impl TpmReport {
    /// As `provision` has laid them out in `directory`; none: it has not.
    #[must_use]
    pub fn read(directory: &Path) -> Option<Self> {
        let key = |name: &str| -> Option<String> {
            let mut text = String::new();
            let file = File::open(directory.join(name)).ok()?;
            file.take(LONGEST_KEY).read_to_string(&mut text).ok()?;
            Some(text.trim().to_owned())
        };
        Some(Self {
            storage_root_key: key(paths::name(paths::STORAGE_ROOT_KEY))?,
            endorsement_key: key(paths::name(paths::ENDORSEMENT_KEY))?,
        })
    }
}

/// The stake, as last read from the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StakeReport {
    /// The record's object id.
    pub record: String,
    /// The seal token's object id, where there is one.
    pub seal_token: Option<String>,
    /// From when on it counts no more: milliseconds since 1970-01-01 UTC.
    pub seal_token_expires_ms: Option<u64>,
    /// The account that staked.
    pub staker: String,
    /// The address to which alone its coins are paid.
    pub beneficiary: String,
    /// What is left of the stake, in MIST.
    pub amount_mist: u64,
    /// Least that the pool takes for a whole stake, in MIST.
    pub minimum_mist: u64,
    /// What was taken of it in all, in MIST.
    pub slashed_mist: u64,
    /// What it is worth.
    pub verdict: Verdict,
}

/// The reports to the master.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct HeartbeatReport {
    /// When the last one was acknowledged: seconds since 1970-01-01 UTC.
    pub last_acknowledged: Option<u64>,
    /// How many have been acknowledged since the staker started.
    pub acknowledged: u64,
    /// How many have failed since the last one that did not.
    pub failures_in_a_row: u32,
}

/// How far `init` is with what is desired: see [`NodeStatus`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Echo {
    pub(crate) desired: u64,
    pub(crate) agent: AgentState,
    pub(crate) agent_run: u64,
}

/// Where the node stands.
#[derive(Debug)]
pub struct Board<I> {
    init: I,
    /// What this program has given as a reason, and not yet taken back.
    ours: RefCell<BTreeMap<DegradedReason, String>>,
    health: watch::Sender<Arc<Health>>,
}

impl<I: Init> Board<I> {
    /// A board for a node that has reached nothing yet.
    pub fn new(init: I, node_id: NodeName) -> Self {
        let health = Health {
            version: env!("CARGO_PKG_VERSION"),
            node_id,
            init_connected: init.present(),
            node: NodeStatus::default(),
            address: None,
            tpm: None,
            stake: None,
            second_opinion: "",
            master_known_by: "nothing yet",
            evidence: "none yet",
            tee_report: "none yet".to_owned(),
            heartbeat: HeartbeatReport::default(),
        };
        Self {
            init,
            ours: RefCell::default(),
            health: watch::Sender::new(Arc::new(health)),
        }
    }

    /// Shows who the node is: its account, and its TPM.
    pub fn show_identity(&self, address: &Address, tpm: Option<TpmReport>) {
        self.health.send_modify(|health| {
            let health = Arc::make_mut(health);
            health.address = Some(address.to_string());
            health.tpm = tpm;
        });
    }

    /// The connection to `init`.
    pub fn init(&self) -> &I {
        &self.init
    }

    /// What the status page shows, now and after every change.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Health>> {
        self.health.subscribe()
    }

    /// Takes the status over that `init` sent. Reasons that a former run of this program gave are
    /// taken for ours, so that they are taken back when they no longer hold.
    pub fn take_status(&self, status: NodeStatus, adopt: bool) {
        if adopt {
            let mut ours = self.ours.borrow_mut();
            for (reason, detail) in &status.degraded {
                if OURS.contains(reason) {
                    ours.entry(*reason).or_insert_with(|| detail.clone());
                }
            }
        }
        self.change(|health| health.node = status);
    }

    /// The node has reached a state. States only go forward: a staker that was started anew on a
    /// node that has joined does not take it back to the beginning.
    pub async fn reach(&self, state: NodeState, phase: Phase) {
        self.tell(ToInit::Reached { phase }).await;
        self.advance(state).await;
    }

    /// The node has reached a state that has no point on the timeline of its own.
    pub async fn advance(&self, state: NodeState) {
        if state <= self.health.borrow().node.state {
            return;
        }
        info!(%state, "reached");
        self.change(|health| health.node.state = state);
        self.tell(ToInit::State { state }).await;
    }

    /// Something is wrong, and is being tried again.
    pub async fn degrade(&self, reason: DegradedReason, detail: &str) {
        let detail: String = detail.chars().take(LONGEST_DETAIL).collect();
        let before = self.ours.borrow_mut().insert(reason, detail.clone());
        if before.as_ref() == Some(&detail) {
            return;
        }
        if !self.init.present() {
            // with init there, it is init that writes the line
            warn!(%reason, detail, "degraded");
        }
        self.change(|health| {
            health.node.degraded.insert(reason, detail.clone());
        });
        self.tell(ToInit::Degraded { reason, detail }).await;
    }

    /// What was wrong, if it was, is well again.
    pub async fn recover(&self, reason: DegradedReason) {
        if self.ours.borrow_mut().remove(&reason).is_none() {
            return;
        }
        if !self.init.present() {
            info!(%reason, "recovered");
        }
        self.change(|health| {
            health.node.degraded.remove(&reason);
        });
        self.tell(ToInit::Recovered { reason }).await;
    }

    /// Shows the stake.
    pub fn show_stake(&self, stake: &Stake) {
        let report = StakeReport {
            record: stake.record.to_string(),
            seal_token: stake.seal_token.map(|token| token.id.to_string()),
            staker: stake.staker.to_string(),
            beneficiary: stake.beneficiary.to_string(),
            seal_token_expires_ms: stake.seal_token.map(|token| token.expires_at_ms),
            amount_mist: stake.amount.0,
            minimum_mist: stake.minimum.0,
            slashed_mist: stake.slashed.0,
            verdict: stake.verdict,
        };
        self.change(|health| health.stake = Some(report));
    }

    /// Shows whether the chain knows the master's key, or its certificate alone vouches for it.
    pub fn show_master_proof(&self, on_chain: bool) {
        self.change(|health| {
            health.master_known_by = if on_chain {
                "its key, which the chain's directory lists, and its root certificate"
            } else {
                "its root certificate alone: the configuration names no master.directory"
            };
        });
    }

    /// Shows whether the TPM gave evidence, and what report of a trusted execution environment is in
    /// it.
    pub fn show_evidence(&self, report: Option<&TeeOutcome>) {
        match report {
            Some(TeeOutcome::Failed(why)) => warn!(
                why,
                "the node registers without a report of a trusted execution environment"
            ),
            Some(report) => info!(%report, "trusted execution environment"),
            None => {}
        }
        self.change(|health| {
            (health.evidence, health.tee_report) = match report {
                Some(report) => {
                    let report: String = report.to_string().chars().take(LONGEST_DETAIL).collect();
                    ("a quote of the TPM", report)
                }
                None => (
                    "none: the machine has no TPM 2.0",
                    "none: it goes with the evidence of a TPM".to_owned(),
                ),
            };
        });
    }

    /// Shows a heartbeat's outcome: when it was acknowledged, or that it failed.
    pub fn show_heartbeat(&self, acknowledged: Option<u64>) {
        self.change(|health| {
            let heartbeat = &mut health.heartbeat;
            match acknowledged {
                Some(time) => {
                    heartbeat.last_acknowledged = Some(time);
                    heartbeat.acknowledged += 1;
                    heartbeat.failures_in_a_row = 0;
                }
                None => {
                    heartbeat.failures_in_a_row = heartbeat.failures_in_a_row.saturating_add(1);
                }
            }
        });
    }

    /// Sends what is desired to `init`.
    pub(crate) async fn desire(&self, desired: &Desired) {
        match (&desired.power, &desired.agent) {
            (PowerDesire::Off { reason, detail }, _) if !self.init.present() => {
                let reason = reason.name();
                error!(reason, detail, "no init: the node is not powered off");
            }
            (PowerDesire::On, AgentDesire::Stop { reason }) => {
                warn!(reason, "asking to stop the agent");
            }
            _ => {}
        }
        let desired = desired.clone();
        self.tell(ToInit::Desired { desired }).await;
    }

    /// What the kubelet answers to whoever asks it whether it works, as `init` last said; none: it is not up.
    pub(crate) fn kubelet(&self) -> Option<String> {
        let health = self.health.borrow();
        health.node.probes.get(&Probed::Kubelet).cloned()
    }

    /// What `init` last said that it has carried out.
    pub(crate) fn echo(&self) -> Echo {
        let node = &self.health.borrow().node;
        Echo {
            desired: node.desired,
            agent: node.agent,
            agent_run: node.agent_run,
        }
    }

    /// Shows how the end of the stake is confirmed, which depends on how many fullnodes are
    /// configured.
    pub fn show_fullnodes(&self, configured: usize) {
        self.change(|health| {
            health.second_opinion = if configured > 1 {
                "another fullnode"
            } else {
                "the same fullnode at a later checkpoint"
            };
        });
    }

    async fn tell(&self, message: ToInit) {
        if let Err(failure) = self.init.send(&message).await {
            error!(detail = explain(&failure), "init could not be told");
        }
    }

    fn change(&self, change: impl FnOnce(&mut Health)) {
        self.health
            .send_modify(|health| change(Arc::make_mut(health)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doubles::Recorder;

    #[tokio::test]
    async fn what_does_not_change_is_not_told_again() {
        let board = Board::new(Recorder::default(), "edge-0001".parse().unwrap());
        let reason = DegradedReason::ChainUnreachable;
        board.degrade(reason, "no answer").await;
        board.degrade(reason, "no answer").await;
        board.degrade(reason, "refused").await;
        board.recover(reason).await;
        board.recover(reason).await;
        let told = board.init().messages();
        assert_eq!(told.len(), 3, "{told:?}");
        assert_eq!(told[2], ToInit::Recovered { reason });
    }

    #[tokio::test]
    async fn states_go_forward_and_old_reasons_are_taken_back() {
        let board = Board::new(Recorder::default(), "edge-0001".parse().unwrap());
        let mut status = NodeStatus {
            state: NodeState::Joined,
            ..NodeStatus::default()
        };
        for reason in [DegradedReason::Heartbeat, DegradedReason::Clock] {
            status.degraded.insert(reason, "of a former run".to_owned());
        }
        board.take_status(status, true);
        board.reach(NodeState::Staked, Phase::Staked).await;
        board.recover(DegradedReason::Heartbeat).await;
        board.recover(DegradedReason::Clock).await;
        let told = board.init().messages();
        assert_eq!(
            told,
            [
                ToInit::Reached {
                    phase: Phase::Staked
                },
                ToInit::Recovered {
                    reason: DegradedReason::Heartbeat
                }
            ]
        );
        let shown = board.subscribe().borrow().clone();
        assert_eq!(shown.node.state, NodeState::Joined);
        assert!(shown.node.degraded.contains_key(&DegradedReason::Clock));
    }

    #[tokio::test]
    async fn health_is_flat() {
        let board = Board::new(Recorder::default(), "edge-0001".parse().unwrap());
        let json = serde_json::to_value(&**board.subscribe().borrow()).unwrap();
        assert_eq!(json["state"], "booting");
        assert_eq!(json["seal"], "unknown");
        assert_eq!(json["stake"], serde_json::Value::Null);
    }

    #[tokio::test]
    async fn the_tpms_public_keys_are_shown_where_there_are_any() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(TpmReport::read(folder.path()), None);
        for (name, text) in [("srk.pub", "0058\n"), ("ek.pub", "007a\n")] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let board = Board::new(Recorder::default(), "edge-0001".parse().unwrap());
        let address = chain::NodeKey::generate().unwrap().address();
        board.show_identity(&address, TpmReport::read(folder.path()));
        let json = serde_json::to_value(&**board.subscribe().borrow()).unwrap();
        assert_eq!(json["address"], address.to_string());
        assert_eq!(json["tpm"]["storage_root_key"], "0058");
        assert_eq!(json["tpm"]["endorsement_key"], "007a");
    }

    #[tokio::test]
    async fn long_details_are_cut() {
        let board = Board::new(Recorder::default(), "edge-0001".parse().unwrap());
        let detail = "ü".repeat(100_000);
        board.degrade(DegradedReason::Heartbeat, &detail).await;
        let shown = board.subscribe().borrow().clone();
        let shown = &shown.node.degraded[&DegradedReason::Heartbeat];
        assert_eq!(shown.chars().count(), LONGEST_DETAIL);
    }
}
