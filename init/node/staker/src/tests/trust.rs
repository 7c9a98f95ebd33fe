//! The master proves itself before it gets to see anything of the stake.

use super::*;
use crate::doubles::{known_master, no_answer};
use crate::seams::{Challenged, KnownMaster};
use master_api::RegisterResponse;

fn listed(masters: Vec<KnownMaster>) -> World {
    let world = World::staked();
    world.chain.ledger.borrow_mut().masters = Some(masters);
    world
}

#[tokio::test(start_paused = true)]
async fn a_listed_master_is_trusted_and_the_page_says_by_what() {
    for (masters, words) in [
        (Some(vec![known_master()]), "the chain's directory lists"),
        (None, "its root certificate alone"),
    ] {
        let world = World::staked();
        world.chain.ledger.borrow_mut().masters = masters;
        let staker = world.staker();
        let health = staker.board().subscribe();
        tokio::select! {
            _ = staker.run() => {}
            () = sleep(MINUTE) => {}
        }
        assert!(world.agents_started() > 0);
        let json = serde_json::to_value(&**health.borrow()).unwrap();
        let shown = json["master_known_by"].as_str().unwrap();
        assert!(shown.contains(words), "{shown}");
        assert_eq!(json["evidence"], "none: the machine has no TPM 2.0");
    }
}

#[tokio::test(start_paused = true)]
async fn a_master_that_the_chain_does_not_know_gets_nothing() {
    let other = |change: fn(&mut KnownMaster)| {
        let mut master = known_master();
        change(&mut master);
        vec![master]
    };
    for masters in [
        Vec::new(),
        other(|master| master.public_key = chain::PublicKey::from_ed25519_bytes([6; 32])),
        other(|master| master.tls_key_sha256[0] ^= 1),
        other(|master| master.enclave.push('0')),
    ] {
        let world = listed(masters);
        world.live(sleep(5 * MINUTE)).await;
        assert_eq!(world.registrations(), 0);
        assert_eq!(world.heartbeats(), 0);
        assert_eq!(world.degraded(DegradedReason::MasterUntrusted), 1);
        assert!(world.still_on());
    }
}

#[tokio::test(start_paused = true)]
async fn a_proof_that_does_not_hold_gets_nothing() {
    let spoils: [fn(&mut Challenged); 8] = [
        |challenged| challenged.answer.proof = None,
        // another connection than the master's own
        |challenged| challenged.tls_key_sha256[0] ^= 1,
        // the answer to another challenge
        |challenged| challenged.answer.nonce.0[0] ^= 1,
        |challenged| proof(challenged).signature.0[0] ^= 1,
        |challenged| proof(challenged).signature.0.clear(),
        |challenged| proof(challenged).public_key.0.clear(),
        |challenged| proof(challenged).timestamp += 1,
        |challenged| proof(challenged).tls_key_sha256.0[0] ^= 1,
    ];
    fn proof(challenged: &mut Challenged) -> &mut master_api::ChallengeProof {
        challenged.answer.proof.as_mut().unwrap()
    }
    for spoil in spoils {
        let world = listed(vec![known_master()]);
        world.master.desk.borrow_mut().spoil_challenge = Some(spoil);
        world.live(sleep(5 * MINUTE)).await;
        assert_eq!(world.registrations(), 0);
        assert_eq!(world.degraded(DegradedReason::MasterUntrusted), 1);
        // and the right one is taken afterwards
        world.master.desk.borrow_mut().spoil_challenge = None;
        world.live(sleep(MINUTE)).await;
        assert_eq!(world.agents_started(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_changed_on_its_way_starts_nothing() {
    let tampers: [fn(&mut RegisterResponse); 5] = [
        |answer| answer.server = Some("https://elsewhere.example:6443".to_owned()),
        |answer| answer.join_token = Some(wire::Secret::new(JOIN_TOKEN.replace("ca", "fe"))),
        |answer| answer.session = Some("another".to_owned()),
        |answer| answer.signature = None,
        |answer| answer.message.push('x'),
    ];
    for tamper in tampers {
        let world = listed(vec![known_master()]);
        world.master.desk.borrow_mut().tamper = Some(tamper);
        world.live(sleep(MINUTE)).await;
        assert!(world.registrations() > 0);
        assert_eq!(world.agents_started(), 0);
        assert_eq!(world.degraded(DegradedReason::MasterUntrusted), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_chain_no_master_is_trusted() {
    let world = listed(vec![known_master()]);
    let script = async {
        sleep(Duration::from_secs(15)).await;
        assert_eq!(world.registrations(), 1);
        // registered; then the master forgets, and the chain is out of reach
        world.chain.ledger.borrow_mut().outage = Some(no_answer);
        let forgotten = refused(RefusalCode::Session);
        let desk = &world.master.desk;
        desk.borrow_mut().refuse_heartbeats.push_back(forgotten);
        sleep(2 * MINUTE).await;
        assert_eq!(world.registrations(), 1);
        assert_eq!(world.degraded(DegradedReason::MasterUntrusted), 1);
        world.chain.ledger.borrow_mut().outage = None;
        sleep(5 * MINUTE).await;
        assert_eq!(world.registrations(), 2);
        assert_eq!(world.recovered(DegradedReason::MasterUntrusted), 1);
    };
    world.live(script).await;
}
