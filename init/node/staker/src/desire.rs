//! The state of agent and power that this node desires, and the one loop that sends it to `init`.
//!
//! What it follows from is set here as it becomes known: where to join and with what, what stands
//! against it, and the node's end. It is sent with every change, and again as long as the status of
//! `init` does not echo it: a message can be lost, and an agent not be started for the moment.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tracing::info;
use wire::backoff::Backoff;
use wire::child::{AgentDesire, Desired, PowerDesire};
use wire::status::AgentState;
use wire::{JoinToken, NodeName, ServerUrl};

use crate::backoff::pause;
use crate::board::Board;
use crate::seams::Init;

/// How soon, and how late at most, what `init` has not carried out is sent again.
const AGAIN: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(60));
/// The longest sentence that is sent on, in characters: an answer from outside can be in it.
const LONGEST_REASON: usize = 512;

/// Why the agent must not run for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hold {
    /// One fullnode alone shows that the stake is over, as the chain's watch tells.
    Suspicion,
    /// The stake is below the pool's minimum.
    BelowMinimum,
    /// The node leaves.
    Leaving,
    /// The image that runs here does not count any more.
    Release,
}

/// What is desired, and what it follows from.
#[derive(Default)]
pub(crate) struct Desire {
    /// Under which name, where, and with what to join.
    membership: RefCell<Option<(NodeName, ServerUrl, JoinToken)>>,
    /// Whether the agent is to be started anew.
    restart: Cell<bool>,
    holds: RefCell<BTreeMap<Hold, String>>,
    /// The machine is to go off.
    end: RefCell<Option<PowerDesire>>,
    changed: Notify,
}

impl Desire {
    /// The master has let the node in.
    pub(crate) fn join(&self, node: NodeName, server: ServerUrl, token: JoinToken) {
        *self.membership.borrow_mut() = Some((node, server, token));
        self.changed.notify_one();
    }

    /// The server that the agent is to join, once it is known.
    pub(crate) fn server(&self) -> Option<ServerUrl> {
        let membership = self.membership.borrow();
        membership.as_ref().map(|(_, server, _)| server.clone())
    }

    /// The agent and every pod must stop, until [`Self::release`].
    pub(crate) fn hold(&self, hold: Hold, reason: &str) {
        let reason = reason.chars().take(LONGEST_REASON).collect();
        self.holds.borrow_mut().entry(hold).or_insert(reason);
        self.changed.notify_one();
    }

    /// This reason to hold it is gone.
    pub(crate) fn release(&self, hold: Hold) {
        self.holds.borrow_mut().remove(&hold);
        self.changed.notify_one();
    }

    /// The agent is to be started anew.
    pub(crate) fn restart(&self, reason: &str) {
        info!(reason, "the agent is to be restarted");
        self.restart.set(true);
        self.changed.notify_one();
    }

    /// The machine is to go off, for good.
    pub(crate) fn power_off(&self, end: PowerDesire) {
        *self.end.borrow_mut() = Some(end);
        self.changed.notify_one();
    }

    /// What is desired now; `None`: nothing yet, what runs may go on. Before `init` was ever asked for
    /// an agent there is none to be stopped.
    fn now(
        &self,
        before: Option<&Desired>,
        run: u64,
        ran: bool,
    ) -> Option<(AgentDesire, PowerDesire)> {
        let hold = self.holds.borrow().values().next().cloned();
        let agent = match (hold, &*self.membership.borrow()) {
            (Some(reason), _) if ran => Some(AgentDesire::Stop { reason }),
            (None, Some((node, server, token))) => Some(AgentDesire::Run {
                node: node.clone(),
                server: server.clone(),
                token: token.clone(),
                run,
            }),
            _ => before.map(|before| before.agent.clone()),
        };
        match self.end.borrow().clone() {
            Some(PowerDesire::Off { reason, detail }) => {
                let stop = AgentDesire::Stop {
                    reason: detail.clone(),
                };
                Some((stop, PowerDesire::Off { reason, detail }))
            }
            _ => agent.map(|agent| (agent, PowerDesire::On)),
        }
    }

    /// Sends what is desired, for as long as the node lives.
    pub(crate) async fn keep<I: Init>(&self, board: &Board<I>) -> Infallible {
        let mut sent: Option<Desired> = None;
        let mut run = 0;
        let mut backoff = AGAIN;
        let mut again_at = Instant::now();
        loop {
            let echo = board.echo();
            // a former run of this program may have had it restarted
            run = echo.agent_run.max(run) + u64::from(self.restart.take());
            let ran = sent.is_some() || echo.agent != AgentState::Unasked;
            let number = sent.as_ref().map_or(0, |sent| sent.number);
            let news = self.now(sent.as_ref(), run, ran).filter(|(agent, power)| {
                sent.as_ref()
                    .is_none_or(|sent| (&sent.agent, &sent.power) != (agent, power))
            });
            if let Some((agent, power)) = news {
                let number = number.max(echo.desired) + 1;
                let desired = Desired {
                    number,
                    agent,
                    power,
                };
                board.desire(&desired).await;
                sent = Some(desired);
                backoff.reset();
                again_at = Instant::now() + pause(&mut backoff);
            } else if Instant::now() >= again_at {
                match &sent {
                    Some(sent) if echo.desired != number && board.init().present() => {
                        info!(
                            number,
                            "init has not carried out what is desired: sending it again"
                        );
                        board.desire(sent).await;
                    }
                    _ => backoff.reset(),
                }
                again_at = Instant::now() + pause(&mut backoff);
            }
            tokio::select! {
                () = self.changed.notified() => {}
                () = sleep_until(again_at) => {}
            }
        }
    }
}
