//! The agent's end of the tunnel: opened, and opened again whenever it ends.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::commands::Commands;
use super::join::Membership;
use crate::cluster;
use crate::http::{self, HttpError, ServerUrl};
use crate::logging;
use crate::tunnel::{KUBELET, Session, Side};

/// k3s's pause between two attempts.
const PAUSE: Duration = Duration::from_secs(1);
/// remotedialer's `HandshakeTimeOut`.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// What a connection of the tunnel holds back.
const BUFFER: usize = 64 * 1024;

/// The tunnel cannot be opened.
#[derive(Debug, Error)]
enum OpenError {
    /// No TLS.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// No websocket.
    #[error("the websocket handshake failed")]
    Websocket(#[from] tungstenite::Error),
}

/// Ends the tunnel when dropped.
pub struct Tunnel(AbortHandle);

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Keeps the tunnel open until the result is dropped; `connected` follows its state.
pub fn keep(membership: &Membership, commands: Commands, connected: watch::Sender<bool>) -> Tunnel {
    let server = membership.server;
    let client = Arc::clone(&membership.kubelet_client);
    let task = tokio::spawn(async move {
        loop {
            let opening =
                tokio::time::timeout(HANDSHAKE_TIMEOUT, open(server, Arc::clone(&client)));
            let reason = match opening.await {
                Ok(Ok(websocket)) => {
                    tracing::info!(%server, "remotedialer connected to proxy");
                    let (_, driver) = Session::over(websocket, allow_kubelet(commands.clone()));
                    connected.send_replace(true);
                    let reason = driver.await;
                    connected.send_replace(false);
                    logging::chain(&reason)
                }
                Ok(Err(error)) => logging::chain(&error),
                Err(_) => HttpError::Timeout(HANDSHAKE_TIMEOUT).to_string(),
            };
            tracing::warn!(error = reason, "remotedialer proxy error; reconnecting");
            tokio::time::sleep(PAUSE).await;
        }
    });
    Tunnel(task.abort_handle())
}

/// The server may reach the kubelet and nothing else.
fn allow_kubelet(commands: Commands) -> Side {
    Side::Agent(Box::new(move |protocol, address| {
        if (protocol, address) != ("tcp", KUBELET) {
            return None;
        }
        let (near, far) = tokio::io::duplex(BUFFER);
        tokio::spawn(commands.clone().serve(far));
        Some(near)
    }))
}

async fn open(
    server: ServerUrl,
    client: Arc<ClientConfig>,
) -> Result<WebSocketStream<TlsStream<TcpStream>>, OpenError> {
    let request = format!("wss://{}{}", server.0, cluster::CONNECT).into_client_request()?;
    let stream = http::connect(server.0, client).await?;
    let (websocket, _) = tokio_tungstenite::client_async(request, stream).await?;
    Ok(websocket)
}
