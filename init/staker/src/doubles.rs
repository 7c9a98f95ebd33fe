//! Stand-ins for chain, master, `init` and meter, for this crate's tests alone.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use attest::channel::request_hash;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chain::{
    Address, ChainError, MessageSignature, Mist, NodeKey, ObjectId, PublicKey, SealToken, Stake,
    Verdict, WatchEvent,
};
use futures::StreamExt as _;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use futures::stream::BoxStream;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use wire::Secret;
use wire::child::ToInit;
use wire::master::{
    Base64, ChallengeProof, ChallengeRequest, ChallengeResponse, HeartbeatRequest,
    HeartbeatResponse, RegisterRequest, RegisterResponse, ResourceUsage,
};
use wire::status::AgentRequest;

use crate::seams::{
    Chain, Challenged, Init, InitError, KnownMaster, Master, MasterError, Measurement, Meter,
    Prepared,
};

/// The join token that the master hands out: it must show up nowhere but in `StartAgent`.
pub(crate) const JOIN_TOKEN: &str =
    "K10cacacacacacacacacacacacacacacacacacacacacacacacacacacacacacacaca::node:hunter2";

/// Records what `init` is told, and says what init would of the agent.
#[derive(Debug, Default, Clone)]
pub(crate) struct Recorder {
    messages: Rc<RefCell<Vec<ToInit>>>,
    agent: Rc<Cell<Option<AgentRequest>>>,
    /// How many requests about the agent get lost from now on.
    pub(crate) lost: Rc<Cell<u32>>,
}

impl Recorder {
    pub(crate) fn messages(&self) -> Vec<ToInit> {
        self.messages.borrow().clone()
    }

    /// What init says of the agent.
    pub(crate) fn agent(&self) -> AgentRequest {
        self.agent.get().unwrap_or(AgentRequest::Unasked)
    }

    /// A former run of the staker had it started.
    pub(crate) fn agent_runs(&self) {
        self.agent.set(Some(AgentRequest::Wanted));
    }
}

impl Init for Recorder {
    fn present(&self) -> bool {
        true
    }

    async fn send(&self, message: &ToInit) -> Result<(), InitError> {
        self.messages.borrow_mut().push(message.clone());
        let became = match message {
            ToInit::StartAgent { .. } => AgentRequest::Wanted,
            ToInit::StopAgent { .. } => AgentRequest::Stopped,
            _ => return Ok(()),
        };
        match self.lost.get().checked_sub(1) {
            Some(left) => self.lost.set(left),
            None => self.agent.set(Some(became)),
        }
        Ok(())
    }
}

/// What the chain holds, and how it fails.
pub(crate) struct Ledger {
    pub(crate) stake: Option<Stake>,
    /// Every read and write fails with this.
    pub(crate) outage: Option<fn() -> ChainError>,
    /// Reads of the record never end.
    pub(crate) hangs: bool,
    /// The next submissions fail with these; the transaction is not executed.
    pub(crate) submissions: VecDeque<ChainError>,
    /// The next confirmations fail with these.
    pub(crate) confirmations: VecDeque<ChainError>,
    /// Whether what was prepared can't be executed any more.
    pub(crate) expired: bool,
    /// How many seal tokens were taken.
    pub(crate) renewals: u8,
    pub(crate) prepared: Vec<Vec<u8>>,
    pub(crate) submitted: Vec<Vec<u8>>,
    /// What the pool's directory lists, where the configuration names one.
    pub(crate) masters: Option<Vec<KnownMaster>>,
    watchers: Vec<UnboundedSender<WatchEvent>>,
}

/// A chain of one stake.
#[derive(Clone)]
pub(crate) struct FakeChain {
    pub(crate) ledger: Rc<RefCell<Ledger>>,
    key: Rc<NodeKey>,
}

impl FakeChain {
    pub(crate) fn new(key: Rc<NodeKey>) -> Self {
        let ledger = Ledger {
            stake: None,
            outage: None,
            hangs: false,
            submissions: VecDeque::new(),
            confirmations: VecDeque::new(),
            expired: false,
            renewals: 0,
            prepared: Vec::new(),
            submitted: Vec::new(),
            masters: None,
            watchers: Vec::new(),
        };
        Self {
            ledger: Rc::new(RefCell::new(ledger)),
            key,
        }
    }

