//! A DOUBLE of clouds' metadata services. It asks of a client what the real ones ask: method, path,
//! headers, token; and it names itself in every answer.
//!
//! `init/node/metadata` tests against this file, too.

use std::collections::HashSet;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloud::Cloud;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, HeaderValue, SERVER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What it calls itself.
const NAME: &str = "metadata-double";
/// The longest life of a token of EC2, in seconds.
const LONGEST_TOKEN: u64 = 21600;

/// A running service; it stops when dropped.
pub struct MetadataService {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

struct State {
    cloud: Cloud,
    user_data: Option<Vec<u8>>,
    /// The attribute of Google's that is ours alone.
    own_attribute: Option<Vec<u8>>,
    /// Answers with this instead, so many times.
    failures: u32,
    tokens: HashSet<String>,
    asked: Vec<String>,
}

impl MetadataService {
    /// Starts the service of a cloud on a port that the system chooses.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(cloud: Cloud, user_data: Option<&[u8]>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State {
            cloud,
            user_data: user_data.map(<[u8]>::to_vec),
            own_attribute: None,
            failures: 0,
            tokens: HashSet::new(),
            asked: Vec::new(),
        }));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    continue;
                };
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let answer = lock(&state).answer(&request);
                        async move { Ok::<_, Infallible>(answer) }
                    });
                    // a client that goes away is its own affair
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Ok(Self {
            address,
            state,
            task,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was asked for so far: method and path.
    pub fn asked(&self) -> Vec<String> {
        lock(&self.state).asked.clone()
    }

    /// Gives the machine other user data.
    pub fn set_user_data(&self, user_data: Option<&[u8]>) {
        lock(&self.state).user_data = user_data.map(<[u8]>::to_vec);
    }

    /// Gives the machine the attribute that is ours alone (Google).
    pub fn set_own_attribute(&self, content: &[u8]) {
        lock(&self.state).own_attribute = Some(content.to_vec());
    }

    /// Fails so many times before it answers.
    pub fn fail(&self, times: u32) {
        lock(&self.state).failures = times;
    }
}

impl Drop for MetadataService {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

type Answer = Response<Full<Bytes>>;

impl State {
    fn answer(&mut self, request: &Request<Incoming>) -> Answer {
        let path = request
            .uri()
            .path_and_query()
            .map_or("", |path| path.as_str());
        let (method, headers) = (request.method(), request.headers());
        self.asked.push(format!("{method} {path}"));
        let mut answer = if self.failures > 0 {
            self.failures -= 1;
            plain(StatusCode::SERVICE_UNAVAILABLE, b"")
        } else if headers
            .get("host")
            .is_none_or(|host| host != "127.0.0.1" && host != "169.254.169.254")
        {
            plain(StatusCode::BAD_REQUEST, b"no such host")
        } else if headers.contains_key("x-forwarded-for") {
            // what a proxy passes on is not this machine's own question
            plain(StatusCode::FORBIDDEN, b"forwarded")
        } else {
            match self.cloud {
                Cloud::Ec2 => self.ec2(method, path, headers),
                Cloud::Google => self.google(method, path, headers),
                Cloud::Azure => self.azure(method, path, headers),
                Cloud::OpenStack => self.path(method, path, "/openstack/latest/user_data"),
                Cloud::DigitalOcean => self.path(method, path, "/metadata/v1/user-data"),
                Cloud::Hetzner => self.path(method, path, "/hetzner/v1/userdata"),
            }
        };
        answer
            .headers_mut()
            .insert(SERVER, HeaderValue::from_static(NAME));
        answer
    }

    fn ec2(&mut self, method: &Method, path: &str, headers: &HeaderMap) -> Answer {
        if path == "/latest/api/token" {
            let lifetime = text(headers, "x-aws-ec2-metadata-token-ttl-seconds")
                .and_then(|seconds| seconds.parse::<u64>().ok())
                .filter(|seconds| (1..=LONGEST_TOKEN).contains(seconds));
            return match (method, lifetime) {
                (&Method::PUT, Some(_)) => {
                    let token = format!("{NAME}-token-{}==", self.tokens.len());
                    self.tokens.insert(token.clone());
                    plain(StatusCode::OK, token.as_bytes())
                }
                (&Method::PUT, None) => plain(StatusCode::BAD_REQUEST, b""),
                _ => plain(StatusCode::METHOD_NOT_ALLOWED, b""),
            };
        }
        // version 2 is required
        let known = text(headers, "x-aws-ec2-metadata-token")
            .is_some_and(|token| self.tokens.contains(token));
        if !known {
            return plain(StatusCode::UNAUTHORIZED, b"");
        }
        self.path(method, path, "/latest/user-data")
    }

    fn google(&self, method: &Method, path: &str, headers: &HeaderMap) -> Answer {
        if text(headers, "metadata-flavor") != Some("Google") {
            return plain(StatusCode::FORBIDDEN, b"no Metadata-Flavor: Google");
        }
        let own = "/computeMetadata/v1/instance/attributes/k3s-daas-node";
        let mut answer = match &self.own_attribute {
            Some(content) if path == own => plain(StatusCode::OK, content),
            _ => self.path(
                method,
                path,
                "/computeMetadata/v1/instance/attributes/user-data",
            ),
        };
        answer
            .headers_mut()
            .insert("metadata-flavor", HeaderValue::from_static("Google"));
        answer
    }

    fn azure(&self, method: &Method, path: &str, headers: &HeaderMap) -> Answer {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let query: Vec<&str> = query.split('&').collect();
        if text(headers, "metadata") != Some("true")
            || !query.contains(&"api-version=2021-01-01")
            || !query.contains(&"format=text")
        {
            return plain(StatusCode::BAD_REQUEST, b"");
        }
        if (method, path) != (&Method::GET, "/metadata/instance/compute/userData") {
            return plain(StatusCode::NOT_FOUND, b"");
        }
        // nothing, and no error, where there is none
        let encoded = STANDARD.encode(self.user_data.as_deref().unwrap_or_default());
        plain(StatusCode::OK, encoded.as_bytes())
    }

    fn path(&self, method: &Method, path: &str, wanted: &str) -> Answer {
        match &self.user_data {
            _ if method != Method::GET => plain(StatusCode::METHOD_NOT_ALLOWED, b""),
            Some(user_data) if path == wanted => plain(StatusCode::OK, user_data),
            _ => plain(StatusCode::NOT_FOUND, b"404 - Not Found"),
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn plain(status: StatusCode, body: &[u8]) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::copy_from_slice(body)));
    *answer.status_mut() = status;
    answer
}
