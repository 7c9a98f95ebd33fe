//! Starts a process with exactly the rights, descriptors and limits that its caller names.
//!
//! The new process is made by `clone3` without a shared address space, which is what fork(2) does,
//! and is in its cgroup from its first instruction (`CLONE_INTO_CGROUP`, cgroups(7)). Between
//! `clone3` and `execve` it runs `child`, which makes system calls and nothing else: another
//! thread of the parent may hold any lock of the C library, the allocator's among them
//! (signal-safety(7)). For the same reason identities are set by raw system calls: glibc's wrappers
//! would wait for threads that the new process does not have.

mod child;

use std::ffi::{CString, NulError};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;

use caps::CapSet;
use caps::errors::CapsError;
use libc::c_char;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::{Errno, fcntl_dupfd_cloexec, read};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, getpid};
use thiserror::Error;

use crate::capability::Capabilities;
use crate::system_calls::Filter;
use child::{Step, child, filter_system_calls, limit_capabilities};

/// The descriptor of the child's end of its channel: the first one that is not standard.
pub const CHANNEL_DESCRIPTOR: RawFd = 3;

/// Above every descriptor that the new process has by number.
const FIRST_PRIVATE_DESCRIPTOR: RawFd = 10;

/// `CLONE_INTO_CGROUP` of <linux/sched.h>: beyond 32 bits, so only `clone3` knows it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// What to start, and as whom.
#[derive(Debug)]
pub struct Program<'a> {
    /// Path of the program; its first argument is this path too.
    pub path: &'a str,
    /// The arguments behind the first one. Everybody on the machine can read them.
    pub arguments: &'a [String],
    /// The whole environment.
    pub environment: &'a [(String, String)],
    /// The directory of a cgroup v2 to start in; none: the caller's cgroup.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// Who it runs as; none: who the caller is, with all of its capabilities.
    pub user: Option<User>,
    /// The system calls that are refused to it and to its children. `no_new_privs` is set with it.
    pub filter: Option<&'a Filter>,
    /// The most descriptors that it may have open (`RLIMIT_NOFILE`, getrlimit(2)).
    pub open_files: u64,
    /// Whether a crash may write its memory to disk (`RLIMIT_CORE`).
    pub core_dumps: bool,
    /// How soon the kernel kills it for want of memory, -1000 (never) to 1000 (proc(5)).
    pub out_of_memory_score: i16,
    /// Its standard input.
    pub input: BorrowedFd<'a>,
    /// Its standard output and standard error.
    pub output: BorrowedFd<'a>,
    /// What it gets as [`CHANNEL_DESCRIPTOR`].
    pub channel: Option<BorrowedFd<'a>>,
}

/// A user other than root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// User and group id; there are no supplementary groups.
    pub id: u32,
    /// The only capabilities that it and its children can ever have, ambient from the start
    /// (capabilities(7)). `no_new_privs` is always set with them (prctl(2)).
    pub capabilities: Capabilities,
}

/// A process that was made. Whether it got as far as its program is told by [`Child::failure`].
#[derive(Debug)]
pub struct Child {
    /// The process.
    pub id: Pid,
    report: OwnedFd,
}

/// Why a process could not be made.
#[derive(Debug, Error)]
pub enum SpawnError {
    /// A text holds a zero byte.
    #[error("a path, argument or variable holds a zero byte")]
    Text(#[from] NulError),
    /// A system call failed in the caller.
    #[error("could not make a process: {step}")]
    System {
        /// What was tried.
        step: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// What a new process was doing when it failed, before its program ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartFailure {
    step: Step,
    error: Errno,
}

impl fmt::Display for StartFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "could not {}: {}", self.step.text(), self.error)
    }
}

/// What a process could not give up.
#[derive(Debug, Error)]
pub enum RestrictError {
    /// The bounding set, or system calls.
    #[error("{0}")]
    Step(StartFailure),
    /// The other sets.
    #[error("capabilities can't be given up")]
    Capabilities(#[from] CapsError),
}

impl Child {
    /// What kept the process from running its program, as far as it is known by now: none also
    /// while the process has not got that far. Once it has ended, the answer is final.
    #[must_use]
    pub fn failure(&self) -> Option<StartFailure> {
        let mut bytes = [0; 5];
        let length = read(&self.report, &mut bytes).ok()?;
        let [step, error @ ..] = bytes;
        if length != bytes.len() {
            return None;
        }
        Some(StartFailure {
            step: *Step::ALL.get(usize::from(step))?,
            error: Errno::from_raw_os_error(i32::from_ne_bytes(error)),
        })
    }
}

/// Everything that the new process reads, laid out before it is made.
struct Prepared<'a> {
    path: CString,
    arguments: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    /// What the pointers above point into.
    _texts: Vec<CString>,
    score: Vec<u8>,
    user: Option<User>,
    filter: Option<&'a Filter>,
    open_files: u64,
    core_dumps: bool,
    input: OwnedFd,
    output: OwnedFd,
    channel: Option<OwnedFd>,
    report: OwnedFd,
}

