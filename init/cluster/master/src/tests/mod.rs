//! Every answer of the master, against a chain of one stake.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use attest_verify::Release;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chain::{Address, ChainError, Mist, NodeKey, ObjectId, SealToken, Stake, Verdict};
use http_body_util::BodyExt as _;
use master_api::{
    Base64, CHALLENGE_PATH, ChallengeRequest, ChallengeResponse, HEARTBEAT_PATH, HeartbeatRequest,
    MAXIMUM_BODY, MAXIMUM_REGISTRATION, REGISTER_PATH, RegisterRequest, RegisterResponse,
    ResourceUsage, SEAL_TOKEN_HEADER,
};
use serde::Serialize;
use serde_json::Value;
use wire::NodeName;

use crate::chain_link::StakeReader;
use crate::join::{Join, JoinTokens};
use crate::service::{Master, Peer, answer};
use crate::trust::Trust;

mod attestation;
mod heartbeats;
mod registration;
mod reports;

const NOW: u64 = 1_700_000_000;
/// The registry of releases on chain.
const REGISTRY: ObjectId = ObjectId::from_bytes([0xe; 32]);
const JOIN_TOKEN: &str =
    "K10cacacacacacacacacacacacacacacacacacacacacacacacacacacacacacacaca::node:hunter2";

static KEY: LazyLock<NodeKey> = LazyLock::new(|| NodeKey::generate().expect("random numbers"));

pub(crate) fn a_node() -> NodeName {
    "edge-0001".parse().unwrap()
}

pub(crate) fn a_stake() -> Stake {
    Stake {
        record: ObjectId::from_bytes([7; 32]),
        version: 1,
        seal_token: Some(SealToken {
            id: ObjectId::from_bytes([8; 32]),
            issued_at_ms: 0,
            expires_at_ms: (NOW + 3600) * 1000,
        }),
        staker: Address::from_bytes([9; 32]),
        beneficiary: Address::from_bytes([9; 32]),
        node_id: "edge-0001".to_owned(),
        node_key: KEY.public(),
        amount: Mist(1_000_000_000),
        minimum: Mist(1_000_000_000),
        slashed: Mist(0),
        staked_at_ms: 0,
        unbonding_until_ms: None,
        verdict: Verdict::Active,
    }
}

/// A chain of one stake, or one that fails, or one that never answers.
#[derive(Clone)]
pub(crate) struct Ledger(Arc<Mutex<State>>);

pub(crate) struct State {
    pub(crate) stake: Option<Stake>,
    pub(crate) failure: Option<fn() -> ChainError>,
    /// Records whose stakes are slashed, beside the one stake.
    pub(crate) ended: BTreeSet<ObjectId>,
    /// Records that fullnodes do not agree on.
    pub(crate) unreadable: BTreeSet<ObjectId>,
    hangs: bool,
    reads: u32,
    releases: Vec<Release>,
    registry_failure: Option<fn() -> ChainError>,
}

impl State {
    pub(crate) fn reads(&self) -> u32 {
        self.reads
    }
}

impl Ledger {
    async fn read(&self) -> Result<Option<Stake>, ChainError> {
        let hangs = {
            let mut state = self.0.lock().unwrap();
            state.reads += 1;
            if let Some(failure) = state.failure {
                return Err(failure());
            }
            state.hangs
        };
        if hangs {
            return std::future::pending().await;
        }
        Ok(self.0.lock().unwrap().stake.clone())
    }
}

impl StakeReader for Ledger {
    async fn stake_of_seal_token(&self, seal_token: ObjectId) -> Result<Option<Stake>, ChainError> {
        let stake = self.read().await?;
        Ok(stake.filter(|stake| stake.seal_token.is_some_and(|token| token.id == seal_token)))
    }

    async fn reread(&self, _: &Stake) -> Result<Stake, ChainError> {
        Ok(self.read().await?.expect("a stake"))
    }

    async fn ended(&self, record: ObjectId) -> Result<Option<Stake>, ChainError> {
        let stake = self.read().await?;
        let state = self.0.lock().unwrap();
        if state.unreadable.contains(&record) {
            return Err(ChainError::NotFound {
                what: "pool",
                id: record,
            });
        }
        if state.ended.contains(&record) {
            let verdict = Verdict::Slashed;
            return Ok(Some(Stake {
                record,
                verdict,
                ..a_stake()
            }));
        }
        Ok(stake.filter(|stake| stake.record == record && stake.verdict.is_over()))
    }

    async fn releases(&self, registry: ObjectId) -> Result<Vec<Release>, ChainError> {
        assert_eq!(registry, REGISTRY);
        let state = self.0.lock().unwrap();
        state
            .registry_failure
            .map_or_else(|| Ok(state.releases.clone()), |failure| Err(failure()))
    }
}

