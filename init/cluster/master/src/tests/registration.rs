//! Challenges and registrations.

use super::*;
use crate::service::MOST_REGISTRATIONS_FROM_ONE;

#[tokio::test]
async fn a_good_stake_gets_the_token() {
    let world = World::new();
    let answer = world.register(&world.a_registration().await).await;
    assert_eq!(answer.status, StatusCode::OK);
    let body = answer.body;
    assert_eq!(body["status"], "registered");
    assert_eq!(body["node_id"], "edge-0001");
    assert_eq!(body["join_token"], JOIN_TOKEN);
    assert_eq!(body["server"], "https://10.0.2.2:6443");
    assert_eq!(body["session"].as_str().unwrap().len(), 32);
}

#[tokio::test]
async fn a_nonce_leads_to_one_registration() {
    let world = World::new();
    let request = world.a_registration().await;
    assert_eq!(world.register(&request).await.status, StatusCode::OK);
    world.register(&request).await.refused(401, "nonce");
}

#[tokio::test(start_paused = true)]
async fn a_nonce_is_good_for_a_minute() {
    let world = World::new();
    let request = world.a_registration().await;
    tokio::time::advance(Duration::from_secs(60)).await;
    world.register(&request).await.refused(401, "nonce");
}

#[tokio::test]
async fn what_was_not_issued_to_this_node_is_no_nonce() {
    let world = World::new();
    for nonce in [
        world.challenge("edge-0002").await,
        Base64(vec![1; 32]),
        Base64(Vec::new()),
        Base64(vec![1; 1000]),
    ] {
        let mut request = world.a_registration().await;
        request.nonce = nonce;
        world.register(&signed(request)).await.refused(401, "nonce");
    }
}

#[tokio::test]
async fn header_and_body_name_the_same_token() {
    let world = World::new();
    let request = world.a_registration().await;
    for header in [None, Some("0x9"), Some("")] {
        let answer = world.post(REGISTER_PATH, header, &request).await;
        answer.refused(401, "seal-token-mismatch");
    }
}

#[tokio::test]
async fn clocks_can_be_five_minutes_apart() {
    let world = World::new();
    for (timestamp, good) in [
        (NOW - 300, true),
        (NOW + 300, true),
        (NOW - 301, false),
        (NOW + 301, false),
        (0, false),
        (u64::MAX, false),
    ] {
        let mut request = world.a_registration().await;
        request.timestamp = timestamp;
        let answer = world.register(&signed(request)).await;
        if good {
            assert_eq!(answer.status, StatusCode::OK);
        } else {
            answer.refused(401, "timestamp");
        }
    }
}

#[tokio::test]
async fn every_field_is_under_the_signature() {
    let world = World::new();
    let other = NodeKey::generate().unwrap();
    let changes: [&dyn Fn(&mut RegisterRequest); 4] = [
        &|request| request.timestamp += 1,
        &|request| request.signature.0[10] ^= 1,
        &|request| request.signature = Base64(vec![0; 97]),
        // another key, that did not sign
        &|request| request.public_key = Base64(other.public().to_flagged_bytes().to_vec()),
    ];
    for change in changes {
        let mut request = world.a_registration().await;
        change(&mut request);
        world.register(&request).await.refused(401, "signature");
    }
    // nothing of this was worth a question to the chain
    assert_eq!(world.ledger.0.lock().unwrap().reads, 0);
}

#[tokio::test]
async fn a_stake_counts_for_its_key_and_its_node_alone() {
    let world = World::new();
    let other = NodeKey::generate().unwrap();
    let mut request = world.a_registration().await;
    request.public_key = Base64(other.public().to_flagged_bytes().to_vec());
    let bytes = request.signed_bytes().unwrap();
    let signature = other.sign_message(&bytes).unwrap().to_string();
    request.signature = Base64(STANDARD.decode(signature).unwrap());
    world
        .register(&request)
        .await
        .refused(401, "stake-of-another");

    let mut request = world.a_registration().await;
    request.node_id = "edge-0002".parse().unwrap();
    request.nonce = world.challenge("edge-0002").await;
    world
        .register(&signed(request))
        .await
        .refused(401, "stake-of-another");

    world.change(|state| {
        state.failure = Some(|| ChainError::WrongObject {
            what: "StakeRecord",
            id: ObjectId::from_bytes([7; 32]),
            expected: "pool 0x1".to_owned(),
            found: "pool 0x2".to_owned(),
        });
    });
    let request = world.a_registration().await;
    world
        .register(&request)
        .await
        .refused(401, "stake-of-another");
}

#[tokio::test]
async fn a_stake_that_is_not_there_or_not_good_is_refused() {
    let world = World::new();
    for (verdict, code) in [
        (Verdict::BelowMinimum, "stake-below-minimum"),
        (Verdict::Unbonding, "stake-unbonding"),
        (Verdict::Withdrawn, "stake-unbonding"),
        (Verdict::Slashed, "stake-slashed"),
    ] {
        world.verdict(verdict);
        let request = world.a_registration().await;
        world.register(&request).await.refused(401, code);
    }
    world.change(|state| state.stake = None);
    let request = world.a_registration().await;
    world
        .register(&request)
        .await
        .refused(401, "stake-not-found");
}

