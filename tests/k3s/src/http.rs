//! HTTP/1.1 over TLS, one connection per request as k3s's own clients, bounded in time and size.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Body;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// k3s's `defaultClientTimeout`.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// No answer or request of either double is longer.
pub const BODY_LIMIT: usize = 1024 * 1024;

/// A request got no answer.
#[derive(Debug, Error)]
pub enum HttpError {
    /// No TCP connection.
    #[error("cannot connect to {address}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// No TLS session, or a certificate that is not trusted.
    #[error("TLS with {address} failed")]
    Tls {
        /// With whom.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The HTTP exchange broke off.
    #[error("the HTTP exchange failed")]
    Exchange(#[from] hyper::Error),
    /// The body broke off or is too long.
    #[error("the body cannot be read (at most {BODY_LIMIT} bytes)")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The request cannot be built.
    #[error("the request cannot be built")]
    Request(#[from] hyper::http::Error),
    /// No answer in time.
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
}

/// A server URL that the double cannot use.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum UrlError {
    /// Not a URL.
    #[error("invalid server url, failed to parse: {0}")]
    Parse(String),
    /// `http://` or other.
    #[error("only https:// URLs are supported, invalid scheme: {0}")]
    Scheme(String),
    /// A name instead of an address.
    #[error("the double takes an IP address as the server's host, not {0}")]
    Name(String),
}

/// Where a server is: `https://<IP address>[:port]`, port 443 by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerUrl(pub SocketAddr);

impl std::str::FromStr for ServerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let uri: Uri = text.parse().map_err(|_| UrlError::Parse(text.to_owned()))?;
        if uri.scheme_str() != Some("https") {
            return Err(UrlError::Scheme(text.to_owned()));
        }
        let host = uri.host().unwrap_or_default();
        let address: IpAddr = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse()
            .map_err(|_| UrlError::Name(host.to_owned()))?;
        Ok(Self(SocketAddr::new(
            address,
            uri.port_u16().unwrap_or(443),
        )))
    }
}

impl std::fmt::Display for ServerUrl {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "https://{}", self.0)
    }
}

/// Opens a TLS session. No time limit of its own.
///
/// # Errors
/// [`HttpError::Connect`] or [`HttpError::Tls`].
pub async fn connect(
    address: SocketAddr,
    tls: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, HttpError> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|source| HttpError::Connect { address, source })?;
    TlsConnector::from(tls)
        .connect(ServerName::IpAddress(address.ip().into()), stream)
        .await
        .map_err(|source| HttpError::Tls { address, source })
}

/// Sends one request over an open stream and reads the whole answer. No time limit of its own.
///
/// # Errors
/// [`HttpError::Exchange`] or [`HttpError::Body`].
pub async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, HttpError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends when `sender` is dropped, at the end of this function.
    tokio::spawn(connection);
    let (parts, body) = sender.send_request(request).await?.into_parts();
    let body = collect(body).await.map_err(HttpError::Body)?;
    Ok(Response::from_parts(parts, body))
}

/// One request on one TLS connection, within [`REQUEST_TIMEOUT`].
///
/// # Errors
/// [`HttpError`]; a status such as 403 is an answer, not an error.
pub async fn request(
    server: ServerUrl,
    tls: Arc<ClientConfig>,
    request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, HttpError> {
    tokio::time::timeout(REQUEST_TIMEOUT, async {
        exchange(connect(server.0, tls).await?, request).await
    })
    .await
    .map_err(|_| HttpError::Timeout(REQUEST_TIMEOUT))?
}

/// Reads a body of at most [`BODY_LIMIT`] bytes.
///
/// # Errors
/// It breaks off or is longer.
pub async fn collect<B>(body: B) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    Ok(Limited::new(body, BODY_LIMIT).collect().await?.to_bytes())
}

/// An answer with a body.
pub fn answer(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        hyper::header::CONTENT_TYPE,
        hyper::header::HeaderValue::from_static(content_type),
    );
    response
}

/// An answer in JSON.
pub fn json(status: StatusCode, value: &impl serde::Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_vec(value) {
        Ok(body) => answer(status, "application/json", body),
        Err(error) => answer(
            StatusCode::INTERNAL_SERVER_ERROR,
            "text/plain",
            error.to_string().into_bytes(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_urls_name_an_address() {
        let url: ServerUrl = "https://10.0.2.2:6443".parse().unwrap();
        assert_eq!(url.to_string(), "https://10.0.2.2:6443");
        assert_eq!(
            "https://[::1]/".parse::<ServerUrl>().unwrap().0,
            "[::1]:443".parse().unwrap()
        );
        assert!(matches!(
            "http://10.0.2.2".parse::<ServerUrl>(),
            Err(UrlError::Scheme(_))
        ));
        assert!(matches!(
            "10.0.2.2:6443".parse::<ServerUrl>(),
            Err(UrlError::Scheme(_))
        ));
        assert!(matches!(
            "https://k3s:6443".parse::<ServerUrl>(),
            Err(UrlError::Name(_))
        ));
    }
}
