//! `bench boot`: the time from PID 1 to where the agent may start, of nodes and of their peers.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use harness::lab::Lab;

/// What `bench boot` takes.
#[derive(Args, Clone, Debug, Default)]
pub struct BootArguments {
    /// Also writes every figure as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Measures.
///
/// # Errors
/// When a system does not boot.
pub async fn run(lab: &Lab, arguments: BootArguments) -> Result<()> {
    bail!("not measured yet: {lab:?} {arguments:?}")
}
