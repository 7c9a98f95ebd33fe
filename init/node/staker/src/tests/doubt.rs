//! The end of the stake in doubt: suspected, contradicted, cleared, confirmed.

use super::*;
use crate::doubles::{contradicted, suspected};

#[tokio::test(start_paused = true)]
async fn one_fullnode_s_word_stops_the_agent_until_it_is_refuted() {
    let world = World::staked();
    let script = async {
        sleep(Duration::from_secs(12)).await;
        world.chain.emit(suspected);
        sleep(Duration::from_secs(11)).await;
        assert!(world.still_on());
        assert_eq!(world.agents_stopped(), 1);
        assert_eq!(world.init.agent(), wire::status::AgentState::Stopped);
        assert_eq!(world.degraded(DegradedReason::ChainRefused), 1);
        // the others are back, and nobody shows it any more
        world.chain.emit(WatchEvent::Cleared);
        sleep(Duration::from_secs(10)).await;
        assert_eq!(world.agents_started(), 2);
        assert_eq!(world.recovered(DegradedReason::ChainRefused), 1);
        assert!(world.still_on());
    };
    world.live(script).await;
}

/// Nothing is said of others where one fullnode is configured.
#[tokio::test(start_paused = true)]
async fn the_only_fullnode_s_word_is_not_said_to_be_alone() {
    let world = World::staked();
    let script = async {
        sleep(Duration::from_secs(12)).await;
        world.chain.emit(|stake| WatchEvent::Suspected {
            stake,
            by: "https://a.example".to_owned(),
            believed_after: None,
        });
        sleep(Duration::from_secs(1)).await;
        let said = world.told(|message| {
            matches!(message, ToInit::Degraded { reason: DegradedReason::ChainRefused, detail }
                if detail.contains("later checkpoint") && !detail.contains("other"))
        });
        assert_eq!(said, 1);
        assert_eq!(world.agents_stopped(), 1);
    };
    world.live(script).await;
}

/// What was suspected is contradicted: what runs goes on, and why is shown.
#[tokio::test(start_paused = true)]
async fn a_contradiction_lets_the_agent_go_on() {
    let world = World::staked();
    let script = async {
        sleep(Duration::from_secs(12)).await;
        world.chain.emit(suspected);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(world.agents_stopped(), 1);
        world.chain.emit(contradicted);
        sleep(MINUTE).await;
        assert_eq!(world.agents_started(), 2);
        assert_eq!(world.recovered(DegradedReason::ChainRefused), 0);
        assert!(world.still_on());
    };
    world.live(script).await;
}

/// The master is out of reach: what the watch confirms ends the node all the same.
#[tokio::test(start_paused = true)]
async fn a_suspicion_that_is_confirmed_ends_the_node_without_a_master() {
    let world = World::new();
    world.master.desk.borrow_mut().outage = Some(no_master);
    world.chain.put(Verdict::Active);
    let script = async {
        sleep(10 * MINUTE + Duration::from_secs(2)).await;
        world.chain.set(Verdict::Unbonding);
        world.chain.emit(suspected);
        sleep(Duration::from_secs(5)).await;
        assert!(world.still_on());
        world
            .chain
            .emit(|stake| WatchEvent::Changed { stake, slash: None });
        sleep(Duration::from_millis(1)).await;
        assert!(world.powered_off(PowerOffReason::Unbonding));
    };
    world.live(script).await;
}

/// At the start, too, what one fullnode alone shows is watched until it is certain.
#[tokio::test(start_paused = true)]
async fn an_end_in_doubt_at_the_start_stops_what_runs() {
    let world = World::new();
    world.chain.put(Verdict::Slashed);
    world.init.agent_runs();
    world.chain.ledger.borrow_mut().confirmations = (0..30).map(|_| unconfirmed()).collect();
    let script = async {
        sleep(Duration::from_secs(20)).await;
        assert!(world.still_on());
        assert_eq!(world.agents_stopped(), 1);
        assert_eq!(world.registrations(), 0);
        sleep(MINUTE).await;
        assert!(world.powered_off(PowerOffReason::Slashed));
    };
    world.live(script).await;
}

/// What a watch begins with is what it knew before: an end among that is read, not confirmed.
#[tokio::test(start_paused = true)]
async fn watching_over_an_unconfirmed_end_ends_no_node() {
    for verdict in [Verdict::Slashed, Verdict::Unbonding, Verdict::Withdrawn] {
        let world = World::staked();
        let script = async {
            sleep(Duration::from_secs(12)).await;
            let over = |stake| Stake { verdict, ..stake };
            world.chain.emit(|stake| WatchEvent::Watching(over(stake)));
            sleep(Duration::from_secs(1)).await;
            assert!(world.still_on(), "{verdict}");
            for failure in [disagreement(0), unconfirmed(), no_answer()] {
                world.chain.ledger.borrow_mut().confirmations = [failure].into();
                world.chain.emit(|stake| WatchEvent::Watching(over(stake)));
                sleep(MINUTE).await;
                assert!(world.still_on(), "{verdict}");
                assert!(world.chain.ledger.borrow().confirmations.is_empty());
            }
            assert_eq!(world.agents_restarted(), 0);
            // and as soon as it is confirmed, it does
            world.chain.set(verdict);
            world.chain.emit(WatchEvent::Watching);
            sleep(Duration::from_millis(1)).await;
            assert_eq!(world.powers_off(), 1, "{verdict}");
        };
        world.live(script).await;
    }
}

