//! The client against a real TPM: everything that the node does with it.

use fixtures::software_tpm::{Publisher, STUB, Swtpm, enter};
use p256::ecdsa::{Signature, VerifyingKey, signature::hazmat::PrehashVerifier};
use seal::{
    release::Phase,
    tpm::{
        Duplicate, Tpm,
        attest::Credential,
        crypto::sha256,
        error::Error,
        nv::COUNTER,
        pcr,
        policy::{Policy, Unsatisfied},
    },
};
use tpm2_protocol::data::TpmRcBase;

const SECRET: &[u8] = b"the key of the envelope: 32 byte";

#[test]
fn the_storage_root_key_is_made_once_and_then_found() {
    let (mut swtpm, mut tpm) = Swtpm::booted();
    assert!(matches!(
        tpm.existing_storage_root_key(),
        Err(Error::NoStorageRootKey)
    ));
    let made = tpm.storage_root_key().expect("made");
    assert_eq!(tpm.storage_root_key().expect("found").name(), made.name());
    swtpm.power_cycle();
    let found = swtpm.open().existing_storage_root_key().expect("kept");
    assert_eq!(found.name(), made.name());
}

#[test]
fn pcrs_are_read_and_extended() {
    let swtpm = Swtpm::new();
    let mut tpm = swtpm.open();
    assert_eq!(tpm.read_pcr(11).expect("read"), [0; 32]);
    tpm.extend_pcr(11, &[1; 32]).expect("extended");
    assert_eq!(
        tpm.read_pcr(11).expect("read"),
        pcr::extended(&[0; 32], &[1; 32])
    );
    assert!(matches!(tpm.read_pcr(24), Err(Error::NoPcr(24))));
    assert!(matches!(
        tpm.extend_pcr(200, &[0; 32]),
        Err(Error::NoPcr(200))
    ));
}

#[test]
fn what_is_sealed_opens_in_its_phase_alone() {
    let (mut swtpm, mut tpm) = Swtpm::booted();
    let publisher = Publisher::new();
    let releases = publisher.release(&STUB, 0);
    let root = tpm.storage_root_key().expect("a root key");
    let policy = publisher.policy(0, Some(tpm.read_pcr(7).expect("PCR 7")));
    let sealed = tpm.seal(&root, SECRET, &policy).expect("sealed");
    assert!(sealed.is_under(&policy).expect("parsed"));
    let opened = tpm
        .unseal(&root, &sealed, &policy, &releases)
        .expect("opened");
    assert_eq!(opened.as_slice(), SECRET);

    enter(&mut tpm, Phase::Run);
    let error = tpm
        .unseal(&root, &sealed, &policy, &releases)
        .expect_err("the phase is over");
    assert!(matches!(error, Unsatisfied::NotReleased { .. }), "{error}");
    // nor does it with a policy that is right for this phase: the object asks for the other
    let run = Policy {
        phase: Phase::Run,
        ..policy.clone()
    };
    let error = tpm
        .unseal(&root, &sealed, &run, &releases)
        .expect_err("another policy");
    let Unsatisfied::Tpm(error) = error else {
        panic!("{error}")
    };
    assert_eq!(error.response(), Some(TpmRcBase::PolicyFail), "{error}");

    // an update by the same publisher opens it after the next boot, with nothing sealed anew
    swtpm.power_cycle();
    let update = [0xad; 32];
    let mut tpm = swtpm.boot(&update);
    let error = tpm
        .unseal(&root, &sealed, &policy, &releases)
        .expect_err("not this image's file");
    assert!(matches!(error, Unsatisfied::NotReleased { .. }), "{error}");
    let opened = tpm
        .unseal(&root, &sealed, &policy, &publisher.release(&update, 1))
        .expect("opened");
    assert_eq!(opened.as_slice(), SECRET);
}

#[test]
fn nothing_opens_for_a_kernel_that_was_given_a_command_line_from_outside() {
    let (swtpm, mut tpm) = Swtpm::booted();
    let publisher = Publisher::new();
    let root = tpm.storage_root_key().expect("a root key");
    let policy = publisher.policy(0, None);
    let sealed = tpm.seal(&root, b"secret", &policy).expect("sealed");
    let releases = publisher.release(&STUB, 0);
    let open = |tpm: &mut Tpm| tpm.unseal(&root, &sealed, &policy, &releases);
    open(&mut tpm).expect("untouched");
    tpm.extend_pcr(pcr::OVERRIDES, &[1; 32]).expect("measured");
    let error = open(&mut tpm).expect_err("refused");
    assert!(matches!(error, Unsatisfied::Overridden), "{error}");
    drop(swtpm);
}