pub(crate) struct World {
    pub(crate) ledger: Ledger,
    pub(crate) master: Arc<Master<Ledger>>,
    pub(crate) folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self::with(Trust::default())
    }

    fn with(trust: Trust) -> Self {
        Self::with_clock(|| NOW, trust)
    }

    fn with_clock(clock: fn() -> u64, trust: Trust) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let token_file = folder.path().join("token");
        fs::write(&token_file, JOIN_TOKEN).unwrap();
        fs::set_permissions(&token_file, Permissions::from_mode(0o600)).unwrap();
        Self::all(folder, JoinTokens::File(token_file), clock, trust)
    }

    /// With tokens from elsewhere, and another clock.
    pub(crate) fn with_tokens(
        folder: tempfile::TempDir,
        tokens: JoinTokens,
        clock: fn() -> u64,
    ) -> Self {
        Self::all(folder, tokens, clock, Trust::default())
    }

    pub(crate) fn all(
        folder: tempfile::TempDir,
        tokens: JoinTokens,
        clock: fn() -> u64,
        trust: Trust,
    ) -> Self {
        let ledger = Ledger(Arc::new(Mutex::new(State {
            stake: Some(a_stake()),
            failure: None,
            ended: BTreeSet::new(),
            unreadable: BTreeSet::new(),
            hangs: false,
            reads: 0,
            releases: Vec::new(),
            registry_failure: None,
        })));
        let join = Join {
            server: "https://10.0.2.2:6443".parse().unwrap(),
            tokens,
        };
        let master = Master::new(ledger.clone(), join, clock)
            .unwrap()
            .with_trust(trust);
        Self {
            ledger,
            master: Arc::new(master),
            folder,
        }
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.ledger.0.lock().unwrap());
    }

    pub(crate) fn verdict(&self, verdict: Verdict) {
        self.change(|state| state.stake.as_mut().unwrap().verdict = verdict);
    }

    async fn send(&self, path: &str, header: Option<&str>, body: Vec<u8>) -> Answer {
        let mut request = Request::post(path);
        if let Some(header) = header {
            request = request.header(SEAL_TOKEN_HEADER, header);
        }
        let peer = Peer(([192, 0, 2, 1], 4711).into());
        let request = request.extension(peer).body(Body::from(body)).unwrap();
        Answer::of(answer(Arc::clone(&self.master).router(), request).await).await
    }

    async fn post<T: Serialize>(&self, path: &str, header: Option<&str>, body: &T) -> Answer {
        self.send(path, header, serde_json::to_vec(body).unwrap())
            .await
    }

    async fn challenge(&self, node_id: &str) -> Base64 {
        self.ask_challenge(&a_challenge(node_id)).await.nonce
    }

    async fn ask_challenge(&self, request: &ChallengeRequest) -> ChallengeResponse {
        let answer = self.post(CHALLENGE_PATH, None, request).await;
        assert_eq!(answer.status, StatusCode::OK);
        serde_json::from_value(answer.body).unwrap()
    }

    pub(crate) async fn a_registration(&self) -> RegisterRequest {
        signed(RegisterRequest {
            node_id: a_node(),
            seal_token: ObjectId::from_bytes([8; 32]).to_string(),
            timestamp: (self.master.clock)(),
            nonce: self.challenge("edge-0001").await,
            public_key: Base64(KEY.public().to_flagged_bytes().to_vec()),
            evidence: None,
            signature: Base64(Vec::new()),
        })
    }

    pub(crate) async fn register(&self, request: &RegisterRequest) -> Answer {
        self.post(REGISTER_PATH, Some(&request.seal_token), request)
            .await
    }

    pub(crate) async fn session(&self) -> String {
        let answer = self.register(&self.a_registration().await).await;
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
        let answer: RegisterResponse = serde_json::from_value(answer.body).unwrap();
        answer.session.unwrap()
    }

    async fn beat(&self, request: &HeartbeatRequest) -> Answer {
        let token = ObjectId::from_bytes([8; 32]).to_string();
        self.post(HEARTBEAT_PATH, Some(&token), request).await
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    retry_after: bool,
    pub(crate) body: Value,
}

impl Answer {
    async fn of(response: Response) -> Self {
        let status = response.status();
        let retry_after = response.headers().contains_key("retry-after");
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        Self {
            status,
            retry_after,
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
        }
    }

    /// A refusal with this status and code, and a sentence beside it, and no token in it.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.body["status"], "refused", "{self:?}");
        assert_eq!(self.body["code"], code, "{self:?}");
        assert!(
            self.body["message"].as_str().unwrap().contains(' '),
            "{self:?}"
        );
        assert_eq!(self.retry_after, status == 503, "{self:?}");
        assert!(!self.body.to_string().contains("hunter2"), "{self:?}");
    }
}

fn a_challenge(node_id: &str) -> ChallengeRequest {
    ChallengeRequest {
        node_id: node_id.parse().unwrap(),
        nonce: Base64(vec![6; 32]),
    }
}

fn sign(bytes: &[u8]) -> Base64 {
    let signature = KEY.sign_message(bytes).unwrap().to_string();
    Base64(STANDARD.decode(signature).unwrap())
}

fn signed(mut request: RegisterRequest) -> RegisterRequest {
    request.signature = sign(&request.signed_bytes().unwrap());
    request
}

fn a_beat(session: &str, sequence: u64) -> HeartbeatRequest {
    signed_beat(HeartbeatRequest {
        node_id: a_node(),
        timestamp: NOW,
        stake_status: "active".to_owned(),
        stake_amount: 1_000_000_000,
        running_pods: 1,
        resource_usage: ResourceUsage {
            cpu_percent: 1.0,
            memory_percent: 20.5,
            disk_percent: 3.0,
        },
        session: session.to_owned(),
        sequence,
        kubelet: Some("ok".to_owned()),
        quote: None,
        signature: Base64(Vec::new()),
    })
}

fn signed_beat(mut request: HeartbeatRequest) -> HeartbeatRequest {
    request.signature = sign(&request.signed_bytes().unwrap());
    request
}

pub(crate) fn unreachable() -> ChainError {
    ChainError::Unreachable {
        fullnode: "https://fullnode.example".to_owned(),
        call: "GetObject",
        detail: "connection refused".to_owned(),
    }
}
