//! The node's side of the protocol: its pinned root and no other, and bounds on every answer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::StatusCode;
use common::{Authority, Leaf, Server};
use master_api::{Base64, ChallengeRequest, MAXIMUM_BODY, RefusalCode, RegisterRequest};
use staker::master_client::MasterClient;
use staker::seams::{Master as _, MasterError};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use wire::ServerUrl;

/// A server that gives one answer to everything.
async fn always(authority: &Authority, status: u16, body: impl Into<String>) -> Server {
    always_with(&authority.issue("localhost"), status, body).await
}

async fn always_with(leaf: &Leaf, status: u16, body: impl Into<String>) -> Server {
    let (status, body) = (StatusCode::from_u16(status).unwrap(), body.into());
    let router = Router::new().fallback(move || async move { (status, body) });
    Server::start(leaf, router).await
}

fn challenge() -> String {
    r#"{"nonce":"AQID"}"#.to_owned()
}

fn a_challenge() -> ChallengeRequest {
    ChallengeRequest {
        node_id: "edge-0001".parse().unwrap(),
        nonce: Base64(vec![6; 32]),
    }
}

/// Asks for a challenge first, as a node does, and then registers over the same key.
async fn register(client: &MasterClient, leaf: &Leaf) -> MasterError {
    let channel = master::trust::tls_key_sha256(&leaf.certificate).unwrap();
    client
        .register(&channel, &a_registration())
        .await
        .unwrap_err()
}

fn a_registration() -> RegisterRequest {
    RegisterRequest {
        node_id: "edge-0001".parse().unwrap(),
        seal_token: "0x8".to_owned(),
        timestamp: 1_700_000_000,
        nonce: Base64(vec![7; 32]),
        public_key: Base64(vec![0; 33]),
        evidence: None,
        signature: Base64(vec![]),
    }
}

#[tokio::test]
async fn the_pinned_root_is_taken_and_no_other() {
    let authority = Authority::new();
    let server = always(&authority, 200, challenge()).await;
    let client = MasterClient::new(&server.url(), &authority.pem()).unwrap();
    let challenged = client.challenge(&a_challenge()).await.unwrap();
    assert_eq!(challenged.answer.nonce.0, [1, 2, 3]);
    let leaf = authority.folder().join("leaf.pem");
    assert_eq!(
        challenged.tls_key_sha256,
        master::trust::tls_key_sha256(&leaf).unwrap()
    );

    let stranger = Authority::new();
    let client = MasterClient::new(&server.url(), &stranger.pem()).unwrap();
    let failure = client.challenge(&a_challenge()).await.unwrap_err();
    let MasterError::Unreachable { detail } = failure else {
        panic!("{failure}");
    };
    assert!(detail.contains("certificate"), "{detail}");

    // either of two roots will do, as it has to while one replaces the other
    let both = stranger.pem() + &authority.pem();
    let client = MasterClient::new(&server.url(), &both).unwrap();
    assert!(client.challenge(&a_challenge()).await.is_ok());
}

#[tokio::test]
async fn the_name_in_the_certificate_counts() {
    let authority = Authority::new();
    let router = Router::new().fallback(|| async { challenge() });
    let server = Server::start(&authority.issue("elsewhere.example"), router).await;
    let client = MasterClient::new(&server.url(), &authority.pem()).unwrap();
    let failure = client.challenge(&a_challenge()).await.unwrap_err();
    assert!(
        matches!(failure, MasterError::Unreachable { .. }),
        "{failure}"
    );
}

#[tokio::test]
async fn plain_http_is_not_spoken() {
    let authority = Authority::new();
    let server = always(&authority, 200, challenge()).await;
    let url = server.url().as_str().replace("https", "http");
    // there is no client for such a URL
    assert!(url.parse::<ServerUrl>().is_err());
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let authority = Authority::new();
    let target = always(&authority, 200, challenge()).await;
    let location = format!("{}/api/v1/challenge", target.url());
    let router = Router::new().fallback(move || async move {
        (StatusCode::TEMPORARY_REDIRECT, [("location", location)])
    });
    let server = Server::start(&authority.issue("localhost"), router).await;
    let client = MasterClient::new(&server.url(), &authority.pem()).unwrap();
    let failure = client.challenge(&a_challenge()).await.unwrap_err();
    assert!(failure.to_string().contains("307"), "{failure}");
}

