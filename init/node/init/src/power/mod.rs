//! The end: why, in which order, and how.

mod button;
mod finish;
mod grace;
mod memory;
mod plan;

use std::fmt;

pub(crate) use button::{PowerButtons, Press};
pub(crate) use finish::{finish, power_off};
pub(crate) use memory::forget_secrets;
pub(crate) use plan::{Act, Group, StopPlan, World};

use wire::child::PowerOffReason;

/// Why the machine powers off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The staker asked for it.
    Staker(PowerOffReason),
    /// Somebody pressed the power button.
    PowerButton,
    /// Ctrl-Alt-Del.
    Keys,
    /// SIGTERM.
    Terminate,
    /// SIGPWR.
    PowerFailure,
    /// The node was reset.
    Reset,
    /// The node was to be reset, and was not.
    ResetFailed,
    /// A task needs the boot phase, and it has ended.
    BootPhaseOver,
}

impl Reason {
    /// Whether the node has to forget its secrets.
    pub(crate) const fn forgets_secrets(self) -> bool {
        matches!(self, Self::Staker(PowerOffReason::Slashed))
    }

    /// Whether it is the end of a reset, which nothing else cuts off.
    pub(crate) const fn is_of_reset(self) -> bool {
        matches!(self, Self::Reset | Self::ResetFailed)
    }

    /// Whether the machine restarts instead of powering off.
    pub(crate) const fn restarts(self) -> bool {
        matches!(self, Self::BootPhaseOver)
    }

    /// Why PID 1 stops the node by itself, for the log.
    pub(crate) const fn detail(self) -> &'static str {
        match self {
            Self::BootPhaseOver => "the state opens in the next boot, if at all",
            _ => "nothing is left to do",
        }
    }

    /// Whether a stop that is under way for the `other` reason has this one from now on.
    pub(crate) const fn outranks(self, other: Self) -> bool {
        (self.forgets_secrets() && !other.forgets_secrets())
            // what somebody asked for counts more than what the node does by itself
            || (other.restarts() && !self.restarts())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Staker(reason) => reason.name(),
            Self::PowerButton => "power-button",
            Self::Keys => "ctrl-alt-del",
            Self::Terminate => "sigterm",
            Self::PowerFailure => "sigpwr",
            Self::Reset => "reset",
            Self::ResetFailed => "reset-failed",
            Self::BootPhaseOver => "boot-phase-over",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_outranks_every_other_reason_and_nothing_outranks_it() {
        let slashed = Reason::Staker(PowerOffReason::Slashed);
        for other in [
            Reason::Staker(PowerOffReason::Unbonding),
            Reason::PowerButton,
            Reason::Keys,
            Reason::Terminate,
            Reason::PowerFailure,
            Reason::Reset,
            Reason::ResetFailed,
        ] {
            assert!(slashed.outranks(other));
            assert!(!other.outranks(slashed) && !other.outranks(other));
            assert!(!other.forgets_secrets());
        }
    }

    #[test]
    fn restart_yields_to_every_power_off() {
        let restart = Reason::BootPhaseOver;
        for other in [Reason::PowerButton, Reason::Staker(PowerOffReason::Slashed)] {
            assert!(restart.restarts() && !other.restarts());
            assert!(other.outranks(restart) && !restart.outranks(other));
        }
    }

    #[test]
    fn a_slash_does_not_outrank_itself() {
        let slashed = Reason::Staker(PowerOffReason::Slashed);
        assert!(!slashed.outranks(slashed));
    }
}
