//! The master over HTTPS: its pinned root and no other, every call bounded in time and size.

use std::cell::RefCell;
use std::time::Duration;

use master_api::{
    CHALLENGE_PATH, ChallengeRequest, ChallengeResponse, HEARTBEAT_PATH, HeartbeatRequest,
    HeartbeatResponse, MAXIMUM_BODY, REGISTER_PATH, Refusal, RefusalCode, RegisterRequest,
    RegisterResponse, SEAL_TOKEN_HEADER,
};
use pinned_http::http::{self, BodyError};
use pinned_http::tls::{self, KeyPin, Roots, TlsError};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::ServerUrl;
use zeroize::Zeroizing;

use crate::explain;
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
    /// TLS can't be set up.
    #[error("TLS towards the master can't be set up")]
    Tls(#[source] TlsError),
    /// The HTTP client can't be set up.
    #[error("the HTTP client can't be set up")]
    Client(#[source] reqwest::Error),
}

/// The master, by its URL.
#[derive(Debug)]
pub struct MasterClient {
    url: String,
    roots: Roots,
    /// For challenges: any key that the root vouches for.
    open: Client,
    /// For all the rest: the key that answered the challenge, and no other.
    pinned: RefCell<Option<Pinned>>,
}

/// A client for one TLS key.
#[derive(Debug, Clone)]
struct Pinned {
    pin: KeyPin,
    client: Client,
}

fn client(roots: &Roots, pin: Option<KeyPin>) -> Result<Client, MasterClientError> {
    http::builder(tls::pinned(roots, pin).map_err(MasterClientError::Tls)?)
        .connect_timeout(CONNECT_LIMIT)
        .read_timeout(READ_LIMIT)
        .timeout(CALL_LIMIT)
        .pool_max_idle_per_host(1)
        .user_agent(concat!("k3s-daas-staker/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(MasterClientError::Client)
}

impl MasterClient {
    /// `root_certificate` is all that the certificate of the master is checked against, in PEM.
    ///
    /// # Errors
    /// [`MasterClientError`] where the root is not a certificate.
    pub fn new(url: &ServerUrl, root_certificate: &str) -> Result<Self, MasterClientError> {
        let roots = Roots::from_pem(root_certificate.as_bytes())
            .ok()
            .filter(|roots| roots.count() <= MOST_ROOTS)
            .ok_or(MasterClientError::Root)?;
        Ok(Self {
            url: url.to_string(),
            open: client(&roots, None)?,
            roots,
            pinned: RefCell::new(None),
        })
    }

    /// The client for a master with this TLS key.
    fn pinned(&self, key: &[u8; 32]) -> Result<Pinned, MasterError> {
        let mut pinned = self.pinned.borrow_mut();
        if let Some(pinned) = pinned.as_ref().filter(|pinned| pinned.pin.key() == key) {
            return Ok(pinned.clone());
        }
        let pin = KeyPin::new(*key);
        let client =
            client(&self.roots, Some(pin.clone())).map_err(|error| MasterError::Unreachable {
                detail: explain(&error),
            })?;
        let made = Pinned { pin, client };
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
        // of calls before
        let _ = pinned.pin.took_another();
        match self
            .call(&pinned.client, path, Some(seal_token), request)
            .await
        {
            Err(MasterError::Unreachable { .. }) if pinned.pin.took_another() => {
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
        let key = http::shown_key(&answer).ok_or_else(|| MasterError::InvalidAnswer {
            detail: "it came without a certificate".to_owned(),
        })?;
        let body = read_body(answer).await?;
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

async fn read_body(answer: Response) -> Result<Zeroizing<Vec<u8>>, MasterError> {
    http::read_body(answer, MAXIMUM_BODY)
        .await
        .map_err(|error| match error {
            BodyError::Broken(error) => unreachable(error),
            BodyError::TooLong(limit) => MasterError::InvalidAnswer {
                detail: format!("its body is longer than {limit} bytes"),
            },
        })
}

fn unreachable(error: reqwest::Error) -> MasterError {
    MasterError::Unreachable {
        detail: explain(&error.without_url()),
    }
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
            let url = "https://master.example".parse().unwrap();
            let error = MasterClient::new(&url, text).unwrap_err();
            assert!(matches!(error, MasterClientError::Root), "{error}");
        }
    }
}
