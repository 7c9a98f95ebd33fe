//! The devnet on this host's IPv6 loopback: what comes to a port there goes on to the same port of IPv4's.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Relays of some ports, until they are dropped.
#[derive(Debug)]
pub struct Relays {
    _tasks: JoinSet<()>,
}

impl Relays {
    /// Listens on these ports.
    ///
    /// # Errors
    /// Where this host has no IPv6, or a port is taken.
    pub async fn start(ports: &[u16]) -> Result<Self> {
        let mut tasks = JoinSet::new();
        for port in ports.iter().copied() {
            let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, port))
                .await
                .with_context(|| format!("port {port} of ::1"))?;
            tasks.spawn(relay(listener, port));
        }
        Ok(Self { _tasks: tasks })
    }
}

async fn relay(listener: TcpListener, port: u16) {
    // with it end all connections
    let mut connections = JoinSet::new();
    while let Ok((mut from, _)) = listener.accept().await {
        connections.spawn(async move {
            if let Ok(mut to) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
                // either end may break off: no matter here
                let _ = copy_bidirectional(&mut from, &mut to).await;
            }
        });
    }
}
