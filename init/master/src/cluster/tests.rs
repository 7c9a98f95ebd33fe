//! The cluster, against the k3s double's Kubernetes API over TLS.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::StatusCode;
use chain::{ObjectId, SealToken, Verdict};
use http_body_util::Full;
use hyper::body::Bytes;
use k3s_double::agent::host::Host;
use k3s_double::agent::join::{Applicant, JoinError, Membership, Server};
use k3s_double::agent::node::{Api as Kubelet, NodeFacts, Readiness};
use k3s_double::http::{self, ServerUrl};
use k3s_double::server::{self, RunningServer, ServerSettings};
use k3s_double::tls::{Identity, pinned_client};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::objects::{Named, stake_of};
use super::*;
use crate::join::JoinTokens;
use crate::tests::{World, a_stake, unreachable};

/// Longer than anything here takes, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);
const RIGHTS: &str = include_str!("../../rbac.json");

/// The double, and what its administrator sees.
struct K3s {
    folder: TempDir,
    server: RunningServer,
}

fn seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

fn an_hour_ago() -> u64 {
    seconds() - 3600
}

async fn serve(folder: &Path, port: u16) -> RunningServer {
    server::start(ServerSettings {
        data_folder: folder.to_owned(),
        listen: SocketAddr::from(([127, 0, 0, 1], port)),
        advertise: None,
        names: Vec::new(),
        token: None,
        control: None,
    })
    .await
    .unwrap()
}

impl K3s {
    async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let server = serve(folder.path(), 0).await;
        let k3s = Self { folder, server };
        k3s.grant(RIGHTS);
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"expirationSeconds": 86400},
        });
        let path = "/api/v1/namespaces/kube-system/serviceaccounts/k3s-daas-master/token";
        let (status, answer) = k3s.ask("POST", path, Some(request)).await;
        assert_eq!(status, 201, "{answer}");
        secret(
            &k3s.token_file(),
            answer["status"]["token"].as_str().unwrap(),
        );
        k3s
    }

    fn grant(&self, rights: &str) {
        fs::write(
            self.folder.path().join("server/manifests/rbac.json"),
            rights,
        )
        .unwrap();
    }

    fn token_file(&self) -> PathBuf {
        self.folder.path().join("master.token")
    }

    fn tls(&self, name: &str) -> PathBuf {
        self.folder.path().join("server/tls").join(name)
    }

    fn settings(&self) -> KubernetesSettings {
        KubernetesSettings {
            server: format!("https://{}", self.server.address),
            root_certificate: self.tls("server-ca.crt"),
            credentials: Credentials::Token(self.token_file()),
        }
    }

    fn world(&self, clock: fn() -> u64) -> World {
        let cluster = Cluster::open(&self.settings()).unwrap();
        let tokens = JoinTokens::Cluster(Arc::new(cluster));
        let world = World::with(TempDir::new().unwrap(), tokens, clock);
        world.change(|state| {
            let mut stake = a_stake();
            stake.seal_token = Some(SealToken {
                id: ObjectId::from_bytes([8; 32]),
                issued_at_ms: 0,
                expires_at_ms: u64::MAX,
            });
            state.stake = Some(stake);
        });
        world
    }

    /// As the administrator.
    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let read = |name: &str| fs::read_to_string(self.tls(name)).unwrap();
        let identity = Identity::from_pem(&read("client-admin.crt"), &read("client-admin.key"));
        let root = read("server-ca.crt");
        let tls = pinned_client(root.as_bytes(), Some(&identity.unwrap())).unwrap();
        self.exchange(method, path, body, tls, None).await
    }

    async fn exchange(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
        tls: rustls::ClientConfig,
        bearer: Option<&str>,
    ) -> (u16, Value) {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let mut request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "k3s");
        if let Some(bearer) = bearer {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let url = ServerUrl(self.server.address);
        let answer = http::request(url, Arc::new(tls), request).await.unwrap();
        let body = serde_json::from_slice(answer.body()).unwrap_or_default();
        (answer.status().as_u16(), body)
    }

    /// The Secrets of the master, of a kind.
    async fn secrets(&self, kind: &str) -> Vec<Value> {
        let path = "/api/v1/namespaces/kube-system/secrets?labelSelector=k3s-daas.local/kind=";
        let (status, list) = self.ask("GET", &format!("{path}{kind}"), None).await;
        assert_eq!(status, 200, "{list}");
        list["items"].as_array().unwrap().clone()
    }

    async fn node(&self) -> Option<Value> {
        let (status, node) = self.ask("GET", "/api/v1/nodes/edge-0001", None).await;
        (status == 200).then_some(node)
    }

    /// A node with a folder of its own joins, as `k3s agent` and its kubelet do.
    async fn join(&self, folder: &Path, token: &str) -> Result<Membership, JoinError> {
        let applicant = Applicant {
            node_name: "edge-0001".to_owned(),
            node_address: [127, 0, 0, 1].into(),
            agent_folder: folder.join("agent"),
            node_folder: folder.join("node"),
        };
        let membership = Server::validate(ServerUrl(self.server.address), token)
            .await?
            .join(&applicant)
            .await?;
        Ok(membership)
    }

    async fn come(&self, folder: &Path, token: &str) -> Kubelet {
        let membership = self.join(folder, token).await.unwrap();
        let kubelet = Kubelet::new(&membership);
        kubelet.register(&Host::at(folder), &facts()).await.unwrap();
        kubelet
    }
}

