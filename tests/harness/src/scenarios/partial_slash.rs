//! A stake that is worth too little for a while.

use anyhow::{Result, ensure};
use chain::Verdict;

use crate::lab::Context;
use crate::node::{self, eventually, health, processes, text_at};

/// The smallest slash there is: the stake falls below the pool's minimum by a ten-thousandth.
const SMALLEST_BASIS_POINTS: u64 = 1;

pub(super) async fn partial_slash_stops_the_pods_until_topped_up(context: &Context) -> Result<()> {
    let devnet = context.devnet().await?;
    let disk = context.disk()?;
    let options = context.node(&disk, &devnet)?;
    let mut machine = context.power_on(&options).await?;
    node::joined(&machine, &devnet).await?;
    let before = node::running_pod(&machine, &devnet).await?;

    let mark = machine.console.position();
    let below = devnet.slash_share(SMALLEST_BASIS_POINTS).await?;
    ensure!(
        below.verdict == Verdict::BelowMinimum,
        "after the smallest slash the stake is {below:?}"
    );
    machine
        .expect_after(mark, "degraded=stake-below-minimum detail=")
        .await?;
    machine.expect_after(mark, "stopped service=k3s").await?;
    machine
        .expect_after(mark, "asking processes to end group=Pods")
        .await?;
    eventually(
        "the status page says that the agent is stopped",
        machine.patience(),
        || async {
            let health = health(&machine).await?;
            ensure!(
                text_at(&health, "/agent") == "stopped"
                    && text_at(&health, "/stake/verdict") == "below-minimum",
                "/health says {health}"
            );
            Ok(())
        },
    )
    .await?;
    ensure!(
        machine.is_running().await?,
        "a partial slash switched the machine off"
    );

    let mark = machine.console.position();
    let missing = chain::Mist(crate::devnet::STAKE.saturating_sub(below.amount.0));
    let whole = devnet.top_up(missing).await?;
    ensure!(
        whole.verdict == Verdict::Active,
        "after the top-up the stake is {whole:?}"
    );
    machine
        .expect_after(mark, "recovered=stake-below-minimum")
        .await?;
    node::ready(&machine, &devnet).await?;
    let after = node::running_pod(&machine, &devnet).await?;
    ensure!(
        after.container.as_ref().map(|container| &container.id)
            != before.container.as_ref().map(|container| &container.id),
        "the pod of before the slash still runs: {after:?}"
    );
    node::only(&processes(&devnet).await?, "k3s")?;
    let told = health(&machine).await?;
    ensure!(
        told.pointer("/degraded") == Some(&serde_json::json!({})),
        "/health says {told}"
    );
    node::switch_off(&mut machine).await
}
