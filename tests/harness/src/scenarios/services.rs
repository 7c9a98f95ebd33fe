//! Services that are killed, and services that hang.

use anyhow::{Context as _, Result, ensure};
use k3s_double::control::{Command, Killed, PodState, Service, Stopped};

use crate::devnet::Devnet;
use crate::lab::Context;
use crate::node::{self, eventually, health, number_at, only, processes};
use crate::qemu::Machine;

pub(super) async fn killed_services_come_back(context: &Context) -> Result<()> {
    let devnet = context.devnet().await?;
    let disk = context.disk()?;
    let machine = context.power_on(&context.node(&disk, &devnet)?).await?;
    node::joined(&machine, &devnet).await?;
    let pod = node::running_pod(&machine, &devnet).await?;
    let stake = devnet.stake().await?;
    let balance = devnet.balance().await?;

    for service in [
        Service::Netd,
        Service::Staker,
        Service::Containerd,
        Service::K3s,
    ] {
        kill(&machine, &devnet, service)
            .await
            .with_context(|| format!("after kill -9 of {}", service.program()))?;
        same_container(&machine, &devnet, &pod)
            .await
            .with_context(|| format!("after kill -9 of {}", service.program()))?;
    }
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

pub(super) async fn stopped_services_are_started_anew(context: &Context) -> Result<()> {
    let devnet = context.devnet().await?;
    let disk = context.disk()?;
    let mut options = context.node(&disk, &devnet)?;
    options.watchdog = true;
    let machine = context.power_on(&options).await?;
    // the hardware's is started by the initramfs and taken over by PID 1
    let first = machine.expect("watchdog started").await?;
    machine
        .expect_after(first.index + 1, "watchdog started")
        .await?;
    node::joined(&machine, &devnet).await?;
    let pod = node::running_pod(&machine, &devnet).await?;
    eventually("both say that they work", machine.patience(), || async {
        let health = health(&machine).await?;
        let well = serde_json::json!({"containerd": "ok", "kubelet": "ok"});
        ensure!(
            health.pointer("/probes") == Some(&well),
            "/health says {health}"
        );
        Ok(())
    })
    .await?;

    let netd = only(&processes(&devnet).await?, Service::Netd.program())?.pid;
    // the agent by itself: a staker that starts anew registers again, and has it restarted
    for stopped in [
        &[
            (Service::Containerd, "no good answer 3 times in a row"),
            (Service::Staker, "no keepalive for 60 s"),
        ][..],
        &[(Service::K3s, "no good answer 3 times in a row")][..],
    ] {
        hang(&machine, &devnet, stopped).await?;
    }
    ensure!(
        only(&processes(&devnet).await?, Service::Netd.program())?.pid == netd,
        "netd was restarted as well"
    );
    same_container(&machine, &devnet, &pod).await?;
    eventually("the node is whole", machine.patience(), || async {
        let health = health(&machine).await?;
        ensure!(
            number_at(&health, "/heartbeat/acknowledged").unwrap_or_default() > 0
                && node::text_at(&health, "/state") == "joined"
                && health.pointer("/degraded") == Some(&serde_json::json!({})),
            "/health says {health}"
        );
        Ok(())
    })
    .await
}

/// Stops services, and waits until each is ended for this reason, another process has taken its place, and the node has
/// joined.
async fn hang(machine: &Machine, devnet: &Devnet, stopped: &[(Service, &str)]) -> Result<()> {
    let before = processes(devnet).await?;
    let control = devnet.cluster.control()?;
    let node_name = devnet.node_name()?;
    for (service, _) in stopped {
        let service = *service;
        let command = Command::Stop { service };
        let answer: Stopped = control.command(&node_name, &command).await?;
        let victim = only(&before, service.program())?.pid;
        ensure!(answer.pid == victim, "another process hangs: {answer:?}");
    }
    for (service, why) in stopped {
        let program = service.program();
        let told = format!("it hangs and is ended: {why}.* service={program}");
        machine
            .expect(&told)
            .await
            .with_context(|| format!("of {program}"))?;
    }
    eventually("the services run again", machine.patience(), || async {
        let after = processes(devnet).await?;
        for (service, _) in stopped {
            let program = service.program();
            let (old, new) = (only(&before, program)?, only(&after, program)?);
            ensure!(old.pid != new.pid, "{program} still runs as {}", old.pid);
        }
        Ok(())
    })
    .await?;
    node::ready(machine, devnet).await?;
    eventually("the node has joined", machine.patience(), || async {
        let health = health(machine).await?;
        ensure!(
            node::text_at(&health, "/state") == "joined"
                && node::text_at(&health, "/services/k3s") == "ready"
                && number_at(&health, "/heartbeat/acknowledged").unwrap_or_default() > 0,
            "/health says {health}"
        );
        Ok(())
    })
    .await
}

/// Kills one service and waits until another process has taken its place and does its work, while
/// no other service was restarted.
async fn kill(machine: &Machine, devnet: &Devnet, service: Service) -> Result<()> {
    let before = processes(devnet).await?;
    let victim = only(&before, service.program())?.pid;
    let heartbeats = acknowledged(machine).await?;
    let connections = node::ready(machine, devnet).await?.connections;

    let control = devnet.cluster.control()?;
    let killed: Killed = control
        .command(&devnet.node_name()?, &Command::Kill { service })
        .await?;
    ensure!(
        killed.pid == victim,
        "another process was killed: {killed:?}"
    );

    let after = eventually("the service runs again", machine.patience(), || async {
        let after = processes(devnet).await?;
        let pid = only(&after, service.program())?.pid;
        ensure!(pid != victim, "{} still runs as {pid}", service.program());
        Ok(after)
    })
    .await?;
    for other in [
        Service::Netd,
        Service::Staker,
        Service::Containerd,
        Service::K3s,
    ] {
        if other != service {
            let (old, new) = (
                only(&before, other.program())?,
                only(&after, other.program())?,
            );
            ensure!(
                old.pid == new.pid,
                "{} was restarted as well",
                other.program()
            );
        }
    }
    let ready = node::ready(machine, devnet).await?;
    if service == Service::K3s {
        ensure!(
            ready.connections > connections,
            "the agent has not connected again: {ready:?}"
        );
    }
    // every service has a part in this: the network, the chain and master, the node's state
    eventually(
        "a heartbeat is acknowledged, and the node is whole",
        machine.patience(),
        || async {
            let health = health(machine).await?;
            let count = number_at(&health, "/heartbeat/acknowledged").unwrap_or_default();
            // a new staker counts from the beginning
            let fresh = if service == Service::Staker {
                1
            } else {
                heartbeats + 1
            };
            ensure!(
                count >= fresh
                    && node::text_at(&health, "/state") == "joined"
                    && health.pointer("/degraded") == Some(&serde_json::json!({})),
                "/health says {health}"
            );
            Ok(())
        },
    )
    .await
}

pub(super) async fn acknowledged(machine: &Machine) -> Result<u64> {
    eventually("the status page answers", machine.patience(), || async {
        let health = health(machine).await?;
        number_at(&health, "/heartbeat/acknowledged")
            .with_context(|| format!("/health says {health}"))
    })
    .await
}

/// The pod's container was not touched: it is the same process since the same moment.
async fn same_container(machine: &Machine, devnet: &Devnet, before: &PodState) -> Result<()> {
    let after = node::running_pod(machine, devnet).await?;
    let (old, new) = (before.container.as_ref(), after.container.as_ref());
    let (old, new) = old.zip(new).context("a pod without a container")?;
    ensure!(
        (&old.id, old.pid, old.started_at) == (&new.id, new.pid, new.started_at)
            && before.sandbox.as_ref().map(|sandbox| &sandbox.id)
                == after.sandbox.as_ref().map(|sandbox| &sandbox.id),
        "the pod was disturbed: before {before:?}, after {after:?}"
    );
    Ok(())
}
