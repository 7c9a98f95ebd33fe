//! Every answer of the master, against a chain of one stake.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chain::{Address, ChainError, Mist, NodeKey, ObjectId, SealToken, Stake, Verdict};
use http_body_util::BodyExt as _;
use serde::Serialize;
use serde_json::Value;
use wire::master::{
    Base64, CHALLENGE_PATH, ChallengeRequest, ChallengeResponse, HEARTBEAT_PATH, HeartbeatRequest,
    MAXIMUM_BODY, REGISTER_PATH, RegisterRequest, RegisterResponse, ResourceUsage,
    SEAL_TOKEN_HEADER,
};

use crate::chain_link::StakeReader;
use crate::service::{Master, Peer, answer};
use crate::settings::JoinSettings;

const NOW: u64 = 1_700_000_000;
const JOIN_TOKEN: &str = "K10cafe::node:hunter2";

static KEY: LazyLock<NodeKey> = LazyLock::new(|| NodeKey::generate().expect("random numbers"));

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
        node_id: "edge-0001".to_owned(),
        node_key: KEY.public(),
        amount: Mist(1_000_000_000),
        staked_at_ms: 0,
        unbonding_until_ms: None,
        verdict: Verdict::Active,
    }
}

/// A chain of one stake, or one that fails, or one that never answers.
#[derive(Clone)]
struct Ledger(Arc<Mutex<State>>);

struct State {
    stake: Option<Stake>,
    failure: Option<fn() -> ChainError>,
    hangs: bool,
    reads: u32,
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
    async fn stake_of_token(&self, seal_token: ObjectId) -> Result<Option<Stake>, ChainError> {
        let stake = self.read().await?;
        Ok(stake.filter(|stake| stake.seal_token.is_some_and(|token| token.id == seal_token)))
    }

    async fn reread(&self, _: &Stake) -> Result<Stake, ChainError> {
        Ok(self.read().await?.expect("a stake"))
    }
}

struct World {
    ledger: Ledger,
    master: Arc<Master<Ledger>>,
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let token_file = folder.path().join("token");
        fs::write(&token_file, JOIN_TOKEN).unwrap();
        fs::set_permissions(&token_file, Permissions::from_mode(0o600)).unwrap();
        let ledger = Ledger(Arc::new(Mutex::new(State {
            stake: Some(a_stake()),
            failure: None,
            hangs: false,
            reads: 0,
        })));
        let join = JoinSettings {
            server: "https://10.0.2.2:6443".to_owned(),
            token_file,
        };
        let master = Master::new(ledger.clone(), join, || NOW).unwrap();
        Self {
            ledger,
            master: Arc::new(master),
            folder,
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.ledger.0.lock().unwrap());
    }

    fn verdict(&self, verdict: Verdict) {
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
        let request = ChallengeRequest {
            node_id: node_id.to_owned(),
        };
        let answer = self.post(CHALLENGE_PATH, None, &request).await;
        assert_eq!(answer.status, StatusCode::OK);
        let answer: ChallengeResponse = serde_json::from_value(answer.body).unwrap();
        answer.nonce
    }

    async fn a_registration(&self) -> RegisterRequest {
        signed(RegisterRequest {
            node_id: "edge-0001".to_owned(),
            seal_token: ObjectId::from_bytes([8; 32]).to_string(),
            timestamp: NOW,
            nonce: self.challenge("edge-0001").await,
            public_key: Base64(KEY.public().to_flagged_bytes().to_vec()),
            signature: Base64(Vec::new()),
        })
    }

    async fn register(&self, request: &RegisterRequest) -> Answer {
        self.post(REGISTER_PATH, Some(&request.seal_token), request)
            .await
    }

    async fn session(&self) -> String {
        let answer = self.register(&self.a_registration().await).await;
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
        let answer: RegisterResponse = serde_json::from_value(answer.body).unwrap();
        answer.session
    }

    async fn beat(&self, request: &HeartbeatRequest) -> Answer {
        let token = ObjectId::from_bytes([8; 32]).to_string();
        self.post(HEARTBEAT_PATH, Some(&token), request).await
    }
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    retry_after: bool,
    body: Value,
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
    fn refused(&self, status: u16, code: &str) {
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
        node_id: "edge-0001".to_owned(),
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
        signature: Base64(Vec::new()),
    })
}

