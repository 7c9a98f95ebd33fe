//! Stake, registration, heartbeat and slash watch of the node.
//!
//! The staker runs under a user of its own and without capabilities. It starts and stops nothing:
//! it asks `init`. It never gives up; what fails is tried again with growing pauses, and only the
//! chain's confirmed word ends the node's life.
//!
//! | The stake is | The node |
//! | --- | --- |
//! | not there | stakes, in one transaction that is kept on disk before it is sent |
//! | active | registers, and reports every 30 seconds |
//! | below the minimum | is degraded: what runs goes on, a new registration waits for a top-up |
//! | slashed | powers off, at every boot again |
//! | unbonding, withdrawn | powers off in order |
//! | not readable | is degraded, and goes on |

pub mod board;
pub mod chain_link;
pub mod init_link;
pub mod journal;
pub mod life;
pub mod master_client;
pub mod page;
pub mod program;
pub mod seams;
pub mod usage;

mod backoff;
mod membership;
mod watch;

#[cfg(test)]
mod doubles;
#[cfg(test)]
mod tests;

pub use program::run;
