//! Part of the cluster: registration with the master, and a heartbeat every 30 seconds.

use std::time::Duration;

use attest::channel::heartbeat_data;
use chain::Verdict;
use master_api::{Base64, HEARTBEAT_SECONDS, HeartbeatRequest, RefusalCode, ResourceUsage};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{debug, info, warn};
use wire::backoff::Backoff;
use wire::status::{DegradedReason, NodeState, Phase};

use crate::backoff::{ATTEMPTS, pause};
use crate::desire::Hold;
use crate::explain;
use crate::node::{End, FAILURES_TO_RESTART, Staker, signing};
use crate::registration::Session;
use crate::seams::{Chain, Init, Master, MasterError, Measurement, Meter};

/// The most failures that a restart takes: about 48 minutes of them.
const MOST_FAILURES_TO_RESTART: u32 = 96;

/// Between two heartbeats.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(HEARTBEAT_SECONDS);
/// The longest that a read takes: the one before a heartbeat takes it from its interval.
pub(crate) const READ_LIMIT: Duration = Duration::from_secs(15);
/// How often a stake that waits is read again.
pub(crate) const WAITING_INTERVAL: Duration = Duration::from_secs(15);
/// The longest pause that the master can ask for, in seconds.
const LONGEST_RETRY_AFTER: u64 = 120;

/// Why heartbeats of one session ended.
enum Ended {
    /// The master does not know the session. Whether it ever acknowledged it.
    Lost { acknowledged: bool },
    /// The node's life is over.
    Over(End),
}

impl<C: Chain, M: Master, I: Init, U: Meter> Staker<C, M, I, U> {
    /// Registers and reports until the stake is over.
    pub(crate) async fn take_part(&self) -> End {
        let mut backoff = ATTEMPTS;
        loop {
            let session = match self.register(&mut backoff).await {
                Ok(session) => session,
                Err(end) => return end,
            };
            match self.report(&session).await {
                Ended::Over(end) => return end,
                Ended::Lost { acknowledged: true } => backoff.reset(),
                // a master that forgets at once is not asked again at once
                Ended::Lost {
                    acknowledged: false,
                } => sleep(pause(&mut backoff)).await,
            }
        }
    }

    /// Registers, however long it takes, and has the agent started.
    async fn register(&self, backoff: &mut Backoff) -> Result<Session, End> {
        loop {
            self.until_it_works().await?;
            let pause = match self.try_to_register().await {
                Ok(registered) => {
                    let grant = registered.grant;
                    info!(
                        server = %grant.server,
                        answer = registered.message,
                        attested = registered.session.quoted,
                        "registered"
                    );
                    self.board.recover(DegradedReason::Heartbeat).await;
                    self.recover_registration(None).await;
                    self.board
                        .reach(NodeState::Registered, Phase::Registered)
                        .await;
                    self.desire
                        .join(registered.node, grant.server, grant.join_token);
                    self.desire.release(Hold::Release);
                    return Ok(registered.session);
                }
                Err(failure) => {
                    self.registration_failed(&failure).await?;
                    let asked = match failure {
                        MasterError::Unavailable { retry_after, .. } => retry_after.unwrap_or(0),
                        _ => 0,
                    };
                    pause(backoff).max(Duration::from_secs(asked.min(LONGEST_RETRY_AFTER)))
                }
            };
            sleep(pause).await;
        }
    }

    /// Waits until the stake works, reading it again and again.
    async fn until_it_works(&self) -> Result<(), End> {
        loop {
            let stake = self.stake.borrow().clone();
            match stake {
                Some(stake) if stake.verdict == Verdict::Active => return Ok(()),
                Some(_) => {}
                None => return Ok(()),
            }
            sleep(WAITING_INTERVAL).await;
            self.read_stake().await?;
        }
    }

