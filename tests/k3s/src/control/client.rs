//! The harness's end of the control port.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, StatusCode};
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::{
    COMMAND_TIMEOUT, Command, CommandRequest, IssuedToken, NodeSummary, Nodes, Refusal,
    TokenRequest,
};
use crate::http::HttpError;

/// The control port refused or could not be reached.
#[derive(Debug, Error)]
pub enum ControlError {
    /// No exchange.
    #[error("the control port cannot be reached")]
    Http(#[from] HttpError),
    /// A status other than 200.
    #[error("{status}: {message}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// The server's or the agent's words.
        message: String,
    },
    /// An answer of another form.
    #[error("the control port's answer cannot be read")]
    Answer(#[from] serde_json::Error),
}

/// A client of the control port.
#[derive(Debug, Clone, Copy)]
pub struct Client(pub SocketAddr);

impl Client {
    /// Which nodes have joined.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn nodes(&self) -> Result<Vec<NodeSummary>, ControlError> {
        Ok(self
            .call::<Nodes>(Method::GET, "/nodes", Vec::new())
            .await?
            .nodes)
    }

    /// Has `node` do `command`; `R` is the reply type of that command.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn command<R: DeserializeOwned>(
        &self,
        node: &str,
        command: &Command,
    ) -> Result<R, ControlError> {
        let body = serde_json::to_vec(&CommandRequest { node, command })?;
        self.call(Method::POST, "/command", body).await
    }

    /// Makes a bootstrap token.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn create_token(&self, request: &TokenRequest) -> Result<IssuedToken, ControlError> {
        self.call(Method::POST, "/tokens", serde_json::to_vec(request)?)
            .await
    }

    async fn call<R: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<R, ControlError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(hyper::header::HOST, self.0.to_string())
            .body(Full::new(Bytes::from(body)))
            .map_err(HttpError::Request)?;
        let exchange = async {
            let stream = tokio::net::TcpStream::connect(self.0)
                .await
                .map_err(|source| HttpError::Connect {
                    address: self.0,
                    source,
                })?;
            crate::http::exchange(stream, request).await
        };
        let limit = COMMAND_TIMEOUT + Duration::from_secs(5);
        let response = tokio::time::timeout(limit, exchange)
            .await
            .map_err(|_| HttpError::Timeout(limit))??;
        read_answer(response.status(), response.body())
    }
}

/// A reply, or the error that came in its place.
///
/// # Errors
/// [`ControlError::Refused`] for a status other than 200, [`ControlError::Answer`] for a body of
/// another form.
pub fn read_answer<R: DeserializeOwned>(
    status: StatusCode,
    body: &[u8],
) -> Result<R, ControlError> {
    if status == StatusCode::OK {
        return Ok(serde_json::from_slice(body)?);
    }
    let message = match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => refusal.error,
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    Err(ControlError::Refused { status, message })
}
