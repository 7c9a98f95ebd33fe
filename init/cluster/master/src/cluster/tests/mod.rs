//! The cluster, against the k3s double's Kubernetes API over TLS.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use attest_verify::{Image, Release, Standing};
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

use super::objects::{Backing, Metadata, Named, Note};
use super::*;
use crate::join::JoinTokens;
use crate::tests::{World, a_stake, unreachable};

mod firmware;
mod nodes;
mod releases;
mod rounds;
mod tokens;

/// Longer than anything here takes, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a node without evidence is admitted by.
const BACKING: Backing = Backing {
    stake: ObjectId::from_bytes([7; 32]),
    image: None,
};
/// Where the name of [`node`] is admitted.
const SHARD: &str = "/api/v1/namespaces/k3s-daas/configmaps/k3s-daas-admitted-07";
const RIGHTS: &str = include_str!("../../../rbac.json");

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
        Self::at(TempDir::new().unwrap()).await
    }

    async fn at(folder: TempDir) -> Self {
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
        let manifests = self.folder.path().join("server/manifests");
        fs::write(manifests.join("rbac.json"), rights).unwrap();
        self.give_policy(|_| ());
    }

    /// Gives the policy's objects, changed.
    fn give_policy(&self, change: impl FnOnce(&mut Vec<Value>)) {
        let mut manifest = admission::manifest(&[]);
        change(manifest["items"].as_array_mut().unwrap());
        fs::write(self.policy(), manifest.to_string()).unwrap();
    }

    /// The names that the shard of [`node`] admits.
    async fn admitted(&self) -> Value {
        self.ask("GET", SHARD, None).await.1["data"].take()
    }

    fn policy(&self) -> PathBuf {
        self.folder.path().join("server/manifests/admission.json")
    }

    /// As where the policy came later than a Node. [`Self::grant`] brings it back.
    fn without_policy(&self) {
        fs::remove_file(self.policy()).unwrap();
    }

    fn token_file(&self) -> PathBuf {
        self.folder.path().join("master.token")
    }

    fn tls(&self, name: &str) -> PathBuf {
        self.folder.path().join("server/tls").join(name)
    }

    fn settings(&self) -> KubernetesSettings {
        KubernetesSettings {
            server: format!("https://{}", self.server.address).parse().unwrap(),
            root_certificate: self.tls("server-ca.crt"),
            credentials: Credentials::Token(self.token_file()),
        }
    }

    fn world(&self, clock: fn() -> u64) -> World {
        let cluster = Cluster::open(&self.settings()).unwrap();
        let tokens = JoinTokens::Cluster(Arc::new(cluster));
        let world = World::with_tokens(TempDir::new().unwrap(), tokens, clock);
        world.stands_for(ObjectId::from_bytes([7; 32]));
        world
    }

    /// As somebody who empties the ConfigMap.
    async fn lose_name(&self) {
        let patch = json!({"data": {"edge-0001-0707070707": null}});
        let (status, answer) = self.ask("PATCH", SHARD, Some(patch)).await;
        assert_eq!(status, 200, "{answer}");
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
        if method == "PATCH" {
            request = request.header("content-type", "application/merge-patch+json");
        }
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
        // without any, the list is null
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// The metadata of the Node.
    async fn metadata(&self) -> Metadata {
        let node: Named = serde_json::from_value(self.node().await.unwrap()).unwrap();
        node.metadata
    }

    async fn node(&self) -> Option<Value> {
        let (status, node) = self
            .ask("GET", "/api/v1/nodes/edge-0001-0707070707", None)
            .await;
        (status == 200).then_some(node)
    }

    /// A node with a folder of its own joins, as `k3s agent` and its kubelet do.
    async fn join(&self, folder: &Path, token: &str) -> Result<Membership, JoinError> {
        self.join_as("edge-0001-0707070707", folder, token).await
    }

    async fn join_as(
        &self,
        name: &str,
        folder: &Path,
        token: &str,
    ) -> Result<Membership, JoinError> {
        let applicant = Applicant {
            node_name: name.to_owned(),
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

/// The name of the stake's Node.
fn node() -> NodeName {
    a_stake().node_name().unwrap()
}

fn facts() -> NodeFacts {
    NodeFacts {
        name: "edge-0001-0707070707".into(),
        address: [127, 0, 0, 1].into(),
        labels: Vec::new(),
        runtime: "fake://1".into(),
    }
}

impl World {
    /// The stake that its node shows is of this record.
    fn stands_for(&self, record: ObjectId) {
        self.change(|state| {
            let mut stake = a_stake();
            stake.record = record;
            stake.seal_token = Some(SealToken {
                id: ObjectId::from_bytes([8; 32]),
                issued_at_ms: 0,
                expires_at_ms: u64::MAX,
            });
            state.stake = Some(stake);
        });
    }

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
