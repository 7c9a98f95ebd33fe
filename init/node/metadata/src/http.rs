//! One request at a time over plain HTTP/1.1 (RFC 9112), within bounds of time and size. Blocks.

use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use cloud::MAXIMUM_USER_DATA;
use thiserror::Error;
use ureq::http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use ureq::http::{Method, Request, StatusCode};
use ureq::{Agent, Timeout};
use zeroize::Zeroizing;

/// Where every cloud that is known here has its service: an address of the link alone (RFC 3927).
pub const ADDRESS: SocketAddr =
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(169, 254, 169, 254), 80));
/// The service is one hop away at most: what takes longer is not there.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A whole exchange, with the connection that it is over.
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
        source: ureq::Error,
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
#[derive(Debug, Clone)]
pub struct Client {
    address: SocketAddr,
    connect: Duration,
    exchange: Duration,
}

impl Client {
    /// Asks this address.
    #[must_use]
    pub const fn new(address: SocketAddr) -> Self {
        Self::with_limits(address, CONNECT_LIMIT, EXCHANGE_LIMIT)
    }

    /// The same with other limits: of the connection, and of the whole exchange.
    #[must_use]
    pub const fn with_limits(address: SocketAddr, connect: Duration, exchange: Duration) -> Self {
        Self {
            address,
            connect,
            exchange,
        }
    }

    /// Asks once, over a connection of its own. No redirect is followed: none of these services has any.
    /// No proxy is asked, whatever the environment says.
    ///
    /// # Errors
    /// [`HttpError`].
    pub fn ask(
        &self,
        method: Method,
        path: &'static str,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Answer, HttpError> {
        let failed = |source| self.failure(path, source);
        let response = self
            .request(&method, path, headers)
            .and_then(|request| match method {
                // a method that has a body: this one is empty
                Method::PUT => self.agent().run(request.map(|()| "")),
                _ => self.agent().run(request),
            })
            .map_err(failed)?;
        let (head, body) = response.into_parts();
        // so large at once that nothing of it is left where it grew
        let mut content = Zeroizing::new(Vec::with_capacity(MAXIMUM_USER_DATA + 1));
        body.into_reader()
            .take(MAXIMUM_USER_DATA as u64 + 1)
            .read_to_end(&mut content)
            .map_err(|error| match ureq::Error::from(error) {
                late @ ureq::Error::Timeout(_) => failed(late),
                other => HttpError::Body {
                    path,
                    why: other.to_string(),
                },
            })?;
        if content.len() > MAXIMUM_USER_DATA {
            return Err(HttpError::Body {
                path,
                why: "it is too long".to_owned(),
            });
        }
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: content,
        })
    }

    fn agent(&self) -> Agent {
        Agent::new_with_config(
            Agent::config_builder()
                .proxy(None)
                .max_redirects(0)
                .max_idle_connections(0)
                .max_response_header_size(HEAD_LIMIT)
                .http_status_as_error(false)
                .user_agent("")
                .accept("")
                .accept_encoding("")
                .timeout_connect(Some(self.connect))
                .timeout_global(Some(self.exchange))
                .build(),
        )
    }

    fn request(
        &self,
        method: &Method,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Request<()>, ureq::Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            // without the port
            .header(HOST, self.address.ip().to_string())
            .body(())?;
        request.headers_mut().extend(headers.iter().cloned());
        Ok(request)
    }

    fn failure(&self, path: &'static str, error: ureq::Error) -> HttpError {
        let address = self.address;
        match error {
            ureq::Error::Timeout(Timeout::Connect) => HttpError::Late {
                address,
                limit: self.connect,
            },
            ureq::Error::Timeout(_) => HttpError::Late {
                address,
                limit: self.exchange,
            },
            ureq::Error::Io(source) if is_of_the_connection(&source) => {
                HttpError::Connect { address, source }
            }
            source => HttpError::Exchange { path, source },
        }
    }
}

/// Whether no connection was made, by what connect(2) says.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::AddrNotAvailable
            | io::ErrorKind::PermissionDenied
    )
}