#[tokio::test]
async fn answers_are_bounded_in_size() {
    let authority = Authority::new();
    let body = format!(
        r#"{{"nonce":"AQID","more":"{}"}}"#,
        "x".repeat(MAXIMUM_BODY)
    );
    let server = always(&authority, 200, body).await;
    let client = MasterClient::new(&server.url(), &authority.pem()).unwrap();
    let failure = client.challenge(&a_challenge()).await.unwrap_err();
    assert!(failure.to_string().contains("longer than"), "{failure}");
}

#[tokio::test]
async fn what_is_wrong_is_told_without_repeating_it() {
    let authority = Authority::new();
    let body = r#"{"status":"registered","node_id":1,"join_token":"hunter2"}"#;
    let bad_name = r#"{"status":"registered","node_id":"hunter2.","message":"welcome"}"#;
    for (status, body) in [
        (200, body),
        (200, bad_name),
        (200, r#""hunter2""#),
        (418, body),
        (500, ""),
    ] {
        let leaf = authority.issue("localhost");
        let server = always_with(&leaf, status, body).await;
        let client = MasterClient::new(&server.url(), &authority.pem()).unwrap();
        let failure = register(&client, &leaf).await;
        assert!(
            matches!(failure, MasterError::InvalidAnswer { .. }),
            "{failure}"
        );
        assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
    }
}

#[tokio::test]
async fn refusals_keep_their_code() {
    let authority = Authority::new();
    let refusal = |code| format!(r#"{{"status":"refused","code":"{code}","message":"no"}}"#);
    let leaf = authority.issue("localhost");
    let server = always_with(&leaf, 401, refusal("stake-slashed")).await;
    let client = MasterClient::new(&server.url(), &authority.pem()).unwrap();
    let failure = register(&client, &leaf).await;
    let MasterError::Refused { code, .. } = failure else {
        panic!("{failure}");
    };
    assert_eq!(code, RefusalCode::StakeSlashed);

    let body = refusal("unavailable");
    let router = Router::new().fallback(move || async move {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            [("retry-after", "15")],
            body,
        )
    });
    let leaf = authority.issue("localhost");
    let server = Server::start(&leaf, router).await;
    let client = MasterClient::new(&server.url(), &authority.pem()).unwrap();
    let failure = register(&client, &leaf).await;
    assert!(
        matches!(
            failure,
            MasterError::Unavailable {
                retry_after: Some(15),
                ..
            }
        ),
        "{failure}"
    );
}

#[tokio::test]
async fn what_follows_a_challenge_goes_to_the_key_that_answered_it() {
    let authority = Authority::new();
    let first = authority.issue("localhost");
    let channel = master::trust::tls_key_sha256(&first.certificate).unwrap();
    // another key under the same root
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let router = Router::new().fallback(move || async move {
        counted.fetch_add(1, Ordering::Relaxed);
        challenge()
    });
    let server = Server::start(&authority.issue("localhost"), router).await;
    let client = MasterClient::new(&server.url(), &authority.pem()).unwrap();
    let failure = client
        .register(&channel, &a_registration())
        .await
        .unwrap_err();
    assert!(matches!(failure, MasterError::OtherKey), "{failure}");
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    client.challenge(&a_challenge()).await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

/// In paused time a wait ends as soon as nothing else can happen.
#[tokio::test(start_paused = true)]
async fn a_master_that_says_nothing_is_waited_for_and_given_up() {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "https://localhost:{}",
        listener.local_addr().unwrap().port()
    );
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut sink = Vec::new();
        let _ = stream.read_to_end(&mut sink).await;
    });
    let client = MasterClient::new(&url.parse().unwrap(), &authority.pem()).unwrap();
    let failure = client.challenge(&a_challenge()).await.unwrap_err();
    assert!(
        matches!(failure, MasterError::Unreachable { .. }),
        "{failure}"
    );
}
