//! What whoever was root once has left on the state disk: none of it is executed or obeyed by the host at
//! the next boot.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use k3s_double::control::{Command, ControlError, FileState, Opened, OpenedFile, TRACE};
use wire::state_paths::{self, Home, STATE_PATHS, StatePath};

use crate::devnet::Devnet;
use crate::lab::Context;
use crate::node;

/// The mount point of the state's file system.
const STATE: &str = "/var";
/// The name of what is left in each directory.
const NAME: &str = "planted";
/// Where `/etc/rancher` was on the state; k3s takes its arguments from there.
const K3S_CONFIGURATION: (&str, &str) = (
    "/var/lib/daas/rancher/k3s/config.yaml",
    "/etc/rancher/k3s/config.yaml",
);
/// What is watched: what of these the table does not list is an error.
const WATCHED: [&str; 4] = [STATE, "/opt", "/etc/rancher", "/etc/cni"];
/// Directories that are kept, with what lies in them.
const KEPT: [&str; 4] = [
    "/var/lib/kubelet/pods",
    "/var/lib/kubelet/image_manager",
    "/var/lib/rancher/k3s/storage",
    "/var/log",
];

pub(super) async fn planted_files_reach_no_program(context: &Context) -> Result<()> {
    let devnet = context.devnet().await?;
    let disk = context.disk()?;
    let mut options = context.node(&disk, &devnet)?;
    let mut first = context.power_on(&options).await?;
    node::joined(&first, &devnet).await?;
    node::running_pod(&first, &devnet).await?;
    node::switch_off(&mut first).await?;
    drop(first);
    let password = "/lib/daas/rancher/node/password";
    let before = disk.state(context.directory())?.read(password)?;

    let mut planted: Vec<String> = forgotten()
        .map(|row| format!("{}/{NAME}", row.path))
        .collect();
    planted.push(K3S_CONFIGURATION.0.to_owned());
    let kept = KEPT.map(|path| format!("{path}/{NAME}"));
    let all: Vec<&str> = planted
        .iter()
        .chain(&kept)
        .map(|path| below_state(path))
        .collect();
    disk.plant(&all, context.directory())?;
    disk.state(context.directory())?.check()?;

    options.boot = context
        .lab
        .direct_boot(format!("{} {TRACE}", context.lab.command_line()?));
    let mut second = context.power_on(&options).await?;
    node::joined(&second, &devnet).await?;
    node::running_pod(&second, &devnet).await?;
    let mut found = Vec::new();
    for path in planted
        .iter()
        .map(String::as_str)
        .chain([K3S_CONFIGURATION.1])
    {
        if look(&devnet, path).await?.is_some() {
            found.push(path);
        }
    }
    ensure!(
        found.is_empty(),
        "what was left is there for whoever reads it:\n{}",
        found.join("\n")
    );
    for path in &kept {
        ensure!(look(&devnet, path).await?.is_some(), "{path} was not kept");
    }
    check_mounts(&devnet).await?;
    check_opened(&devnet).await?;
    node::switch_off(&mut second).await?;
    drop(second);

    let state = disk.state(context.directory())?;
    state.check()?;
    for path in &planted {
        ensure!(
            state.read(below_state(path)).is_err(),
            "{path} is still on the state disk"
        );
    }
    ensure!(
        state.read(password)? == before,
        "the node has another password"
    );
    Ok(())
}

/// The rows of what no boot leaves to the next, where they lie on the state's file system.
fn forgotten() -> impl Iterator<Item = &'static StatePath> {
    STATE_PATHS.iter().filter(|row| {
        let forgotten = matches!(row.home, Home::Emptied | Home::Tmpfs | Home::Run(_));
        // what lies behind the links to /run themselves is in use
        let in_use = matches!(row.home, Home::Run("/run" | "/run/lock"));
        forgotten && !in_use && row.path.starts_with(STATE)
    })
}

/// The path in the state's file system.
fn below_state(path: &str) -> &str {
    path.strip_prefix(STATE).unwrap_or(path)
}

/// A path on the node; none where there is nothing.
async fn look(devnet: &Devnet, path: &str) -> Result<Option<FileState>> {
    let control = devnet.cluster.control()?;
    let command = Command::Read { path: path.into() };
    match control.command(&devnet.node_name()?, &command).await {
        Ok(state) => Ok(Some(state)),
        Err(ControlError::Refused { message, .. }) if message.contains("No such file") => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot look at {path} on the node")),
    }
}

