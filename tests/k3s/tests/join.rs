//! Agents join a server over TLS, or are refused for the right reason.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use k3s_double::agent::host::Host;
use k3s_double::agent::join::{JoinError, Server};
use k3s_double::agent::node::{Api, ApiError, NodeFacts, Readiness};
use k3s_double::control::TokenRequest;
use k3s_double::server::{ServerError, ServerSettings};
use k3s_double::{files, http, join_token, tls};
use support::{applicant, control, join, server_at, url};

#[tokio::test]
async fn an_agent_joins_and_has_everything_a_kubelet_needs() {
    let folder = tempfile::tempdir().unwrap();
    let server = server_at(&folder.path().join("server"), 0).await;
    // As a person would hand it over: the token from the server's own file.
    let token = files::read(&server.token_file, 4096).unwrap();
    let link = folder.path().join("server/server/node-token");
    assert_eq!(files::read(&link, 4096).unwrap(), token);
    let node = applicant(&folder.path().join("node"), "edge-0001");
    let membership = join(&server, token.trim(), &node).await.unwrap();
    assert_eq!(membership.settings.supervisor_port, server.address.port());

    for name in [
        "client-ca.crt",
        "server-ca.crt",
        "serving-kubelet.crt",
        "serving-kubelet.key",
        "client-kubelet.crt",
        "client-kubelet.key",
        "client-kube-proxy.crt",
        "client-k3s-controller.crt",
        "kubelet.kubeconfig",
        "kubeproxy.kubeconfig",
        "k3scontroller.kubeconfig",
    ] {
        let metadata = std::fs::metadata(node.agent_folder.join(name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o600, "{name}");
    }
    let password = node.node_folder.join("password");
    assert_eq!(
        std::fs::metadata(&password).unwrap().permissions().mode() & 0o7777,
        0o600
    );

    // The same keys and the same password serve the next join.
    let read = |name: &str| files::read(&node.agent_folder.join(name), 65536).unwrap();
    let (key, before) = (
        read("client-kubelet.key"),
        files::read(&password, 99).unwrap(),
    );
    join(&server, token.trim(), &node).await.unwrap();
    assert_eq!(read("client-kubelet.key"), key);
    assert_eq!(files::read(&password, 99).unwrap(), before);
}

#[tokio::test]
async fn a_wrong_hash_is_found_before_the_secret_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let server = server_at(&folder.path().join("server"), 0).await;
    let wrong = join_token::format(&"0".repeat(64), "server:secret");
    let error = Server::validate(url(&server), &wrong).await.err().unwrap();
    assert!(matches!(error, JoinError::CaHash { .. }), "{error}");
    assert!(
        error
            .to_string()
            .starts_with("token CA hash does not match"),
        "{error}"
    );
}

