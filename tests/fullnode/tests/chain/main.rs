//! The chain client against the double, over TLS, in one process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

mod administration;
mod changes;
mod coins;
mod commands;
mod evidence;
mod lies;
mod masters;
mod refusals;
mod round_trips;
mod stake;
mod unstake;
mod watch;
