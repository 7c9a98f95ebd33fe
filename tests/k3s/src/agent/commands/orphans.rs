//! Orphans: processes whose parent exits before them, so that PID 1 inherits and must reap them.
//!
//! The agent starts itself as a parent that starts itself as the orphan and exits. The orphan
//! waits until somebody has adopted it, says who, and exits.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{getpid, getppid};
use thiserror::Error;
use tokio::process::Command;

use super::{kill, processes};
use crate::control::{Orphan, Orphans};

/// More would only test the machine's memory.
const MOST: u32 = 64;
/// How long an orphan's whole life may take.
const LIFETIME: Duration = Duration::from_secs(20);

/// Orphans cannot be made.
#[derive(Debug, Error)]
pub enum OrphanError {
    /// Too many or none.
    #[error("expected 1 to {MOST} orphans, not {0}")]
    Count(u32),
    /// The program cannot start itself.
    #[error("cannot start an orphan")]
    Start(#[source] std::io::Error),
    /// An orphan did not say who adopted it.
    #[error("an orphan gave no account of itself: {0:?}")]
    Account(String),
    /// An orphan was not adopted in time.
    #[error("an orphan was not adopted within {} s", LIFETIME.as_secs())]
    Timeout,
}

/// Leaves `count` orphans to PID 1 and waits until they have been reaped.
pub(super) async fn leave(count: u32) -> Result<Orphans, OrphanError> {
    if !(1..=MOST).contains(&count) {
        return Err(OrphanError::Count(count));
    }
    let started = (0..count).map(|_| leave_one()).collect::<Vec<_>>();
    let orphans = futures::future::try_join_all(started).await?;
    let pids: Vec<_> = orphans.iter().map(|orphan| orphan.pid).collect();
    let reaped = kill::gone(&pids).await;
    let zombies = processes::all()
        .processes
        .iter()
        .filter(|process| process.state == "Z")
        .count();
    Ok(Orphans {
        orphans,
        reaped,
        zombies,
    })
}

async fn leave_one() -> Result<Orphan, OrphanError> {
    // The output ends when the orphan does, who has it from its parent.
    let output = Command::new("/proc/self/exe")
        .arg("double-orphan")
        .env_clear()
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(LIFETIME, output)
        .await
        .map_err(|_| OrphanError::Timeout)?
        .map_err(OrphanError::Start)?;
    let account = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let numbers = account.split_once(' ').and_then(|(pid, adopted_by)| {
        Some(Orphan {
            pid: pid.parse().ok()?,
            adopted_by: adopted_by.parse().ok()?,
        })
    });
    numbers.ok_or(OrphanError::Account(account))
}

/// The life of `double-orphan`: without `parent` that of the parent, with it that of the orphan.
///
/// # Errors
/// The program cannot start itself, or nobody adopts it.
pub fn live_as_orphan(parent: Option<i32>) -> Result<(), OrphanError> {
    let Some(parent) = parent else {
        let me = getpid().as_raw_nonzero().get().to_string();
        let child = std::process::Command::new("/proc/self/exe")
            .args(["double-orphan", "--parent", &me])
            .spawn()
            .map_err(OrphanError::Start)?;
        // Nobody waits for it: that is the point.
        drop(child);
        return Ok(());
    };
    let deadline = std::time::Instant::now() + LIFETIME;
    loop {
        let now = getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
        if now != parent {
            println!("{} {now}", getpid().as_raw_nonzero());
            return Ok(());
        }
        if std::time::Instant::now() > deadline {
            return Err(OrphanError::Timeout);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_count_out_of_bounds_is_refused() {
        assert!(matches!(leave(0).await, Err(OrphanError::Count(0))));
        assert!(matches!(leave(65).await, Err(OrphanError::Count(65))));
    }
}
