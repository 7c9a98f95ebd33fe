//! What a round over the cluster left open, and when it asks for nothing more.

use chain::ChainError;

use super::ClusterError;
use super::tend::READS;

/// Answers in a row that do not come, until a round asks for nothing more.
const MOST_OUTAGES: usize = 2 * READS;

/// What a round could not finish.
#[derive(Debug, thiserror::Error)]
pub(super) enum RoundError {
    /// The cluster.
    #[error("the cluster can't be tended")]
    Cluster(#[from] ClusterError),
    /// One Node of it.
    #[error("the Node {node} can't be removed")]
    Node {
        /// Its name.
        node: String,
        /// Why.
        source: ClusterError,
    },
    /// The chain.
    #[error("the stakes of Nodes can't be read")]
    Chain(#[source] ChainError),
    /// The chain, without an answer.
    #[error("the chain does not answer in time")]
    Slow,
}

impl RoundError {
    /// Whether nothing was heard: the same may hold for whatever is asked next.
    fn is_outage(&self) -> bool {
        match self {
            Self::Cluster(source) | Self::Node { source, .. } => {
                matches!(source, ClusterError::Unreachable { .. })
            }
            Self::Chain(source) => matches!(
                source,
                ChainError::Unreachable { .. } | ChainError::Stale { .. }
            ),
            Self::Slow => true,
        }
    }
}

/// What a round left open.
#[derive(Default)]
pub(super) struct Round {
    /// Tokens whose nodes have not come.
    pub(super) waiting: usize,
    /// The first thing that went wrong.
    pub(super) failure: Option<RoundError>,
    /// How many records, Nodes and Secrets are left for the next round.
    pub(super) left: usize,
    /// Answers in a row that did not come.
    outages: usize,
}

impl Round {
    /// One record's trouble is no other's: it is left for the next round.
    pub(super) fn note(&mut self, failure: impl Into<RoundError>) {
        let failure = failure.into();
        self.left += 1;
        self.outages = if failure.is_outage() {
            self.outages + 1
        } else {
            0
        };
        self.failure.get_or_insert(failure);
    }

    /// What came of one record, where something came.
    pub(super) fn take<T, E: Into<RoundError>>(&mut self, answer: Result<T, E>) -> Option<T> {
        match answer {
            Ok(answer) => {
                self.outages = 0;
                Some(answer)
            }
            Err(failure) => {
                self.note(failure);
                None
            }
        }
    }

    /// Whether nothing has answered for long: what is left is for the next round.
    pub(super) const fn is_cut_off(&self) -> bool {
        self.outages >= MOST_OUTAGES
    }
}
