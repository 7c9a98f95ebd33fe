//! Everything that can go wrong, told apart by what is to be done about it.

use chain_types::{Address, ChainId, Mist, ObjectId, TransactionId};

use crate::key::KeyError;
use crate::stake::Verdict;

/// A fault in the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// None, or far too many.
    #[error("fullnodes must name between 1 and {most} fullnodes, not {found}")]
    Fullnodes {
        /// The most there may be.
        most: usize,
        /// How many there are.
        found: usize,
    },
    /// A URL of another kind.
    #[error("fullnodes holds {url:?}; expected https://host or https://host:port")]
    Url {
        /// What stands there.
        url: String,
    },
    /// The root certificate is not one.
    #[error("root_certificate holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)")]
    Certificate,
}

/// The call that submits a transaction.
pub(crate) const EXECUTE: &str = "ExecuteTransaction";

/// A failed conversation with the chain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// The settings are at fault.
    #[error("the chain settings cannot be used")]
    Settings(#[from] SettingsError),
    /// The key is at fault.
    #[error("the node's key cannot be used")]
    Key(#[from] KeyError),
    /// No answer: worth another try.
    #[error("fullnode {fullnode} cannot be reached for {call}: {detail}")]
    Unreachable {
        /// Its URL.
        fullnode: String,
        /// The call that failed.
        call: &'static str,
        /// What the transport says.
        detail: String,
    },
    /// The fullnode lags: worth another try, or another fullnode.
    #[error("fullnode {fullnode} lags {behind_seconds} s behind this machine's clock")]
    Stale {
        /// Its URL.
        fullnode: String,
        /// How far.
        behind_seconds: u64,
    },
    /// Fullnodes contradict one another: worth another try.
    #[error(
        "fullnodes disagree about {record}: only {agreeing} of {needed} show it as {claim}, \
         {contrary}"
    )]
    Disagreement {
        /// The record.
        record: ObjectId,
        /// What the first of them shows.
        claim: &'static str,
        /// How many show the same.
        agreeing: usize,
        /// How many are needed.
        needed: usize,
        /// Who shows what instead.
        contrary: String,
    },
    /// One fullnode alone shows what can't be undone: worth another try.
    #[error(
        "only fullnode {fullnode} shows {record} as {claim}, for {waited_seconds} s now; {}",
        until(*.needed_seconds)
    )]
    Unconfirmed {
        /// The record.
        record: ObjectId,
        /// What the fullnode shows.
        claim: &'static str,
        /// Its URL.
        fullnode: String,
        /// For how long it has shown that.
        waited_seconds: u64,
        /// How long it has to, while no other answers; `None`: it is the only one configured, and
        /// has no later checkpoint.
        needed_seconds: Option<u64>,
    },
    /// Another chain.
    #[error("fullnode {fullnode} serves another chain: expected {expected}, found {found}")]
    WrongChain {
        /// Its URL.
        fullnode: String,
        /// The chain in the settings.
        expected: ChainId,
        /// What the fullnode says.
        found: String,
    },
    /// The fullnode refuses a call for what it asks.
    #[error("fullnode {fullnode} refuses {call}: {detail}")]
    Refused {
        /// Its URL.
        fullnode: String,
        /// The call.
        call: &'static str,
        /// The reason given.
        detail: String,
    },
    /// An answer that makes no sense.
    #[error("fullnode {fullnode} gives a wrong answer to {call}: {detail}")]
    InvalidAnswer {
        /// Its URL.
        fullnode: String,
        /// The call.
        call: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// The object is not there.
    #[error("the {what} {id} is not on the chain")]
    NotFound {
        /// What it should be.
        what: &'static str,
        /// Its id.
        id: ObjectId,
    },
    /// The object is something else than it should be.
    #[error("the object {id} is no {what}: expected {expected}, found {found}")]
    WrongObject {
        /// What it should be.
        what: &'static str,
        /// Its id.
        id: ObjectId,
        /// What was expected of it.
        expected: String,
        /// What was found.
        found: String,
    },
    /// Too little money.
    #[error("{address} holds {available}, {missing} short of the {needed} for stake and gas")]
    BalanceShort {
        /// The account to send to.
        address: Address,
        /// What the transaction takes, gas included.
        needed: Mist,
        /// What is there.
        available: Mist,
        /// What is missing.
        missing: Mist,
    },
    /// A fullnode asks more for gas than a transaction is worth: nothing was signed.
    #[error(
        "fullnode {fullnode} asks {asked} for {what}, and no more than {bound} is paid for that"
    )]
    DearGas {
        /// Its URL.
        fullnode: String,
        /// What it is asked for.
        what: &'static str,
        /// What it asks.
        asked: Mist,
        /// The most that is paid.
        bound: Mist,
    },
    /// The stake asked for is less than the pool takes.
    #[error("a stake of {amount} is below the pool's minimum of {minimum}")]
    BelowMinimum {
        /// What was asked for.
        amount: Mist,
        /// The pool's minimum.
        minimum: Mist,
    },
    /// The pool takes no stakes yet: nothing was signed.
    #[error(
        "the pool {pool} takes no stakes yet: have its administrator open it \
         (administration::open_pool)"
    )]
    PoolNotOpen {
        /// The pool.
        pool: ObjectId,
    },
    /// The stake that this node already has is not one to go on with.
    #[error("the stake {record} does not let this be done: it is {verdict}")]
    WrongState {
        /// The record.
        record: ObjectId,
        /// Its state.
        verdict: Verdict,
    },
    /// The transaction cannot be put together.
    #[error("the transaction cannot be built: {detail}")]
    Unbuildable {
        /// What is missing.
        detail: String,
    },
    /// The contract said no; nothing was changed.
    #[error("{module}::{function} aborted with {name} (code {code})")]
    Aborted {
        /// The Move module.
        module: String,
        /// The Move function.
        function: String,
        /// The code, without the bits that carry its place in the source.
        code: u64,
        /// The constant's name and text where the chain or this crate knows them.
        name: String,
    },
    /// The package on the chain has moved on; nothing was changed.
    #[error(
        "{function} is refused: the package k3s_daas was upgraded on the chain, and this release \
         calls the version before; install a release that knows the new one"
    )]
    Upgraded {
        /// The Move function.
        function: String,
    },
    /// The transaction failed for another reason; nothing but gas was spent.
    #[error("the transaction {transaction} failed: {detail}")]
    Failed {
        /// Its digest.
        transaction: TransactionId,
        /// The chain's reason.
        detail: String,
    },
    /// The transaction was taken, but no checkpoint holds it yet. Submitting the same one
    /// again is safe.
    #[error("no checkpoint holds the transaction {transaction} after {seconds} s")]
    NotFinal {
        /// Its digest.
        transaction: TransactionId,
        /// How long was waited.
        seconds: u64,
    },
}

/// When a fullnode that is alone is believed.
fn until(needed_seconds: Option<u64>) -> String {
    match needed_seconds {
        Some(seconds) => {
            format!("no other answers, and alone it is believed after {seconds} s")
        }
        None => "it is believed at a later checkpoint, and has none".to_owned(),
    }
}

impl ChainError {
    /// Whether the same may well work later: the chain could not be asked, and nothing is known
    /// about what it would have said.
    pub fn retryable(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Stale { .. }
                | Self::Disagreement { .. }
                | Self::Unconfirmed { .. }
                | Self::NotFinal { .. }
        )
    }

    /// Whether this is the chain's own word that a transaction which was submitted has not been
    /// executed, and never will be: it ran and failed, or was rejected as invalid. Anything else
    /// says nothing about its fate.
    pub fn never_executed(&self) -> bool {
        match self {
            Self::Aborted { .. } | Self::Upgraded { .. } | Self::Failed { .. } => true,
            Self::Refused { call, .. } => *call == EXECUTE,
            _ => false,
        }
    }
}