    pub(crate) fn a_stake(&self) -> Stake {
        Stake {
            record: ObjectId::from_bytes([7; 32]),
            version: 1,
            seal_token: Some(SealToken {
                id: ObjectId::from_bytes([8; 32]),
                issued_at_ms: 0,
                expires_at_ms: u64::MAX,
            }),
            staker: Address::from_bytes([9; 32]),
            node_id: "edge-0001".to_owned(),
            node_key: self.key.public(),
            amount: Mist(1_000_000_000),
            minimum: Mist(1_000_000_000),
            slashed: Mist(0),
            staked_at_ms: 0,
            unbonding_until_ms: None,
            verdict: Verdict::Active,
        }
    }

    /// The stake is there from the beginning.
    pub(crate) fn put(&self, verdict: Verdict) {
        let stake = self.a_stake();
        self.ledger.borrow_mut().stake = Some(Stake { verdict, ..stake });
    }

    pub(crate) fn set(&self, verdict: Verdict) {
        if let Some(stake) = &mut self.ledger.borrow_mut().stake {
            stake.verdict = verdict;
        }
    }

    pub(crate) fn emit(&self, event: impl Fn(Stake) -> WatchEvent) {
        let ledger = self.ledger.borrow();
        let stake = ledger.stake.clone().expect("a stake");
        for watcher in &ledger.watchers {
            let _ = watcher.unbounded_send(event(stake.clone()));
        }
    }

    /// Every stream of events ends.
    pub(crate) fn hang_up(&self) {
        self.ledger.borrow_mut().watchers.clear();
    }

    pub(crate) fn watchers(&self) -> usize {
        self.ledger.borrow().watchers.len()
    }

    fn up(&self) -> Result<(), ChainError> {
        self.ledger
            .borrow()
            .outage
            .map_or(Ok(()), |error| Err(error()))
    }
}

pub(crate) fn no_answer() -> ChainError {
    ChainError::Unreachable {
        fullnode: "https://fullnode.example".to_owned(),
        call: "GetObject",
        detail: "connection refused".to_owned(),
    }
}

impl Chain for FakeChain {
    type Transaction = Vec<u8>;

    async fn find_stake(&self) -> Result<Option<Stake>, ChainError> {
        self.up()?;
        Ok(self.ledger.borrow().stake.clone())
    }

    async fn prepare_stake(&self) -> Result<Prepared<Vec<u8>>, ChainError> {
        self.up()?;
        let mut ledger = self.ledger.borrow_mut();
        let transaction = format!("transaction {}", ledger.prepared.len()).into_bytes();
        ledger.prepared.push(transaction.clone());
        Ok(Prepared::Transaction(transaction))
    }

    async fn prepare_restake(&self, stake: &Stake) -> Result<Vec<u8>, ChainError> {
        self.up()?;
        assert_eq!(stake.verdict, Verdict::Withdrawn);
        let mut ledger = self.ledger.borrow_mut();
        let transaction = format!("restake {}", ledger.prepared.len()).into_bytes();
        ledger.prepared.push(transaction.clone());
        Ok(transaction)
    }

    async fn expired(&self, _: &Vec<u8>) -> Result<bool, ChainError> {
        self.up()?;
        Ok(self.ledger.borrow().expired)
    }

    async fn renew_token(&self, stake: &Stake) -> Result<Stake, ChainError> {
        self.up()?;
        let mut ledger = self.ledger.borrow_mut();
        ledger.renewals += 1;
        let token = SealToken {
            id: ObjectId::from_bytes([100 + ledger.renewals; 32]),
            issued_at_ms: 0,
            expires_at_ms: u64::MAX,
        };
        let renewed = Stake {
            seal_token: Some(token),
            version: stake.version + 1,
            ..stake.clone()
        };
        ledger.stake = Some(renewed.clone());
        Ok(renewed)
    }

