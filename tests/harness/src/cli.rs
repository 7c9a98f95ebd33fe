//! The command line of the harness.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use clap::{Args, Parser, Subcommand};

use crate::devnet::K3s;
use crate::lab::Lab;
use crate::run::{self, RunOptions};
use crate::runner::{self, Plan};
use crate::scenarios::ALL;
use crate::stops::Stops;

/// Runs nodes in QEMU beside a devnet on this machine, and tests them.
#[derive(Debug, Parser)]
#[command(version)]
pub struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Boots a node in this terminal.
    Run {
        #[command(flatten)]
        parts: Parts,
        /// Goes through the whole life without a keypress; fails unless the machine powered off
        /// because of the slash.
        #[arg(long)]
        demo: bool,
        /// Starts the kernel directly, without the firmware.
        #[arg(long)]
        direct: bool,
        #[command(flatten)]
        devnet: DevnetFlags,
    },
    /// Slashes the stake of the node that runs on the devnet.
    Slash {
        #[command(flatten)]
        devnet: DevnetFlags,
    },
    /// Runs scenarios.
    Test {
        #[command(flatten)]
        parts: Parts,
        /// Only scenarios whose names contain this.
        filter: Option<String>,
        /// How many at a time.
        #[arg(long, default_value_t = 2)]
        jobs: usize,
        /// Where the full logs of failed scenarios are kept.
        #[arg(long, value_name = "DIR", default_value = "target/scenarios")]
        records: PathBuf,
        /// Lists the scenarios instead.
        #[arg(long)]
        list: bool,
    },
}

#[derive(Debug, Args)]
struct Parts {
    /// The image builder's output.
    #[arg(long, value_name = "DIR")]
    image: PathBuf,
    /// The built programs.
    #[arg(long, value_name = "DIR")]
    programs: PathBuf,
    /// `double`, or the real k3s that the image holds.
    #[arg(long, value_name = "double|PATH", default_value = "double")]
    k3s: K3s,
}

#[derive(Debug, Args)]
struct DevnetFlags {
    /// Where the devnet's files lie.
    #[arg(long = "devnet", value_name = "DIR", default_value = "target/devnet")]
    directory: PathBuf,
}

impl Parts {
    async fn open(self) -> Result<Lab> {
        let absolute = |path: PathBuf| std::path::absolute(path);
        let k3s = match self.k3s {
            K3s::Real(path) => K3s::Real(absolute(path)?),
            double => double,
        };
        Lab::open(absolute(self.image)?, absolute(self.programs)?, k3s).await
    }
}

impl CommandLine {
    /// Does what was asked.
    ///
    /// # Errors
    /// When it did not succeed; a failed scenario counts.
    pub async fn execute(self) -> Result<()> {
        match self.command {
            Command::Run {
                parts,
                demo,
                direct,
                devnet,
            } => {
                let lab = parts.open().await?;
                let devnet = std::path::absolute(devnet.directory)?;
                run::run(
                    &lab,
                    &RunOptions {
                        devnet,
                        demo,
                        direct,
                    },
                )
                .await
            }
            Command::Slash { devnet } => run::slash(&devnet.directory).await,
            Command::Test { list: true, .. } => {
                for scenario in ALL {
                    println!("{}\n    {}", scenario.name, scenario.shows);
                }
                Ok(())
            }
            Command::Test {
                parts,
                filter,
                jobs,
                records,
                list: false,
            } => {
                let lab = parts.open().await?;
                let plan = Plan {
                    filter,
                    jobs,
                    records,
                };
                let mut stops = Stops::new()?;
                let totals = tokio::select! {
                    totals = runner::run(lab, &plan) => totals?,
                    () = stops.next() => bail!("stopped before all scenarios had ended"),
                };
                println!("{totals}");
                ensure!(totals.failed == 0, "{} scenarios failed", totals.failed);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        CommandLine::command().debug_assert();
    }
}
