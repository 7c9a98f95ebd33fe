//! Messages between the programs of a node.
//!
//! - [`backoff`]: the waits between attempts, for all of them.
//! - [`status`]: the life of a node, shown alike by the console, `/health` and the heartbeat.
//! - [`child`]: `init` ↔ its children, one JSON object per datagram of a socket pair.
//! - [`paths`]: where programs leave files for one another.
//!
//! Nothing here does input or output: this crate is linked by PID 1.

pub mod backoff;
pub mod child;
pub mod paths;
mod secret;
pub mod status;

pub use secret::Secret;
