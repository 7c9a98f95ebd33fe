//! Processes as they really start: what they see of themselves, and what they may do.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, WaitOptions, WaitStatus, waitpid};
use sys::capability::{Capabilities, Capability};
use sys::process::{Child, Program, User, restrict_self, spawn};
use sys::system_calls::Filter;

fn text(value: &str) -> String {
    value.to_owned()
}

/// What differs from test to test.
struct Wanted<'a> {
    path: &'a str,
    arguments: Vec<String>,
    user: Option<User>,
    filter: Option<&'a Filter>,
    channel: Option<BorrowedFd<'a>>,
}

fn script(script: &str) -> Wanted<'static> {
    Wanted {
        path: "/bin/sh",
        arguments: vec![text("-c"), text(script)],
        user: None,
        filter: None,
        channel: None,
    }
}

/// Starts a program, waits for its end and gives what it wrote.
fn run(wanted: Wanted<'_>) -> (Child, WaitStatus, String) {
    let null = File::open("/dev/null").unwrap();
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let child = spawn(&Program {
        path: wanted.path,
        arguments: &wanted.arguments,
        environment: &[(text("PATH"), text("/usr/bin:/bin"))],
        cgroup: None,
        user: wanted.user,
        filter: wanted.filter,
        open_files: 128,
        core_dumps: false,
        out_of_memory_score: 100,
        input: null.as_fd(),
        output: writer.as_fd(),
        channel: wanted.channel,
    })
    .unwrap();
    drop(writer);
    let mut output = String::new();
    File::from(reader).read_to_string(&mut output).unwrap();
    let (_, status) = waitpid(Some(child.id), WaitOptions::empty())
        .unwrap()
        .unwrap();
    (child, status, output)
}

fn shell(text: &str) -> (Child, WaitStatus, String) {
    run(script(text))
}

fn status_line<'a>(status: &'a str, name: &str) -> &'a str {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap_or_else(|| panic!("no {name} in {status}"))
        .trim()
}

#[test]
fn a_program_runs_and_its_status_comes_back() {
    let (child, status, output) = shell("echo out; echo err >&2; exit 7");
    assert_eq!(status.exit_status(), Some(7));
    assert_eq!(output, "out\nerr\n");
    assert!(child.failure().is_none());
}

#[test]
fn the_environment_the_descriptors_and_the_limits_are_the_ones_that_were_named() {
    let commands = "env | grep -v -E '^(PWD|_|SHLVL|OLDPWD)='; echo /proc/$$/fd/*; ulimit -n; \
                  ulimit -c; cat /proc/self/oom_score_adj; pwd";
    let (_, _, output) = shell(commands);
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines[0], "PATH=/usr/bin:/bin");
    let descriptors: Vec<&str> = lines[1]
        .split(' ')
        .filter_map(|path| path.rsplit('/').next())
        // the shell's own, to read the directory or to keep a copy
        .filter(|number| number.parse::<u32>().unwrap() < 10)
        .collect();
    assert!(descriptors.starts_with(&["0", "1", "2"]), "{descriptors:?}");
    assert!(descriptors.len() <= 4, "{descriptors:?}");
    assert_eq!(&lines[2..], ["128", "0", "100", "/"]);
}

#[test]
fn signals_are_reset() {
    let _reader = sys::signals::SignalReader::new().unwrap();
    let (_, _, status) = shell("cat /proc/self/status");
    assert_eq!(status_line(&status, "SigBlk:"), "0000000000000000");
    assert_eq!(status_line(&status, "SigIgn:"), "0000000000000000");
}

#[test]
fn a_program_that_is_not_there_is_told() {
    let (child, status, _) = run(Wanted {
        path: "/no/such/program",
        ..script("")
    });
    assert_eq!(status.exit_status(), Some(127));
    let failure = child.failure().unwrap().to_string();
    assert!(
        failure.starts_with("could not execute the program: No such file"),
        "{failure}"
    );
}

#[test]
fn a_zero_byte_is_refused() {
    let null = File::open("/dev/null").unwrap();
    let program = Program {
        path: "/bin/sh\0",
        arguments: &[],
        environment: &[],
        cgroup: None,
        user: None,
        filter: None,
        open_files: 16,
        core_dumps: false,
        out_of_memory_score: 0,
        input: null.as_fd(),
        output: null.as_fd(),
        channel: None,
    };
    assert!(spawn(&program).is_err());
}

#[test]
fn the_channel_is_descriptor_3() {
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    let (_, status, _) = run(Wanted {
        channel: Some(theirs.as_fd()),
        ..script("echo hello >&3")
    });
    assert_eq!(status.exit_status(), Some(0));
    let mut buffer = [0; 16];
    let (length, _) = recv(&ours, &mut buffer, RecvFlags::empty()).unwrap();
    assert_eq!(&buffer[..length], b"hello\n");
}

