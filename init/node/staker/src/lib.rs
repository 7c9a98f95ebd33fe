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
//! | below the minimum | is degraded and runs nothing until it is topped up |
//! | slashed | powers off, at every boot again |
//! | unbonding, or withdrawn while it runs | powers off in order |
//! | withdrawn before the boot | is degraded, or stakes anew with `chain.restake = true` |
//! | gone by one fullnode's word alone | runs nothing until that is confirmed or refuted |
//! | gone for one fullnode, not for another | is degraded, and goes on |
//! | not readable | is degraded, and goes on |
//! | not wanted any more (`chain.leave = true`) | runs nothing, takes it back, sends all coins to `chain.beneficiary`, and powers off |
//!
//! For a person there are commands beside it: see [`command`].

pub mod board;
pub mod chain_link;
pub mod cluster;
pub mod command;
pub mod init_link;
pub mod journal;
pub mod life;
pub mod master_client;
pub mod node;
pub mod page;
pub mod program;
pub mod prover;
pub mod seams;
pub mod tee;
pub mod usage;

mod backoff;
mod desire;
mod doubt;
mod funding;
mod leave;
mod membership;
mod registration;
mod seal_token;
mod tpm_key;
mod watch;

// in this crate `chain` is the blockchain
pub(crate) use wire::error::chain as explain;

#[cfg(test)]
mod doubles;
#[cfg(test)]
mod tests;

pub use program::run;
