//! Nodes: known by their stakes, and removed with them.

use super::*;

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
    assert_eq!(Backing::of(&k3s.metadata().await), Some(BACKING));
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
    let host = Host::at(folder.path());
    kubelet.register(&host, &facts()).await.unwrap_err();
    k3s.without_policy();
    kubelet.register(&host, &facts()).await.unwrap();
    k3s.grant(RIGHTS);
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

/// Kubernetes takes dots in a Node's name, which no node here has.
#[tokio::test]
async fn node_with_dots_in_its_name_is_deleted_without_note() {
    let k3s = K3s::start().await;
    let world = k3s.world(seconds);
    let folder = TempDir::new().unwrap();
    let name = "edge.0001";
    let joined = k3s.join_as(name, folder.path(), &k3s.server.token).await;
    let facts = NodeFacts {
        name: name.into(),
        ..facts()
    };
    k3s.without_policy();
    Kubelet::new(&joined.unwrap())
        .register(&Host::at(folder.path()), &facts)
        .await
        .unwrap();
    k3s.grant(RIGHTS);
    let path = format!("/api/v1/nodes/{name}");
    let cluster = world.master.join.tokens.cluster().unwrap();
    let (_, node) = k3s.ask("GET", &path, None).await;
    let node: Named = serde_json::from_value(node).unwrap();
    cluster.label(&node.metadata, BACKING).await.unwrap();
    world.verdict(Verdict::Slashed);
    assert_eq!(world.look().await, None);
    assert_eq!(k3s.ask("GET", &path, None).await.0, 404);
    assert!(k3s.secrets("removed").await.is_empty());
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
async fn a_stake_does_not_stand_for_somebody_elses_node() {
    let k3s = K3s::start().await;
    let world = k3s.world(seconds);
    let folder = TempDir::new().unwrap();
    k3s.without_policy();
    k3s.come(folder.path(), &k3s.server.token).await;
    k3s.grant(RIGHTS);
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

/// The whole of it, by a registration that finds the stake slashed.
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

/// A token names no Node: without the policy, whoever has one could take another's name.
#[tokio::test]
async fn kubelet_creates_no_node_that_was_not_let_in() {
    let k3s = K3s::start().await;
    let world = k3s.world(seconds);
    let token = world.token().await;
    for name in ["edge-0001", "edge-0002-0707070707", "edge-0001-0808080808"] {
        let folder = TempDir::new().unwrap();
        let membership = k3s.join_as(name, folder.path(), &token).await.unwrap();
        let facts = NodeFacts {
            name: name.into(),
            ..facts()
        };
        let kubelet = Kubelet::new(&membership);
        let error = kubelet
            .register(&Host::at(folder.path()), &facts)
            .await
            .unwrap_err();
        let told = format!("{:#}", anyhow::Error::new(error));
        assert!(
            told.contains("has not admitted a node of this name"),
            "{told}"
        );
    }
    let folder = TempDir::new().unwrap();
    k3s.come(folder.path(), &token).await;
    assert!(k3s.node().await.is_some());
}

#[tokio::test]
async fn name_goes_with_its_stake() {
    let k3s = K3s::start().await;
    let world = k3s.world(seconds);
    let token = world.token().await;
    let folder = TempDir::new().unwrap();
    let kubelet = k3s.come(folder.path(), &token).await;
    assert_eq!(world.look().await, None);
    let record = ObjectId::from_bytes([7; 32]).to_string();
    let name = json!({"edge-0001-0707070707": record});
    assert_eq!(k3s.admitted().await, name);

    world.verdict(Verdict::Slashed);
    assert_eq!(world.look().await, None);
    assert!(k3s.node().await.is_none());
    assert_eq!(k3s.admitted().await, json!({}));
    // its certificate counts for a year, and takes the name no more
    let back = kubelet.register(&Host::at(folder.path()), &facts()).await;
    assert!(back.is_err());
}

#[tokio::test]
async fn name_of_a_node_that_never_came_goes_with_its_stake() {
    let k3s = K3s::start().await;
    let world = k3s.world(seconds);
    world.token().await;
    world.verdict(Verdict::Withdrawn);
    // a shard's turn comes within 16 rounds
    for _ in 0..16 {
        assert_eq!(world.look().await, None);
    }
    assert_eq!(k3s.admitted().await, json!({}));
}

#[tokio::test]
async fn node_of_a_slashed_stake_goes_without_its_config_map() {
    let k3s = K3s::start().await;
    let world = k3s.world(seconds);
    let folder = TempDir::new().unwrap();
    k3s.come(folder.path(), &world.token().await).await;
    assert_eq!(world.look().await, None);
    k3s.give_policy(|items| {
        items.retain(|item| {
            item["kind"] != "ConfigMap" || item["metadata"]["name"] != "k3s-daas-admitted-07"
        });
    });
    world.verdict(Verdict::Slashed);
    let failure = world.look().await.unwrap();
    assert!(
        failure.contains("configmaps/k3s-daas-admitted-07"),
        "{failure}"
    );
    assert!(k3s.node().await.is_none());
}

#[tokio::test]
async fn name_of_a_standing_stake_is_no_other_stakes() {
    let k3s = K3s::start().await;
    let world = k3s.world(seconds);
    world.token().await;
    let first = k3s.admitted().await;
    // its record begins with the same digits, and its node id is the same
    let mut alike = [7; 32];
    alike[31] = 8;
    let alike = ObjectId::from_bytes(alike);
    let another = k3s.world(seconds);
    another.stands_for(alike);
    let refused = another.register(&another.a_registration().await).await;
    refused.refused(401, "stake-of-another");
    assert_eq!(k3s.admitted().await, first);
    assert_eq!(k3s.secrets("token").await.len(), 1);
    // the first one's stake is gone: its name is looked at in the next round
    another.stands_for(a_stake().record);
    another.verdict(Verdict::Withdrawn);
    assert_eq!(another.look().await, None);
    another.stands_for(alike);
    another.token().await;
    let name = json!({"edge-0001-0707070707": alike.to_string()});
    assert_eq!(k3s.admitted().await, name);
}

#[tokio::test]
async fn name_that_was_lost_is_admitted_again() {
    let k3s = K3s::start().await;
    let world = k3s.world(seconds);
    let folder = TempDir::new().unwrap();
    let token = world.token().await;
    let name = k3s.admitted().await;
    let lost_and_back = async |world: &World| {
        k3s.lose_name().await;
        assert_eq!(k3s.admitted().await, json!({}));
        for _ in 0..16 {
            assert_eq!(world.look().await, None);
        }
        assert_eq!(k3s.admitted().await, name);
    };
    // by the session that goes on
    lost_and_back(&world).await;
    // by the Node, for a master that has just started
    k3s.come(folder.path(), &token).await;
    assert_eq!(world.look().await, None);
    lost_and_back(&k3s.world(seconds)).await;
}

#[tokio::test]
async fn no_token_is_made_without_the_policy() {
    let k3s = K3s::start().await;
    let world = k3s.world(seconds);
    let refused = async || {
        let answer = world.register(&world.a_registration().await).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(k3s.secrets("token").await.is_empty());
    };
    k3s.without_policy();
    refused().await;
    // one object of it, or one word
    k3s.give_policy(|items| {
        items.retain(|item| item["kind"] != "ValidatingAdmissionPolicy");
    });
    refused().await;
    let binding = |item: &Value| {
        item["kind"] == "ValidatingAdmissionPolicyBinding"
            && item["metadata"]["name"] == "k3s-daas-admitted-07"
    };
    k3s.give_policy(|items| items.retain(|item| !binding(item)));
    refused().await;
    k3s.give_policy(|items| {
        for item in items.iter_mut().filter(|item| binding(item)) {
            item["spec"]["validationActions"] = json!(["Audit"]);
        }
    });
    refused().await;
    k3s.grant(RIGHTS);
    world.token().await;
}
