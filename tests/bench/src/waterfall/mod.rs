//! `bench waterfall`: a node's timeline as a picture, with the critical path marked.

mod bars;
mod critical;
mod svg;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;

use bars::Timeline;

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
    let path = &arguments.log;
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    write(&String::from_utf8_lossy(&bytes), &arguments.out)
}

/// Draws the first boot on a console, and prints its critical path.
///
/// # Errors
/// As [`run`].
pub fn write(console: &str, path: &Path) -> Result<()> {
    let timeline = Timeline::read(console)?;
    let critical = critical::path(&timeline.bars, timeline.target.1);
    let picture = svg::draw(&timeline, &critical);
    std::fs::write(path, picture).with_context(|| format!("cannot write {}", path.display()))?;
    let (target, at) = &timeline.target;
    println!(
        "{}: the critical path to {target} at {at:.2} s:",
        path.display()
    );
    for bar in critical
        .iter()
        .filter_map(|index| timeline.bars.get(*index))
    {
        println!(
            "  {:<14}{:>8.2} s at {:.2} s",
            bar.name,
            bar.end - bar.start,
            bar.start
        );
    }
    Ok(())
}
