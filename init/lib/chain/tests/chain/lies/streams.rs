//! The stream of slashes: mutated, it misleads nobody; cut, it is taken up where it stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chain::{Chain, Mist, Verdict, WatchEvent};
use fullnode::Reply;
use proptest::prelude::*;

use super::random::mutations;
use super::{Stage, clear, runner, runtime};
use fullnode::devnet::{Devnet, Proxy, SUI, next, within};

/// Fewer than for other methods: a stream that breaks is opened again after a pause.
const CASES: u32 = 12;

/// Slashes one basis point, and waits until the watch tells it, from the stream or by reading.
async fn slash_under(stage: &Stage) -> Result<(), TestCaseError> {
    let mut settings = stage.settings(true);
    settings.timeouts.reread = Duration::from_millis(100);
    let chain = match Chain::connect(&settings).await {
        Ok(chain) => chain,
        Err(error) => return Err(TestCaseError::fail(error.to_string())),
    };
    let known = chain.reread(&stage.stake).await.unwrap();
    let mut watch = chain.watch_stake(&known);
    stage.devnet.slash(known.record, 1, 1).await;
    loop {
        match next(&mut watch).await {
            WatchEvent::Watching(stake) if stake.amount < known.amount => return Ok(()),
            WatchEvent::Watching(_) => {}
            WatchEvent::Changed { stake, .. } => {
                prop_assert_eq!(stake.verdict, Verdict::Active);
                prop_assert!(stake.amount < known.amount);
                return Ok(());
            }
            WatchEvent::Blind(error) => clear(&error)?,
            event => return Err(TestCaseError::fail(format!("{event:?}"))),
        }
    }
}

fn watches_with_mutated(method: &'static str) {
    let runtime = runtime();
    let stage = runtime.block_on(Stage::new(&[]));
    let tried = runner(method, CASES).run(&mutations(), |mutation| {
        stage.lie(method, move |message| mutation.of(message));
        runtime.block_on(slash_under(&stage))
    });
    tried.unwrap_or_else(|error| panic!("{method}: {error}"));
}

#[test]
fn a_mutated_stream_hides_no_slash_and_makes_none_up() {
    watches_with_mutated("SubscribeEvents");
}

/// The stream breaks, a slash falls into the gap, and what the index tells of it is mutated: the
/// slash is seen all the same, and nothing else.
#[test]
fn a_mutated_index_hides_no_slash_and_makes_none_up() {
    const METHOD: &str = "ListEvents";
    let runtime = runtime();
    let stage = runtime.block_on(Stage::new(&[]));
    let tried = runner(METHOD, CASES).run(&mutations(), |mutation| {
        let broken = Arc::new(AtomicBool::new(false));
        let breaks = broken.clone();
        stage.lying.tamper(move |method, message| match method {
            METHOD => mutation.of(message),
            "SubscribeEvents" if breaks.swap(false, Ordering::Relaxed) => Reply::Cut(0),
            _ => Reply::Message(message.to_owned()),
        });
        runtime.block_on(slash_in_a_gap(&stage, &broken))
    });
    tried.unwrap_or_else(|error| panic!("{METHOD}: {error}"));
}

async fn slash_in_a_gap(stage: &Stage, broken: &AtomicBool) -> Result<(), TestCaseError> {
    let mut settings = stage.settings(true);
    settings.timeouts.reread = Duration::from_millis(100);
    let chain = Chain::connect(&settings).await;
    let chain = chain.map_err(|error| TestCaseError::fail(error.to_string()))?;
    let known = chain.reread(&stage.stake).await.unwrap();
    let mut watch = chain.watch_stake(&known);
    let event = next(&mut watch).await;
    prop_assert!(matches!(event, WatchEvent::Watching(_)), "{event:?}");
    stage.lying.take_requests();
    broken.store(true, Ordering::Relaxed);
    stage.devnet.slash(known.record, 1, 1).await;
    let (mut asked, mut seen) = (false, false);
    while !(asked && seen) {
        tokio::select! {
            event = next(&mut watch) => match event {
                WatchEvent::Watching(stake) => seen |= stake.amount < known.amount,
                WatchEvent::Changed { stake, .. } => {
                    prop_assert_eq!(stake.verdict, Verdict::Active);
                    prop_assert!(stake.amount < known.amount);
                    seen = true;
                }
                WatchEvent::Blind(error) => clear(&error)?,
                event => return Err(TestCaseError::fail(format!("{event:?}"))),
            },
            () = tokio::time::sleep(Duration::from_millis(20)), if !asked => {
                asked = stage.lying.take_requests().contains_key("ListEvents");
            }
        }
    }
    Ok(())
}

/// The fullnode's stream is no use at all, and the record can be read.
#[tokio::test]
async fn a_stream_that_never_begins_hides_no_slash() {
    for reply in [Reply::Silence, Reply::Cut(0)] {
        let stage = Stage::new(&[]).await;
        stage.lie("SubscribeEvents", move |_message| reply.clone());
        slash_under(&stage).await.unwrap();
    }
}

/// The record is not read again by itself, and the slash falls into the gap: its event is read
/// from the fullnode's index and told with its reason.
#[tokio::test]
async fn a_slash_in_a_gap_is_told_with_its_reason() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (_, stake) = devnet.staked().await;
    let mut proxy = Proxy::to(devnet.running.address()).await;
    let mut settings = devnet.settings_for(&[proxy.url()]);
    settings.timeouts.reread = Duration::from_secs(24 * 60 * 60);
    let chain = Chain::connect(&settings).await.unwrap();
    let mut watch = chain.watch_stake(&stake);
    assert!(matches!(next(&mut watch).await, WatchEvent::Watching(_)));

    proxy.cut().await;
    let event = next(&mut watch).await;
    assert!(matches!(event, WatchEvent::Blind(_)), "{event:?}");
    devnet.slash(stake.record, 10_000, 9).await;
    devnet.running.take_requests();
    proxy.mend().await;
    let event = within(next(&mut watch)).await;
    let WatchEvent::Slashed {
        stake: now,
        slash: Some(slash),
    } = event
    else {
        panic!("{event:?}")
    };
    assert_eq!((now.verdict, slash.reason), (Verdict::Slashed, 9));
    assert_eq!((slash.amount, slash.remaining), (Mist(SUI), Mist(0)));
    let requests = devnet.running.take_requests();
    assert!(requests.contains_key("ListEvents"), "{requests:?}");
}
