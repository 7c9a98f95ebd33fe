//! What the master proves of itself, and what it asks of nodes, over a real TPM in software.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use attest::channel::{Claim, heartbeat_data, request_hash};
use attest::collect::{ReportSource, collect, quote};
use attest::join_token;
use attest_verify::{ManufacturerRoots, Policy, Standing};
use fixtures::machine::{Firmware, Flaw, Manufacturer, PUBLISHER, pcr11};
use fixtures::software_tpm::{STUB, Swtpm};
use master_api::{Grant, HeartbeatQuote};
use ring::signature::{ED25519, UnparsedPublicKey};
use seal::tpm::Tpm;
use seal::tpm::crypto::sha256;

use super::*;
use crate::trust::{Attestation, Enclave, FirmwareMode};

/// What stands for the hash of the master's public key in TLS.
pub(super) const TLS_KEY: [u8; 32] = [0x71; 32];

static MAKER: LazyLock<Manufacturer> = LazyLock::new(Manufacturer::new);

pub(super) fn an_enclave() -> Enclave {
    Enclave::from_seed(ObjectId::from_bytes([0xd; 32]), &[5; 32]).unwrap()
}

/// What is asked of every node, but for reports.
pub(super) fn policy() -> Policy {
    Policy {
        roots: ManufacturerRoots::from_pem(MAKER.roots().as_bytes()).unwrap(),
        admitted_keys: Vec::new(),
        secure_boot: Some(vec![sha256(&[PUBLISHER])]),
        firmware: None,
        reports: None,
    }
}

fn world(required: bool) -> World {
    with_clock(required, || NOW)
}

fn with_clock(required: bool, clock: fn() -> u64) -> World {
    let world = World::with_clock(
        clock,
        Trust {
            enclave: Some(an_enclave()),
            attestation: Some(Attestation {
                required,
                policy: policy(),
                releases: REGISTRY,
                firmware: FirmwareMode::default(),
            }),
            tls_key_sha256: TLS_KEY,
        },
    );
    world.change(|state| state.releases = vec![a_release(Standing::Approved)]);
    world
}

pub(super) fn a_release(standing: Standing) -> Release {
    Release {
        version: "1.2.3".to_owned(),
        pcr11: pcr11(&STUB),
        launch_measurements: Vec::new(),
        standing,
    }
}

pub(super) struct Machine {
    swtpm: Swtpm,
    tpm: Tpm,
    log: Vec<u8>,
    /// Of the last registration.
    nonce: Vec<u8>,
}

impl Machine {
    pub(super) fn new() -> Self {
        let swtpm = Swtpm::new();
        MAKER.provision(&swtpm, Flaw::None);
        Self::boot(swtpm)
    }

    fn boot(swtpm: Swtpm) -> Self {
        let log = Firmware::default().boot(&swtpm, &STUB);
        let tpm = swtpm.open();
        Self {
            swtpm,
            tpm,
            log,
            nonce: Vec::new(),
        }
    }

    /// Evidence as this node would make it for a nonce and a channel.
    fn evidence(&mut self, nonce: &Base64, channel: [u8; 32]) -> Base64 {
        self.evidence_with(nonce, channel, &[])
    }

    pub(super) fn evidence_with(
        &mut self,
        nonce: &Base64,
        channel: [u8; 32],
        sources: &[&dyn ReportSource],
    ) -> Base64 {
        let claim = Claim {
            nonce: nonce.0.clone(),
            node_id: a_node(),
            node_key: KEY.public().to_flagged_bytes().to_vec(),
            address: KEY.address().to_string(),
            channel,
        };
        let evidence = collect(&mut self.tpm, claim, self.log.clone(), sources).unwrap();
        Base64(evidence.to_bytes().unwrap())
    }

    async fn registration(&mut self, world: &World) -> RegisterRequest {
        let mut request = world.a_registration().await;
        request.evidence = Some(self.evidence(&request.nonce, TLS_KEY));
        self.nonce = request.nonce.0.clone();
        signed(request)
    }

    /// Registers and opens what comes back.
    async fn session(&mut self, world: &World) -> String {
        let request = self.registration(world).await;
        let answer = world.register(&request).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        self.open(&request, answer.body).session
    }

