//! A double of a Sui fullnode, for tests and for a devnet on one machine. It is no fullnode: there
//! is no consensus, no validator and no Move virtual machine behind it.
//!
//! It speaks the real protocol (`sui.rpc.v2` over TLS, on the server traits that sui-rpc
//! generates) and checks what a real one checks: signatures, versions and digests of inputs,
//! ownership, gas, expiration. It interprets programmable transactions command by command, and
//! runs the calls of the package `k3s_daas` as its Move sources define them; nothing else can be
//! called. State is in memory, and gone when the process ends.

mod administration;
mod config;
pub mod devnet;
mod execution;
mod ledger;
mod package;
mod server;
mod service;
mod traffic;

pub use administration::Administration;
pub use config::{Account, Config, ConfigError, Genesis};
pub use ledger::Node;
pub use server::{Running, ServeError, serve};
pub use traffic::{Reply, Tamper};

/// What it says about itself, first thing in its log.
pub const BANNER: &str = "fullnode double: not a Sui fullnode, state in memory only";
