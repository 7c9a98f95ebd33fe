//! What the staker asks for of `k3s agent`: its start, its stop, and its start anew.

use tracing::{info, warn};
use wire::status::{AgentRequest, DegradedReason};
use wire::{JoinToken, ServerUrl};

use super::Node;
use crate::power::StopPlan;
use crate::service::{AGENT, Name};
use log::timeline;

impl Node {
    /// The agent is to run with this answer. What came of it stands in the status.
    pub(super) fn start_agent(&mut self, sender: Name, server: &ServerUrl, token: &JoinToken) {
        if self.is_too_late(sender) {
            return;
        }
        match self.agent.accept(server, token) {
            Ok(news) => {
                self.board.recover(DegradedReason::Agent);
                // pods that have not ended yet go on: the agent takes them over
                self.agent_stop = None;
                self.supervisor.want(AGENT);
                if news {
                    info!(service = %sender, %server, "the agent is to start");
                    self.end_agent_once();
                } else {
                    info!(service = %sender, "the agent has this token already");
                }
            }
            Err(error) => {
                let detail =
                    format!("k3s agent can't be started: the join token can't be written: {error}");
                self.board.degrade(DegradedReason::Agent, &detail);
            }
        }
        self.board.set_agent_request(self.agent.request());
    }

    /// The agent and its pods are to end; a later start begins anew.
    pub(super) fn stop_agent(&mut self, sender: Name, reason: &str) {
        if self.is_too_late(sender) {
            return;
        }
        info!(service = %sender, reason, "the agent is to stop, with every pod");
        if let Err(error) = self.agent.forget() {
            warn!(%error, "the join token can't be removed");
        }
        self.board.set_agent_ready(false);
        self.board.set_agent_request(self.agent.request());
        let detail = format!("k3s agent is stopped: {reason}");
        self.board.degrade(DegradedReason::Agent, &detail);
        self.clear_trouble(AGENT);
        // said again, it does not begin again
        self.agent_stop
            .get_or_insert_with(|| StopPlan::agent(timeline::now()));
    }

    /// The agent is to end and to start again.
    pub(super) fn restart_agent(&mut self, sender: Name, reason: &str) {
        if self.is_too_late(sender) {
            return;
        }
        if self.agent.request() == AgentRequest::Stopped {
            info!(service = %sender, reason, "the agent stays stopped");
            return;
        }
        info!(service = %sender, reason, "the agent is to start again");
        self.end_agent_once();
    }

    fn end_agent_once(&mut self) {
        if let Some(command) = self.supervisor.restart(AGENT, timeline::now()) {
            self.carry_out(command);
        }
    }

    /// A token that came now would outlive the node's word.
    fn is_too_late(&self, sender: Name) -> bool {
        let late = self.stop.is_some();
        if late {
            info!(service = %sender, "the agent is left alone: the node is stopping");
        }
        late
    }
}
