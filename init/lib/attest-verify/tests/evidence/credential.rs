//! What the machine of the evidence alone can use: its token and its heartbeats.

use super::*;

fn a_grant() -> Grant {
    let token = format!("K10{}::node:hunter2", "ca".repeat(32));
    Grant {
        join_token: JoinToken::new(Secret::new(token)).expect("a token"),
        server: "https://k3s.example:6443".parse().expect("a URL"),
        session: "0123".to_owned(),
    }
}

#[test]
fn the_token_opens_on_the_machine_of_the_evidence_alone() {
    let mut machine = Machine::new(Firmware::default());
    let verified = machine.verified();
    let request = [5; 32];
    let sealed = join_token::seal(
        &verified.endorsement,
        &verified.attestation,
        &request,
        &a_grant(),
    )
    .expect("sealed");
    let opened = join_token::open(&mut machine.tpm, &request, &sealed).expect("opened");
    assert_eq!(opened, a_grant());
    let json = serde_json::to_string(&sealed).expect("JSON");
    assert!(!json.contains("hunter2"));

    assert!(join_token::open(&mut machine.tpm, &[6; 32], &sealed).is_err());
    for change in [
        |sealed: &mut master_api::SealedToken| sealed.ciphertext.0[0] ^= 1,
        |sealed: &mut master_api::SealedToken| sealed.nonce.0[0] ^= 1,
        |sealed: &mut master_api::SealedToken| sealed.credential.0[40] ^= 1,
        |sealed: &mut master_api::SealedToken| sealed.nonce.0.clear(),
    ] {
        let mut edited = sealed.clone();
        change(&mut edited);
        assert!(join_token::open(&mut machine.tpm, &request, &edited).is_err());
    }
    let mut other = Machine::new(Firmware::default());
    assert!(join_token::open(&mut other.tpm, &request, &sealed).is_err());
    // the certified endorsement key of one machine with the attestation key of another: nobody's
    let mixed = join_token::seal(
        &verified.endorsement,
        &other.verified().attestation,
        &request,
        &a_grant(),
    )
    .expect("sealed");
    assert!(join_token::open(&mut machine.tpm, &request, &mixed).is_err());
    assert!(join_token::open(&mut other.tpm, &request, &mixed).is_err());
}

fn a_beat(tpm: &mut Tpm, session: &str, sequence: u64, nonce: &[u8]) -> HeartbeatQuote {
    let data = heartbeat_data(session, sequence, nonce).expect("small");
    let quote = quote(tpm, &data).expect("quoted");
    HeartbeatQuote {
        message: Base64(quote.message),
        signature: Base64(quote.signature),
    }
}

#[test]
fn heartbeats_are_of_the_same_machine_boot_and_registers() {
    let mut machine = Machine::new(Firmware::default());
    let boot = machine.verified().boot();
    let data = [heartbeat_data("s", 1, &[7; 32]).expect("small")];
    let beat = a_beat(&mut machine.tpm, "s", 1, &[7; 32]);
    let next = boot.check(&beat, &data).expect("good");
    assert!(
        next.check(&beat, &data).is_ok(),
        "its clock did not go back"
    );
    let code = |beat: &HeartbeatQuote, data: &[[u8; 32]]| {
        boot.check(beat, data).expect_err("refused").code
    };
    // an old one
    let next = [heartbeat_data("s", 2, &[7; 32]).expect("small")];
    assert_eq!(code(&beat, &next), RefusalCode::QuoteNonce);
    // another node's
    let mut other = Machine::new(Firmware::default());
    let others = a_beat(&mut other.tpm, "s", 1, &[7; 32]);
    assert_eq!(code(&others, &data), RefusalCode::QuoteSignature);
    let mut edited = beat.clone();
    *edited.message.0.last_mut().expect("bytes") ^= 1;
    assert_eq!(code(&edited, &data), RefusalCode::QuoteSignature);
    edited.message.0.truncate(9);
    assert_eq!(code(&edited, &data), RefusalCode::EvidenceMalformed);
    // the machine was started anew without a reset of its TPM, or the TPM's clock went back
    let changes: [fn(&mut Verified); 2] = [
        |verified| verified.restart_count += 1,
        |verified| verified.clock = u64::MAX,
    ];
    for change in changes {
        let mut before = machine.verified();
        change(&mut before);
        let fault = before.boot().check(&beat, &data).expect_err("refused");
        assert_eq!(fault.code, RefusalCode::AnotherBoot, "{fault}");
    }
    // something was measured since
    machine.tpm.extend_pcr(12, &[1; 32]).expect("extended");
    let changed = a_beat(&mut machine.tpm, "s", 1, &[7; 32]);
    assert_eq!(code(&changed, &data), RefusalCode::RegistersChanged);
    // another boot
    let Machine { mut swtpm, .. } = machine;
    swtpm.power_cycle();
    let mut again = Machine::boot(swtpm, Firmware::default());
    let after = a_beat(&mut again.tpm, "s", 1, &[7; 32]);
    assert_eq!(code(&after, &data), RefusalCode::AnotherBoot);
}