fn secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

fn facts() -> NodeFacts {
    NodeFacts {
        name: "edge-0001".into(),
        address: [127, 0, 0, 1].into(),
        labels: Vec::new(),
        runtime: "fake://1".into(),
    }
}

impl World {
    async fn token(&self) -> String {
        let answer = self.register(&self.a_registration().await).await;
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
        answer.body["join_token"].as_str().unwrap().to_owned()
    }

    /// One look at everything; what went wrong, if something did.
    async fn look(&self) -> Option<String> {
        let cluster = self.master.join.tokens.cluster().unwrap();
        let failure = self.master.look(cluster).await;
        failure.map(|failure| format!("{:#}", anyhow::Error::new(failure)))
    }
}

fn is_unauthorized(joined: Result<Membership, JoinError>) -> bool {
    let error = joined.err().expect("a refusal");
    matches!(error, JoinError::Status { status, .. } if status.as_u16() == 401)
}

#[tokio::test]
async fn a_node_gets_a_token_of_its_own_which_goes_when_the_node_has_come() {
    let k3s = K3s::start().await;
    let world = k3s.world(seconds);
    let token = world.token().await;
    // not a part of the server's own token but the hash of its authority
    let (authority, password) = k3s.server.token.split_once("::").unwrap();
    let password = password.rsplit(':').next().unwrap();
    assert!(token.starts_with(&format!("{authority}::")) && !token.contains(password));
    let made = k3s.secrets("token").await;
    assert_eq!(made.len(), 1);
    assert_eq!(made[0]["type"], "bootstrap.kubernetes.io/token");
    assert!(
        made[0]["metadata"]["name"]
            .as_str()
            .unwrap()
            .starts_with("bootstrap-token-")
    );

    // the node has not come: its token stays
    assert_eq!(world.look().await, None);
    assert_eq!(k3s.secrets("token").await.len(), 1);
    let folder = TempDir::new().unwrap();
    k3s.come(folder.path(), &token).await;
    assert_eq!(world.look().await, None);
    assert!(k3s.secrets("token").await.is_empty());
    let node: Named = serde_json::from_value(k3s.node().await.unwrap()).unwrap();
    assert_eq!(stake_of(&node.metadata), Some(a_stake().record));
    let thief = TempDir::new().unwrap();
    assert!(is_unauthorized(k3s.join(thief.path(), &token).await));
}

