//! `staker [CONFIGURATION]`, or `staker COMMAND`: see the crate's documentation.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser};
use staker::command::{self, Action};
use tracing_subscriber::filter::LevelFilter;

/// Where `provision` leaves this program's settings.
const CONFIGURATION: &str = wire::paths::STAKER_SETTINGS;

/// Stake, registration, heartbeat and slash watch of the node.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    /// Without a command: the settings file of the node (.json), or a configuration.
    #[arg(default_value = CONFIGURATION)]
    configuration: PathBuf,
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    options: Options,
}

#[derive(Args)]
struct Options {
    /// The node's configuration (for a command).
    #[arg(long, value_name = "FILE", default_value = CONFIGURATION, global = true)]
    config: PathBuf,
    /// Show the outcome of a command as JSON.
    #[arg(long, global = true)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let level = match arguments.action {
        Some(_) => LevelFilter::WARN,
        None => LevelFilter::INFO,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .without_time()
        .with_ansi(false)
        .with_target(false)
        .with_writer(std::io::stderr)
        .init();
    let outcome = match arguments.action {
        None => staker::run(&arguments.configuration),
        Some(action) => act(action, &arguments.options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!("{failure:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(action: Action, options: &Options) -> anyhow::Result<()> {
    let report = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(command::run(&options.config, action))?;
    if options.json {
        println!("{}", report.to_json());
    } else {
        print!("{}", report.to_table());
    }
    Ok(())
}
