//! `bench waterfall`: a node's timeline as a picture.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

/// What `bench waterfall` takes.
#[derive(Args, Clone, Debug)]
pub struct WaterfallArguments {
    /// A node's console, as a file.
    #[arg(long, value_name = "FILE")]
    log: PathBuf,
    /// Where the picture goes.
    #[arg(long, value_name = "FILE", default_value = "waterfall.svg")]
    out: PathBuf,
}

/// Draws.
///
/// # Errors
/// When the log has no timeline, or the picture cannot be written.
pub fn run(arguments: &WaterfallArguments) -> Result<()> {
    bail!("not drawn yet: {arguments:?}")
}
