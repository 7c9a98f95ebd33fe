//! A machine that lost its power.

use anyhow::{Result, ensure};

use crate::devnet::K3s;
use crate::disk::State;
use crate::lab::Context;
use crate::node;

/// What makes a node the same one, on its state disk.
const IDENTITY: [&str; 2] = ["/lib/daas/machine-id", "/lib/daas/rancher/node/password"];

pub(super) async fn restart_keeps_stake_and_identity(context: &Context) -> Result<()> {
    let devnet = context.devnet().await?;
    let disk = context.disk()?;
    let options = context.node(&disk, &devnet)?;

    let mut first = context.power_on(&options).await?;
    node::joined(&first, &devnet).await?;
    let stake = devnet.stake().await?;
    let balance = devnet.balance().await?;
    let pod = match context.lab.k3s {
        K3s::Double => Some(node::running_pod(&first, &devnet).await?.uid),
        K3s::Real(_) => None,
    };
    first.cut_power().await?;
    drop(first);
    // looked at on a copy, for the next boot must do with the disk as the power cut left it
    let state = disk.state(context.directory())?;
    state.recover()?;
    let before = identity(&state)?;

    let mut second = context.power_on(&options).await?;
    node::joined(&second, &devnet).await?;
    let again = devnet.stake().await?;
    ensure!(
        again == stake,
        "the stake changed over a restart from {stake:?} to {again:?}"
    );
    let left = devnet.balance().await?;
    ensure!(
        left == balance,
        "the node paid for a transaction at a restart: it had {balance:?}, and has {left:?}"
    );
    if let Some(uid) = pod {
        let pod = node::running_pod(&second, &devnet).await?;
        ensure!(
            pod.uid == uid,
            "the pod changed over a restart from {uid} to {}",
            pod.uid
        );
    }
    node::switch_off(&mut second).await?;
    let state = disk.state(context.directory())?;
    state.check()?;
    ensure!(
        identity(&state)? == before,
        "the node's identity changed over a restart"
    );
    Ok(())
}

fn identity(state: &State) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for path in IDENTITY {
        let text = state.read(path)?;
        ensure!(
            text.trim().len() >= 16,
            "{path} on the state disk is too short"
        );
        found.push(text);
    }
    Ok(found)
}
