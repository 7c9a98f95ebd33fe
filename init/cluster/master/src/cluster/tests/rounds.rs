//! Rounds: what fails in one place keeps nothing else, and how long one over many Nodes takes.

use std::collections::BTreeSet;
use std::time::Instant;

use chain::ChainError;
use hyper::Method;
use k3s_double::server::Fault;

use super::*;

/// The record of a Node of [`many`].
fn record(number: u16) -> ObjectId {
    let mut bytes = [0x5a; 32];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    ObjectId::from_bytes(bytes)
}

fn name(number: u16) -> String {
    format!("edge-{number:05}-{number:04x}5a5a5a")
}

/// The double's file of so many Nodes that stakes stand for.
fn many(count: u16) -> Value {
    let nodes = (0..count).map(|number| {
        let backing = Backing {
            stake: record(number),
            image: None,
        };
        let labels = backing.labels();
        let labels = labels
            .as_object()
            .unwrap()
            .iter()
            .filter(|(_, value)| !value.is_null());
        let labels: serde_json::Map<_, _> = labels
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let node = json!({
            "kind": "Node", "apiVersion": "v1",
            "metadata": {
                "name": name(number), "uid": format!("uid-{number}"), "resourceVersion": "7",
                "creationTimestamp": "2026-01-01T00:00:00Z", "labels": labels,
            },
            "spec": {}, "status": {},
        });
        (name(number), json!({"object": node}))
    });
    Value::Object(nodes.collect())
}

impl K3s {
    async fn with_nodes(count: u16) -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir_all(folder.path().join("server/db")).unwrap();
        fs::write(
            folder.path().join("server/db/nodes.json"),
            many(count).to_string(),
        )
        .unwrap();
        Self::at(folder).await
    }

    /// The names of all Nodes.
    async fn names(&self) -> BTreeSet<String> {
        let (mut names, mut next) = (BTreeSet::new(), String::new());
        loop {
            let path = format!("/api/v1/nodes?limit=500&continue={next}");
            let (status, list) = self.ask("GET", &path, None).await;
            assert_eq!(status, 200);
            let items = list["items"].as_array().cloned().unwrap_or_default();
            let name = |item: &Value| item["metadata"]["name"].as_str().unwrap().to_owned();
            names.extend(items.iter().map(name));
            list["metadata"]["continue"]
                .as_str()
                .unwrap()
                .clone_into(&mut next);
            if next.is_empty() {
                return names;
            }
        }
    }

    fn refuse(&self, method: Method, within: &str, status: StatusCode, retry_after: Option<u16>) {
        self.server.fail_next(Fault {
            method,
            within: within.to_owned(),
            status,
            reason: "Test",
            retry_after,
        });
    }
}

#[tokio::test]
async fn unreadable_record_keeps_no_other_node() {
    let k3s = K3s::with_nodes(8).await;
    let world = k3s.world(seconds);
    world.change(|state| {
        state.ended = [1, 3, 5].map(record).into();
        state.unreadable = [record(0), record(3)].into();
    });
    let failure = world.look().await.unwrap();
    assert!(failure.contains("can't be read"), "{failure}");
    let left: Vec<_> = [0, 2, 3, 4, 6, 7].map(name).into();
    assert_eq!(k3s.names().await, left.into_iter().collect());
    // and what could not be read is looked at again
    world.change(|state| state.unreadable.clear());
    assert_eq!(world.look().await, None);
    assert!(!k3s.names().await.contains(&name(3)));
}

#[tokio::test]
async fn node_that_is_not_removed_keeps_no_other() {
    let k3s = K3s::with_nodes(4).await;
    let world = k3s.world(seconds);
    world.change(|state| state.ended = [0, 1, 2].map(record).into());
    k3s.refuse(Method::DELETE, &name(1), StatusCode::FORBIDDEN, None);
    let failure = world.look().await.unwrap();
    assert!(failure.contains(&name(1)), "{failure}");
    assert_eq!(k3s.names().await, [1, 3].map(name).into());
}

/// An outage is not asked about 10,000 times.
#[tokio::test]
async fn outage_of_the_chain_ends_a_round_soon() {
    let k3s = K3s::with_nodes(200).await;
    let world = k3s.world(seconds);
    world.change(|state| {
        state.failure = Some(|| ChainError::Unreachable {
            fullnode: "https://a.example".to_owned(),
            call: "GetObject",
            detail: "connection refused".to_owned(),
        });
    });
    assert!(world.look().await.is_some());
    world.change(|state| assert!(state.reads() < 50, "{}", state.reads()));
}

/// The kubelet reports between the master's look and its change.
#[tokio::test]
async fn removal_that_loses_a_race_is_read_again() {
    for method in [Method::PATCH, Method::DELETE] {
        let k3s = K3s::with_nodes(2).await;
        let world = k3s.world(seconds);
        world.change(|state| state.ended = [record(1)].into());
        for _ in 0..3 {
            k3s.refuse(method.clone(), &name(1), StatusCode::CONFLICT, None);
        }
        assert_eq!(world.look().await, None, "{method}");
        assert_eq!(k3s.names().await, [name(0)].into(), "{method}");
    }
}

#[tokio::test]
async fn busy_api_server_is_asked_again_when_it_says() {
    let k3s = K3s::with_nodes(2).await;
    let world = k3s.world(seconds);
    world.change(|state| state.ended = [record(1)].into());
    let busy = StatusCode::TOO_MANY_REQUESTS;
    k3s.refuse(Method::GET, "/nodes?", busy, Some(1));
    k3s.refuse(Method::DELETE, "/nodes/", busy, Some(1));
    let began = Instant::now();
    assert_eq!(world.look().await, None);
    assert!(
        began.elapsed() >= Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(k3s.names().await, [name(0)].into());
}

#[tokio::test]
async fn list_whose_pages_are_gone_is_begun_anew() {
    // three pages
    let k3s = K3s::with_nodes(600).await;
    let world = k3s.world(seconds);
    world.change(|state| state.ended = [record(599)].into());
    k3s.refuse(Method::GET, "continue=", StatusCode::GONE, None);
    assert_eq!(world.look().await, None);
    assert_eq!(k3s.names().await.len(), 599);
    for _ in 0..3 {
        k3s.refuse(Method::GET, "continue=", StatusCode::GONE, None);
    }
    let failure = world.look().await.unwrap();
    assert!(failure.contains("410"), "{failure}");
}

/// A figure, not a bound: most of it is the double, which writes all its Nodes for each change.
#[tokio::test]
async fn round_over_10000_nodes_removes_100() {
    let k3s = K3s::with_nodes(10_000).await;
    let world = k3s.world(seconds);
    let began = Instant::now();
    assert_eq!(world.look().await, None);
    let quiet = began.elapsed();
    world.change(|state| state.ended = (0..100).map(|number| record(number * 100)).collect());
    let began = Instant::now();
    assert_eq!(world.look().await, None);
    eprintln!(
        "a round over 10,000 Nodes: {:.2} s; one that removes 100 of them: {:.2} s",
        quiet.as_secs_f64(),
        began.elapsed().as_secs_f64()
    );
    assert_eq!(k3s.names().await.len(), 9_900);
}
