//! A double of a Sui fullnode: `fullnode --config FILE`.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// A double of a Sui fullnode, for tests and devnets. Not a Sui fullnode.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration (TOML).
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .without_time()
        .with_ansi(false)
        .with_target(false)
        .init();
    let arguments = Arguments::parse();
    tracing::warn!("{}", fullnode::BANNER);
    let config = fullnode::Config::read(&arguments.config)?;
    let node = fullnode::Node::new(&config);
    let mut running = fullnode::serve(&node, &config).await?;
    // read by those who start the double: the one line without a level
    eprintln!("listening on {}", running.address());
    let mut terminate = signal(SignalKind::terminate()).context("no signal handler")?;
    tokio::select! {
        () = running.ended() => anyhow::bail!("the server broke down"),
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted.context("no signal handler"),
    }
}
