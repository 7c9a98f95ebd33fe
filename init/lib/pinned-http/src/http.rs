//! A client of reqwest's that speaks to nobody but the server that it is asked to.

use reqwest::redirect::Policy;
use reqwest::tls::TlsInfo;
use reqwest::{Client, ClientBuilder, Response};
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::tls;

/// Bytes that a body gets room for at first.
const FIRST: usize = 4096;

/// A client over this configuration of TLS: HTTP/1.1 over TLS alone, without proxies, redirects and
/// referrers. Limits of time are the caller's to add.
pub fn builder(tls: ClientConfig) -> ClientBuilder {
    Client::builder()
        .tls_backend_preconfigured(tls)
        .tls_info(true)
        .https_only(true)
        .http1_only()
        .no_proxy()
        .redirect(Policy::none())
        .referer(false)
}

/// Why there is no body.
#[derive(Debug, Error)]
pub enum BodyError {
    /// It broke off. Without the URL, which is of no news to the caller, and whose query can be long.
    #[error("the body broke off")]
    Broken(#[source] reqwest::Error),
    /// It is longer than the caller takes.
    #[error("the body is longer than {0} bytes")]
    TooLong(usize),
}

/// Reads a body of at most `limit` bytes.
///
/// # Errors
/// When it breaks off, or is longer.
pub async fn read_body(
    mut answer: Response,
    limit: usize,
) -> Result<Zeroizing<Vec<u8>>, BodyError> {
    let mut body = Zeroizing::new(Vec::with_capacity(FIRST.min(limit)));
    let broken = |error: reqwest::Error| BodyError::Broken(error.without_url());
    while let Some(piece) = answer.chunk().await.map_err(broken)? {
        if body.len() + piece.len() > limit {
            return Err(BodyError::TooLong(limit));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// SHA-256 of the public key that the other side of this very connection showed; `None` where it came
/// without a certificate.
#[must_use]
pub fn shown_key(answer: &Response) -> Option<[u8; 32]> {
    let certificate = answer.extensions().get::<TlsInfo>()?.peer_certificate()?;
    tls::key_sha256(&CertificateDer::from(certificate)).ok()
}
