//! The Node object: registered once, its status kept fresh, as the kubelet does.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, StatusCode};
use rustls::ClientConfig;
use serde_json::{Value, json};
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::host::Host;
use super::join::{Membership, build};
use crate::cluster::Range;
use crate::http::{self, HttpError, ServerUrl};

/// How often the Node's status is renewed.
pub const HEARTBEAT: Duration = Duration::from_secs(10);

/// The API server refused or did not answer.
#[derive(Debug, Error)]
pub enum ApiError {
    /// No answer.
    #[error("the API server gave no answer")]
    Http(#[from] HttpError),
    /// A refusal.
    #[error("{method} {path}: {status}: {message}")]
    Refused {
        /// The method.
        method: Method,
        /// The path.
        path: String,
        /// The status.
        status: StatusCode,
        /// The server's words.
        message: String,
    },
    /// An answer of another form.
    #[error("the API server's answer cannot be read")]
    Answer(#[from] serde_json::Error),
}

/// Whether the node can take pods, and why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// Yes or no.
    pub ready: bool,
    /// Why.
    pub message: String,
}

/// What the node says of itself.
#[derive(Debug, Clone)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// `key=value` labels of the command line.
    pub labels: Vec<String>,
    /// Name and version of the container runtime.
    pub runtime: String,
}

/// The kubelet's way to the API server.
pub struct Api {
    server: ServerUrl,
    client: Arc<ClientConfig>,
}

impl Api {
    /// Speaks with the kubelet's certificate.
    pub fn new(membership: &Membership) -> Self {
        Self {
            server: membership.server,
            client: Arc::clone(&membership.kubelet_client),
        }
    }

    /// Whether the API server is ready.
    ///
    /// # Errors
    /// It is not, or does not answer.
    pub async fn readyz(&self) -> Result<(), ApiError> {
        self.call(Method::GET, "/readyz", None, "")
            .await
            .map(|_| ())
    }

    /// Creates the Node, or finds the one of an earlier life, and returns its range of pods once
    /// the cluster has given it one.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn register(
        &self,
        host: &Host,
        facts: &NodeFacts,
    ) -> Result<Option<Range>, ApiError> {
        let object = serde_json::to_vec(&object(host, facts))?;
        let created = self
            .call(
                Method::POST,
                "/api/v1/nodes",
                Some(object),
                "application/json",
            )
            .await;
        let node = match created {
            Err(ApiError::Refused {
                status: StatusCode::CONFLICT,
                ..
            }) => {
                let path = format!("/api/v1/nodes/{}", facts.name);
                self.call(Method::GET, &path, None, "").await?
            }
            result => result?,
        };
        let node: Value = serde_json::from_slice(&node)?;
        let range = node.pointer("/spec/podCIDR").and_then(Value::as_str);
        Ok(range.and_then(|range| range.parse().ok()))
    }

    /// Renews the Node's status.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn report(
        &self,
        host: &Host,
        facts: &NodeFacts,
        readiness: &Readiness,
    ) -> Result<(), ApiError> {
        let patch = serde_json::to_vec(&json!({"status": status(host, facts, readiness)}))?;
        let path = format!("/api/v1/nodes/{}/status", facts.name);
        let content = "application/strategic-merge-patch+json";
        self.call(Method::PATCH, &path, Some(patch), content)
            .await
            .map(|_| ())
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        content: &'static str,
    ) -> Result<Bytes, ApiError> {
        let body = Bytes::from(body.unwrap_or_default());
        let mut request = build(self.server, method.clone(), path, body)?;
        if !content.is_empty() {
            request
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static(content));
        }
        let response = http::request(self.server, Arc::clone(&self.client), request).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response.into_body());
        }
        let message = serde_json::from_slice::<Value>(response.body())
            .ok()
            .and_then(|body| Some(body.get("message")?.as_str()?.to_owned()))
            .unwrap_or_default();
        Err(ApiError::Refused {
            method,
            path: path.to_owned(),
            status,
            message,
        })
    }
}

fn object(host: &Host, facts: &NodeFacts) -> Value {
    let mut labels = json!({
        "kubernetes.io/hostname": facts.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
    });
    if let Some(labels) = labels.as_object_mut() {
        for label in &facts.labels {
            let (key, value) = label.split_once('=').unwrap_or((label, ""));
            labels.insert(key.to_owned(), json!(value));
        }
    }
    let starting = Readiness {
        ready: false,
        message: "the node is starting".to_owned(),
    };
    json!({
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": {"name": facts.name, "labels": labels},
        "status": status(host, facts, &starting),
    })
}

fn status(host: &Host, facts: &NodeFacts, readiness: &Readiness) -> Value {
    let file = |path: &str| host.read(path).unwrap_or_default().trim().to_owned();
    let now = OffsetDateTime::now_utc()
        .replace_nanosecond(0)
        .ok()
        .and_then(|now| now.format(&Rfc3339).ok())
        .unwrap_or_default();
    let system = rustix::system::uname();
    json!({
        "addresses": [
            {"type": "InternalIP", "address": facts.address.to_string()},
            {"type": "Hostname", "address": facts.name},
        ],
        "conditions": [{
            "type": "Ready",
            "status": if readiness.ready { "True" } else { "False" },
            "reason": if readiness.ready { "KubeletReady" } else { "KubeletNotReady" },
            "message": readiness.message,
            "lastHeartbeatTime": now,
        }],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "nodeInfo": {
            "architecture": "amd64",
            "bootID": file("/proc/sys/kernel/random/boot_id"),
            "containerRuntimeVersion": facts.runtime,
            "kernelVersion": system.release().to_string_lossy(),
            "kubeProxyVersion": crate::NODE_VERSION,
            "kubeletVersion": crate::NODE_VERSION,
            "machineID": file("/etc/machine-id"),
            "operatingSystem": "linux",
            "osImage": os_image(&file("/etc/os-release")),
            "systemUUID": file("/sys/class/dmi/id/product_uuid"),
        },
    })
}

/// `PRETTY_NAME`, or `NAME`, of an os-release(5) file.
fn os_image(release: &str) -> String {
    let value = |key: &str| {
        release
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .map(|value| value.trim_matches('"').to_owned())
    };
    value("PRETTY_NAME")
        .or_else(|| value("NAME"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_says_who_it_is_and_that_its_kubelet_is_a_double() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        let release = "NAME=K3s-DaaS\nPRETTY_NAME=\"K3s-DaaS 0.1.0\"\n";
        std::fs::write(root.path().join("etc/os-release"), release).unwrap();
        let facts = NodeFacts {
            name: "edge-0001".into(),
            address: IpAddr::from([10, 0, 2, 15]),
            labels: vec!["zone=a".into()],
            runtime: "containerd://v2.3.7".into(),
        };
        let node = object(&Host::at(root.path()), &facts);
        let text = |pointer: &str| node.pointer(pointer).unwrap().as_str().unwrap().to_owned();
        assert_eq!(text("/metadata/labels/zone"), "a");
        assert_eq!(text("/status/nodeInfo/osImage"), "K3s-DaaS 0.1.0");
        assert!(text("/status/nodeInfo/kubeletVersion").contains("double"));
        assert_eq!(text("/status/conditions/0/status"), "False");
    }
}