    fn open(&mut self, request: &RegisterRequest, body: Value) -> Grant {
        let answer: RegisterResponse = serde_json::from_value(body).unwrap();
        let hash = request_hash(request).unwrap();
        let bytes = answer.signed_bytes(&hash).unwrap();
        UnparsedPublicKey::new(&ED25519, &an_enclave().public_key().to_flagged_bytes()[1..])
            .verify(&bytes, &answer.signature.as_ref().unwrap().0)
            .unwrap();
        assert!(answer.join_token.is_none() && answer.session.is_none());
        join_token::open(&mut self.tpm, &hash, &answer.sealed_token.unwrap()).unwrap()
    }

    /// A heartbeat that is quoted over the nonce of the registration, as the first one is.
    fn early_beat(&mut self, session: &str, sequence: u64) -> HeartbeatRequest {
        self.beat(session, sequence, &self.nonce.clone())
    }

    fn beat(&mut self, session: &str, sequence: u64, nonce: &[u8]) -> HeartbeatRequest {
        let data = heartbeat_data(session, sequence, nonce).unwrap();
        let quote = quote(&mut self.tpm, &data).unwrap();
        signed_beat(HeartbeatRequest {
            quote: Some(HeartbeatQuote {
                message: Base64(quote.message),
                signature: Base64(quote.signature),
            }),
            ..a_beat(session, sequence)
        })
    }
}

fn nonce(answer: &Answer) -> Vec<u8> {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let nonce: Base64 = serde_json::from_value(answer.body["nonce"].clone()).unwrap();
    nonce.0
}

#[tokio::test]
async fn the_master_proves_its_key_over_the_nodes_nonce() {
    let world = world(true);
    let request = a_challenge("edge-0001");
    let answer = world.ask_challenge(&request).await;
    let proof = answer.proof.unwrap();
    assert_eq!(proof.tls_key_sha256.0, TLS_KEY);
    assert_eq!(proof.timestamp, NOW);
    assert_eq!(proof.enclave, ObjectId::from_bytes([0xd; 32]).to_string());
    let bytes = proof.signed_bytes(&request, &answer.nonce).unwrap();
    let key = UnparsedPublicKey::new(&ED25519, &proof.public_key.0[1..]);
    key.verify(&bytes, &proof.signature.0).unwrap();
    // a master without a key proves nothing
    let plain = World::new().ask_challenge(&request).await;
    assert!(plain.proof.is_none());
}

#[tokio::test]
async fn the_token_comes_sealed_for_the_machine_of_the_evidence() {
    let world = world(true);
    let mut machine = Machine::new();
    let request = machine.registration(&world).await;
    let answer = world.register(&request).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert!(!answer.body.to_string().contains("hunter2"));
    let grant = machine.open(&request, answer.body);
    assert_eq!(grant.join_token.expose(), JOIN_TOKEN);
    assert_eq!(grant.server.as_str(), "https://10.0.2.2:6443");
    // sent again, it leads to nothing
    world.register(&request).await.refused(401, "nonce");
}

/// Changes a registration before it is signed.
type Spoil = dyn Fn(&mut Machine, &mut RegisterRequest);

#[tokio::test]
async fn evidence_is_asked_for_and_is_this_registrations() {
    let world = world(true);
    let mut machine = Machine::new();
    let without = world.a_registration().await;
    world
        .register(&without)
        .await
        .refused(401, "evidence-missing");

    let cases: [(&str, &Spoil); 4] = [
        ("evidence-malformed", &|_, request| {
            request.evidence = Some(Base64(vec![1; 100]));
        }),
        ("evidence-malformed", &|_, request| {
            request.evidence = Some(Base64(Vec::new()));
        }),
        ("quote-nonce", &|machine, request| {
            request.evidence = Some(machine.evidence(&Base64(vec![1; 32]), TLS_KEY));
        }),
        ("channel-mismatch", &|machine, request| {
            request.evidence = Some(machine.evidence(&request.nonce, [0x72; 32]));
        }),
    ];
    for (code, change) in cases {
        let mut request = world.a_registration().await;
        change(&mut machine, &mut request);
        world.register(&signed(request)).await.refused(401, code);
    }
    // evidence is under the node's signature
    let mut request = machine.registration(&world).await;
    let other = machine.registration(&world).await;
    request.evidence = other.evidence;
    world.register(&request).await.refused(401, "signature");
    // nothing of this was worth a question to the chain
    assert_eq!(world.ledger.0.lock().unwrap().reads, 0);
}

