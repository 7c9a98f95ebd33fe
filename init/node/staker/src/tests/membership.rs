//! Registration and heartbeats.

use super::*;

fn hundredths(percent: f64) -> f64 {
    (percent * 100.0).round() / 100.0
}

#[tokio::test(start_paused = true)]
async fn stakes_registers_and_reports() {
    let world = World::new();
    world.live(sleep(5 * MINUTE + Duration::from_secs(1))).await;
    assert_eq!(world.chain.ledger.borrow().submitted.len(), 1);
    assert_eq!(world.registrations(), 1);
    let told = world.init.messages();
    let reached = |phase| ToInit::Reached { phase };
    let state = |state| ToInit::State { state };
    assert_eq!(
        told,
        [
            reached(Phase::Unsealed),
            state(NodeState::Unsealed),
            reached(Phase::Staked),
            state(NodeState::Staked),
            reached(Phase::Registered),
            state(NodeState::Registered),
            ToInit::Desired {
                desired: Desired {
                    number: 1,
                    agent: AgentDesire::Run {
                        node: "edge-0001-0707070707".parse().unwrap(),
                        server: "https://k3s.example:6443".parse().unwrap(),
                        token: wire::JoinToken::new(wire::Secret::new(JOIN_TOKEN.to_owned()))
                            .unwrap(),
                        run: 0,
                    },
                    power: PowerDesire::On,
                },
            },
        ]
    );
    let desk = world.master.desk.borrow();
    assert_eq!(desk.heartbeats.len(), 11);
    for (index, heartbeat) in desk.heartbeats.iter().enumerate() {
        assert_eq!(heartbeat.sequence, index as u64 + 1);
        assert_eq!(heartbeat.session, "session-1");
        assert_eq!(heartbeat.stake_status, "active");
        assert_eq!(heartbeat.stake_amount, 1_000_000_000);
        assert_eq!(heartbeat.running_pods, 3);
        let usage = heartbeat.resource_usage;
        assert_eq!(
            [usage.cpu_percent, usage.memory_percent, usage.disk_percent],
            [0.0, 100.0, hundredths(100.0 / (index as f64 + 1.0))]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn three_failures_restart_the_agent_and_a_long_outage_restarts_it_ever_less_often() {
    let world = World::staked();
    let script = async {
        sleep(Duration::from_secs(15)).await;
        world.master.desk.borrow_mut().outage = Some(no_master);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(world.agents_restarted(), 0);
        assert_eq!(world.degraded(DegradedReason::Heartbeat), 1);
        sleep(Duration::from_secs(30)).await;
        assert_eq!(world.agents_restarted(), 1);
        sleep(Duration::from_secs(5 * 30)).await;
        assert_eq!(world.agents_restarted(), 1);
        sleep(Duration::from_secs(30)).await;
        assert_eq!(world.agents_restarted(), 2);
        // back, and gone again: three are enough again
        world.master.desk.borrow_mut().outage = None;
        sleep(Duration::from_secs(30)).await;
        assert_eq!(world.recovered(DegradedReason::Heartbeat), 1);
        assert_eq!(world.recovered(DegradedReason::MasterUnreachable), 1);
        world.master.desk.borrow_mut().outage = Some(no_master);
        sleep(Duration::from_secs(90)).await;
        assert_eq!(world.agents_restarted(), 3);
        assert_eq!(world.agents_started(), 1);
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn a_master_that_cannot_verify_restarts_nothing() {
    let world = World::staked();
    let script = async {
        sleep(Duration::from_secs(15)).await;
        world.master.desk.borrow_mut().outage = Some(|| MasterError::Unavailable {
            message: "the chain does not answer".to_owned(),
            retry_after: Some(30),
        });
        sleep(60 * MINUTE).await;
        assert_eq!(world.agents_restarted(), 0);
        assert_eq!(world.degraded(DegradedReason::Heartbeat), 1);
        assert_eq!(world.degraded(DegradedReason::MasterUnreachable), 0);
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_session_registers_again() {
    let world = World::staked();
    let script = async {
        sleep(Duration::from_secs(15)).await;
        let forgotten = refused(RefusalCode::Session);
        world
            .master
            .desk
            .borrow_mut()
            .refuse_heartbeats
            .push_back(forgotten);
        sleep(Duration::from_secs(16)).await;
        assert_eq!(world.registrations(), 2);
        // the same server and token: nothing new is desired
        assert_eq!(world.agents_started(), 1);
        assert_eq!(world.agents_restarted(), 0);
        let desk = world.master.desk.borrow();
        let last = desk.heartbeats.last().expect("one");
        assert_eq!((last.session.as_str(), last.sequence), ("session-2", 1));
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn a_master_that_always_forgets_is_not_hammered() {
    let world = World::staked();
    world.master.desk.borrow_mut().refuse_heartbeats =
        (0..10_000).map(|_| refused(RefusalCode::Session)).collect();
    world.live(sleep(60 * MINUTE)).await;
    assert!(world.registrations() < 140, "{}", world.registrations());
}

#[tokio::test(start_paused = true)]
async fn the_masters_word_about_the_stake_is_checked() {
    let world = World::staked();
    let script = async {
        sleep(Duration::from_secs(15)).await;
        let lies = (0..10)
            .map(|_| refused(RefusalCode::StakeSlashed))
            .collect();
        world.master.desk.borrow_mut().refuse_heartbeats = lies;
        sleep(10 * MINUTE).await;
        assert!(world.still_on());
        assert_eq!(world.agents_restarted(), 0);
        assert_eq!(world.recovered(DegradedReason::Heartbeat), 1);
        world.chain.set(Verdict::Slashed);
        sleep(MINUTE).await;
        assert!(world.powered_off(PowerOffReason::Slashed));
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_registration_is_tried_again() {
    let world = World::staked();
    world.master.desk.borrow_mut().refuse_registrations =
        (0..4).map(|_| refused(RefusalCode::Timestamp)).collect();
    world.live(sleep(MINUTE)).await;
    assert_eq!(world.degraded(DegradedReason::RegistrationRefused), 1);
    assert_eq!(world.recovered(DegradedReason::RegistrationRefused), 1);
    assert_eq!(world.agents_started(), 1);
    let desk = world.master.desk.borrow();
    assert_eq!(desk.challenges, 5);
    assert_ne!(desk.registered[0].nonce, desk.registered[1].nonce);
}

#[tokio::test(start_paused = true)]
async fn the_master_is_asked_as_late_as_it_wants() {
    let world = World::staked();
    let busy = |_| MasterError::Unavailable {
        message: "later".to_owned(),
        retry_after: Some(u64::MAX),
    };
    world.master.desk.borrow_mut().refuse_registrations = (0..1).map(busy).collect();
    let script = async {
        sleep(Duration::from_secs(119)).await;
        assert_eq!(world.registrations(), 1);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(world.agents_started(), 1);
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn answers_that_cannot_be_used_start_nothing() {
    let world = World::staked();
    let spoils: [fn(&mut master_api::RegisterResponse); 12] = [
        |answer| answer.node_id = "edge-0002".parse().unwrap(),
        |answer| answer.status = "refused".to_owned(),
        |answer| answer.server = Some("http://k3s.example:6443".to_owned()),
        |answer| answer.join_token = Some(wire::Secret::new(String::new())),
        |answer| answer.join_token = Some(wire::Secret::new("two\nlines".to_owned())),
        |answer| answer.session = Some(String::new()),
        |answer| answer.session = None,
        |answer| answer.server = None,
        |answer| answer.join_token = None,
        |answer| answer.join_token = Some(wire::Secret::new("hunter2".to_owned())),
        |answer| answer.join_token = Some(wire::Secret::new("K10cafe::node:hunter2".to_owned())),
        |answer| {
            answer.join_token = Some(wire::Secret::new(
                JOIN_TOKEN.replace("::node:hunter2", "::"),
            ))
        },
    ];
    for spoil in spoils {
        world.master.desk.borrow_mut().spoil = Some(spoil);
        world.live(sleep(MINUTE)).await;
    }
    assert_eq!(world.agents_started(), 0);
    assert!(world.degraded(DegradedReason::MasterUnreachable) >= spoils.len());
}

#[tokio::test(start_paused = true)]
async fn the_page_shows_the_stake_and_no_secret() {
    let world = World::staked();
    let staker = world.staker();
    let health = staker.board().subscribe();
    tokio::select! {
        _ = staker.run() => {}
        () = sleep(Duration::from_secs(45)) => {}
    }
    let json = serde_json::to_string(&**health.borrow()).unwrap();
    for shown in [
        r#""verdict":"active""#,
        r#""acknowledged":2"#,
        r#""last_acknowledged":1700000000"#,
    ] {
        assert!(json.contains(shown), "{shown} in {json}");
    }
    let secret = world.key.to_suiprivkey().unwrap();
    assert!(!json.contains(JOIN_TOKEN) && !json.contains(secret.as_str()));
    let told = format!("{:?}", world.init.messages());
    assert!(!told.contains(JOIN_TOKEN), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_start_that_init_does_not_follow_is_asked_for_again() {
    let world = World::staked();
    world.init.lost.set(2);
    let script = async {
        sleep(MINUTE).await;
        assert_eq!(world.agents_started(), 3);
        assert_eq!(world.init.agent(), wire::status::AgentState::Wanted);
        sleep(10 * MINUTE).await;
        assert_eq!(world.agents_started(), 3);
    };
    world.live(script).await;
}

/// A former run of the staker had the agent restarted: its number goes on.
#[tokio::test(start_paused = true)]
async fn a_restarted_staker_restarts_no_agent() {
    let world = World::staked();
    let script = async {
        sleep(Duration::from_secs(15)).await;
        world.master.desk.borrow_mut().outage = Some(no_master);
        sleep(Duration::from_secs(90)).await;
        world.master.desk.borrow_mut().outage = None;
        sleep(MINUTE).await;
    };
    world.live(script).await;
    assert_eq!(world.agents_restarted(), 1);
    let before = world.init.desired().len();
    world.live(sleep(MINUTE)).await;
    assert_eq!(world.agents_restarted(), 1);
    let desired = world.init.desired();
    assert_eq!(desired.len(), before + 1);
    assert!(desired[before].number > desired[before - 1].number);
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_init_does_not_follow_is_asked_for_again() {
    let world = World::staked();
    let script = async {
        sleep(MINUTE).await;
        world.init.lost.set(2);
        world.chain.set(Verdict::BelowMinimum);
        sleep(MINUTE).await;
        assert_eq!(world.agents_stopped(), 3);
        assert_eq!(world.init.agent(), wire::status::AgentState::Stopped);
    };
    world.live(script).await;
}

#[tokio::test(start_paused = true)]
async fn a_revoked_release_stops_the_agent_until_another_image_is_taken() {
    for code in [
        RefusalCode::ReleaseRevoked,
        RefusalCode::ReleaseBelowMinimum,
        RefusalCode::ReleaseUnknown,
    ] {
        let world = World::staked();
        let script = async {
            sleep(Duration::from_secs(15)).await;
            assert_eq!(world.agents_started(), 1);
            {
                let mut desk = world.master.desk.borrow_mut();
                desk.refuse_heartbeats.push_back(refused(code));
                desk.refuse_registrations = (0..10_000).map(|_| refused(code)).collect();
            }
            sleep(20 * MINUTE).await;
            // told once, stopped once, tried again at the usual pace
            assert_eq!(world.agents_stopped(), 1);
            assert_eq!(world.agents_started(), 1);
            assert_eq!(world.degraded(DegradedReason::RegistrationRefused), 1);
            let told = |message: &ToInit| matches!(message, ToInit::Degraded { detail, .. } if detail.contains("newer image"));
            assert_eq!(world.told(told), 1);
            assert!(
                (12..60).contains(&world.registrations()),
                "{}",
                world.registrations()
            );
            assert!(world.still_on());
            assert_eq!(
                world.chain.ledger.borrow().prepared.len(),
                0,
                "the stake stays"
            );
            // another image is the same node
            world.master.desk.borrow_mut().refuse_registrations.clear();
            sleep(5 * MINUTE).await;
            assert_eq!(world.agents_started(), 2);
            assert_eq!(world.recovered(DegradedReason::RegistrationRefused), 1);
        };
        world.live(script).await;
    }
}

/// Nothing runs, so nothing is stopped.
#[tokio::test(start_paused = true)]
async fn a_revoked_release_is_refused_at_the_first_registration() {
    let world = World::staked();
    world.master.desk.borrow_mut().refuse_registrations =
        [refused(RefusalCode::ReleaseRevoked)].into();
    world.live(sleep(MINUTE)).await;
    assert_eq!(world.degraded(DegradedReason::RegistrationRefused), 1);
    assert_eq!(world.agents_stopped(), 0);
    assert_eq!(world.agents_started(), 1);
}
