//! The report of a trusted execution environment from the machine to the chain: the staker asks over
//! the socket, the master verifies, over TLS. The kernel's side and AMD's security processor are
//! doubles; the report is signed by a chip that a root of the tests' has certified.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod lab;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use attest::tee_report::configfs;
use attest::tee_report::message::{NO_SOURCE, SOURCE};
use attest::tee_report::report_data;
use attest::tee_report::socket::ReportListener;
use attest_verify::tee_report::sev_snp::Tcb;
use attest_verify::tee_report::{AmdProduct, AmdRoot, Roots};
use chain::{LaunchMeasurement, Tee};
use common::Server;
use common::devnet::{Options, starts_agent};
use fixtures::configfs::SimulatedKernel;
use fixtures::machine::Firmware;
use fixtures::sev_snp::{ARK, ASK, SecurityProcessor, certificates};
use lab::{Lab, degraded};
use master::trust::ReportSettings;
use staker::tee::Reporter;
use tempfile::TempDir;
use wire::status::DegradedReason;

const LAUNCH: [u8; 48] = [0x1a; 48];

/// The root of the tests in the place of AMD's.
fn own_roots() -> Roots {
    let mut roots = Roots::vendors();
    roots.amd = vec![AmdRoot {
        product: AmdProduct::Genoa,
        ark: ARK.to_vec(),
        intermediates: vec![ASK.to_vec()],
    }];
    roots
}

/// What the machine's firmware makes of the data.
type FirmwareReport = fn(&[u8]) -> io::Result<Vec<u8>>;

/// What `tee-report` is on a node: the same socket and the same way to the kernel, here a double.
struct Service {
    directory: TempDir,
    listener: Arc<ReportListener>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    fn start(firmware: FirmwareReport) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let me = rustix::process::getuid().as_raw();
        let path = directory.path().join("report.sock");
        let listener = Arc::new(ReportListener::open(&path, me).unwrap());
        std::fs::write(directory.path().join("report-source"), SOURCE).unwrap();
        let ours = Arc::clone(&listener);
        let thread = thread::spawn(move || {
            let mut kernel = SimulatedKernel::new("sev_guest");
            kernel.firmware = Box::new(firmware);
            kernel.auxiliary = Some(certificates());
            // until it is closed
            while ours
                .serve(|data| configfs::collect(&kernel, "a", data))
                .is_ok()
            {}
        });
        Self {
            directory,
            listener,
            thread: Some(thread),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn reporter(&self) -> Reporter {
        Reporter::at(&self.path("report.sock"), &self.path("report-source"))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.listener.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn honest(data: &[u8]) -> io::Result<Vec<u8>> {
    SecurityProcessor::new(LAUNCH).report(data)
}

/// A lab with a release of that launch, and its master.
struct World {
    lab: Lab,
    enclave: chain::ObjectId,
}

impl World {
    async fn new() -> Self {
        let lab = Lab::new().await;
        lab.approve_with(vec![LaunchMeasurement {
            tee: Tee::SevSnp,
            digest: LAUNCH,
        }])
        .await;
        let enclave = lab.register().await;
        Self { lab, enclave }
    }

    async fn master(&self, required: bool, roots: Roots) -> Server {
        let settings = ReportSettings {
            required,
            minimum_tcb: Tcb::default(),
            maximum_vmpl: 0,
            sev_snp_certificates: None,
            tdx_collateral: None,
            tdx_statuses: Vec::new(),
            refused_advisories: Vec::new(),
        };
        let reports = Some(settings.load(roots).unwrap());
        let trust = self.lab.trust_with(self.enclave, true, reports);
        let (server, _) = self.lab.serve(self.lab.devnet.master_router(trust)).await;
        server
    }

    async fn refused(&self, master: &Server, node: Options, words: &[&str]) {
        self.lab
            .devnet
            .live_with(master, node, async |init| {
                let reason = DegradedReason::RegistrationRefused;
                degraded(init, reason, words[0]).await;
                let health = init.health.borrow().clone();
                let detail = &health.node.degraded[&reason];
                for words in words {
                    assert!(detail.contains(words), "{detail}");
                }
            })
            .await;
    }

    /// It is admitted; what `/health` says of the report.
    async fn admitted(&self, master: &Server, node: Options) -> String {
        self.lab
            .devnet
            .live_with(master, node, async |init| {
                init.expect(starts_agent).await;
                init.first_heartbeat().await;
                init.health.borrow().tee_report.clone()
            })
            .await
    }
}

#[tokio::test]
async fn a_machine_that_proves_its_launch_gets_in() {
    let world = World::new().await;
    let master = world.master(true, own_roots()).await;
    let machine = world.lab.machine(Firmware::default());
    let service = Service::start(honest);
    for _ in 0..2 {
        let node = machine.node_with(service.reporter());
        assert_eq!(world.admitted(&master, node).await, "a report of SEV-SNP");
        machine.restart();
    }
}

#[tokio::test]
async fn what_is_not_right_with_a_report_is_refused_by_name() {
    let world = World::new().await;
    let master = world.master(false, own_roots()).await;
    let machine = world.lab.machine(Firmware::default());
    let cases: [(FirmwareReport, &str); 3] = [
        (
            |data| SecurityProcessor::new([0x1b; 48]).report(data),
            "(tee-launch)",
        ),
        (
            |data| {
                let open = SecurityProcessor {
                    debug: true,
                    ..SecurityProcessor::new(LAUNCH)
                };
                open.report(data)
            },
            "(tee-debug)",
        ),
        // another machine's, which is as good as this one
        (|_| honest(&report_data(&[3; 32])), "(tee-report-data)"),
    ];
    for (firmware, code) in cases {
        let service = Service::start(firmware);
        let node = machine.node_with(service.reporter());
        world.refused(&master, node, &[code]).await;
    }
    // a chip that AMD has not made
    let master = world.master(false, Roots::vendors()).await;
    let service = Service::start(honest);
    let node = machine.node_with(service.reporter());
    world.refused(&master, node, &["(tee-report)"]).await;
}

#[tokio::test]
async fn a_machine_without_a_report_gets_in_where_none_is_required() {
    let world = World::new().await;
    let machine = world.lab.machine(Firmware::default());
    let lenient = world.master(false, own_roots()).await;
    let strict = world.master(true, own_roots()).await;

    let none = Service::start(honest);
    std::fs::write(none.path("report-source"), NO_SOURCE).unwrap();
    let node = || machine.node_with(none.reporter());
    let shown = world.admitted(&lenient, node()).await;
    assert!(shown.contains("in no trusted execution"), "{shown}");
    let missing = "(tee-report-missing)";
    world.refused(&strict, node(), &[missing]).await;

    // a firmware that is busy: the node says so in both cases
    let busy = Service::start(|_| Err(io::Error::from_raw_os_error(16)));
    let node = || machine.node_with(busy.reporter());
    let shown = world.admitted(&lenient, node()).await;
    assert!(shown.starts_with("none: the machine gave no"), "{shown}");
    world.refused(&strict, node(), &[missing, "busy"]).await;
}
