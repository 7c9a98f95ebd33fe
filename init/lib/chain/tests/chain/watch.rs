//! Watching a stake: slashes are seen by the stream, by reading again, and through outages.

use std::time::Duration;

use chain::{Chain, ChainError, Mist, Prepared, Stake, Verdict, WatchEvent};
use fullnode::Running;

use fullnode::devnet::{Devnet, NODE, Proxy, SUI, next, within};

/// Long enough that the watch does not read again by itself while a test runs.
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

#[tokio::test]
async fn a_slash_is_seen_by_the_stream() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (_, stake) = devnet.staked().await;
    let mut settings = devnet.settings();
    settings.timeouts.reread = NEVER;
    let chain = Chain::connect(&settings).await.unwrap();
    let mut watch = chain.watch_stake(&stake);
    let WatchEvent::Watching(now) = next(&mut watch).await else {
        panic!("not up")
    };
    assert_eq!(now, stake);

    devnet.slash(stake.record, 10_000, 7).await;
    let event = next(&mut watch).await;
    let WatchEvent::Slashed {
        stake: now,
        slash: Some(slash),
    } = event
    else {
        panic!("{event:?}")
    };
    assert_eq!(
        (now.verdict, now.amount, now.record),
        (Verdict::Slashed, Mist(0), stake.record)
    );
    assert_eq!(
        (slash.amount, slash.remaining, slash.reason),
        (Mist(SUI), Mist(0), 7)
    );
    assert!(
        within(watch.next()).await.is_none(),
        "there is nothing left to watch"
    );
    assert_eq!(chain.treasury().await.unwrap(), Mist(SUI));
}

#[tokio::test]
async fn a_slash_before_the_watch_is_seen_by_reading() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (chain, stake) = devnet.staked().await;
    devnet.slash(stake.record, 10_000, 1).await;
    let mut watch = chain.watch_stake(&stake);
    let event = next(&mut watch).await;
    assert!(
        matches!(event, WatchEvent::Slashed { slash: None, .. }),
        "{event:?}"
    );
    // and again on the next start, when the stake is known to be slashed
    let found = chain
        .find_stake(devnet.operator.public(), NODE)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.verdict, Verdict::Slashed);
    let event = next(&mut chain.watch_stake(&found)).await;
    assert!(matches!(event, WatchEvent::Slashed { .. }), "{event:?}");
}

#[tokio::test]
async fn a_slashed_node_does_not_stake_again() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (chain, stake) = devnet.staked().await;
    devnet.slash(stake.record, 10_000, 1).await;
    let again = within(chain.stake(&devnet.operator, NODE, Mist(SUI), devnet.operator.address()))
        .await
        .unwrap();
    assert_eq!(
        (again.record, again.verdict),
        (stake.record, Verdict::Slashed)
    );
}

#[tokio::test]
async fn a_partial_slash_leaves_less_than_the_minimum() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (chain, stake) = devnet.staked().await;
    let mut watch = chain.watch_stake(&stake);
    assert!(matches!(next(&mut watch).await, WatchEvent::Watching(_)));
    devnet.slash(stake.record, 2500, 3).await;
    let event = next(&mut watch).await;
    let WatchEvent::Changed {
        stake: now,
        slash: Some(slash),
    } = event
    else {
        panic!("{event:?}")
    };
    assert_eq!(
        (now.verdict, now.amount),
        (Verdict::BelowMinimum, Mist(SUI * 3 / 4))
    );
    assert_eq!((slash.amount, slash.reason), (Mist(SUI / 4), 3));
    devnet.slash(stake.record, 10_000, 4).await;
    let event = next(&mut watch).await;
    assert!(matches!(event, WatchEvent::Slashed { .. }), "{event:?}");
}

#[tokio::test]
async fn slashes_of_others_do_not_matter() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (chain, stake) = devnet.staked().await;
    let other = within(chain.stake(
        &devnet.slasher,
        "edge-0002",
        Mist(SUI),
        devnet.slasher.address(),
    ))
    .await
    .unwrap();
    let mut watch = chain.watch_stake(&stake);
    assert!(matches!(next(&mut watch).await, WatchEvent::Watching(_)));
    devnet.slash(other.record, 10_000, 1).await;
    devnet.slash(stake.record, 10_000, 2).await;
    let event = next(&mut watch).await;
    let WatchEvent::Slashed {
        stake: now,
        slash: Some(slash),
    } = event
    else {
        panic!("{event:?}")
    };
    assert_eq!((now.record, slash.reason), (stake.record, 2));
}

