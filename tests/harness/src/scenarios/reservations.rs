//! A pod that takes all that it can get.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k3s_double::control::{Command, FileState, Hogged, Resource};

use super::services::acknowledged;
use crate::devnet::Devnet;
use crate::lab::Context;
use crate::node::{self, eventually, health, only, processes};
use crate::qemu::Machine;

/// What runs the node.
const SERVICES: [&str; 5] = ["init", "netd", "staker", "containerd", "k3s"];
/// How long a heartbeat can take while a pod takes all it gets: they are 30 s apart.
const TWO_HEARTBEATS: Duration = Duration::from_secs(60);

pub(super) async fn pod_takes_neither_memory_nor_processes(context: &Context) -> Result<()> {
    let devnet = context.devnet().await?;
    let disk = context.disk()?;
    let machine = context.power_on(&context.node(&disk, &devnet)?).await?;
    node::joined(&machine, &devnet).await?;
    node::running_pod(&machine, &devnet).await?;
    let before = services(&devnet).await?;

    for (resource, file, counter) in [
        (Resource::Processes, "pids.events", "max"),
        (Resource::Memory, "memory.events", "oom_kill"),
    ] {
        let heartbeats = acknowledged(&machine).await?;
        let Hogged { cgroup } = command(&devnet, &Command::Hog { resource }).await?;
        // the pod's own bound of processes; that of all pods of memory
        let counted = match resource {
            Resource::Processes => cgroup.join(file),
            Resource::Memory => PathBuf::from("/sys/fs/cgroup/kubepods").join(file),
        };
        eventually("the pod is held back", machine.patience(), || async {
            let events = read(&devnet, counted.clone()).await?;
            ensure!(
                count(&events, counter) > 0,
                "{} says {events:?}",
                counted.display()
            );
            Ok(())
        })
        .await?;
        eventually(
            "heartbeats go on",
            machine.patience() + TWO_HEARTBEATS,
            || async {
                let now = acknowledged(&machine).await?;
                ensure!(now > heartbeats, "{now} were acknowledged");
                Ok(())
            },
        )
        .await?;
        let _: Hogged = command(&devnet, &Command::Relieve).await?;
        unharmed(&machine, &devnet, &before)
            .await
            .with_context(|| format!("after a pod that took {resource:?}"))?;
    }
    Ok(())
}

async fn command<T: serde::de::DeserializeOwned>(devnet: &Devnet, command: &Command) -> Result<T> {
    let control = devnet.cluster.control()?;
    Ok(control.command(&devnet.node_name()?, command).await?)
}

async fn read(devnet: &Devnet, path: PathBuf) -> Result<String> {
    let state: FileState = command(devnet, &Command::Read { path }).await?;
    state.contents.context("a file without contents")
}

/// `max 12`, among other lines.
fn count(events: &str, name: &str) -> u64 {
    let line = events
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}

async fn services(devnet: &Devnet) -> Result<Vec<i32>> {
    let all = processes(devnet).await?;
    SERVICES
        .iter()
        .map(|name| Ok(only(&all, name)?.pid))
        .collect()
}

/// The node has joined, nothing degrades it, and everything that runs it is the same process.
async fn unharmed(machine: &Machine, devnet: &Devnet, before: &[i32]) -> Result<()> {
    node::ready(machine, devnet).await?;
    eventually("the node is whole", machine.patience(), || async {
        let health = health(machine).await?;
        ensure!(
            node::text_at(&health, "/state") == "joined"
                && health.pointer("/degraded") == Some(&serde_json::json!({})),
            "/health says {health}"
        );
        Ok(())
    })
    .await?;
    let now = services(devnet).await?;
    ensure!(
        now == before,
        "{SERVICES:?} were {before:?}, and are {now:?}"
    );
    Ok(())
}
