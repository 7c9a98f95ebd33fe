//! The chain client against the double, over TLS, in one process.

mod common;

mod changes;
mod commands;
mod refusals;
mod stake;
mod unstake;
mod watch;
