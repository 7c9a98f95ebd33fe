//! A service's process, and the pipe that its output comes through.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::{Errno, read};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitStatus, kill_process};
use sys::process::{CHANNEL_DESCRIPTOR, Child, Program, SpawnError, spawn};
use sys::system_calls::{Filter, FilterError};
use thiserror::Error;
use wire::child::FILE_DESCRIPTOR_VARIABLE;

use super::{Exit, Kind, Service};
use log::{LineSplitter, RateLimit, Verdict};

/// Where programs are found. `host-local` must be found by the kubelet.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/cni";
/// Lines a second that a service may write, and how many at once.
const LINES_PER_SECOND: u32 = 200;
const LINES_AT_ONCE: u32 = 2000;
/// The most bytes that are read from a service before others have their turn.
const BYTES_AT_ONCE: usize = 64 * 1024;

/// Why a service could not be started.
#[derive(Debug, Error)]
pub(crate) enum LaunchError {
    /// Its standard input can't be opened.
    #[error("/dev/null can't be opened")]
    Null(#[source] io::Error),
    /// What it may ask the kernel for can't be said.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// There is no process.
    #[error("it can't be started")]
    Spawn(#[from] SpawnError),
}

/// What a service's process is started with, beyond what the table says.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) service: &'static Service,
    pub(crate) arguments: &'a [String],
    /// Its cgroup; none: that of `init`.
    pub(crate) cgroup: Option<BorrowedFd<'a>>,
    pub(crate) notify_socket: &'a str,
    pub(crate) output: BorrowedFd<'a>,
    /// Its end of the connection to `init`.
    pub(crate) connection: Option<BorrowedFd<'a>>,
}

/// A process that runs.
#[derive(Debug)]
pub(crate) struct Process(Child);

/// Starts a service's process.
///
/// # Errors
/// [`LaunchError`] when there is no process.
pub(crate) fn launch(launch: &Launch<'_>) -> Result<Process, LaunchError> {
    let service = launch.service;
    let null = File::open("/dev/null").map_err(LaunchError::Null)?;
    let filter = service.filtered.then(Filter::new).transpose()?;
    let child = spawn(&Program {
        path: service.program,
        arguments: launch.arguments,
        environment: &environment(launch),
        cgroup: launch.cgroup,
        user: service.user,
        filter: filter.as_ref(),
        open_files: service.open_files,
        core_dumps: false,
        out_of_memory_score: service.out_of_memory_score,
        input: null.as_fd(),
        output: launch.output,
        channel: launch.connection,
    })?;
    Ok(Process(child))
}

/// The whole environment: nothing of PID 1's own goes on.
fn environment(launch: &Launch<'_>) -> Vec<(String, String)> {
    let service = launch.service;
    let mut variables = vec![("PATH", PATH), ("HOME", "/")];
    variables.extend_from_slice(service.environment);
    if matches!(service.kind, Kind::Daemon(_)) {
        variables.push(("NOTIFY_SOCKET", launch.notify_socket));
    }
    // of the process itself: what it starts is not asked for keepalives, and sends none that count
    let limit = service.watchdog.map(|limit| limit.as_micros().to_string());
    if let Some(limit) = &limit {
        variables.push(("WATCHDOG_USEC", limit));
    }
    let channel = CHANNEL_DESCRIPTOR.to_string();
    if launch.connection.is_some() {
        variables.push((FILE_DESCRIPTOR_VARIABLE, &channel));
    }
    variables
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

impl Process {
    /// The process.
    pub(crate) const fn id(&self) -> Pid {
        self.0.id
    }

    /// Sends a signal to this process alone. It can't reach another one: until `init` has reaped
    /// it, nobody else gets its number.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        match kill_process(self.id(), signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// How it ended.
    pub(crate) fn exit(&self, status: WaitStatus) -> Exit {
        match (self.0.failure(), status.terminating_signal()) {
            (Some(failure), _) => Exit::NotStarted(failure.to_string()),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::Status(status.exit_status().unwrap_or(-1)),
        }
    }
}

/// The pipe through which a service's output comes. `init` holds both ends for as long as it
/// runs: what a service started for others can write on when the service itself starts again.
#[derive(Debug)]
pub(crate) struct OutputPipe {
    reader: OwnedFd,
    writer: OwnedFd,
    lines: LineSplitter,
    rate: RateLimit,
    flooded: bool,
}

impl OutputPipe {
    /// A new pipe.
    ///
    /// # Errors
    /// What pipe2(2) says.
    pub(crate) fn new() -> io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        // the service's end blocks, as programs expect of their standard output
        rustix::fs::fcntl_setfl(&reader, OFlags::NONBLOCK)?;
        Ok(Self {
            reader,
            writer,
            lines: LineSplitter::default(),
            rate: RateLimit::new(LINES_PER_SECOND, LINES_AT_ONCE),
            flooded: false,
        })
    }

    /// The service's end.
    pub(crate) fn writer(&self) -> BorrowedFd<'_> {
        self.writer.as_fd()
    }

    /// The lines that are there, as many as its rate allows. What is left out is told by a line
    /// once there is room again.
    pub(crate) fn read(&mut self, now: Duration) -> Vec<String> {
        let mut buffer = [0; 8192];
        let mut lines = Vec::new();
        let mut total: usize = 0;
        while total < BYTES_AT_ONCE {
            match read(&self.reader, &mut buffer) {
                Ok(0) | Err(Errno::AGAIN) => break,
                Ok(length) => {
                    total = total.saturating_add(length);
                    let bytes = buffer.get(..length).unwrap_or_default();
                    for line in self.lines.push(bytes) {
                        self.admit(line, now, &mut lines);
                    }
                }
                Err(Errno::INTR) => {}
                Err(error) => {
                    tracing::warn!(%error, "a service's output can't be read");
                    break;
                }
            }
        }
        lines
    }

