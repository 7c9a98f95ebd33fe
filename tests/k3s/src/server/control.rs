//! The control port's own end; its form is described in [`crate::control`].

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::net::{TcpListener, TcpStream};

use super::Server;
use super::secrets::SecretsError;
use super::tunnels::KubeletError;
use crate::control::{COMMAND_TIMEOUT, Command, IssuedToken, Nodes, Refusal, TokenRequest};
use crate::http::{self, answer};
use crate::join_token;
use crate::logging;

/// Where the agent takes commands, on the kubelet's end of the tunnel.
pub const COMMAND_PATH: &str = "/double/command";

/// An answer, or the status and words of a refusal.
type Answer = Result<Response<Full<Bytes>>, (StatusCode, String)>;

/// Serves the control port until the process ends.
pub(super) async fn serve(server: Arc<Server>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve_connection(Arc::clone(&server), stream));
            }
            Err(error) => {
                tracing::warn!(%error, "control port: cannot accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve_connection(server: Arc<Server>, stream: TcpStream) {
    let service = service_fn(move |request| {
        let server = Arc::clone(&server);
        async move { Ok::<_, Infallible>(handle(&server, request).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(
            error = logging::chain(&error),
            "control port: connection failed"
        );
    }
}

async fn handle(server: &Server, request: Request<Incoming>) -> Response<Full<Bytes>> {
    match route(server, request).await {
        Ok(response) => response,
        Err((status, error)) => http::json(status, &Refusal { error }),
    }
}

async fn route(server: &Server, request: Request<Incoming>) -> Answer {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    match (&method, path.as_str()) {
        (&Method::GET, "/nodes") => Ok(http::json(StatusCode::OK, &nodes(server))),
        (&Method::POST, "/command") => command(server, request).await,
        (&Method::POST, "/tokens") => {
            let request: TokenRequest = serde_json::from_slice(&body(request).await?)
                .map_err(|error| bad_request(&error))?;
            create_token(server, &request)
        }
        (&Method::DELETE, path) if path.starts_with("/tokens/") => {
            let id = path.trim_start_matches("/tokens/");
            let name = format!("bootstrap-token-{id}");
            match server.secrets.delete(&name) {
                Ok(()) | Err(SecretsError::Missing(_)) => {}
                Err(error) => return Err(internal(&error)),
            }
            Ok(http::json(StatusCode::OK, &json!({})))
        }
        _ => Err((
            StatusCode::NOT_FOUND,
            format!("the control port has no {method} {path}"),
        )),
    }
}

fn nodes(server: &Server) -> Nodes {
    let mut nodes = server.nodes.summaries();
    for node in &mut nodes {
        (node.connected, node.connections) = server.tunnels.of(&node.name);
    }
    Nodes { nodes }
}

async fn command(server: &Server, request: Request<Incoming>) -> Answer {
    let mut value: Value =
        serde_json::from_slice(&body(request).await?).map_err(|error| bad_request(&error))?;
    let node = value
        .as_object_mut()
        .and_then(|object| object.remove("node"));
    let Some(node) = node.as_ref().and_then(Value::as_str) else {
        return Err((
            StatusCode::BAD_REQUEST,
            "expected the node's name as \"node\"".to_owned(),
        ));
    };
    let command: Command = serde_json::from_value(value).map_err(|error| bad_request(&error))?;
    if !server
        .nodes
        .summaries()
        .iter()
        .any(|known| known.name == node)
    {
        return Err((StatusCode::NOT_FOUND, format!("no node {node} has joined")));
    }
    let body = serde_json::to_vec(&command).map_err(|error| internal(&error))?;
    tracing::info!(node, ?command, "command");
    let reply = server
        .ask_kubelet(node, COMMAND_PATH, body, COMMAND_TIMEOUT)
        .await
        .map_err(|error| {
            let status = match error {
                KubeletError::NotConnected(_) => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::BAD_GATEWAY,
            };
            (status, logging::chain(&error))
        })?;
    Ok(answer(
        reply.status(),
        "application/json",
        reply.into_body(),
    ))
}

fn create_token(server: &Server, request: &TokenRequest) -> Answer {
    let expires_at = request.ttl_seconds.map(|seconds| {
        let life = time::Duration::seconds(i64::try_from(seconds).unwrap_or(i64::MAX));
        OffsetDateTime::now_utc().checked_add(life)
    });
    let expires_at = match expires_at {
        Some(None) => {
            return Err((
                StatusCode::BAD_REQUEST,
                "ttl_seconds is too long".to_owned(),
            ));
        }
        other => other.flatten(),
    };
    let made = server
        .secrets
        .create_token(expires_at)
        .map_err(|error| internal(&error))?;
    let expires_at = expires_at.map(OffsetDateTime::unix_timestamp);
    let token = join_token::format(&server.ca_hash, &made.text()).to_string();
    Ok(http::json(
        StatusCode::OK,
        &IssuedToken { token, expires_at },
    ))
}

async fn body(request: Request<Incoming>) -> Result<Bytes, (StatusCode, String)> {
    http::collect(request.into_body())
        .await
        .map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))
}

fn bad_request(error: &dyn std::error::Error) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, logging::chain(error))
}

fn internal(error: &dyn std::error::Error) -> (StatusCode, String) {
    (StatusCode::INTERNAL_SERVER_ERROR, logging::chain(error))
}
