//! A pod that takes what it can get: processes or memory without end, in a cgroup below the pod's own.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use thiserror::Error;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::control::{Hogged, Resource};

const CGROUPS: &str = "/sys/fs/cgroup";
/// The cgroup of what is started here, below the pod's.
const GROUP: &str = "hog";
const SHELL: &str = "/usr/bin/sh";
/// As the kubelet sets it for pods without requests: first to be killed.
const SCORE: &str = "1000";
/// How long the kernel may take to kill all of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Nothing can be taken.
#[derive(Debug, Error)]
pub(super) enum HogError {
    /// The cgroup, or the shell in it.
    #[error("cannot {0}")]
    System(&'static str, #[source] std::io::Error),
    /// The kernel does not get rid of it.
    #[error("the processes are not gone within {} s", PATIENCE.as_secs())]
    Stays,
}

/// Begins to take all of a resource, from within the pod of this cgroup.
pub(super) async fn start(pod: &str, resource: Resource) -> Result<Hogged, HogError> {
    let pod = Path::new(CGROUPS).join(pod.trim_start_matches('/'));
    let group = pod.join(GROUP);
    std::fs::create_dir(&group).map_err(|error| HogError::System("make a cgroup", error))?;
    let take = match resource {
        Resource::Processes => "f() { while :; do f & done; }; f",
        Resource::Memory => "x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done",
    };
    // moves itself before it takes anything
    let script = format!(
        "echo {SCORE} >/proc/self/oom_score_adj && echo 0 >{}/cgroup.procs && {take}",
        group.display()
    );
    let mut child = Command::new(SHELL)
        .args(["-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| HogError::System("start a shell", error))?;
    tokio::spawn(async move { child.wait().await });
    Ok(Hogged { cgroup: pod })
}

/// Ends all of it.
pub(super) async fn end(pod: &str) -> Result<Hogged, HogError> {
    let pod = Path::new(CGROUPS).join(pod.trim_start_matches('/'));
    let group = pod.join(GROUP);
    std::fs::write(group.join("cgroup.kill"), "1")
        .map_err(|error| HogError::System("kill a cgroup", error))?;
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = std::fs::remove_dir(&group) {
        if error.kind() != std::io::ErrorKind::ResourceBusy {
            return Err(HogError::System("remove a cgroup", error));
        }
        if Instant::now() > deadline {
            return Err(HogError::Stays);
        }
        sleep(Duration::from_millis(100)).await;
    }
    Ok(Hogged { cgroup: pod })
}
