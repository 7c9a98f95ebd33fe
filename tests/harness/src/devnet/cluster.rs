//! The k3s server of the devnet: the double, or a real one.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k3s_double::control::{Client, NodeSummary};
use k3s_double::http::ServerUrl;
use k3s_double::server::EVER_MADE;
use k3s_double::tls::{Identity, pinned_client};

use super::certificates::write_secret;
use super::node::HOST6;
use super::service::{Service, free_port, free_port_pair};

/// What the master may do with the Kubernetes API, as an operator would apply it.
const MASTER_RIGHTS: &str = include_str!("../../../../init/cluster/master/rbac.json");
/// Where tokens of the master's service account are asked for.
const MASTER_ACCOUNT: &str = "/api/v1/namespaces/kube-system/serviceaccounts/k3s-daas-master/token";
/// Longer than any devnet runs.
const MASTER_TOKEN_SECONDS: u64 = 30 * 24 * 60 * 60;
/// k3s looks at its manifests every 15 s.
const MANIFESTS_TIMEOUT: Duration = Duration::from_secs(120);
const MANIFESTS_PAUSE: Duration = Duration::from_millis(500);

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
    /// This host, as nodes see it.
    host: &'static str,
    control_port: Option<u16>,
    data: PathBuf,
    master_token: PathBuf,
    /// The server's process.
    pub service: Service,
}

impl Cluster {
    /// Prepares a server, which nodes reach as `host`; it does not run yet.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn new(
        k3s: &K3s,
        programs: &Path,
        directory: &Path,
        token: &str,
        host: &'static str,
    ) -> Result<Self> {
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
        // both the double and a real k3s apply what lies there
        let manifests = data.join("server/manifests");
        std::fs::create_dir_all(&manifests)
            .and_then(|()| std::fs::write(manifests.join("k3s-daas-master.json"), MASTER_RIGHTS))
            .context("cannot write the manifest of the master's rights")?;
        let token_file = directory.join("k3s.token");
        write_secret(&token_file, token)?;
        let mut arguments = Arguments::default();
        arguments.take(["server", "--disable-agent", "--bind-address", "127.0.0.1"]);
        arguments.take(["--https-listen-port", &port.to_string()]);
        // agents are told where the server is: as the machine sees it
        arguments.take(["--advertise-address", host, "--tls-san", host]);
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
            host,
            control_port,
            data,
            master_token: directory.join("master.kubernetes-token"),
            service,
        })
    }

    /// Where nodes find the server.
    pub fn join_url(&self) -> String {
        match self.host {
            HOST6 => format!("https://[{HOST6}]:{}", self.port),
            host => format!("https://{host}:{}", self.port),
        }
    }

    /// The root certificate of the server's API, once the server runs.
    pub fn root_certificate(&self) -> PathBuf {
        self.data.join("server/tls/server-ca.crt")
    }

    /// The file with the token by which the master is known to the API, once
    /// [`Self::let_master_in`] has written it.
    pub fn master_token(&self) -> &Path {
        &self.master_token
    }

    /// Writes the manifest of the policy by which kubelets create those Nodes alone that the master has
    /// admitted: it prints it itself.
    ///
    /// # Errors
    /// When the master can't be started, or the file can't be written.
    pub fn restrict_nodes(&self, master: &Path) -> Result<()> {
        let admission = std::process::Command::new(master)
            .arg("--print-admission")
            .output()
            .context("the master can't be started")?;
        ensure!(
            admission.status.success(),
            "the master prints no manifest: {}",
            String::from_utf8_lossy(&admission.stderr)
        );
        let file = self.data.join("server/manifests/k3s-daas-admission.json");
        std::fs::write(file, admission.stdout)
            .context("cannot write the manifest of the admitted nodes")
    }

    /// Deletes a node's Node, and with it the password by which its server knows the node, as an
    /// administrator does by `kubectl delete node`; one that is not there is deleted.
    ///
    /// # Errors
    /// When the server does not answer, or refuses.
    pub async fn remove_node(&self, name: &str) -> Result<()> {
        let request = hyper::Request::delete(format!("/api/v1/nodes/{name}"));
        let (status, text) = self.as_administrator(request, String::new()).await?;
        ensure!(
            status.is_success() || status == hyper::StatusCode::NOT_FOUND,
            "the Node {name} is not deleted: {status}: {text}"
        );
        Ok(())
    }

    /// Asks the Kubernetes API by the administrator's certificate. The double and a real k3s keep that at
    /// the same place.
    async fn as_administrator(
        &self,
        request: hyper::http::request::Builder,
        body: String,
    ) -> Result<(hyper::StatusCode, String)> {
        let file = |name: &str| {
            let path = self.data.join("server/tls").join(name);
            std::fs::read_to_string(&path)
                .with_context(|| format!("the k3s server has not written {}", path.display()))
        };
        let identity = Identity::from_pem(&file("client-admin.crt")?, &file("client-admin.key")?)?;
        let tls = pinned_client(file("server-ca.crt")?.as_bytes(), Some(&identity))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let request = request
            .header("host", address.to_string())
            .header("content-type", "application/json")
            .body(http_body_util::Full::new(body.into()))?;
        let answer = k3s_double::http::request(ServerUrl(address), Arc::new(tls), request).await?;
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        Ok((answer.status(), text))
    }

    /// Gets a token for the master's service account, as `kubectl create token` does.
    ///
    /// # Errors
    /// When the server does not answer, or has not applied its manifests in time.
    pub async fn let_master_in(&self) -> Result<()> {
        let body = serde_json::json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": MASTER_TOKEN_SECONDS},
        });
        let ask = async || {
            let request = hyper::Request::post(MASTER_ACCOUNT);
            let (status, text) = self.as_administrator(request, body.to_string()).await?;
            ensure!(status == hyper::StatusCode::CREATED, "{status}: {text}");
            let answer: serde_json::Value = serde_json::from_str(&text)?;
            let token = answer
                .pointer("/status/token")
                .and_then(serde_json::Value::as_str);
            token.map(str::to_owned).context("the answer has no token")
        };
        let deadline = tokio::time::Instant::now() + MANIFESTS_TIMEOUT;
        loop {
            match ask().await {
                Ok(token) => return write_secret(&self.master_token, &token),
                // a real k3s applies its manifests some time after it is up
                Err(_) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(MANIFESTS_PAUSE).await;
                }
                Err(error) => {
                    return Err(error).context("the master gets no token of the Kubernetes API");
                }
            }
        }
    }

    /// The secret parts of all bootstrap tokens that the double's master has had made so far.
    ///
    /// # Errors
    /// When there are none, or a real k3s runs, which keeps none.
    pub fn bootstrap_secrets(&self) -> Result<Vec<String>> {
        let path = self.data.join("server/db").join(EVER_MADE);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("no bootstrap token was made ({})", path.display()))?;
        Ok(text.lines().map(str::to_owned).collect())
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

