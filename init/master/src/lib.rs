//! The cluster's master: verifies stakes and hands out join tokens.
//!
//! It runs beside a k3s server. A node proves by a signature over a fresh nonce that it holds the
//! key that its stake names; the master reads the stake on chain and, where it is good, gives the
//! node a token that `k3s agent` joins with. Every heartbeat has the stake read again.
//!
//! Nothing of it is kept on disk: after a restart, nodes find their session unknown, and register
//! again. What has to outlive the master is kept in the cluster ([`cluster`]).

pub mod chain_link;
pub mod cluster;
pub mod join;
pub mod program;
pub mod server;
pub mod service;
pub mod settings;

mod challenge;
mod heartbeat;
mod refusal;
mod register;
mod sessions;

#[cfg(test)]
mod tests;

pub use program::run;
