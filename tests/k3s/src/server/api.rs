//! As much of the Kubernetes API as a kubelet needs to register its Node and say how it is, and as
//! a master needs to let nodes in and to remove them.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::Server;
use super::access::{AccessError, Wish};
use super::admission::AdmissionError;
use super::auth::User;
use super::nodes::NodesError;
use super::objects::Query;
use super::secrets::{NAMESPACE, SecretsError};
use super::supervisor::Refusal;
use crate::http::{self, answer};

/// The patches that the double applies; for the fields that it keeps the two are the same.
const PATCHES: [&str; 2] = [
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];
/// The API group of policies and bindings.
const ADMISSION: &str = "admissionregistration.k8s.io";
/// Labels that a kubelet can't give itself, by the end of their prefix.
const RESTRICTED: &str = "node-restriction.kubernetes.io";

/// Whether a path is the API's.
pub(super) fn is_api(path: &str) -> bool {
    path.starts_with("/api/") || path.starts_with("/apis/") || path == "/readyz"
}

/// Answers a request of an authenticated user.
pub(super) async fn route(
    server: &Arc<Server>,
    user: &User,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Refusal> {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    if let Some(answer) = server.faults.answer(&method, &request.uri().to_string()) {
        return Ok(answer);
    }
    if (&method, path.as_str()) == (&Method::GET, "/readyz") {
        return Ok(answer(StatusCode::OK, "text/plain", "ok"));
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let ok = |object: &Value| http::json(StatusCode::OK, object);
    match (method, parts.as_slice()) {
        (Method::POST, ["api", "v1", "nodes"]) => {
            let node = body(request).await?;
            let name = text(&node, "/metadata/name");
            own(user, &name)?;
            restricted(&node)?;
            server.admission.node(user, &name).map_err(not_admitted)?;
            let created = server.nodes.create(&name, node).map_err(refusal)?;
            tracing::info!(node = name, "node registered");
            Ok(http::json(StatusCode::CREATED, &created))
        }
        (Method::GET, ["api", "v1", "nodes"]) => {
            may(server, user, ("list", "nodes", None, None))?;
            let (query, accept) = listing(&request)?;
            Ok(ok(&server.nodes.list(&query, &accept)))
        }
        (Method::GET, ["api", "v1", "nodes", name]) => {
            own(user, name).or_else(|_| may(server, user, ("get", "nodes", None, Some(name))))?;
            Ok(ok(&server.nodes.object(name).map_err(refusal)?))
        }
        (Method::PATCH, ["api", "v1", "nodes", name, "status"]) => {
            own(user, name)?;
            let patch = body(request).await?;
            let status = patch.get("status").cloned().unwrap_or_default();
            let updated = server.nodes.update_status(name, &status);
            Ok(ok(&updated.map_err(refusal)?))
        }
        (Method::PATCH, ["api", "v1", "nodes", name]) => {
            may(server, user, ("patch", "nodes", None, Some(name)))?;
            let content = header(&request, CONTENT_TYPE);
            if !PATCHES.contains(&content.as_str()) {
                let message =
                    format!("the body of the request was in an unknown format: {content}");
                return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
            }
            let patch = body(request).await?;
            let patched = server.nodes.patch(name, &patch).map_err(refusal)?;
            tracing::info!(node = name, %patch, "node patched");
            Ok(ok(&patched))
        }
        (Method::DELETE, ["api", "v1", "nodes", name]) => {
            may(server, user, ("delete", "nodes", None, Some(name)))?;
            let options = options(request).await?;
            server.nodes.delete(name, &options).map_err(refusal)?;
            tracing::info!(node = name, "node deleted");
            Ok(ok(&deleted(name, "nodes")))
        }
        (method, ["api", "v1", "namespaces", namespace, "configmaps", name]) => {
            config_map(server, user, (method, namespace, name), request).await
        }
        (Method::GET, ["apis", ADMISSION, "v1", resource, name]) => {
            admission(server, user, resource, name)
        }
        (method, ["api", "v1", "namespaces", NAMESPACE, "secrets", rest @ ..]) => {
            secrets(server, user, method, rest, request).await
        }
        (
            Method::POST,
            [
                "api",
                "v1",
                "namespaces",
                namespace,
                "serviceaccounts",
                name,
                "token",
            ],
        ) => {
            may(
                server,
                user,
                (
                    "create",
                    "serviceaccounts/token",
                    Some(namespace),
                    Some(name),
                ),
            )?;
            let request = body(request).await?;
            let made = server.access.create_token(namespace, name, &request);
            made.map(|token| http::json(StatusCode::CREATED, &token))
                .map_err(|error| match error {
                    AccessError::Missing(_) => {
                        Refusal::new(StatusCode::NOT_FOUND, error.to_string())
                    }
                    AccessError::Life => {
                        Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
                    }
                    error => Refusal::internal(&error),
                })
        }
        (method, _) => {
            let message = format!("the double has no {method} {path}");
            Err(Refusal::new(StatusCode::NOT_FOUND, message))
        }
    }
}

async fn secrets(
    server: &Server,
    user: &User,
    method: Method,
    rest: &[&str],
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Refusal> {
    let may = |verb, name| may(server, user, (verb, "secrets", Some(NAMESPACE), name));
    match (method, rest) {
        (Method::POST, []) => {
            may("create", None)?;
            let created = server.secrets.create(body(request).await?);
            let created = created.map_err(refused_secret)?;
            tracing::info!(name = text(&created, "/metadata/name"), "secret created");
            Ok(http::json(StatusCode::CREATED, &created))
        }
        (Method::GET, []) => {
            may("list", None)?;
            let (query, accept) = listing(&request)?;
            Ok(http::json(
                StatusCode::OK,
                &server.secrets.list(&query, &accept),
            ))
        }
        (Method::GET, [name]) => {
            may("get", Some(name))?;
            let secret = server.secrets.get(name).map_err(refused_secret)?;
            Ok(http::json(StatusCode::OK, &secret))
        }
        (Method::DELETE, [name]) => {
            may("delete", Some(name))?;
            server.secrets.delete(name).map_err(refused_secret)?;
            tracing::info!(name, "secret deleted");
            Ok(http::json(StatusCode::OK, &deleted(name, "secrets")))
        }
        (method, _) => {
            let message = format!("the double has no {method} of Secrets there");
            Err(Refusal::new(StatusCode::NOT_FOUND, message))
        }
    }
}

async fn config_map(
    server: &Server,
    user: &User,
    (method, namespace, name): (Method, &str, &str),
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Refusal> {
    let verb = match method {
        Method::GET => "get",
        Method::PATCH => "patch",
        method => {
            let message = format!("the double has no {method} of a ConfigMap");
            return Err(Refusal::new(StatusCode::NOT_FOUND, message));
        }
    };
    may(
        server,
        user,
        (verb, "configmaps", Some(namespace), Some(name)),
    )?;
    let object = if verb == "get" {
        server.admission.config_map(namespace, name)
    } else {
        let content = header(&request, CONTENT_TYPE);
        if !PATCHES.contains(&content.as_str()) {
            let message = format!("the body of the request was in an unknown format: {content}");
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        let patch = body(request).await?;
        server.admission.patch(namespace, name, &patch)
    };
    let object = object.map_err(not_admitted)?;
    Ok(http::json(StatusCode::OK, &object))
}

fn admission(
    server: &Server,
    user: &User,
    resource: &str,
    name: &str,
) -> Result<Response<Full<Bytes>>, Refusal> {
    let (resource, kind) = match resource {
        "validatingadmissionpolicies" => {
            ("validatingadmissionpolicies", "ValidatingAdmissionPolicy")
        }
        "validatingadmissionpolicybindings" => (
            "validatingadmissionpolicybindings",
            "ValidatingAdmissionPolicyBinding",
        ),
        resource => {
            let message = format!("the double has no {resource}");
            return Err(Refusal::new(StatusCode::NOT_FOUND, message));
        }
    };
    may(server, user, ("get", resource, None, Some(name)))?;
    let object = server.admission.object(kind, name).map_err(not_admitted)?;
    Ok(http::json(StatusCode::OK, &object))
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

/// The other half of it: some labels are not a kubelet's to give.
fn restricted(node: &Value) -> Result<(), Refusal> {
    let labels = node.pointer("/metadata/labels").and_then(Value::as_object);
    for label in labels.into_iter().flatten().map(|(label, _)| label) {
        let prefix = label.split_once('/').map_or("", |(prefix, _)| prefix);
        if prefix == RESTRICTED || prefix.ends_with(&format!(".{RESTRICTED}")) {
            let message = format!("is not allowed to set the following labels: {label}");
            return Err(Refusal::new(StatusCode::FORBIDDEN, message));
        }
    }
    Ok(())
}

fn may(
    server: &Server,
    user: &User,
    (verb, resource, namespace, name): (&'static str, &'static str, Option<&str>, Option<&str>),
) -> Result<(), Refusal> {
    let wish = Wish {
        verb,
        resource,
        namespace,
        name,
    };
    match server.access.allows(user, &wish) {
        Ok(true) => Ok(()),
        Ok(false) => {
            let message = format!(
                "{resource} is forbidden: User {:?} cannot {verb} resource {resource:?} in API \
                 group \"\"",
                user.name
            );
            Err(Refusal::new(StatusCode::FORBIDDEN, message))
        }
        Err(error) => Err(Refusal::internal(&error)),
    }
}

fn listing(request: &Request<Incoming>) -> Result<(Query, String), Refusal> {
    let query = Query::parse(request.uri().query())
        .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    Ok((query, header(request, ACCEPT)))
}

fn header(request: &Request<Incoming>, name: hyper::header::HeaderName) -> String {
    let value = request
        .headers()
        .get(name)
        .and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

fn text(object: &Value, pointer: &str) -> String {
    let text = object.pointer(pointer).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

fn deleted(name: &str, kind: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": {"name": name, "kind": kind},
    })
}

async fn body(request: Request<Incoming>) -> Result<Value, Refusal> {
    let bytes = http::collect(request.into_body())
        .await
        .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()))
}

/// The options of a deletion; there need be none.
async fn options(request: Request<Incoming>) -> Result<Value, Refusal> {
    let bytes = http::collect(request.into_body())
        .await
        .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()))
}

fn refusal(error: NodesError) -> Refusal {
    let status = match error {
        NodesError::Exists(_) | NodesError::Precondition(_) | NodesError::Modified(_) => {
            StatusCode::CONFLICT
        }
        NodesError::Missing(_) => StatusCode::NOT_FOUND,
        NodesError::Invalid(_) => StatusCode::BAD_REQUEST,
        NodesError::Object(_) => StatusCode::UNPROCESSABLE_ENTITY,
        _ => return Refusal::internal(&error),
    };
    Refusal::new(status, error.to_string())
}

fn not_admitted(error: AdmissionError) -> Refusal {
    let status = match error {
        AdmissionError::Missing(_) => StatusCode::NOT_FOUND,
        AdmissionError::Modified(_) => StatusCode::CONFLICT,
        AdmissionError::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
        AdmissionError::Denied { .. } => StatusCode::FORBIDDEN,
        _ => return Refusal::internal(&error),
    };
    Refusal::new(status, error.to_string())
}

fn refused_secret(error: SecretsError) -> Refusal {
    let status = match error {
        SecretsError::Exists(_) => StatusCode::CONFLICT,
        SecretsError::Missing(_) => StatusCode::NOT_FOUND,
        SecretsError::Invalid(_) | SecretsError::Data { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        _ => return Refusal::internal(&error),
    };
    Refusal::new(status, error.to_string())
}
