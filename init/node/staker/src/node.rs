//! The node: everything that its life needs, and what all parts of it do with stake, key and chain.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chain::{Address, ChainError, KeyError, NodeKey, Stake, Verdict};
use master_api::Base64;
use tracing::{info, warn};
use wire::NodeName;
use wire::child::PowerOffReason;
use wire::status::DegradedReason;

use crate::board::Board;
use crate::cluster::Probe;
use crate::desire::Desire;
use crate::explain;
use crate::funding;
use crate::journal::{Journal, JournalError};
use crate::prover::Prover;
use crate::seams::{Chain, Init, Master, MasterError, Meter};

/// After so many failed heartbeats in a row the agent is restarted. When that does not help,
/// the next restart takes twice as many, so that a long outage does not keep restarting what works.
pub(crate) const FAILURES_TO_RESTART: u32 = 3;

/// How a node's life ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) reason: PowerOffReason,
    pub(crate) detail: String,
}

/// Why nothing came of a stake, or of the coins that are left of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StakeFailure {
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Who the node is.
pub struct Identity {
    /// Its name in the cluster and on chain.
    pub node_id: NodeName,
    /// Its Sui key.
    pub key: Rc<NodeKey>,
    /// Whether it stakes anew what was withdrawn.
    pub restake: bool,
    /// Whether it gives its stake up.
    pub leave: bool,
    /// Where a node that leaves sends its coins.
    pub beneficiary: Option<Address>,
    /// Its TPM, which proves what it runs.
    pub prover: Prover,
}

/// Everything that a node's life needs.
pub struct Staker<C, M, I, U> {
    pub(crate) chain: C,
    pub(crate) master: M,
    pub(crate) board: Board<I>,
    pub(crate) meter: RefCell<U>,
    pub(crate) key: Rc<NodeKey>,
    pub(crate) node_id: NodeName,
    pub(crate) prover: Prover,
    pub(crate) journal: Journal,
    /// Whether a stake that was withdrawn is made anew.
    pub(crate) restake: bool,
    /// Whether the stake is not wanted any more.
    pub(crate) leaves: bool,
    /// Where all coins are sent then.
    pub(crate) beneficiary: Option<Address>,
    /// Seconds since 1970-01-01 UTC.
    pub(crate) clock: fn() -> u64,
    /// The stake, as last read.
    pub(crate) stake: RefCell<Option<Stake>>,
    /// Heartbeats that failed since the last one that was acknowledged, or since the last restart
    /// of the agent.
    pub(crate) failures: Cell<u32>,
    /// How many failures ask for a restart of the agent.
    pub(crate) failures_to_restart: Cell<u32>,
    /// What `init` is to make of agent and power.
    pub(crate) desire: Desire,
    /// Asks whether the k3s server answers; none: it is not asked.
    pub(crate) cluster: Option<Probe>,
    /// The end of the stake that is in doubt, as the watch reported last.
    pub(crate) doubted: Cell<Option<Verdict>>,
    /// Whether it was said where coins are to be sent, since there were enough.
    funding_shown: Cell<bool>,
    /// The stake's beneficiary that was warned of, as it is not the configuration's.
    beneficiary_warned_of: Cell<Option<Address>>,
}

impl<C: Chain, M: Master, I: Init, U: Meter> Staker<C, M, I, U> {
    /// A node that has reached nothing yet.
    #[must_use]
    pub fn new(
        chain: C,
        master: M,
        board: Board<I>,
        meter: U,
        identity: Identity,
        journal: Journal,
        clock: fn() -> u64,
    ) -> Self {
        Self {
            chain,
            master,
            board,
            meter: RefCell::new(meter),
            key: identity.key,
            node_id: identity.node_id,
            prover: identity.prover,
            journal,
            clock,
            stake: RefCell::new(None),
            failures: Cell::new(0),
            failures_to_restart: Cell::new(FAILURES_TO_RESTART),
            desire: Desire::default(),
            cluster: None,
            doubted: Cell::default(),
            funding_shown: Cell::default(),
            beneficiary_warned_of: Cell::default(),
            restake: identity.restake,
            leaves: identity.leave,
            beneficiary: identity.beneficiary,
        }
    }

