//! The log of refused commands: each by its name, as long as they are few.

use std::fmt;
use std::time::Instant;

use log::{RateLimit, Verdict};

use crate::command::Code;

/// Lines in a second, and at once. A staker that was taken over must not fill the node's log.
const RATE: (u32, u32) = (1, 20);

/// The log of refused commands.
pub(crate) struct Refusals {
    began: Instant,
    rate: RateLimit,
}

impl Refusals {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            rate: RateLimit::new(RATE.0, RATE.1),
        }
    }

    /// Notes a refused command.
    pub(crate) fn command(&mut self, code: Code, reason: &dyn fmt::Display) {
        match self.rate.take(self.began.elapsed()) {
            Verdict::Drop => {}
            Verdict::Pass => tracing::warn!(command = %code, "refused: {reason}"),
            Verdict::PassAfter(unlogged) => {
                tracing::warn!(command = %code, unlogged, "refused: {reason}");
            }
        }
    }

    /// Notes what is not even a command, or who may not send one.
    pub(crate) fn other(&mut self, reason: &dyn fmt::Display) {
        match self.rate.take(self.began.elapsed()) {
            Verdict::Drop => {}
            Verdict::Pass => tracing::warn!("refused: {reason}"),
            Verdict::PassAfter(unlogged) => tracing::warn!(unlogged, "refused: {reason}"),
        }
    }
}
