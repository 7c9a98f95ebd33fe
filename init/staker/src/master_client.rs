//! The master over HTTPS: its pinned root and no other, every call bounded in time and size.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::master::{
    CHALLENGE_PATH, ChallengeRequest, ChallengeResponse, HEARTBEAT_PATH, HeartbeatRequest,
    HeartbeatResponse, MAXIMUM_BODY, REGISTER_PATH, Refusal, RefusalCode, RegisterRequest,
    RegisterResponse, SEAL_TOKEN_HEADER,
};
use zeroize::Zeroizing;

use crate::board::explain;
use crate::seams::{Master, MasterError};

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
    client: Client,
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
        let provider = rustls::crypto::ring::default_provider();
        let tls = ClientConfig::builder_with_provider(provider.into())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(MasterClientError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
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
            .map_err(MasterClientError::Client)?;
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            client,
        })
    }

    async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        path: &str,
        seal_token: Option<&str>,
        request: &Q,
    ) -> Result<A, MasterError> {
        let body = serde_json::to_vec(request).map_err(|error| MasterError::InvalidAnswer {
            detail: format!("the request can't be written: {error}"),
        })?;
        let mut call = self
            .client
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
        let body = bounded_body(answer).await?;
        if status == StatusCode::OK {
            return serde_json::from_slice(&body).map_err(|error| MasterError::InvalidAnswer {
                // never the parser's own words: they repeat what they found, and it can be a token
                detail: format!(
                    "its body is not of the protocol's shape (column {})",
                    error.column()
                ),
            });
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

impl Master for MasterClient {
    async fn challenge(&self, node_id: &str) -> Result<Vec<u8>, MasterError> {
        let request = ChallengeRequest {
            node_id: node_id.to_owned(),
        };
        let answer: ChallengeResponse = self.call(CHALLENGE_PATH, None, &request).await?;
        Ok(answer.nonce.0)
    }

    async fn register(&self, request: &RegisterRequest) -> Result<RegisterResponse, MasterError> {
        self.call(REGISTER_PATH, Some(&request.seal_token), request)
            .await
    }

    async fn heartbeat(
        &self,
        seal_token: &str,
        request: &HeartbeatRequest,
    ) -> Result<HeartbeatResponse, MasterError> {
        self.call(HEARTBEAT_PATH, Some(seal_token), request).await
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
