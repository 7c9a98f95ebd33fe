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
use reqwest::StatusCode;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};
use wire::NodeName;
use wire::backoff::Backoff;

use super::admission::{self, Holder};
use super::objects::{
    Arrival, Backing, MANAGED_BY, MASTER, Metadata, NODE, Note, STAKE_HIGH, TOKEN,
};
use super::{Cluster, ClusterError, MOST_CHANGES, later};
use crate::chain_link::StakeReader;
use crate::service::Master;

/// How many shards of names are looked at in a round over all stakes: all of them in a quarter of an
/// hour.
const SHARDS: u8 = 16;
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
    /// Stakes that were read, `Some` where they are over: none is read twice.
    read: BTreeMap<ObjectId, Option<chain::Stake>>,
}

impl Round {
    fn note(&mut self, failure: impl Into<RoundError>) {
        self.failure.get_or_insert(failure.into());
    }
}

/// What a Node or a token was admitted by, and is without now.
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
        let mut standing = self.sessions.names();
        for node in cluster.api.nodes(STAKE_HIGH).await? {
            let Some(backing) = Backing::of(&node) else {
                error!(node = node.name, "the Node's labels name no stake");
                continue;
            };
            let stands = !self.tend_node(cluster, &node, backing, now, round).await?;
            if stands && let Ok(name) = node.name.parse() {
                standing.insert(name, backing.stake);
            }
        }
        for (secret, note) in open {
            if note.kind == TOKEN {
                if let Some(gone) = self.gone(note.backing, round).await? {
                    cluster.api.delete_secret(&secret.name).await?;
                    info!(node = note.node.as_str(), why = gone.why(), "token revoked");
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
        self.tend_names(cluster, &standing, round).await
    }

    /// Looks at the names of a few shards: those whose stakes are gone are taken away, also of nodes
    /// that never came, and those that are missing are admitted again.
    async fn tend_names(
        &self,
        cluster: &Cluster,
        standing: &BTreeMap<NodeName, ObjectId>,
        round: &mut Round,
    ) -> Result<(), RoundError> {
        let mut turn = cluster.held().clone();
        let next = cluster.shard.load(Ordering::Relaxed);
        turn.extend((0..SHARDS).map(|more| format!("{:02x}", next.wrapping_add(more))));
        for shard in &turn {
            let names = match cluster.api.admitted(shard).await {
                Ok(read) => read.names(),
                // one ConfigMap that is missing does not keep the others
                Err(failure) => {
                    round.note(failure);
                    continue;
                }
            };
            for (name, record) in &names {
                // a session that lives says nothing of the stake; stakes of Nodes were read before
                if self.over(*record, round).await?.is_some() {
                    cluster.dismiss(name, *record).await?;
                }
            }
            for (name, record) in standing {
                if admission::shard(name.as_str()) == shard
                    && !names.contains_key(name)
                    && self.over(*record, round).await?.is_none()
                {
                    cluster.admit(name, *record).await?;
                    warn!(
                        node = name.as_str(),
                        "the name was missing, and is admitted again"
                    );
                }
            }
            cluster.held().remove(shard);
        }
        cluster.shard.fetch_add(SHARDS, Ordering::Relaxed);
        Ok(())
    }

    /// Removes a Node that nothing stands behind any more; whether that is so.
    async fn tend_node(
        &self,
        cluster: &Cluster,
        node: &Metadata,
        backing: Backing,
        now: u64,
        round: &mut Round,
    ) -> Result<bool, RoundError> {
        let Some(gone) = self.gone(backing, round).await? else {
            return Ok(false);
        };
        // before the Node goes, or its kubelet would create it again. A name that stays does not keep
        // the Node: one that comes back is removed again.
        if matches!(gone, Gone::Stake(_))
            && admission::shard(&node.name) != admission::OTHERS
            && let Ok(name) = node.name.parse()
            && let Err(failure) = cluster.dismiss(&name, backing.stake).await
        {
            round.note(failure);
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
        Ok(true)
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
        if let Some(stake) = round.read.get(&record) {
            return Ok(stake.clone());
        }
        match self.ended(record).await {
            Ok(Ok(stake)) => {
                round.read.insert(record, stake.clone());
                Ok(stake)
            }
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
    /// Takes away the name of a stake that is gone, where it stands for that.
    async fn dismiss(&self, node: &NodeName, record: ObjectId) -> Result<(), ClusterError> {
        let name = admission::shard(node.as_str());
        for _ in 0..MOST_CHANGES {
            let shard = self.api.admitted(name).await?;
            if shard.holder(node) != Some(Holder::Stake(record)) {
                return Ok(());
            }
            match self.api.patch_admitted(name, shard.patch(node, None)).await {
                Err(error) if error.is(StatusCode::CONFLICT) => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    info!(node = node.as_str(), "the name is admitted no more");
                    return Ok(());
                }
            }
        }
        Err(ClusterError::Contended)
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
