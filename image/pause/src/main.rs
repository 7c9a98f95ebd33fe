//! Holds the namespaces of a pod: waits, reaps what is reparented to it where the pod shares its process
//! namespace, and ends on SIGTERM or SIGINT.

use std::io::Write;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

fn main() -> ExitCode {
    // blocked before anything else: a process that is PID 1 of its namespace loses signals of default
    // disposition, but not blocked ones, which sigwait(3) then takes
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD]
        .into_iter()
        .collect();
    if let Err(error) = signals.thread_block() {
        return failed("can't block signals", error);
    }
    // nobody may read it any more; that is no reason to end
    _ = writeln!(std::io::stdout(), "pause: holding the pod's namespaces");
    loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => reap(),
            Ok(_) => return ExitCode::SUCCESS,
            Err(Errno::EINTR) => (),
            Err(error) => return failed("can't wait for signals", error),
        }
    }
}

/// Takes the status of every child that has ended.
fn reap() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            return;
        }
    }
}

fn failed(what: &str, error: Errno) -> ExitCode {
    _ = writeln!(std::io::stderr(), "pause: {what}: {error}");
    ExitCode::FAILURE
}
