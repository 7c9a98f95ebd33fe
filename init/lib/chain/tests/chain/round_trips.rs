//! What a check of a stake costs: round trips and reads, counted at the double.

use std::collections::BTreeMap;
use std::time::Duration;

use chain::{Chain, Mist, NodeKey, PublicKey, Stake, Verdict, WatchEvent};

use fullnode::devnet::{Devnet, SUI, next, within};

/// How many nodes there are where there are many.
const NODES: usize = 10_000;

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
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (chain, stake) = devnet.staked().await;
    let check = async |stake: &Stake| {
        devnet.running.take_requests();
        devnet.node.take_reads();
        let now = within(chain.reread(stake)).await.unwrap();
        assert_eq!(now, *stake);
        (devnet.running.take_requests(), devnet.node.take_reads())
    };
    let alone = check(&stake).await;
    assert_eq!(alone.0, requests(&[("BatchGetObjects", 1)]));
    assert_eq!(
        alone.1,
        BTreeMap::from([(devnet.config.pool, 1), (stake.record, 1)])
    );

    let others: Vec<(PublicKey, String)> = (0..NODES)
        .map(|index| {
            let key = NodeKey::generate().unwrap().public();
            (key, format!("edge-9{index:05}"))
        })
        .collect();
    devnet.node.add_stakes(&others, Mist(SUI));
    let executed = devnet.node.executed_transactions();
    assert_eq!(check(&stake).await, alone, "the first one's costs no more");
    // nor do those of the others, which are there as the first one is
    for (key, node_id) in others.iter().step_by(NODES / 100) {
        let found = within(chain.find_stake(*key, node_id)).await.unwrap();
        let found = found.unwrap();
        assert_eq!(found.verdict, Verdict::Active);
        let (requests, reads) = check(&found).await;
        assert_eq!(requests, alone.0);
        assert_eq!(
            reads,
            BTreeMap::from([(devnet.config.pool, 1), (found.record, 1)])
        );
    }
    assert_eq!(devnet.node.executed_transactions(), executed);
    // they are stakes like any other: one of them is slashed, and no other object is written
    let (key, node_id) = &others[NODES / 2];
    let other = within(chain.find_stake(*key, node_id))
        .await
        .unwrap()
        .unwrap();
    devnet.slash(other.record, 10_000, 1).await;
    assert_eq!(
        within(chain.reread(&other)).await.unwrap().verdict,
        Verdict::Slashed
    );
    assert_eq!(check(&stake).await, alone);
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
