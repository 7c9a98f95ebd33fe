//! Messages between programs.
//!
//! - [`status`]: the life of a node, shown alike by the console, `/health` and the heartbeat.
//! - [`child`]: `init` ↔ its children, one JSON object per datagram of a socket pair.
//! - [`master`]: node ↔ master, JSON over HTTPS.
//! - [`paths`]: where programs leave files for one another.
//! - [`report`]: `init report` ↔ staker, a request and its answer over a socket.
//!
//! Nothing here does input or output: this crate is linked by PID 1.

pub mod child;
pub mod master;
pub mod paths;
pub mod report;
mod secret;
pub mod status;

pub use secret::Secret;
