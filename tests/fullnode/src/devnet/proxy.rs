//! A connection that can be cut.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinHandle};

/// Forwards to a server until it is cut; then connections break, and new ones are not taken.
pub struct Proxy {
    address: SocketAddr,
    target: SocketAddr,
    connections: Arc<Mutex<Vec<AbortHandle>>>,
    listening: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Begins to forward.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut proxy = Self {
            address,
            target,
            connections: Arc::default(),
            listening: None,
        };
        proxy.listen(listener);
        proxy
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// Breaks every connection, and takes no new one.
    pub async fn cut(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.abort();
            let _aborted = listening.await;
        }
        for connection in self.connections.lock().unwrap().drain(..) {
            connection.abort();
        }
    }

    /// Forwards again.
    pub async fn mend(&mut self) {
        self.listen(TcpListener::bind(self.address).await.unwrap());
    }

    fn listen(&mut self, listener: TcpListener) {
        let (target, connections) = (self.target, self.connections.clone());
        self.listening = Some(tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let forward = tokio::spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(target).await {
                        let _broken = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    }
                });
                connections.lock().unwrap().push(forward.abort_handle());
            }
        }));
    }
}
