//! What this machine's TPM proves, and its trusted execution environment. Every call to them is made off the event loop, one at a time, and
//! bounded.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use attest::channel::Claim;
use attest::collect::{CollectError, collect, quote, read_event_log};
use attest::evidence::EvidenceError;
use attest::join_token::{self, TokenError};
use master_api::{Base64, Grant, HeartbeatQuote, SealedToken};
use seal::tpm::Tpm;
use seal::tpm::crypto::Digest;
use seal::tpm::error::Error as TpmError;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::tee::{Asking, Reporter, TeeOutcome};

/// One piece of work of the TPM, waiting for its turn included. A slow TPM makes a key in seconds.
const TPM_LIMIT: Duration = Duration::from_secs(60);

/// Opens the TPM; `None`: the machine has none.
type Open = dyn Fn() -> Result<Option<Tpm>, TpmError> + Send + Sync;

/// This machine's TPM, as far as the master is to be shown something.
#[derive(Clone)]
pub struct Prover {
    open: Arc<Open>,
    event_log: PathBuf,
    reporter: Option<Reporter>,
    turn: Arc<Semaphore>,
}

/// What is shown in a registration.
#[derive(Debug)]
pub struct Shown {
    /// The evidence, in the encoding of the crate `attest`.
    pub evidence: Vec<u8>,
    /// What became of the report of a trusted execution environment.
    pub report: TeeOutcome,
}

/// A proof that can't be made.
#[derive(Debug, thiserror::Error)]
pub enum ProverError {
    /// The TPM can't be opened.
    #[error("the TPM can't be used")]
    Open(#[source] TpmError),
    /// There is no TPM any more.
    #[error("the machine has no TPM, and had one when it registered")]
    Gone,
    /// It gives no evidence.
    #[error("there is no evidence of what runs here")]
    Collect(#[from] CollectError),
    /// The evidence is too long for the protocol.
    #[error("the evidence can't be sent")]
    Evidence(#[from] EvidenceError),
    /// The join token does not open.
    #[error("the join token can't be decrypted")]
    Token(#[from] TokenError),
    /// It takes too long.
    #[error("the TPM did not do its work within {} s", TPM_LIMIT.as_secs())]
    Slow,
    /// The work broke off.
    #[error("the work of the TPM broke off")]
    Broken,
}

impl Prover {
    /// The TPM at a device node, if there is one, by the broker that has it.
    #[must_use]
    pub fn through_broker(device: &Path, broker: &Path, event_log: &Path) -> Self {
        let (device, broker) = (device.to_owned(), broker.to_owned());
        let open = move || {
            if device.exists() {
                Tpm::through_broker(&broker).map(Some)
            } else {
                Ok(None)
            }
        };
        Self::new(open, event_log)
    }

    /// A machine without a TPM.
    #[must_use]
    pub fn none() -> Self {
        Self::new(|| Ok(None), Path::new(""))
    }

    /// A TPM that is opened in another way.
    pub fn new(
        open: impl Fn() -> Result<Option<Tpm>, TpmError> + Send + Sync + 'static,
        event_log: &Path,
    ) -> Self {
        Self {
            open: Arc::new(open),
            event_log: event_log.to_owned(),
            reporter: None,
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// The same machine, whose trusted execution environment is asked for reports there.
    #[must_use]
    pub fn with_reporter(mut self, reporter: Reporter) -> Self {
        self.reporter = Some(reporter);
        self
    }

    /// Evidence for a registration; `None`: the machine has no TPM.
    ///
    /// # Errors
    /// When it has one that does not give evidence.
    pub async fn evidence(&self, claim: Claim) -> Result<Option<Shown>, ProverError> {
        let path = self.event_log.clone();
        let asking = Asking::new(self.reporter.clone());
        self.work(move |tpm| {
            let Some(tpm) = tpm else { return Ok(None) };
            let evidence = collect(tpm, claim, read_event_log(&path)?, &[&asking])?;
            Ok(Some(Shown {
                evidence: evidence.to_bytes()?,
                report: asking.outcome(),
            }))
        })
        .await
    }

    /// Opens what the master has sealed in answer to a request of this hash.
    ///
    /// # Errors
    /// When it is for another TPM or request.
    pub async fn open(&self, request: Digest, sealed: SealedToken) -> Result<Grant, ProverError> {
        self.work(move |tpm| {
            let tpm = tpm.ok_or(ProverError::Gone)?;
            Ok(join_token::open(tpm, &request, &sealed)?)
        })
        .await
    }

    /// Quotes the registers for a heartbeat.
    ///
    /// # Errors
    /// When the TPM refuses.
    pub async fn quote(&self, data: Digest) -> Result<HeartbeatQuote, ProverError> {
        self.work(move |tpm| {
            let quote = quote(tpm.ok_or(ProverError::Gone)?, &data)?;
            Ok(HeartbeatQuote {
                message: Base64(quote.message),
                signature: Base64(quote.signature),
            })
        })
        .await
    }

    /// The place is kept until the work is over, even where nobody waits for it any more: so that a TPM
    /// that hangs holds one thread and no more.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(Option<&mut Tpm>) -> Result<T, ProverError> + Send + 'static,
    ) -> Result<T, ProverError> {
        let open = Arc::clone(&self.open);
        let turn = Arc::clone(&self.turn);
        let whole = async {
            let place = turn
                .acquire_owned()
                .await
                .map_err(|_| ProverError::Broken)?;
            tokio::task::spawn_blocking(move || {
                let _place = place;
                let mut tpm = open().map_err(ProverError::Open)?;
                work(tpm.as_mut())
            })
            .await
            .map_err(|_| ProverError::Broken)?
        };
        timeout(TPM_LIMIT, whole)
            .await
            .map_err(|_| ProverError::Slow)?
    }
}
