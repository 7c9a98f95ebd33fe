//! A small client of the Kubernetes API: the cluster's own root and no other, every call bounded
//! in time and size.

use std::time::Duration;

use pinned_http::http::{self, BodyError};
use pinned_http::tls::{self, Identity, Roots, TlsError};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, StatusCode};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use wire::{NodeName, ServerUrl};
use zeroize::Zeroizing;

use super::admission::Shard;
use super::objects::{Metadata, Named, Node, Page};
use super::settings::{Credentials, KubernetesSettings};
use super::{ClusterError, admission};
use crate::files::{read_bounded, read_secret};

/// Name lookup, TCP and TLS handshake.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// A whole call.
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// The longest answer, in bytes: a page of metadata, or one Node with its list of images.
const LONGEST: usize = 4 * 1024 * 1024;
/// Objects of a page; metadata alone is at most a few KiB.
const PAGE: usize = 250;
/// The most pages of a list: half a million objects.
const MOST_PAGES: usize = 2000;
/// How often a list is begun anew whose next page the API server does not have any more: it keeps
/// a list's version for five minutes (etcd's compaction).
const MOST_LISTS: usize = 3;
/// How often a call is made that the API server has no room for at the moment.
const MOST_CALLS: usize = 4;
/// The longest that is waited before such a call is made again, whatever the API server asks for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(10);
/// Metadata alone: what a Secret holds does not leave the API server.
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const NODES: &str = "/api/v1/nodes";
const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";

/// The body of an answer, wiped like every body: a few hold secrets.
type Body = Zeroizing<Vec<u8>>;

/// The API.
pub(super) struct Api {
    server: ServerUrl,
    client: Client,
    credentials: Credentials,
}

/// The API's own words for a refusal, a `Status` object.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    reason: String,
    message: String,
}

