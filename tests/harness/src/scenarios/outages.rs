//! Others that do not answer.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::lab::Context;
use crate::node::{self, eventually, health, number_at, processes};
use crate::qemu::Machine;

/// Heartbeats are 30 s apart and each has its own time limit: three that fail take this long, and
/// some.
const THREE_HEARTBEATS: Duration = Duration::from_secs(90);

pub(super) async fn outages_degrade_and_heal(context: &Context) -> Result<()> {
    let mut devnet = context.devnet_without_chain_and_master().await?;
    let disk = context.disk()?;
    let mut options = context.node(&disk, &devnet)?;
    options.cable = false;
    let mut machine = context.power_on(&options).await?;

    // a boot without a network, then without a chain, then without a master
    machine.expect("degraded=network detail=").await?;
    machine.set_cable(true).await?;
    machine.expect("recovered=network").await?;
    machine.expect("degraded=chain-unreachable detail=").await?;
    devnet.fullnode.start().await?;
    machine.expect("recovered=chain-unreachable").await?;
    machine
        .expect("degraded=master-unreachable detail=")
        .await?;
    devnet.start_rest().await?;
    machine.expect("recovered=master-unreachable").await?;
    // from the agent's start until it says that it is ready
    machine
        .expect("degraded=policies-unenforced detail=")
        .await?;
    machine.expect("recovered=policies-unenforced").await?;
    node::joined(&machine, &devnet).await?;
    whole(&machine).await?;
    let stake = devnet.stake().await?;
    let balance = devnet.balance().await?;
    let agent_before = agent(&devnet).await?;

    // a k3s server that hangs: the node says so, and nothing of it is restarted
    let mark = machine.console.position();
    devnet.cluster.service.pause()?;
    machine
        .expect_after(mark, "degraded=cluster-unreachable detail=")
        .await?;
    devnet.cluster.service.resume()?;
    machine
        .expect_after(mark, "recovered=cluster-unreachable")
        .await?;
    node::ready(&machine, &devnet).await?;
    whole(&machine).await?;
    ensure!(
        agent(&devnet).await? == agent_before,
        "the agent was restarted for a server that was silent"
    );

    // a fullnode that hangs and a master that is gone: three heartbeats fail, and the agent is
    // restarted, but the node neither powers off nor stakes again
    let mark = machine.console.position();
    devnet.fullnode.pause()?;
    devnet.master.stop().await?;
    machine
        .expect_after(mark, "degraded=heartbeat detail=")
        .await?;
    eventually(
        "the agent is restarted",
        machine.patience() + THREE_HEARTBEATS,
        || async {
            let now = agent(&devnet).await?;
            ensure!(now != agent_before, "the agent still is {now}");
            Ok(())
        },
    )
    .await?;
    ensure!(
        machine.is_running().await?,
        "the node ended because others did not answer"
    );
    devnet.fullnode.resume()?;
    devnet.master.start().await?;
    machine.expect_after(mark, "recovered=heartbeat").await?;
    node::ready(&machine, &devnet).await?;
    whole(&machine).await?;
    let after = devnet.stake().await?;
    ensure!(
        after == stake,
        "the stake changed from {stake:?} to {after:?}"
    );
    ensure!(
        devnet.balance().await? == balance,
        "the node paid for another transaction"
    );
    Ok(())
}

/// The agent's process.
async fn agent(devnet: &crate::devnet::Devnet) -> Result<i32> {
    Ok(node::only(&processes(devnet).await?, "k3s")?.pid)
}

/// Waits until the node has joined, nothing degrades it, and the master acknowledges heartbeats.
async fn whole(machine: &Machine) -> Result<()> {
    eventually("the node is whole", machine.patience(), || async {
        let health = health(machine).await?;
        ensure!(
            node::text_at(&health, "/state") == "joined"
                && health.pointer("/degraded") == Some(&serde_json::json!({}))
                && number_at(&health, "/heartbeat/failures_in_a_row") == Some(0)
                && number_at(&health, "/heartbeat/acknowledged").is_some_and(|count| count > 0),
            "/health says {health}"
        );
        Ok(())
    })
    .await
}
