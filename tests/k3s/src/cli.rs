//! The command line: k3s's own flags where k3s has them, errors for what it would not know.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::http::ServerUrl;

/// What `--version` says after the program's name.
const VERSION: &str = concat!("double: not k3s; version ", env!("CARGO_PKG_VERSION"));

/// A double of k3s for tests: not k3s.
///
/// The server speaks the calls by which agents join. The agent makes them, and in place of the
/// kubelet runs one pod through containerd's CRI.
#[derive(Debug, Parser)]
#[command(name = "k3s", version = VERSION, propagate_version = true)]
pub struct CommandLine {
    /// What to be.
    #[command(subcommand)]
    pub role: Role,
}

/// What to be.
#[derive(Debug, Subcommand)]
pub enum Role {
    /// Run the server's double.
    Server(Box<ServerFlags>),
    /// Run the agent's double.
    Agent(Box<AgentFlags>),
    /// Leave one orphan to PID 1; the agent starts this itself.
    #[command(hide = true)]
    DoubleOrphan(OrphanFlags),
    /// Be the planted container; a container that the agent leaves on the state starts this.
    #[command(hide = true)]
    DoublePlanted,
    /// Send one command to a TPM; the agent starts this itself, as another user.
    #[command(hide = true)]
    DoubleTpm(TpmFlags),
}

/// Flags of `k3s server`, and the double's own.
#[derive(Debug, Args)]
pub struct ServerFlags {
    /// Turn on debug logs.
    #[arg(long)]
    pub debug: bool,
    /// Folder to hold state.
    #[arg(long, short, default_value = "/var/lib/rancher/k3s")]
    pub data_dir: PathBuf,
    /// Shared secret used to join agents; made at the first start when absent.
    #[arg(long, short, conflicts_with = "token_file")]
    pub token: Option<String>,
    /// File containing the token.
    #[arg(long)]
    pub token_file: Option<PathBuf>,
    /// Bind address.
    #[arg(long, default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// Listen port; 0 takes a free one.
    #[arg(long, default_value_t = 6443)]
    pub https_listen_port: u16,
    /// Address that agents are told.
    #[arg(long)]
    pub advertise_address: Option<IpAddr>,
    /// Additional hostnames or addresses for the server's certificate.
    #[arg(long, value_delimiter = ',')]
    pub tls_san: Vec<String>,
    /// Do not run a local agent; the double never does.
    #[arg(long)]
    pub disable_agent: bool,
    /// Components not to deploy; the double deploys none.
    #[arg(long, value_delimiter = ',')]
    pub disable: Vec<String>,
    /// The double's own: loopback address of the control port, such as 127.0.0.1:6480; port 0
    /// takes a free one.
    #[arg(long)]
    pub control: Option<SocketAddr>,
}

/// Flags of `k3s agent`.
#[derive(Debug, Clone, Args)]
pub struct AgentFlags {
    /// Turn on debug logs.
    #[arg(long)]
    pub debug: bool,
    /// Server to connect to.
    #[arg(long, short)]
    pub server: ServerUrl,
    /// Token to use for authentication.
    #[arg(
        long,
        short,
        conflicts_with = "token_file",
        required_unless_present = "token_file"
    )]
    pub token: Option<String>,
    /// File containing the token; it must belong to this user and be closed to all others.
    #[arg(long)]
    pub token_file: Option<PathBuf>,
    /// Folder to hold state.
    #[arg(long, short, default_value = "/var/lib/rancher/k3s")]
    pub data_dir: PathBuf,
    /// Node name; the host's name by default.
    #[arg(long)]
    pub node_name: Option<String>,
    /// IPv4 address to advertise for the node; that of the default route by default.
    #[arg(long, short = 'i')]
    pub node_ip: Option<std::net::Ipv4Addr>,
    /// Labels to register the node with.
    #[arg(long)]
    pub node_label: Vec<String>,
    /// CRI socket; a bare path. The double has no embedded containerd.
    #[arg(long)]
    pub container_runtime_endpoint: String,
    /// Pause image; containerd's own setting decides.
    #[arg(long)]
    pub pause_image: Option<String>,
    /// Kubelet resolv.conf file.
    #[arg(long)]
    pub resolv_conf: Option<PathBuf>,
    /// Error if kernel tunables are different than kubelet defaults.
    #[arg(long)]
    pub protect_kernel_defaults: bool,
    /// Customized flag for the kubelet, name=value.
    #[arg(long)]
    pub kubelet_arg: Vec<String>,
    /// Customized flag for kube-proxy; the double runs none.
    #[arg(long)]
    pub kube_proxy_arg: Vec<String>,
}

/// Flags of the orphan's two lives.
#[derive(Debug, Clone, Args)]
pub struct OrphanFlags {
    /// Already the orphan: wait for another parent than this one, say who it is, and exit.
    #[arg(long)]
    pub parent: Option<i32>,
}

/// Flags of a command to a TPM.
#[derive(Debug, Clone, Args)]
pub struct TpmFlags {
    /// A device or a socket.
    #[arg(long)]
    pub path: PathBuf,
    /// The command, in hexadecimal.
    #[arg(long)]
    pub request: String,
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    fn agent(extra: &[&str]) -> Result<AgentFlags, clap::Error> {
        let arguments = [
            "k3s",
            "agent",
            "--server",
            "https://10.0.2.2:6443",
            "--token-file",
            "/run/daas/agent/token",
            "--data-dir",
            "/var/lib/rancher/k3s",
            "--node-name",
            "edge-0001",
            "--container-runtime-endpoint",
            "/run/containerd/containerd.sock",
        ];
        match CommandLine::try_parse_from(arguments.iter().chain(extra))?.role {
            Role::Agent(flags) => Ok(*flags),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_nodes_own_command_line_is_taken() {
        let flags = agent(&[
            "--kubelet-arg",
            "fail-swap-on=false",
            "--kubelet-arg",
            "volume-plugin-dir=/var/lib/kubelet/volumeplugins",
        ])
        .unwrap();
        assert_eq!(flags.kubelet_arg.len(), 2);
        assert_eq!(flags.node_name.as_deref(), Some("edge-0001"));
    }

    #[test]
    fn what_k3s_does_not_know_is_an_error() {
        assert_eq!(
            agent(&["--tokenfile", "x"]).unwrap_err().kind(),
            ErrorKind::UnknownArgument
        );
        assert_eq!(
            agent(&["--token", "x"]).unwrap_err().kind(),
            ErrorKind::ArgumentConflict
        );
        assert_eq!(
            agent(&["spare"]).unwrap_err().kind(),
            ErrorKind::UnknownArgument
        );
    }

    #[test]
    fn the_version_says_that_it_is_a_double() {
        let error = CommandLine::try_parse_from(["k3s", "--version"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DisplayVersion);
        assert!(
            error.to_string().starts_with("k3s double: not k3s"),
            "{error}"
        );
    }
}