/// One fullnode shows the stake as slashed at the start, and then none does.
#[tokio::test(start_paused = true)]
async fn an_end_at_the_start_that_no_read_confirms_is_none() {
    let world = World::new();
    world.chain.put(Verdict::Slashed);
    world.chain.ledger.borrow_mut().confirmations = [disagreement(1), disagreement(0)].into();
    let script = async {
        sleep(Duration::from_millis(500)).await;
        world.chain.emit(WatchEvent::Watching);
        world.chain.set(Verdict::Active);
        sleep(MINUTE).await;
        assert!(world.still_on());
        assert_eq!(world.agents_started(), 1);
    };
    world.live(script).await;
}

/// There are no heartbeats yet, and the watch reports a doubt once.
#[tokio::test(start_paused = true)]
async fn an_outage_at_the_start_is_shown_while_in_doubt() {
    let world = World::new();
    world.chain.put(Verdict::Slashed);
    world.chain.ledger.borrow_mut().confirmations = [unconfirmed()].into();
    let script = async {
        sleep(Duration::from_millis(500)).await;
        world.chain.ledger.borrow_mut().outage = Some(no_answer);
        assert_eq!(world.degraded(DegradedReason::ChainUnreachable), 0);
        world.chain.emit(|_| WatchEvent::Blind(no_answer()));
        sleep(MINUTE).await;
        assert_eq!(world.degraded(DegradedReason::ChainUnreachable), 1);
        assert_eq!(world.recovered(DegradedReason::ChainUnreachable), 0);
        {
            let mut ledger = world.chain.ledger.borrow_mut();
            ledger.outage = None;
            ledger.confirmations = (0..3600).map(|_| unconfirmed()).collect();
        }
        sleep(MINUTE).await;
        assert_eq!(world.recovered(DegradedReason::ChainUnreachable), 1);
        assert_eq!(world.recovered(DegradedReason::ChainRefused), 0, "in doubt");
        // the watch does not report that it is blind a second time
        world.chain.ledger.borrow_mut().outage = Some(no_answer);
        sleep(MINUTE).await;
        assert_eq!(world.degraded(DegradedReason::ChainUnreachable), 2);
        assert!(world.still_on());
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn a_suspicion_is_in_the_heartbeat() {
    let world = World::staked();
    let script = async {
        sleep(Duration::from_secs(10)).await;
        world.chain.emit(suspected);
        sleep(MINUTE).await;
        let desk = world.master.desk.borrow();
        assert_eq!(
            desk.heartbeats.last().unwrap().stake_status,
            "slashed-unconfirmed"
        );
    };
    world.live(script).await;
}

/// A fullnode that shows a minimum of its own, or a slash that never was, stops nothing by itself.
#[tokio::test(start_paused = true)]
async fn below_minimum_of_one_fullnode_stops_nothing() {
    for failure in [disagreement(1), unconfirmed()] {
        let world = World::staked();
        let script = async {
            sleep(Duration::from_secs(12)).await;
            world.chain.set(Verdict::BelowMinimum);
            let again = format!("{failure:?}");
            let doubt = if again.starts_with("Disagreement") {
                || disagreement(1)
            } else {
                unconfirmed
            };
            world.chain.ledger.borrow_mut().confirmations = (0..50).map(|_| doubt()).collect();
            sleep(Duration::from_secs(40)).await;
            assert_eq!(world.agents_stopped(), 0, "{again}");
            assert_eq!(
                world.degraded(DegradedReason::StakeBelowMinimum),
                0,
                "{again}"
            );
            assert_eq!(world.degraded(DegradedReason::ChainRefused), 1, "{again}");
            // confirmed in the end
            sleep(MINUTE).await;
            assert_eq!(world.agents_stopped(), 1, "{again}");
            assert_eq!(
                world.degraded(DegradedReason::StakeBelowMinimum),
                1,
                "{again}"
            );
            assert_eq!(world.recovered(DegradedReason::ChainRefused), 1, "{again}");
            assert!(world.still_on(), "{again}");
        };
        world.live(script).await;
    }
}

#[tokio::test(start_paused = true)]
async fn below_minimum_in_doubt_at_the_start_waits() {
    let world = World::new();
    world.chain.put(Verdict::BelowMinimum);
    world.init.agent_runs();
    world.chain.ledger.borrow_mut().confirmations = (0..30).map(|_| unconfirmed()).collect();
    let script = async {
        sleep(Duration::from_secs(20)).await;
        assert_eq!(world.agents_stopped(), 0);
        assert_eq!(world.registrations(), 0);
        sleep(MINUTE).await;
        assert_eq!(world.agents_stopped(), 1);
        assert_eq!(world.degraded(DegradedReason::StakeBelowMinimum), 1);
    };
    world.live(script).await;
}

/// What was confirmed once is not asked about again, nor doubted when the others are gone.
#[tokio::test(start_paused = true)]
async fn below_minimum_once_confirmed_stays() {
    let world = World::staked();
    let script = async {
        sleep(Duration::from_secs(12)).await;
        world.chain.set(Verdict::BelowMinimum);
        sleep(MINUTE).await;
        assert_eq!(world.agents_stopped(), 1);
        world.chain.ledger.borrow_mut().confirmations = (0..90).map(|_| unconfirmed()).collect();
        sleep(10 * MINUTE).await;
        assert_eq!(world.degraded(DegradedReason::ChainRefused), 0);
        assert_eq!(world.chain.ledger.borrow().confirmations.len(), 90);
        assert_eq!(world.agents_stopped(), 1);
    };
    world.live(script).await;
}
