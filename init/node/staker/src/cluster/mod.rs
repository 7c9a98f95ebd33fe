//! Whether the cluster's k3s server answers: what the agent itself does not tell anybody but its log.

use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{LocalBoxFuture, select_ok};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use wire::ServerUrl;
use wire::status::{AgentState, DegradedReason};

use crate::node::Staker;
use crate::seams::{Chain, Init, Master, Meter};

/// Between two questions.
const INTERVAL: Duration = Duration::from_secs(10);
/// How long one answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// A server that has been silent for so long degrades the node: before the cluster takes it for lost, which is 50 s
/// after its kubelet's last word (kube-controller-manager, `--node-monitor-grace-period`).
const SILENCE: Duration = Duration::from_secs(30);
/// Where the agent's own load balancer listens, which leads to whichever server answers (k3s, `--lb-server-port`).
const AGENTS_BALANCER: u16 = 6444;
/// The first byte of an answer in TLS: an alert, or a handshake (RFC 8446, section 5.1).
const TLS_RECORDS: [u8; 2] = [21, 22];

/// Asks a server whether it is there.
pub type Probe = Rc<dyn Fn(ServerUrl) -> LocalBoxFuture<'static, Result<(), ProbeError>>>;

/// A server that does not answer.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Its address is none.
    #[error("its address can't be used")]
    Address,
    /// It can't be reached.
    #[error("{0}")]
    Connection(#[from] io::Error),
    /// It said nothing in time.
    #[error("no answer within {} s", ANSWER_LIMIT.as_secs())]
    Silent,
    /// It answers something else than TLS.
    #[error("the answer is not TLS")]
    NotTls,
}

/// Asks the server itself, and the agent's load balancer, which knows the cluster's others; one answer is enough.
/// Nothing is sent but the first message of a handshake, and nothing that comes back is trusted: whose it is, the
/// agent checks.
#[must_use]
pub fn probe() -> Probe {
    Rc::new(|server| {
        async move {
            let (host, port) = host_and_port(&server).ok_or(ProbeError::Address)?;
            let itself = greet(host, port).boxed_local();
            let balancer = greet(Ipv4Addr::LOCALHOST.to_string(), AGENTS_BALANCER).boxed_local();
            match timeout(ANSWER_LIMIT, select_ok([itself, balancer])).await {
                Ok(answer) => answer.map(|_| ()),
                Err(_) => Err(ProbeError::Silent),
            }
        }
        .boxed_local()
    })
}

/// The host, an IPv6 address without brackets, and the port.
fn host_and_port(server: &ServerUrl) -> Option<(String, u16)> {
    let url = reqwest::Url::parse(server.as_str()).ok()?;
    let host = url.host_str()?.trim_matches(['[', ']']);
    Some((host.to_owned(), url.port_or_known_default()?))
}

/// Sends the beginning of a TLS handshake, and waits for the beginning of an answer.
async fn greet(host: String, port: u16) -> Result<(), ProbeError> {
    let hello = hello(&host)?;
    let stream = TcpStream::connect((host.as_str(), port)).await?;
    let mut rest = hello.as_slice();
    while !rest.is_empty() {
        stream.writable().await?;
        match stream.try_write(rest) {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut first = [0];
    loop {
        stream.readable().await?;
        match stream.try_read(&mut first) {
            Ok(0) => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
            Ok(_) if TLS_RECORDS.contains(&first[0]) => return Ok(()),
            Ok(_) => return Err(ProbeError::NotTls),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The first message of a handshake, which would trust nobody.
fn hello(host: &str) -> Result<Vec<u8>, ProbeError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| ProbeError::Address)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut bytes = Vec::new();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map(|builder| {
            builder
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth()
        })
        .and_then(|config| ClientConnection::new(Arc::new(config), name));
    let mut client = client.map_err(io::Error::other)?;
    while client.wants_write() {
        client.write_tls(&mut bytes)?;
    }
    Ok(bytes)
}

impl<C: Chain, M: Master, I: Init, U: Meter> Staker<C, M, I, U> {
    /// Asks the server that the agent is to join whether it is there, for as long as the node lives. A server
    /// that is silent degrades the node, and changes nothing: pods go on.
    pub(crate) async fn watch_cluster(&self) -> Infallible {
        let Some(probe) = self.cluster.clone() else {
            return std::future::pending().await;
        };
        let reason = DegradedReason::ClusterUnreachable;
        let mut silent_since = None;
        loop {
            sleep(INTERVAL).await;
            if self.board.echo().agent != AgentState::Wanted {
                silent_since = None;
                self.board.recover(reason).await;
                continue;
            }
            // not known before the master has answered
            let Some(server) = self.desire.server() else {
                continue;
            };
            let asked = Instant::now();
            match probe(server.clone()).await {
                Ok(()) => {
                    silent_since = None;
                    self.board.recover(reason).await;
                }
                Err(error) => {
                    let since = *silent_since.get_or_insert(asked);
                    if since.elapsed() >= SILENCE {
                        let detail = format!(
                            "the k3s server {server} does not answer: {error}; pods that run go on, and the \
                             cluster takes the node for lost"
                        );
                        self.board.degrade(reason, &detail).await;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