#[tokio::test]
async fn a_slash_during_an_outage_is_seen_after_it() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (_, stake) = devnet.staked().await;
    let mut proxy = Proxy::to(devnet.running.address()).await;
    let mut settings = devnet.settings_for(&[proxy.url()]);
    settings.timeouts.reread = NEVER;
    let chain = Chain::connect(&settings).await.unwrap();
    let mut watch = chain.watch_stake(&stake);
    assert!(matches!(next(&mut watch).await, WatchEvent::Watching(_)));

    proxy.cut().await;
    let event = next(&mut watch).await;
    let WatchEvent::Blind(error) = event else {
        panic!("{event:?}")
    };
    assert!(error.retryable(), "{error}");
    devnet.slash(stake.record, 10_000, 9).await;
    proxy.mend().await;
    let event = next(&mut watch).await;
    assert!(matches!(event, WatchEvent::Slashed { .. }), "{event:?}");
}

#[tokio::test]
async fn an_outage_without_a_slash_ends_with_word_of_it() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (_, stake) = devnet.staked().await;
    let mut proxy = Proxy::to(devnet.running.address()).await;
    let chain = Chain::connect(&devnet.settings_for(&[proxy.url()]))
        .await
        .unwrap();
    let mut watch = chain.watch_stake(&stake);
    for _ in 0..2 {
        assert!(matches!(next(&mut watch).await, WatchEvent::Watching(_)));
        proxy.cut().await;
        let event = next(&mut watch).await;
        assert!(matches!(event, WatchEvent::Blind(_)), "{event:?}");
        proxy.mend().await;
    }
    assert!(matches!(next(&mut watch).await, WatchEvent::Watching(_)));
}