/// Everything that was opened below the watched folders since the kernel started is in the table, and the
/// host has executed nothing of it but what lies on the verified root.
async fn check_opened(devnet: &Devnet) -> Result<()> {
    let command = Command::Opened {
        below: WATCHED.map(str::to_owned).to_vec(),
    };
    let opened: Opened = devnet
        .cluster
        .control()?
        .command(&devnet.node_name()?, &command)
        .await
        .context("cannot ask what was opened")?;
    ensure!(
        opened.complete && opened.events > 1000,
        "the kernel's record is not complete: {} events",
        opened.events
    );
    // a boot without these was not seen
    for (program, path) in [
        ("provision", "/var/lib/daas/state-version"),
        (
            "containerd",
            "/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db",
        ),
        ("k3s", "/etc/rancher/node/password"),
    ] {
        let seen = |file: &OpenedFile| file.program.starts_with(program) && file.path == path;
        ensure!(
            opened.files.iter().any(seen),
            "{program} was not seen to open {path}"
        );
    }
    let wrong: Vec<String> = opened
        .files
        .iter()
        .filter(|file| !is_listed(file))
        .map(|file| format!("{file:?}"))
        .collect();
    if wrong.is_empty() {
        return Ok(());
    }
    bail!(
        "wire::state_paths does not list what was opened:\n{}",
        wrong.join("\n")
    )
}

/// Whether the table has a row for it, by which it may be opened so. Directories on the way to a row are
/// looked into, and a file that is replaced is written beside its place.
fn is_listed(file: &OpenedFile) -> bool {
    let name = file.path.strip_suffix(".new").unwrap_or(&file.path);
    let path = Path::new(name);
    match state_paths::of(path) {
        Some(row) => !file.executed || row.home == Home::Root,
        None => {
            !file.executed
                && STATE_PATHS
                    .iter()
                    .any(|row| Path::new(row.path).starts_with(path))
        }
    }
}

/// The mounts as the kernel has them (proc_pid_mountinfo(5)).
async fn check_mounts(devnet: &Devnet) -> Result<()> {
    let mounts = look(devnet, "/proc/self/mountinfo").await?;
    let text = mounts.and_then(|mounts| mounts.contents);
    let text = text.context("the node's mounts were not shown")?;
    check_mount(&text, STATE, "ext4", false)?;
    for row in STATE_PATHS {
        match row.home {
            Home::KeptWithPrograms => check_mount(&text, row.path, "ext4", true)?,
            Home::Tmpfs if row.path == "/var/lib/rancher/k3s/agent" => {
                check_mount(&text, row.path, "tmpfs", false)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_mount(text: &str, path: &str, kind: &str, programs: bool) -> Result<()> {
    let line = text
        .lines()
        .rfind(|line| line.split(' ').nth(4) == Some(path))
        .with_context(|| format!("nothing is mounted on {path}"))?;
    let flags: Vec<&str> = line
        .split(' ')
        .nth(5)
        .unwrap_or_default()
        .split(',')
        .collect();
    ensure!(
        line.contains(&format!(" - {kind} "))
            && flags.contains(&"nosuid")
            && flags.contains(&"nodev")
            && flags.contains(&"noexec") != programs,
        "{path} is mounted otherwise: {line}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(path: &str, executed: bool) -> OpenedFile {
        OpenedFile {
            program: "containerd".to_owned(),
            path: path.to_owned(),
            executed,
        }
    }

    #[test]
    fn is_listed_takes_rows_and_the_way_to_them() {
        for path in [
            "/var",
            "/var/lib/daas",
            "/var/lib/daas/owner.new",
            "/opt/cni/bin",
        ] {
            assert!(is_listed(&opened(path, false)), "{path}");
        }
        for path in ["/var/lib/other", "/var/lib/daas/hook", "/opt/other"] {
            assert!(!is_listed(&opened(path, false)), "{path}");
        }
        assert!(is_listed(&opened(
            "/var/lib/rancher/k3s/data/ab/bin/k3s",
            true
        )));
        for path in [
            "/var/lib/kubelet/pods/1/run",
            "/var/lib/containerd/opt/bin/runc",
            "/var",
        ] {
            assert!(!is_listed(&opened(path, true)), "{path}");
        }
    }

    #[test]
    fn a_mount_without_its_flags_is_an_error() {
        let line =
            |flags: &str| format!("28 21 254:6 / /var {flags} shared:9 - ext4 /dev/vda6 rw\n");
        let good = line("rw,nosuid,nodev,noexec,relatime");
        assert!(check_mount(&good, "/var", "ext4", false).is_ok());
        assert!(check_mount(&good, "/var", "ext4", true).is_err());
        assert!(check_mount(&good, "/var/lib", "ext4", false).is_err());
        assert!(check_mount(&line("rw,nosuid,noexec"), "/var", "ext4", false).is_err());
        let covered = good + "29 28 0:9 / /var rw - tmpfs tmpfs rw\n";
        assert!(check_mount(&covered, "/var", "ext4", false).is_err());
    }
}
