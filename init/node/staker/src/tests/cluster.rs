//! The k3s server, away and there again.

use std::cell::Cell;
use std::io;

use futures::FutureExt as _;

use super::*;
use crate::cluster::ProbeError;

const UNREACHABLE: DegradedReason = DegradedReason::ClusterUnreachable;

/// A server that is there as long as the cell says so; it counts the questions, too.
fn cluster(world: &mut World) -> (Rc<Cell<bool>>, Rc<Cell<u32>>) {
    let (up, asked) = (Rc::new(Cell::new(true)), Rc::new(Cell::new(0)));
    let (is_up, count) = (Rc::clone(&up), Rc::clone(&asked));
    world.cluster = Some(Rc::new(move |server: wire::ServerUrl| {
        assert_eq!(server.as_str(), "https://k3s.example:6443");
        count.set(count.get() + 1);
        let refused = || ProbeError::from(io::Error::from(io::ErrorKind::ConnectionRefused));
        let answer = if is_up.get() { Ok(()) } else { Err(refused()) };
        async move { answer }.boxed_local()
    }));
    (up, asked)
}

#[tokio::test(start_paused = true)]
async fn server_away_for_two_minutes_degrades_and_heals() {
    let mut world = World::staked();
    let (up, asked) = cluster(&mut world);
    world
        .live(async {
            sleep(MINUTE).await;
            assert!(asked.get() >= 5);
            assert_eq!(world.degraded(UNREACHABLE), 0);
            up.set(false);
            sleep(Duration::from_secs(25)).await;
            // a server that is started anew
            assert_eq!(world.degraded(UNREACHABLE), 0);
            sleep(Duration::from_secs(95)).await;
            // said once, however often it is asked
            assert_eq!(world.degraded(UNREACHABLE), 1);
            assert_eq!(world.recovered(UNREACHABLE), 0);
            up.set(true);
            sleep(Duration::from_secs(11)).await;
            assert_eq!(world.recovered(UNREACHABLE), 1);
        })
        .await;
    // the master's heartbeats go on, and nothing is restarted
    assert!(world.still_on());
    assert_eq!((world.agents_restarted(), world.agents_stopped()), (0, 0));
    assert_eq!(world.degraded(DegradedReason::Heartbeat), 0);
}

#[tokio::test(start_paused = true)]
async fn server_is_not_asked_while_no_agent_is_wanted() {
    let mut world = World::new();
    world.chain.put(Verdict::BelowMinimum);
    let (up, asked) = cluster(&mut world);
    up.set(false);
    world.live(sleep(5 * MINUTE)).await;
    assert_eq!(asked.get(), 0);
    assert_eq!(world.degraded(UNREACHABLE), 0);
}
