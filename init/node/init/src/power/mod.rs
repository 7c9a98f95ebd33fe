//! The end: why, in which order, and how.

mod button;
mod finish;
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

    /// Whether a stop that is under way for the `other` reason has this one from now on.
    pub(crate) const fn outranks(self, other: Self) -> bool {
        self.forgets_secrets() && !other.forgets_secrets()
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
        assert!(!slashed.outranks(slashed));
    }
}
