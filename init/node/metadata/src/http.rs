//! One request at a time over plain HTTP/1.1 (RFC 9112), within bounds of time and size.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use cloud::MAXIMUM_USER_DATA;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// Where every cloud that is known here has its service: an address of the link alone (RFC 3927).
pub const ADDRESS: SocketAddr =
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(169, 254, 169, 254), 80));
/// The service is one hop away at most: what takes longer is not there.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A whole exchange.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(15);
/// Status line and headers, in bytes.
const HEAD_LIMIT: usize = 16 * 1024;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, of at most [`MAXIMUM_USER_DATA`] bytes. It may hold secrets.
    pub body: Zeroizing<Vec<u8>>,
}

/// There is no answer.
#[derive(Debug, Error)]
pub enum HttpError {
    /// Nobody takes the connection.
    #[error("no connection to {address}")]
    Connect {
        /// Whose.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The exchange broke off, or was no HTTP.
    #[error("no answer to {path}")]
    Exchange {
        /// What was asked for.
        path: &'static str,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// The body broke off, or is too long.
    #[error("the answer to {path} can't be read: {why} (at most {MAXIMUM_USER_DATA} bytes are)")]
    Body {
        /// What was asked for.
        path: &'static str,
        /// Why.
        why: String,
    },
    /// It took too long.
    #[error("no answer from {address} within {} s", limit.as_secs())]
    Late {
        /// Whose.
        address: SocketAddr,
        /// How long it had.
        limit: Duration,
    },
}

/// Asks one address.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    address: SocketAddr,
}

impl Client {
    /// Asks this address.
    #[must_use]
    pub const fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Asks once, over a connection of its own. No redirect is followed: none of these services has any.
    ///
    /// # Errors
    /// [`HttpError`].
    pub async fn ask(
        &self,
        method: Method,
        path: &'static str,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Answer, HttpError> {
        let late = |limit| HttpError::Late {
            address: self.address,
            limit,
        };
        let stream = timeout(CONNECT_LIMIT, TcpStream::connect(self.address))
            .await
            .map_err(|_| late(CONNECT_LIMIT))?
            .map_err(|source| HttpError::Connect {
                address: self.address,
                source,
            })?;
        timeout(EXCHANGE_LIMIT, self.exchange(stream, method, path, headers))
            .await
            .map_err(|_| late(EXCHANGE_LIMIT))?
    }

    async fn exchange(
        &self,
        stream: TcpStream,
        method: Method,
        path: &'static str,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Answer, HttpError> {
        let failed = |source| HttpError::Exchange { path, source };
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(HEAD_LIMIT)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(failed)?;
        let connection = AbortOnDrop(tokio::spawn(connection));
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.method_mut() = method;
        *request.uri_mut() = hyper::Uri::from_static(path);
        let host = self.address.ip().to_string();
        if let Ok(host) = HeaderValue::from_str(&host) {
            request.headers_mut().insert(HOST, host);
        }
        request.headers_mut().extend(headers.iter().cloned());
        let response = sender.send_request(request).await.map_err(failed)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAXIMUM_USER_DATA)
            .collect()
            .await
            .map_err(|error| HttpError::Body {
                path,
                why: error.to_string(),
            })?
            .to_bytes();
        drop(connection);
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: Zeroizing::new(body.to_vec()),
        })
    }
}

/// The task of a connection, which ends with its exchange.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