    async fn submit_stake(&self, transaction: &Vec<u8>) -> Result<Stake, ChainError> {
        self.up()?;
        let stake = self.a_stake();
        let mut ledger = self.ledger.borrow_mut();
        ledger.submitted.push(transaction.clone());
        if let Some(failure) = ledger.submissions.pop_front() {
            return Err(failure);
        }
        ledger.stake = Some(stake.clone());
        Ok(stake)
    }

    fn encode(&self, transaction: &Vec<u8>) -> Vec<u8> {
        transaction.clone()
    }

    fn decode(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        Some(bytes.to_vec())
    }

    async fn reread(&self, stake: &Stake) -> Result<Stake, ChainError> {
        self.up()?;
        if self.ledger.borrow().hangs {
            return std::future::pending().await;
        }
        let now = self.ledger.borrow().stake.clone().expect("a stake");
        assert_eq!(now.record, stake.record);
        Ok(now)
    }

    async fn confirm(&self, stake: &Stake) -> Result<Stake, ChainError> {
        let failure = self.ledger.borrow_mut().confirmations.pop_front();
        match failure {
            Some(failure) => Err(failure),
            None => self.reread(stake).await,
        }
    }

    async fn masters(&self) -> Result<Option<Vec<KnownMaster>>, ChainError> {
        self.up()?;
        Ok(self.ledger.borrow().masters.clone())
    }

    async fn watch(&self, _: &Stake) -> Result<BoxStream<'static, WatchEvent>, ChainError> {
        self.up()?;
        let (sender, receiver) = unbounded();
        self.ledger.borrow_mut().watchers.push(sender);
        Ok(receiver.boxed())
    }
}

/// What the master was asked, and what it answers next; when nothing is queued, it accepts.
#[derive(Default)]
pub(crate) struct Desk {
    pub(crate) challenges: u32,
    /// Every seal token that was in the header of a heartbeat.
    pub(crate) tokens: BTreeSet<String>,
    pub(crate) registered: Vec<RegisterRequest>,
    pub(crate) heartbeats: Vec<HeartbeatRequest>,
    pub(crate) refuse_registrations: VecDeque<MasterError>,
    pub(crate) refuse_heartbeats: VecDeque<MasterError>,
    /// Every call fails while this is set.
    pub(crate) outage: Option<fn() -> MasterError>,
    /// Changes the answer to a challenge.
    pub(crate) spoil_challenge: Option<fn(&mut Challenged)>,
    /// Changes the answer to a registration, before the master signs it.
    pub(crate) spoil: Option<fn(&mut RegisterResponse)>,
    /// Changes it on its way.
    pub(crate) tamper: Option<fn(&mut RegisterResponse)>,
}

/// The object id of the master's enclave.
pub(crate) const ENCLAVE: &str = "0xe";
/// What stands for the hash of its public key in TLS.
pub(crate) const TLS_KEY: [u8; 32] = [0x71; 32];

/// The master's key.
pub(crate) fn enclave_key() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[5; 32]).expect("a key")
}

/// The master, as the directory lists it.
pub(crate) fn known_master() -> KnownMaster {
    KnownMaster {
        enclave: ENCLAVE.to_owned(),
        public_key: enclave_key()
            .public_key()
            .as_ref()
            .try_into()
            .expect("32 bytes"),
        tls_key_sha256: TLS_KEY,
    }
}

/// A master that checks every signature.
#[derive(Clone)]
pub(crate) struct FakeMaster {
    pub(crate) desk: Rc<RefCell<Desk>>,
    key: PublicKey,
}

impl FakeMaster {
    pub(crate) fn new(key: PublicKey) -> Self {
        Self {
            desk: Rc::default(),
            key,
        }
    }

    fn up(&self) -> Result<(), MasterError> {
        self.desk
            .borrow()
            .outage
            .map_or(Ok(()), |error| Err(error()))
    }

    fn check(&self, bytes: &[u8], signature: &Base64) {
        let signature: MessageSignature = STANDARD.encode(&signature.0).parse().expect("one");
        self.key
            .verify_message(bytes, &signature)
            .expect("a signature by the node's key");
    }
}

