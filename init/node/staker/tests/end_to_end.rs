//! The staker, the master and the fullnode double, over TLS and gRPC in one process. What `init`
//! is told goes over a real socket pair.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use chain::{Address, Chain, Mist, Verdict};
use common::Authority;
use common::devnet::{Devnet, JOIN_TOKEN, Options, agent, is_slashed, powers_off, starts_agent};
use wire::child::{PowerOffReason, ToInit};
use wire::status::{DegradedReason, NodeState};

#[tokio::test]
async fn a_whole_life() {
    let devnet = Devnet::new().await;
    let master = devnet.master().await;

    devnet
        .live(&master, async |init| {
            let passed = init.expect(starts_agent).await;
            let states: Vec<NodeState> = passed
                .iter()
                .filter_map(|message| match message {
                    ToInit::State { state } => Some(*state),
                    _ => None,
                })
                .collect();
            assert_eq!(
                states,
                [
                    NodeState::Unsealed,
                    NodeState::Staked,
                    NodeState::Registered
                ]
            );
            let Some((server, token)) = passed.last().and_then(agent) else {
                panic!("{passed:?}");
            };
            assert_eq!(server.as_str(), "https://10.0.2.2:6443");
            assert_eq!(token.expose(), JOIN_TOKEN);
            init.first_heartbeat().await;
            let health = init.health.borrow().clone();
            assert!(health.node.degraded.is_empty(), "{health:?}");
            assert_eq!(health.stake.as_ref().unwrap().verdict, Verdict::Active);
        })
        .await;
    let executed = devnet.node.executed_transactions();
    assert_eq!(executed, 1);

    // the machine restarts: it finds its stake, registers anew, and is slashed
    devnet
        .live(&master, async |init| {
            init.expect(starts_agent).await;
            init.first_heartbeat().await;
            assert_eq!(devnet.node.executed_transactions(), executed);
            devnet.slash(10_000).await;
            let passed = init.expect(is_slashed).await;
            let state = ToInit::State {
                state: NodeState::Slashed,
            };
            assert!(passed.contains(&state), "{passed:?}");
        })
        .await;

    // and at every boot again, without registering
    devnet
        .live(&master, async |init| {
            let passed = init.expect(is_slashed).await;
            assert!(!passed.iter().any(starts_agent), "{passed:?}");
        })
        .await;
    assert_eq!(devnet.node.executed_transactions(), executed + 1);
}

#[tokio::test]
async fn a_partial_slash_degrades_and_does_not_end_the_node() {
    let devnet = Devnet::new().await;
    let master = devnet.master().await;
    devnet
        .live(&master, async |init| {
            init.expect(starts_agent).await;
            init.first_heartbeat().await;
            devnet.slash(1).await;
            let below = DegradedReason::StakeBelowMinimum;
            let passed = init
                .expect(|message| {
                    matches!(message, ToInit::Degraded { reason, .. } if *reason == below)
                })
                .await;
            assert!(!passed.iter().any(is_slashed), "{passed:?}");
        })
        .await;
    // after a restart it waits, and joins nothing
    devnet
        .live(&master, async |init| {
            let passed = init
                .expect(|message| matches!(message, ToInit::Degraded { .. }))
                .await;
            assert!(!passed.iter().any(starts_agent), "{passed:?}");
        })
        .await;
}

#[tokio::test]
async fn a_master_with_another_root_gets_nothing() {
    let devnet = Devnet::new().await;
    let master = devnet.master().await;
    let stranger = Authority::new();
    devnet
        .live_with_root(&master, &stranger.pem(), async |init| {
            let passed = init
                .expect(|message| matches!(message, ToInit::Degraded { .. }))
                .await;
            let Some(ToInit::Degraded { reason, detail }) = passed.last() else {
                panic!("{passed:?}");
            };
            assert_eq!(*reason, DegradedReason::MasterUnreachable);
            assert!(detail.contains("certificate"), "{detail}");
            assert!(!passed.iter().any(starts_agent), "{passed:?}");
        })
        .await;
}

#[tokio::test]
async fn a_node_leaves_and_sends_all_coins_on() {
    let devnet = Devnet::new().await;
    let master = devnet.master().await;
    devnet
        .live(&master, async |init| {
            init.expect(starts_agent).await;
        })
        .await;
    let payout = Address::from_bytes([0x33; 32]);
    let leaving = || Options {
        leave: true,
        beneficiary: Some(payout),
        ..Options::default()
    };
    let waits = |message: &ToInit| matches!(message, ToInit::Degraded { detail, .. } if detail.contains("can be withdrawn at"));
    devnet
        .live_with(&master, leaving(), async |init| {
            let passed = init.expect(waits).await;
            assert!(!passed.iter().any(starts_agent), "{passed:?}");
        })
        .await;
    // power is lost meanwhile; then the time has come
    devnet.node.advance_clock(60 * 60 * 1000);
    devnet
        .live_at(&master, leaving(), in_two_hours, async |init| {
            let left = |message: &ToInit| powers_off(message) == Some(PowerOffReason::Unbonding);
            init.expect(left).await;
        })
        .await;
    let chain = Chain::connect(&devnet.settings()).await.unwrap();
    let own = chain.balance(devnet.operator().address()).await.unwrap();
    let sent = chain.balance(payout).await.unwrap();
    assert_eq!(own, Mist(0), "no dust");
    // three coins, less what the transactions took
    assert!(
        sent > Mist(3 * Mist::PER_SUI - Mist::PER_SUI / 20),
        "{sent}"
    );
}

fn in_two_hours() -> u64 {
    common::devnet::now() + 2 * 60 * 60
}