#[test]
fn another_publisher_opens_nothing() {
    let (_swtpm, mut tpm) = Swtpm::booted();
    let (publisher, other) = (Publisher::new(), Publisher::new());
    let root = tpm.storage_root_key().expect("a root key");
    let policy = publisher.policy(0, None);
    let sealed = tpm.seal(&root, SECRET, &policy).expect("sealed");
    let error = tpm
        .unseal(&root, &sealed, &policy, &other.release(&STUB, 0))
        .expect_err("refused");
    assert!(matches!(error, Unsatisfied::OtherPublisher), "{error}");
    // and a policy of its own is not the object's
    let error = tpm
        .unseal(
            &root,
            &sealed,
            &other.policy(0, None),
            &other.release(&STUB, 0),
        )
        .expect_err("refused");
    let Unsatisfied::Tpm(error) = error else {
        panic!("{error}")
    };
    assert_eq!(error.response(), Some(TpmRcBase::PolicyFail), "{error}");
}

#[test]
fn another_secure_boot_state_opens_nothing() {
    let (_swtpm, mut tpm) = Swtpm::booted();
    let publisher = Publisher::new();
    let root = tpm.storage_root_key().expect("a root key");
    let policy = publisher.policy(0, Some(tpm.read_pcr(7).expect("PCR 7")));
    let sealed = tpm.seal(&root, SECRET, &policy).expect("sealed");
    tpm.extend_pcr(7, &[9; 32]).expect("extended");
    let releases = publisher.release(&STUB, 0);
    let error = tpm
        .unseal(&root, &sealed, &policy, &releases)
        .expect_err("refused");
    assert!(matches!(error, Unsatisfied::SecureBoot), "{error}");
    let present = publisher.policy(0, Some(tpm.read_pcr(7).expect("PCR 7")));
    let error = tpm
        .unseal(&root, &sealed, &present, &releases)
        .expect_err("refused");
    let Unsatisfied::Tpm(error) = error else {
        panic!("{error}")
    };
    assert_eq!(error.response(), Some(TpmRcBase::PolicyFail), "{error}");
}

#[test]
fn an_image_below_the_floor_opens_nothing() {
    let (_swtpm, mut tpm) = Swtpm::booted();
    let publisher = Publisher::new();
    let root = tpm.storage_root_key().expect("a root key");
    let policy = publisher.policy(5, None);
    let sealed = tpm.seal(&root, SECRET, &policy).expect("sealed");
    let error = tpm
        .unseal(&root, &sealed, &policy, &publisher.release(&STUB, 4))
        .expect_err("version 4 is below the floor 5");
    assert!(
        matches!(error, Unsatisfied::NotReleased { floor: 5, .. }),
        "{error}"
    );
    tpm.unseal(&root, &sealed, &policy, &publisher.release(&STUB, 5))
        .expect("opened");
}