#[tokio::test]
async fn a_wrong_secret_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = server_at(&folder.path().join("server"), 0).await;
    let node = applicant(&folder.path().join("node"), "edge-0001");
    let hash = server
        .token
        .split("::")
        .next()
        .unwrap()
        .trim_start_matches("K10");
    for credentials in ["server:wrong", "abcdef.0123456789abcdef"] {
        let error = join(&server, &join_token::format(hash, credentials), &node)
            .await
            .err()
            .unwrap();
        assert!(
            matches!(
                error,
                JoinError::Status {
                    status: StatusCode::UNAUTHORIZED,
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_bootstrap_token_serves_until_it_expires_and_the_certificate_after_that() {
    let folder = tempfile::tempdir().unwrap();
    let server = server_at(&folder.path().join("server"), 0).await;
    let expired = TokenRequest {
        ttl_seconds: Some(0),
    };
    let expired = control(&server).create_token(&expired).await.unwrap();
    let node = applicant(&folder.path().join("node"), "edge-0001");
    let error = join(&server, &expired.token, &node).await.err().unwrap();
    assert!(
        matches!(
            error,
            JoinError::Status {
                status: StatusCode::UNAUTHORIZED,
                ..
            }
        ),
        "{error}"
    );

    let lasting = TokenRequest {
        ttl_seconds: Some(3600),
    };
    let lasting = control(&server).create_token(&lasting).await.unwrap();
    let membership = join(&server, &lasting.token, &node).await.unwrap();
    // A registered node's own certificate does what the token no longer does.
    Api::new(&membership)
        .register(&Host::at(folder.path()), &facts("edge-0001"))
        .await
        .unwrap();
    join(&server, &expired.token, &node).await.unwrap();
    // It does so for this node alone.
    let other = applicant(&folder.path().join("other"), "edge-0002");
    assert!(join(&server, &expired.token, &other).await.is_err());
}

#[tokio::test]
async fn a_certificate_without_a_node_falls_back_to_the_token() {
    let folder = tempfile::tempdir().unwrap();
    let server = server_at(&folder.path().join("server"), 0).await;
    let node = applicant(&folder.path().join("node"), "edge-0001");
    join(&server, &server.token, &node).await.unwrap();
    // The node has its certificates, but was cut off before it registered.
    join(&server, &server.token, &node).await.unwrap();
}

#[tokio::test]
async fn a_name_that_is_taken_is_refused_to_another_node() {
    let folder = tempfile::tempdir().unwrap();
    let server = server_at(&folder.path().join("server"), 0).await;
    let first = applicant(&folder.path().join("first"), "edge-0001");
    join(&server, &server.token, &first).await.unwrap();
    let second = applicant(&folder.path().join("second"), "edge-0001");
    let error = join(&server, &server.token, &second).await.err().unwrap();
    assert!(matches!(error, JoinError::NodePassword(_)), "{error}");
    assert!(
        error.to_string().starts_with("Node password rejected"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_keeps_its_authority_and_its_memory_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("server");
    let server = server_at(&state, 0).await;
    let token = server.token.clone();
    let node = applicant(&folder.path().join("node"), "edge-0001");
    join(&server, &token, &node).await.unwrap();
    drop(server);

    let server = server_at(&state, 0).await;
    assert_eq!(server.token, token);
    join(&server, &token, &node).await.unwrap();
    let thief = applicant(&folder.path().join("thief"), "edge-0001");
    assert!(matches!(
        join(&server, &token, &thief).await,
        Err(JoinError::NodePassword(_))
    ));
}

#[tokio::test]
async fn the_tunnel_and_other_nodes_are_out_of_reach() {
    let folder = tempfile::tempdir().unwrap();
    let server = server_at(&folder.path().join("server"), 0).await;
    let node = applicant(&folder.path().join("node"), "edge-0001");
    let membership = join(&server, &server.token, &node).await.unwrap();

    // The shared secret is not enough for a tunnel: it names no node.
    let ca = files::read(&node.agent_folder.join("server-ca.crt"), 65536).unwrap();
    let anonymous = Arc::new(tls::pinned_client(ca.as_bytes(), None).unwrap());
    let ask = |path: &str, authorization: Option<String>| {
        let mut request = Request::get(path).header("host", "k3s");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let request = request.body(Full::new(Bytes::new())).unwrap();
        let client = Arc::clone(&anonymous);
        let url = url(&server);
        async move { http::request(url, client, request).await.unwrap().status() }
    };
    use base64::Engine as _;
    let password = server.token.rsplit(':').next().unwrap();
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("node:{password}"));
    let basic = Some(format!("Basic {basic}"));
    assert_eq!(
        ask("/v1-k3s/connect", basic.clone()).await,
        StatusCode::FORBIDDEN
    );
    assert_eq!(ask("/v1-k3s/config", basic).await, StatusCode::OK);
    assert_eq!(ask("/v1-k3s/config", None).await, StatusCode::FORBIDDEN);
    assert_eq!(ask("/cacerts", None).await, StatusCode::OK);

    let api = Api::new(&membership);
    api.readyz().await.unwrap();
    let host = Host::at(folder.path());
    let error = api.register(&host, &facts("edge-0002")).await.unwrap_err();
    assert!(
        matches!(
            error,
            ApiError::Refused {
                status: StatusCode::FORBIDDEN,
                ..
            }
        ),
        "{error}"
    );
    let range = api.register(&host, &facts("edge-0001")).await.unwrap();
    assert_eq!(
        api.register(&host, &facts("edge-0001")).await.unwrap(),
        range
    );
    let ready = Readiness {
        ready: true,
        message: "the pod runs".into(),
    };
    api.report(&host, &facts("edge-0001"), &ready)
        .await
        .unwrap();
    let nodes = control(&server).nodes().await.unwrap();
    let [line] = nodes.as_slice() else {
        panic!("{nodes:?}")
    };
    assert!(line.registered && !line.connected);
    assert_eq!(
        (line.ready.as_str(), line.pod_cidr.as_str()),
        ("True", "10.42.0.0/24")
    );
}

#[tokio::test]
async fn a_server_with_a_bad_token_or_an_open_control_port_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let settings = |token: Option<&str>, control: &str| ServerSettings {
        data_folder: folder.path().to_owned(),
        listen: "127.0.0.1:0".parse().unwrap(),
        advertise: None,
        names: Vec::new(),
        token: token.map(|token| token.to_owned().into()),
        control: Some(control.parse().unwrap()),
    };
    let start = k3s_double::server::start;
    let error = start(settings(None, "0.0.0.0:0")).await.err().unwrap();
    assert!(matches!(error, ServerError::Control(_)));
    let error = start(settings(Some("abcdef.0123456789abcdef"), "127.0.0.1:0"))
        .await
        .err()
        .unwrap();
    assert!(matches!(error, ServerError::BootstrapToken));
    drop(start(settings(Some("first"), "127.0.0.1:0")).await.unwrap());
    drop(start(settings(None, "127.0.0.1:0")).await.unwrap());
    let error = start(settings(Some("second"), "127.0.0.1:0"))
        .await
        .err()
        .unwrap();
    assert!(matches!(error, ServerError::OtherToken));
}

fn facts(name: &str) -> NodeFacts {
    NodeFacts {
        name: name.into(),
        address: [127, 0, 0, 1].into(),
        labels: Vec::new(),
        runtime: "fake://1".into(),
    }
}
