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
use chain::{ObjectId, Verdict};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use reqwest::StatusCode;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};
use wire::NodeName;
use wire::backoff::Backoff;

use super::admission;
use super::objects::{
    Arrival, Backing, MANAGED_BY, MASTER, Metadata, NODE, Note, STAKE_HIGH, TOKEN,
};
use super::round::{Round, RoundError};
use super::{Cluster, ClusterError, later};
use crate::chain_link::StakeReader;
use crate::service::Master;

/// How often nodes are looked for that have a token.
const WAITING: Duration = Duration::from_secs(3);
/// How often the stakes of all Nodes are read, and tokens of other masters looked at.
const STAKES: Duration = Duration::from_secs(60);
/// The shortest time between two rounds, however many nodes register.
const PAUSE: Duration = Duration::from_secs(1);
/// Records and Nodes that a round reads side by side: a quarter of the reads of the chain that the
/// master makes at once, so that registrations find a place.
pub(super) const READS: usize = 8;
/// Tries to remove a Node that somebody else changes at the same time, as its kubelet does.
const MOST_RACES: usize = 5;
/// After the first round that failed; doubled for each further one.
const FAILED: Backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(60));

/// What a Node or a token was admitted by, and is without now.
pub(super) enum Gone {
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
        let (mut backoff, mut stakes_backoff) = (FAILED, FAILED);
        loop {
            let said = cluster.stakes.swap(false, Ordering::Relaxed);
            let stakes = said || Instant::now() >= stakes_due;
            let round = self.round(cluster, stakes).await;
            let failed = round.failure.is_some();
            let mut wait = if round.waiting > 0 { WAITING } else { STAKES };
            if let Some(failure) = round.failure {
                let failure = anyhow::Error::new(failure);
                let pause = if stakes {
                    stakes_backoff.fail()
                } else {
                    backoff.fail()
                };
                wait = wait.min(pause);
                warn!(
                    seconds = pause.as_secs(),
                    left = round.left,
                    "{failure:#}; again later"
                );
                if stakes {
                    stakes_due = Instant::now() + pause;
                }
            } else if stakes {
                (backoff, stakes_backoff) = (FAILED, FAILED);
                stakes_due = Instant::now() + STAKES;
            } else {
                backoff.reset();
            }
            if !failed {
                wait = wait.min(stakes_due.saturating_duration_since(Instant::now()));
            }
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
        if stakes {
            self.tend_stakes(cluster, &open, now, &mut round).await;
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

    /// Looks at what stands behind all Nodes, tokens, and Nodes that were removed before. What can't be
    /// read, or not be removed, keeps nothing else.
    async fn tend_stakes(
        &self,
        cluster: &Cluster,
        open: &[(Metadata, Note)],
        now: u64,
        round: &mut Round,
    ) {
        let mut backed = Vec::new();
        for node in round
            .take(cluster.api.nodes(STAKE_HIGH).await)
            .unwrap_or_default()
        {
            match Backing::of(&node) {
                Some(backing) => backed.push((node, backing)),
                None => error!(node = node.name, "the Node's labels name no stake"),
            }
        }
        let names = backed
            .iter()
            .filter_map(|(node, backing)| Some((node.name.parse().ok()?, backing.stake)));
        let mut of_nodes: BTreeMap<NodeName, ObjectId> = names.collect();
        for (node, backing, gone) in self.all_gone(backed, round).await {
            of_nodes.retain(|name, _| name.as_str() != node.name);
            self.remove(
                cluster,
                Leaving {
                    node,
                    backing,
                    note: None,
                },
                gone,
                now,
                round,
            )
            .await;
        }
        let (tokens, notes): (Vec<_>, Vec<_>) =
            open.iter().partition(|(_, note)| note.kind == TOKEN);
        let tokens = tokens.into_iter().map(|one| (one, one.1.backing)).collect();
        for ((secret, note), _, gone) in self.all_gone(tokens, round).await {
            let deleted = cluster.api.delete_secret(&secret.name).await;
            if round.take(deleted).is_some() {
                let (node, why) = (note.node.as_str(), gone.why());
                info!(node, why, "token revoked");
            }
        }
        self.tend_returned(cluster, notes, now, round).await;
        self.tend_names(cluster, &of_nodes, round).await;
    }

    /// Looks for Nodes that were removed and are back.
    async fn tend_returned(
        &self,
        cluster: &Cluster,
        notes: Vec<&(Metadata, Note)>,
        now: u64,
        round: &mut Round,
    ) {
        let mut back = Vec::new();
        let (mut notes, mut looks) = (notes.into_iter(), FuturesUnordered::new());
        loop {
            while looks.len() < READS
                && !round.is_cut_off()
                && let Some((secret, note)) = notes.next()
            {
                looks.push(cluster.look_for_returned(secret, note));
            }
            let Some((secret, note, answer)) = looks.next().await else {
                break;
            };
            match round.take(answer) {
                Some(Some(node)) => back.push(((node, secret, note), note.backing)),
                Some(None) if is_over(note, now).unwrap_or(false) => {
                    round.take(cluster.api.delete_secret(&secret.name).await);
                }
                Some(None) | None => {}
            }
        }
        for ((node, secret, note), backing, gone) in self.all_gone(back, round).await {
            let leaving = Leaving {
                node,
                backing,
                note: Some((secret, note)),
            };
            self.remove(cluster, leaving, gone, now, round).await;
        }
    }

    async fn remove(
        &self,
        cluster: &Cluster,
        leaving: Leaving<'_>,
        gone: Gone,
        now: u64,
        round: &mut Round,
    ) {
        if round.is_cut_off() {
            return;
        }
        // before the Node goes, or its kubelet would create it again. A name that stays does not keep
        // the Node: one that comes back is removed again.
        if matches!(gone, Gone::Stake(_))
            && admission::shard(&leaving.node.name) != admission::OTHERS
            && let Ok(name) = leaving.node.name.parse()
        {
            round.take(cluster.dismiss(&name, leaving.backing.stake).await);
        }
        let (name, stake) = (leaving.node.name.clone(), leaving.backing.stake);
        let removed = cluster.remove_in_a_race(leaving, &gone.why(), now).await;
        let removed = removed.map_err(|source| RoundError::Node { node: name, source });
        // what was refused for its release is told so at its next heartbeat
        if round.take(removed).is_some() && matches!(gone, Gone::Stake(_)) {
            self.sessions.end_all_of(stake);
        }
    }

    /// Those of some Nodes, tokens or names that nothing stands behind any more: several are read at a
    /// time, and what can't be read is left for the next round.
    pub(super) async fn all_gone<T: Send>(
        &self,
        backed: Vec<(T, Backing)>,
        round: &mut Round,
    ) -> Vec<(T, Backing, Gone)> {
        let (mut all, mut reads) = (Vec::new(), FuturesUnordered::new());
        let mut backed = backed.into_iter();
        loop {
            while reads.len() < READS
                && !round.is_cut_off()
                && let Some((one, backing)) = backed.next()
            {
                reads.push(self.gone(one, backing));
            }
            let Some((one, backing, gone)) = reads.next().await else {
                return all;
            };
            if let Some(Some(gone)) = round.take(gone) {
                all.push((one, backing, gone));
            }
        }
    }

    /// What does not stand behind a Node any more.
    async fn gone<T>(
        &self,
        one: T,
        backing: Backing,
    ) -> (T, Backing, Result<Option<Gone>, RoundError>) {
        let fault = backing.image.and_then(|image| self.releases.fault(&image));
        let gone = match fault {
            Some(fault) => Ok(Some(Gone::Release(fault))),
            None => self.over(backing.stake).await,
        };
        (one, backing, gone)
    }

    /// How the stake of a record has ended, where it has.
    async fn over(&self, record: ObjectId) -> Result<Option<Gone>, RoundError> {
        match self.ended(record).await {
            Ok(Ok(stake)) => Ok(stake.map(|stake| Gone::Stake(stake.verdict))),
            Ok(Err(failure)) => Err(RoundError::Chain(failure)),
            Err(_) => Err(RoundError::Slow),
        }
    }
}

/// A Node that nothing stands behind any more.
struct Leaving<'a> {
    /// As it was seen.
    node: Metadata,
    backing: Backing,
    /// The note of its first removal, where it came back by its kubelet's certificate.
    note: Option<(&'a Metadata, &'a Note)>,
}

impl Cluster {
    /// Removes a Node. One that was changed since it was seen (409 Conflict) is read again at once: its
    /// kubelet reports every few seconds. What is another Node by now, or stands for another stake or
    /// image, stays.
    async fn remove_in_a_race(
        &self,
        leaving: Leaving<'_>,
        why: &str,
        now: u64,
    ) -> Result<(), ClusterError> {
        let Leaving {
            mut node,
            backing,
            note,
        } = leaving;
        for _ in 1..MOST_RACES {
            match self.remove(&node, backing, why, now).await {
                Err(error) if error.is(StatusCode::CONFLICT) => {}
                removed => return removed,
            }
            let again = match note {
                Some((secret, note)) => self.returned(secret, note).await?,
                None => self
                    .api
                    .node_as_listed(&node.name)
                    .await?
                    .map(|now| now.metadata),
            };
            let same = |now: &Metadata| {
                now.uid == node.uid && (note.is_some() || Backing::of(now) == Some(backing))
            };
            let Some(now) = again.filter(same) else {
                return Ok(());
            };
            node = now;
        }
        self.remove(&node, backing, why, now).await
    }

    /// [`Self::returned`], beside what it is about.
    async fn look_for_returned<'a>(
        &self,
        secret: &'a Metadata,
        note: &'a Note,
    ) -> (
        &'a Metadata,
        &'a Note,
        Result<Option<Metadata>, ClusterError>,
    ) {
        (secret, note, self.returned(secret, note).await)
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
