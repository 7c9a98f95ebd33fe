//! Heartbeats.

use super::*;

#[tokio::test(start_paused = true)]
async fn heartbeats_are_acknowledged_and_the_stake_is_read_each_time() {
    let world = World::new();
    let session = world.session().await;
    for sequence in 1..5 {
        tokio::time::advance(Duration::from_secs(30)).await;
        let answer = world.beat(&a_beat(&session, sequence)).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(answer.body["status"], "acknowledged");
        assert_eq!(answer.body["timestamp"], NOW);
    }
    assert_eq!(world.ledger.0.lock().unwrap().reads, 5);
    // a node that beats faster does not make the master ask faster
    for sequence in 5..50 {
        world.beat(&a_beat(&session, sequence)).await;
    }
    assert_eq!(world.ledger.0.lock().unwrap().reads, 5);
}

#[tokio::test(start_paused = true)]
async fn a_slash_ends_the_session() {
    for (verdict, code) in [
        (Verdict::Slashed, "stake-slashed"),
        (Verdict::Unbonding, "stake-unbonding"),
        (Verdict::Withdrawn, "stake-unbonding"),
    ] {
        let world = World::new();
        let session = world.session().await;
        world.verdict(verdict);
        tokio::time::advance(Duration::from_secs(30)).await;
        world.beat(&a_beat(&session, 1)).await.refused(401, code);
        world
            .beat(&a_beat(&session, 2))
            .await
            .refused(401, "session");
    }
}

#[tokio::test(start_paused = true)]
async fn a_topped_up_stake_goes_on_in_its_session() {
    let world = World::new();
    let session = world.session().await;
    world.verdict(Verdict::BelowMinimum);
    tokio::time::advance(Duration::from_secs(30)).await;
    world
        .beat(&a_beat(&session, 1))
        .await
        .refused(401, "stake-below-minimum");
    world.verdict(Verdict::Active);
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(
        world.beat(&a_beat(&session, 2)).await.status,
        StatusCode::OK
    );
}

#[tokio::test(start_paused = true)]
async fn heartbeats_are_checked() {
    let world = World::new();
    let session = world.session().await;
    tokio::time::advance(Duration::from_secs(30)).await;
    world.beat(&a_beat("0123", 1)).await.refused(401, "session");
    let answer = world
        .post(HEARTBEAT_PATH, Some("0x9"), &a_beat(&session, 1))
        .await;
    answer.refused(401, "seal-token-mismatch");

    let mut beat = a_beat(&session, 1);
    beat.running_pods += 1;
    world.beat(&beat).await.refused(401, "signature");
    let mut beat = a_beat(&session, 1);
    beat.node_id = "edge-0002".parse().unwrap();
    world.beat(&signed_beat(beat)).await.refused(401, "session");
    let mut beat = a_beat(&session, 1);
    beat.timestamp -= 301;
    world
        .beat(&signed_beat(beat))
        .await
        .refused(401, "timestamp");
    for status in ["", "Active", "active\n", &"a".repeat(33)] {
        let mut beat = a_beat(&session, 1);
        beat.stake_status = status.to_owned();
        world
            .beat(&signed_beat(beat))
            .await
            .refused(400, "malformed");
    }
    for percent in [-1.0, 100.1] {
        let mut beat = a_beat(&session, 1);
        beat.resource_usage.disk_percent = percent;
        world
            .beat(&signed_beat(beat))
            .await
            .refused(400, "malformed");
    }

    // none of these has moved the number
    let beat = a_beat(&session, 1);
    assert_eq!(world.beat(&beat).await.status, StatusCode::OK);
    world.beat(&beat).await.refused(401, "sequence");
    world.change(|state| state.failure = Some(unreachable));
    tokio::time::advance(Duration::from_secs(30)).await;
    let beat = a_beat(&session, 2);
    world.beat(&beat).await.refused(503, "unavailable");
    world.change(|state| state.failure = None);
    world.beat(&beat).await.refused(401, "sequence");
    assert_eq!(
        world.beat(&a_beat(&session, 3)).await.status,
        StatusCode::OK
    );
}

#[tokio::test(start_paused = true)]
async fn a_seal_token_that_was_replaced_or_has_expired_ends_the_session() {
    let other = SealToken {
        id: ObjectId::from_bytes([9; 32]),
        issued_at_ms: 0,
        expires_at_ms: u64::MAX,
    };
    let expired = SealToken {
        id: ObjectId::from_bytes([8; 32]),
        issued_at_ms: 0,
        expires_at_ms: NOW * 1000,
    };
    for token in [Some(other), Some(expired), None] {
        let world = World::new();
        let session = world.session().await;
        world.change(|state| state.stake.as_mut().unwrap().seal_token = token);
        tokio::time::advance(Duration::from_secs(30)).await;
        world
            .beat(&a_beat(&session, 1))
            .await
            .refused(401, "seal-token-expired");
        world
            .beat(&a_beat(&session, 2))
            .await
            .refused(401, "session");
    }
}

#[tokio::test(start_paused = true)]
async fn heartbeat_with_and_without_the_kubelets_word_counts() {
    let world = World::new();
    let session = world.session().await;
    for (sequence, kubelet) in [(1, None), (2, Some("ok")), (3, Some("it does not answer"))] {
        let kubelet = kubelet.map(str::to_owned);
        let beat = signed_beat(HeartbeatRequest {
            kubelet,
            ..a_beat(&session, sequence)
        });
        let answer = world.beat(&beat).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
    for kubelet in ["two\nlines".to_owned(), "x".repeat(513)] {
        let beat = signed_beat(HeartbeatRequest {
            kubelet: Some(kubelet),
            ..a_beat(&session, 4)
        });
        world.beat(&beat).await.refused(400, "malformed");
    }
    // the word is under the signature
    let mut beat = a_beat(&session, 4);
    beat.kubelet = Some("it does not answer".to_owned());
    world.beat(&beat).await.refused(401, "signature");
}
