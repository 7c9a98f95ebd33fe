//! A pool with a release, a manufacturer of TPMs, machines, and masters that ask for evidence.

#![allow(dead_code, reason = "each test file uses its part of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};

use attest_verify::{ManufacturerRoots, Policy, Reports};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use chain::{Chain, ObjectId};
use fixtures::machine::{Firmware, Flaw, Manufacturer, PUBLISHER, pcr11};
use fixtures::software_tpm::{STUB, Swtpm};
use master::trust::{Attestation, Enclave, FirmwareMode, Trust, tls_key_sha256};
use master_api::MAXIMUM_REGISTRATION;
use seal::tpm::crypto::sha256;
use staker::prover::Prover;
use staker::tee::Reporter;
use wire::child::ToInit;
use wire::status::DegradedReason;

use crate::common::devnet::{Devnet, Init, Options, starts_agent};
use crate::common::{Leaf, Server};

const SEED: [u8; 32] = [0x5e; 32];
const VERSION: &str = "1.2.3";

/// A pool with a release, a manufacturer, and a master that asks for evidence.
pub(crate) struct Lab {
    pub(crate) devnet: Devnet,
    pub(crate) chain: Chain,
    pub(crate) maker: Manufacturer,
    pub(crate) leaf: Leaf,
}

/// What came to a master: paths and bodies.
pub(crate) type Seen = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

impl Lab {
    pub(crate) async fn new() -> Self {
        let devnet = Devnet::new().await;
        let chain = Chain::connect(&devnet.settings()).await.unwrap();
        let leaf = devnet.authority.issue("localhost");
        Self {
            devnet,
            chain,
            maker: Manufacturer::new(),
            leaf,
        }
    }

    /// The release of the images that the machines here boot.
    pub(crate) async fn approve(&self) {
        self.approve_with(Vec::new()).await;
    }

    /// The same, with what trusted execution environments measure of it at launch.
    pub(crate) async fn approve_with(&self, launch_measurements: Vec<chain::LaunchMeasurement>) {
        let cap = self.devnet.config.administration().release_cap;
        let release = chain::Release {
            version: VERSION.parse().unwrap(),
            images: vec![chain::ReleaseImage {
                target: "disk".to_owned(),
                architecture: "x86_64".to_owned(),
                root_hash: [1; 32],
                pcr11: vec![chain::PhasePcr {
                    phases: String::new(),
                    digest: pcr11(&STUB),
                }],
                launch_measurements,
            }],
            manifest: [1; 32],
            places: Vec::new(),
            revoked: false,
            gone_by_ms: None,
        };
        self.chain
            .approve_release(&self.devnet.slasher, cap, &release)
            .await
            .unwrap();
    }

    pub(crate) async fn revoke(&self) {
        let cap = self.devnet.config.administration().release_cap;
        self.chain
            .revoke_release(&self.devnet.slasher, cap, VERSION.parse().unwrap(), 0)
            .await
            .unwrap();
    }

    /// Registers the master's key on chain.
    pub(crate) async fn register(&self) -> ObjectId {
        let ids = self.devnet.config.administration();
        let key = Enclave::from_seed(ObjectId::from_bytes([0; 32]), &SEED).unwrap();
        let enclave = self
            .chain
            .register_master_key(
                &self.devnet.slasher,
                ids.registrar_cap,
                key.public_key(),
                tls_key_sha256(&self.leaf.certificate).unwrap(),
                [1; 32],
            )
            .await
            .unwrap();
        let url = "https://master.example";
        self.chain
            .list_master(
                &self.devnet.slasher,
                ids.admin_cap,
                ids.directory,
                enclave,
                url,
            )
            .await
            .unwrap();
        enclave
    }

    pub(crate) fn trust(&self, enclave: ObjectId, required: bool) -> Trust {
        self.trust_with(enclave, required, None)
    }

