//! The command line of the harness.

use std::fs::File;
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, Parser, Subcommand};

use crate::devnet::K3s;
use crate::lab::Lab;
use crate::reset;
use crate::run::{self, RunOptions};
use crate::runner::{self, Plan};
use crate::scenarios;
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
    /// Wipes keys and state: of the node that runs on the devnet, or at the next start from a disk.
    Reset {
        /// A disk, or its image, that no running machine has.
        #[arg(long, value_name = "PATH", conflicts_with = "directory")]
        disk: Option<PathBuf>,
        /// Asks nothing.
        #[arg(long)]
        yes: bool,
        /// The address of the Sui key in the machine's TPM that dies by it, where there is one: what --yes
        /// does not answer.
        #[arg(long, value_name = "ADDRESS", requires = "disk")]
        forget_key: Option<String>,
        #[command(flatten)]
        devnet: DevnetFlags,
    },
    /// Passes standard input and output on to a port of this host's: QEMU starts this.
    #[command(hide = true)]
    Connect { port: u16 },
    /// Runs scenarios.
    Test {
        #[command(flatten)]
        parts: Parts,
        /// Only scenarios whose names contain this.
        filter: Option<String>,
        /// Long scenarios too.
        #[arg(long)]
        all: bool,
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
            Command::Reset {
                disk: Some(disk),
                yes,
                forget_key,
                ..
            } => reset::disk(&disk, yes, forget_key.as_deref()),
            Command::Reset { yes, devnet, .. } => reset::running(&devnet.directory, yes).await,
            Command::Connect { port } => connect(port),
            Command::Test {
                list: true, parts, ..
            } => {
                let lab = parts.open().await?;
                for scenario in scenarios::of_target(&lab.target) {
                    println!("{}\n    {}", scenario.name, scenario.shows);
                }
                Ok(())
            }
            Command::Test {
                parts,
                filter,
                all,
                jobs,
                records,
                list: false,
            } => {
                let lab = parts.open().await?;
                let plan = Plan {
                    filter,
                    all,
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

/// Blocks, for it does nothing else. It ends with either side.
fn connect(port: u16) -> Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .with_context(|| format!("nobody listens at port {port}"))?;
    let mut to = server.try_clone().context("no second handle")?;
    std::thread::spawn(move || {
        // each piece at once: whoever asks waits for the answer
        let mut pipe = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
        std::io::copy(&mut pipe, &mut to)?;
        to.shutdown(Shutdown::Write)
    });
    let mut from = server;
    let mut pipe = File::from(
        std::io::stdout()
            .as_fd()
            .try_clone_to_owned()
            .context("no standard output")?,
    );
    std::io::copy(&mut from, &mut pipe)
        .map(drop)
        .context("the connection broke off")
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
