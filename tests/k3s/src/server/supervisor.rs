//! The calls of agents below `/v1-k3s/`, and the ways into the rest.
//!
//! Source: k3s, `pkg/server/handlers` (router, certificates), `pkg/nodepassword` (who may have a
//! node's certificates), `pkg/util/apierrors.go` (the form of errors).

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;
use serde_json::json;

use super::Server;
use super::auth::{AGENTS, NODE_USER, NODES, User};
use super::authority::{Authority, Leaf, Usage};
use super::nodes::NodesError;
use super::secrets::BOOTSTRAPPERS;
use crate::cluster;
use crate::http::{self, answer};
use crate::logging;

/// An error as the Kubernetes API sends it, a `Status` object.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    pub(super) fn internal(error: &dyn std::error::Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, logging::chain(error))
    }

    fn into_response(self) -> Response<Full<Bytes>> {
        let reason = match self.status {
            StatusCode::BAD_REQUEST => "BadRequest",
            StatusCode::UNAUTHORIZED => "Unauthorized",
            StatusCode::FORBIDDEN => "Forbidden",
            StatusCode::NOT_FOUND => "NotFound",
            StatusCode::CONFLICT => "AlreadyExists",
            StatusCode::UNPROCESSABLE_ENTITY => "Invalid",
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "UnsupportedMediaType",
            _ => "InternalError",
        };
        let body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": reason, "code": self.status.as_u16(),
        });
        http::json(self.status, &body)
    }
}

/// Answers one request of a connection whose client showed `certificates`.
pub(super) async fn handle(
    server: Arc<Server>,
    certificates: Arc<[CertificateDer<'static>]>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    match route(&server, &certificates, request).await {
        Ok(response) => {
            tracing::debug!(%method, path, status = response.status().as_u16(), "request");
            response
        }
        Err(refusal) => {
            let Refusal { status, message } = &refusal;
            tracing::warn!(%method, path, status = status.as_u16(), message, "request refused");
            refusal.into_response()
        }
    }
}

async fn route(
    server: &Arc<Server>,
    certificates: &[CertificateDer<'static>],
    mut request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Refusal> {
    let path = request.uri().path().to_owned();
    match path.as_str() {
        cluster::CA_CERTS => {
            let bundle = server.server_authority.certificate().to_owned();
            return Ok(answer(StatusCode::OK, "text/plain", bundle));
        }
        "/ping" => return Ok(answer(StatusCode::OK, "text/plain", "pong")),
        _ => {}
    }
    let user = match server
        .authenticator
        .authenticate(request.headers(), certificates)
    {
        Ok(Some(user)) => user,
        Ok(None) => return Err(Refusal::new(StatusCode::FORBIDDEN, "forbidden")),
        Err(error) => {
            tracing::warn!(
                error = logging::chain(&error),
                "failed to authenticate request"
            );
            return Err(Refusal::new(StatusCode::UNAUTHORIZED, "not authorized"));
        }
    };
    if path == cluster::CONNECT {
        // The tunnel is for kubelets with a certificate alone.
        let node = user
            .node()
            .ok_or_else(|| Refusal::new(StatusCode::FORBIDDEN, "forbidden"))?
            .to_owned();
        return super::tunnels::upgrade(server, node, &mut request);
    }
    if super::api::is_api(&path) {
        return super::api::route(server, &user, request).await;
    }
    if !user.is_in(&[AGENTS, NODES, BOOTSTRAPPERS]) {
        return Err(Refusal::new(StatusCode::FORBIDDEN, "forbidden"));
    }
    let call = path.strip_prefix(cluster::PREFIX).unwrap_or_default();
    match call {
        "config" => Ok(http::json(StatusCode::OK, &server.settings)),
        "readyz" => Ok(answer(StatusCode::OK, "text/plain", "ok")),
        "apiservers" => Ok(http::json(StatusCode::OK, &[&server.advertised])),
        "client-ca.crt" => Ok(pem(server.client_authority.certificate())),
        "server-ca.crt" => Ok(pem(server.server_authority.certificate())),
        "serving-kubelet.crt" => {
            let name = node_of(server, &user, request.headers())?;
            let leaf = Leaf {
                common_name: &name,
                organizations: &[],
                usage: Usage::Server,
                dns_names: vec![name.clone(), "localhost".to_owned()],
                addresses: addresses_of(request.headers())?,
            };
            sign(&server.server_authority, &leaf, request).await
        }
        "client-kubelet.crt" => {
            let name = node_of(server, &user, request.headers())?;
            let user = format!("{NODE_USER}{name}");
            let leaf = client(&user, &[NODES]);
            sign(&server.client_authority, &leaf, request).await
        }
        "client-kube-proxy.crt" => {
            sign(
                &server.client_authority,
                &client("system:kube-proxy", &[]),
                request,
            )
            .await
        }
        "client-k3s-controller.crt" => {
            sign(
                &server.client_authority,
                &client("system:k3s-controller", &[]),
                request,
            )
            .await
        }
        _ => Err(Refusal::new(
            StatusCode::NOT_FOUND,
            format!("no such call: {path}"),
        )),
    }
}

fn client<'a>(common_name: &'a str, organizations: &'a [&'a str]) -> Leaf<'a> {
    Leaf {
        common_name,
        organizations,
        usage: Usage::Client,
        dns_names: Vec::new(),
        addresses: Vec::new(),
    }
}

