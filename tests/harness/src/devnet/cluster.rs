//! The k3s server of the devnet: the double, or a real one.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use k3s_double::control::{Client, NodeSummary};

use super::certificates::write_secret;
use super::node::HOST;
use super::service::{Service, free_port, free_port_pair};

/// Which k3s runs, on this host and in the image.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum K3s {
    /// The double of the tests.
    Double,
    /// A real k3s binary.
    Real(PathBuf),
}

impl std::str::FromStr for K3s {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text == "double" {
            Self::Double
        } else {
            Self::Real(text.into())
        })
    }
}

impl std::fmt::Display for K3s {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Double => formatter.write_str("a double (not k3s; it stands in for it in tests)"),
            Self::Real(path) => write!(formatter, "{}", path.display()),
        }
    }
}

/// A running k3s server.
pub struct Cluster {
    k3s: K3s,
    port: u16,
    control_port: Option<u16>,
    data: PathBuf,
    /// The server's process.
    pub service: Service,
}

impl Cluster {
    /// Prepares a server; it does not run yet.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn new(k3s: &K3s, programs: &Path, directory: &Path, token: &str) -> Result<Self> {
        let port = free_port_pair()?;
        let data = directory.join("k3s");
        // every devnet is a new cluster: a former one's data has another CA and another token,
        // and the double and a real k3s can't read each other's
        match std::fs::remove_dir_all(&data) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).context("cannot remove the former k3s server's directory");
            }
            _ => {}
        }
        std::fs::create_dir_all(&data).context("cannot create the k3s server's directory")?;
        let token_file = directory.join("k3s.token");
        write_secret(&token_file, token)?;
        let mut arguments = Arguments::default();
        arguments.take(["server", "--disable-agent", "--bind-address", "127.0.0.1"]);
        arguments.take(["--https-listen-port", &port.to_string()]);
        // agents are told where the server is: as the machine sees it
        arguments.take(["--advertise-address", HOST, "--tls-san", HOST]);
        arguments.take([
            "--disable",
            "traefik,servicelb,metrics-server,local-storage,coredns",
        ]);
        arguments.path("--data-dir", &data);
        arguments.path("--token-file", &token_file);
        let record = directory.join("k3s-server.log");
        let (service, control_port) = match k3s {
            K3s::Double => {
                let control_port = free_port()?;
                arguments.take(["--control", &format!("127.0.0.1:{control_port}")]);
                let program = programs.join("k3s-double");
                let ready = "listening";
                (
                    Service::new("the k3s double", program, arguments.0, ready, record),
                    Some(control_port),
                )
            }
            K3s::Real(path) => {
                let program = directory.join("k3s-server");
                install(path, &program)?;
                // k3s acts as kubectl under that name
                let kubectl = data.join("kubectl");
                std::os::unix::fs::symlink(&program, &kubectl)
                    .with_context(|| format!("cannot link {}", kubectl.display()))?;
                arguments.path("--write-kubeconfig", &data.join("kubeconfig"));
                let ready = "k3s is up and running";
                (
                    Service::new("k3s server", program, arguments.0, ready, record),
                    None,
                )
            }
        };
        Ok(Self {
            k3s: k3s.clone(),
            port,
            control_port,
            data,
            service,
        })
    }

    /// The server's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The double's control port.
    pub fn control_port(&self) -> Option<u16> {
        self.control_port
    }

    /// Where the running server writes the token with the hash of the cluster's CA.
    pub fn token_path(&self) -> PathBuf {
        self.data.join("server/token")
    }

    /// That token.
    ///
    /// # Errors
    /// When the server has not written it, or it pins no CA.
    pub fn token(&self) -> Result<String> {
        let path = self.token_path();
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("the k3s server has not written {}", path.display()))?;
        ensure!(
            text.starts_with("K10"),
            "{} does not pin the cluster's CA",
            path.display()
        );
        Ok(text.trim().to_owned())
    }

    /// A client of the double's control port.
    ///
    /// # Errors
    /// When a real k3s runs, which has none.
    pub fn control(&self) -> Result<Client> {
        let port = self
            .control_port
            .context("a real k3s has no control port for tests")?;
        Ok(Client(SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
    }

    /// The node of this name as the server sees it; none before it is there.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn node(&self, name: &str) -> Result<Option<NodeSummary>> {
        match &self.k3s {
            K3s::Double => {
                let nodes = self
                    .control()?
                    .nodes()
                    .await
                    .context("no answer about nodes")?;
                Ok(nodes.into_iter().find(|node| node.name == name))
            }
            K3s::Real(_) => self.real_node(name).await,
        }
    }

    async fn real_node(&self, name: &str) -> Result<Option<NodeSummary>> {
        let output = tokio::process::Command::new(self.data.join("kubectl"))
            .args([
                "get",
                "node",
                name,
                "--ignore-not-found",
                "--output",
                "json",
                "--request-timeout",
                "10s",
            ])
            .arg("--kubeconfig")
            .arg(self.data.join("kubeconfig"))
            .kill_on_drop(true)
            .output()
            .await
            .context("cannot start k3s kubectl")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "k3s kubectl failed: {errors}");
        if output.stdout.is_empty() {
            return Ok(None);
        }
        let node: serde_json::Value =
            serde_json::from_slice(&output.stdout).context("k3s kubectl wrote no JSON")?;
        let list = |pointer: &str| {
            node.pointer(pointer)
                .and_then(serde_json::Value::as_array)
                .cloned()
                .unwrap_or_default()
        };
        let text = |value: &serde_json::Value, key: &str| {
            value
                .get(key)
                .and_then(serde_json::Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let conditions = list("/status/conditions");
        let ready = conditions
            .iter()
            .find(|condition| text(condition, "type") == "Ready");
        Ok(Some(NodeSummary {
            name: name.to_owned(),
            registered: true,
            connected: ready.is_some(),
            ready: ready.map_or_else(|| "Unknown".to_owned(), |ready| text(ready, "status")),
            reason: ready.map(|ready| text(ready, "reason")).unwrap_or_default(),
            addresses: list("/status/addresses")
                .iter()
                .map(|one| text(one, "address"))
                .collect(),
            pod_cidr: node
                .pointer("/spec/podCIDR")
                .and_then(serde_json::Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            connections: 0,
        }))
    }
}

/// A copy that can be executed, whatever the mode of the original.
fn install(from: &Path, to: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::copy(from, to)
        .and_then(|_| std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o755)))
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn take<'a>(&mut self, more: impl IntoIterator<Item = &'a str>) {
        self.0.extend(more.into_iter().map(OsString::from));
    }

    fn path(&mut self, flag: &str, path: &Path) {
        self.0.extend([flag.into(), path.into()]);
    }
}
