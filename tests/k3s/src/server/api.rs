//! As much of the Kubernetes API as a kubelet needs to register its Node and say how it is.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::Value;

use super::Server;
use super::auth::User;
use super::nodes::NodesError;
use super::supervisor::Refusal;
use crate::http::{self, answer};

const NODES_PATH: &str = "/api/v1/nodes";

/// Answers a request of an authenticated user.
pub(super) async fn route(
    server: &Arc<Server>,
    user: &User,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Refusal> {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    if (&method, path.as_str()) == (&Method::GET, "/readyz") {
        return Ok(answer(StatusCode::OK, "text/plain", "ok"));
    }
    let Some(rest) = path.strip_prefix(NODES_PATH) else {
        return Err(Refusal::new(
            StatusCode::NOT_FOUND,
            format!("the double has no {path}"),
        ));
    };
    let rest: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
    match (method, rest.as_slice()) {
        (Method::POST, []) => {
            let node: Value = body(request).await?;
            let name = node
                .pointer("/metadata/name")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
            own(user, &name)?;
            let created = server.nodes.create(&name, node).map_err(refusal)?;
            tracing::info!(node = name, "node registered");
            Ok(http::json(StatusCode::CREATED, &created))
        }
        (Method::GET, [name]) => {
            own(user, name)?;
            Ok(http::json(
                StatusCode::OK,
                &server.nodes.object(name).map_err(refusal)?,
            ))
        }
        (Method::PATCH, [name, "status"]) => {
            let name = (*name).to_owned();
            own(user, &name)?;
            let patch: Value = body(request).await?;
            let status = patch.get("status").cloned().unwrap_or_default();
            let updated = server
                .nodes
                .update_status(&name, &status)
                .map_err(refusal)?;
            Ok(http::json(StatusCode::OK, &updated))
        }
        (method, _) => {
            let message = format!("the double has no {method} {path}");
            Err(Refusal::new(StatusCode::NOT_FOUND, message))
        }
    }
}

/// The NodeRestriction of the real API: a kubelet touches its own Node alone.
fn own(user: &User, name: &str) -> Result<(), Refusal> {
    if !name.is_empty() && user.node() == Some(name) {
        return Ok(());
    }
    let message = format!(
        "nodes {name:?} is forbidden: user {:?} is not allowed to modify node {name:?}",
        user.name
    );
    Err(Refusal::new(StatusCode::FORBIDDEN, message))
}

async fn body(request: Request<Incoming>) -> Result<Value, Refusal> {
    let bytes = http::collect(request.into_body())
        .await
        .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()))
}

fn refusal(error: NodesError) -> Refusal {
    let status = match error {
        NodesError::Exists(_) => StatusCode::CONFLICT,
        NodesError::Missing(_) => StatusCode::NOT_FOUND,
        NodesError::Invalid(_) => StatusCode::BAD_REQUEST,
        _ => return Refusal::internal(&error),
    };
    Refusal::new(status, error.to_string())
}
