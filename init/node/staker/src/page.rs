//! The status page: `GET /health`, plain HTTP, no secrets, and bounds on everything.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::backoff::{ATTEMPTS, pause};
use crate::board::Health;

/// Connections that are served side by side; more wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 32;
/// From the connection, or the answer before, to the end of a request's head.
const HEADER_LIMIT: Duration = Duration::from_secs(5);
/// A whole connection, however many requests it brings.
const CONNECTION_LIMIT: Duration = Duration::from_secs(30);
/// The longest head of a request, in bytes; hyper takes no less than 8 KiB.
const HEAD_LENGTH: usize = 8 * 1024;
/// The pause after the listener failed to accept, as it does without free descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Listens, trying until it works: a page that can't be shown stops nothing else.
pub async fn listen(address: SocketAddr) -> TcpListener {
    let mut backoff = ATTEMPTS;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                info!(%address, "the status page listens");
                return listener;
            }
            Err(error) => {
                warn!(%address, %error, "the status page can't listen");
                sleep(pause(&mut backoff)).await;
            }
        }
    }
}

/// Serves the page for ever.
pub async fn serve(listener: TcpListener, health: watch::Receiver<Arc<Health>>) -> Infallible {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            // nobody closes it
            return std::future::pending().await;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let health = health.clone();
                tokio::spawn(async move {
                    if timeout(CONNECTION_LIMIT, converse(stream, health))
                        .await
                        .is_err()
                    {
                        debug!("a connection to the status page took too long");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                log_accept(&error);
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn log_accept(error: &io::Error) {
    warn!(%error, "the status page can't accept a connection");
}

async fn converse(stream: TcpStream, health: watch::Receiver<Arc<Health>>) {
    let service = service_fn(move |request| {
        let answer = answer(&request, &health);
        async move { Ok::<_, Infallible>(answer) }
    });
    let conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_LIMIT)
        .max_buf_size(HEAD_LENGTH)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = conversation.await {
        debug!(%error, "a connection to the status page broke");
    }
}

fn answer(
    request: &Request<Incoming>,
    health: &watch::Receiver<Arc<Health>>,
) -> Response<Full<Bytes>> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/health") => match serde_json::to_vec(&**health.borrow()) {
            Ok(body) => (StatusCode::OK, body),
            Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, Vec::new()),
        },
        (_, "/health") => (
            StatusCode::METHOD_NOT_ALLOWED,
            br#"{"error":"GET or HEAD"}"#.to_vec(),
        ),
        _ => (
            StatusCode::NOT_FOUND,
            br#"{"error":"there is /health here, and nothing else"}"#.to_vec(),
        ),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::board::Board;
    use crate::doubles::Recorder;

    async fn page() -> SocketAddr {
        let listener = listen(([127, 0, 0, 1], 0).into()).await;
        let address = listener.local_addr().unwrap();
        // what was last shown outlives the board
        let health = Board::new(Recorder::default(), "edge-0001".parse().unwrap()).subscribe();
        tokio::spawn(serve(listener, health));
        address
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn health_is_json_and_nothing_else_is_there() {
        let address = page().await;
        let get = "GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let answer = ask(address, get).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        let body = answer.split("\r\n\r\n").nth(1).unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["node_id"], "edge-0001");
        for (request, status) in [
            (get.replace("/health", "/"), "404"),
            (get.replace("GET", "POST"), "405"),
        ] {
            let answer = ask(address, &request).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}")),
                "{answer}"
            );
        }
    }

    #[tokio::test]
    async fn a_head_that_never_ends_is_cut_off() {
        let address = page().await;
        let request = format!("GET /health HTTP/1.1\r\nx: {}", "y".repeat(64 * 1024));
        let answer = ask(address, &request).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_cut_off_and_others_are_served() {
        let address = page().await;
        let mut silent = Vec::new();
        for _ in 0..MOST_CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let get = "GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let answer = ask(address, get).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }
}