fn pem(text: &str) -> Response<Full<Bytes>> {
    answer(StatusCode::OK, "text/plain", text.to_owned())
}

/// The node that may have the certificates that a request asks for.
fn node_of(server: &Server, user: &User, headers: &HeaderMap) -> Result<String, Refusal> {
    let header = |name: &str, missing: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
            .ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, missing))
    };
    let name = header(cluster::NODE_NAME, "node name not set")?.to_lowercase();
    let password = header(cluster::NODE_PASSWORD, "node password not set")?;
    if let Some(node) = user.node() {
        if node != name {
            let message = "header node name does not match auth node name";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
        }
        // A certificate of a node that was deleted must not bring it back.
        if let Err(error) = server.nodes.object(node) {
            let message = format!("unable to verify node identity: {error}");
            return Err(Refusal::new(StatusCode::UNAUTHORIZED, message));
        }
    }
    match server.nodes.check_password(&name, &password) {
        Ok(()) => Ok(name),
        Err(error @ NodesError::Password) => {
            let message = format!("unable to verify password for node {name}: {error}");
            Err(Refusal::new(StatusCode::FORBIDDEN, message))
        }
        Err(error) => Err(Refusal::internal(&error)),
    }
}

/// The loopback address and those of the header.
fn addresses_of(headers: &HeaderMap) -> Result<Vec<IpAddr>, Refusal> {
    let mut addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
    let header = headers
        .get(cluster::NODE_IP)
        .and_then(|value| value.to_str().ok());
    for text in header
        .unwrap_or_default()
        .split(',')
        .filter(|text| !text.is_empty())
    {
        let address = text.parse().map_err(|_| {
            let message = format!("invalid node IP address {text}");
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message)
        })?;
        addresses.push(address);
    }
    Ok(addresses)
}

/// Signs the request's key when it brings one (POST), and hands out a new key otherwise, as for
/// agents of old.
async fn sign(
    authority: &Authority,
    leaf: &Leaf<'_>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Refusal> {
    if request.method() != Method::POST {
        let key = KeyPair::generate().map_err(|error| Refusal::internal(&error))?;
        let chain = authority
            .sign(leaf, &key)
            .map_err(|error| Refusal::internal(&error))?;
        return Ok(pem(&format!("{chain}{}", key.serialize_pem())));
    }
    let body = http::collect(request.into_body())
        .await
        .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    let chain = authority.sign_request(leaf, &body).map_err(|error| {
        let message = format!("invalid certificate request: {}", logging::chain(&error));
        Refusal::new(StatusCode::BAD_REQUEST, message)
    })?;
    Ok(pem(&chain))
}
