//! What the double takes, refuses and tells, asked by a client without manners.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod commands;
mod evidence;
mod refusals;