fn signed_beat(mut request: HeartbeatRequest) -> HeartbeatRequest {
    request.signature = sign(&request.signed_bytes().unwrap());
    request
}

fn unreachable() -> ChainError {
    ChainError::Unreachable {
        fullnode: "https://fullnode.example".to_owned(),
        call: "GetObject",
        detail: "connection refused".to_owned(),
    }
}

#[tokio::test]
async fn a_good_stake_gets_the_token() {
    let world = World::new();
    let answer = world.register(&world.a_registration().await).await;
    assert_eq!(answer.status, StatusCode::OK);
    let body = answer.body;
    assert_eq!(body["status"], "registered");
    assert_eq!(body["node_id"], "edge-0001");
    assert_eq!(body["join_token"], JOIN_TOKEN);
    assert_eq!(body["server"], "https://10.0.2.2:6443");
    assert_eq!(body["session"].as_str().unwrap().len(), 32);
}

#[tokio::test]
async fn a_nonce_leads_to_one_registration() {
    let world = World::new();
    let request = world.a_registration().await;
    assert_eq!(world.register(&request).await.status, StatusCode::OK);
    world.register(&request).await.refused(401, "nonce");
}

#[tokio::test(start_paused = true)]
async fn a_nonce_is_good_for_a_minute() {
    let world = World::new();
    let request = world.a_registration().await;
    tokio::time::advance(Duration::from_secs(60)).await;
    world.register(&request).await.refused(401, "nonce");
}

#[tokio::test]
async fn what_was_not_issued_to_this_node_is_no_nonce() {
    let world = World::new();
    for nonce in [
        world.challenge("edge-0002").await,
        Base64(vec![1; 32]),
        Base64(Vec::new()),
        Base64(vec![1; 1000]),
    ] {
        let mut request = world.a_registration().await;
        request.nonce = nonce;
        world.register(&signed(request)).await.refused(401, "nonce");
    }
}

#[tokio::test]
async fn header_and_body_name_the_same_token() {
    let world = World::new();
    let request = world.a_registration().await;
    for header in [None, Some("0x9"), Some("")] {
        let answer = world.post(REGISTER_PATH, header, &request).await;
        answer.refused(401, "seal-token-mismatch");
    }
}

#[tokio::test]
async fn clocks_can_be_five_minutes_apart() {
    let world = World::new();
    for (timestamp, good) in [
        (NOW - 300, true),
        (NOW + 300, true),
        (NOW - 301, false),
        (NOW + 301, false),
        (0, false),
        (u64::MAX, false),
    ] {
        let mut request = world.a_registration().await;
        request.timestamp = timestamp;
        let answer = world.register(&signed(request)).await;
        if good {
            assert_eq!(answer.status, StatusCode::OK);
        } else {
            answer.refused(401, "timestamp");
        }
    }
}

#[tokio::test]
async fn every_field_is_under_the_signature() {
    let world = World::new();
    let other = NodeKey::generate().unwrap();
    let changes: [&dyn Fn(&mut RegisterRequest); 4] = [
        &|request| request.timestamp += 1,
        &|request| request.signature.0[10] ^= 1,
        &|request| request.signature = Base64(vec![0; 97]),
        // another key, that did not sign
        &|request| request.public_key = Base64(other.public().to_flagged_bytes().to_vec()),
    ];
    for change in changes {
        let mut request = world.a_registration().await;
        change(&mut request);
        world.register(&request).await.refused(401, "signature");
    }
    // nothing of this was worth a question to the chain
    assert_eq!(world.ledger.0.lock().unwrap().reads, 0);
}

#[tokio::test]
async fn a_stake_counts_for_its_key_and_its_node_alone() {
    let world = World::new();
    let other = NodeKey::generate().unwrap();
    let mut request = world.a_registration().await;
    request.public_key = Base64(other.public().to_flagged_bytes().to_vec());
    let bytes = request.signed_bytes().unwrap();
    let signature = other.sign_message(&bytes).unwrap().to_string();
    request.signature = Base64(STANDARD.decode(signature).unwrap());
    world
        .register(&request)
        .await
        .refused(401, "stake-of-another");

    let mut request = world.a_registration().await;
    request.node_id = "edge-0002".to_owned();
    request.nonce = world.challenge("edge-0002").await;
    world
        .register(&signed(request))
        .await
        .refused(401, "stake-of-another");

    world.change(|state| {
        state.failure = Some(|| ChainError::WrongObject {
            what: "StakeRecord",
            id: ObjectId::from_bytes([7; 32]),
            expected: "pool 0x1".to_owned(),
            found: "pool 0x2".to_owned(),
        });
    });
    let request = world.a_registration().await;
    world
        .register(&request)
        .await
        .refused(401, "stake-of-another");
}

