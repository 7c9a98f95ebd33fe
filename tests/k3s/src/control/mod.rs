//! The control port: how the test harness looks at nodes and does things to them.
//!
//! The port listens on the loopback address alone and speaks plain HTTP with JSON:
//!
//! | Request | Body | Answer |
//! | --- | --- | --- |
//! | `GET /nodes` | – | `{"nodes": [NodeSummary…]}` |
//! | `POST /command` | `{"node": "…", "command": "…", …}` | the command's reply |
//! | `POST /tokens` | `{"ttl_seconds": 600}` | `{"token": "K10…::id.secret", "expires_at": …}` |
//! | `DELETE /tokens/<id>` | – | `{}` |
//!
//! An error is `{"error": "…"}` with status 400 (bad request), 404 (no such node), 503 (the node
//! has no tunnel), 502 (the tunnel broke) or what the agent answered.

mod client;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use client::{Client, ControlError, read_answer};

/// Longer than any command takes, a slow emulated machine included.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// What an agent can be told to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// `kill -9` of a service that PID 1 runs.
    Kill {
        /// Which one.
        service: Service,
    },
    /// SIGSTOP for a service that PID 1 runs: it hangs, with every socket and file that it has.
    Stop {
        /// Which one.
        service: Service,
    },
    /// Leaves orphans to PID 1, and waits until it has reaped them.
    Orphan {
        /// How many, 1 to 64.
        #[serde(default = "one")]
        count: u32,
    },
    /// The state of the pod.
    Pod,
    /// Has the pod take all that it gets of something, until [`Command::Relieve`].
    Hog {
        /// Of what.
        resource: Resource,
    },
    /// Ends what [`Command::Hog`] began.
    Relieve,
    /// Every process of the machine.
    Processes,
    /// A file's or folder's metadata; contents only below `/proc`, `/sys`, `/etc` and of what
    /// `/etc` points to in `/run/netd`, and at most [`READ_LIMIT`] bytes.
    Read {
        /// An absolute path.
        path: PathBuf,
    },
    /// The names in a process's environment, and which of some texts stand in it; its values are
    /// shown to nobody.
    Environment {
        /// The process.
        process: i32,
        /// Texts to look for, none of them empty.
        needles: Vec<Needle>,
    },
    /// A crash of the kernel, as root can cause it (`/proc/sysrq-trigger`). No reply comes back.
    Crash,
    /// Which files were opened since the kernel started; needs [`TRACE`] on its command line.
    Opened {
        /// In or below one of these folders alone.
        below: Vec<String>,
    },
    /// Leaves a container in containerd's store that is labelled to be started by itself, and that then
    /// writes [`PLANTED`] to the console, and whether the TPM opened a file for it.
    Plant {
        /// The sealed file, in base64.
        sealed: String,
    },
    /// An attempt of root's to unseal a file while the node runs. What comes out is shown to nobody.
    Unseal {
        /// The sealed file, in base64.
        sealed: String,
    },
    /// One command to the machine's TPM, from a process of a user.
    Tpm {
        /// The user's id, and its group's.
        user: u32,
        /// The TPM's device, or the socket of a program that passes commands on.
        path: PathBuf,
        /// The command's bytes, in hexadecimal.
        request: String,
    },
}

/// Reply to [`Command::Tpm`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TpmAnswer {
    /// The reply's bytes, in hexadecimal.
    Reply(String),
    /// The command was not carried there, or no reply came back: what the system says.
    Failed(String),
}

/// What has the kernel record each file that is opened, from its start on: words of its command line
/// (Documentation/trace/kprobetrace.rst). A name is the first field of `struct filename`, the flags are the
/// first of `struct open_flags`. The kernel makes room for more than a page of events only where an event of its
/// own is asked for, too.
pub const TRACE: &str = "trace_buf_size=24M trace_event=sched:sched_process_exec \
                         kprobe_event=p:opened,do_filp_open,name=+0(+0(%si)):string,flags=+0(%dx):x32";

/// What the planted container writes first.
pub const PLANTED: &str = "k3s-double: the planted container runs";

