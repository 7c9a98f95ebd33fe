//! The admitted names of Nodes, as the chain and the cluster change: names go with their stakes, and those
//! that were lost are admitted again.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use chain::ObjectId;
use reqwest::StatusCode;
use tracing::{info, warn};
use wire::NodeName;

use super::admission::{self, Holder};
use super::objects::Backing;
use super::round::Round;
use super::{Cluster, ClusterError, MOST_CHANGES};
use crate::chain_link::StakeReader;
use crate::service::Master;

/// How many shards of names are looked at in a round over all stakes: all of them in a quarter of an
/// hour.
const SHARDS: u8 = 16;

impl<C: StakeReader> Master<C> {
    /// Looks at the names of a few shards: those whose stakes are gone are dismissed, also of nodes that
    /// never came, and those that are missing are admitted again. `of_nodes` are the names of Nodes whose
    /// stakes this round has not found gone. A name whose stake can't be read stays as it was: admitted.
    pub(super) async fn tend_names(
        &self,
        cluster: &Cluster,
        of_nodes: &BTreeMap<NodeName, ObjectId>,
        round: &mut Round,
    ) {
        let backed = |(name, stake): (&NodeName, &ObjectId)| {
            let (stake, image) = (*stake, None);
            (name.clone(), Backing { stake, image })
        };
        // a session that lives says nothing of the stake
        let mut of_sessions = self.sessions.names();
        of_sessions.retain(|name, _| !of_nodes.contains_key(name));
        let mut turn = cluster.held().clone();
        let next = cluster.shard.load(Ordering::Relaxed);
        turn.extend((0..SHARDS).map(|more| format!("{:02x}", next.wrapping_add(more))));
        for shard in &turn {
            // one ConfigMap that is missing does not keep the others
            let Some(read) = round.take(cluster.api.admitted(shard).await) else {
                continue;
            };
            let names = read.names();
            let unread = names
                .iter()
                .filter(|(name, record)| of_nodes.get(name) != Some(record));
            for (name, backing, _) in self.all_gone(unread.map(backed).collect(), round).await {
                round.take(cluster.dismiss(&name, backing.stake).await);
            }
            let missing = |(name, _): &(&NodeName, &ObjectId)| {
                admission::shard(name.as_str()) == shard && !names.contains_key(*name)
            };
            let mut lost: BTreeMap<_, _> = of_nodes.iter().filter(missing).map(backed).collect();
            let unread: Vec<_> = of_sessions.iter().filter(missing).map(backed).collect();
            lost.extend(unread.iter().cloned());
            for (name, ..) in self.all_gone(unread, round).await {
                lost.remove(&name);
            }
            if round.is_cut_off() {
                return;
            }
            for (name, backing) in lost {
                if round
                    .take(cluster.admit(&name, backing.stake).await)
                    .is_some()
                {
                    let node = name.as_str();
                    warn!(node, "the name was missing, and is admitted again");
                }
            }
            cluster.held().remove(shard);
        }
        cluster.shard.fetch_add(SHARDS, Ordering::Relaxed);
    }
}

impl Cluster {
    /// Takes away the name of a stake that is gone, where it stands for that.
    pub(super) async fn dismiss(
        &self,
        node: &NodeName,
        record: ObjectId,
    ) -> Result<(), ClusterError> {
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
}