impl Api {
    /// Reads the files that the settings name.
    pub(super) fn open(settings: &KubernetesSettings) -> Result<Self, ClusterError> {
        let pem = |path: &std::path::Path, expected| ClusterError::Pem {
            path: path.to_owned(),
            expected,
        };
        let root = &settings.root_certificate;
        let bytes = read_bounded(root).map_err(ClusterError::File)?;
        let roots = Roots::from_pem(&bytes).map_err(|error| match error {
            TlsError::Pem => pem(root, "certificates"),
            error => ClusterError::Tls(error),
        })?;
        let identity = match &settings.credentials {
            Credentials::Token(path) => {
                bearer(path)?;
                None
            }
            Credentials::Certificate { certificate, key } => {
                let chain = read_bounded(certificate).map_err(ClusterError::File)?;
                let chain = tls::certificates(&chain)
                    .map_err(|_| pem(certificate, "a certificate chain"))?;
                let bytes = read_secret(key).map_err(ClusterError::File)?;
                let key =
                    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| pem(key, "a private key"))?;
                Some(Identity { chain, key })
            }
        };
        let tls = tls::rooted(&roots, identity).map_err(ClusterError::Tls)?;
        let client = http::builder(tls)
            .connect_timeout(CONNECT_LIMIT)
            .timeout(CALL_LIMIT)
            .pool_max_idle_per_host(4)
            .user_agent(concat!("k3s-daas-master/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(ClusterError::Client)?;
        Ok(Self {
            server: settings.server.clone(),
            client,
            credentials: settings.credentials.clone(),
        })
    }

    /// The cluster's authorities, PEM, as agents get to see them.
    pub(super) async fn authorities(&self) -> Result<Body, ClusterError> {
        self.call(Method::GET, "/cacerts", "text/plain", None).await
    }

    /// Creates a Secret in `kube-system`, and gives its metadata.
    pub(super) async fn create_secret(
        &self,
        kind: &str,
        metadata: &Metadata,
        data: &Value,
    ) -> Result<Metadata, ClusterError> {
        let body = json!({
            "apiVersion": "v1", "kind": "Secret", "type": kind,
            "metadata": metadata, "stringData": data,
        });
        let body = Some(("application/json", body));
        let answer = self.call(Method::POST, SECRETS, METADATA, body).await?;
        read::<Named>("POST Secret", &answer).map(|named| named.metadata)
    }

    /// The metadata of all Secrets with these labels.
    pub(super) async fn secrets(&self, selector: &str) -> Result<Vec<Metadata>, ClusterError> {
        self.list(SECRETS, selector).await
    }

    /// Deletes a Secret; one that is gone already is deleted.
    pub(super) async fn delete_secret(&self, name: &str) -> Result<(), ClusterError> {
        let path = format!("{SECRETS}/{name}");
        gone(
            self.call(Method::DELETE, &path, "application/json", None)
                .await,
        )
    }

    /// The metadata of all Nodes with these labels.
    pub(super) async fn nodes(&self, selector: &str) -> Result<Vec<Metadata>, ClusterError> {
        self.list(NODES, selector).await
    }

    /// One Node; `None` where there is none of this name.
    pub(super) async fn node(&self, name: &NodeName) -> Result<Option<Node>, ClusterError> {
        self.node_as_listed(name.as_str()).await
    }

    /// The same for a name that the API itself has given: it can have dots.
    pub(super) async fn node_as_listed(&self, name: &str) -> Result<Option<Node>, ClusterError> {
        let path = format!("{NODES}/{name}");
        match self
            .call(Method::GET, &path, "application/json", None)
            .await
        {
            Ok(answer) => read("GET Node", &answer).map(Some),
            Err(error) if error.is(StatusCode::NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives this very Node labels.
    pub(super) async fn label_node(
        &self,
        node: &Metadata,
        labels: &Value,
    ) -> Result<(), ClusterError> {
        let patch = json!({"metadata": {"uid": node.uid, "labels": labels}});
        self.patch_node(&node.name, patch).await.map(drop)
    }

    /// Has the scheduler send nothing more to this very Node, as it was seen. Gives how it is then.
    pub(super) async fn cordon_node(&self, node: &Metadata) -> Result<Metadata, ClusterError> {
        let patch = json!({"metadata": seen(node), "spec": {"unschedulable": true}});
        self.patch_node(&node.name, patch).await
    }

    /// The names of a shard that may be created.
    pub(super) async fn admitted(&self, shard: &str) -> Result<Shard, ClusterError> {
        let path = admission::path(shard);
        let answer = self.admission_object(&path).await?;
        Ok(Shard::of(&answer))
    }

    /// Changes the names of a shard as it was read; 409 where it was changed since.
    pub(super) async fn patch_admitted(
        &self,
        shard: &str,
        patch: Value,
    ) -> Result<(), ClusterError> {
        let body = Some(("application/merge-patch+json", patch));
        let path = admission::path(shard);
        self.call(Method::PATCH, &path, METADATA, body)
            .await
            .map(drop)
    }

    /// That the API server has the policy, and a shard's binding, as this master prints them.
    pub(super) async fn check_admission(&self, shard: &str) -> Result<(), ClusterError> {
        let (policy, binding) = (admission::policy_path(), admission::binding_path(shard));
        let check = async |path: &str, expected: Value| {
            if admission::is_in_force(&expected, &self.admission_object(path).await?) {
                return Ok(());
            }
            Err(ClusterError::AdmissionChanged {
                object: object_of(path),
            })
        };
        tokio::try_join!(
            check(&policy, admission::policy()),
            check(&binding, admission::binding(shard)),
        )
        .map(drop)
    }

    /// An object that `--print-admission` prints.
    async fn admission_object(&self, path: &str) -> Result<Value, ClusterError> {
        let answer = self.call(Method::GET, path, "application/json", None).await;
        match answer {
            Ok(answer) => read(call_name(&Method::GET, path), &answer),
            Err(error) if error.is(StatusCode::NOT_FOUND) => Err(ClusterError::NoAdmission {
                object: object_of(path),
            }),
            Err(error) => Err(error),
        }
    }

    async fn patch_node(&self, name: &str, patch: Value) -> Result<Metadata, ClusterError> {
        let path = format!("{NODES}/{name}");
        let body = Some(("application/merge-patch+json", patch));
        let answer = self.call(Method::PATCH, &path, METADATA, body).await?;
        read::<Named>("PATCH Node", &answer).map(|named| named.metadata)
    }

    /// Deletes this very Node, as it was seen; one that is gone already is deleted.
    pub(super) async fn delete_node(&self, node: &Metadata) -> Result<(), ClusterError> {
        let path = format!("{NODES}/{}", node.name);
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "preconditions": seen(node),
        });
        let body = Some(("application/json", options));
        gone(
            self.call(Method::DELETE, &path, "application/json", body)
                .await,
        )
    }

    /// All objects of a list, page by page. One whose pages are gone before the last was asked for (410
    /// Gone) is begun anew.
    async fn list(&self, path: &str, selector: &str) -> Result<Vec<Metadata>, ClusterError> {
        let mut begun = 1;
        loop {
            match self.list_once(path, selector).await {
                Err(error) if error.is(StatusCode::GONE) && begun < MOST_LISTS => begun += 1,
                listed => return listed,
            }
        }
    }

    async fn list_once(&self, path: &str, selector: &str) -> Result<Vec<Metadata>, ClusterError> {
        let selector = encode(selector);
        let (mut all, mut next) = (Vec::new(), String::new());
        for _ in 0..MOST_PAGES {
            let query = format!("labelSelector={selector}&limit={PAGE}");
            let path = match next.as_str() {
                "" => format!("{path}?{query}"),
                next => format!("{path}?{query}&continue={}", encode(next)),
            };
            let answer = self.call(Method::GET, &path, METADATA_LIST, None).await?;
            let page: Page<Named> = read("GET list", &answer)?;
            all.extend(page.items.into_iter().map(|item| item.metadata));
            next = page.metadata.next;
            if next.is_empty() {
                return Ok(all);
            }
        }
        Err(ClusterError::TooLong { call: "GET list" })
    }

    /// Makes a call, and again where the API server is too busy for it (429 Too Many Requests), as late
    /// as it asks for.
    async fn call(
        &self,
        method: Method,
        path: &str,
        accept: &'static str,
        body: Option<(&'static str, Value)>,
    ) -> Result<Body, ClusterError> {
        let name = call_name(&method, path);
        let body = match body {
            Some((content, body)) => {
                let body = serde_json::to_vec(&body)
                    .map_err(|source| ClusterError::Answer { call: name, source })?;
                Some((content, body))
            }
            None => None,
        };
        for _ in 1..MOST_CALLS {
            match self
                .call_once(name, &method, path, accept, body.as_ref())
                .await?
            {
                Called::Answered(answer) => return answer,
                Called::Busy { retry_after, .. } => tokio::time::sleep(retry_after).await,
            }
        }
        match self
            .call_once(name, &method, path, accept, body.as_ref())
            .await?
        {
            Called::Answered(answer) => answer,
            Called::Busy { refusal, .. } => Err(refusal),
        }
    }

    async fn call_once(
        &self,
        name: &'static str,
        method: &Method,
        path: &str,
        accept: &'static str,
        body: Option<&(&'static str, Vec<u8>)>,
    ) -> Result<Called, ClusterError> {
        let mut request = self
            .client
            .request(method.clone(), format!("{}{path}", self.server))
            .header(ACCEPT, accept);
        if let Credentials::Token(path) = &self.credentials {
            request = request.header(AUTHORIZATION, bearer(path)?);
        }
        if let Some((content, body)) = body {
            request = request.header(CONTENT_TYPE, *content).body(body.clone());
        }
        let unreachable = |source: reqwest::Error| ClusterError::Unreachable {
            call: name,
            // the URL is of no news, and its query is long
            source: source.without_url(),
        };
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let retry_after = retry_after(answer.headers());
        let body = http::read_body(answer, LONGEST)
            .await
            .map_err(|error| match error {
                BodyError::Broken(error) => unreachable(error),
                BodyError::TooLong(_) => ClusterError::TooLong { call: name },
            })?;
        if status.is_success() {
            return Ok(Called::Answered(Ok(body)));
        }
        let words: Status = serde_json::from_slice(&body).unwrap_or_default();
        let refusal = ClusterError::Refused {
            call: name,
            status,
            reason: shortened(&words.reason),
            message: shortened(&words.message),
        };
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Ok(Called::Busy {
                refusal,
                retry_after,
            });
        }
        Ok(Called::Answered(Err(refusal)))
    }
}

/// What came of a call.
enum Called {
    /// An answer, or a refusal that stands.
    Answered(Result<Body, ClusterError>),
    /// No room for it at the moment.
    Busy {
        refusal: ClusterError,
        retry_after: Duration,
    },
}

/// How long the API server asks to wait: whole seconds (RFC 9110, section 10.2.3); one where it names none.
fn retry_after(headers: &HeaderMap) -> Duration {
    let named = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Duration::from_secs(named.unwrap_or(1)).min(LONGEST_RETRY_AFTER)
}

/// What a call is named in errors: no path, as it can hold what others have written.
fn call_name(method: &Method, path: &str) -> &'static str {
    let node = path.starts_with(NODES);
    if path.contains("/configmaps/") {
        return match method.as_str() {
            "PATCH" => "PATCH ConfigMap",
            _ => "GET ConfigMap",
        };
    }
    if path.contains("/validatingadmissionpolicies/") {
        return "GET ValidatingAdmissionPolicy";
    }
    if path.contains("/validatingadmissionpolicybindings/") {
        return "GET ValidatingAdmissionPolicyBinding";
    }
    match (method.as_str(), node) {
        ("POST", _) => "POST Secret",
        ("PATCH", _) => "PATCH Node",
        ("DELETE", true) => "DELETE Node",
        ("DELETE", false) => "DELETE Secret",
        _ if path == "/cacerts" => "GET /cacerts",
        (_, true) if path.contains('?') => "GET Nodes",
        (_, true) => "GET Node",
        _ => "GET Secrets",
    }
}

/// The last two parts of a path: which object of which kind.
fn object_of(path: &str) -> String {
    let mut parts = path.rsplitn(3, '/');
    let name = parts.next().unwrap_or_default();
    format!("{}/{name}", parts.next().unwrap_or_default())
}

/// The service account's token, as a header.
fn bearer(path: &std::path::Path) -> Result<HeaderValue, ClusterError> {
    let bytes = read_secret(path).map_err(ClusterError::File)?;
    let token = std::str::from_utf8(bytes.trim_ascii()).unwrap_or_default();
    let printable = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let text = Zeroizing::new(format!("Bearer {token}"));
    match HeaderValue::from_str(&text) {
        Ok(mut value) if printable => {
            value.set_sensitive(true);
            Ok(value)
        }
        _ => Err(ClusterError::Token {
            path: path.to_owned(),
        }),
    }
}

/// The Node and the version of it that a change is for: one that was changed since, be it by another
/// master, is left alone.
fn seen(node: &Metadata) -> Value {
    json!({"uid": node.uid, "resourceVersion": node.resource_version})
}

fn gone(answer: Result<Body, ClusterError>) -> Result<(), ClusterError> {
    match answer {
        Err(error) if error.is(StatusCode::NOT_FOUND) => Ok(()),
        answer => answer.map(drop),
    }
}

fn read<T: DeserializeOwned>(call: &'static str, answer: &[u8]) -> Result<T, ClusterError> {
    serde_json::from_slice(answer).map_err(|source| ClusterError::Answer { call, source })
}

/// The API's words can stand in a log line.
fn shortened(words: &str) -> String {
    let plain = words.chars().filter(|letter| !letter.is_control());
    plain.take(300).collect()
}

/// Percent-encodes everything but what a query never has to encode (RFC 3986, section 2.3).
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
