//! What a check of a stake costs: round trips and reads, counted at the double.

use std::collections::BTreeMap;
use std::time::Duration;

use chain::{Chain, Mist, NodeKey, WatchEvent};
use fullnode::Account;
use futures::future::join_all;

use crate::common::{Devnet, SUI, next, within};

/// How many nodes there are where there are many, and how many of them stake at the same time.
const NODES: usize = 200;
const AT_ONCE: usize = 20;

fn requests(expected: &[(&str, u64)]) -> BTreeMap<String, u64> {
    let owned = |(method, count): &(&str, u64)| ((*method).to_owned(), *count);
    expected.iter().map(owned).collect()
}

#[tokio::test]
async fn a_poll_is_one_round_trip_and_two_where_the_seal_token_is_another() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (chain, stake) = devnet.staked().await;
    let (pool, record) = (devnet.config.pool, stake.record);
    devnet.running.take_requests();
    devnet.node.take_reads();

    chain.reread(&stake).await.unwrap();
    assert_eq!(
        devnet.running.take_requests(),
        requests(&[("BatchGetObjects", 1)])
    );
    assert_eq!(
        devnet.node.take_reads(),
        BTreeMap::from([(pool, 1), (record, 1)])
    );

    let renewed = within(chain.renew_seal_token(&devnet.operator, &stake))
        .await
        .unwrap();
    devnet.running.take_requests();
    devnet.node.take_reads();
    assert_eq!(chain.reread(&stake).await.unwrap(), renewed);
    assert_eq!(
        devnet.running.take_requests(),
        requests(&[("BatchGetObjects", 1), ("GetObject", 1)])
    );
    let token = renewed.seal_token.unwrap().id;
    assert_eq!(
        devnet.node.take_reads(),
        BTreeMap::from([(pool, 1), (record, 1), (token, 1)])
    );
}

/// Between slashes the watch costs nothing but its stream and these polls.
#[tokio::test]
async fn a_watch_polls_with_one_round_trip() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (_, stake) = devnet.staked().await;
    let mut settings = devnet.settings();
    settings.timeouts.reread = Duration::from_millis(20);
    let chain = Chain::connect(&settings).await.unwrap();
    let mut watch = chain.watch_stake(&stake);
    assert!(matches!(next(&mut watch).await, WatchEvent::Watching(_)));
    devnet.running.take_requests();
    devnet.node.take_reads();

    let mut polls = 0;
    within(async {
        while polls < 10 {
            for (method, count) in devnet.running.take_requests() {
                assert_eq!(method, "BatchGetObjects");
                polls += count;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    let read: Vec<_> = devnet.node.take_reads().into_keys().collect();
    assert_eq!(read, [stake.record, devnet.config.pool].sorted());
}

/// The check of a heartbeat is [`Chain::reread`]. It changes nothing, so that no transaction waits
/// for it; and of shared objects it reads the node's own record, and the pool that holds the
/// minimum which the stake is measured by, in the same round trip.
#[tokio::test]
async fn a_heartbeats_check_reads_the_own_record_and_the_pool_however_many_nodes_there_are() {
    let keys: Vec<NodeKey> = (0..NODES).map(|_| NodeKey::generate().unwrap()).collect();
    let devnet = Devnet::with(&[5 * SUI], |config| {
        config
            .genesis
            .accounts
            .extend(keys.iter().map(|key| Account {
                address: key.address(),
                coins_mist: vec![2 * SUI],
            }));
    })
    .await;
    let chain = devnet.chain().await;
    let pool = devnet.config.pool;
    let mut stakes = Vec::new();
    let stake = async |index: usize, key: &NodeKey| {
        let name = format!("edge-{index:04}");
        chain.stake(key, &name, Mist(SUI)).await.unwrap()
    };
    let (first, others) = keys.split_first().unwrap();
    stakes.push(within(stake(0, first)).await);
    devnet.running.take_requests();
    devnet.node.take_reads();
    chain.reread(&stakes[0]).await.unwrap();
    let alone = devnet.running.take_requests();
    assert_eq!(alone, requests(&[("BatchGetObjects", 1)]));
    assert_eq!(
        devnet.node.take_reads(),
        BTreeMap::from([(pool, 1), (stakes[0].record, 1)])
    );

    for (chunk, keys) in others.chunks(AT_ONCE).enumerate() {
        let made = keys
            .iter()
            .enumerate()
            .map(|(index, key)| stake(1 + chunk * AT_ONCE + index, key));
        stakes.extend(within(join_all(made)).await);
    }
    let executed = devnet.node.executed_transactions();
    devnet.running.take_requests();
    devnet.node.take_reads();
    for stake in &stakes {
        let now = chain.reread(stake).await.unwrap();
        assert_eq!(now, *stake);
        assert_eq!(devnet.running.take_requests(), alone);
        assert_eq!(
            devnet.node.take_reads(),
            BTreeMap::from([(pool, 1), (stake.record, 1)])
        );
    }
    assert_eq!(devnet.node.executed_transactions(), executed);
}

/// In the order of a map's keys.
trait Sorted {
    fn sorted(self) -> Self;
}

impl<T: Ord, const N: usize> Sorted for [T; N] {
    fn sorted(mut self) -> Self {
        self.sort();
        self
    }
}
