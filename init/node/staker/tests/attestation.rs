//! The staker with a real TPM in software, the master and the fullnode double, over TLS: who gets in,
//! who does not, and whom a node tells what.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod lab;

use std::path::Path;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{Response, StatusCode};
use axum::middleware::{Next, from_fn};
use chain::ObjectId;
use common::devnet::{JOIN_TOKEN, Options, agent, starts_agent};
use common::{Authority, Server};
use fixtures::machine::{Firmware, Flaw, Manufacturer};
use fixtures::software_tpm::Swtpm;
use lab::{Lab, Machine, Seen, degraded, paths, recorded};
use master::trust::Trust;
use master_api::{
    CHALLENGE_PATH, MAXIMUM_REGISTRATION, REGISTER_PATH, RegisterRequest, SEAL_TOKEN_HEADER,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use staker::prover::Prover;
use wire::status::DegradedReason;

#[tokio::test]
async fn a_released_image_gets_in_and_again_after_a_restart() {
    let lab = Lab::new().await;
    lab.approve().await;
    let (master, seen) = lab.master().await;
    let machine = lab.machine(Firmware::default());
    for _ in 0..2 {
        lab.devnet
            .live_with(&master, machine.node(), async |init| {
                let passed = init.expect(starts_agent).await;
                let Some((server, token)) = passed.last().and_then(agent) else {
                    panic!("{passed:?}");
                };
                assert_eq!(server.as_str(), "https://10.0.2.2:6443");
                assert_eq!(token.expose(), JOIN_TOKEN);
                init.first_heartbeat().await;
                let health = init.health.borrow().clone();
                assert_eq!(health.evidence, "a quote of the TPM");
                assert!(health.master_known_by.contains("directory"), "{health:?}");
            })
            .await;
        machine.restart();
    }
    // one stake, one identity
    let register = |(path, body): &(String, Vec<u8>)| {
        (path == REGISTER_PATH).then(|| serde_json::from_slice::<RegisterRequest>(body).unwrap())
    };
    let seen = seen.lock().unwrap();
    let requests: Vec<_> = seen.iter().filter_map(register).collect();
    let [first, second] = requests.as_slice() else {
        panic!("{} registrations", requests.len());
    };
    assert_eq!(first.seal_token, second.seal_token);
    assert_eq!(first.public_key, second.public_key);
    // the first words hold nothing of the stake
    let (path, body) = seen.first().unwrap();
    assert_eq!(path, CHALLENGE_PATH);
    let body = String::from_utf8(body.clone()).unwrap();
    assert!(!body.contains(&first.seal_token), "{body}");
}

#[tokio::test]
async fn what_is_not_right_with_a_machine_is_refused_by_name() {
    let lab = Lab::new().await;
    let (master, _) = lab.master().await;
    let refused = DegradedReason::RegistrationRefused;
    let machine = lab.machine(Firmware::default());
    let expect = async |options: Options, code: &str| {
        let words = format!("({code})");
        lab.devnet
            .live_with(&master, options, async |init| {
                degraded(init, refused, &words).await;
            })
            .await;
    };
    expect(machine.node(), "release-unknown").await;
    lab.approve().await;
    let no_tpm = Options {
        directory: true,
        ..Options::default()
    };
    expect(no_tpm, "evidence-missing").await;
    let off = lab.machine(Firmware {
        secure_boot: false,
        ..Firmware::default()
    });
    expect(off.node(), "secure-boot-off").await;
    let stranger = lab.machine(Firmware {
        authority: b"a stranger's certificate",
        ..Firmware::default()
    });
    expect(stranger.node(), "secure-boot-keys").await;
    let edited = lab.machine(Firmware {
        command_line: Some(b"init=/bin/sh"),
        ..Firmware::default()
    });
    expect(edited.node(), "command-line").await;
    let bare = Machine::boot(Swtpm::new(), Firmware::default());
    expect(bare.node(), "endorsement-missing").await;
    let swtpm = Swtpm::new();
    Manufacturer::new().provision(&swtpm, Flaw::None);
    let other = Machine::boot(swtpm, Firmware::default());
    expect(other.node(), "endorsement-untrusted").await;
    let swtpm = Swtpm::new();
    lab.maker.provision(&swtpm, Flaw::Expired);
    let old = Machine::boot(swtpm, Firmware::default());
    expect(old.node(), "endorsement-expired").await;
    // another image than the log's
    let extended = lab.machine(Firmware::default());
    extended
        .swtpm
        .lock()
        .unwrap()
        .open()
        .extend_pcr(4, &[1; 32])
        .unwrap();
    expect(extended.node(), "event-log").await;
    lab.revoke().await;
    expect(machine.node(), "release-revoked").await;
}

#[tokio::test]
async fn a_tpm_that_fails_is_told_and_nothing_is_sent() {
    let lab = Lab::new().await;
    lab.approve().await;
    let (master, seen) = lab.master().await;
    let broken = Options {
        prover: Prover::through_broker(
            Path::new("/dev/null"),
            Path::new("/nowhere/broker"),
            Path::new("/nowhere"),
        ),
        directory: true,
        ..Options::default()
    };
    lab.devnet
        .live_with(&master, broken, async |init| {
            degraded(init, DegradedReason::Attestation, "TPM").await;
        })
        .await;
    assert!(!paths(&seen).contains(&REGISTER_PATH.to_owned()));
}

#[tokio::test]
async fn a_master_whose_key_is_not_registered_or_retired_gets_nothing() {
    let lab = Lab::new().await;
    lab.approve().await;
    let machine = lab.machine(Firmware::default());
    let untrusted = async |master: &Server, seen: &Seen, words: &str| {
        lab.devnet
            .live_with(master, machine.node(), async |init| {
                degraded(init, DegradedReason::MasterUntrusted, words).await;
            })
            .await;
        assert!(paths(seen).iter().all(|path| path == CHALLENGE_PATH));
    };
    // without a key, and with one that the chain does not know
    let (mute, seen) = lab.serve(lab.devnet.master_router(Trust::default())).await;
    untrusted(&mute, &seen, "does not prove its key").await;
    let stranger = lab.trust(ObjectId::from_bytes([9; 32]), true);
    let (master, seen) = lab.serve(lab.devnet.master_router(stranger)).await;
    untrusted(&master, &seen, "none that the directory").await;
    let enclave = lab.register().await;
    let (master, seen) = lab
        .serve(lab.devnet.master_router(lab.trust(enclave, true)))
        .await;
    let admin = lab.devnet.config.administration().admin_cap;
    lab.chain
        .retire_master_key(&lab.devnet.slasher, admin, enclave)
        .await
        .unwrap();
    untrusted(&master, &seen, "none that the directory").await;
}

fn client(authority: &Authority) -> reqwest::Client {
    let mut roots = rustls::RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap();
    roots.add(root).unwrap();
    let provider = rustls::crypto::ring::default_provider();
    let tls = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .build()
        .unwrap()
}

/// Passes everything on to the real master, over a connection of its own.
fn in_the_middle(client: reqwest::Client, master: String) -> Router {
    Router::new().fallback(move |request: Request| {
        let (client, master) = (client.clone(), master.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body = to_bytes(body, MAXIMUM_REGISTRATION).await.unwrap();
            let mut call = client
                .post(format!("{master}{}", parts.uri.path()))
                .header("content-type", "application/json")
                .body(body);
            if let Some(token) = parts.headers.get(SEAL_TOKEN_HEADER) {
                call = call.header(SEAL_TOKEN_HEADER, token);
            }
            let answer = call.send().await.unwrap();
            let status = answer.status();
            let body = Body::from(answer.bytes().await.unwrap());
            Response::builder().status(status).body(body).unwrap()
        }
    })
}

#[tokio::test]
async fn a_man_in_the_middle_with_a_valid_certificate_gets_nothing() {
    let lab = Lab::new().await;
    lab.approve().await;
    let (master, _) = lab.master().await;
    let machine = lab.machine(Firmware::default());
    let client = client(&lab.devnet.authority);
    let (router, seen) = recorded(in_the_middle(client, master.url().to_string()));
    let theirs = lab.devnet.authority.issue("localhost");
    let middle = Server::start(&theirs, router).await;
    lab.devnet
        .live_with(&middle, machine.node(), async |init| {
            degraded(init, DegradedReason::MasterUntrusted, "stands between").await;
        })
        .await;
    assert!(paths(&seen).iter().all(|path| path == CHALLENGE_PATH));
    // a node that is not told of the directory trusts the certificate; its evidence gives it away
    let trusting = Options {
        directory: false,
        ..machine.node()
    };
    lab.devnet
        .live_with(&middle, trusting, async |init| {
            let refused = DegradedReason::RegistrationRefused;
            degraded(init, refused, "(channel-mismatch)").await;
            let health = init.health.borrow().clone();
            assert!(health.master_known_by.contains("alone"), "{health:?}");
        })
        .await;
}

#[tokio::test]
async fn a_registration_that_is_sent_again_gets_nothing() {
    let lab = Lab::new().await;
    lab.approve().await;
    let (master, seen) = lab.master().await;
    let machine = lab.machine(Firmware::default());
    lab.devnet
        .live_with(&master, machine.node(), async |init| {
            init.expect(starts_agent).await;
        })
        .await;
    let body = {
        let seen = seen.lock().unwrap();
        let (_, body) = seen.iter().find(|(path, _)| path == REGISTER_PATH).unwrap();
        body.clone()
    };
    let request: RegisterRequest = serde_json::from_slice(&body).unwrap();
    let answer = client(&lab.devnet.authority)
        .post(format!("{}{REGISTER_PATH}", master.url()))
        .header("content-type", "application/json")
        .header(SEAL_TOKEN_HEADER, &request.seal_token)
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let text = answer.text().await.unwrap();
    assert!(text.contains(r#""code":"nonce""#), "{text}");
}

#[tokio::test]
async fn an_answer_that_was_changed_starts_nothing() {
    let lab = Lab::new().await;
    lab.approve().await;
    let enclave = lab.register().await;
    let router = lab
        .devnet
        .master_router(lab.trust(enclave, true))
        .layer(from_fn(async |request: Request, next: Next| {
            let registers = request.uri().path() == REGISTER_PATH;
            let answer = next.run(request).await;
            if !registers {
                return answer;
            }
            let (parts, body) = answer.into_parts();
            let body = to_bytes(body, MAXIMUM_REGISTRATION).await.unwrap();
            let text = String::from_utf8(body.to_vec()).unwrap();
            assert!(
                text.contains("sealed_token") && !text.contains("hunter2"),
                "{text}"
            );
            let changed = text.replace("is active", "is Active");
            assert_ne!(changed, text);
            let mut answer = Response::new(Body::from(changed));
            *answer.status_mut() = parts.status;
            answer
        }));
    let (master, _) = lab.serve(router).await;
    let machine = lab.machine(Firmware::default());
    lab.devnet
        .live_with(&master, machine.node(), async |init| {
            let untrusted = DegradedReason::MasterUntrusted;
            degraded(init, untrusted, "not signed by its key").await;
        })
        .await;
}

#[tokio::test]
async fn where_evidence_is_not_required_a_node_without_a_tpm_gets_in() {
    let lab = Lab::new().await;
    lab.approve().await;
    let enclave = lab.register().await;
    let router = lab.devnet.master_router(lab.trust(enclave, false));
    let (master, _) = lab.serve(router).await;
    let no_tpm = Options {
        directory: true,
        ..Options::default()
    };
    lab.devnet
        .live_with(&master, no_tpm, async |init| {
            init.expect(starts_agent).await;
            init.first_heartbeat().await;
            let health = init.health.borrow().clone();
            assert!(health.evidence.starts_with("none"), "{health:?}");
        })
        .await;
}
