//! Registration: the master proves itself first, then the node.

use attest::channel::{Claim, request_hash};
use chain::PublicKey;
use master_api::{
    Base64, ChallengeProof, ChallengeRequest, Grant, NONCE_LENGTH, RefusalCode, RegisterRequest,
    RegisterResponse,
};
use tracing::{info, warn};
use wire::{JoinToken, NodeName, ServerUrl};
use zeroize::Zeroizing;

use crate::node::{Staker, signing};

use crate::seams::{Chain, Challenged, Init, Master, MasterError, Meter};
use crate::tee::TeeOutcome;

/// How far the master's clock can be from the node's, in seconds: as far as the master tolerates.
const CLOCK_TOLERANCE: u64 = 300;

/// An accepted registration.
pub(crate) struct Registered {
    /// The Node's name in the cluster.
    pub(crate) node: NodeName,
    pub(crate) message: String,
    pub(crate) grant: Grant,
    pub(crate) session: Session,
}

/// What heartbeats go on with.
pub(crate) struct Session {
    pub(crate) name: String,
    /// SHA-256 of the master's public key in TLS: no other gets a heartbeat.
    pub(crate) channel: [u8; 32],
    /// Whether it began with evidence, so that each heartbeat has a quote.
    pub(crate) quoted: bool,
    /// The master's nonce of the registration, which the first heartbeat's quote is over.
    pub(crate) nonce: Vec<u8>,
}

impl<C: Chain, M: Master, I: Init, U: Meter> Staker<C, M, I, U> {
    /// Registers once. Before the master's key is known to be one of the chain's, it gets to see the
    /// node's name alone.
    pub(crate) async fn try_to_register(&self) -> Result<Registered, MasterError> {
        let challenge = ChallengeRequest {
            node_id: self.node_id.clone(),
            nonce: Base64(fresh_nonce()?),
        };
        let challenged = self.master.challenge(&challenge).await?;
        let key = self.check_master(&challenge, &challenged).await?;
        let channel = challenged.tls_key_sha256;

        let claim = Claim {
            nonce: challenged.answer.nonce.0.clone(),
            node_id: self.node_id.clone(),
            node_key: self.key.public().to_flagged_bytes().to_vec(),
            address: self.key.address().to_string(),
            channel,
        };
        let shown = self.prover.evidence(claim).await?;
        self.board
            .show_evidence(shown.as_ref().map(|shown| &shown.report));
        let (evidence, report) = shown.map(|shown| (shown.evidence, shown.report)).unzip();
        let mut request = RegisterRequest {
            node_id: self.node_id.clone(),
            seal_token: self.seal_token()?,
            timestamp: (self.clock)(),
            nonce: challenged.answer.nonce,
            public_key: Base64(self.key.public().to_flagged_bytes().to_vec()),
            evidence: evidence.map(Base64),
            signature: Base64(Vec::new()),
        };
        request.signature = self.sign(&request.signed_bytes().map_err(signing)?).await?;
        let answer = self
            .master
            .register(&channel, &request)
            .await
            .map_err(|failure| with_cause(failure, report))?;
        let hash = request_hash(&request).map_err(signing)?;
        if let Some(key) = key {
            check_answer(key, &answer, &hash)?;
        }
        if answer.status != "registered" {
            return Err(unusable("its status is not \"registered\""));
        }
        if answer.node_id != self.node_id {
            return Err(unusable("it names another node"));
        }
        let quoted = answer.sealed_token.is_some();
        let message = answer.message.clone();
        let grant = self.take_grant(answer, hash).await?;
        check_grant(&grant)?;
        Ok(Registered {
            node: self.cluster_name()?,
            message,
            session: Session {
                name: grant.session.clone(),
                channel,
                quoted,
                nonce: request.nonce.0,
            },
            grant,
        })
    }

