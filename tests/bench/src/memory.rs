//! `bench memory`: what our programs take of a node's memory, once it has lived for a while: the proportional
//! set size, which counts a page that several processes share by shares.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use harness::devnet::{Devnet, K3s};
use harness::lab::{self, Lab};
use harness::node;
use k3s_double::control::{Command, FileState};

/// What is measured, and its goal in KiB, where it has one of its own.
const PROGRAMS: [(&str, Option<u64>); 3] =
    [("init", Some(2 << 10)), ("netd", None), ("staker", None)];
/// What they may take together, in KiB, and the goal.
const LIMIT: u64 = 24 << 10;
const GOAL: u64 = 16 << 10;

/// What `bench memory` takes.
#[derive(Args, Clone, Debug)]
pub struct MemoryArguments {
    /// How long the node lives before it is looked at, from when it has joined.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
}

impl Default for MemoryArguments {
    fn default() -> Self {
        Self { minutes: 10 }
    }
}

/// Measures.
///
/// # Errors
/// When the node does not live for that long, or its programs take more than they may.
pub async fn run(lab: &Lab, arguments: &MemoryArguments) -> Result<()> {
    ensure!(
        lab.k3s == K3s::Double,
        "only the double of k3s can look into a running node"
    );
    let context = lab::Context::new(lab.clone().into())?;
    let devnet = context.devnet().await?;
    let disk = context.disk()?;
    let mut machine = context.power_on(&context.node(&disk, &devnet)?).await?;
    node::joined(&machine, &devnet).await?;
    node::running_pod(&machine, &devnet).await?;
    tokio::time::sleep(Duration::from_secs(60 * arguments.minutes)).await;
    let processes = node::processes(&devnet).await?;
    let mut total = 0;
    println!(
        "KiB, {} minutes after the node joined{:>24}{:>12}{:>12}",
        arguments.minutes, "now", "limit", "goal"
    );
    let shown = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
    for (name, goal) in PROGRAMS {
        let process = node::only(&processes, name)?;
        let taken = proportional(&devnet, process.pid).await?;
        total += taken;
        println!("  {name:<52}{taken:>8}{:>12}{:>12}", "-", shown(goal));
    }
    println!("  {:<52}{total:>8}{LIMIT:>12}{GOAL:>12}", "together");
    machine.cut_power().await?;
    ensure!(
        total <= LIMIT,
        "init, netd and staker take {total} KiB, more than {LIMIT}"
    );
    Ok(())
}

/// The proportional set size of a process, in KiB (proc_pid_smaps(5)).
async fn proportional(devnet: &Devnet, pid: i32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let control = devnet.cluster.control()?;
    let file: FileState = control
        .command(
            &devnet.node_name()?,
            &Command::Read {
                path: path.clone().into(),
            },
        )
        .await
        .with_context(|| format!("cannot read {path} on the node"))?;
    let contents = file.contents.unwrap_or_default();
    parse(&contents).with_context(|| format!("{path} says {contents:?}"))
}

/// The line `Pss:  1234 kB`.
fn parse(rollup: &str) -> Option<u64> {
    let rest = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    rest.trim().strip_suffix(" kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proportional_set_size_is_read_and_no_other() {
        let rollup = "5560-7ffc ---p 00000000 00:00 0 [rollup]\nRss:    4000 kB\nPss:    1234 kB\n\
            Pss_Dirty:     500 kB\n";
        assert_eq!(parse(rollup), Some(1234));
        assert_eq!(parse("Pss_Dirty: 500 kB\n"), None);
    }
}
