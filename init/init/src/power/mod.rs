//! The end: why, in which order, and how.

mod button;
mod finish;
mod memory;
mod plan;
mod watchdog;

use std::fmt;

pub(crate) use button::{PowerButtons, Press};
pub(crate) use finish::{finish, power_off};
pub(crate) use memory::forget_secrets;
pub(crate) use plan::{Act, Group, StopPlan, World};
pub(crate) use watchdog::Watchdog;

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
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Staker(reason) => reason.name(),
            Self::PowerButton => "power-button",
            Self::Keys => "ctrl-alt-del",
            Self::Terminate => "sigterm",
            Self::PowerFailure => "sigpwr",
        })
    }
}