    /// Whether the master's key is one that the chain knows, where the configuration names the
    /// directory. Gives the key that its answer must be signed by.
    async fn check_master(
        &self,
        request: &ChallengeRequest,
        challenged: &Challenged,
    ) -> Result<Option<PublicKey>, MasterError> {
        let answer = &challenged.answer;
        if answer.nonce.0.len() != NONCE_LENGTH {
            return Err(unusable("its nonce has not 32 bytes"));
        }
        let masters = self.chain.masters().await.map_err(MasterError::Directory)?;
        let Some(masters) = masters else {
            self.board.show_master_proof(false);
            return Ok(None);
        };
        let proof = answer
            .proof
            .as_ref()
            .ok_or_else(|| untrusted("it does not prove its key, which the chain is to know"))?;
        let key = check_proof(request, &answer.nonce, proof)?;
        let apart = (self.clock)().abs_diff(proof.timestamp);
        if apart > CLOCK_TOLERANCE {
            return Err(untrusted(format!(
                "its clock is {apart} s from this node's; {CLOCK_TOLERANCE} s are tolerated"
            )));
        }
        let known = masters
            .iter()
            .find(|master| master.public_key == key && master.enclave == proof.enclave)
            .ok_or_else(|| {
                untrusted("its key is none that the directory on chain lists as current")
            })?;
        if proof.tls_key_sha256.0 != challenged.tls_key_sha256
            || known.tls_key_sha256 != challenged.tls_key_sha256
        {
            warn!(
                enclave = proof.enclave,
                "somebody stands between this node and the master"
            );
            return Err(untrusted(
                "the TLS key of this connection is another than its own: somebody stands between",
            ));
        }
        info!(
            enclave = proof.enclave,
            "the master's key is one that the chain knows"
        );
        self.board.show_master_proof(true);
        Ok(Some(key))
    }

    /// The Node's name in the cluster, which names the stake's record: the master makes the token for
    /// the same.
    fn cluster_name(&self) -> Result<NodeName, MasterError> {
        let stake = self.stake.borrow();
        let stake = stake.as_ref().ok_or(MasterError::NoSealToken)?;
        stake
            .node_name()
            .map_err(|error| unusable(&format!("the stake's node id is no name: {error}")))
    }

    /// What was granted: opened by the TPM, or as it came.
    async fn take_grant(
        &self,
        answer: RegisterResponse,
        hash: [u8; 32],
    ) -> Result<Grant, MasterError> {
        match (
            answer.sealed_token,
            answer.join_token,
            answer.server,
            answer.session,
        ) {
            (Some(sealed), None, None, None) => Ok(self.prover.open(hash, sealed).await?),
            (None, Some(join_token), Some(server), Some(session)) => Ok(Grant {
                join_token: JoinToken::new(join_token)
                    .map_err(|error| unusable(&format!("its join token: {error}")))?,
                server: ServerUrl::try_from(server)
                    .map_err(|error| unusable(&format!("its server: {error}")))?,
                session,
            }),
            _ => Err(unusable(
                "it holds neither a sealed join token nor join token, server and session",
            )),
        }
    }
}

/// A refusal for want of a report, with why there is none.
fn with_cause(failure: MasterError, report: Option<TeeOutcome>) -> MasterError {
    match (failure, report) {
        (
            MasterError::Refused {
                code: code @ RefusalCode::TeeReportMissing,
                message,
            },
            Some(TeeOutcome::Failed(why)),
        ) => MasterError::Refused {
            code,
            message: format!("{message}; this machine gave none: {why}"),
        },
        (failure, _) => failure,
    }
}

fn fresh_nonce() -> Result<Vec<u8>, MasterError> {
    let mut nonce = vec![0; NONCE_LENGTH];
    getrandom::fill(&mut nonce).map_err(signing)?;
    Ok(nonce)
}

/// The proof is signed by the key that it names, over this challenge.
fn check_proof(
    request: &ChallengeRequest,
    nonce: &Base64,
    proof: &ChallengeProof,
) -> Result<PublicKey, MasterError> {
    let key = PublicKey::from_flagged_bytes(&proof.public_key.0)
        .map_err(|error| untrusted(format!("its key: {error}")))?;
    let bytes = proof.signed_bytes(request, nonce).map_err(signing)?;
    key.verify_bytes(&bytes, &proof.signature.0)
        .map_err(|_| untrusted("its signature is not by its key, over this node's challenge"))?;
    Ok(key)
}

fn check_answer(
    key: PublicKey,
    answer: &RegisterResponse,
    hash: &[u8; 32],
) -> Result<(), MasterError> {
    let signature = answer
        .signature
        .as_ref()
        .ok_or_else(|| untrusted("its answer is not signed"))?;
    let bytes = Zeroizing::new(answer.signed_bytes(hash).map_err(signing)?);
    key.verify_bytes(&bytes, &signature.0)
        .map_err(|_| untrusted("its answer is not signed by its key, for this request"))
}

/// A grant that can't be used is told before the agent gets to see it.
fn check_grant(grant: &Grant) -> Result<(), MasterError> {
    if grant.session.is_empty() {
        return Err(unusable("the session is empty"));
    }
    Ok(())
}

fn unusable(detail: &str) -> MasterError {
    MasterError::InvalidAnswer {
        detail: detail.to_owned(),
    }
}

fn untrusted(detail: impl Into<String>) -> MasterError {
    MasterError::Untrusted {
        detail: detail.into(),
    }
}