/// What a pod can take all of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    /// A fork bomb.
    Processes,
    /// Memory that is written to.
    Memory,
}

/// Reply to [`Command::Hog`] and [`Command::Relieve`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hogged {
    /// The pod's cgroup, as an absolute path.
    pub cgroup: PathBuf,
}

/// Reply to [`Command::Plant`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planted {}

/// Reply to [`Command::Opened`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// Sorted; each once a program.
    pub files: Vec<OpenedFile>,
    /// How many files were opened, wherever they lie.
    pub events: u64,
    /// Whether the kernel has kept every event.
    pub complete: bool,
}

/// A file that was opened, or was to be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OpenedFile {
    /// The kernel's name for the process, at most 15 characters.
    pub program: String,
    /// The path, as the program gave it.
    pub path: String,
    /// Whether it was to be executed.
    pub executed: bool,
}

/// What came of an attempt to unseal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsealed {
    /// Whether the TPM gave the content out.
    pub opened: bool,
    /// Why not.
    pub refusal: String,
}

/// A text to look for: a secret, so it stands in no log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Needle(pub String);

impl std::fmt::Debug for Needle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("…")
    }
}

fn one() -> u32 {
    1
}

/// The most that [`Command::Read`] returns of a file.
pub const READ_LIMIT: usize = 64 * 1024;

/// A service of the node that can be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// The container runtime.
    Containerd,
    /// The agent itself, once its reply has arrived.
    K3s,
    /// The network service.
    Netd,
    /// The staking service.
    Staker,
}

impl Service {
    /// The name of its program.
    pub fn program(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::K3s => "k3s",
            Self::Netd => "netd",
            Self::Staker => "staker",
        }
    }
}

/// The body of `POST /command`.
#[derive(Debug, Serialize)]
pub struct CommandRequest<'a> {
    /// The Node's name.
    pub node: &'a str,
    /// What to do there.
    #[serde(flatten)]
    pub command: &'a Command,
}

/// Reply to [`Command::Kill`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Killed {
    /// The service.
    pub service: Service,
    /// The process that was killed.
    pub pid: i32,
    /// Whether it has left the process table; always false for `k3s`, which dies after replying.
    pub gone: bool,
}

/// Reply to [`Command::Stop`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// The service.
    pub service: Service,
    /// The process that was stopped; `k3s` stops a moment after its reply.
    pub pid: i32,
}

/// Reply to [`Command::Orphan`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orphans {
    /// The orphans.
    pub orphans: Vec<Orphan>,
    /// Whether all have left the process table.
    pub reaped: bool,
    /// How many zombies the machine has afterwards, of whatever origin.
    pub zombies: usize,
}

/// One orphan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orphan {
    /// Its process.
    pub pid: i32,
    /// Who became its parent when its own had exited.
    pub adopted_by: i32,
}

/// Reply to [`Command::Pod`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PodState {
    /// The pod's name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its uid, the same over restarts of the agent and the machine.
    pub uid: String,
    /// The sandbox, when there is one.
    pub sandbox: Option<SandboxState>,
    /// The container, when there is one.
    pub container: Option<ContainerState>,
    /// The end of the container's log, at most 4 KiB.
    pub log_tail: String,
}

/// The pod's sandbox, as the runtime sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SandboxState {
    /// The runtime's id.
    pub id: String,
    /// Whether it is ready.
    pub ready: bool,
    /// How many sandboxes the pod had before.
    pub attempt: u32,
    /// Its address on the bridge.
    pub ip: String,
    /// Since when, in nanoseconds of Unix time.
    pub created_at: i64,
}

/// The pod's container, as the runtime sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerState {
    /// The runtime's id.
    pub id: String,
    /// `created`, `running`, `exited` or `unknown`.
    pub state: String,
    /// Its first process; 0 unless running.
    pub pid: i32,
    /// How often it was started again.
    pub restart_count: u32,
    /// The cgroup of its process.
    pub cgroup: String,
    /// Since when it runs, in nanoseconds of Unix time.
    pub started_at: i64,
    /// Its exit code, once it has one.
    pub exit_code: i32,
}