/// The other one does not answer: the slash is doubtful at first, and believed when it has been
/// shown for long enough.
#[tokio::test]
async fn a_slash_that_one_of_two_shows_is_believed_in_the_end() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (_, stake) = devnet.staked().await;
    let mut proxy = Proxy::to(devnet.running.address()).await;
    let mut settings = devnet.settings_for(&[devnet.url(), proxy.url()]);
    settings.timeouts.reread = Duration::from_millis(50);
    settings.timeouts.corroboration = NEVER;
    let patient = Chain::connect(&settings).await.unwrap();
    settings.timeouts.corroboration = Duration::from_millis(500);
    let chain = Chain::connect(&settings).await.unwrap();
    let mut watch = chain.watch_stake(&stake);
    assert!(matches!(next(&mut watch).await, WatchEvent::Watching(_)));

    proxy.cut().await;
    devnet.slash(stake.record, 10_000, 1).await;
    let mut event = next(&mut watch).await;
    if matches!(event, WatchEvent::Blind(_)) {
        event = next(&mut watch).await;
    }
    let WatchEvent::Suspected {
        stake: seen, by, ..
    } = event
    else {
        panic!("{event:?}")
    };
    assert_eq!((seen.verdict, by), (Verdict::Slashed, devnet.url()));
    let event = next(&mut watch).await;
    assert!(matches!(event, WatchEvent::Slashed { .. }), "{event:?}");

    // and not before; as soon as the other answers, it is certain
    let found = patient
        .find_stake(devnet.operator.public(), NODE)
        .await
        .unwrap()
        .unwrap();
    let error = within(patient.confirm(&found)).await.unwrap_err();
    assert!(
        matches!(error, ChainError::Unconfirmed { .. }) && error.retryable(),
        "{error}"
    );
    proxy.mend().await;
    within(async {
        while patient.confirm(&found).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// A master asks about every ended stake in turn: the doubt about one does not begin anew because
/// of another.
#[tokio::test]
async fn two_slashes_one_of_two_shows_are_both_believed() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (chain, stake) = devnet.staked().await;
    let other = within(chain.stake(
        &devnet.slasher,
        "edge-0002",
        Mist(SUI),
        devnet.slasher.address(),
    ))
    .await
    .unwrap();
    let mut proxy = Proxy::to(devnet.running.address()).await;
    let mut settings = devnet.settings_for(&[devnet.url(), proxy.url()]);
    settings.timeouts.corroboration = Duration::from_millis(500);
    let chain = Chain::connect(&settings).await.unwrap();
    let mut left = Vec::new();
    for stake in [stake, other] {
        devnet.slash(stake.record, 10_000, 1).await;
        left.push(chain.reread(&stake).await.unwrap());
    }
    proxy.cut().await;
    let believed = tokio::time::timeout(Duration::from_secs(10), async {
        while !left.is_empty() {
            let mut next = Vec::new();
            for stake in left.drain(..) {
                match chain.confirm(&stake).await {
                    Ok(sure) => assert_eq!(sure.verdict, Verdict::Slashed),
                    Err(ChainError::Unconfirmed { .. }) => next.push(stake),
                    Err(error) => panic!("{error}"),
                }
            }
            left = next;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    believed
        .await
        .expect("the doubt about one resets the other's");
}

/// Where one alone is configured it must show the slash at a later checkpoint.
#[tokio::test]
async fn a_single_fullnode_is_believed_at_a_later_checkpoint() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (_, stake) = devnet.staked().await;
    devnet.slash(stake.record, 10_000, 1).await;
    let quick = devnet.chain().await;
    let slashed = quick.reread(&stake).await.unwrap();
    within(quick.confirm(&slashed)).await.unwrap();
    // it stands still from now on
    let still = Devnet::with(&[5 * SUI], |config| config.finality_ms = 0).await;
    let mut settings = still.settings();
    settings.timeouts.call = Duration::from_millis(500);
    let chain = Chain::connect(&settings).await.unwrap();
    let prepared = chain
        .prepare_stake(&still.operator, NODE, Mist(SUI), still.operator.address())
        .await;
    let Prepared::Transaction(transaction) = prepared.unwrap() else {
        panic!("no stake yet")
    };
    let submitted = tokio::spawn({
        let chain = chain.clone();
        async move { chain.submit_stake(&transaction).await }
    });
    let stake = within(async {
        while !submitted.is_finished() {
            still.node.make_checkpoint();
            tokio::task::yield_now().await;
        }
        submitted.await.unwrap().unwrap()
    })
    .await;
    let error = within(chain.confirm(&stake)).await.unwrap_err();
    assert!(matches!(error, ChainError::Unconfirmed { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("later checkpoint") && !text.contains("other"),
        "{text}"
    );
}

#[tokio::test]
async fn a_watch_that_is_dropped_ends() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (chain, stake) = devnet.staked().await;
    let mut watch = chain.watch_stake(&stake);
    assert!(matches!(next(&mut watch).await, WatchEvent::Watching(_)));
    let tasks = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    drop(watch);
    within(async {
        while tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
            >= tasks
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Nothing announces that a stake is asked back: the record is read again all the same, however
/// busy the stream is.
#[tokio::test]
async fn what_no_slash_announces_is_seen_by_reading_again() {
    let devnet = Devnet::with(&[5 * SUI], |config| config.finality_ms = 5).await;
    let (_, stake) = devnet.staked().await;
    let mut settings = devnet.settings();
    settings.timeouts.reread = Duration::from_millis(300);
    let chain = Chain::connect(&settings).await.unwrap();
    let mut watch = chain.watch_stake(&stake);
    assert!(matches!(next(&mut watch).await, WatchEvent::Watching(_)));
    within(chain.request_unstake(&devnet.operator, &stake))
        .await
        .unwrap();
    let event = next(&mut watch).await;
    let WatchEvent::Changed {
        stake: now,
        slash: None,
    } = event
    else {
        panic!("{event:?}")
    };
    assert_eq!(now.verdict, Verdict::Unbonding);
}

/// Another fullnode with the same stake, which never hears of a slash of it.
async fn hiding(devnet: &Devnet) -> (Running, String, Stake) {
    let (running, hidden) = devnet.twin().await;
    let prepared = devnet
        .chain()
        .await
        .prepare_stake(&devnet.operator, NODE, Mist(SUI), devnet.operator.address())
        .await;
    let Prepared::Transaction(transaction) = prepared.unwrap() else {
        panic!("no stake yet")
    };
    let alone = Chain::connect(&devnet.settings_for(std::slice::from_ref(&hidden)))
        .await
        .unwrap();
    within(alone.submit_stake(&transaction)).await.unwrap();
    let stake = within(devnet.chain().await.submit_stake(&transaction))
        .await
        .unwrap();
    (running, hidden, stake)
}

/// Another caller finds the doubt: the watch looks at once and tells it, and tells when it is over.
#[tokio::test]
async fn a_doubt_of_another_caller_is_told_and_cleared() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (_running, hidden, stake) = hiding(&devnet).await;
    let mut proxy = Proxy::to(devnet.running.address()).await;
    let mut settings = devnet.settings_for(&[hidden, proxy.url()]);
    settings.timeouts.reread = NEVER;
    let chain = Chain::connect(&settings).await.unwrap();
    let mut watch = chain.watch_stake(&stake);
    assert!(matches!(next(&mut watch).await, WatchEvent::Watching(_)));
    devnet.slash(stake.record, 10_000, 1).await;
    let slashed = devnet.chain().await.reread(&stake).await.unwrap();
    let error = within(chain.confirm(&slashed)).await.unwrap_err();
    assert!(matches!(error, ChainError::Disagreement { .. }), "{error}");
    let event = next(&mut watch).await;
    assert!(
        matches!(event, WatchEvent::Contradicted { .. }),
        "{event:?}"
    );
    // whoever showed it is gone, and the other still shows that it stands
    proxy.cut().await;
    let event = next(&mut watch).await;
    let WatchEvent::Cleared(now) = event else {
        panic!("{event:?}")
    };
    assert_eq!(now.verdict, Verdict::Active);
}

/// Two fullnodes with the same stake; one of them never hears of the slash.
#[tokio::test]
async fn a_slash_that_one_fullnode_hides_comes_to_light() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (_running, hidden, stake) = hiding(&devnet).await;
    let mut settings = devnet.settings_for(&[hidden]);
    settings.fullnodes.push(devnet.url().parse().unwrap());
    settings.timeouts.reread = Duration::from_millis(100);
    settings.timeouts.corroboration = Duration::ZERO;
    let chain = Chain::connect(&settings).await.unwrap();
    let mut watch = chain.watch_stake(&stake);
    assert!(matches!(next(&mut watch).await, WatchEvent::Watching(_)));
    devnet.slash(stake.record, 10_000, 1).await;
    let event = next(&mut watch).await;
    let WatchEvent::Contradicted {
        stake: slashed,
        contrary,
    } = event
    else {
        panic!("{event:?}")
    };
    assert!(contrary.contains("as active"), "{contrary}");
    // one that answers and says otherwise is never outwaited
    for _ in 0..3 {
        let error = within(chain.confirm(&slashed)).await.unwrap_err();
        assert!(
            matches!(error, ChainError::Disagreement { .. }) && error.retryable(),
            "{error}"
        );
    }
    // the master does not let a node in on one word
    let token = stake.seal_token.unwrap().id;
    let error = within(chain.corroborated_stake_of_token(token))
        .await
        .unwrap_err();
    assert!(matches!(error, ChainError::Disagreement { .. }), "{error}");
}

/// Two fullnodes with the same stake; only one shows that a part of it is gone.
#[tokio::test]
async fn below_minimum_that_one_of_two_shows_is_a_doubt() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (_running, hidden, stake) = hiding(&devnet).await;
    let mut settings = devnet.settings_for(&[hidden]);
    settings.fullnodes.push(devnet.url().parse().unwrap());
    settings.timeouts.reread = Duration::from_millis(100);
    settings.timeouts.corroboration = Duration::ZERO;
    let chain = Chain::connect(&settings).await.unwrap();
    let mut watch = chain.watch_stake(&stake);
    assert!(matches!(next(&mut watch).await, WatchEvent::Watching(_)));
    devnet.slash(stake.record, 2500, 3).await;
    let event = next(&mut watch).await;
    let WatchEvent::Contradicted { stake, contrary } = event else {
        panic!("{event:?}")
    };
    assert_eq!(stake.verdict, Verdict::BelowMinimum);
    assert!(contrary.contains("as active"), "{contrary}");
}