#[tokio::test]
async fn a_stake_that_is_not_there_or_not_good_is_refused() {
    let world = World::new();
    for (verdict, code) in [
        (Verdict::BelowMinimum, "stake-below-minimum"),
        (Verdict::Unbonding, "stake-unbonding"),
        (Verdict::Withdrawn, "stake-unbonding"),
        (Verdict::Slashed, "stake-slashed"),
    ] {
        world.verdict(verdict);
        let request = world.a_registration().await;
        world.register(&request).await.refused(401, code);
    }
    world.change(|state| state.stake = None);
    let request = world.a_registration().await;
    world
        .register(&request)
        .await
        .refused(401, "stake-not-found");
}

#[tokio::test]
async fn a_seal_token_runs_out() {
    let world = World::new();
    for token in [
        None,
        Some(SealToken {
            id: ObjectId::from_bytes([8; 32]),
            issued_at_ms: 0,
            expires_at_ms: NOW * 1000,
        }),
    ] {
        let found = token.is_some();
        world.change(|state| state.stake.as_mut().unwrap().seal_token = token);
        let request = world.a_registration().await;
        let code = if found {
            "seal-token-expired"
        } else {
            "stake-not-found"
        };
        world.register(&request).await.refused(401, code);
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_chain_nodes_come_back_later() {
    let world = World::new();
    world.change(|state| state.failure = Some(unreachable));
    let request = world.a_registration().await;
    world.register(&request).await.refused(503, "unavailable");
    world.change(|state| {
        state.failure = None;
        state.hangs = true;
    });
    world.register(&request).await.refused(503, "unavailable");
    // the same request, nonce and all, is still good
    world.change(|state| state.hangs = false);
    assert_eq!(world.register(&request).await.status, StatusCode::OK);
}

#[tokio::test]
async fn without_a_token_to_hand_out_nodes_come_back_later() {
    let world = World::new();
    let token_file = world.folder.path().join("token");
    let spoils: [&dyn Fn(); 3] = [
        &|| fs::set_permissions(&token_file, Permissions::from_mode(0o644)).unwrap(),
        &|| fs::write(&token_file, "").unwrap(),
        &|| fs::remove_file(&token_file).unwrap(),
    ];
    for spoil in spoils {
        spoil();
        let request = world.a_registration().await;
        let answer = world.register(&request).await;
        answer.refused(503, "unavailable");
        let folder = world.folder.path().to_str().unwrap();
        assert!(!answer.body.to_string().contains(folder), "{answer:?}");
    }
}

#[tokio::test]
async fn what_is_not_of_the_protocol_is_malformed() {
    let world = World::new();
    let token = ObjectId::from_bytes([8; 32]).to_string();
    for path in [CHALLENGE_PATH, REGISTER_PATH, HEARTBEAT_PATH] {
        for body in ["", "null", "{}", "[", r#"{"node_id":"a","more":1}"#] {
            let answer = world.send(path, Some(&token), body.into()).await;
            answer.refused(400, "malformed");
        }
        let body = vec![b' '; MAXIMUM_BODY + 1];
        world
            .send(path, Some(&token), body)
            .await
            .refused(413, "malformed");
    }
    for node_id in ["", "Edge", "-a", "a-", "a.b", "a\nb", &"a".repeat(64)] {
        let request = ChallengeRequest {
            node_id: node_id.to_owned(),
        };
        let answer = world.post(CHALLENGE_PATH, None, &request).await;
        answer.refused(400, "malformed");
    }
    let mut request = world.a_registration().await;
    request.public_key = Base64(vec![2; 33]);
    world.register(&request).await.refused(400, "malformed");
    request.seal_token = "token".to_owned();
    world.register(&request).await.refused(400, "malformed");
    world
        .send("/api", None, Vec::new())
        .await
        .refused(404, "malformed");
}

#[tokio::test]
async fn other_methods_are_refused_and_health_is_shown() {
    let world = World::new();
    for (path, status) in [(REGISTER_PATH, 405), ("/healthz", 200)] {
        let peer = Peer(([192, 0, 2, 1], 4711).into());
        let request = Request::get(path)
            .extension(peer)
            .body(Body::empty())
            .unwrap();
        let response = answer(Arc::clone(&world.master).router(), request).await;
        assert_eq!(response.status().as_u16(), status);
    }
}

#[tokio::test(start_paused = true)]
async fn heartbeats_are_acknowledged_and_the_stake_is_read_each_time() {
    let world = World::new();
    let session = world.session().await;
    for sequence in 1..5 {
        tokio::time::advance(Duration::from_secs(30)).await;
        let answer = world.beat(&a_beat(&session, sequence)).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(answer.body["status"], "acknowledged");
        assert_eq!(answer.body["timestamp"], NOW);
    }
    assert_eq!(world.ledger.0.lock().unwrap().reads, 5);
    // a node that beats faster does not make the master ask faster
    for sequence in 5..50 {
        world.beat(&a_beat(&session, sequence)).await;
    }
    assert_eq!(world.ledger.0.lock().unwrap().reads, 5);
}

#[tokio::test(start_paused = true)]
async fn a_slash_ends_the_session() {
    for (verdict, code) in [
        (Verdict::Slashed, "stake-slashed"),
        (Verdict::Unbonding, "stake-unbonding"),
        (Verdict::Withdrawn, "stake-unbonding"),
    ] {
        let world = World::new();
        let session = world.session().await;
        world.verdict(verdict);
        tokio::time::advance(Duration::from_secs(30)).await;
        world.beat(&a_beat(&session, 1)).await.refused(401, code);
        world
            .beat(&a_beat(&session, 2))
            .await
            .refused(401, "session");
    }
}

#[tokio::test(start_paused = true)]
async fn a_topped_up_stake_goes_on_in_its_session() {
    let world = World::new();
    let session = world.session().await;
    world.verdict(Verdict::BelowMinimum);
    tokio::time::advance(Duration::from_secs(30)).await;
    world
        .beat(&a_beat(&session, 1))
        .await
        .refused(401, "stake-below-minimum");
    world.verdict(Verdict::Active);
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(
        world.beat(&a_beat(&session, 2)).await.status,
        StatusCode::OK
    );
}

#[tokio::test(start_paused = true)]
async fn heartbeats_are_checked() {
    let world = World::new();
    let session = world.session().await;
    tokio::time::advance(Duration::from_secs(30)).await;
    world.beat(&a_beat("0123", 1)).await.refused(401, "session");
    let answer = world
        .post(HEARTBEAT_PATH, Some("0x9"), &a_beat(&session, 1))
        .await;
    answer.refused(401, "seal-token-mismatch");

    let mut beat = a_beat(&session, 1);
    beat.running_pods += 1;
    world.beat(&beat).await.refused(401, "signature");
    let mut beat = a_beat(&session, 1);
    beat.node_id = "edge-0002".to_owned();
    world.beat(&signed_beat(beat)).await.refused(401, "session");
    let mut beat = a_beat(&session, 1);
    beat.timestamp -= 301;
    world
        .beat(&signed_beat(beat))
        .await
        .refused(401, "timestamp");
    for status in ["", "Active", "active\n", &"a".repeat(33)] {
        let mut beat = a_beat(&session, 1);
        beat.stake_status = status.to_owned();
        world
            .beat(&signed_beat(beat))
            .await
            .refused(400, "malformed");
    }
    for percent in [-1.0, 100.1] {
        let mut beat = a_beat(&session, 1);
        beat.resource_usage.disk_percent = percent;
        world
            .beat(&signed_beat(beat))
            .await
            .refused(400, "malformed");
    }

    // none of these has moved the number
    let beat = a_beat(&session, 1);
    assert_eq!(world.beat(&beat).await.status, StatusCode::OK);
    world.beat(&beat).await.refused(401, "sequence");
    world.change(|state| state.failure = Some(unreachable));
    tokio::time::advance(Duration::from_secs(30)).await;
    let beat = a_beat(&session, 2);
    world.beat(&beat).await.refused(503, "unavailable");
    world.change(|state| state.failure = None);
    world.beat(&beat).await.refused(401, "sequence");
    assert_eq!(
        world.beat(&a_beat(&session, 3)).await.status,
        StatusCode::OK
    );
}
