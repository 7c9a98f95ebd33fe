//! A node that leaves.

use super::*;

const RECEIVER: chain::Address = chain::Address::from_bytes([0x33; 32]);
/// How long the stake unbonds.
const UNBONDING: Duration = Duration::from_secs(600);

/// A node that was told to leave, with coins for gas.
fn leaving(verdict: Option<Verdict>) -> World {
    let mut world = World::new();
    if let Some(verdict) = verdict {
        world.chain.put(verdict);
    }
    world.chain.ledger.borrow_mut().coins = 5000;
    (world.leave, world.beneficiary) = (true, Some(RECEIVER));
    STARTED.set(Some(tokio::time::Instant::now()));
    world
}

fn paid_out(world: &World) -> Vec<(chain::Address, u64)> {
    world.chain.ledger.borrow().paid_out.clone()
}

fn kept(world: &World) -> usize {
    std::fs::read_dir(world.directory.path()).unwrap().count()
}

#[tokio::test(start_paused = true)]
async fn the_stake_is_asked_for_withdrawn_and_sent_on_with_all_other_coins() {
    for verdict in [Verdict::Active, Verdict::BelowMinimum] {
        let world = leaving(Some(verdict));
        let script = async {
            sleep(5 * MINUTE).await;
            let stake = world.chain.ledger.borrow().stake.clone().unwrap();
            assert_eq!(stake.verdict, Verdict::Unbonding);
            assert_eq!(paid_out(&world), []);
            assert!(world.still_on());
            let told = |message: &ToInit| {
                matches!(message, ToInit::Degraded { detail, .. }
                    if detail.contains("can be withdrawn at 1700000600"))
            };
            assert_eq!(world.told(told), 1);
            sleep(UNBONDING).await;
            assert!(world.powered_off(PowerOffReason::Unbonding));
        };
        world.live(script).await;
        assert_eq!(paid_out(&world), [(RECEIVER, 1_000_005_000)]);
        assert_eq!(world.chain.ledger.borrow().coins, 0);
        assert_eq!(kept(&world), 0);
        // it ran nothing, and asked the master for nothing
        assert_eq!(world.agents_started() + world.registrations(), 0);
        assert_eq!(world.chain.ledger.borrow().prepared.len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn payout_that_cannot_be_kept_is_not_sent() {
    let world = leaving(Some(Verdict::Withdrawn));
    let obstacle = world.directory.path().join("payout-transaction.new");
    std::fs::create_dir(&obstacle).unwrap();
    let script = async {
        sleep(10 * MINUTE).await;
        assert!(world.chain.ledger.borrow().payouts_submitted.is_empty());
        assert_eq!(world.degraded(DegradedReason::Journal), 1);
        assert!(world.still_on());
        std::fs::remove_dir(&obstacle).unwrap();
        sleep(2 * MINUTE).await;
        assert_eq!(paid_out(&world), [(RECEIVER, 5000)]);
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn a_power_cut_anywhere_sends_nothing_twice() {
    // the transaction's fate is not known: it was executed, or it was not
    for executed in [true, false] {
        let world = leaving(Some(Verdict::Withdrawn));
        world.chain.ledger.borrow_mut().payouts = [(not_final(), executed)].into();
        world.chain.ledger.borrow_mut().outage = None;
        // power is lost right after it was submitted
        world.live(sleep(Duration::from_millis(1))).await;
        assert_eq!(world.chain.ledger.borrow().payouts_submitted.len(), 1);
        assert_eq!(kept(&world), 1);
        world.live(sleep(MINUTE)).await;
        let ledger = world.chain.ledger.borrow();
        assert_eq!(ledger.paid_out, [(RECEIVER, 5000)]);
        let [first, again] = ledger.payouts_submitted.as_slice() else {
            panic!("{:?}", ledger.payouts_submitted);
        };
        assert_eq!(first, again, "the same transaction");
        assert_eq!(kept(&world), 0);
        assert!(world.powered_off(PowerOffReason::Unbonding));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_kept_for_another_receiver_or_has_expired_is_not_sent() {
    for expired in [true, false] {
        let mut world = leaving(Some(Verdict::Withdrawn));
        world.chain.ledger.borrow_mut().payouts = [(not_final(), false)].into();
        world.live(sleep(Duration::from_millis(1))).await;
        assert_eq!(kept(&world), 1);
        world.chain.ledger.borrow_mut().expired = expired;
        let other = chain::Address::from_bytes([0x44; 32]);
        world.beneficiary = Some(if expired { RECEIVER } else { other });
        world.live(sleep(MINUTE)).await;
        assert_eq!(paid_out(&world), [(world.beneficiary.unwrap(), 5000)]);
    }
}

#[tokio::test(start_paused = true)]
async fn coins_are_sent_on_without_a_stake_and_after_a_slash() {
    for (verdict, reason) in [
        (None, PowerOffReason::Unbonding),
        (Some(Verdict::Slashed), PowerOffReason::Slashed),
    ] {
        let world = leaving(verdict);
        world.live(sleep(MINUTE)).await;
        assert_eq!(paid_out(&world), [(RECEIVER, 5000)]);
        assert!(world.powered_off(reason));
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_while_the_stake_is_wanted_or_its_end_is_doubtful() {
    // wanted: the address is there for later
    for verdict in [Verdict::Active, Verdict::Withdrawn] {
        let mut world = leaving(Some(verdict));
        world.leave = false;
        world.live(sleep(10 * MINUTE)).await;
        assert_eq!(paid_out(&world), []);
    }
    // one fullnode alone shows it as withdrawn
    let world = leaving(Some(Verdict::Withdrawn));
    world.chain.ledger.borrow_mut().confirmations = (0..10_000).map(|_| disagreement(1)).collect();
    world.live(sleep(10 * MINUTE)).await;
    assert_eq!(paid_out(&world), []);
    assert!(world.still_on());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_has_left_stays_on_says_so_and_sends_late_coins_on() {
    let world = leaving(Some(Verdict::Withdrawn));
    world.chain.ledger.borrow_mut().coins = 0;
    let script = async {
        sleep(10 * MINUTE).await;
        assert!(world.still_on());
        assert_eq!(world.degraded(DegradedReason::StakeWithdrawn), 1);
        world.chain.ledger.borrow_mut().coins = 7;
        sleep(10 * MINUTE).await;
        assert_eq!(paid_out(&world), [(RECEIVER, 7)]);
        assert!(world.powered_off(PowerOffReason::Unbonding));
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn without_another_address_the_coins_stay_with_the_key() {
    for to_itself in [false, true] {
        let mut world = leaving(Some(Verdict::Active));
        world.beneficiary = to_itself.then(|| world.key.address());
        world.live(sleep(2 * UNBONDING)).await;
        assert_eq!(paid_out(&world), []);
        assert_eq!(world.chain.ledger.borrow().coins, 1_000_005_000);
        assert!(world.powered_off(PowerOffReason::Unbonding));
    }
}
