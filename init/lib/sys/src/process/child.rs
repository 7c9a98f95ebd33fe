//! What a new process does between `clone3` and `execve`: system calls, and nothing else.

use std::ffi::c_int;
use std::os::fd::AsRawFd;
use std::ptr;

use libc::{c_long, c_ulong};

use super::{CHANNEL_DESCRIPTOR, Prepared, User};
use crate::capability::Capabilities;
use crate::system_calls::Filter;

/// `_LINUX_CAPABILITY_VERSION_3` of <linux/capability.h>: two words of 32 bits each.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// The highest signal, `_NSIG` of <asm/signal.h>.
const HIGHEST_SIGNAL: c_int = 64;

macro_rules! steps {
    ($($variant:ident = $text:literal,)+) => {
        /// The steps of a new process, in order.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Step { $($variant,)+ }

        impl Step {
            pub(super) const ALL: &'static [Self] = &[$(Self::$variant,)+];

            pub(super) const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

steps! {
    Session = "start a session",
    Signals = "reset its signals",
    Descriptors = "set up its descriptors",
    Limits = "set its limits",
    OutOfMemory = "set its out-of-memory score",
    Directory = "change to the root directory",
    Capabilities = "give up capabilities",
    Identity = "change its user",
    NewPrivileges = "give up new privileges",
    Filter = "filter its system calls",
    Execute = "execute the program",
}

/// All that the new process does. It never returns.
pub(super) fn child(prepared: &Prepared<'_>) -> ! {
    let (step, error) = match run(prepared) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    let mut bytes = [0; 5];
    let [first, rest @ ..] = &mut bytes;
    *first = step as u8;
    *rest = error.to_ne_bytes();
    // SAFETY: the buffer is 5 bytes long; _exit(2) runs no destructors and no handlers.
    unsafe {
        libc::write(
            prepared.report.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
        );
        libc::_exit(127)
    }
}

/// What never is.
enum Never {}

fn run(prepared: &Prepared<'_>) -> Result<Never, (Step, c_int)> {
    // SAFETY: setsid(2), chdir(2) and umask(2) take no pointers but a constant string.
    unsafe {
        check(Step::Session, libc::setsid())?;
        check(Step::Directory, libc::chdir(c"/".as_ptr()))?;
        libc::umask(0o022);
    }
    reset_signals()?;
    set_descriptors(prepared)?;
    set_limits(prepared)?;
    set_out_of_memory_score(&prepared.score)?;
    if let Some(user) = prepared.user {
        become_user(user)?;
    }
    if let Some(filter) = prepared.filter {
        filter_system_calls(filter)?;
    }
    // SAFETY: both lists end with a null pointer, and what they point into lives in `prepared`.
    unsafe {
        libc::execve(
            prepared.path.as_ptr(),
            prepared.arguments.as_ptr(),
            prepared.environment.as_ptr(),
        );
    }
    Err((Step::Execute, error_number()))
}

fn error_number() -> c_int {
    // SAFETY: the C library gives a pointer to this thread's own error number.
    unsafe { *libc::__errno_location() }
}

fn check(step: Step, result: c_int) -> Result<(), (Step, c_int)> {
    check_long(step, c_long::from(result))
}

fn check_long(step: Step, result: c_long) -> Result<(), (Step, c_int)> {
    if result < 0 {
        return Err((step, error_number()));
    }
    Ok(())
}

/// Every signal at its default, none blocked. By system calls, since the C library's functions
/// leave out the two signals that it keeps for itself, and whoever started us may not have.
fn reset_signals() -> Result<(), (Step, c_int)> {
    // `struct kernel_sigaction`: handler (0 is SIG_DFL), flags, restorer, mask.
    let default = [0_u64; 4];
    let none = 0_u64;
    // SAFETY: rt_sigaction(2) and rt_sigprocmask(2) read what they are given and write nothing
    // when the last pointer is null.
    unsafe {
        for signal in 1..=HIGHEST_SIGNAL {
            // SIGKILL and SIGSTOP refuse, and are at their default for ever
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                ptr::null_mut::<u64>(),
                size_of::<u64>(),
            );
        }
        let result = libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            ptr::null_mut::<u64>(),
            size_of::<u64>(),
        );
        check_long(Step::Signals, result)
    }
}

fn set_descriptors(prepared: &Prepared<'_>) -> Result<(), (Step, c_int)> {
    let mut first_unused = CHANNEL_DESCRIPTOR;
    // SAFETY: dup2(2) and close_range(2) take numbers. What close_range marks is closed by
    // `execve`, so that the report lives until then.
    unsafe {
        let output = prepared.output.as_raw_fd();
        check(Step::Descriptors, libc::dup2(prepared.input.as_raw_fd(), 0))?;
        check(Step::Descriptors, libc::dup2(output, 1))?;
        check(Step::Descriptors, libc::dup2(output, 2))?;
        if let Some(channel) = &prepared.channel {
            let result = libc::dup2(channel.as_raw_fd(), CHANNEL_DESCRIPTOR);
            check(Step::Descriptors, result)?;
            first_unused += 1;
        }
        let result = libc::syscall(
            libc::SYS_close_range,
            first_unused,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        );
        check_long(Step::Descriptors, result)
    }
}

fn set_limits(prepared: &Prepared<'_>) -> Result<(), (Step, c_int)> {
    let core = if prepared.core_dumps {
        libc::RLIM_INFINITY
    } else {
        0
    };
    for (resource, value) in [
        (libc::RLIMIT_NOFILE, prepared.open_files),
        (libc::RLIMIT_CORE, core),
    ] {
        let limit = libc::rlimit {
            rlim_cur: value,
            rlim_max: value,
        };
        // SAFETY: setrlimit(2) reads the structure that it is given.
        check(Step::Limits, unsafe {
            libc::setrlimit(resource, &raw const limit)
        })?;
    }
    Ok(())
}

fn set_out_of_memory_score(score: &[u8]) -> Result<(), (Step, c_int)> {
    let path = c"/proc/self/oom_score_adj";
    // SAFETY: the path is a constant string, and the buffer is as long as is said.
    unsafe {
        let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        check(Step::OutOfMemory, file)?;
        let written = libc::write(file, score.as_ptr().cast(), score.len());
        check_long(Step::OutOfMemory, written as c_long)
    }
}

/// Nobody gets any other capability by what is executed from now on: each number is tried, so that those
/// go, too, that a newer kernel has beside the ones known here.
pub(super) fn limit_capabilities(set: Capabilities) -> Result<(), (Step, c_int)> {
    // SAFETY: prctl(2) with this operation takes numbers alone.
    unsafe {
        for number in 0..64 {
            if set.holds(number) {
                continue;
            }
            let result = libc::prctl(libc::PR_CAPBSET_DROP, c_ulong::from(number), 0, 0, 0);
            if result < 0 && error_number() == libc::EINVAL {
                break; // past the last capability that the kernel knows
            }
            check(Step::Capabilities, result)?;
        }
    }
    Ok(())
}

/// Bounding set, groups, user, then the one set of capabilities that is left, then no way back.
fn become_user(user: User) -> Result<(), (Step, c_int)> {
    let set = user.capabilities;
    let id = c_ulong::from(user.id);
    limit_capabilities(set)?;
    // SAFETY: prctl(2) with this operation and the setters of ids take numbers alone, but for
    // setgroups(2), which reads no list when its length is 0.
    unsafe {
        check(
            Step::Identity,
            libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0),
        )?;
        let none: *const libc::gid_t = ptr::null();
        check_long(Step::Identity, libc::syscall(libc::SYS_setgroups, 0, none))?;
        check_long(
            Step::Identity,
            libc::syscall(libc::SYS_setresgid, id, id, id),
        )?;
        check_long(
            Step::Identity,
            libc::syscall(libc::SYS_setresuid, id, id, id),
        )?;
    }
    set_capabilities(set)?;
    // SAFETY: prctl(2) with these operations takes numbers alone.
    unsafe {
        for number in (0..64).filter(|number| set.holds(*number)) {
            let (operation, number) =
                (libc::PR_CAP_AMBIENT_RAISE as c_ulong, c_ulong::from(number));
            let result = libc::prctl(libc::PR_CAP_AMBIENT, operation, number, 0, 0);
            check(Step::Capabilities, result)?;
        }
    }
    give_up_new_privileges()
}

