//! Tokens: made, used, expired, refused.

use super::*;

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
    assert_eq!(Backing::of(&node.metadata), Some(BACKING));
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
async fn a_token_that_was_not_used_goes_with_its_stake() {
    let k3s = K3s::start().await;
    let world = k3s.world(seconds);
    world.token().await;
    world.verdict(Verdict::Slashed);
    assert_eq!(world.look().await, None);
    assert!(k3s.secrets("token").await.is_empty());
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
        ("PATCH", "/api/v1/nodes/edge-0001-0707070707/status", 403),
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
        .issue(&node(), &a_stake(), None, seconds())
        .await
        .unwrap();
    settings.root_certificate = k3s.tls("client-ca.crt");
    let other = Cluster::open(&settings).unwrap();
    let error = other
        .issue(&node(), &a_stake(), None, seconds())
        .await
        .unwrap_err();
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
