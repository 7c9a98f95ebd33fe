//! What the staker desires of agent and power, carried out.

use tracing::{info, warn};
use wire::child::{AgentDesire, Desired, PowerDesire};
use wire::status::{AgentState, DegradedReason};
use wire::{JoinToken, NodeName, ServerUrl};

use super::Node;
use super::requests::sentence;
use crate::power::{Reason, StopPlan};
use crate::service::{AGENT, Name};
use log::timeline;

impl Node {
    /// Takes over what the staker desires. The status echoes its number once it is carried out; where
    /// it could not be, the staker says it again.
    pub(super) fn desire(&mut self, sender: Name, desired: &Desired) {
        let carried_out = match (&desired.power, &desired.agent) {
            (PowerDesire::Off { reason, detail }, _) => {
                self.begin_stop(Reason::Staker(*reason), &sentence(detail));
                true
            }
            // a token that came now would outlive the node's word
            _ if self.stop.is_some() => {
                info!(service = %sender, "the agent is left alone: the node is stopping");
                false
            }
            (
                PowerDesire::On,
                AgentDesire::Run {
                    node,
                    server,
                    token,
                    run,
                },
            ) => self.run_agent(sender, node, server, token, *run),
            (PowerDesire::On, AgentDesire::Stop { reason }) => {
                self.stop_agent(sender, &sentence(reason));
                true
            }
        };
        self.board.set_agent(self.agent.state(), self.agent.run());
        if carried_out {
            self.board.set_desired(desired.number);
        }
    }

    /// The agent is to run with this answer; with a new one, or in a new run, it starts anew. Whether
    /// the answer could be taken.
    fn run_agent(
        &mut self,
        sender: Name,
        node: &NodeName,
        server: &ServerUrl,
        token: &JoinToken,
        run: u64,
    ) -> bool {
        match self.agent.accept(node, server, token, run) {
            Ok(news) => {
                self.board.recover(DegradedReason::Agent);
                // pods that have not ended yet go on: the agent takes them over
                self.agent_stop = None;
                self.supervisor.want(AGENT);
                if news {
                    info!(service = %sender, %node, %server, run, "the agent is to start");
                    if let Some(command) = self.supervisor.restart(AGENT, timeline::now()) {
                        self.carry_out(command);
                    }
                }
                true
            }
            Err(error) => {
                let detail =
                    format!("k3s agent can't be started: the join token can't be written: {error}");
                self.board.degrade(DegradedReason::Agent, &detail);
                false
            }
        }
    }

    /// Whether the agent enforces network policies. It says READY after it has started its controller of them
    /// (k3s, pkg/agent/run.go, `startNetwork`), which waits for the API server and for the Node: its kubelet starts
    /// pods before that, and those of a former run go on.
    pub(super) fn policies_enforced(&mut self, enforced: bool) {
        let reason = DegradedReason::PoliciesUnenforced;
        if enforced || self.agent.state() != AgentState::Wanted || self.stop.is_some() {
            self.board.recover(reason);
        } else {
            self.board.degrade(
                reason,
                "k3s agent is not ready: pods can run, and no new network policy applies to them",
            );
        }
    }

    /// The agent and its pods are to end; a later start begins anew.
    fn stop_agent(&mut self, sender: Name, reason: &str) {
        info!(service = %sender, reason, "the agent is to stop, with every pod");
        if let Err(error) = self.agent.forget() {
            warn!(%error, "the join token can't be removed");
        }
        self.board.set_agent_ready(false);
        self.policies_enforced(false);
        let detail = format!("k3s agent is stopped: {reason}");
        self.board.degrade(DegradedReason::Agent, &detail);
        self.clear_trouble(AGENT);
        // said again, it does not begin again
        self.agent_stop
            .get_or_insert_with(|| StopPlan::agent(timeline::now()));
    }
}
