//! The kubelet's `/healthz`, at its port on the loopback address.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::time::timeout;

/// `healthz-bind-address` and `healthz-port` by default.
const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 10248);
/// How long one question and its answer may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Answers for as long as this process runs. A kubelet goes on where it can't listen, and so does this.
pub(super) async fn serve() {
    let listener = match TcpListener::bind(ADDRESS).await {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "failed to start healthz server"),
    };
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let conversation =
            http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
        tokio::spawn(timeout(LIMIT, conversation));
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let known = request.uri().path() == "/healthz";
    let body = if known { "ok" } else { "404 page not found\n" };
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    if !known {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    Ok(response)
}
