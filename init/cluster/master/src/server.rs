//! Connections: TLS, and bounds on their number, their size, and their time.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::addresses::Addresses;
use crate::files::{read_bounded, read_secret};
use crate::service::{Peer, answer};
use crate::settings::MasterSettingsError;

/// Connections side by side; more wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 1024;
/// Connections side by side from one address, so that one can't take all places.
const MOST_FROM_ONE: usize = 128;
/// The TLS handshake.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// From the handshake, or the answer before, to the end of a request's head.
const HEADER_LIMIT: Duration = Duration::from_secs(10);
/// A whole connection, however many requests it brings.
const CONNECTION_LIMIT: Duration = Duration::from_secs(120);
/// The longest head of a request, in bytes.
const HEAD_LENGTH: usize = 16 * 1024;
/// The pause after the listener failed to accept, as it does without free descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// TLS that can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("the certificate or its key can't be read")]
    File(#[from] MasterSettingsError),
    /// A file does not hold what it should.
    #[error("{path}: expected {expected} in PEM form")]
    Pem {
        /// Which file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// The two do not fit together, or not with TLS.
    #[error("the certificate and its key can't be used")]
    Certificate(#[source] rustls::Error),
}

/// TLS 1.3 with a certificate chain and its key.
///
/// # Errors
/// Names the file that is at fault.
pub fn tls(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let pem = |path: &Path, expected| TlsError::Pem {
        path: path.to_owned(),
        expected,
    };
    let chain = read_bounded(certificate)?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&chain)
        .collect::<Result<_, _>>()
        .map_err(|_| pem(certificate, "a certificate chain"))?;
    if chain.is_empty() {
        return Err(pem(certificate, "a certificate chain"));
    }
    let key_text = read_secret(key)?;
    let key = PrivateKeyDer::from_pem_slice(&key_text).map_err(|_| pem(key, "a private key"))?;
    let provider = rustls::crypto::ring::default_provider();
    let mut config = ServerConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Certificate)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsError::Certificate)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Serves for ever.
pub async fn serve(listener: TcpListener, tls: Arc<ServerConfig>, router: Router) -> Infallible {
    let acceptor = TlsAcceptor::from(tls);
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let addresses = Arc::new(Addresses::new(MOST_FROM_ONE));
    loop {
        let Ok(permit) = Arc::clone(&places).acquire_owned().await else {
            // nobody closes it
            return std::future::pending().await;
        };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "a connection can't be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = addresses.enter(peer.ip()) else {
            debug!(%peer, "too many connections from one address");
            continue;
        };
        let acceptor = acceptor.clone();
        let router = router.clone();
        tokio::spawn(async move {
            let conversation = converse(stream, peer, acceptor, router);
            if timeout(CONNECTION_LIMIT, conversation).await.is_err() {
                debug!(%peer, "the connection took too long");
            }
            drop((place, permit));
        });
    }
}

async fn converse(stream: TcpStream, peer: SocketAddr, acceptor: TlsAcceptor, router: Router) {
    let stream = match timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            debug!(%peer, %error, "the TLS handshake failed");
            return;
        }
        Err(_) => {
            debug!(%peer, "the TLS handshake took too long");
            return;
        }
    };
    let service = service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer));
            Ok::<_, Infallible>(answer(router, request).await)
        }
    });
    let conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_LIMIT)
        .max_buf_size(HEAD_LENGTH)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = conversation.await {
        debug!(%peer, %error, "the connection broke");
    }
}
