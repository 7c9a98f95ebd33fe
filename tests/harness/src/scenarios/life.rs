//! The whole life of a node.

use anyhow::{Context as _, Result, bail, ensure};
use chain::Verdict;
use k3s_double::control::{Command, Orphans};

use super::privileges;
use crate::devnet::{Devnet, FUNDS, STAKE};
use crate::lab::Context;
use crate::node::{self, eventually, health, number_at, text_at};
use crate::qemu::Machine;

/// What a boot goes through on its way into the cluster.
const PHASES: [&str; 16] = [
    "init",
    "root-device",
    "verity",
    "switch-root",
    "mounts",
    "state",
    "configured",
    "network",
    "clock",
    "containerd",
    "agent-may-start",
    "unsealed",
    "staked",
    "registered",
    "agent-started",
    "joined",
];

pub(super) async fn whole_life(context: &Context) -> Result<()> {
    let devnet = context.devnet().await?;
    let disk = context.disk()?;
    let options = context.node(&disk, &devnet)?;
    let mut machine = context.power_on(&options).await?;

    node::joined(&machine, &devnet).await?;
    check_timeline(&machine).await?;
    ensure!(
        !machine.console.text().contains("a sysctl "),
        "a sysctl is not what it was set to"
    );
    check_stake(&devnet).await?;
    let pod = node::running_pod(&machine, &devnet).await?;
    let container = pod.container.context("a pod without a container")?;
    ensure!(
        container.cgroup.starts_with("/kubepods/"),
        "the pod's container is in the cgroup {}",
        container.cgroup
    );
    check_health(&machine, &devnet).await?;
    privileges::check(&machine, &devnet).await?;
    check_orphans(&devnet).await?;

    let slashed = devnet.slash().await?;
    machine
        .expect(r"daas: init INFO timeline phase=slashed seconds=\d")
        .await?;
    machine.expect("daas: init INFO state=slashed").await?;
    machine
        .expect("power action=power-off reason=slashed")
        .await?;
    machine.wait_power_off().await?;
    let state = disk.state(context.directory())?;
    state.check()?;
    privileges::check_no_secret(&devnet, "the console", &machine.console.text())?;
    let kept = state
        .read("/log/daas/node.log")
        .context("no log was kept")?;
    ensure!(
        kept.contains("phase=joined"),
        "the kept log does not tell of this boot"
    );
    privileges::check_no_secret(&devnet, "the kept log", &kept)?;
    drop(machine);

    let mut again = context.power_on(&options).await?;
    again
        .expect("power action=power-off reason=slashed")
        .await?;
    again.wait_power_off().await?;
    let agent = regex::Regex::new("phase=(agent-started|joined)")?;
    if let Some(line) = again.console.find(&agent, 0) {
        bail!("a slashed node went on to work: {}", line.line.text);
    }
    let after = devnet.stake().await?;
    ensure!(
        after == slashed,
        "the slashed record changed from {slashed:?} to {after:?}"
    );
    Ok(())
}

/// Every phase was reached, none earlier than the kernel, and the boot's own in order.
async fn check_timeline(machine: &Machine) -> Result<()> {
    let mut before = 0.0;
    for (index, phase) in PHASES.iter().enumerate() {
        let pattern = format!(r"daas: init INFO timeline phase={phase} seconds=(\d+\.\d{{3}})\b");
        let found = machine.expect(&pattern).await?;
        let seconds: f64 = found
            .groups
            .first()
            .map(String::as_str)
            .unwrap_or_default()
            .parse()?;
        // from `mounts` on things happen side by side
        let mounts = 4;
        if index <= mounts {
            ensure!(
                seconds >= before,
                "{phase} at {seconds} s came before {before} s"
            );
            before = seconds;
        }
        ensure!(
            seconds >= before,
            "{phase} at {seconds} s came before the mounts at {before} s"
        );
    }
    Ok(())
}

async fn check_stake(devnet: &Devnet) -> Result<()> {
    let stake = devnet.stake().await?;
    ensure!(
        stake.verdict == Verdict::Active
            && stake.amount.0 == STAKE
            && stake.node_id == devnet.node_id()
            && stake.node_key == devnet.node_key().public()
            && stake.staker == devnet.node_key().address()
            && stake.seal_token.is_some(),
        "the chain has the stake {stake:?}"
    );
    let left = devnet.balance().await?.0;
    ensure!(
        left < FUNDS - STAKE && left > FUNDS - 2 * STAKE,
        "the node's account holds {left} MIST after one stake of {STAKE} and its gas, of {FUNDS}"
    );
    Ok(())
}

async fn check_health(machine: &Machine, devnet: &Devnet) -> Result<()> {
    let stake = devnet.stake().await?;
    let record = stake.record.to_string();
    eventually(
        "/health tells of the stake and a heartbeat",
        machine.patience(),
        || async {
            let health = health(machine).await?;
            ensure!(
                text_at(&health, "/state") == "joined"
                    && text_at(&health, "/seal") == "none"
                    && text_at(&health, "/node_id") == devnet.node_id()
                    && text_at(&health, "/stake/record") == record
                    && text_at(&health, "/stake/verdict") == "active"
                    && number_at(&health, "/stake/amount_mist") == Some(STAKE)
                    && number_at(&health, "/heartbeat/acknowledged").is_some_and(|count| count > 0)
                    && health.pointer("/degraded") == Some(&serde_json::json!({})),
                "/health says {health}"
            );
            privileges::check_no_secret(devnet, "/health", &health.to_string())
        },
    )
    .await
}

async fn check_orphans(devnet: &Devnet) -> Result<()> {
    let control = devnet.cluster.control()?;
    let orphans: Orphans = control
        .command(&devnet.node_name()?, &Command::Orphan { count: 8 })
        .await?;
    ensure!(
        orphans.reaped
            && orphans.orphans.len() == 8
            && orphans.orphans.iter().all(|orphan| orphan.adopted_by == 1),
        "orphans were left: {orphans:?}"
    );
    Ok(())
}
