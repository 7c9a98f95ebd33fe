//! What the node wants of `k3s agent`, and that `init` follows it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use tracing::info;
use wire::status::AgentRequest;
use wire::{JoinToken, ServerUrl};

use crate::life::Staker;
use crate::seams::{Chain, Init, Master, Meter};

/// How often what `init` says of the agent is compared with what is wanted.
const COMPARE: Duration = Duration::from_secs(5);

/// Why the agent must not run for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hold {
    /// One fullnode alone shows that the stake is gone.
    Suspicion,
    /// The stake is below the pool's minimum.
    BelowMinimum,
    /// The node leaves.
    Leaving,
    /// The image that runs here does not count any more.
    Release,
}

/// The wish: where to join and with what, and what stands against it.
#[derive(Default)]
pub(crate) struct Agent {
    membership: RefCell<Option<(ServerUrl, JoinToken)>>,
    holds: RefCell<BTreeMap<Hold, String>>,
}

impl Agent {
    /// Where to join and with what, when nothing stands against it.
    fn wish(&self) -> Option<(ServerUrl, JoinToken)> {
        if !self.holds.borrow().is_empty() {
            return None;
        }
        self.membership.borrow().clone()
    }

    fn reason(&self) -> Option<String> {
        self.holds.borrow().values().next().cloned()
    }
}

impl<C: Chain, M: Master, I: Init, U: Meter> Staker<C, M, I, U> {
    /// The master has let the node in.
    pub(crate) async fn want_agent(&self, server: ServerUrl, token: JoinToken) {
        *self.agent.membership.borrow_mut() = Some((server, token));
        self.start_agent().await;
    }

    /// The agent and every pod must stop, until [`Self::release_agent`].
    pub(crate) async fn hold_agent(&self, hold: Hold, reason: String) {
        let before = self.agent.reason();
        self.agent.holds.borrow_mut().insert(hold, reason.clone());
        let never_ran =
            self.board.agent() == AgentRequest::Unasked && self.agent.membership.borrow().is_none();
        if before.is_none() && !never_ran {
            self.board.stop_agent(reason).await;
        }
    }

    /// This reason stands against it no more.
    pub(crate) async fn release_agent(&self, hold: Hold) {
        if self.agent.holds.borrow_mut().remove(&hold).is_some() {
            self.start_agent().await;
        }
    }

    async fn start_agent(&self) {
        if let Some((server, token)) = self.agent.wish() {
            self.board.start_agent(server, token).await;
        }
    }

    /// Asks again as long as `init` does not say that it follows: a message can be lost, and a
    /// start refused for the moment.
    pub(crate) async fn keep_agent(&self) -> Infallible {
        let mut apart_before = false;
        loop {
            tokio::time::sleep(COMPARE).await;
            if !self.board.init().present() {
                continue;
            }
            let runs = self.board.agent() == AgentRequest::Wanted;
            let (wish, hold) = (self.agent.wish(), self.agent.reason());
            let apart = if runs { hold.is_some() } else { wish.is_some() };
            // its answer to what was just sent may be on its way
            if std::mem::replace(&mut apart_before, apart) && apart {
                info!("init does not do what was asked of the agent: asking again");
                match (wish, hold) {
                    (_, Some(reason)) => self.board.stop_agent(reason).await,
                    (Some((server, token)), None) => self.board.start_agent(server, token).await,
                    (None, None) => {}
                }
            }
        }
    }
}
