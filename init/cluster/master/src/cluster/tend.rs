//! What goes on in the background: tokens go when their nodes have come or their time is over,
//! Nodes go when their stakes are gone, or the releases that they run.
//!
//! A Node is removed for what the chain says of its stake or its release, never for being silent: an
//! outage is no slash.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use attest_verify::Fault;
use chain::{ChainError, ObjectId, Verdict};
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};
use wire::NodeName;
use wire::backoff::Backoff;

use super::objects::{
    Arrival, Backing, MANAGED_BY, MASTER, Metadata, NODE, Note, STAKE_HIGH, TOKEN,
};
use super::{Cluster, ClusterError, later};
use crate::chain_link::StakeReader;
use crate::service::Master;

/// How often nodes are looked for that have a token.
const WAITING: Duration = Duration::from_secs(3);
/// How often the stakes of all Nodes are read, and tokens of other masters looked at.
const STAKES: Duration = Duration::from_secs(60);
/// The shortest time between two rounds, however many nodes register.
const PAUSE: Duration = Duration::from_secs(1);
/// After the first round that failed; doubled for each further one.
const FAILED: Backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(60));

/// A round that was not finished.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    /// The cluster.
    #[error("the cluster can't be tended")]
    Cluster(#[from] ClusterError),
    /// The chain.
    #[error("the stakes of Nodes can't be read")]
    Chain(#[source] ChainError),
    /// The chain, without an answer.
    #[error("the chain does not answer in time")]
    Slow,
}

/// What a round left open.
#[derive(Default)]
struct Round {
    /// Tokens whose nodes have not come.
    waiting: usize,
    /// The first thing that went wrong.
    failure: Option<RoundError>,
}

impl Round {
    fn note(&mut self, failure: impl Into<RoundError>) {
        self.failure.get_or_insert(failure.into());
    }
}

/// What a Node or a token was let in by, and is without now.
enum Gone {
    /// The stake.
    Stake(Verdict),
    /// The release.
    Release(Fault),
}

impl Gone {
    fn why(&self) -> String {
        match self {
            Self::Stake(verdict) => format!("the stake is {verdict}"),
            Self::Release(fault) => fault.message.clone(),
        }
    }
}

impl<C: StakeReader> Master<C> {
    /// Tends the cluster for ever; nothing to do for a master without one.
    pub async fn tend(self: Arc<Self>) -> Infallible {
        let Some(cluster) = self.join.tokens.cluster() else {
            return std::future::pending().await;
        };
        let mut stakes_due = Instant::now();
        let mut backoff = FAILED;
        loop {
            let said = cluster.stakes.swap(false, Ordering::Relaxed);
            let stakes = said || Instant::now() >= stakes_due;
            let round = self.round(cluster, stakes).await;
            if stakes && round.failure.is_none() {
                stakes_due = Instant::now() + STAKES;
            }
            let wait = match round.failure {
                Some(failure) => {
                    let failure = anyhow::Error::new(failure);
                    let wait = backoff.fail();
                    warn!(seconds = wait.as_secs(), "{failure:#}; again later");
                    wait
                }
                None => {
                    backoff.reset();
                    if round.waiting > 0 { WAITING } else { STAKES }
                }
            };
            sleep(PAUSE).await;
            tokio::select! {
                () = sleep(wait.saturating_sub(PAUSE)) => {}
                () = cluster.waker.notified() => {}
            }
        }
    }

    /// One look at everything that the master keeps in the cluster.
    async fn round(&self, cluster: &Cluster, stakes: bool) -> Round {
        let mut round = Round::default();
        let selector = format!("{MANAGED_BY}={MASTER}");
        let secrets = match cluster.api.secrets(&selector).await {
            Ok(secrets) => secrets,
            Err(failure) => {
                round.note(failure);
                return round;
            }
        };
        let now = (self.clock)();
        let mut open = Vec::new();
        for secret in secrets {
            let Some(note) = Note::of(&secret) else {
                warn!(
                    secret = secret.name,
                    "a Secret with the master's label is not its own"
                );
                continue;
            };
            if note.kind == TOKEN {
                match cluster.tend_token(&secret, &note, now).await {
                    Ok(true) => continue,
                    Ok(false) => round.waiting += 1,
                    Err(failure) => round.note(failure),
                }
            }
            open.push((secret, note));
        }
        if stakes && let Err(failure) = self.tend_stakes(cluster, &open, now, &mut round).await {
            round.note(failure);
        }
        round
    }

    /// A round of everything, for tests.
    #[cfg(test)]
    pub(super) async fn look(
        &self,
        cluster: &Cluster,
    ) -> Option<impl std::error::Error + Send + Sync + 'static> {
        self.round(cluster, true).await.failure
    }

    /// Looks at what stands behind all Nodes, tokens, and Nodes that were removed before.
    async fn tend_stakes(
        &self,
        cluster: &Cluster,
        open: &[(Metadata, Note)],
        now: u64,
        round: &mut Round,
    ) -> Result<(), RoundError> {
        for node in cluster.api.nodes(STAKE_HIGH).await? {
            let Some(backing) = Backing::of(&node) else {
                error!(node = node.name, "the Node's labels name no stake");
                continue;
            };
            self.tend_node(cluster, &node, backing, now, round).await?;
        }
        for (secret, note) in open {
            if note.kind == TOKEN {
                if let Some(gone) = self.gone(note.backing, round).await? {
                    cluster.api.delete_secret(&secret.name).await?;
                    info!(
                        node = note.node.as_str(),
                        why = gone.why(),
                        "token taken back"
                    );
                }
                continue;
            }
            if let Some(node) = cluster.returned(secret, note).await? {
                self.tend_node(cluster, &node, note.backing, now, round)
                    .await?;
            } else if is_over(note, now)? {
                cluster.api.delete_secret(&secret.name).await?;
            }
        }
        self.tend_names(cluster, round).await
    }

    /// Looks at the names of one shard after the other, and takes away those whose stakes are gone:
    /// also of nodes that never came.
    async fn tend_names(&self, cluster: &Cluster, round: &mut Round) -> Result<(), RoundError> {
        for (name, record) in cluster.next_names().await? {
            if self.over(record, round).await?.is_some() {
                cluster.dismiss(&name).await?;
            }
        }
        Ok(())
    }

    async fn tend_node(
        &self,
        cluster: &Cluster,
        node: &Metadata,
        backing: Backing,
        now: u64,
        round: &mut Round,
    ) -> Result<(), RoundError> {
        let Some(gone) = self.gone(backing, round).await? else {
            return Ok(());
        };
        // before the Node goes, or its kubelet would create it again
        if matches!(gone, Gone::Stake(_))
            && let Ok(name) = node.name.parse()
        {
            cluster.dismiss(&name).await?;
        }
        // one Node that can't be removed does not keep the others
        match cluster.remove(node, backing, &gone.why(), now).await {
            Ok(()) => {
                // what was refused for its release is told so at its next heartbeat
                if matches!(gone, Gone::Stake(_)) {
                    self.sessions.end_all_of(backing.stake);
                }
            }
            Err(failure) => round.note(failure),
        }
        Ok(())
    }

    /// What does not stand behind a Node any more.
    async fn gone(&self, backing: Backing, round: &mut Round) -> Result<Option<Gone>, RoundError> {
        let fault = backing.image.and_then(|image| self.releases.fault(&image));
        if let Some(fault) = fault {
            return Ok(Some(Gone::Release(fault)));
        }
        let stake = self.over(backing.stake, round).await?;
        Ok(stake.map(|stake| Gone::Stake(stake.verdict)))
    }

    /// The stake of a record where it is gone. What the fullnodes do not agree on is left for the
    /// next round, as is everything where the chain can't be asked.
    async fn over(
        &self,
        record: ObjectId,
        round: &mut Round,
    ) -> Result<Option<chain::Stake>, RoundError> {
        match self.ended(record).await {
            Ok(Ok(stake)) => Ok(stake),
            Ok(Err(failure @ ChainError::Disagreement { .. })) => {
                round.note(RoundError::Chain(failure));
                Ok(None)
            }
            // a fullnode that is alone is believed of one record at a time: stay with this one
            Ok(Err(failure)) => Err(RoundError::Chain(failure)),
            Err(_) => Err(RoundError::Slow),
        }
    }
}