#[tokio::test]
async fn the_release_is_read_from_the_chain_each_time() {
    let world = world(true);
    let mut machine = Machine::new();
    let minimum = "2.0.0".to_owned();
    for (releases, code) in [
        (Vec::new(), "release-unknown"),
        (
            vec![a_release(Standing::Revoked { gone_by_ms: 0 })],
            "release-revoked",
        ),
        (
            vec![a_release(Standing::BelowMinimum {
                minimum,
                gone_by_ms: 0,
            })],
            "release-below-minimum",
        ),
    ] {
        world.change(|state| state.releases = releases);
        let request = machine.registration(&world).await;
        world.register(&request).await.refused(401, code);
    }
    // a registry that can't be read is not the node's fault
    let gone: fn() -> ChainError = || ChainError::NotFound {
        what: "release registry",
        id: REGISTRY,
    };
    world.change(|state| state.registry_failure = Some(gone));
    let request = machine.registration(&world).await;
    world.register(&request).await.refused(503, "unavailable");
    world.change(|state| {
        state.registry_failure = None;
        state.releases = vec![a_release(Standing::Approved)];
    });
    assert_eq!(world.register(&request).await.status, StatusCode::OK);
}

#[tokio::test]
async fn where_it_is_not_required_evidence_that_is_there_is_verified_all_the_same() {
    let world = world(false);
    let without = world.a_registration().await;
    let answer = world.register(&without).await;
    assert_eq!(answer.body["join_token"], JOIN_TOKEN, "{answer:?}");
    let mut machine = Machine::boot(Swtpm::new());
    let request = machine.registration(&world).await;
    world
        .register(&request)
        .await
        .refused(401, "endorsement-missing");
}

#[tokio::test]
async fn each_heartbeat_is_quoted_over_the_nonce_of_the_answer_before() {
    let world = world(true);
    let mut machine = Machine::new();
    let session = machine.session(&world).await;
    let first = nonce(&world.beat(&machine.early_beat(&session, 1)).await);
    let beat = machine.beat(&session, 2, &first);
    let second = nonce(&world.beat(&beat).await);
    assert_ne!(first, second);
    // the answer was lost: the node has the nonce before
    let third = nonce(&world.beat(&machine.beat(&session, 3, &first)).await);
    // a replay moves nothing
    world.beat(&beat).await.refused(401, "sequence");
    nonce(&world.beat(&machine.beat(&session, 4, &third)).await);
    // the registration's nonce served for the first one, and for no later one
    let late = machine.early_beat(&session, 5);
    world.beat(&late).await.refused(401, "quote-nonce");
}

#[tokio::test]
async fn a_heartbeat_of_something_else_ends_the_session() {
    /// Changes a machine, and gives the heartbeat that it then makes.
    type Change = fn(Machine, &str) -> HeartbeatRequest;
    let cases: [(&str, Change); 7] = [
        ("evidence-missing", |_, session| a_beat(session, 2)),
        // an old quote under a new number
        ("quote-nonce", |mut machine, session| {
            let old = machine.early_beat(session, 1);
            signed_beat(HeartbeatRequest { sequence: 2, ..old })
        }),
        // over no nonce at all
        ("quote-nonce", |mut machine, session| {
            machine.beat(session, 2, &[])
        }),
        // another node's
        ("quote-signature", |_, session| {
            Machine::new().beat(session, 2, &[1; 32])
        }),
        ("another-boot", |mut machine, session| {
            machine.swtpm.power_cycle();
            Machine::boot(machine.swtpm).beat(session, 2, &machine.nonce)
        }),
        ("registers-changed", |mut machine, session| {
            machine.tpm.extend_pcr(11, &[1; 32]).unwrap();
            machine.early_beat(session, 2)
        }),
        ("evidence-malformed", |mut machine, session| {
            let mut beat = machine.early_beat(session, 2);
            beat.quote.as_mut().unwrap().message.0.truncate(9);
            signed_beat(beat)
        }),
    ];
    for (code, change) in cases {
        let world = world(true);
        let mut machine = Machine::new();
        let session = machine.session(&world).await;
        let answer = world.beat(&machine.early_beat(&session, 1)).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let beat = change(machine, &session);
        world.beat(&beat).await.refused(401, code);
        let beat = a_beat(&session, 9);
        world.beat(&beat).await.refused(401, "session");
    }
}

#[test]
fn evidence_of_any_length_fits_into_a_registration() {
    let encoded = attest::evidence::MAXIMUM_EVIDENCE.div_ceil(3) * 4;
    assert!(encoded + MAXIMUM_BODY <= MAXIMUM_REGISTRATION);
}