#[tokio::test]
async fn a_node_that_comes_again_is_known_by_its_heartbeat() {
    let k3s = K3s::start().await;
    let world = k3s.world(seconds);
    let folder = TempDir::new().unwrap();
    k3s.come(folder.path(), &world.token().await).await;
    assert_eq!(world.look().await, None);

    let token = world.token().await;
    assert_eq!(world.look().await, None);
    assert_eq!(k3s.secrets("token").await.len(), 1);
    let kubelet = k3s.come(folder.path(), &token).await;
    let ready = Readiness {
        ready: true,
        message: "the pod runs".to_owned(),
    };
    // heartbeats have whole seconds
    let wait = async {
        while !k3s.secrets("token").await.is_empty() {
            kubelet
                .report(&Host::at(folder.path()), &facts(), &ready)
                .await
                .unwrap();
            assert_eq!(world.look().await, None);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
}

#[tokio::test]
async fn one_token_for_one_node_and_the_last_one_counts() {
    let k3s = K3s::start().await;
    let world = k3s.world(seconds);
    let first = world.token().await;
    let second = world.token().await;
    assert_eq!(k3s.secrets("token").await.len(), 1);
    let folder = TempDir::new().unwrap();
    assert!(is_unauthorized(k3s.join(folder.path(), &first).await));
    k3s.join(folder.path(), &second).await.unwrap();
}

#[tokio::test]
async fn a_token_expires_and_another_master_removes_it() {
    let k3s = K3s::start().await;
    let token = k3s.world(an_hour_ago).token().await;
    let folder = TempDir::new().unwrap();
    assert!(is_unauthorized(k3s.join(folder.path(), &token).await));
    assert_eq!(k3s.secrets("token").await.len(), 1);
    let restarted = k3s.world(seconds);
    assert_eq!(restarted.look().await, None);
    assert!(k3s.secrets("token").await.is_empty());
}

#[tokio::test]
async fn a_master_that_starts_again_goes_on_where_it_was() {
    let k3s = K3s::start().await;
    let folder = TempDir::new().unwrap();
    let token = k3s.world(seconds).token().await;
    k3s.come(folder.path(), &token).await;
    let restarted = k3s.world(seconds);
    assert_eq!(restarted.look().await, None);
    assert!(k3s.secrets("token").await.is_empty());
    // and the next one knows the Node's stake
    let restarted = k3s.world(seconds);
    restarted.verdict(Verdict::Withdrawn);
    assert_eq!(restarted.look().await, None);
    assert!(k3s.node().await.is_none());
}

#[tokio::test]
async fn a_node_that_is_not_labelled_yet_can_register_again() {
    let k3s = K3s::start().await;
    let world = k3s.world(seconds);
    let folder = TempDir::new().unwrap();
    k3s.come(folder.path(), &world.token().await).await;
    world.token().await;
    let node: Named = serde_json::from_value(k3s.node().await.unwrap()).unwrap();
    assert_eq!(stake_of(&node.metadata), Some(a_stake().record));
}

#[tokio::test]
async fn a_node_whose_stake_is_gone_is_cordoned_then_deleted() {
    for verdict in [Verdict::Slashed, Verdict::Unbonding, Verdict::Withdrawn] {
        let k3s = K3s::start().await;
        let world = k3s.world(seconds);
        let folder = TempDir::new().unwrap();
        k3s.come(folder.path(), &world.token().await).await;
        assert_eq!(world.look().await, None);
        world.verdict(verdict);
        // cordoning comes first: without the right to delete, that is all
        let lesser = RIGHTS.replace(r#""patch", "delete""#, r#""patch""#);
        assert_ne!(lesser, RIGHTS);
        k3s.grant(&lesser);
        let failure = world.look().await.unwrap();
        assert!(
            failure.contains("DELETE Node") && failure.contains("403"),
            "{failure}"
        );
        let node = k3s.node().await.unwrap();
        assert_eq!(node["spec"]["unschedulable"], true);
        k3s.grant(RIGHTS);
        assert_eq!(world.look().await, None);
        assert!(k3s.node().await.is_none());
    }
}

#[tokio::test]
async fn a_removed_node_does_not_come_back_by_its_certificate() {
    let k3s = K3s::start().await;
    let world = k3s.world(seconds);
    let folder = TempDir::new().unwrap();
    let kubelet = k3s.come(folder.path(), &world.token().await).await;
    assert_eq!(world.look().await, None);
    world.verdict(Verdict::Slashed);
    assert_eq!(world.look().await, None);
    assert!(k3s.node().await.is_none());
    // the API server does not know that the certificate is worth nothing
    kubelet
        .register(&Host::at(folder.path()), &facts())
        .await
        .unwrap();
    let restarted = k3s.world(seconds);
    restarted.verdict(Verdict::Slashed);
    assert_eq!(restarted.look().await, None);
    assert!(k3s.node().await.is_none());
    assert_eq!(k3s.secrets("removed").await.len(), 1);

    // a stake that stands again lets it in again
    restarted.verdict(Verdict::Active);
    let token = restarted.token().await;
    assert!(k3s.secrets("removed").await.is_empty());
    k3s.come(folder.path(), &token).await;
    assert_eq!(restarted.look().await, None);
    assert!(k3s.node().await.is_some());
}

#[tokio::test]
async fn a_token_that_was_not_used_goes_with_its_stake() {
    let k3s = K3s::start().await;
    let world = k3s.world(seconds);
    world.token().await;
    world.verdict(Verdict::Slashed);
    assert_eq!(world.look().await, None);
    assert!(k3s.secrets("token").await.is_empty());
}

#[tokio::test]
async fn silence_and_outages_remove_no_node() {
    let k3s = K3s::start().await;
    let world = k3s.world(seconds);
    let folder = TempDir::new().unwrap();
    k3s.come(folder.path(), &world.token().await).await;
    assert_eq!(world.look().await, None);
    // nothing was heard of the node since
    for verdict in [Verdict::Active, Verdict::BelowMinimum, Verdict::NotFound] {
        world.verdict(verdict);
        assert_eq!(world.look().await, None);
    }
    world.verdict(Verdict::Slashed);
    world.change(|state| state.failure = Some(unreachable));
    let failure = world.look().await.unwrap();
    assert!(
        failure.contains("the stakes of Nodes can't be read"),
        "{failure}"
    );
    let node = k3s.node().await.unwrap();
    assert_eq!(node.pointer("/spec/unschedulable"), None);
}

#[tokio::test]
async fn without_the_api_nodes_come_back_later_and_nothing_is_begun() {
    let mut k3s = K3s::start().await;
    let world = k3s.world(seconds);
    let address = k3s.server.address;
    k3s.server = serve(TempDir::new().unwrap().path(), 0).await;
    let request = world.a_registration().await;
    world.register(&request).await.refused(503, "unavailable");
    assert!(world.look().await.unwrap().contains("gave no answer"));
    assert!(!world.master.sessions.any());
    k3s.server = serve(k3s.folder.path(), address.port()).await;
    assert!(k3s.secrets("token").await.is_empty());
    world.token().await;
    assert_eq!(k3s.secrets("token").await.len(), 1);
}

#[tokio::test]
async fn who_may_not_gets_no_token_and_says_so() {
    let k3s = K3s::start().await;
    let world = k3s.world(seconds);
    for lesser in ["{}".to_owned(), RIGHTS.replace(r#""create", "#, "")] {
        k3s.grant(&lesser);
        let request = world.a_registration().await;
        world.register(&request).await.refused(503, "unavailable");
    }
    k3s.grant(RIGHTS);
    secret(&k3s.token_file(), "k3s-double-another");
    let request = world.a_registration().await;
    world.register(&request).await.refused(503, "unavailable");
    assert!(world.look().await.unwrap().contains("401"));
}

#[tokio::test]
async fn a_stake_does_not_stand_for_somebody_elses_node() {
    let k3s = K3s::start().await;
    let world = k3s.world(seconds);
    let folder = TempDir::new().unwrap();
    k3s.come(folder.path(), &k3s.server.token).await;
    let request = world.a_registration().await;
    let answer = world.register(&request).await;
    answer.refused(401, "stake-of-another");
    assert!(
        answer.body["message"]
            .as_str()
            .unwrap()
            .contains("no stake stands for it")
    );
    assert!(k3s.secrets("token").await.is_empty());
    world.verdict(Verdict::Slashed);
    assert_eq!(world.look().await, None);
    assert!(k3s.node().await.is_some());
}

#[tokio::test]
async fn the_rights_of_the_master_open_nothing_else() {
    let k3s = K3s::start().await;
    k3s.world(seconds).token().await;
    let token = fs::read_to_string(k3s.token_file()).unwrap();
    let root = fs::read(k3s.tls("server-ca.crt")).unwrap();
    let made = k3s.secrets("token").await;
    let secret = made[0]["metadata"]["name"].as_str().unwrap();
    let accounts = "/api/v1/namespaces/kube-system/serviceaccounts/k3s-daas-master/token";
    for (method, path, expected) in [
        ("GET", "/api/v1/namespaces/kube-system/secrets", 200),
        (
            "GET",
            &format!("/api/v1/namespaces/kube-system/secrets/{secret}"),
            403,
        ),
        ("POST", "/api/v1/nodes", 403),
        ("PATCH", "/api/v1/nodes/edge-0001/status", 403),
        ("POST", accounts, 403),
        ("GET", "/v1-k3s/config", 403),
        ("GET", "/v1-k3s/connect", 403),
    ] {
        let tls = pinned_client(&root, None).unwrap();
        let body = (method != "GET").then(|| json!({}));
        let (status, _) = k3s.exchange(method, path, body, tls, Some(&token)).await;
        assert_eq!(status, expected, "{method} {path}");
    }
}

#[tokio::test]
async fn a_client_certificate_serves_as_well_and_another_authority_does_not() {
    let k3s = K3s::start().await;
    let mut settings = k3s.settings();
    settings.credentials = Credentials::Certificate {
        certificate: k3s.tls("client-admin.crt"),
        key: k3s.tls("client-admin.key"),
    };
    Cluster::open(&settings)
        .unwrap()
        .issue(&a_stake(), seconds())
        .await
        .unwrap();
    settings.root_certificate = k3s.tls("client-ca.crt");
    let other = Cluster::open(&settings).unwrap();
    let error = other.issue(&a_stake(), seconds()).await.unwrap_err();
    assert!(matches!(error, ClusterError::Unreachable { .. }), "{error}");

    let exposed = k3s.folder.path().join("exposed.key");
    fs::copy(k3s.tls("client-admin.key"), &exposed).unwrap();
    fs::set_permissions(&exposed, Permissions::from_mode(0o644)).unwrap();
    settings.credentials = Credentials::Certificate {
        certificate: k3s.tls("client-admin.crt"),
        key: exposed,
    };
    assert!(matches!(
        Cluster::open(&settings),
        Err(ClusterError::File(_))
    ));
    settings.root_certificate = k3s.token_file();
    assert!(matches!(
        Cluster::open(&settings),
        Err(ClusterError::Pem { .. })
    ));
    secret(&k3s.token_file(), "two lines\n");
    settings = k3s.settings();
    assert!(matches!(
        Cluster::open(&settings),
        Err(ClusterError::Token { .. })
    ));
}

/// The whole of it in the background, by a heartbeat that finds the stake slashed.
#[tokio::test]
async fn the_cluster_is_tended_in_the_background() {
    let k3s = K3s::start().await;
    let world = k3s.world(seconds);
    let tending = tokio::spawn(Arc::clone(&world.master).tend());
    let folder = TempDir::new().unwrap();
    k3s.come(folder.path(), &world.token().await).await;
    let wait = async {
        while !k3s.secrets("token").await.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        world.verdict(Verdict::Slashed);
        let request = world.a_registration().await;
        world.register(&request).await.refused(401, "stake-slashed");
        while k3s.node().await.is_some() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
    tending.abort();
}