#[test]
#[ignore = "needs root, to change the user"]
fn user_has_its_capabilities_and_no_more_as_root() {
    let held = Capabilities::NONE
        .with(Capability::CAP_NET_RAW)
        .with(Capability::CAP_SYS_TIME);
    for (capabilities, expected) in [
        (held, "0000000002002000"),
        (Capabilities::NONE, "0000000000000000"),
    ] {
        let (child, _, status) = run(Wanted {
            user: Some(User {
                id: 4711,
                capabilities,
            }),
            ..script("cat /proc/self/status")
        });
        assert!(child.failure().is_none());
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(status_line(&status, set), expected, "{set}");
        }
        assert_eq!(status_line(&status, "NoNewPrivs:"), "1");
        assert_eq!(status_line(&status, "Uid:"), "4711\t4711\t4711\t4711");
        assert_eq!(status_line(&status, "Gid:"), "4711\t4711\t4711\t4711");
        assert_eq!(status_line(&status, "Groups:"), "");
    }
}

/// It is the thread that gives up; the others of this program keep what they have.
#[test]
#[ignore = "needs root, for rights to give up"]
fn restrict_self_leaves_what_it_keeps_alone_as_root() {
    let own = || std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let before = status_line(&own(), "CapEff:").to_owned();
    let one = Capabilities::NONE.with(Capability::CAP_SYS_ADMIN);
    for (keep, expected) in [
        (one, "0000000000200000"),
        (Capabilities::NONE, "0000000000000000"),
    ] {
        let status = std::thread::spawn(move || {
            restrict_self(keep, &Filter::new().unwrap()).unwrap();
            own()
        });
        let status = status.join().unwrap();
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:"] {
            assert_eq!(status_line(&status, set), expected, "{set}");
        }
        assert_eq!(status_line(&status, "CapAmb:"), "0000000000000000");
        assert_eq!(status_line(&status, "NoNewPrivs:"), "1");
        assert_eq!(status_line(&status, "Seccomp:"), "2");
    }
    assert_eq!(status_line(&own(), "CapEff:"), before);
}

/// Not a test of its own, but the program of the one below: it says what some calls come to.
#[test]
#[ignore = "run by another test, as a program"]
fn calls() {
    let zero = 0_usize;
    for (name, number) in [
        ("ptrace", libc::SYS_ptrace),
        ("process_vm_readv", libc::SYS_process_vm_readv),
        ("getpid by x32", libc::SYS_getpid | 0x4000_0000),
        ("ptrace by x32", libc::SYS_ptrace | 0x4000_0000),
        ("getpid", libc::SYS_getpid),
    ] {
        // SAFETY: ptrace(2) with the request 1, PTRACE_PEEKTEXT, finds no process 0 and reads
        // nothing; process_vm_readv(2) is given no place to read from or to write to; getpid(2)
        // takes no argument.
        let result = unsafe { libc::syscall(number, 1_usize, zero, zero, zero, zero, zero) };
        let error = std::io::Error::last_os_error().raw_os_error();
        let refused = result < 0 && error == Some(libc::EPERM);
        println!(
            "{name}: {}",
            if refused { "refused" } else { "not refused" }
        );
    }
}

#[test]
fn a_filter_refuses_what_stands_in_it_and_nothing_else() {
    let program = std::env::current_exe().unwrap();
    let filter = Filter::new().unwrap();
    let calls = |filter| {
        let arguments = ["--exact", "calls", "--ignored", "--nocapture"].map(text);
        let (child, status, output) = run(Wanted {
            path: program.to_str().unwrap(),
            arguments: arguments.to_vec(),
            user: None,
            filter,
            channel: None,
        });
        assert!(child.failure().is_none());
        assert_eq!(status.exit_status(), Some(0), "{output}");
        output
    };
    let free = calls(None);
    for name in ["ptrace", "getpid"] {
        assert!(free.contains(&format!("{name}: not refused")), "{free}");
    }
    let filtered = calls(Some(&filter));
    for line in [
        "ptrace: refused",
        "process_vm_readv: refused",
        "ptrace by x32: refused",
        "getpid by x32: not refused",
        "getpid: not refused",
    ] {
        assert!(filtered.contains(line), "{line} is not in {filtered}");
    }
    let (_, _, status) = run(Wanted {
        filter: Some(&filter),
        ..script("cat /proc/self/status")
    });
    // SECCOMP_MODE_FILTER, proc_pid_status(5): for its children too
    assert_eq!(status_line(&status, "Seccomp:"), "2");
    assert_eq!(status_line(&status, "NoNewPrivs:"), "1");
}

#[test]
fn what_is_no_cgroup_is_refused() {
    let directory = File::open("/tmp").unwrap();
    let null = File::open("/dev/null").unwrap();
    let program = Program {
        path: "/bin/true",
        arguments: &[],
        environment: &[],
        cgroup: Some(directory.as_fd()),
        user: None,
        filter: None,
        open_files: 16,
        core_dumps: false,
        out_of_memory_score: 0,
        input: null.as_fd(),
        output: null.as_fd(),
        channel: None,
    };
    let error = spawn(&program).unwrap_err().to_string();
    assert!(error.contains("clone3"), "{error}");
}

#[test]
fn only_pid_1_signals_everybody() {
    let error = sys::process::signal_everybody(Signal::TERM).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
}
