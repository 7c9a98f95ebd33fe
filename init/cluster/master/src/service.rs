//! What the master answers to: routes, what their handlers share, and the checks they have in
//! common.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{DefaultBodyLimit, Extension, FromRequest as _, State};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chain::{ChainError, MessageSignature, ObjectId, PublicKey, Stake, Verdict};
use master_api::{
    Base64, CHALLENGE_PATH, ChallengeRequest, ChallengeResponse, EncodingError, HEARTBEAT_PATH,
    MAXIMUM_BODY, MAXIMUM_REGISTRATION, NONCE_LENGTH, REGISTER_PATH, RefusalCode,
    SEAL_TOKEN_HEADER,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tower::ServiceExt as _;
use tracing::{debug, info, warn};
use wire::{InvalidName, NodeName};

use crate::addresses::Addresses;
use crate::chain_link::StakeReader;
use crate::challenge::Challenges;
use crate::join::Join;
use crate::refusal::Refused;
use crate::releases::KnownReleases;
use crate::sessions::Sessions;
use crate::trust::Trust;

/// How far a node's clock can be from the master's, in seconds.
const CLOCK_TOLERANCE: u64 = 300;
/// Registrations side by side, whose bodies can be long; more wait within their time.
const MOST_REGISTRATIONS: usize = 64;
/// Of these, from one address: nodes behind one address come back after their own pauses.
pub(crate) const MOST_REGISTRATIONS_FROM_ONE: usize = 8;
/// Reads of the chain side by side; more wait within their time.
const MOST_READS: usize = 32;
/// One read of the chain, waiting for a place included.
const READ_LIMIT: Duration = Duration::from_secs(12);
/// The body of a registration, which holds one of few places while it comes.
const BODY_LIMIT: Duration = Duration::from_secs(5);
/// One request, from its first header to its answer: less than a node waits.
const REQUEST_LIMIT: Duration = Duration::from_secs(18);

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// What all handlers share.
pub struct Master<C> {
    chain: C,
    pub(crate) join: Join,
    pub(crate) challenges: Challenges,
    pub(crate) sessions: Sessions,
    pub(crate) releases: KnownReleases,
    /// Who the master is, and what it asks of nodes beside their stake.
    pub(crate) trust: Trust,
    reads: Semaphore,
    registrations: Semaphore,
    registering: Arc<Addresses>,
    /// Seconds since 1970-01-01 UTC.
    pub(crate) clock: fn() -> u64,
}

/// The system gives no random numbers.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct NoRandomNumbers;

impl<C: StakeReader> Master<C> {
    /// A master that knows no node yet.
    ///
    /// # Errors
    /// [`NoRandomNumbers`].
    pub fn new(chain: C, join: Join, clock: fn() -> u64) -> Result<Self, NoRandomNumbers> {
        Ok(Self {
            chain,
            join,
            challenges: Challenges::new().map_err(|_| NoRandomNumbers)?,
            sessions: Sessions::default(),
            releases: KnownReleases::new(clock),
            trust: Trust::default(),
            reads: Semaphore::new(MOST_READS),
            registrations: Semaphore::new(MOST_REGISTRATIONS),
            registering: Arc::new(Addresses::new(MOST_REGISTRATIONS_FROM_ONE)),
            clock,
        })
    }

    /// With a key that the chain knows, and with evidence to ask of nodes. A master that was not told
    /// proves nothing of itself, and asks for none.
    #[must_use]
    pub fn with_trust(self, trust: Trust) -> Self {
        Self { trust, ..self }
    }

    /// The routes.
    pub fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route(CHALLENGE_PATH, post(challenge::<C>))
            .route(
                REGISTER_PATH,
                post(register::<C>).layer(DefaultBodyLimit::max(MAXIMUM_REGISTRATION)),
            )
            .route(HEARTBEAT_PATH, post(heartbeat::<C>))
            .fallback(|| async {
                Refused::malformed_as(StatusCode::NOT_FOUND, "there is nothing at this path")
            })
            .method_not_allowed_fallback(|| async {
                Refused::malformed_as(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "this path takes another method",
                )
            })
            .layer(DefaultBodyLimit::max(MAXIMUM_BODY))
            .with_state(self)
    }

    /// Asks the chain, bounded in time and number.
    pub(crate) async fn ask<'a, T, F>(
        &'a self,
        question: impl FnOnce(&'a C) -> F,
    ) -> Result<T, Refused>
    where
        F: Future<Output = Result<T, ChainError>>,
    {
        match self.read(question).await? {
            Ok(answer) => Ok(answer),
            Err(error @ ChainError::WrongObject { .. }) => {
                Err(Refused::new(RefusalCode::StakeOfAnother, error.to_string()))
            }
            Err(error @ ChainError::NotFound { .. }) => {
                Err(Refused::new(RefusalCode::StakeNotFound, error.to_string()))
            }
            Err(error) => Err(unreadable(&error)),
        }
    }

    /// The same for what no node has a part in: any failure is the master's.
    pub(crate) async fn ask_for_itself<'a, T, F>(
        &'a self,
        question: impl FnOnce(&'a C) -> F,
    ) -> Result<T, Refused>
    where
        F: Future<Output = Result<T, ChainError>>,
    {
        self.read(question)
            .await?
            .map_err(|error| unreadable(&error))
    }

    async fn read<'a, T, F>(
        &'a self,
        question: impl FnOnce(&'a C) -> F,
    ) -> Result<Result<T, ChainError>, Refused>
    where
        F: Future<Output = Result<T, ChainError>>,
    {
        let read = async {
            let _place = self.reads.acquire().await;
            question(&self.chain).await
        };
        match tokio::time::timeout(READ_LIMIT, read).await {
            Ok(answer) => Ok(answer),
            Err(_) => {
                warn!(
                    seconds = READ_LIMIT.as_secs(),
                    "the chain does not answer in time"
                );
                Err(Refused::unavailable(
                    "the chain does not answer the master in time",
                ))
            }
        }
    }

    /// The stake of a record where it is gone; bounded as [`Self::ask`] is.
    pub(crate) async fn ended(
        &self,
        record: ObjectId,
    ) -> Result<Result<Option<Stake>, ChainError>, tokio::time::error::Elapsed> {
        let read = async {
            let _place = self.reads.acquire().await;
            self.chain.ended(record).await
        };
        tokio::time::timeout(READ_LIMIT, read).await
    }

    pub(crate) fn check_timestamp(&self, timestamp: u64) -> Result<(), Refused> {
        let now = (self.clock)();
        let apart = now.abs_diff(timestamp);
        if apart <= CLOCK_TOLERANCE {
            return Ok(());
        }
        Err(Refused::new(
            RefusalCode::Timestamp,
            format!(
                "the node's clock is {apart} s from the master's, which is {now}: set it to the \
                 right time; {CLOCK_TOLERANCE} s are tolerated"
            ),
        ))
    }
}