/// A session ends where a registration would be refused, at the next heartbeat.
#[tokio::test]
async fn a_release_that_counts_no_more_ends_the_session() {
    let minimum = "2.0.0".to_owned();
    for (releases, code) in [
        (
            vec![a_release(Standing::Revoked { gone_by_ms: 0 })],
            "release-revoked",
        ),
        (
            vec![a_release(Standing::BelowMinimum {
                minimum,
                gone_by_ms: 0,
            })],
            "release-below-minimum",
        ),
        (Vec::new(), "release-unknown"),
    ] {
        let world = world(true);
        let mut machine = Machine::new();
        let session = machine.session(&world).await;
        let first = nonce(&world.beat(&machine.early_beat(&session, 1)).await);
        world.master.look_at_releases().await.unwrap();
        let second = nonce(&world.beat(&machine.beat(&session, 2, &first)).await);

        world.change(|state| state.releases = releases);
        world.master.look_at_releases().await.unwrap();
        let beat = machine.beat(&session, 3, &second);
        world.beat(&beat).await.refused(401, code);
        world.beat(&beat).await.refused(401, "session");
        let request = machine.registration(&world).await;
        world.register(&request).await.refused(401, code);
    }
}

/// What one registration reads is news for all sessions.
#[tokio::test]
async fn a_registration_that_is_refused_for_its_release_ends_the_session_before() {
    let world = world(true);
    let mut machine = Machine::new();
    let session = machine.session(&world).await;
    world.change(|state| state.releases = vec![a_release(Standing::Revoked { gone_by_ms: 0 })]);
    let request = machine.registration(&world).await;
    world
        .register(&request)
        .await
        .refused(401, "release-revoked");
    assert!(!world.master.sessions.any());
    world
        .beat(&machine.early_beat(&session, 1))
        .await
        .refused(401, "session");
}

#[tokio::test]
async fn a_registry_that_cannot_be_read_ends_no_session() {
    let world = world(true);
    let mut machine = Machine::new();
    let session = machine.session(&world).await;
    world.change(|state| {
        state.releases = vec![a_release(Standing::Revoked { gone_by_ms: 0 })];
        state.registry_failure = Some(|| ChainError::Disagreement {
            record: REGISTRY,
            claim: "this list of releases",
            agreeing: 1,
            needed: 2,
            contrary: "another fullnode shows it otherwise".to_owned(),
        });
    });
    assert!(world.master.look_at_releases().await.is_err());
    nonce(&world.beat(&machine.early_beat(&session, 1)).await);
}

/// What was read once is enough: the chain is out of reach when the deadline comes.
#[tokio::test]
async fn release_deadline_ends_sessions_in_an_outage() {
    static NOW_THEN: AtomicU64 = AtomicU64::new(NOW);
    let clock = || NOW_THEN.load(Ordering::Relaxed);
    let gone_by_ms = (NOW + 60) * 1000;
    for standing in [
        Standing::Revoked { gone_by_ms },
        Standing::BelowMinimum {
            minimum: "2.0.0".to_owned(),
            gone_by_ms,
        },
    ] {
        NOW_THEN.store(NOW, Ordering::Relaxed);
        let world = with_clock(true, clock);
        world.change(|state| state.releases = vec![a_release(standing)]);
        let mut machine = Machine::new();
        let session = machine.session(&world).await;
        let gone: fn() -> ChainError = unreachable;
        world.change(|state| state.registry_failure = Some(gone));
        NOW_THEN.store(NOW + 59, Ordering::Relaxed);
        assert!(world.master.look_at_releases().await.is_err());
        let kept = world.master.sessions.get(&session).unwrap();
        assert!(kept.refused.is_none());
        NOW_THEN.store(NOW + 60, Ordering::Relaxed);
        assert!(world.master.look_at_releases().await.is_err());
        let kept = world.master.sessions.get(&session).unwrap();
        assert!(kept.refused.is_some());
    }
}

/// Also without a cluster to tend.
#[tokio::test(start_paused = true)]
async fn the_registry_is_looked_at_in_the_background() {
    let world = world(true);
    let mut machine = Machine::new();
    let session = machine.session(&world).await;
    let watch = tokio::spawn(Arc::clone(&world.master).watch_releases());
    let gone: fn() -> ChainError = unreachable;
    for failure in [Some(gone), None] {
        world.change(|state| {
            state.releases = vec![a_release(Standing::Revoked { gone_by_ms: 0 })];
            state.registry_failure = failure;
        });
        tokio::time::sleep(Duration::from_secs(60)).await;
        let session = world.master.sessions.get(&session).unwrap();
        assert_eq!(session.refused.is_some(), failure.is_none());
    }
    watch.abort();
    world
        .beat(&machine.early_beat(&session, 1))
        .await
        .refused(401, "release-revoked");
}