pub(crate) fn no_master() -> MasterError {
    MasterError::Unreachable {
        detail: "connection refused".to_owned(),
    }
}

impl Master for FakeMaster {
    async fn challenge(&self, request: &ChallengeRequest) -> Result<Challenged, MasterError> {
        assert_eq!(request.node_id, "edge-0001");
        self.desk.borrow_mut().challenges += 1;
        self.up()?;
        let nonce = Base64(vec![
            u8::try_from(self.desk.borrow().challenges).unwrap_or(0);
            32
        ]);
        let mut proof = ChallengeProof {
            enclave: ENCLAVE.to_owned(),
            public_key: Base64(enclave_key().public_key().as_ref().to_vec()),
            tls_key_sha256: Base64(TLS_KEY.to_vec()),
            timestamp: 1_700_000_000,
            signature: Base64(Vec::new()),
        };
        let bytes = proof.signed_bytes(request, &nonce).expect("small");
        proof.signature = Base64(enclave_key().sign(&bytes).as_ref().to_vec());
        let answer = ChallengeResponse {
            nonce,
            proof: Some(proof),
        };
        let mut challenged = Challenged {
            answer,
            tls_key_sha256: TLS_KEY,
        };
        if let Some(spoil) = self.desk.borrow().spoil_challenge {
            spoil(&mut challenged);
        }
        Ok(challenged)
    }

    async fn register(
        &self,
        channel: &[u8; 32],
        request: &RegisterRequest,
    ) -> Result<RegisterResponse, MasterError> {
        assert_eq!(*channel, TLS_KEY);
        self.up()?;
        self.check(&request.signed_bytes().expect("small"), &request.signature);
        let mut desk = self.desk.borrow_mut();
        desk.registered.push(request.clone());
        if let Some(failure) = desk.refuse_registrations.pop_front() {
            return Err(failure);
        }
        let mut answer = RegisterResponse {
            status: "registered".to_owned(),
            node_id: request.node_id.clone(),
            message: "welcome".to_owned(),
            join_token: Some(Secret::new(JOIN_TOKEN.to_owned())),
            server: Some("https://k3s.example:6443".to_owned()),
            session: Some(format!("session-{}", desk.registered.len())),
            sealed_token: None,
            signature: None,
        };
        if let Some(spoil) = desk.spoil {
            spoil(&mut answer);
        }
        let hash = request_hash(request).expect("small");
        let bytes = answer.signed_bytes(&hash).expect("small");
        answer.signature = Some(Base64(enclave_key().sign(&bytes).as_ref().to_vec()));
        if let Some(tamper) = desk.tamper {
            tamper(&mut answer);
        }
        Ok(answer)
    }

    async fn heartbeat(
        &self,
        channel: &[u8; 32],
        seal_token: &str,
        request: &HeartbeatRequest,
    ) -> Result<HeartbeatResponse, MasterError> {
        assert_eq!(*channel, TLS_KEY);
        self.desk.borrow_mut().tokens.insert(seal_token.to_owned());
        // as the master reads it
        let json = serde_json::to_string(request).expect("json");
        let read: HeartbeatRequest = serde_json::from_str(&json).expect("the same");
        self.check(&read.signed_bytes().expect("small"), &read.signature);
        self.desk.borrow_mut().heartbeats.push(request.clone());
        self.up()?;
        if let Some(failure) = self.desk.borrow_mut().refuse_heartbeats.pop_front() {
            return Err(failure);
        }
        Ok(HeartbeatResponse {
            status: "acknowledged".to_owned(),
            node_id: request.node_id.clone(),
            timestamp: request.timestamp,
            message: "heard".to_owned(),
            nonce: None,
        })
    }
}

/// Measures something else each time, out of bounds on purpose.
#[derive(Default)]
pub(crate) struct FakeMeter(u32);

impl Meter for FakeMeter {
    fn measure(&mut self) -> Measurement {
        self.0 += 1;
        Measurement {
            usage: ResourceUsage {
                cpu_percent: f64::NAN,
                memory_percent: 140.0,
                disk_percent: 100.0 / f64::from(self.0),
            },
            running_pods: 3,
        }
    }
}