    /// A master that asks this of reports, too.
    pub(crate) fn trust_with(
        &self,
        enclave: ObjectId,
        required: bool,
        reports: Option<Reports>,
    ) -> Trust {
        Trust {
            enclave: Enclave::from_seed(enclave, &SEED),
            attestation: Some(Attestation {
                required,
                policy: Policy {
                    roots: ManufacturerRoots::from_pem(self.maker.roots().as_bytes()).unwrap(),
                    admitted_keys: Vec::new(),
                    secure_boot: Some(vec![sha256(&[PUBLISHER])]),
                    firmware: None,
                    reports,
                },
                releases: self.devnet.config.administration().release_registry,
                firmware: FirmwareMode::default(),
            }),
            tls_key_sha256: tls_key_sha256(&self.leaf.certificate).unwrap(),
        }
    }

    /// A master with its key on chain.
    pub(crate) async fn master(&self) -> (Server, Seen) {
        let enclave = self.register().await;
        self.serve(self.devnet.master_router(self.trust(enclave, true)))
            .await
    }

    /// Serves, and keeps what comes.
    pub(crate) async fn serve(&self, router: Router) -> (Server, Seen) {
        let (router, seen) = recorded(router);
        (Server::start(&self.leaf, router).await, seen)
    }

    pub(crate) fn machine(&self, firmware: Firmware) -> Machine {
        let swtpm = Swtpm::new();
        self.maker.provision(&swtpm, Flaw::None);
        Machine::boot(swtpm, firmware)
    }
}

/// Waits for this reason and these words; no agent was started before.
pub(crate) async fn degraded(init: &mut Init, wanted: DegradedReason, words: &str) {
    let passed = init
        .expect(|message| matches!(message, ToInit::Degraded { reason, .. } if *reason == wanted))
        .await;
    assert!(!passed.iter().any(starts_agent), "{passed:?}");
    let Some(ToInit::Degraded { detail, .. }) = passed.last() else {
        panic!("{passed:?}");
    };
    assert!(detail.contains(words), "{detail}");
}

pub(crate) fn recorded(router: Router) -> (Router, Seen) {
    let seen = Seen::default();
    let kept = Arc::clone(&seen);
    let record = from_fn(move |request: Request, next: Next| {
        let kept = Arc::clone(&kept);
        async move {
            let (parts, body) = request.into_parts();
            let body = to_bytes(body, MAXIMUM_REGISTRATION).await.unwrap();
            let entry = (parts.uri.path().to_owned(), body.to_vec());
            kept.lock().unwrap().push(entry);
            next.run(Request::from_parts(parts, Body::from(body))).await
        }
    });
    (router.layer(record), seen)
}

pub(crate) fn paths(seen: &Seen) -> Vec<String> {
    let seen = seen.lock().unwrap();
    seen.iter().map(|(path, _)| path.clone()).collect()
}

/// A machine with a TPM, started.
pub(crate) struct Machine {
    pub(crate) swtpm: Arc<Mutex<Swtpm>>,
    log: tempfile::NamedTempFile,
}

impl Machine {
    pub(crate) fn boot(swtpm: Swtpm, firmware: Firmware) -> Self {
        let log = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(log.path(), firmware.boot(&swtpm, &STUB)).unwrap();
        Self {
            swtpm: Arc::new(Mutex::new(swtpm)),
            log,
        }
    }

    /// Takes the power and gives it back.
    pub(crate) fn restart(&self) {
        let mut swtpm = self.swtpm.lock().unwrap();
        swtpm.power_cycle();
        let log = Firmware::default().boot(&swtpm, &STUB);
        std::fs::write(self.log.path(), log).unwrap();
    }

    pub(crate) fn node(&self) -> Options {
        let swtpm = Arc::clone(&self.swtpm);
        Options {
            prover: Prover::new(
                move || Ok(Some(swtpm.lock().unwrap().open())),
                self.log.path(),
            ),
            directory: true,
            ..Options::default()
        }
    }

    /// The same node, whose reports are asked for there.
    pub(crate) fn node_with(&self, reporter: Reporter) -> Options {
        let node = self.node();
        Options {
            prover: node.prover.with_reporter(reporter),
            ..node
        }
    }
}