#[test]
fn the_counter_outdates_what_was_sealed_before() {
    let (_swtpm, mut tpm) = Swtpm::booted();
    let publisher = Publisher::new();
    let releases = publisher.release(&STUB, 0);
    let root = tpm.storage_root_key().expect("a root key");
    assert_eq!(tpm.counter(&root, COUNTER).expect("read"), None);
    let counter = tpm.ensure_counter(&root, COUNTER, &releases).expect("made");
    let found = tpm.ensure_counter(&root, COUNTER, &releases);
    assert_eq!(found.expect("found"), counter);

    let old = publisher.policy_with_counter(0, None, counter.as_it_stands());
    let old_file = tpm.seal(&root, SECRET, &old).expect("sealed");
    tpm.unseal(&root, &old_file, &old, &releases)
        .expect("opened");
    let new = publisher.policy_with_counter(0, None, counter.after_increment());
    let new_file = tpm.seal(&root, SECRET, &new).expect("sealed");
    tpm.unseal(&root, &new_file, &new, &releases)
        .expect("opens before the increment, too");

    let raised = tpm
        .increment_counter(&root, COUNTER, &releases)
        .expect("incremented");
    assert_eq!(raised.count, counter.count + 1);
    let error = tpm
        .unseal(&root, &old_file, &old, &releases)
        .expect_err("outdated");
    assert!(matches!(error, Unsatisfied::RolledBack { .. }), "{error}");
    tpm.unseal(&root, &new_file, &new, &releases)
        .expect("opened");

    // deleting the counter and making it anew revives nothing
    tpm.delete_counter(COUNTER).expect("deleted");
    let error = tpm
        .unseal(&root, &new_file, &new, &releases)
        .expect_err("no counter");
    assert!(matches!(error, Unsatisfied::OtherCounter), "{error}");
    let again = tpm.ensure_counter(&root, COUNTER, &releases).expect("made");
    assert!(again.count > raised.count, "{again:?} after {raised:?}");
    let error = tpm
        .unseal(&root, &new_file, &new, &releases)
        .expect_err("outdated");
    assert!(matches!(error, Unsatisfied::RolledBack { .. }), "{error}");
}

#[test]
fn another_tpm_takes_no_object() {
    let (_swtpm, mut tpm) = Swtpm::booted();
    let (_other, mut other) = Swtpm::booted();
    let publisher = Publisher::new();
    let policy = publisher.policy(0, None);
    let root = tpm.storage_root_key().expect("a root key");
    let sealed = tpm.seal(&root, SECRET, &policy).expect("sealed");
    let duplicate = Duplicate::seal(root.public(), SECRET, &policy).expect("sealed");
    let other_root = other.storage_root_key().expect("a root key");
    assert_ne!(other_root.name(), root.name());
    let error = other
        .unseal(&other_root, &sealed, &policy, &publisher.release(&STUB, 0))
        .expect_err("refused");
    let Unsatisfied::Tpm(error) = error else {
        panic!("{error}")
    };
    assert_eq!(error.response(), Some(TpmRcBase::Integrity), "{error}");
    let error = other.import(&other_root, &duplicate).expect_err("refused");
    assert_eq!(error.response(), Some(TpmRcBase::Integrity), "{error}");
    // a session whose salt is for another TPM's root key is no session
    let error = other.seal(&root, SECRET, &policy).expect_err("refused");
    assert!(
        matches!(error, Error::Refused { .. } | Error::ReplyForged(_)),
        "{error}"
    );
}

#[test]
fn what_was_sealed_from_afar_opens() {
    let (_swtpm, mut tpm) = Swtpm::booted();
    let publisher = Publisher::new();
    let releases = publisher.release(&STUB, 0);
    let root = tpm.storage_root_key().expect("a root key");
    let policy = publisher.policy(0, Some(tpm.read_pcr(7).expect("PCR 7")));
    let duplicate = Duplicate::seal(root.public(), SECRET, &policy).expect("sealed");
    let sealed = tpm.import(&root, &duplicate).expect("imported");
    let opened = tpm
        .unseal(&root, &sealed, &policy, &releases)
        .expect("opened");
    assert_eq!(opened.as_slice(), SECRET);
    let mut edited = duplicate.clone();
    *edited.private.last_mut().expect("bytes") ^= 1;
    let error = tpm.import(&root, &edited).expect_err("refused");
    assert_eq!(error.response(), Some(TpmRcBase::Integrity), "{error}");
}

#[test]
fn the_signing_key_signs_low_under_its_policy() {
    let (_swtpm, mut tpm) = Swtpm::booted();
    let publisher = Publisher::new();
    let releases = publisher.release(&STUB, 0);
    let root = tpm.storage_root_key().expect("a root key");
    let policy = Policy {
        phase: Phase::Run,
        auth_value: true,
        ..publisher.policy(0, None)
    };
    let key = tpm.create_signing_key(&root, policy.clone()).expect("made");
    let digest = sha256(&[b"a transaction"]);
    let error = tpm
        .sign(&root, &key, &releases, &digest)
        .expect_err("not yet");
    assert!(matches!(error, Unsatisfied::NotReleased { .. }), "{error}");

    enter(&mut tpm, Phase::Run);
    let public = key
        .public_key()
        .expect("a point")
        .public_key()
        .expect("a key");
    for round in 0..8_u8 {
        let digest = sha256(&[&[round]]);
        let signature = tpm.sign(&root, &key, &releases, &digest).expect("signed");
        let signature = Signature::from_slice(&signature).expect("a signature");
        assert_eq!(signature.normalize_s(), signature, "s is in the lower half");
        VerifyingKey::from(public)
            .verify_prehash(&digest, &signature)
            .expect("verified");
    }
    let stranger = seal::tpm::SigningKey::new(key.object().clone(), [1; 32].into(), policy);
    let error = tpm
        .sign(&root, &stranger, &releases, &digest)
        .expect_err("refused");
    let Unsatisfied::Tpm(error) = error else {
        panic!("{error}")
    };
    assert!(
        matches!(
            error.response(),
            Some(TpmRcBase::AuthFail | TpmRcBase::BadAuth)
        ),
        "{error}"
    );
}

