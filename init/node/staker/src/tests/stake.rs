//! The stake: made, watched, and over.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_restart_does_not_stake_again() {
    let world = World::new();
    world.live(sleep(MINUTE)).await;
    world.live(sleep(MINUTE)).await;
    assert_eq!(world.chain.ledger.borrow().submitted.len(), 1);
    assert_eq!(world.agents_started(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_cut_off_is_submitted_again_and_nothing_else() {
    let world = World::new();
    world.chain.ledger.borrow_mut().submissions = (0..1000).map(|_| not_final()).collect();
    world.live(sleep(MINUTE)).await;
    // the power is cut here; nothing but the disk is left
    world.chain.ledger.borrow_mut().submissions.clear();
    world.live(sleep(MINUTE)).await;
    let ledger = world.chain.ledger.borrow();
    assert_eq!(ledger.prepared.len(), 1);
    assert!(ledger.submitted.len() > 2);
    assert!(
        ledger
            .submitted
            .iter()
            .all(|one| *one == ledger.prepared[0])
    );
    drop(ledger);
    assert_eq!(
        std::fs::read_dir(world.directory.path()).unwrap().count(),
        0
    );
}

#[tokio::test(start_paused = true)]
async fn stake_that_cannot_be_kept_is_not_sent() {
    let world = World::new();
    let obstacle = world.directory.path().join("stake-transaction.new");
    std::fs::create_dir(&obstacle).unwrap();
    let script = async {
        sleep(10 * MINUTE).await;
        assert!(world.chain.ledger.borrow().prepared.len() > 1);
        assert!(world.chain.ledger.borrow().submitted.is_empty());
        assert_eq!(world.degraded(DegradedReason::Journal), 1);
        std::fs::remove_dir(&obstacle).unwrap();
        sleep(2 * MINUTE).await;
        assert_eq!(world.chain.ledger.borrow().submitted.len(), 1);
        assert_eq!(world.recovered(DegradedReason::Journal), 1);
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn stake_is_not_made_beside_one_that_cannot_be_read() {
    let world = World::new();
    // can be opened, and not read
    let kept = world.directory.path().join("stake-transaction");
    std::fs::create_dir(&kept).unwrap();
    let script = async {
        sleep(10 * MINUTE).await;
        assert_eq!(world.chain.ledger.borrow().prepared.len(), 0);
        assert_eq!(world.degraded(DegradedReason::Journal), 1);
        // a stake that is there needs no journal
        world.chain.put(Verdict::Active);
        sleep(2 * MINUTE).await;
        assert_eq!(world.agents_started(), 1);
        assert_eq!(world.recovered(DegradedReason::Journal), 1);
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_never_will_be_is_made_anew() {
    let world = World::new();
    world
        .chain
        .ledger
        .borrow_mut()
        .submissions
        .push_back(aborted());
    world.live(sleep(MINUTE)).await;
    assert_eq!(world.chain.ledger.borrow().prepared.len(), 2);
    assert_eq!(world.degraded(DegradedReason::ChainRefused), 1);
    assert_eq!(world.recovered(DegradedReason::ChainRefused), 1);
    assert_eq!(world.agents_started(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_short_balance_is_told_and_waited_for() {
    let world = World::new();
    world.chain.ledger.borrow_mut().outage = Some(|| ChainError::BalanceShort {
        address: chain::Address::from_bytes([9; 32]),
        needed: chain::Mist(2),
        available: chain::Mist(1),
        missing: chain::Mist(1),
    });
    let script = async {
        sleep(60 * MINUTE).await;
        assert_eq!(world.degraded(DegradedReason::BalanceShort), 1);
        assert_eq!(world.agents_started(), 0);
        world.chain.ledger.borrow_mut().outage = None;
        sleep(2 * MINUTE).await;
        assert_eq!(world.recovered(DegradedReason::BalanceShort), 1);
        assert_eq!(world.agents_started(), 1);
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn slashed_at_boot_is_off_again() {
    let world = World::new();
    world.chain.put(Verdict::Slashed);
    world.live(sleep(MINUTE)).await;
    assert!(world.powered_off(PowerOffReason::Slashed));
    assert_eq!(world.registrations(), 0);
    assert_eq!(world.agents_started(), 0);
    let told = world.init.messages();
    assert!(
        told.contains(&ToInit::State {
            state: NodeState::Slashed
        }),
        "{told:?}"
    );
    assert!(
        told.contains(&ToInit::Reached {
            phase: Phase::Slashed
        }),
        "{told:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_slash_on_the_event_stream_ends_the_node() {
    let world = World::staked();
    let script = async {
        sleep(Duration::from_secs(10)).await;
        assert!(world.still_on());
        world.chain.set(Verdict::Slashed);
        world
            .chain
            .emit(|stake| WatchEvent::Slashed { stake, slash: None });
        sleep(Duration::from_millis(1)).await;
        assert!(world.powered_off(PowerOffReason::Slashed));
        let before = world.heartbeats();
        sleep(60 * MINUTE).await;
        assert_eq!(world.heartbeats(), before);
        assert_eq!(world.powers_off(), 1, "init has echoed it");
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn a_power_off_that_gets_lost_is_sent_again() {
    let world = World::staked();
    let script = async {
        sleep(Duration::from_secs(10)).await;
        world.init.lost.set(3);
        world.chain.set(Verdict::Slashed);
        world
            .chain
            .emit(|stake| WatchEvent::Slashed { stake, slash: None });
        sleep(10 * MINUTE).await;
        assert_eq!(world.powers_off(), 4);
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn a_slash_without_an_event_is_seen_before_the_next_heartbeat() {
    let world = World::staked();
    let script = async {
        sleep(Duration::from_secs(10)).await;
        world.chain.set(Verdict::Slashed);
        sleep(Duration::from_secs(21)).await;
        assert!(world.powered_off(PowerOffReason::Slashed));
        assert_eq!(world.heartbeats(), 1);
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn one_fullnode_alone_does_not_end_the_node() {
    let world = World::staked();
    let script = async {
        sleep(Duration::from_secs(10)).await;
        world.chain.set(Verdict::Slashed);
        world.chain.ledger.borrow_mut().confirmations = (0..90).map(|_| disagreement(1)).collect();
        sleep(Duration::from_secs(80)).await;
        assert!(world.still_on());
        // contradicted: what runs goes on, and why is shown
        assert_eq!(world.agents_stopped(), 0);
        assert_eq!(world.degraded(DegradedReason::ChainRefused), 1);
        assert_eq!(world.recovered(DegradedReason::ChainRefused), 0);
        sleep(Duration::from_secs(60)).await;
        assert!(world.powered_off(PowerOffReason::Slashed));
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_chain_never_ends_the_node() {
    let world = World::staked();
    let script = async {
        sleep(Duration::from_secs(45)).await;
        world.chain.ledger.borrow_mut().outage = Some(no_answer);
        world.chain.hang_up();
        let before = world.heartbeats();
        sleep(100 * MINUTE).await;
        assert!(world.still_on());
        assert_eq!(world.agents_restarted(), 0);
        assert_eq!(world.degraded(DegradedReason::ChainUnreachable), 1);
        assert_eq!(world.heartbeats() - before, 200);
        let last = world
            .master
            .desk
            .borrow()
            .heartbeats
            .last()
            .cloned()
            .unwrap();
        assert_eq!(last.stake_status, "unreachable");
        world.chain.ledger.borrow_mut().outage = None;
        sleep(2 * MINUTE).await;
        assert_eq!(world.recovered(DegradedReason::ChainUnreachable), 1);
        assert_eq!(world.chain.watchers(), 1);
        assert_eq!(world.agents_started(), 1);
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn a_chain_that_hangs_does_not_hold_up_heartbeats() {
    let world = World::staked();
    let script = async {
        sleep(Duration::from_secs(20)).await;
        world.chain.ledger.borrow_mut().hangs = true;
        sleep(10 * MINUTE).await;
        assert_eq!(world.heartbeats(), 21);
        assert_eq!(world.degraded(DegradedReason::ChainUnreachable), 1);
        world.chain.ledger.borrow_mut().hangs = false;
        sleep(MINUTE).await;
        assert_eq!(world.recovered(DegradedReason::ChainUnreachable), 1);
        assert!(world.still_on());
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn a_stake_below_the_minimum_waits_for_a_top_up() {
    let world = World::new();
    world.chain.put(Verdict::BelowMinimum);
    let script = async {
        sleep(60 * MINUTE + Duration::from_secs(7)).await;
        assert_eq!(world.registrations(), 0);
        assert_eq!(world.degraded(DegradedReason::StakeBelowMinimum), 1);
        world.chain.set(Verdict::Active);
        sleep(MINUTE).await;
        assert_eq!(world.agents_started(), 1);
        assert_eq!(world.recovered(DegradedReason::StakeBelowMinimum), 1);
        // a partial slash: the pods end, the heartbeats go on
        world.chain.set(Verdict::BelowMinimum);
        world
            .chain
            .emit(|stake| WatchEvent::Changed { stake, slash: None });
        let before = world.heartbeats();
        sleep(10 * MINUTE).await;
        assert!(world.still_on());
        assert_eq!(world.heartbeats() - before, 20);
        assert_eq!(world.degraded(DegradedReason::StakeBelowMinimum), 2);
        let last = world
            .master
            .desk
            .borrow()
            .heartbeats
            .last()
            .cloned()
            .unwrap();
        assert_eq!(last.stake_status, "below-minimum");
        assert_eq!(world.agents_stopped(), 1);
        assert_eq!(world.agents_started(), 1);
        let Some(AgentDesire::Stop { reason }) = world.agents().pop() else {
            panic!("{:?}", world.agents());
        };
        assert!(reason.contains("staking::top_up"));
        // topped up: the same seal token serves
        world.chain.set(Verdict::Active);
        sleep(MINUTE).await;
        assert_eq!(world.agents_started(), 2);
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn a_stake_that_is_taken_back_ends_the_node_in_order() {
    for verdict in [Verdict::Unbonding, Verdict::Withdrawn] {
        let world = World::staked();
        let script = async {
            sleep(Duration::from_secs(10)).await;
            world.chain.set(verdict);
            sleep(MINUTE).await;
            assert!(world.powered_off(PowerOffReason::Unbonding));
            assert!(!world.powered_off(PowerOffReason::Slashed));
            let told = world.init.messages();
            assert!(told.contains(&ToInit::State {
                state: NodeState::Unbonding
            }));
        };
        world.live(script).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_is_opened_again() {
    let world = World::staked();
    let script = async {
        sleep(Duration::from_secs(1)).await;
        assert_eq!(world.chain.watchers(), 1);
        world.chain.hang_up();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(world.chain.watchers(), 1);
        world.chain.emit(|_| WatchEvent::Blind(no_answer()));
        world.chain.emit(WatchEvent::Watching);
        sleep(MINUTE).await;
        assert!(world.still_on());
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_stake_is_made_anew_only_when_its_owner_says_so() {
    let mut world = World::new();
    world.chain.put(Verdict::Withdrawn);
    world.live(sleep(10 * MINUTE)).await;
    assert!(world.still_on());
    assert_eq!(world.degraded(DegradedReason::StakeWithdrawn), 1);
    assert_eq!(world.degraded(DegradedReason::StakeBelowMinimum), 0);
    assert!(world.init.messages().iter().any(|message| matches!(
        message,
        ToInit::Degraded { detail, .. } if detail.contains("chain.restake = true")
    )));
    assert_eq!(world.chain.ledger.borrow().prepared.len(), 0);
    assert_eq!(world.agents_started(), 0);
    world.restake = true;
    world.live(sleep(MINUTE)).await;
    assert_eq!(world.chain.ledger.borrow().submitted, [b"restake 0"]);
    assert_eq!(world.agents_started(), 1);
    assert_eq!(world.degraded(DegradedReason::StakeWithdrawn), 1);
}

/// The staker was restarted on a node that works, and meanwhile the stake was withdrawn.
#[tokio::test(start_paused = true)]
async fn a_stake_withdrawn_behind_a_working_node_ends_it() {
    let world = World::new();
    world.chain.put(Verdict::Withdrawn);
    world.init.agent_runs();
    world.live(sleep(MINUTE)).await;
    assert!(world.powered_off(PowerOffReason::Unbonding));
}

#[tokio::test(start_paused = true)]
async fn a_transaction_whose_fate_is_unknown_is_kept_until_it_has_expired() {
    let world = World::new();
    let refusals = [
        ChainError::Unreachable {
            fullnode: "https://fullnode.example".to_owned(),
            call: "ExecuteTransaction",
            detail: "HTTP 403".to_owned(),
        },
        ChainError::Refused {
            fullnode: "https://fullnode.example".to_owned(),
            call: "GetServiceInfo",
            detail: "not now".to_owned(),
        },
        ChainError::InvalidAnswer {
            fullnode: "https://fullnode.example".to_owned(),
            call: "ExecuteTransaction",
            detail: "no status".to_owned(),
        },
    ];
    {
        let mut ledger = world.chain.ledger.borrow_mut();
        ledger.submissions = refusals.into_iter().collect();
        ledger.submissions.extend((0..1000).map(|_| not_final()));
    }
    let script = async {
        sleep(10 * MINUTE).await;
        assert_eq!(world.chain.ledger.borrow().prepared.len(), 1);
        // its epoch is over, and the stake is still not there
        {
            let mut ledger = world.chain.ledger.borrow_mut();
            ledger.expired = true;
            ledger.submissions.clear();
        }
        sleep(2 * MINUTE).await;
        assert_eq!(world.chain.ledger.borrow().prepared.len(), 2);
        assert_eq!(world.agents_started(), 1);
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn a_seal_token_is_renewed_before_its_time_is_over() {
    let world = World::new();
    let now_ms = 1_700_000_000_000;
    let mut stake = world.chain.a_stake();
    stake.seal_token = Some(chain::SealToken {
        id: chain::ObjectId::from_bytes([8; 32]),
        issued_at_ms: now_ms - 700_000,
        expires_at_ms: now_ms + 300_000,
    });
    world.chain.ledger.borrow_mut().stake = Some(stake);
    world.live(sleep(2 * MINUTE)).await;
    assert_eq!(world.chain.ledger.borrow().renewals, 1);
    // registered anew with it, and reported with it
    assert_eq!(world.registrations(), 2);
    let last = world.master.desk.borrow().tokens.last().cloned().unwrap();
    assert_eq!(last, chain::ObjectId::from_bytes([101; 32]).to_string());
}

#[tokio::test(start_paused = true)]
async fn a_missing_seal_token_is_made_anew() {
    let world = World::new();
    let mut stake = world.chain.a_stake();
    stake.seal_token = None;
    world.chain.ledger.borrow_mut().stake = Some(stake);
    world.live(sleep(2 * MINUTE)).await;
    assert_eq!(world.chain.ledger.borrow().renewals, 1);
    assert_eq!(world.agents_started(), 1);
}

#[test]
fn beneficiary_of_another_is_warned_of_once() {
    let mut world = World::staked();
    let [own, other] = [[1; 32], [2; 32]].map(chain::Address::from_bytes);
    let pays = |beneficiary| Stake {
        beneficiary,
        ..world.chain.a_stake()
    };
    let (right, wrong) = (pays(own), pays(other));
    // a configuration that names none is content with any
    assert_eq!(world.staker().other_beneficiary(&wrong), None);
    world.beneficiary = Some(own);
    let staker = world.staker();
    assert_eq!(staker.other_beneficiary(&right), None);
    assert_eq!(staker.other_beneficiary(&wrong), Some(own));
    assert_eq!(staker.other_beneficiary(&wrong), None);
    // it is changed, and changed back
    assert_eq!(staker.other_beneficiary(&right), None);
    assert_eq!(staker.other_beneficiary(&wrong), Some(own));
}
