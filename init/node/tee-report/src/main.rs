//! Has reports of a trusted execution environment made for the staker.
#![deny(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used
)]
#![cfg_attr(not(test), deny(clippy::string_slice))]

mod confine;
mod service;

use std::process::ExitCode;

fn main() -> ExitCode {
    log::to_parent();
    service::run()
}