#[test]
fn a_quote_says_what_was_measured() {
    let (mut swtpm, mut tpm) = Swtpm::booted();
    let key = tpm
        .attestation_public()
        .expect("a key")
        .point()
        .expect("a point");
    let nonce = [0x11; 32];
    let quote = tpm.quote(&nonce, &[7, 11]).expect("quoted");
    let quoted = quote.verify(&key, &nonce, &[7, 11]).expect("verified");
    let values = [
        tpm.read_pcr(7).expect("PCR 7"),
        tpm.read_pcr(11).expect("PCR 11"),
    ];
    assert_eq!(quoted.pcr_digest, sha256(&[&values[0], &values[1]]));
    assert!(
        quote.verify(&key, &[0x12; 32], &[7, 11]).is_err(),
        "another nonce"
    );
    assert!(quote.verify(&key, &nonce, &[7]).is_err(), "other PCRs");
    assert!(
        quote
            .verify(&Publisher::new().point(), &nonce, &[7, 11])
            .is_err(),
        "another key"
    );
    let mut edited = quote.clone();
    *edited.message.last_mut().expect("bytes") ^= 1;
    assert!(
        edited.verify(&key, &nonce, &[7, 11]).is_err(),
        "another message"
    );

    swtpm.power_cycle();
    let mut tpm = swtpm.boot(&STUB);
    let again = tpm.quote(&nonce, &[7, 11]).expect("quoted");
    let again = again
        .verify(&key, &nonce, &[7, 11])
        .expect("the key is the same at each boot");
    assert_eq!(again.pcr_digest, quoted.pcr_digest);
    assert_ne!(again.reset_count, quoted.reset_count, "another boot");
}

#[test]
fn a_credential_opens_for_the_right_keys_alone() {
    let (_swtpm, mut tpm) = Swtpm::booted();
    let root = tpm.storage_root_key().expect("a root key");
    let endorsement = tpm.endorsement_public().expect("an endorsement key");
    let name = tpm
        .attestation_public()
        .expect("a key")
        .name()
        .expect("a name");
    let credential = Credential::make(&endorsement, &name, SECRET).expect("made");
    let opened = tpm.activate_credential(&root, &credential).expect("opened");
    assert_eq!(opened.as_slice(), SECRET);
    // for another key of this TPM
    let other = Credential::make(&endorsement, &root.name(), SECRET).expect("made");
    let error = tpm.activate_credential(&root, &other).expect_err("refused");
    assert_eq!(error.response(), Some(TpmRcBase::Integrity), "{error}");
    assert_eq!(tpm.endorsement_certificate(&root).expect("read"), None);
}

#[test]
fn nothing_is_left_in_the_tpm_by_what_fails() {
    // swtpm keeps three objects and three loaded sessions, without a resource manager
    let (_swtpm, mut tpm) = Swtpm::booted();
    let publisher = Publisher::new();
    let root = tpm.storage_root_key().expect("a root key");
    let policy = publisher.policy(0, None);
    let sealed = tpm.seal(&root, SECRET, &policy).expect("sealed");
    for _ in 0..70 {
        let wrong = publisher.policy(0, Some([0; 32]));
        let releases = publisher.release(&STUB, 0);
        assert!(tpm.unseal(&root, &sealed, &wrong, &releases).is_err());
    }
    tpm.unseal(&root, &sealed, &policy, &publisher.release(&STUB, 0))
        .expect("opened");
}
