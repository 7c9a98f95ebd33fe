//! Processes beside the machine (QEMU, the devnet's services): their output is kept, and they end
//! with the harness, however it ends.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::log::{Found, LineLog};

/// A running process with its output (standard output and standard error) in a [`LineLog`].
pub struct ManagedProcess {
    name: String,
    child: Child,
    /// What it wrote.
    pub log: LineLog,
}

impl ManagedProcess {
    /// Starts `program` with its output appended to `record`.
    ///
    /// The program is killed when this value is dropped, and also, by `PR_SET_PDEATHSIG`
    /// (prctl(2)), when the harness dies without a chance to drop anything.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = OsString>,
        record: &Path,
    ) -> Result<Self> {
        // one pipe for both streams keeps their lines in order
        let (output, writer) = std::io::pipe().context("cannot make a pipe")?;
        // setpriv(1) from util-linux sets the signal: prctl by ourselves needs unsafe code
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(writer.try_clone().context("cannot share a pipe")?)
            .stderr(writer)
            // a Ctrl-C in the terminal is for the harness, which then stops the others in order
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name} ({})", program.display()))?;
        let log = LineLog::new(name);
        let follower = log.clone();
        let record: PathBuf = record.to_owned();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = follower.follow(output, &record, None) {
                eprintln!("harness: {error:#}");
            }
        });
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// Waits for the line by which the process says that it is ready.
    ///
    /// # Errors
    /// When it ends, or says nothing within `timeout`; with the end of its output.
    pub async fn ready(&self, pattern: &str, timeout: Duration) -> Result<Found> {
        self.log
            .wait(pattern, 0, timeout)
            .await
            .with_context(|| format!("{} did not get ready:\n{}", self.name, self.log.tail(20)))
    }

    /// Waits for the end of the process.
    ///
    /// # Errors
    /// When it still runs after `timeout`.
    pub async fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        tokio::time::timeout(timeout, self.child.wait())
            .await
            .with_context(|| format!("{} still runs after {} s", self.name, timeout.as_secs()))?
            .with_context(|| format!("cannot wait for {}", self.name))
    }

    /// Sends a signal; a process that has ended is left alone.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let Some(pid) = self.child.id() else {
            return Ok(());
        };
        let pid = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .context("an impossible pid")?;
        kill_process(pid, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Kills the process and waits for its end.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill(&mut self) -> Result<()> {
        self.child
            .kill()
            .await
            .with_context(|| format!("cannot kill {}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn shell(script: &str, record: &Path) -> ManagedProcess {
        let arguments = ["-c", script].map(OsString::from);
        ManagedProcess::spawn("the shell", Path::new("/bin/sh"), arguments, record).unwrap()
    }

    #[tokio::test]
    async fn both_streams_are_kept_and_the_status_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let record = directory.path().join("log");
        let mut process = shell("echo out; echo err >&2; exit 7", &record);
        process.ready("out", LONG).await.unwrap();
        process.ready("err", LONG).await.unwrap();
        assert_eq!(process.wait(LONG).await.unwrap().code(), Some(7));
        let kept = std::fs::read_to_string(&record).unwrap();
        assert!(kept.contains("out\n") && kept.contains("err\n"), "{kept}");
    }

    #[tokio::test]
    async fn an_early_end_is_told_with_the_output() {
        let directory = tempfile::tempdir().unwrap();
        let process = shell("echo no such file", &directory.path().join("log"));
        let error = format!(
            "{:#}",
            process.ready("listening on", LONG).await.err().unwrap()
        );
        assert!(
            error.contains("no such file") && error.contains("ended"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_stopped_process_can_be_continued_and_killed() {
        let directory = tempfile::tempdir().unwrap();
        let mut process = shell("echo up; read line", &directory.path().join("log"));
        process.ready("up", LONG).await.unwrap();
        process.signal(Signal::STOP).unwrap();
        process.signal(Signal::CONT).unwrap();
        process.kill().await.unwrap();
        process.signal(Signal::TERM).unwrap();
    }
}
