//! Connections that do not behave.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use attest_verify::Release;
use chain::{ChainError, ObjectId, Stake};
use master::chain_link::StakeReader;
use master::join::{Join, JoinTokens};
use master::server::{TlsError, serve, tls};
use master::service::Master;
use pinned_http::tls::{Roots, pinned};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A chain without stakes.
struct Empty;

impl StakeReader for Empty {
    async fn stake_of_seal_token(&self, _: ObjectId) -> Result<Option<Stake>, ChainError> {
        Ok(None)
    }

    async fn reread(&self, stake: &Stake) -> Result<Stake, ChainError> {
        Ok(stake.clone())
    }

    async fn ended(&self, _: ObjectId) -> Result<Option<Stake>, ChainError> {
        Ok(None)
    }

    async fn releases(&self, _: ObjectId) -> Result<Vec<Release>, ChainError> {
        Ok(Vec::new())
    }
}

struct Served {
    address: SocketAddr,
    certificate: String,
    folder: TempDir,
}

async fn serve_master() -> Served {
    let folder = TempDir::new().unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap()
        .pem();
    let (certificate_path, key_path) = (folder.path().join("leaf.pem"), folder.path().join("key"));
    fs::write(&certificate_path, &certificate).unwrap();
    fs::write(&key_path, key.serialize_pem()).unwrap();
    fs::set_permissions(&key_path, Permissions::from_mode(0o600)).unwrap();
    let config = tls(&certificate_path, &key_path).unwrap();
    let join = Join {
        server: "https://k3s.example:6443".parse().unwrap(),
        tokens: JoinTokens::File(folder.path().join("token")),
    };
    let router = Arc::new(Master::new(Empty, join, || 0).unwrap()).router();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { match serve(listener, config, router).await {} });
    Served {
        address,
        certificate,
        folder,
    }
}

impl Served {
    async fn connect(&self) -> TlsStream<TcpStream> {
        let roots = Roots::from_pem(self.certificate.as_bytes()).unwrap();
        let config = pinned(&roots, None).unwrap();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .unwrap()
    }

    /// Sends a piece of a request and gives everything that comes back until the end.
    async fn say(&self, piece: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(piece.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // an end without TLS's goodbye is an end all the same
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }
}

#[tokio::test]
async fn requests_go_over_tls() {
    let served = serve_master().await;
    let answer = served
        .say("GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");

    let mut plain = TcpStream::connect(served.address).await.unwrap();
    plain
        .write_all(b"GET /healthz HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

/// In paused time a wait ends as soon as nothing else can happen.
#[tokio::test(start_paused = true)]
async fn who_is_slow_is_cut_off() {
    let served = serve_master().await;
    // no handshake
    let mut silent = TcpStream::connect(served.address).await.unwrap();
    assert_eq!(silent.read(&mut [0; 16]).await.unwrap(), 0);
    // no end of the head; no body
    served.say("GET /healthz HTTP/1.1\r\nhost: ").await;
    let answer = served
        .say("POST /api/v1/challenge HTTP/1.1\r\nhost: x\r\ncontent-length: 20\r\n\r\n{")
        .await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    // nothing more after the first answer
    let answer = served.say("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn who_sends_too_much_is_cut_off() {
    let served = serve_master().await;
    let head = format!("GET /healthz HTTP/1.1\r\nx: {}", "y".repeat(64 * 1024));
    let answer = served.say(&head).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");

    let answer = served
        .say("POST /api/v1/challenge HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 99999\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn certificates_and_keys_are_checked() {
    let served = serve_master().await;
    let (certificate, key) = (
        served.folder.path().join("leaf.pem"),
        served.folder.path().join("key"),
    );
    let swapped = tls(&key, &certificate).unwrap_err();
    assert!(matches!(swapped, TlsError::Pem { .. }), "{swapped}");
    let missing = tls(&served.folder.path().join("missing"), &key).unwrap_err();
    assert!(matches!(missing, TlsError::File(_)), "{missing}");
    fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let other = tls(&certificate, &key).unwrap_err();
    assert!(matches!(other, TlsError::Certificate(_)), "{other}");
    fs::set_permissions(&key, Permissions::from_mode(0o604)).unwrap();
    let exposed = tls(&certificate, &key).unwrap_err();
    assert!(matches!(exposed, TlsError::File(_)), "{exposed}");
}