    /// The last line, where it has no end, once its writer has ended.
    pub(crate) fn finish(&mut self, now: Duration) -> Vec<String> {
        let mut lines = self.read(now);
        if let Some(line) = self.lines.finish() {
            self.admit(line, now, &mut lines);
        }
        lines
    }

    /// Whether lines were left out since this was asked last.
    pub(crate) fn take_flooded(&mut self) -> bool {
        std::mem::take(&mut self.flooded)
    }

    fn admit(&mut self, line: String, now: Duration, lines: &mut Vec<String>) {
        match self.rate.take(now) {
            Verdict::Drop => self.flooded = true,
            Verdict::Pass => lines.push(line),
            Verdict::PassAfter(dropped) => {
                lines.push(format!(
                    "WARN {dropped} lines were left out: too many at once"
                ));
                lines.push(line);
            }
        }
    }
}

impl AsFd for OutputPipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{WaitOptions, waitpid};

    use super::*;
    use crate::service::Name;

    fn wait(process: &Process) -> Exit {
        let (_, status) = waitpid(Some(process.id()), WaitOptions::empty())
            .unwrap()
            .unwrap();
        process.exit(status)
    }

    /// A service of the table that runs a shell instead.
    fn shell(name: Name, script: &str, pipe: &OutputPipe) -> Process {
        let service: &'static Service = Box::leak(Box::new(Service {
            program: "/bin/sh",
            user: None,
            // a lower one takes a right that not every machine's root has
            out_of_memory_score: 500,
            open_files: 64,
            arguments: super::super::Arguments::Fixed(&[]),
            ..*name.service()
        }));
        launch(&Launch {
            service,
            arguments: &["-c".to_owned(), script.to_owned()],
            cgroup: None,
            notify_socket: "/run/x",
            output: pipe.writer(),
            connection: None,
        })
        .unwrap()
    }

    #[test]
    fn output_comes_as_lines_and_the_end_as_an_exit() {
        let mut pipe = OutputPipe::new().unwrap();
        let script = "echo one; echo two >&2; printf three; exit 3";
        let process = shell(Name::State, script, &pipe);
        assert_eq!(wait(&process), Exit::Status(3));
        assert_eq!(pipe.read(Duration::ZERO), ["one", "two"]);
        assert_eq!(pipe.finish(Duration::ZERO), ["three"]);
        assert!(pipe.finish(Duration::ZERO).is_empty());
    }

    #[test]
    fn the_environment_holds_what_the_table_says_and_no_more() {
        let mut pipe = OutputPipe::new().unwrap();
        let script = "env | sort | grep -v -E '^(PWD|_|SHLVL|OLDPWD)='";
        wait(&shell(Name::K3s, script, &pipe));
        let lines = pipe.read(Duration::ZERO);
        assert_eq!(
            lines,
            [
                "HOME=/",
                "NOTIFY_SOCKET=/run/x",
                &format!("PATH={PATH}"),
                "SSL_CERT_DIR=/run/daas/no-certificates",
                "SSL_CERT_FILE=/dev/null"
            ]
        );
        wait(&shell(Name::State, script, &pipe));
        let lines = pipe.read(Duration::ZERO);
        assert_eq!(lines, ["HOME=/", &format!("PATH={PATH}")]);
    }

    #[test]
    fn a_signal_and_a_program_that_is_not_there() {
        let pipe = OutputPipe::new().unwrap();
        let process = shell(Name::State, "read x < /dev/zero", &pipe);
        process.signal(Signal::KILL).unwrap();
        assert_eq!(wait(&process), Exit::Signal(9));
        let service: &'static Service = Box::leak(Box::new(Service {
            program: "/no/such",
            user: None,
            out_of_memory_score: 500,
            open_files: 64,
            arguments: super::super::Arguments::Fixed(&[]),
            ..*Name::State.service()
        }));
        let process = launch(&Launch {
            service,
            arguments: &[],
            cgroup: None,
            notify_socket: "",
            output: pipe.writer(),
            connection: None,
        })
        .unwrap();
        let Exit::NotStarted(why) = wait(&process) else {
            panic!("it started");
        };
        assert!(why.starts_with("could not execute the program"), "{why}");
    }

    #[test]
    fn who_writes_too_much_is_cut_and_told() {
        let mut pipe = OutputPipe::new().unwrap();
        let script = "i=0; while [ $i -lt 2500 ]; do echo $i; i=$((i+1)); done";
        let process = shell(Name::State, script, &pipe);
        wait(&process);
        let lines = pipe.read(Duration::ZERO);
        assert_eq!(lines.len(), 2000);
        assert!(pipe.take_flooded() && !pipe.take_flooded());
        let process = shell(Name::State, "echo later", &pipe);
        wait(&process);
        assert_eq!(
            pipe.read(Duration::from_secs(1)),
            ["WARN 500 lines were left out: too many at once", "later"]
        );
    }

    #[test]
    fn the_pipe_outlives_the_process() {
        let mut pipe = OutputPipe::new().unwrap();
        wait(&shell(Name::State, "echo one", &pipe));
        wait(&shell(Name::State, "echo two", &pipe));
        assert_eq!(pipe.read(Duration::ZERO), ["one", "two"]);
    }
}
