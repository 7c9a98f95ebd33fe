//! The open tunnels, one per node, and the kubelets behind them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, HOST, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::Server;
use super::supervisor::Refusal;
use crate::http::{self, HttpError};
use crate::logging;
use crate::tunnel::{KUBELET, Session, SessionError, Side};

/// A kubelet could not be asked.
#[derive(Debug, Error)]
pub enum KubeletError {
    /// It has no tunnel.
    #[error("node {0} has no tunnel: its agent does not run or cannot reach the server")]
    NotConnected(String),
    /// The tunnel broke.
    #[error("the tunnel to the node failed")]
    Tunnel(#[from] SessionError),
    /// No TLS with the kubelet's end.
    #[error("TLS with the node through its tunnel failed")]
    Tls(#[source] std::io::Error),
    /// No exchange with the kubelet's end.
    #[error("the node gave no answer through its tunnel")]
    Http(#[from] HttpError),
    /// A node's name that is no DNS name.
    #[error("node name {0:?} is no DNS name")]
    Name(String),
}

/// All tunnels.
#[derive(Default)]
pub(super) struct Tunnels {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The newest tunnel of each node, with its number.
    open: HashMap<String, (u64, Session)>,
    /// How often each node opened one.
    opened: HashMap<String, u64>,
    next: u64,
}

impl Tunnels {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, node: &str, session: Session) -> u64 {
        let mut state = self.lock();
        state.next += 1;
        let number = state.next;
        state.open.insert(node.to_owned(), (number, session));
        *state.opened.entry(node.to_owned()).or_default() += 1;
        number
    }

    fn remove(&self, node: &str, number: u64) {
        let mut state = self.lock();
        if state
            .open
            .get(node)
            .is_some_and(|(newest, _)| *newest == number)
        {
            state.open.remove(node);
        }
    }

    /// Whether a node has a tunnel, and how often it opened one.
    pub(super) fn of(&self, node: &str) -> (bool, u64) {
        let state = self.lock();
        (
            state.open.contains_key(node),
            state.opened.get(node).copied().unwrap_or_default(),
        )
    }
}

/// Turns a request for `/v1-k3s/connect` into a tunnel of `node`.
pub(super) fn upgrade(
    server: &Arc<Server>,
    node: String,
    request: &mut Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Refusal> {
    let headers = request.headers();
    let is = |name, expected: &str| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
            .is_some_and(|value| value.to_ascii_lowercase().contains(expected))
    };
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|_| {
        request.method() == Method::GET
            && is(UPGRADE, "websocket")
            && is(CONNECTION, "upgrade")
            && is(SEC_WEBSOCKET_VERSION, "13")
    });
    let Some(key) = key else {
        return Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            "not a websocket handshake",
        ));
    };
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .map_err(|error| Refusal::internal(&error))?;
    let upgraded = hyper::upgrade::on(request);
    let server = Arc::clone(server);
    tokio::spawn(async move {
        let stream = match upgraded.await {
            Ok(stream) => TokioIo::new(stream),
            Err(error) => {
                tracing::warn!(node, error = logging::chain(&error), "tunnel not opened");
                return;
            }
        };
        let websocket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
        let (session, driver) = Session::over(websocket, Side::Server);
        let number = server.tunnels.add(&node, session);
        tracing::info!(node, "tunnel opened");
        let reason = driver.await;
        server.tunnels.remove(&node, number);
        tracing::info!(node, reason = logging::chain(&reason), "tunnel closed");
    });
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response)
}

impl Server {
    /// Sends one request to the kubelet's end of a node's tunnel: TLS inside the tunnel, with the
    /// node's serving certificate on one side and the API server's client certificate on the other.
    ///
    /// # Errors
    /// [`KubeletError`].
    pub async fn ask_kubelet(
        &self,
        node: &str,
        path: &str,
        body: Vec<u8>,
        limit: Duration,
    ) -> Result<Response<Bytes>, KubeletError> {
        let session = self
            .tunnels
            .lock()
            .open
            .get(node)
            .map(|(_, session)| session.clone());
        let session = session.ok_or_else(|| KubeletError::NotConnected(node.to_owned()))?;
        let name = ServerName::try_from(node.to_owned())
            .map_err(|_| KubeletError::Name(node.to_owned()))?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, KUBELET)
            .body(Full::new(Bytes::from(body)))
            .map_err(HttpError::Request)?;
        let exchange = async {
            let stream = session.dial(KUBELET).await?;
            let stream = TlsConnector::from(Arc::clone(&self.kubelet_client))
                .connect(name, stream)
                .await
                .map_err(KubeletError::Tls)?;
            Ok(http::exchange(stream, request).await?)
        };
        tokio::time::timeout(limit, exchange)
            .await
            .map_err(|_| HttpError::Timeout(limit))?
    }
}
