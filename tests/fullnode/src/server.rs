//! Serving gRPC over TLS.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sui_rpc::proto::sui::rpc::v2::ledger_service_server::LedgerServiceServer;
use sui_rpc::proto::sui::rpc::v2::state_service_server::StateServiceServer;
use sui_rpc::proto::sui::rpc::v2::subscription_service_server::SubscriptionServiceServer;
use sui_rpc::proto::sui::rpc::v2::transaction_execution_service_server::TransactionExecutionServiceServer;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};

use crate::config::Config;
use crate::ledger::Node;
use crate::traffic::{Reply, Traffic};

/// Why the double does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Certificate or key cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Certificate and key are no use.
    #[error("certificate and key cannot be used")]
    Tls(#[source] tonic::transport::Error),
    /// The address is taken.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// A double that serves. Dropping it takes no new connections; those that are open live on until
/// their clients leave or the process ends.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    server: JoinHandle<()>,
    checkpoints: JoinHandle<()>,
    traffic: Traffic,
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often each method was called since this was last asked. A test facility.
    pub fn take_requests(&self) -> BTreeMap<String, u64> {
        self.traffic.take_requests()
    }

    /// Has the messages of all replies from now on mutated, those of other servers of the same
    /// node left alone. The method is named without its service, as in `GetObject`. A test
    /// facility.
    pub fn tamper(&self, tamper: impl Fn(&str, &[u8]) -> Reply + Send + Sync + 'static) {
        self.traffic.set_tamper(Some(Arc::new(tamper)));
    }

    /// Has replies go out as they are again; streams that were opened meanwhile do too.
    pub fn be_honest(&self) {
        self.traffic.set_tamper(None);
    }

    /// Waits until it serves no more, which it does by itself only when it breaks down.
    pub async fn ended(&mut self) {
        // a task that panicked or was aborted serves no more either
        let _ended = (&mut self.server).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.checkpoints.abort();
        self.server.abort();
    }
}

/// Serves the node at the configured address.
///
/// # Errors
/// Where certificate, key or address cannot be used.
pub async fn serve(node: &Node, config: &Config) -> Result<Running, ServeError> {
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|source| ServeError::Read {
            path: path.clone(),
            source,
        })
    };
    let identity = Identity::from_pem(read(&config.certificate)?, read(&config.key)?);
    let listen = |source| ServeError::Listen {
        address: config.listen,
        source,
    };
    let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let traffic = Traffic::default();
    let gate = traffic.clone();
    let router = Server::builder()
        .tls_config(ServerTlsConfig::new().identity(identity))
        .map_err(ServeError::Tls)?
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .layer(tower_layer::layer_fn(move |routes| gate.before(routes)))
        .add_service(LedgerServiceServer::new(node.clone()))
        .add_service(StateServiceServer::new(node.clone()))
        .add_service(SubscriptionServiceServer::new(node.clone()))
        .add_service(TransactionExecutionServiceServer::new(node.clone()));
    let server = tokio::spawn(async move {
        if let Err(error) = router
            .serve_with_incoming(TcpIncoming::from(listener))
            .await
        {
            tracing::error!(%error, "the server broke down");
        }
    });
    let checkpoints = tokio::spawn(make_checkpoints(node.clone(), config.finality_ms));
    tracing::info!(
        %address, chain_id = %config.chain_id, administration = ?config.administration(),
        "fullnode double serves"
    );
    Ok(Running {
        address,
        server,
        checkpoints,
        traffic,
    })
}

async fn make_checkpoints(node: Node, every_ms: u64) {
    if every_ms == 0 {
        return;
    }
    let mut interval = tokio::time::interval(Duration::from_millis(every_ms));
    loop {
        interval.tick().await;
        node.make_checkpoint();
    }
}
