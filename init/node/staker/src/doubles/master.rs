//! A master that checks every signature.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use attest::channel::request_hash;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chain::{MessageSignature, PublicKey};
use master_api::{
    Base64, ChallengeProof, ChallengeRequest, ChallengeResponse, HeartbeatRequest,
    HeartbeatResponse, RegisterRequest, RegisterResponse,
};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use wire::Secret;

use super::JOIN_TOKEN;
use crate::seams::{Challenged, KnownMaster, Master, MasterError};

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

fn public_key() -> PublicKey {
    let bytes = enclave_key().public_key().as_ref().try_into();
    PublicKey::from_ed25519_bytes(bytes.expect("32 bytes"))
}

/// The master, as the directory lists it.
pub(crate) fn known_master() -> KnownMaster {
    KnownMaster {
        enclave: ENCLAVE.to_owned(),
        public_key: public_key(),
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
        assert_eq!(request.node_id.as_str(), "edge-0001");
        self.desk.borrow_mut().challenges += 1;
        self.up()?;
        let nonce = Base64(vec![
            u8::try_from(self.desk.borrow().challenges).unwrap_or(0);
            32
        ]);
        let mut proof = ChallengeProof {
            enclave: ENCLAVE.to_owned(),
            public_key: Base64(public_key().to_flagged_bytes()),
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