#[cfg(test)]
mod tests {
    use k3s_double::server::{ServerSettings, start};

    use super::*;

    #[tokio::test]
    async fn the_master_gets_a_token_of_its_own_which_may_list_nodes() {
        let directory = tempfile::tempdir().unwrap();
        let programs = directory.path().join("programs");
        let cluster = Cluster::new(
            &K3s::Double,
            &programs,
            directory.path(),
            "secret",
            "10.0.2.2",
        )
        .unwrap();
        let settings = ServerSettings {
            data_folder: directory.path().join("k3s"),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, cluster.port())),
            advertise: None,
            names: Vec::new(),
            token: Some("secret".to_owned().into()),
            control: None,
        };
        let _server = start(settings).await.unwrap();
        cluster.let_master_in().await.unwrap();
        let token = std::fs::read_to_string(cluster.master_token()).unwrap();
        let root = std::fs::read(cluster.root_certificate()).unwrap();
        let tls = Arc::new(pinned_client(&root, None).unwrap());
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, cluster.port()));
        for (path, expected) in [("/api/v1/nodes", 200), ("/v1-k3s/config", 403)] {
            let request = hyper::Request::get(path)
                .header("host", "k3s")
                .header("authorization", format!("Bearer {token}"))
                .body(http_body_util::Full::new(hyper::body::Bytes::new()))
                .unwrap();
            let answer = k3s_double::http::request(ServerUrl(address), Arc::clone(&tls), request);
            assert_eq!(answer.await.unwrap().status(), expected, "{path}");
        }
        assert!(cluster.bootstrap_secrets().is_err());
    }
}