fn unreadable(error: &ChainError) -> Refused {
    warn!(%error, "the chain can't be asked");
    Refused::unavailable("the master can't read the chain at the moment")
}

/// Serves one request within its time. A body that announces itself as too long is not waited
/// for; one that is too long without saying so is cut off by the routes.
pub async fn answer(router: Router, request: Request<Body>) -> Response {
    let announced = request.body().size_hint().lower();
    let longest = match request.uri().path() {
        REGISTER_PATH => MAXIMUM_REGISTRATION,
        _ => MAXIMUM_BODY,
    };
    if announced > longest as u64 {
        return Refused::malformed_as(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is longer than {longest} bytes"),
        )
        .into_response();
    }
    match tokio::time::timeout(REQUEST_LIMIT, router.oneshot(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => Refused::malformed_as(StatusCode::REQUEST_TIMEOUT, "the request took too long")
            .into_response(),
    }
}

/// A body, whole and within its bound, or why not.
type Received = Result<Bytes, axum::extract::rejection::BytesRejection>;

async fn challenge<C: StakeReader>(
    State(master): State<Arc<Master<C>>>,
    Extension(peer): Extension<Peer>,
    body: Received,
) -> Response {
    let issued = || {
        let request: ChallengeRequest = parse(body)?;
        if request.nonce.0.len() != NONCE_LENGTH {
            return Err(Refused::malformed(format!(
                "nonce: expected {NONCE_LENGTH} bytes in base64"
            )));
        }
        let nonce = master
            .challenges
            .issue(&request.node_id)
            .map_err(|_| Refused::unavailable(NoRandomNumbers.to_string()))?;
        debug!(node_id = request.node_id.as_str(), peer = %peer.0, "challenge");
        let nonce = Base64(nonce.to_vec());
        let proof = master
            .trust
            .prove(&request, &nonce, (master.clock)())
            .map_err(|error| Refused::unavailable(error.to_string()))?;
        Ok(ChallengeResponse { nonce, proof })
    };
    finish(issued(), peer, "challenge")
}

async fn register<C: StakeReader>(
    State(master): State<Arc<Master<C>>>,
    Extension(peer): Extension<Peer>,
    request: Request<Body>,
) -> Response {
    let Some(_own_place) = master.registering.enter(peer.0.ip()) else {
        let busy = "too many registrations from this address at once: come back later";
        return finish::<()>(Err(Refused::unavailable(busy)), peer, "registration");
    };
    // before the body is read: as many as have a place are in memory
    let _place = master.registrations.acquire().await;
    let headers = request.headers().clone();
    let body = tokio::time::timeout(BODY_LIMIT, Bytes::from_request(request, &())).await;
    let outcome = match body.map(parse) {
        Ok(Ok(request)) => master.register(&headers, &request).await,
        Ok(Err(refused)) => Err(refused),
        Err(_) => Err(Refused::malformed_as(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body did not come within {} s", BODY_LIMIT.as_secs()),
        )),
    };
    if let Ok(answer) = &outcome {
        info!(node_id = answer.node_id.as_str(), peer = %peer.0, "registered");
    }
    finish(outcome, peer, "registration")
}

async fn heartbeat<C: StakeReader>(
    State(master): State<Arc<Master<C>>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Received,
) -> Response {
    let outcome = match parse(body) {
        Ok(request) => master.heartbeat(&headers, &request).await,
        Err(refused) => Err(refused),
    };
    finish(outcome, peer, "heartbeat")
}

fn finish<T: Serialize>(outcome: Result<T, Refused>, peer: Peer, what: &str) -> Response {
    match outcome {
        Ok(answer) => Json(answer).into_response(),
        Err(refused) => {
            warn!(peer = %peer.0, code = ?refused.code, why = refused.message, "{what} refused");
            refused.into_response()
        }
    }
}

fn parse<T: DeserializeOwned>(body: Received) -> Result<T, Refused> {
    let bytes = body.map_err(|error| Refused::malformed_as(error.status(), error.body_text()))?;
    serde_json::from_slice(&bytes).map_err(|error| {
        // what serde itself says of a text begins otherwise, and can repeat it
        let name = InvalidName {
            expected: NodeName::EXPECTED,
        };
        if error.to_string().starts_with(&name.to_string()) {
            return Refused::malformed(format!("node_id: {name}"));
        }
        let place = format!("line {}, column {}", error.line(), error.column());
        let what = match error.classify() {
            serde_json::error::Category::Data => "a field is missing, unknown or of another type",
            _ => "it is not JSON",
        };
        Refused::malformed(format!("the body can't be read at {place}: {what}"))
    })
}

/// The header names the same seal token as the request's record of it.
pub(crate) fn check_header(headers: &HeaderMap, seal_token: &str) -> Result<(), Refused> {
    let header = headers.get(SEAL_TOKEN_HEADER).map(|value| value.as_bytes());
    if header == Some(seal_token.as_bytes()) {
        return Ok(());
    }
    Err(Refused::new(
        RefusalCode::SealTokenMismatch,
        format!("the header {SEAL_TOKEN_HEADER} is missing or names another seal token"),
    ))
}

/// The signature is over these bytes, and by this key.
pub(crate) fn check_signature(
    key: PublicKey,
    bytes: Result<Vec<u8>, EncodingError>,
    signature: &Base64,
) -> Result<(), Refused> {
    let refused = |why: String| Refused::new(RefusalCode::Signature, why);
    let bytes = bytes.map_err(|error| refused(error.to_string()))?;
    let signature: MessageSignature = STANDARD
        .encode(&signature.0)
        .parse()
        .map_err(|error: chain::KeyError| refused(error.to_string()))?;
    key.verify_message(&bytes, &signature)
        .map_err(|error| refused(error.to_string()))
}

/// The stake lets the node take part.
pub(crate) fn check_verdict(stake: &Stake) -> Result<(), Refused> {
    let (code, what) = match stake.verdict {
        Verdict::Active => return Ok(()),
        Verdict::BelowMinimum => (
            RefusalCode::StakeBelowMinimum,
            "holds less than the pool's minimum",
        ),
        Verdict::Unbonding => (RefusalCode::StakeUnbonding, "is being withdrawn"),
        Verdict::Withdrawn => (RefusalCode::StakeUnbonding, "was withdrawn"),
        Verdict::Slashed => (RefusalCode::StakeSlashed, "was slashed"),
        Verdict::NotFound | Verdict::Unreachable => {
            (RefusalCode::StakeNotFound, "is not on the chain")
        }
    };
    Err(Refused::new(
        code,
        format!("the stake {} {what}", stake.record),
    ))
}
