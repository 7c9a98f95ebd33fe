//! All that the staker asks its TPM for goes through the broker; what would destroy its key does not.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::thread;

use attest::channel::Claim;
use attest::collect::{collect, quote};
use fixtures::software_tpm::{Publisher, STUB, Swtpm, enter};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};
use seal::release::Phase;
use seal::tpm::attest::Credential;
use seal::tpm::crypto::sha256;
use seal::tpm::error::Error;
use seal::tpm::nv::COUNTER;
use seal::tpm::policy::Policy;
use seal::tpm::{Loaded, Tpm};
use tpm::transport::MAX_MESSAGE;
use tpm_broker::service::{Broker, Limits};

/// `TPM_RC_COMMAND_CODE` (TPM 2.0 library, part 2, 6.6.3).
const NO_SUCH_COMMAND: u32 = 0x143;

/// A device node of a TPM in software: its other end is served by a thread.
fn device(swtpm: &Weak<Swtpm>) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let swtpm = swtpm.clone();
    thread::spawn(move || {
        let mut buffer = vec![0; MAX_MESSAGE];
        while let Ok((_, length @ 1..)) = recv(&theirs, &mut *buffer, RecvFlags::empty()) {
            let Some(swtpm) = swtpm.upgrade() else { return };
            let reply = swtpm.channel().transact(&buffer[..length]).unwrap();
            send(&theirs, &reply, SendFlags::NOSIGNAL).unwrap();
        }
    });
    Ok(ours)
}

/// A broker that runs for as long as the test does.
fn broker(directory: &Path, swtpm: &Arc<Swtpm>) -> PathBuf {
    let path = directory.join("socket");
    let user = rustix::process::getuid().as_raw();
    let swtpm = Arc::downgrade(swtpm);
    let open = move || device(&swtpm);
    let mut broker = Broker::listen(&path, user, Limits::default(), open).unwrap();
    thread::spawn(move || while broker.turn(None).is_ok() {});
    path
}

struct Scene {
    _directory: tempfile::TempDir,
    swtpm: Arc<Swtpm>,
    /// With the device, as root has it in the boot phase.
    direct: Tpm,
    root: Loaded,
    broker: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let (swtpm, mut direct) = Swtpm::booted();
        let swtpm = Arc::new(swtpm);
        let root = direct.storage_root_key().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let broker = broker(directory.path(), &swtpm);
        Self {
            _directory: directory,
            swtpm,
            direct,
            root,
            broker,
        }
    }

    fn staker(&self) -> Tpm {
        Tpm::through_broker(&self.broker).unwrap()
    }
}

fn is_refused<E: std::fmt::Debug>(outcome: Result<(), E>, code: impl Fn(&E) -> Option<u32>) {
    let error = outcome.unwrap_err();
    assert_eq!(code(&error), Some(NO_SUCH_COMMAND), "{error:?}");
}

#[test]
fn evidence_token_and_signature_pass() {
    let mut scene = Scene::new();
    let publisher = Publisher::new();
    let releases = publisher.release(&STUB, 0);
    let policy = Policy {
        phase: Phase::Run,
        auth_value: true,
        ..publisher.policy(0, None)
    };
    let key = scene
        .direct
        .create_signing_key(&scene.root, policy)
        .unwrap();
    enter(&mut scene.direct, Phase::Run);

    let mut tpm = scene.staker();
    let claim = Claim {
        nonce: vec![1; 32],
        node_id: "edge-0001".parse().unwrap(),
        node_key: vec![2; 34],
        address: format!("0x{}", "03".repeat(32)),
        channel: [4; 32],
    };
    let evidence = collect(&mut tpm, claim, Vec::new(), &[]).unwrap();
    assert_eq!(evidence.endorsement_certificate, None);
    quote(&mut tpm, &[5; 32]).unwrap();

    let name = tpm.attestation_public().unwrap().name().unwrap();
    let endorsement = tpm.endorsement_public().unwrap();
    let credential = Credential::make(&endorsement, &name, b"a token").unwrap();
    let secret = tpm.activate_credential(&scene.root, &credential).unwrap();
    assert_eq!(*secret, b"a token");

    let root = tpm.existing_storage_root_key().unwrap();
    tpm.sign(&root, &key, &releases, &sha256(&[b"a transaction"]))
        .unwrap();
}

#[test]
fn endorsement_certificate_passes() {
    let scene = Scene::new();
    let (_kept, at) = fixtures::software_tpm::workshop();
    let certificate = [0x30, 1, 7].repeat(300);
    std::fs::write(at.join("certificate"), &certificate).unwrap();
    for command in [
        "tpm2_nvdefine 0x01c0000a --hierarchy o --size 900 \
         --attributes ownerwrite|ownerread|authread|no_da",
        "tpm2_nvwrite 0x01c0000a --hierarchy o --input certificate",
    ] {
        scene.swtpm.tool(&at, command);
    }
    let mut tpm = scene.staker();
    let found = tpm.endorsement_certificate(&scene.root).unwrap();
    assert_eq!(found, Some(certificate));
}

#[test]
fn what_destroys_a_key_does_not_pass() {
    let mut scene = Scene::new();
    let publisher = Publisher::new();
    let releases = publisher.release(&STUB, 0);
    let counter = scene
        .direct
        .ensure_counter(&scene.root, COUNTER, &releases)
        .unwrap();
    let mut tpm = scene.staker();
    let code = |error: &Error| match error {
        Error::Refused { code, .. } => Some(*code),
        _ => None,
    };
    is_refused(tpm.extend_pcr(11, &[1; 32]), code);
    is_refused(tpm.delete_counter(COUNTER), code);
    is_refused(tpm.retire_counter(COUNTER), code);
    is_refused(tpm.counter(&scene.root, COUNTER).map(drop), code);
    is_refused(tpm.switch_clear_off().map(drop), code);
    let policy = publisher.policy(0, None);
    is_refused(tpm.seal(&scene.root, b"x", &policy).map(drop), code);
    // not even in the boot phase is anything unsealed there
    let sealed = scene.direct.seal(&scene.root, b"x", &policy).unwrap();
    assert!(
        tpm.unseal(&scene.root, &sealed, &policy, &releases)
            .is_err()
    );
    scene
        .direct
        .unseal(&scene.root, &sealed, &policy, &releases)
        .unwrap();
    let found = scene.direct.counter(&scene.root, COUNTER).unwrap();
    assert_eq!(found, Some(counter));
}