/// Starts a program.
///
/// Returns as soon as the process exists; it does not wait for `execve`.
///
/// # Errors
/// [`SpawnError`] when there is no process. What fails in the new process is told by
/// [`Child::failure`] once it has ended.
pub fn spawn(program: &Program<'_>) -> Result<Child, SpawnError> {
    let (report, child_report) =
        pipe_with(PipeFlags::CLOEXEC).map_err(system("a pipe for its report"))?;
    fcntl_setfl(&report, OFlags::NONBLOCK).map_err(system("a pipe for its report"))?;
    let prepared = prepare(program, &child_report)?;
    drop(child_report);
    let mut arguments = CloneArguments {
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArguments::default()
    };
    if let Some(cgroup) = program.cgroup {
        arguments.flags = CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: the structure is laid out as clone3(2) says, and its size is passed. No flag lets the
    // new process share memory with this one, so both may go on from here.
    let result = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            ptr::from_ref(&arguments),
            size_of::<CloneArguments>(),
        )
    };
    if result == 0 {
        child(&prepared);
    }
    let id = i32::try_from(result)
        .ok()
        .filter(|id| *id > 0)
        .and_then(Pid::from_raw);
    id.map(|id| Child { id, report })
        .ok_or_else(|| SpawnError::System {
            step: "clone3",
            source: io::Error::last_os_error(),
        })
}

/// Gives up, for good, every capability but these, every system call that the filter refuses, and new
/// privileges (prctl(2)). The user stays. It is this thread that does so, and those that it starts
/// later: to be called while there is no other.
///
/// # Errors
/// What was not given up; what came before it was.
pub fn restrict_self(keep: Capabilities, filter: &Filter) -> Result<(), RestrictError> {
    let failed = |(step, error)| {
        RestrictError::Step(StartFailure {
            step,
            error: Errno::from_raw_os_error(error),
        })
    };
    limit_capabilities(keep).map_err(failed)?;
    caps::clear(None, CapSet::Ambient)?;
    let keep = keep.to_set();
    // what is effective has to be permitted (capset(2)): it goes first
    for part in [CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::set(None, part, &keep)?;
    }
    filter_system_calls(filter).map_err(failed)
}

/// `struct clone_args` of <linux/sched.h>, 88 bytes, of which the kernel knows all since 5.7.
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Sends a signal to every process but the caller. From PID 1 that is everybody (kill(2)).
///
/// # Errors
/// What kill(2) says, `ESRCH` when there is nobody; and for every caller but PID 1, which has no
/// business with this, `PermissionDenied`.
pub fn signal_everybody(signal: Signal) -> io::Result<()> {
    if !getpid().is_init() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    // SAFETY: kill(2) takes two numbers.
    let result = unsafe { libc::kill(-1, signal.as_raw()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn system(step: &'static str) -> impl Fn(Errno) -> SpawnError {
    move |error| SpawnError::System {
        step,
        source: error.into(),
    }
}

fn prepare<'a>(program: &Program<'a>, report: &OwnedFd) -> Result<Prepared<'a>, SpawnError> {
    let path = CString::new(program.path)?;
    let mut texts = vec![path.clone()];
    for argument in program.arguments {
        texts.push(CString::new(argument.as_str())?);
    }
    let environment_at = texts.len();
    for (name, value) in program.environment {
        texts.push(CString::new(format!("{name}={value}"))?);
    }
    let pointers = |texts: &[CString]| -> Vec<*const c_char> {
        texts
            .iter()
            .map(|text| text.as_ptr())
            .chain([ptr::null()])
            .collect()
    };
    let (arguments, environment) = texts.split_at(environment_at.min(texts.len()));
    // Out of the way of the numbers that they get in the new process.
    let lift = |descriptor: BorrowedFd<'_>| {
        fcntl_dupfd_cloexec(descriptor, FIRST_PRIVATE_DESCRIPTOR).map_err(system("a descriptor"))
    };
    Ok(Prepared {
        path,
        arguments: pointers(arguments),
        environment: pointers(environment),
        score: program.out_of_memory_score.to_string().into_bytes(),
        user: program.user,
        filter: program.filter,
        open_files: program.open_files,
        core_dumps: program.core_dumps,
        input: lift(program.input)?,
        output: lift(program.output)?,
        channel: program.channel.map(lift).transpose()?,
        report: lift(report.as_fd())?,
        _texts: texts,
    })
}
