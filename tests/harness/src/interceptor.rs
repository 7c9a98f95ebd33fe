//! Somebody between a node and its master, with a certificate that the node's root vouches for: passes
//! on what goes by, keeps what the node said, and says it again.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k3s_double::tls::{Identity, pinned_client, requesting_server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::devnet::certificates::Certificate;

/// What is kept of one connection in bytes: far more than a registration.
const LIMIT: usize = 1024 * 1024;

/// How long the master takes at most to answer what it has heard before.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the node said, a connection each.
type Heard = Arc<Mutex<Vec<Vec<u8>>>>;

/// Listens until it is dropped.
pub struct Interceptor {
    port: u16,
    master: Master,
    heard: Heard,
    task: JoinHandle<()>,
}

/// The real master, as anybody reaches it who trusts the devnet's root.
#[derive(Clone)]
struct Master {
    port: u16,
    connector: TlsConnector,
}

impl Master {
    async fn connect(&self) -> Result<client::TlsStream<TcpStream>> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
        let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
        Ok(self.connector.connect(name, stream).await?)
    }
}

impl Interceptor {
    /// Starts between whoever connects and the master at this port of this host's loopback.
    ///
    /// # Errors
    /// When the certificate can't be used, or there is no port.
    pub async fn start(certificate: &Certificate, root: &str, master_port: u16) -> Result<Self> {
        let read = |path: &std::path::Path| {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let identity =
            Identity::from_pem(&read(&certificate.certificate)?, &read(&certificate.key)?)?;
        let acceptor = TlsAcceptor::from(Arc::new(requesting_server(&identity)?));
        let master = Master {
            port: master_port,
            connector: TlsConnector::from(Arc::new(pinned_client(root.as_bytes(), None)?)),
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let heard = Heard::default();
        let task = tokio::spawn({
            let (master, heard) = (master.clone(), Arc::clone(&heard));
            async move {
                // with it end all connections
                let mut connections = JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    let (acceptor, master) = (acceptor.clone(), master.clone());
                    let heard = Arc::clone(&heard);
                    connections.spawn(async move {
                        // a node that does not like what it sees ends the connection: no matter here
                        if let Ok(node) = acceptor.accept(stream).await {
                            let _ = pass_on(node, &master, &heard).await;
                        }
                    });
                }
            }
        });
        Ok(Self {
            port,
            master,
            heard,
            task,
        })
    }

    /// Where it listens, on this host's loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the node has said this.
    pub fn heard(&self, text: &str) -> bool {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.iter().any(|bytes| holds(bytes, text))
    }

    /// Says to the master what the node has said, word for word, where that holds `text`, and gives what
    /// it answers, up to where that holds `end`.
    ///
    /// # Errors
    /// When the master can't be reached, or does not say that.
    pub async fn say_again(&self, text: &str, end: &str) -> Result<String> {
        let said = {
            let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            let mut heard = heard.iter();
            heard.find(|bytes| holds(bytes, text)).cloned()
        };
        let said = said.with_context(|| format!("the node never said {text:?}"))?;
        let mut master = self.master.connect().await?;
        master.write_all(&said).await?;
        let mut answers = Vec::new();
        let answered = async {
            while !holds(&answers, end) {
                if master.read_buf(&mut answers).await? == 0 || answers.len() > LIMIT {
                    break;
                }
            }
            std::io::Result::Ok(())
        };
        let ended = tokio::time::timeout(PATIENCE, answered).await;
        let answers = String::from_utf8_lossy(&answers).into_owned();
        match ended {
            Ok(Ok(())) if answers.contains(end) => Ok(answers),
            _ => bail!("the master did not answer {end:?}, but: {answers}"),
        }
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}

impl Drop for Interceptor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass_on(node: server::TlsStream<TcpStream>, master: &Master, heard: &Heard) -> Result<()> {
    let (mut from_node, mut to_node) = tokio::io::split(node);
    let (mut from_master, mut to_master) = tokio::io::split(master.connect().await?);
    let keep = {
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.push(Vec::new());
        heard.len().saturating_sub(1)
    };
    let said = async {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let count = from_node.read(&mut buffer).await?;
            let bytes = buffer.get(..count).unwrap_or_default();
            if bytes.is_empty() {
                return to_master.shutdown().await;
            }
            if let Some(kept) = heard
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_mut(keep)
                .filter(|kept| kept.len() < LIMIT)
            {
                kept.extend_from_slice(bytes);
            }
            to_master.write_all(bytes).await?;
        }
    };
    let answered = async {
        tokio::io::copy(&mut from_master, &mut to_node).await?;
        to_node.shutdown().await
    };
    tokio::try_join!(said, answered)?;
    Ok(())
}
