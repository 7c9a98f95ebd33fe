//! Registration: from a nonce, a signature and a stake to a join token.

use attest::channel::request_hash;
use attest::join_token;
use attest_verify::Verified;
use axum::http::HeaderMap;
use chain::{ObjectId, PublicKey, Stake};
use master_api::{Grant, RefusalCode, RegisterRequest, RegisterResponse};
use ring::rand::{SecureRandom as _, SystemRandom};
use tracing::error;

use crate::chain_link::StakeReader;
use crate::challenge::NonceFault;
use crate::refusal::Refused;
use crate::service::{Master, check_header, check_signature, check_verdict};
use crate::sessions::Attested;

/// The length of a session's name, in random bytes.
const SESSION_LENGTH: usize = 16;

impl<C: StakeReader> Master<C> {
    /// Everything that costs nothing is checked before the chain is asked.
    pub(crate) async fn register(
        &self,
        headers: &HeaderMap,
        request: &RegisterRequest,
    ) -> Result<RegisterResponse, Refused> {
        check_header(headers, &request.seal_token)?;
        let seal_token: ObjectId = request
            .seal_token
            .parse()
            .map_err(|_| Refused::malformed("seal_token: expected 0x and 64 hexadecimal digits"))?;
        self.check_timestamp(request.timestamp)?;
        let nonce = self
            .challenges
            .check(&request.node_id, &request.nonce.0)
            .map_err(refused_nonce)?;
        let key = PublicKey::from_flagged_bytes(&request.public_key.0)
            .map_err(|error| Refused::malformed(format!("public_key: {error}")))?;
        check_signature(key, request.signed_bytes(), &request.signature)?;
        let verified = self.check_evidence(request, key)?;

        let stake = self
            .ask(|chain| chain.stake_of_seal_token(seal_token))
            .await?
            .ok_or_else(|| {
                Refused::new(
                    RefusalCode::StakeNotFound,
                    format!("there is no seal token {seal_token} on the chain"),
                )
            })?;
        self.check_stake(request, key, &stake)?;
        let mut message = format!("the stake {} of {} is active", stake.record, stake.amount);
        if let Some(verified) = &verified {
            let environment = self
                .check_release(&request.node_id, verified)
                .await
                .inspect_err(|refused| {
                    // a round over all Nodes is not for everybody to begin
                    if refused.code.is_about_the_release() && self.sessions.end_all_of(stake.record)
                    {
                        self.join.tokens.look_at_stakes();
                    }
                })?;
            message = format!("{message}; trusted execution environment: {environment}");
            if let Some(reason) = &verified.admitted_because {
                message = format!("{message}; endorsement key admitted by the operator: {reason}");
            }
        }

        let taken = || {
            Refused::new(
                RefusalCode::StakeOfAnother,
                "a node of this name with another stake is registered and alive",
            )
        };
        // before anything is changed in the cluster
        if self.sessions.name_taken(&stake) {
            return Err(taken());
        }
        let session = session_name()?;
        // first, so that of two requests with one nonce only one has a token made
        self.challenges.consume(nonce).map_err(refused_nonce)?;
        let image = verified.as_ref().map(|verified| verified.image);
        let tokens = &self.join.tokens;
        let node = stake
            .node_name()
            .map_err(|error| Refused::malformed(format!("node_id: {error}")))?;
        if let Some(verified) = &verified {
            let key = verified.endorsement.name();
            let key = key.map_err(|error| Refused::malformed(error.to_string()))?;
            self.check_firmware(&node, &key.to_bytes(), &verified.firmware)
                .await?;
        }
        let issued = tokens.issue(&node, &stake, image, (self.clock)()).await?;
        let answer = self.grant(
            request,
            verified.as_ref(),
            message,
            Grant {
                join_token: issued.token.clone(),
                server: self.join.server.clone(),
                session: session.clone(),
            },
        );
        let answer = match answer {
            Ok(answer) => answer,
            Err(refused) => {
                self.join.tokens.take_back(issued).await;
                return Err(refused);
            }
        };
        let begun = self.sessions.begin(
            session,
            request.seal_token.clone(),
            stake,
            verified.map(|verified| {
                Attested::new(verified.image, verified.boot(), request.nonce.0.clone())
            }),
        );
        if !begun {
            self.join.tokens.take_back(issued).await;
            return Err(taken());
        }
        Ok(answer)
    }

    /// The answer: sealed for the TPM that the evidence is of, or in the plain where there is none,
    /// and signed.
    fn grant(
        &self,
        request: &RegisterRequest,
        verified: Option<&Verified>,
        message: String,
        grant: Grant,
    ) -> Result<RegisterResponse, Refused> {
        let hash =
            request_hash(request).map_err(|error| Refused::unavailable(error.to_string()))?;
        let mut answer = RegisterResponse {
            status: "registered".to_owned(),
            node_id: request.node_id.clone(),
            message,
            join_token: None,
            server: None,
            session: None,
            sealed_token: None,
            signature: None,
        };
        if let Some(verified) = verified {
            let keys = (&verified.endorsement, &verified.attestation);
            let sealed = join_token::seal(keys.0, keys.1, &hash, &grant).map_err(|failure| {
                error!(%failure, "the join token can't be encrypted");
                Refused::unavailable("the master can't encrypt the join token")
            })?;
            answer.sealed_token = Some(sealed);
        } else {
            answer.join_token = Some(grant.join_token.into());
            answer.server = Some(grant.server.into());
            answer.session = Some(grant.session);
        }
        answer.signature = self
            .trust
            .sign_answer(&answer, &hash)
            .map_err(|error| Refused::unavailable(error.to_string()))?;
        Ok(answer)
    }

    fn check_stake(
        &self,
        request: &RegisterRequest,
        key: PublicKey,
        stake: &Stake,
    ) -> Result<(), Refused> {
        let another = |what: &str| {
            let message = format!("the stake {} names another {what}", stake.record);
            Refused::new(RefusalCode::StakeOfAnother, message)
        };
        if stake.node_key != key {
            return Err(another("key"));
        }
        if stake.node_id != request.node_id.as_str() {
            return Err(another("node"));
        }
        if let Err(refused) = check_verdict(stake) {
            self.sessions.end_all_of(stake.record);
            self.join.tokens.stake_read(stake.verdict);
            return Err(refused);
        }
        self.check_token(&request.seal_token, stake)
    }

    /// The seal token that the node shows is the one that counts for its stake, and its time is
    /// not over.
    pub(crate) fn check_token(&self, shown: &str, stake: &Stake) -> Result<(), Refused> {
        let now = (self.clock)().saturating_mul(1000);
        let message = match stake.seal_token {
            Some(token) if shown.parse() != Ok(token.id) => {
                "another seal token counts for the stake: register with that"
            }
            Some(token) if !token.expired(now) => return Ok(()),
            _ => "the seal token's time is over",
        };
        Err(Refused::new(RefusalCode::SealTokenExpired, message))
    }
}

fn refused_nonce(fault: NonceFault) -> Refused {
    let message = match fault {
        NonceFault::Unknown => "the nonce was not issued to this node by this master",
        NonceFault::Expired => "the nonce is too old: ask for another",
        NonceFault::Used => "the nonce was used before: ask for another",
        NonceFault::Busy => return Refused::unavailable("too many registrations at once"),
    };
    Refused::new(RefusalCode::Nonce, message)
}

fn session_name() -> Result<String, Refused> {
    let mut bytes = [0; SESSION_LENGTH];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Refused::unavailable("the system gives no random numbers"))?;
    Ok(hex::encode(bytes))
}