impl Cluster {
    /// Takes away the name of a stake that is gone.
    async fn dismiss(&self, name: &NodeName) -> Result<(), ClusterError> {
        self.api.admit(name, None).await?;
        info!(node = name.as_str(), "the name may not be taken any more");
        Ok(())
    }

    /// The names of the shard whose turn it is, with their records.
    async fn next_names(&self) -> Result<BTreeMap<NodeName, ObjectId>, ClusterError> {
        let shard = self.shard.fetch_add(1, Ordering::Relaxed);
        self.api.admitted(&format!("{shard:02x}")).await
    }

    /// A Node that was removed and is back by its kubelet's certificate. One that came with a token is
    /// none, whoever has it: it gets its labels from that.
    pub(super) async fn returned(
        &self,
        secret: &Metadata,
        note: &Note,
    ) -> Result<Option<Metadata>, ClusterError> {
        let back = self.api.node(&note.node).await?;
        let back =
            back.filter(|node| note.arrival(secret.creation_timestamp, node) == Arrival::New);
        let Some(node) = back else {
            return Ok(None);
        };
        // after the Node: whoever came with a token had it before, and a note that was there then has
        // gone with it. A token that is gone by now has left labels, and so another version of the
        // Node, which is not removed.
        let of_node = format!("{MANAGED_BY}={MASTER},{NODE}={}", note.node);
        let now = self.api.secrets(&of_node).await?;
        let stays = now.iter().any(|other| other.uid == secret.uid);
        let token = now
            .iter()
            .filter_map(Note::of)
            .any(|other| other.kind == TOKEN);
        Ok((stays && !token).then_some(node.metadata))
    }

    /// Whether a token has gone: its node has come, or its time is over.
    async fn tend_token(
        &self,
        secret: &Metadata,
        note: &Note,
        now: u64,
    ) -> Result<bool, ClusterError> {
        let node = self.api.node(&note.node).await?;
        let arrival = node.as_ref().map_or(Arrival::Waiting, |node| {
            note.arrival(secret.creation_timestamp, node)
        });
        match (arrival, &node) {
            (Arrival::New, Some(node)) => self.label(&node.metadata, note.backing).await?,
            (Arrival::Waiting, _) if !is_over(note, now)? => return Ok(false),
            _ => {}
        }
        self.api.delete_secret(&secret.name).await?;
        let why = if arrival == Arrival::Waiting {
            "its time is over"
        } else {
            "its node has come"
        };
        info!(
            node = note.node.as_str(),
            secret = secret.name,
            why,
            "token removed"
        );
        Ok(true)
    }
}

fn is_over(note: &Note, now: u64) -> Result<bool, ClusterError> {
    Ok(later(now, Duration::ZERO)? >= note.expires)
}
