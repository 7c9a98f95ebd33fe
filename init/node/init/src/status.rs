//! What the node says of itself: kept here, logged at each change, sent to those who show it.

use std::collections::BTreeMap;

use tracing::{info, warn};
use wire::status::{
    AgentState, DegradedReason, NodeState, NodeStatus, Phase, Probed, Protection, TimelineEntry,
};

/// The longest detail of a degraded reason, in bytes: the status must fit into a datagram.
const MAXIMUM_DETAIL: usize = 1024;

/// The node's status and where its state comes from.
#[derive(Debug, Default)]
pub(crate) struct StatusBoard {
    status: NodeStatus,
    /// As the staker said last.
    reported: Option<NodeState>,
    agent_ready: bool,
    changed: bool,
}

impl StatusBoard {
    /// A board with the timeline so far.
    pub(crate) fn new(timeline: Vec<TimelineEntry>) -> Self {
        let mut board = Self {
            changed: true,
            ..Self::default()
        };
        for entry in timeline {
            board.reached(entry);
        }
        board
    }

    /// The status.
    pub(crate) const fn status(&self) -> &NodeStatus {
        &self.status
    }

    /// Whether it has changed since this was asked last.
    pub(crate) fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// The staker says where the node stands.
    pub(crate) fn report(&mut self, state: NodeState) {
        // A slash is for ever, and a stake that is withdrawn can only be slashed.
        match (self.reported, state) {
            (Some(NodeState::Slashed), _) => return,
            (Some(NodeState::Unbonding), state) if state != NodeState::Slashed => return,
            _ => {}
        }
        self.reported = Some(state);
        self.settle();
    }

    /// `k3s agent` is ready, or no longer so.
    pub(crate) fn set_agent_ready(&mut self, ready: bool) {
        self.agent_ready = ready;
        self.settle();
    }

    /// How the configuration's secrets are kept.
    pub(crate) fn set_seal(&mut self, seal: Protection) {
        if self.status.seal != seal {
            self.status.seal = seal;
            self.changed = true;
            info!(%seal);
        }
    }

    /// Where the configuration still stands in the plain though it is sealed, and what to do.
    pub(crate) fn set_plain_copy(&mut self, plain_copy: Option<String>) {
        let plain_copy = plain_copy.map(|text| log::visible(&text));
        if self.status.plain_copy != plain_copy {
            self.status.plain_copy = plain_copy;
            self.changed = true;
            if let Some(plain_copy) = &self.status.plain_copy {
                warn!(plain_copy);
            }
        }
    }

    /// How the state disk is encrypted.
    pub(crate) fn set_state_encryption(&mut self, state_encryption: Protection) {
        if self.status.state_encryption != state_encryption {
            self.status.state_encryption = state_encryption;
            self.changed = true;
            info!(%state_encryption);
        }
    }

    /// What became of `k3s agent`, and the largest number of a run of it.
    pub(crate) fn set_agent(&mut self, agent: AgentState, run: u64) {
        if (self.status.agent, self.status.agent_run) != (agent, run) {
            (self.status.agent, self.status.agent_run) = (agent, run);
            self.changed = true;
        }
    }

    /// The desired state of this number is carried out.
    pub(crate) fn set_desired(&mut self, number: u64) {
        if self.status.desired != number {
            self.status.desired = number;
            self.changed = true;
        }
    }

    /// The last thing that the node says.
    pub(crate) fn off(&mut self) {
        self.enter(NodeState::Off);
    }

    /// The agent's word counts beside the staker's: a staker that starts again has to find its
    /// stake again, and meanwhile the node is no less a part of the cluster.
    fn settle(&mut self) {
        let reported = self.reported.unwrap_or(NodeState::Booting);
        let state = match reported {
            NodeState::Slashed | NodeState::Unbonding => reported,
            _ if self.agent_ready => NodeState::Joined,
            _ => reported,
        };
        self.enter(state);
    }

    fn enter(&mut self, state: NodeState) {
        if self.status.state == NodeState::Off || self.status.state == state {
            return;
        }
        self.status.state = state;
        self.changed = true;
        info!(state = %state);
    }

    /// Something is wrong.
    pub(crate) fn degrade(&mut self, reason: DegradedReason, detail: &str) {
        let mut detail = log::visible(detail);
        detail.truncate(detail.floor_char_boundary(MAXIMUM_DETAIL));
        if self.status.degraded.get(&reason) == Some(&detail) {
            return;
        }
        warn!("degraded={reason} detail={detail:?}");
        self.status.degraded.insert(reason, detail);
        self.changed = true;
    }

    /// It is well again.
    pub(crate) fn recover(&mut self, reason: DegradedReason) {
        if self.status.degraded.remove(&reason).is_some() {
            self.changed = true;
            info!(recovered = %reason);
        }
    }

    /// Whether a phase was reached before.
    pub(crate) fn has_reached(&self, phase: Phase) -> bool {
        let mut timeline = self.status.timeline.iter();
        timeline.any(|entry| entry.phase == phase)
    }

