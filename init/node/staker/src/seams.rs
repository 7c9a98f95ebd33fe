//! What the life of a node needs from outside, as traits, so that tests can stand in for it.

use std::future::Future;

use chain::{Address, ChainError, Stake, WatchEvent};
use futures::stream::LocalBoxStream;
use master_api::{
    ChallengeRequest, ChallengeResponse, HeartbeatRequest, HeartbeatResponse, RefusalCode,
    RegisterRequest, RegisterResponse, ResourceUsage,
};
use wire::child::ToInit;

use crate::prover::ProverError;

/// The chain, for this node's key, name and amount.
pub trait Chain {
    /// A stake transaction, signed, but not yet submitted.
    type Transaction;

    /// A transaction that sends all coins on, signed, but not yet submitted.
    type Payout;

    /// This node's stake; `None`: it definitely has none.
    fn find_stake(&self) -> impl Future<Output = Result<Option<Stake>, ChainError>>;

    /// Builds and signs the stake transaction, unless there turns out to be a stake.
    fn prepare_stake(
        &self,
    ) -> impl Future<Output = Result<Prepared<Self::Transaction>, ChainError>>;

    /// Builds and signs the transaction that stakes anew what was withdrawn.
    fn prepare_restake(
        &self,
        stake: &Stake,
    ) -> impl Future<Output = Result<Self::Transaction, ChainError>>;

    /// Whether it can't be executed any more. Asked before the stake is looked for: only where
    /// none is found then was it never made.
    fn expired(
        &self,
        transaction: &Self::Transaction,
    ) -> impl Future<Output = Result<bool, ChainError>>;

    /// Takes a new seal token, and reads the stake with it.
    fn renew_seal_token(&self, stake: &Stake) -> impl Future<Output = Result<Stake, ChainError>>;

    /// Submits it; submitting the same one again is safe.
    fn submit_stake(
        &self,
        transaction: &Self::Transaction,
    ) -> impl Future<Output = Result<Stake, ChainError>>;

    /// The bytes to keep on disk before it is submitted. They hold no secret.
    fn encode(&self, transaction: &Self::Transaction) -> Vec<u8>;

    /// What was kept; `None`: the bytes are damaged.
    fn decode(&self, bytes: &[u8]) -> Option<Self::Transaction>;

    /// The stake as it is now.
    fn reread(&self, stake: &Stake) -> impl Future<Output = Result<Stake, ChainError>>;

    /// The stake as it is now, corroborated by a second opinion: asked before anything that can't
    /// be undone, again and again while there is none.
    fn confirm(&self, stake: &Stake) -> impl Future<Output = Result<Stake, ChainError>>;

    /// The masters whose keys count now, by the pool's directory, corroborated by a second fullnode
    /// where two are configured; `None`: the configuration names no directory.
    fn masters(&self) -> impl Future<Output = Result<Option<Vec<KnownMaster>>, ChainError>>;

    /// Requests the unstake.
    fn request_unstake(&self, stake: &Stake) -> impl Future<Output = Result<(), ChainError>>;

    /// Withdraws a stake whose time has come.
    fn withdraw(&self, stake: &Stake) -> impl Future<Output = Result<(), ChainError>>;

    /// Builds and signs the transaction that sends all coins to another account; `None`: there are
    /// none that pay for their own sending.
    fn prepare_payout(
        &self,
        receiver: Address,
    ) -> impl Future<Output = Result<Option<Self::Payout>, ChainError>>;

    /// Whether it can't be executed any more.
    fn payout_expired(
        &self,
        payout: &Self::Payout,
    ) -> impl Future<Output = Result<bool, ChainError>>;

    /// Submits it; submitting the same one again sends nothing twice.
    fn submit_payout(&self, payout: &Self::Payout) -> impl Future<Output = Result<(), ChainError>>;

    /// The bytes to keep on disk before it is submitted. They hold no secret.
    fn encode_payout(&self, payout: &Self::Payout) -> Vec<u8>;

    /// What was kept, if it is for this receiver; `None`: it is not, or the bytes are damaged.
    fn decode_payout(&self, bytes: &[u8], receiver: Address) -> Option<Self::Payout>;

