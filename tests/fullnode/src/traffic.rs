//! What passes a server of the double: a test facility, which no fullnode has. Requests are counted
//! by method, and a test can have replies mutated, cut or held back on their way out.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{Bytes, Service};

/// Length of what gRPC puts before a message: a flag for compression, and the message's length
/// as 32 bits, big-endian (gRPC over HTTP/2, "Length-Prefixed-Message").
const PREFIX: usize = 5;

/// What becomes of a reply's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// This message goes out.
    Message(Vec<u8>),
    /// So many bytes of the message go out, then the reply breaks off.
    Cut(usize),
    /// A message of so many bytes is announced and sent: zeroes.
    Zeroes(u32),
    /// Neither this message nor anything after it goes out; the reply does not end.
    Silence,
}

/// Makes another reply of a method's message. The method is named without its service, as in
/// `GetObject`.
pub type Tamper = dyn Fn(&str, &[u8]) -> Reply + Send + Sync;

/// What passes one server. Clones see the same.
#[derive(Clone, Default)]
pub(crate) struct Traffic {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    requests: BTreeMap<String, u64>,
    tamper: Option<Arc<Tamper>>,
}

impl fmt::Debug for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traffic")
            .field("requests", &self.lock().requests)
            .finish_non_exhaustive()
    }
}

impl Traffic {
    /// Hands over the counts, which begin anew.
    pub(crate) fn take_requests(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut self.lock().requests)
    }

    pub(crate) fn set_tamper(&self, tamper: Option<Arc<Tamper>>) {
        self.lock().tamper = tamper;
    }

    /// Puts itself before a service.
    pub(crate) fn before<S>(&self, service: S) -> Gate<S> {
        Gate {
            service,
            traffic: self.clone(),
        }
    }

    fn count(&self, method: &str) {
        *self.lock().requests.entry(method.to_owned()).or_default() += 1;
    }

    fn reply(&self, method: &str, message: &[u8]) -> Reply {
        let tamper = self.lock().tamper.clone();
        match tamper {
            Some(tamper) => tamper(method, message),
            None => Reply::Message(message.to_owned()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A service with its traffic looked at.
#[derive(Clone)]
pub(crate) struct Gate<S> {
    service: S,
    traffic: Traffic,
}

impl<S> Service<Request<Body>> for Gate<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default();
        let method = method.to_owned();
        let traffic = self.traffic.clone();
        traffic.count(&method);
        let reply = self.service.call(request);
        Box::pin(async move {
            let reply = reply.await?;
            if traffic.lock().tamper.is_none() {
                return Ok(reply);
            }
            Ok(reply.map(|body| Body::new(StreamBody::new(tampered(body, traffic, method)))))
        })
    }
}

type Frames = BoxStream<'static, Result<Frame<Bytes>, tonic::Status>>;

/// The frames of a body, each message as the tampering makes it.
fn tampered(body: Body, traffic: Traffic, method: String) -> Frames {
    let state = (body, traffic, method, Vec::new());
    stream::unfold(
        Some(state),
        async |state: Option<(Body, Traffic, String, Vec<u8>)>| {
            let (mut body, traffic, method, mut unread) = state?;
            loop {
                let mut data = match body.frame().await? {
                    Err(status) => return Some((Err(status), None)),
                    Ok(frame) => match frame.into_data() {
                        Ok(data) => data,
                        // the trailers
                        Err(frame) => {
                            return Some((Ok(frame), Some((body, traffic, method, unread))));
                        }
                    },
                };
                unread.extend_from_slice(&std::mem::take(&mut data));
                let (out, end) = rewrite(&mut unread, |message| traffic.reply(&method, message));
                match end {
                    _ if out.is_empty() && end == End::Open => {}
                    End::Open => {
                        let frame = Frame::data(Bytes::from(out));
                        return Some((Ok(frame), Some((body, traffic, method, unread))));
                    }
                    End::Cut => return Some((Ok(Frame::data(Bytes::from(out))), None)),
                    End::Silent => std::future::pending().await,
                }
            }
        },
    )
    .boxed()
}

/// How a reply goes on.
#[derive(Debug, PartialEq)]
enum End {
    Open,
    Cut,
    Silent,
}

/// Takes whole messages off what was read, and gives what goes out for them.
fn rewrite(unread: &mut Vec<u8>, reply: impl Fn(&[u8]) -> Reply) -> (Vec<u8>, End) {
    let mut out = Vec::new();
    while let Some((prefix, rest)) = unread.split_first_chunk::<PREFIX>() {
        let [flag, length @ ..] = *prefix;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        let Some(message) = rest.get(..length) else {
            break;
        };
        let announce = |out: &mut Vec<u8>, length: usize| {
            out.push(flag);
            out.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
        };
        match reply(message) {
            Reply::Message(message) => {
                announce(&mut out, message.len());
                out.extend(message);
            }
            Reply::Cut(kept) => {
                announce(&mut out, length);
                out.extend(message.iter().take(kept));
                return (out, End::Cut);
            }
            Reply::Zeroes(length) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                announce(&mut out, length);
                out.resize(out.len().saturating_add(length), 0);
            }
            Reply::Silence => return (out, End::Silent),
        }
        unread.drain(..PREFIX + length);
    }
    (out, End::Open)
}