    /// A phase was reached. What was reached before is not reached again.
    pub(crate) fn reached(&mut self, entry: TimelineEntry) {
        if !self.has_reached(entry.phase) {
            self.status.timeline.push(entry);
            self.changed = true;
        }
    }

    /// What a service answers that is asked whether it works; none: it is not up.
    pub(crate) fn set_probe(&mut self, probed: Probed, answer: Option<String>) {
        if self.status.probes.get(&probed) == answer.as_ref() {
            return;
        }
        match answer {
            Some(answer) => self.status.probes.insert(probed, answer),
            None => self.status.probes.remove(&probed),
        };
        self.changed = true;
    }

    /// Where the services stand.
    pub(crate) fn set_services(&mut self, services: BTreeMap<String, String>) {
        if self.status.services != services {
            self.status.services = services;
            self.changed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(board: &StatusBoard) -> NodeState {
        board.status().state
    }

    #[test]
    fn a_life() {
        let mut board = StatusBoard::new(Vec::new());
        assert_eq!(state(&board), NodeState::Booting);
        for reported in [
            NodeState::Unsealed,
            NodeState::Staked,
            NodeState::Registered,
        ] {
            board.report(reported);
            assert_eq!(state(&board), reported);
        }
        board.set_agent_ready(true);
        assert_eq!(state(&board), NodeState::Joined);
        // the agent goes and comes
        board.set_agent_ready(false);
        assert_eq!(state(&board), NodeState::Registered);
        board.set_agent_ready(true);
        // the staker starts again
        board.report(NodeState::Unsealed);
        assert_eq!(state(&board), NodeState::Joined);
        board.report(NodeState::Slashed);
        assert_eq!(state(&board), NodeState::Slashed);
        board.report(NodeState::Staked);
        board.set_agent_ready(false);
        assert_eq!(state(&board), NodeState::Slashed);
        board.off();
        board.report(NodeState::Staked);
        assert_eq!(state(&board), NodeState::Off);
    }

    #[test]
    fn an_agent_that_is_stopped_takes_the_node_back_to_where_the_staker_is() {
        let mut board = StatusBoard::new(Vec::new());
        board.report(NodeState::Registered);
        board.set_agent(AgentState::Wanted, 1);
        board.set_agent_ready(true);
        assert_eq!(state(&board), NodeState::Joined);
        board.take_change();
        board.set_agent(AgentState::Stopped, 1);
        assert!(board.take_change());
        board.set_agent(AgentState::Stopped, 1);
        assert!(!board.take_change());
        board.set_agent_ready(false);
        assert_eq!(state(&board), NodeState::Registered);
        assert_eq!(board.status().agent, AgentState::Stopped);
        board.set_desired(7);
        assert!(board.take_change());
        board.set_desired(7);
        assert!(!board.take_change());
        assert_eq!(board.status().desired, 7);
    }

    #[test]
    fn a_stake_that_is_withdrawn_can_only_be_slashed() {
        let mut board = StatusBoard::new(Vec::new());
        board.report(NodeState::Unbonding);
        board.report(NodeState::Staked);
        assert_eq!(state(&board), NodeState::Unbonding);
        board.report(NodeState::Slashed);
        assert_eq!(state(&board), NodeState::Slashed);
    }

    #[test]
    fn only_changes_are_changes() {
        let mut board = StatusBoard::new(Vec::new());
        assert!(board.take_change(), "the first status is news");
        assert!(!board.take_change());
        board.degrade(DegradedReason::Clock, "no server");
        assert!(board.take_change());
        board.degrade(DegradedReason::Clock, "no server");
        board.recover(DegradedReason::Network);
        board.report(NodeState::Booting);
        board.set_agent_ready(false);
        board.set_services(BTreeMap::new());
        assert!(!board.take_change());
        board.degrade(DegradedReason::Clock, "another reason");
        assert!(board.take_change());
        board.recover(DegradedReason::Clock);
        assert!(board.take_change());
        assert!(board.status().degraded.is_empty());
    }

    #[test]
    fn a_phase_is_reached_once() {
        let entry = |milliseconds| TimelineEntry {
            phase: Phase::Init,
            milliseconds,
        };
        let mut board = StatusBoard::new(vec![entry(7)]);
        board.take_change();
        board.reached(entry(9));
        assert!(!board.take_change());
        assert_eq!(board.status().timeline, [entry(7)]);
    }

    #[test]
    fn the_longest_status_fits_into_a_datagram() {
        let mut board = StatusBoard::new(Vec::new());
        for reason in DegradedReason::ALL {
            board.degrade(*reason, &"ö\u{1}\"".repeat(MAXIMUM_DETAIL));
        }
        for phase in Phase::ALL {
            board.reached(TimelineEntry {
                phase: *phase,
                milliseconds: u64::MAX,
            });
        }
        let status = board.status().clone();
        wire::child::encode(&wire::child::FromInit::Status { status }).unwrap();
    }
}
