//! The client against the double of a fullnode, over TLS, in one process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod administration;
mod changes;
mod coins;
mod fullnodes;
mod lies;
mod masters;
mod releases;
mod round_trips;
mod stake;
mod unstake;
mod watch;