    /// Tells what happens to the stake, until it is gone; the doubts that [`Self::confirm`] finds, too.
    fn watch(
        &self,
        stake: &Stake,
    ) -> impl Future<Output = Result<LocalBoxStream<'static, WatchEvent>, ChainError>>;
}

/// What staking takes.
#[derive(Debug)]
pub enum Prepared<T> {
    /// Nothing: the node has a stake.
    Staked(Box<Stake>),
    /// This transaction.
    Transaction(T),
}

/// A master that the chain knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownMaster {
    /// The object id of its enclave.
    pub enclave: String,
    /// Its key.
    pub public_key: chain::PublicKey,
    /// SHA-256 of its public key (SubjectPublicKeyInfo) in TLS.
    pub tls_key_sha256: [u8; 32],
}

/// What the master said to a challenge, and over which connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenged {
    /// Its answer.
    pub answer: ChallengeResponse,
    /// SHA-256 of the public key (SubjectPublicKeyInfo) that it showed in TLS.
    pub tls_key_sha256: [u8; 32],
}

/// The cluster's master.
pub trait Master {
    /// A fresh nonce for a registration, and the master's proof of itself.
    fn challenge(
        &self,
        request: &ChallengeRequest,
    ) -> impl Future<Output = Result<Challenged, MasterError>>;

    /// Registers with the master that shows this key in TLS. Any other gets nothing.
    fn register(
        &self,
        channel: &[u8; 32],
        request: &RegisterRequest,
    ) -> impl Future<Output = Result<RegisterResponse, MasterError>>;

    /// Reports to the master that shows this key in TLS. `seal_token` is for the header.
    fn heartbeat(
        &self,
        channel: &[u8; 32],
        seal_token: &str,
        request: &HeartbeatRequest,
    ) -> impl Future<Output = Result<HeartbeatResponse, MasterError>>;
}

/// PID 1.
pub trait Init {
    /// Whether anybody listens: `false` when the staker was not started by `init`.
    fn present(&self) -> bool;

    /// Sends a message.
    fn send(&self, message: &ToInit) -> impl Future<Output = Result<(), InitError>>;
}

/// What the node uses of itself.
pub trait Meter {
    /// Measures; processor time counts from the measurement before.
    fn measure(&mut self) -> Measurement;
}

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measurement {
    /// Percentages of the whole node.
    pub usage: ResourceUsage,
    /// Pods with a process in them.
    pub running_pods: u32,
}

/// A failed conversation with the master.
#[derive(Debug, thiserror::Error)]
pub enum MasterError {
    /// No answer at all.
    #[error("the master does not answer: {detail}")]
    Unreachable {
        /// What the transport says.
        detail: String,
    },
    /// It can't verify at the moment.
    #[error("the master can't verify at the moment: {message}")]
    Unavailable {
        /// Its own words.
        message: String,
        /// When to ask again, in seconds, where it says so.
        retry_after: Option<u64>,
    },
    /// It refuses.
    #[error("the master refuses ({code}): {message}")]
    Refused {
        /// Why.
        code: RefusalCode,
        /// Its own words.
        message: String,
    },
    /// It answers something that is not of the protocol.
    #[error("the master's answer can't be used: {detail}")]
    InvalidAnswer {
        /// What is wrong with it.
        detail: String,
    },
    /// It does not prove that its key is one that the chain knows. It gets nothing.
    #[error("the master is not trusted: {detail}")]
    Untrusted {
        /// What is wrong.
        detail: String,
    },
    /// It shows another TLS key than the one that it registered the node with.
    #[error("the master shows another TLS key than before")]
    OtherKey,
    /// Whether its key is known can't be read.
    #[error("the chain can't say whether the master's key counts")]
    Directory(#[source] ChainError),
    /// This machine's TPM proves nothing.
    #[error("the TPM does not prove what this machine runs")]
    Proof(#[from] ProverError),
    /// There is nothing to show to it.
    #[error("the stake has no seal token to show to the master")]
    NoSealToken,
    /// The request could not be signed.
    #[error("the request can't be signed")]
    Signing(#[source] Box<dyn std::error::Error>),
}

/// A message that did not get to PID 1.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// It is not one.
    #[error("the message to init can't be written")]
    Message(#[source] wire::child::MessageError),
    /// The connection is gone.
    #[error("the connection to init is broken")]
    Connection(#[source] std::io::Error),
}
