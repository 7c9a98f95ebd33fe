//! A double of k3s, for machines and test runs that cannot have the real one.
//!
//! It stands in for two programs, and checks what they check:
//!
//! - the **server** ([`server`]): the calls by which `k3s agent` joins (`/cacerts`, the
//!   certificate requests, the websocket tunnel), with the server's certificate authorities, token
//!   formats, node passwords and bootstrap tokens, and as much of the Kubernetes API as a kubelet
//!   needs to register its Node;
//! - the **agent** ([`agent`]): the real flags, the real order of calls, the real demands on the
//!   operating system; in place of the kubelet it runs one real pod through containerd's CRI.
//!
//! It schedules nothing and serves no workload. It says so in its first log line and wherever it
//! is asked for its version. The test harness reaches through the server's loopback-only
//! [`control`] port into the agent, by the same tunnel that a real server uses for the kubelet.

pub mod agent;
pub mod cli;
pub mod cluster;
pub mod control;
pub mod files;
pub mod http;
pub mod join_token;
pub mod logging;
pub mod server;
pub mod tls;
pub mod tunnel;

/// What the double calls itself: in its first log line, in `--version` and in the Node's version.
pub const BANNER: &str = "k3s double: not k3s; it stands in for k3s in tests and schedules nothing";

/// The version that the Node object carries, so that nobody takes it for a kubelet's.
pub const NODE_VERSION: &str = concat!("v0.0.0+k3s-double-", env!("CARGO_PKG_VERSION"));
