//! What the tests of the double share.

#![allow(dead_code, reason = "every test takes a part of it")]
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, outside functions that clippy takes for tests"
)]

pub(crate) mod runtime;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use k3s_double::agent::join::{Applicant, JoinError, Membership, Server};
use k3s_double::control::{Client, NodeSummary};
use k3s_double::http::ServerUrl;
use k3s_double::server::{self, RunningServer, ServerSettings};

/// Longer than anything here takes, on the slowest machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A server with its state in `folder`, on any free port or on the given one.
pub(crate) async fn server_at(folder: &Path, port: u16) -> RunningServer {
    server::start(ServerSettings {
        data_folder: folder.to_owned(),
        listen: SocketAddr::from(([127, 0, 0, 1], port)),
        advertise: None,
        names: Vec::new(),
        token: None,
        control: Some("127.0.0.1:0".parse().unwrap()),
    })
    .await
    .unwrap()
}

/// Where agents find it.
pub(crate) fn url(server: &RunningServer) -> ServerUrl {
    ServerUrl(server.address)
}

/// Its control port.
pub(crate) fn control(server: &RunningServer) -> Client {
    Client(server.control.unwrap())
}

/// A node that keeps everything in `folder`.
pub(crate) fn applicant(folder: &Path, name: &str) -> Applicant {
    Applicant {
        node_name: name.to_owned(),
        node_address: IpAddr::from([127, 0, 0, 1]),
        agent_folder: folder.join("agent"),
        node_folder: folder.join("node"),
    }
}

/// Validates the server and joins it, once.
pub(crate) async fn join(
    server: &RunningServer,
    token: &str,
    applicant: &Applicant,
) -> Result<Membership, JoinError> {
    Server::validate(url(server), token)
        .await?
        .join(applicant)
        .await
}

/// Waits until the node's line satisfies `test`.
pub(crate) async fn wait_for_node(
    client: Client,
    name: &str,
    test: impl Fn(&NodeSummary) -> bool,
) -> NodeSummary {
    let wait = async {
        loop {
            let nodes = client.nodes().await.unwrap();
            if let Some(node) = nodes
                .into_iter()
                .find(|node| node.name == name && test(node))
            {
                return node;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .expect("the node did not get there")
}
