//! Heartbeats: the session's own key, numbers that only grow, and the stake read again.

use attest::channel::heartbeat_data;
use attest_verify::Boot;
use axum::http::HeaderMap;
use chain::Verdict;
use master_api::{Base64, HeartbeatRequest, HeartbeatResponse, NONCE_LENGTH, RefusalCode};
use ring::rand::{SecureRandom as _, SystemRandom};
use tracing::{info, warn};

use crate::chain_link::StakeReader;
use crate::refusal::Refused;
use crate::service::{Master, NoRandomNumbers, check_header, check_signature, check_verdict};
use crate::sessions::Attested;

/// The longest word of a kubelet, in bytes: the sentence that a node's PID 1 keeps of it.
const LONGEST_ANSWER: usize = 512;
/// The longest `stake_status`, in bytes.
const LONGEST_STATUS: usize = 32;

impl<C: StakeReader> Master<C> {
    pub(crate) async fn heartbeat(
        &self,
        headers: &HeaderMap,
        request: &HeartbeatRequest,
    ) -> Result<HeartbeatResponse, Refused> {
        check_figures(request)?;
        let unknown = || {
            Refused::new(
                RefusalCode::Session,
                "the session is not known here: register again",
            )
        };
        let session = self
            .sessions
            .get(&request.session)
            .filter(|session| session.stake.node_id == request.node_id.as_str())
            .ok_or_else(unknown)?;
        check_header(headers, &session.seal_token)?;
        let key = session.stake.node_key;
        check_signature(key, request.signed_bytes(), &request.signature)?;
        self.check_timestamp(request.timestamp)?;
        let over = |refused: &Refused| {
            if refused.code.ends_session() {
                self.sessions.end(&request.session);
            }
        };
        let numbered = session.is_next(request.sequence);
        let shown = match session.attested.as_ref().filter(|_| numbered) {
            Some(attested) => Some(check_quote(attested, request).inspect_err(over)?),
            None => None,
        };
        let counts = session.attested.as_ref();
        let fault = counts.and_then(|attested| self.releases.fault(&attested.image));
        if let Some(fault) = session.refused.clone().or(fault) {
            let refused = Refused::from(fault);
            over(&refused);
            self.join.tokens.look_at_stakes();
            return Err(refused);
        }
        if !(self.sessions).advance(&request.session, request.sequence, shown) {
            return Err(Refused::new(
                RefusalCode::Sequence,
                "the sequence number is not above the last one",
            ));
        }

        let stake = if session.is_fresh() {
            session.stake
        } else {
            let stake = self
                .ask(async |chain: &C| chain.reread(&session.stake).await)
                .await?;
            self.sessions.keep(&request.session, &stake);
            stake
        };
        if let Err(refused) = check_verdict(&stake) {
            self.join.tokens.stake_read(stake.verdict);
            if stake.verdict != Verdict::BelowMinimum {
                self.sessions.end(&request.session);
            }
            return Err(refused);
        }
        self.check_token(&session.seal_token, &stake)
            .inspect_err(|_| {
                self.sessions.end(&request.session);
            })?;
        if request.stake_status != stake.verdict.name() {
            warn!(
                node_id = request.node_id.as_str(),
                reported = request.stake_status,
                verdict = %stake.verdict,
                "the node sees its stake differently"
            );
        }
        let nonce = session.attested.is_some().then(fresh_nonce).transpose()?;
        if let Some(nonce) = &nonce {
            self.sessions.expect(&request.session, nonce.clone());
        }
        let usage = &request.resource_usage;
        info!(
            node_id = request.node_id.as_str(),
            sequence = request.sequence,
            pods = request.running_pods,
            cpu_percent = %format_args!("{:.1}", usage.cpu_percent),
            memory_percent = %format_args!("{:.1}", usage.memory_percent),
            disk_percent = %format_args!("{:.1}", usage.disk_percent),
            stake = %stake.amount,
            kubelet = request.kubelet.as_deref().unwrap_or("-"),
            "heartbeat"
        );
        Ok(HeartbeatResponse {
            status: "acknowledged".to_owned(),
            node_id: request.node_id.clone(),
            timestamp: (self.clock)(),
            message: format!("the stake {} is active", stake.record),
            nonce: nonce.map(Base64),
        })
    }
}

/// The quote is of the boot that the session began with, and over the nonce of the last answer.
fn check_quote(attested: &Attested, request: &HeartbeatRequest) -> Result<Boot, Refused> {
    let Some(quote) = &request.quote else {
        return Err(Refused::new(
            RefusalCode::EvidenceMissing,
            "the session began with evidence, and the heartbeat has no quote",
        ));
    };
    let data = attested
        .nonces()
        .map(|nonce| heartbeat_data(&request.session, request.sequence, nonce))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Refused::malformed(error.to_string()))?;
    Ok(attested.boot.check(quote, &data)?)
}

fn fresh_nonce() -> Result<Vec<u8>, Refused> {
    let mut nonce = vec![0; NONCE_LENGTH];
    SystemRandom::new()
        .fill(&mut nonce)
        .map_err(|_| Refused::unavailable(NoRandomNumbers.to_string()))?;
    Ok(nonce)
}

/// What a node says of itself makes sense, and can stand in a log line.
fn check_figures(request: &HeartbeatRequest) -> Result<(), Refused> {
    let usage = &request.resource_usage;
    for (field, percent) in [
        ("cpu_percent", usage.cpu_percent),
        ("memory_percent", usage.memory_percent),
        ("disk_percent", usage.disk_percent),
    ] {
        if !(0.0..=100.0).contains(&percent) {
            return Err(Refused::malformed(format!(
                "resource_usage.{field}: expected a number from 0 to 100"
            )));
        }
    }
    let kubelet = request.kubelet.as_deref().unwrap_or_default();
    if kubelet.len() > LONGEST_ANSWER || kubelet.chars().any(char::is_control) {
        return Err(Refused::malformed(format!(
            "kubelet: expected a line of at most {LONGEST_ANSWER} bytes"
        )));
    }
    let status = &request.stake_status;
    let word = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
    if status.is_empty() || status.len() > LONGEST_STATUS || !status.bytes().all(word) {
        return Err(Refused::malformed(
            "stake_status: expected a word in lower-case letters and hyphens",
        ));
    }
    Ok(())
}