    async fn registration_failed(&self, failure: &MasterError) -> Result<(), End> {
        let reason = match failure {
            MasterError::Refused { .. } | MasterError::NoSealToken | MasterError::Signing(_) => {
                DegradedReason::RegistrationRefused
            }
            MasterError::Untrusted { .. } | MasterError::OtherKey | MasterError::Directory(_) => {
                DegradedReason::MasterUntrusted
            }
            MasterError::Proof(_) => DegradedReason::Attestation,
            MasterError::Unreachable { .. }
            | MasterError::Unavailable { .. }
            | MasterError::InvalidAnswer { .. } => DegradedReason::MasterUnreachable,
        };
        self.recover_registration(Some(reason)).await;
        match failure {
            MasterError::Refused { code, .. } if code.is_about_the_release() => {
                self.image_refused(failure).await;
            }
            _ => self.board.degrade(reason, &explain(failure)).await,
        }
        if let MasterError::Refused { code, .. } = failure
            && is_about_the_stake(*code)
        {
            self.read_stake().await?;
        }
        Ok(())
    }

    /// The image does not count any more: agent and pods stop. The stake stays, and the node goes on
    /// asking, as the chain can take the image back into its list, but for a revoked one.
    async fn image_refused(&self, failure: &MasterError) {
        let detail = format!(
            "{}; agent and pods are stopped: boot this machine from a newer image; its stake stays",
            explain(failure)
        );
        let reason = DegradedReason::RegistrationRefused;
        self.board.degrade(reason, &detail).await;
        self.desire.hold(Hold::Release, &detail);
    }

    /// Takes back why registration failed, but for this one reason.
    async fn recover_registration(&self, but: Option<DegradedReason>) {
        for reason in [
            DegradedReason::MasterUnreachable,
            DegradedReason::MasterUntrusted,
            DegradedReason::RegistrationRefused,
            DegradedReason::Attestation,
        ] {
            if Some(reason) != but {
                self.board.recover(reason).await;
            }
        }
    }

