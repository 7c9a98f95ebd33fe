//! What the server may have the agent do, over the kubelet's end of the tunnel: see
//! [`crate::control`].

mod environment;
mod hog;
mod kill;
mod opened;
mod orphans;
mod plant;
mod processes;
mod read;
mod tpm;
mod unseal;

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::DuplexStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsAcceptor;

use super::pod::Pod;
use crate::control::{Command, Killed, Planted, Refusal, Service};
use crate::http;
use crate::logging;
use crate::server::COMMAND_PATH;

pub use orphans::live_as_orphan;
pub use plant::live_planted;
pub use processes::cgroup_of;
pub use tpm::exchange_with_tpm;

/// Serves the kubelet's port on the agent's end of the tunnel. No port is opened for it.
#[derive(Clone)]
pub struct Commands {
    tls: TlsAcceptor,
    pod: Arc<Mutex<Pod>>,
}

impl Commands {
    /// Serves with the kubelet's certificate, holders of the cluster's client certificates alone.
    pub fn new(tls: Arc<ServerConfig>, pod: Arc<Mutex<Pod>>) -> Self {
        Self {
            tls: TlsAcceptor::from(tls),
            pod,
        }
    }

    /// Serves one connection of the tunnel.
    pub async fn serve(self, stream: DuplexStream) {
        let stream = match self.tls.accept(stream).await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "the server's connection to the kubelet failed");
                return;
            }
        };
        let dying = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let pod = Arc::clone(&self.pod);
        let service_dying = Arc::clone(&dying);
        let service = service_fn(move |request| {
            let pod = Arc::clone(&pod);
            let dying = Arc::clone(&service_dying);
            async move { Ok::<_, Infallible>(handle(&pod, &dying, request).await) }
        });
        // Ends when the server has read the reply and closed the connection.
        let served = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
        if let Err(error) = served {
            tracing::debug!(
                error = logging::chain(&error),
                "a command's connection failed"
            );
        }
        if dying.load(std::sync::atomic::Ordering::Relaxed) {
            kill::own_process();
        }
    }
}

async fn handle(
    pod: &Mutex<Pod>,
    dying: &std::sync::atomic::AtomicBool,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    match run(pod, dying, request).await {
        Ok(response) => response,
        Err((status, error)) => http::json(status, &Refusal { error }),
    }
}

async fn run(
    pod: &Mutex<Pod>,
    dying: &std::sync::atomic::AtomicBool,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, (StatusCode, String)> {
    if (request.method(), request.uri().path()) != (&Method::POST, COMMAND_PATH) {
        return Err((
            StatusCode::NOT_FOUND,
            format!("the double's kubelet has only {COMMAND_PATH}"),
        ));
    }
    let body = http::collect(request.into_body())
        .await
        .map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    let command: Command = serde_json::from_slice(&body)
        .map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    tracing::info!(?command, "command from the server");
    match command {
        Command::Kill {
            service: Service::K3s,
        } => {
            dying.store(true, std::sync::atomic::Ordering::Relaxed);
            let pid = rustix::process::getpid().as_raw_nonzero().get();
            let killed = Killed {
                service: Service::K3s,
                pid,
                gone: false,
            };
            Ok(http::json(StatusCode::OK, &killed))
        }
        Command::Kill { service } => reply(kill::service(service).await),
        Command::Stop { service } => reply(kill::stop(service).await),
        Command::Orphan { count } => reply(orphans::leave(count).await),
        Command::Hog { resource } => {
            let cgroup = pod.lock().await.cgroup().to_owned();
            reply(hog::start(&cgroup, resource).await)
        }
        Command::Relieve => {
            let cgroup = pod.lock().await.cgroup().to_owned();
            reply(hog::end(&cgroup).await)
        }
        Command::Pod => reply(pod.lock().await.state().await),
        Command::Processes => Ok(http::json(StatusCode::OK, &processes::all())),
        Command::Read { path } => reply(read::state(&path).await),
        Command::Environment { process, needles } => reply(environment::state(process, &needles)),
        Command::Crash => {
            tokio::fs::write("/proc/sysrq-trigger", "c")
                .await
                .map_err(|error| failed(&error))?;
            Err((
                StatusCode::INTERNAL_SERVER_ERROR,
                "the kernel did not crash".to_owned(),
            ))
        }
        Command::Opened { below } => {
            let look = tokio::task::spawn_blocking(move || opened::below(&below));
            reply(look.await.map_err(|error| failed(&error))?)
        }
        Command::Plant { sealed } => reply(plant::container(&sealed).await.map(|()| Planted {})),
        Command::Tpm {
            user,
            path,
            request,
        } => reply(tpm::ask_as(user, &path, &request).await),
        Command::Unseal { sealed } => {
            let attempt = tokio::task::spawn_blocking(move || unseal::attempt(&sealed));
            reply(attempt.await.map_err(|error| failed(&error))?)
        }
    }
}

/// What a command gave, or why it failed.
fn reply<T: serde::Serialize, E: std::error::Error>(
    outcome: Result<T, E>,
) -> Result<Response<Full<Bytes>>, (StatusCode, String)> {
    match outcome {
        Ok(value) => Ok(http::json(StatusCode::OK, &value)),
        Err(error) => Err(failed(&error)),
    }
}

fn failed(error: &dyn std::error::Error) -> (StatusCode, String) {
    (StatusCode::INTERNAL_SERVER_ERROR, logging::chain(error))
}