/// Reply to [`Command::Processes`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Processes {
    /// In the order of their numbers.
    pub processes: Vec<Process>,
}

/// One process, from `/proc/<pid>/{status,cgroup,cmdline}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The kernel's name for it, at most 15 characters.
    pub name: String,
    /// Its number.
    pub pid: i32,
    /// Its parent.
    pub ppid: i32,
    /// The real uid.
    pub uid: u32,
    /// The real gid.
    pub gid: u32,
    /// One letter, as `ps` shows it: R, S, D, Z, T, I.
    pub state: String,
    /// Capability sets as 16 hexadecimal digits.
    pub capabilities: Capabilities,
    /// Whether it can never gain privileges.
    pub no_new_privileges: bool,
    /// 0 none, 1 strict, 2 filter.
    pub seccomp: u32,
    /// Its cgroup v2 path.
    pub cgroup: String,
    /// Its arguments, at most 4 KiB.
    pub arguments: Vec<String>,
}

/// The capability sets of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// What it can do now.
    pub effective: String,
    /// What it can turn on.
    pub permitted: String,
    /// What survives an exec of a capable file.
    pub inheritable: String,
    /// What it can ever have.
    pub bounding: String,
    /// What survives any exec.
    pub ambient: String,
}

/// Reply to [`Command::Read`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileState {
    /// The path after following links.
    pub path: PathBuf,
    /// `file`, `folder`, or `other`.
    pub kind: String,
    /// Permission bits in octal, such as `0600`.
    pub mode: String,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// In bytes; 0 for most files below `/proc`.
    pub size: u64,
    /// The contents, where they may be read.
    pub contents: Option<String>,
    /// Whether `contents` is only the beginning.
    pub truncated: bool,
    /// The names in a folder, sorted.
    pub entries: Option<Vec<String>>,
}

/// Reply to [`Command::Environment`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentState {
    /// The process has ended meanwhile.
    pub gone: bool,
    /// The names of its variables. None for a thread of the kernel.
    pub names: Vec<String>,
    /// The places of those needles that stand in a name or a value.
    pub found: Vec<usize>,
}

/// Reply to `GET /nodes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nodes {
    /// Sorted by name.
    pub nodes: Vec<NodeSummary>,
}

/// One node that has joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSummary {
    /// Its name.
    pub name: String,
    /// Whether a Node object exists; before that it has only asked for certificates.
    pub registered: bool,
    /// Whether its tunnel is open.
    pub connected: bool,
    /// The Node's Ready condition: `True`, `False`, or `Unknown` when nothing was heard for 40 s.
    pub ready: String,
    /// Why.
    pub reason: String,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// The range of its pods.
    pub pod_cidr: String,
    /// How often it opened a tunnel since the server started.
    pub connections: u64,
}

/// The body of `POST /tokens`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// For how long; absent: until deleted. 0 gives a token that has expired already.
    pub ttl_seconds: Option<u64>,
}

/// A bootstrap token that was made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedToken {
    /// `K10<hash>::<id>.<secret>`.
    pub token: String,
    /// When it expires, in Unix seconds.
    pub expires_at: Option<i64>,
}

/// The body of an error.
#[derive(Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// What went wrong.
    pub error: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_have_the_documented_form() {
        let text = |command: &Command| {
            serde_json::to_string(&CommandRequest {
                node: "edge-0001",
                command,
            })
            .unwrap()
        };
        assert_eq!(
            text(&Command::Kill {
                service: Service::Containerd
            }),
            r#"{"node":"edge-0001","command":"kill","service":"containerd"}"#
        );
        assert_eq!(
            text(&Command::Pod),
            r#"{"node":"edge-0001","command":"pod"}"#
        );
        assert_eq!(
            serde_json::from_str::<Command>(r#"{"command":"orphan"}"#).unwrap(),
            Command::Orphan { count: 1 }
        );
        for bad in [
            r#"{"command":"kill","service":"init"}"#,
            r#"{"command":"shell"}"#,
            r#"{"command":"read","path":"/proc/1/stat","extra":1}"#,
        ] {
            assert!(serde_json::from_str::<Command>(bad).is_err(), "{bad}");
        }
    }
}