    /// Reports every 30 seconds, the first time at once.
    async fn report(&self, session: &Session) -> Ended {
        let mut sequence = 0_u64;
        // what the next quote is over: the first, what the registration's was
        let mut nonce = session.nonce.clone();
        let mut acknowledged = false;
        let token = self.seal_token().ok();
        let mut beats = interval(HEARTBEAT_INTERVAL);
        beats.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            beats.tick().await;
            let read = match timeout(READ_LIMIT, self.read_stake()).await {
                Ok(Ok(read)) => read,
                Ok(Err(end)) => return Ended::Over(end),
                Err(_) => {
                    self.read_took_too_long().await;
                    false
                }
            };
            if self.seal_token().ok() != token {
                info!("the seal token is another: registering again");
                return Ended::Lost { acknowledged };
            }
            sequence += 1;
            match self.beat(session, sequence, read, &nonce).await {
                Ok(next) => {
                    nonce = next;
                    acknowledged = true;
                    self.beat_went_well().await;
                }
                Err(failure @ MasterError::Refused { code, .. }) if code.is_about_the_release() => {
                    self.image_refused(&failure).await;
                    return Ended::Lost { acknowledged };
                }
                Err(MasterError::Refused { code, message }) if code.ends_session() => {
                    info!(%code, answer = message, "the session is over: registering again");
                    return Ended::Lost { acknowledged };
                }
                Err(failure @ MasterError::OtherKey) => {
                    info!(
                        detail = explain(&failure),
                        "the session is over: registering again"
                    );
                    return Ended::Lost { acknowledged };
                }
                Err(failure) => {
                    if let Err(end) = self.beat_failed(&failure).await {
                        return Ended::Over(end);
                    }
                }
            }
        }
    }

    /// Reports once. Gives what the next quote is over.
    async fn beat(
        &self,
        session: &Session,
        sequence: u64,
        read: bool,
        nonce: &[u8],
    ) -> Result<Vec<u8>, MasterError> {
        let quote = if session.quoted {
            let data = heartbeat_data(&session.name, sequence, nonce).map_err(signing)?;
            Some(self.prover.quote(data).await?)
        } else {
            None
        };
        let Measurement {
            usage,
            running_pods,
        } = self.meter.borrow_mut().measure();
        let amount = self
            .stake
            .borrow()
            .as_ref()
            .map_or(0, |stake| stake.amount.0);
        let status = self.stake_status(read);
        let mut request = HeartbeatRequest {
            node_id: self.node_id.clone(),
            timestamp: (self.clock)(),
            stake_status: status,
            stake_amount: amount,
            running_pods,
            resource_usage: bounded(usage),
            session: session.name.clone(),
            sequence,
            kubelet: self.board.kubelet(),
            quote,
            signature: Base64(Vec::new()),
        };
        let bytes = request.signed_bytes().map_err(signing)?;
        request.signature = self.sign(&bytes).await?;
        let answer = self
            .master
            .heartbeat(&session.channel, &self.seal_token()?, &request)
            .await?;
        if answer.status != "acknowledged" || answer.node_id != self.node_id {
            let detail = format!("status {:?} for \"{}\"", answer.status, answer.node_id);
            return Err(MasterError::InvalidAnswer { detail });
        }
        debug!(sequence, running_pods, "heartbeat acknowledged");
        Ok(answer.nonce.map(|nonce| nonce.0).unwrap_or_default())
    }

    /// What a heartbeat says of the stake.
    fn stake_status(&self, read: bool) -> String {
        if let Some(verdict) = self.doubted.get() {
            return format!("{verdict}-unconfirmed");
        }
        match &*self.stake.borrow() {
            Some(stake) if read => stake.verdict.to_string(),
            _ => Verdict::Unreachable.to_string(),
        }
    }

    async fn beat_went_well(&self) {
        self.failures.set(0);
        self.failures_to_restart.set(FAILURES_TO_RESTART);
        self.board.show_heartbeat(Some((self.clock)()));
        self.board.recover(DegradedReason::Heartbeat).await;
        self.recover_registration(None).await;
    }

    async fn beat_failed(&self, failure: &MasterError) -> Result<(), End> {
        let detail = explain(failure);
        warn!(detail, "the heartbeat failed");
        self.board.show_heartbeat(None);
        self.board.degrade(DegradedReason::Heartbeat, &detail).await;
        let master = DegradedReason::MasterUnreachable;
        match failure {
            MasterError::Unreachable { .. } => self.board.degrade(master, &detail).await,
            _ => self.board.recover(master).await,
        }
        match failure {
            // the master lives, and the fault is not the agent's: a restart would mend nothing
            MasterError::Unavailable { .. } | MasterError::Proof(_) => Ok(()),
            MasterError::Refused { code, .. } if is_about_the_stake(*code) => {
                self.read_stake().await.map(|_| ())
            }
            _ => {
                self.count_failure(&detail);
                Ok(())
            }
        }
    }

    fn count_failure(&self, detail: &str) {
        let failures = self.failures.get() + 1;
        let enough = self.failures_to_restart.get();
        if failures < enough {
            self.failures.set(failures);
            return;
        }
        self.failures.set(0);
        self.failures_to_restart
            .set(enough.saturating_mul(2).min(MOST_FAILURES_TO_RESTART));
        let reason = format!("{failures} heartbeats in a row failed: {detail}");
        self.desire.restart(&reason);
    }

    /// Shows that the chain did not answer a read within its limit.
    pub(crate) async fn read_took_too_long(&self) {
        let seconds = READ_LIMIT.as_secs();
        let detail = format!("the stake can't be read within {seconds} s");
        let reason = DegradedReason::ChainUnreachable;
        self.board.degrade(reason, &detail).await;
    }

    /// Reads the stake again. Whether it could be read; and the end, where it is over.
    async fn read_stake(&self) -> Result<bool, End> {
        let Some(stake) = self.stake.borrow().clone() else {
            return Ok(false);
        };
        match self.chain.reread(&stake).await {
            Ok(stake) => self.take_stake(&stake).await.map(|_taken| true),
            Err(failure) => {
                self.chain_failed(&failure).await;
                Ok(false)
            }
        }
    }
}

/// Percentages as the protocol has them: numbers from 0 to 100, in hundredths.
fn bounded(usage: ResourceUsage) -> ResourceUsage {
    let bound = |percent: f64| {
        if percent.is_finite() {
            (percent.clamp(0.0, 100.0) * 100.0).round() / 100.0
        } else {
            0.0
        }
    };
    ResourceUsage {
        cpu_percent: bound(usage.cpu_percent),
        memory_percent: bound(usage.memory_percent),
        disk_percent: bound(usage.disk_percent),
    }
}

/// Refusals that the chain can speak about better than the master.
fn is_about_the_stake(code: RefusalCode) -> bool {
    matches!(
        code,
        RefusalCode::StakeNotFound
            | RefusalCode::StakeOfAnother
            | RefusalCode::StakeBelowMinimum
            | RefusalCode::StakeUnbonding
            | RefusalCode::StakeSlashed
            | RefusalCode::SealTokenExpired
    )
}
