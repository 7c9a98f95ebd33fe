//! The cluster's master: verifies stakes and hands out join tokens.
//!
//! It runs beside a k3s server. A node proves by a signature over a fresh nonce that it holds the
//! key that its stake names; the master reads the stake on chain and, where it is good, gives the
//! node the token that `k3s agent` joins with. Every heartbeat has the stake read again.
//!
//! Nothing of it is kept on disk: after a restart, nodes find their session unknown, and register
//! again.

pub mod chain_link;
pub mod program;
pub mod server;
pub mod service;
pub mod settings;

mod challenge;
mod heartbeat;
mod join;
mod refusal;
mod register;
mod sessions;

#[cfg(test)]
mod tests;

pub use program::run;
