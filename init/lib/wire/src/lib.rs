//! Messages between the programs of a node.
//!
//! - [`status`]: the life of a node, shown alike by the console, `/health` and the heartbeat.
//! - [`child`]: `init` ↔ its children, one JSON object per datagram of a socket pair.
//! - [`exit`], [`users`]: exit statuses and user ids.
//! - [`paths`]: where programs leave files for one another.
//!
//! Nothing here does input or output: this crate is linked by PID 1.

pub mod child;
pub mod exit;
pub mod paths;
mod secret;
pub mod status;
pub mod users;

pub use secret::Secret;
