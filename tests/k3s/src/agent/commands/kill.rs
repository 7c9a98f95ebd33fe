//! `kill -9` and `kill -STOP`, of services that PID 1 started and of nothing else.

use std::time::Duration;

use rustix::process::{Pid, Signal, getpid, kill_process};
use thiserror::Error;

use super::processes;
use crate::control::{Killed, Process, Service, Stopped};

/// How long a killed process may stay in the process table: PID 1 has to reap it.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the reply has before this very process stops.
const LAST_WORD: Duration = Duration::from_millis(500);
/// How often the process table is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// A service cannot be killed.
#[derive(Debug, Error)]
pub(super) enum KillError {
    /// It does not run.
    #[error("no process of {0} is a child of PID 1")]
    NotRunning(&'static str),
    /// The kernel refused.
    #[error("cannot kill {0}")]
    Kill(&'static str, #[source] rustix::io::Errno),
}

/// Kills a service and waits until it has left the process table.
pub(super) async fn service(service: Service) -> Result<Killed, KillError> {
    let pid = signal(service, Signal::KILL)?;
    let gone = gone(&[pid]).await;
    Ok(Killed { service, pid, gone })
}

/// Stops a service, which does not end by that.
pub(super) async fn stop(service: Service) -> Result<Stopped, KillError> {
    let pid = match service {
        Service::K3s => {
            tokio::spawn(async {
                tokio::time::sleep(LAST_WORD).await;
                if let Err(error) = kill_process(getpid(), Signal::STOP) {
                    tracing::error!(%error, "cannot stop this process");
                }
            });
            getpid().as_raw_nonzero().get()
        }
        _ => signal(service, Signal::STOP)?,
    };
    Ok(Stopped { service, pid })
}

/// Sends a signal to a service, and gives its process.
fn signal(service: Service, signal: Signal) -> Result<i32, KillError> {
    let program = service.program();
    let found = processes::all()
        .processes
        .into_iter()
        .find(|process| process.name == program && process.ppid == 1 && runs(process, program));
    let process = found.ok_or(KillError::NotRunning(program))?;
    let pid = Pid::from_raw(process.pid).ok_or(KillError::NotRunning(program))?;
    kill_process(pid, signal).map_err(|errno| KillError::Kill(program, errno))?;
    Ok(process.pid)
}

/// Whether the process runs that program: its name alone could be anybody's.
fn runs(process: &Process, program: &str) -> bool {
    std::fs::read_link(format!("/proc/{}/exe", process.pid))
        .is_ok_and(|path| path.file_name().is_some_and(|name| name == program))
}

/// Waits until none of these processes is in the process table, zombies included.
pub(super) async fn gone(pids: &[i32]) -> bool {
    let present = || {
        pids.iter()
            .any(|pid| std::path::Path::new(&format!("/proc/{pid}")).exists())
    };
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while present() {
        if tokio::time::Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(LOOK).await;
    }
    true
}

/// Kills this very process.
pub(super) fn own_process() {
    tracing::warn!("killing this process, as the server commanded");
    if let Err(error) = kill_process(getpid(), Signal::KILL) {
        tracing::error!(%error, "cannot kill this process");
    }
}
