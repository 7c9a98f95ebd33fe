//! The cluster's master: verifies stakes and hands out join tokens.
//!
//! It runs beside a k3s server. A node proves by a signature over a fresh nonce that it holds the
//! key that its stake names, and by the evidence of its TPM that it runs a release that counts; the
//! master reads stake and releases on chain and, where they are good, gives the node a token that
//! `k3s agent` joins with, encrypted for that TPM. Every heartbeat has the stake read again, and shows
//! by a quote that nothing else runs. The master in turn proves by a signature that its key is one that
//! the chain knows.
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
pub mod trust;

mod addresses;
mod challenge;
mod evidence;
mod files;
mod heartbeat;
mod refusal;
mod register;
mod release_watch;
mod releases;
mod sessions;

#[cfg(test)]
mod tests;

pub use cluster::admission::manifest as admission_manifest;
pub use program::run;
