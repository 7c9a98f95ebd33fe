//! The master over HTTPS: its pinned root and no other, every call bounded in time and size.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use master_api::{
    CHALLENGE_PATH, ChallengeRequest, ChallengeResponse, HEARTBEAT_PATH, HeartbeatRequest,
    HeartbeatResponse, MAXIMUM_BODY, REGISTER_PATH, Refusal, RefusalCode, RegisterRequest,
    RegisterResponse, SEAL_TOKEN_HEADER,
};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::tls::TlsInfo;
use reqwest::{Client, Response, StatusCode};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use seal::tpm::crypto::sha256;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::explain::explain;
use crate::seams::{Challenged, Master, MasterError};

/// Name lookup, TCP and TLS handshake.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Between two pieces of an answer.
const READ_LIMIT: Duration = Duration::from_secs(10);
/// A whole call. The master itself reads the chain within it.
const CALL_LIMIT: Duration = Duration::from_secs(20);
/// The most certificates that a root can have.
const MOST_ROOTS: usize = 16;

/// A client that can't be made from its settings.
#[derive(Debug, thiserror::Error)]
pub enum MasterClientError {
    /// The root is not a certificate.
    #[error("master.root_certificate holds no usable certificate in PEM form")]
    Root,
    /// The roots can't be checked against.
    #[error("master.root_certificate can't be checked against")]
    Verifier(#[source] rustls::client::VerifierBuilderError),
    /// TLS can't be set up.
    #[error("TLS towards the master can't be set up")]
    Tls(#[source] rustls::Error),
    /// The HTTP client can't be set up.
    #[error("the HTTP client can't be set up")]
    Client(#[source] reqwest::Error),
}

/// The master, by its URL.
#[derive(Debug)]
pub struct MasterClient {
    url: String,
    roots: Arc<WebPkiServerVerifier>,
    /// For challenges: any key that the root vouches for.
    open: Client,
    /// For all the rest: the key that answered the challenge, and no other.
    pinned: RefCell<Option<Pinned>>,
}

/// A client for one TLS key.
#[derive(Debug, Clone)]
struct Pinned {
    key: [u8; 32],
    client: Client,
    /// Whether another key was seen.
    other: Arc<AtomicBool>,
}

/// The root's word, and beside it that of a pinned key. It is asked before the first byte of a request
/// goes out.
#[derive(Debug)]
struct Verifier {
    roots: Arc<WebPkiServerVerifier>,
    pin: Option<([u8; 32], Arc<AtomicBool>)>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.roots.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        if let Some((key, other)) = &self.pin
            && key_of(end_entity)? != *key
        {
            other.store(true, Ordering::Relaxed);
            return Err(rustls::Error::General(
                "the certificate is of another key than the one that answered the challenge"
                    .to_owned(),
            ));
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.roots
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.roots
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.roots.supported_verify_schemes()
    }
}

/// SHA-256 of a certificate's public key (SubjectPublicKeyInfo).
fn key_of(certificate: &CertificateDer<'_>) -> Result<[u8; 32], rustls::Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    Ok(sha256(&[parsed.subject_public_key_info().as_ref()]))
}

fn client(
    roots: &Arc<WebPkiServerVerifier>,
    pin: Option<([u8; 32], Arc<AtomicBool>)>,
) -> Result<Client, MasterClientError> {
    let verifier = Verifier {
        roots: Arc::clone(roots),
        pin,
    };
    let provider = rustls::crypto::ring::default_provider();
    let mut tls = ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(MasterClientError::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    // a resumed connection shows no certificate
    tls.resumption = Resumption::disabled();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .tls_info(true)
        .https_only(true)
        .http1_only()
        .no_proxy()
        .redirect(Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_LIMIT)
        .read_timeout(READ_LIMIT)
        .timeout(CALL_LIMIT)
        .pool_max_idle_per_host(1)
        .user_agent(concat!("k3s-daas-staker/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(MasterClientError::Client)
}

impl MasterClient {
    /// `url` is `https://host[:port]`, and `root_certificate` all that its certificate is checked
    /// against, in PEM.
    ///
    /// # Errors
    /// [`MasterClientError`] where the root is not a certificate.
    pub fn new(url: &str, root_certificate: &str) -> Result<Self, MasterClientError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(root_certificate.as_bytes()) {
            let certificate = certificate.map_err(|_| MasterClientError::Root)?;
            roots
                .add(certificate)
                .map_err(|_| MasterClientError::Root)?;
            if roots.len() > MOST_ROOTS {
                return Err(MasterClientError::Root);
            }
        }
        if roots.is_empty() {
            return Err(MasterClientError::Root);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = WebPkiServerVerifier::builder_with_provider(roots.into(), provider)
            .build()
            .map_err(MasterClientError::Verifier)?;
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            open: client(&roots, None)?,
            roots,
            pinned: RefCell::new(None),
        })
    }

    /// The client for a master with this TLS key.
    fn pinned(&self, key: &[u8; 32]) -> Result<Pinned, MasterError> {
        let mut pinned = self.pinned.borrow_mut();
        if let Some(pinned) = pinned.as_ref().filter(|pinned| pinned.key == *key) {
            return Ok(pinned.clone());
        }
        let other = Arc::new(AtomicBool::new(false));
        let client = client(&self.roots, Some((*key, Arc::clone(&other)))).map_err(|error| {
            MasterError::Unreachable {
                detail: explain(&error),
            }
        })?;
        let made = Pinned {
            key: *key,
            client,
            other,
        };
        *pinned = Some(made.clone());
        Ok(made)
    }

    /// Calls the master that shows this TLS key.
    async fn call_pinned<Q: Serialize, A: DeserializeOwned>(
        &self,
        key: &[u8; 32],
        path: &str,
        seal_token: &str,
        request: &Q,
    ) -> Result<A, MasterError> {
        let pinned = self.pinned(key)?;
        pinned.other.store(false, Ordering::Relaxed);
        match self
            .call(&pinned.client, path, Some(seal_token), request)
            .await
        {
            Err(MasterError::Unreachable { .. }) if pinned.other.load(Ordering::Relaxed) => {
                Err(MasterError::OtherKey)
            }
            outcome => outcome.map(|(answer, _)| answer),
        }
    }

    /// The answer, and SHA-256 of the public key that the other side showed in TLS.
    async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        client: &Client,
        path: &str,
        seal_token: Option<&str>,
        request: &Q,
    ) -> Result<(A, [u8; 32]), MasterError> {
        let body = serde_json::to_vec(request).map_err(|error| MasterError::InvalidAnswer {
            detail: format!("the request can't be written: {error}"),
        })?;
        let mut call = client
            .post(format!("{}{path}", self.url))
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        if let Some(seal_token) = seal_token {
            call = call.header(SEAL_TOKEN_HEADER, seal_token);
        }
        let answer = call.send().await.map_err(unreachable)?;
        let status = answer.status();
        let retry_after = answer
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| text.parse().ok());
        let key = shown_key(&answer)?;
        let body = bounded_body(answer).await?;
        if status == StatusCode::OK {
            let answer =
                serde_json::from_slice(&body).map_err(|error| MasterError::InvalidAnswer {
                    // never the parser's own words: they repeat what they found, and it can be a
                    // token
                    detail: format!(
                        "its body is not of the protocol's shape (column {})",
                        error.column()
                    ),
                })?;
            return Ok((answer, key));
        }
        match serde_json::from_slice::<Refusal>(&body) {
            Ok(refusal)
                if refusal.code == RefusalCode::Unavailable
                    || status == StatusCode::SERVICE_UNAVAILABLE =>
            {
                Err(MasterError::Unavailable {
                    message: refusal.message,
                    retry_after,
                })
            }
            Ok(refusal) => Err(MasterError::Refused {
                code: refusal.code,
                message: refusal.message,
            }),
            Err(_) => Err(MasterError::InvalidAnswer {
                detail: format!("HTTP status {status}"),
            }),
        }
    }
}

async fn bounded_body(mut answer: Response) -> Result<Zeroizing<Vec<u8>>, MasterError> {
    let mut body = Zeroizing::new(Vec::with_capacity(4096));
    while let Some(piece) = answer.chunk().await.map_err(unreachable)? {
        if body.len() + piece.len() > MAXIMUM_BODY {
            return Err(MasterError::InvalidAnswer {
                detail: format!("its body is longer than {MAXIMUM_BODY} bytes"),
            });
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

fn unreachable(error: reqwest::Error) -> MasterError {
    MasterError::Unreachable {
        detail: explain(&error.without_url()),
    }
}

/// SHA-256 of the public key that the other side of this very connection showed.
fn shown_key(answer: &Response) -> Result<[u8; 32], MasterError> {
    answer
        .extensions()
        .get::<TlsInfo>()
        .and_then(TlsInfo::peer_certificate)
        .and_then(|certificate| key_of(&CertificateDer::from(certificate)).ok())
        .ok_or_else(|| MasterError::InvalidAnswer {
            detail: "it came without a certificate".to_owned(),
        })
}

impl Master for MasterClient {
    async fn challenge(&self, request: &ChallengeRequest) -> Result<Challenged, MasterError> {
        let (answer, tls_key_sha256) = self
            .call::<_, ChallengeResponse>(&self.open, CHALLENGE_PATH, None, request)
            .await?;
        Ok(Challenged {
            answer,
            tls_key_sha256,
        })
    }

    async fn register(
        &self,
        channel: &[u8; 32],
        request: &RegisterRequest,
    ) -> Result<RegisterResponse, MasterError> {
        self.call_pinned(channel, REGISTER_PATH, &request.seal_token, request)
            .await
    }

    async fn heartbeat(
        &self,
        channel: &[u8; 32],
        seal_token: &str,
        request: &HeartbeatRequest,
    ) -> Result<HeartbeatResponse, MasterError> {
        self.call_pinned(channel, HEARTBEAT_PATH, seal_token, request)
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_is_none_is_refused() {
        let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for text in ["", "junk", junk] {
            let error = MasterClient::new("https://master.example", text).unwrap_err();
            assert!(matches!(error, MasterClientError::Root), "{error}");
        }
    }
}
