//! A small client of plain HTTP/1.1 on the loopback, for the node's status page behind QEMU's port
//! forwarding.

use std::time::Duration;

use anyhow::{Context, Result};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Largest answer that is read, in bytes.
const BODY_LIMIT: usize = 1024 * 1024;

/// Asks `http://127.0.0.1:<port><path>`, once, and gives status and body.
///
/// # Errors
/// When nothing answers within `timeout`, or the answer is too long.
pub async fn get(port: u16, path: &str, timeout: Duration) -> Result<(StatusCode, Vec<u8>)> {
    let exchange = async {
        let stream = TcpStream::connect(("127.0.0.1", port))
            .await
            .context("cannot connect")?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = Request::builder()
            .uri(path)
            .header("host", format!("127.0.0.1:{port}"))
            .header("connection", "close")
            .body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await.context("no answer")?;
        let status = response.status();
        let body = Limited::new(response.into_body(), BODY_LIMIT)
            .collect()
            .await
            .map_err(|error| anyhow::anyhow!("cannot read the answer: {error}"))?
            .to_bytes()
            .to_vec();
        connection.abort();
        anyhow::Ok((status, body))
    };
    tokio::time::timeout(timeout, exchange)
        .await
        .map_err(anyhow::Error::from)
        .flatten()
        .with_context(|| format!("GET http://127.0.0.1:{port}{path}"))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_page_is_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = vec![0; 4096];
            let length = stream.read(&mut buffer).await.unwrap();
            let answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}";
            stream.write_all(answer).await.unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        });
        let (status, body) = get(port, "/health", LONG).await.unwrap();
        assert_eq!((status.as_u16(), body.as_slice()), (503, b"{}".as_slice()));
        assert!(server.await.unwrap().starts_with("GET /health HTTP/1.1"));
    }

    #[tokio::test]
    async fn nobody_there_is_an_error() {
        // bound, so that no other test gets the port, and never listening
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = socket.local_addr().unwrap().port();
        let error = format!("{:#}", get(port, "/health", LONG).await.unwrap_err());
        assert!(
            error.contains("/health") && error.contains("cannot connect"),
            "{error}"
        );
    }
}