fn give_up_new_privileges() -> Result<(), (Step, c_int)> {
    // SAFETY: prctl(2) with this operation takes numbers alone.
    check(Step::NewPrivileges, unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    })
}

/// The last step: in a new process comes `execve` after it, which the filter lets pass.
pub(super) fn filter_system_calls(filter: &Filter) -> Result<(), (Step, c_int)> {
    /// `struct sock_fprog` of <linux/filter.h>.
    #[repr(C)]
    struct FilterProgram {
        length: u16,
        instructions: *const seccompiler::sock_filter,
    }
    let (length, instructions) = filter.program().ok_or((Step::Filter, libc::EINVAL))?;
    let program = FilterProgram {
        length,
        instructions,
    };
    // without it only who has CAP_SYS_ADMIN may set a filter (seccomp(2))
    give_up_new_privileges()?;
    // SAFETY: the kernel copies as many instructions as `length` says from an array that lives as
    // long as `filter`.
    check(Step::Filter, unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            c_ulong::from(libc::SECCOMP_MODE_FILTER),
            ptr::from_ref(&program),
            0,
            0,
        )
    })
}

fn set_capabilities(set: Capabilities) -> Result<(), (Step, c_int)> {
    /// `struct __user_cap_header_struct` of <linux/capability.h>.
    #[repr(C)]
    struct Header {
        version: u32,
        process: c_int,
    }
    /// `struct __user_cap_data_struct` of <linux/capability.h>.
    #[repr(C)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let header = Header {
        version: CAPABILITY_VERSION,
        process: 0,
    };
    let data = set.words().map(|word| Data {
        effective: word,
        permitted: word,
        inheritable: word,
    });
    // SAFETY: version 3 of capset(2) reads a header and two data structures.
    let result = unsafe { libc::syscall(libc::SYS_capset, ptr::from_ref(&header), data.as_ptr()) };
    check_long(Step::Capabilities, result)
}
