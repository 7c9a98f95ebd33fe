//! Messages between the programs of a node.
//!
//! - [`backoff`]: the waits between attempts, for all of them.
//! - [`status`]: the life of a node, shown alike by the console, `/health` and the heartbeat.
//! - [`child`]: `init` ↔ its children, one JSON object per datagram of a socket pair.
//! - [`error`]: an error with its causes, as all of them log it.
//! - [`exit`], [`users`]: exit statuses and user ids.
//! - [`names`]: a node's name, a server's URL, a join token, each with one constructor.
//! - [`paths`]: where programs leave files for one another.
//! - [`state_paths`]: what programs of the host read below `/var`, and where that lies.
//! - [`users`]: who the programs run as.
//!
//! Nothing here does input or output: this crate is linked by PID 1.

pub mod backoff;
pub mod child;
pub mod error;
pub mod exit;
pub mod names;
pub mod paths;
mod secret;
pub mod state_paths;
pub mod status;
pub mod users;

pub use names::{InvalidName, JoinToken, NodeName, ServerUrl};
pub use secret::Secret;