#[tokio::test]
async fn a_seal_token_runs_out() {
    let world = World::new();
    for token in [
        None,
        Some(SealToken {
            id: ObjectId::from_bytes([8; 32]),
            issued_at_ms: 0,
            expires_at_ms: NOW * 1000,
        }),
    ] {
        let found = token.is_some();
        world.change(|state| state.stake.as_mut().unwrap().seal_token = token);
        let request = world.a_registration().await;
        let code = if found {
            "seal-token-expired"
        } else {
            "stake-not-found"
        };
        world.register(&request).await.refused(401, code);
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_chain_nodes_come_back_later() {
    let world = World::new();
    world.change(|state| state.failure = Some(unreachable));
    let request = world.a_registration().await;
    world.register(&request).await.refused(503, "unavailable");
    world.change(|state| {
        state.failure = None;
        state.hangs = true;
    });
    world.register(&request).await.refused(503, "unavailable");
    // the same request, nonce and all, is still good
    world.change(|state| state.hangs = false);
    assert_eq!(world.register(&request).await.status, StatusCode::OK);
}

#[tokio::test]
async fn without_a_token_to_hand_out_nodes_come_back_later() {
    let world = World::new();
    let token_file = world.folder.path().join("token");
    let spoils: [&dyn Fn(); 4] = [
        &|| fs::write(&token_file, "K10cafe::node:hunter2").unwrap(),
        &|| fs::set_permissions(&token_file, Permissions::from_mode(0o644)).unwrap(),
        &|| fs::write(&token_file, "").unwrap(),
        &|| fs::remove_file(&token_file).unwrap(),
    ];
    for spoil in spoils {
        spoil();
        let request = world.a_registration().await;
        let answer = world.register(&request).await;
        answer.refused(503, "unavailable");
        let folder = world.folder.path().to_str().unwrap();
        assert!(!answer.body.to_string().contains(folder), "{answer:?}");
    }
}

#[tokio::test]
async fn what_is_not_of_the_protocol_is_malformed() {
    let world = World::new();
    let token = ObjectId::from_bytes([8; 32]).to_string();
    for path in [CHALLENGE_PATH, REGISTER_PATH, HEARTBEAT_PATH] {
        for body in ["", "null", "{}", "[", r#"{"node_id":"a","more":1}"#] {
            let answer = world.send(path, Some(&token), body.into()).await;
            answer.refused(400, "malformed");
        }
        let longest = match path {
            REGISTER_PATH => MAXIMUM_REGISTRATION,
            _ => MAXIMUM_BODY,
        };
        let body = vec![b' '; longest + 1];
        world
            .send(path, Some(&token), body)
            .await
            .refused(413, "malformed");
    }
    for length in [0, 31, 33] {
        let mut request = a_challenge("edge-0001");
        request.nonce = Base64(vec![0; length]);
        let answer = world.post(CHALLENGE_PATH, None, &request).await;
        answer.refused(400, "malformed");
    }
    let mut request = world.a_registration().await;
    request.public_key = Base64(vec![2; 33]);
    world.register(&request).await.refused(400, "malformed");
    request.seal_token = "token".to_owned();
    world.register(&request).await.refused(400, "malformed");
    world
        .send("/api", None, Vec::new())
        .await
        .refused(404, "malformed");
}

#[tokio::test]
async fn message_with_a_bad_node_name_is_malformed() {
    let world = World::new();
    let token = ObjectId::from_bytes([8; 32]).to_string();
    let messages = [
        (
            CHALLENGE_PATH,
            serde_json::to_value(a_challenge("edge-0001")).unwrap(),
        ),
        (
            REGISTER_PATH,
            serde_json::to_value(world.a_registration().await).unwrap(),
        ),
        (
            HEARTBEAT_PATH,
            serde_json::to_value(a_beat("session", 1)).unwrap(),
        ),
    ];
    for (path, mut message) in messages {
        for node_id in ["", "Edge", "-a", "a-", "a.b", "a\nb", &"a".repeat(64)] {
            message["node_id"] = node_id.into();
            let answer = world.post(path, Some(&token), &message).await;
            answer.refused(400, "malformed");
            assert_eq!(
                answer.body["message"],
                "node_id: expected 1 to 63 lower-case letters, digits and inner hyphens"
            );
        }
    }
}

#[tokio::test]
async fn other_methods_are_refused_and_health_is_shown() {
    let world = World::new();
    for (path, status) in [(REGISTER_PATH, 405), ("/healthz", 200)] {
        let peer = Peer(([192, 0, 2, 1], 4711).into());
        let request = Request::get(path)
            .extension(peer)
            .body(Body::empty())
            .unwrap();
        let response = answer(Arc::clone(&world.master).router(), request).await;
        assert_eq!(response.status().as_u16(), status);
    }
}

/// A body of which nothing ever comes.
struct Dripping;

impl hyper::body::Body for Dripping {
    type Data = axum::body::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

/// Whoever lets bodies drip has few places, and takes none from others.
#[tokio::test(start_paused = true)]
async fn one_address_does_not_take_all_places() {
    let world = World::new();
    let send = |host: u8, body: Body| {
        let peer = Peer(([192, 0, 2, host], 4711).into());
        let request = Request::post(REGISTER_PATH).extension(peer);
        let request = request.body(body).unwrap();
        let router = Arc::clone(&world.master).router();
        tokio::spawn(async move { Answer::of(answer(router, request).await).await })
    };
    let slow: Vec<_> = (0..MOST_REGISTRATIONS_FROM_ONE)
        .map(|_| send(1, Body::new(Dripping)))
        .collect();
    // they are in before the next one is
    tokio::time::sleep(Duration::from_millis(1)).await;
    let answer = send(1, Body::from("{}")).await.unwrap();
    answer.refused(503, "unavailable");
    send(2, Body::from("{}"))
        .await
        .unwrap()
        .refused(400, "malformed");
    for slow in slow {
        slow.await.unwrap().refused(408, "malformed");
    }
    send(1, Body::from("{}"))
        .await
        .unwrap()
        .refused(400, "malformed");
}
