//! What the node's programs may do, and where its secrets are, as seen on the running node.

use anyhow::{Context as _, Result, ensure};
use k3s_double::control::{Capabilities, Command, EnvironmentState, FileState, Needle, Process};
use wire::{paths, users};

use crate::devnet::Devnet;
use crate::node::{only, processes};
use crate::qemu::Machine;

/// CAP_NET_BIND_SERVICE (10), CAP_NET_ADMIN (12), CAP_NET_RAW (13) and CAP_SYS_TIME (25),
/// capability.h.
const NETD: u64 = 1 << 10 | 1 << 12 | 1 << 13 | 1 << 25;

/// Checks users, capabilities, cgroups and secret files of the running node.
pub(super) async fn check(machine: &Machine, devnet: &Devnet) -> Result<()> {
    let all = processes(devnet).await?;
    let staker = only(&all, "staker")?;
    ensure!(
        (staker.uid, staker.gid) == (users::STAKER, users::STAKER)
            && staker.capabilities == capabilities(0)
            && staker.no_new_privileges,
        "the staker has too many rights: {staker:?}"
    );
    let netd = only(&all, "netd")?;
    ensure!(
        (netd.uid, netd.gid) == (users::NETD, users::NETD)
            && netd.capabilities.effective == format!("{NETD:016x}")
            && netd.capabilities.bounding == format!("{NETD:016x}")
            && netd.no_new_privileges,
        "netd has other rights than it needs: {netd:?}"
    );
    for (name, cgroup) in [
        ("staker", "/system/staker"),
        ("netd", "/system/netd"),
        ("containerd", "/system/containerd"),
        ("k3s", "/k3s"),
    ] {
        let process = only(&all, name)?;
        ensure!(
            process.cgroup == cgroup,
            "{name} is in the cgroup {}",
            process.cgroup
        );
    }
    check_files(devnet).await?;
    for process in &all {
        check_process(devnet, process).await?;
    }
    let health = crate::node::health_text(machine.health_port()).await?;
    check_no_secret(devnet, "/health", &health)
}

pub(super) fn capabilities(set: u64) -> Capabilities {
    let set = format!("{set:016x}");
    Capabilities {
        effective: set.clone(),
        permitted: set.clone(),
        inheritable: set.clone(),
        bounding: set.clone(),
        ambient: set,
    }
}

async fn check_files(devnet: &Devnet) -> Result<()> {
    for (path, mode, owner) in [
        (paths::AGENT_TOKEN, "0600", 0),
        (paths::STAKER_SETTINGS, "0400", users::STAKER),
    ] {
        check_secret_file(devnet, path, mode, owner).await?;
    }
    Ok(())
}

/// A file with a secret is for its owner alone.
pub(super) async fn check_secret_file(
    devnet: &Devnet,
    path: &str,
    mode: &str,
    owner: u32,
) -> Result<()> {
    let file = read(devnet, path).await?;
    ensure!(
        (file.kind.as_str(), file.mode.as_str(), file.uid) == ("file", mode, owner),
        "{path} is not for its owner alone: {file:?}"
    );
    Ok(())
}

async fn read(devnet: &Devnet, path: &str) -> Result<FileState> {
    let control = devnet.cluster.control()?;
    control
        .command(&devnet.node_name()?, &Command::Read { path: path.into() })
        .await
        .with_context(|| format!("cannot look at {path} on the node"))
}

/// Neither arguments nor environment hold a secret.
async fn check_process(devnet: &Devnet, process: &Process) -> Result<()> {
    let name = format!("the arguments of {} ({})", process.name, process.pid);
    check_no_secret(devnet, &name, &process.arguments.join(" "))?;
    let secrets = devnet.secrets()?;
    let command = Command::Environment {
        process: process.pid,
        needles: secrets
            .iter()
            .map(|(_, secret)| Needle(secret.clone()))
            .collect(),
    };
    let environment: EnvironmentState = devnet
        .cluster
        .control()?
        .command(&devnet.node_name()?, &command)
        .await
        .with_context(|| format!("cannot look through the environment of {}", process.name))?;
    let place = format!("the environment of {} ({})", process.name, process.pid);
    if let Some((name, _)) = environment.found.first().and_then(|at| secrets.get(*at)) {
        anyhow::bail!("{place} holds {name}");
    }
    // PID 1 gives each service its socket: an environment without it was not really looked at
    let service = ["netd", "staker", "containerd", "k3s"].contains(&process.name.as_str());
    let notified = environment.names.iter().any(|name| name == "NOTIFY_SOCKET");
    ensure!(
        !service || environment.gone || notified,
        "{place} was not seen: it has only {:?}",
        environment.names
    );
    Ok(())
}

/// No secret of the devnet stands in `text`.
pub(super) fn check_no_secret(devnet: &Devnet, place: &str, text: &str) -> Result<()> {
    for (name, secret) in devnet.secrets()? {
        ensure!(!text.contains(&secret), "{place} holds {name}");
    }
    Ok(())
}