    /// Has the node look whether the k3s server answers.
    #[must_use]
    pub fn with_cluster(mut self, probe: Probe) -> Self {
        self.cluster = Some(probe);
        self
    }

    /// Where the node stands.
    pub fn board(&self) -> &Board<I> {
        &self.board
    }

    pub(crate) fn keep(&self, stake: &Stake) {
        self.board.show_stake(stake);
        if let Some(configured) = self.other_beneficiary(stake) {
            warn!(
                record = %stake.record, beneficiary = %stake.beneficiary, %configured,
                "the stake pays its coins to another address than chain.beneficiary names: that \
                 address alone can change it, by beneficiary::set_beneficiary"
            );
        }
        *self.stake.borrow_mut() = Some(stake.clone());
    }

    /// The beneficiary that the configuration names, where the stake has another one that was not
    /// warned of yet.
    pub(crate) fn other_beneficiary(&self, stake: &Stake) -> Option<Address> {
        let other = self.beneficiary.filter(|own| *own != stake.beneficiary);
        let found = other.map(|_| stake.beneficiary);
        let warned_of = self.beneficiary_warned_of.replace(found);
        other.filter(|_| warned_of != found)
    }

    /// Gives the reason why there is no stake, or none that is known of.
    pub(crate) async fn stake_failed(&self, failure: &StakeFailure) {
        match failure {
            StakeFailure::Chain(failure) => self.chain_failed(failure).await,
            StakeFailure::Journal(failure) => {
                let detail = explain(failure);
                self.board.degrade(DegradedReason::Journal, &detail).await;
            }
        }
    }

    /// Gives the reason of a failed conversation with the chain.
    pub(crate) async fn chain_failed(&self, failure: &ChainError) {
        let reason = match failure {
            ChainError::BalanceShort { .. } => DegradedReason::BalanceShort,
            ChainError::BelowMinimum { .. } => DegradedReason::StakeBelowMinimum,
            ChainError::Unconfirmed { .. } | ChainError::Disagreement { .. } => {
                DegradedReason::ChainRefused
            }
            failure if failure.retryable() => DegradedReason::ChainUnreachable,
            _ => DegradedReason::ChainRefused,
        };
        if reason == DegradedReason::BalanceShort && !self.funding_shown.replace(true) {
            self.show_funding();
        }
        self.board.degrade(reason, &explain(failure)).await;
    }

    /// For whoever stands before the machine.
    fn show_funding(&self) {
        let address = self.key.address();
        info!("send SUI to {address}");
        for line in funding::code(&address) {
            info!("{line}");
        }
    }

    pub(crate) async fn chain_works(&self) {
        self.board.recover(DegradedReason::ChainUnreachable).await;
        self.board.recover(DegradedReason::BalanceShort).await;
        self.board.recover(DegradedReason::Journal).await;
        self.funding_shown.set(false);
        // a doubt is not settled by one fullnode that knows of none
        if self.doubted.get().is_none() {
            self.board.recover(DegradedReason::ChainRefused).await;
        }
    }

    pub(crate) fn seal_token(&self) -> Result<String, MasterError> {
        let stake = self.stake.borrow();
        let token = stake.as_ref().and_then(|stake| stake.seal_token);
        token
            .map(|token| token.id.to_string())
            .ok_or(MasterError::NoSealToken)
    }

    pub(crate) async fn sign(&self, bytes: &[u8]) -> Result<Base64, MasterError> {
        let signature = self.key.sign_message_aside(bytes).await.map_err(signing)?;
        STANDARD
            .decode(signature.to_string())
            .map(Base64)
            .map_err(|_| signing(KeyError::BadSignature))
    }
}

pub(crate) fn signing(failure: impl std::error::Error + 'static) -> MasterError {
    MasterError::Signing(Box::new(failure))
}
