//! Reports of trusted execution environments in a registration, over a real TPM in software and doubles
//! of the kernel and of AMD's security processor.

use std::io;

use attest::collect::ReportSource;
use attest::tee_report::{TeeKind, TeeReport, report_data};
use attest_verify::LaunchMeasurement;
use attest_verify::tee_report::sev_snp::Tcb;
use attest_verify::tee_report::{AmdProduct, AmdRoot, Roots};
use fixtures::recorded::sev_snp::{MILAN_REPORT, MILAN_VCEK};
use fixtures::recorded::tdx::V4_QUOTE;
use fixtures::sev_snp::{ARK, ASK, SecurityProcessor, certificates};

use super::attestation::{Machine, TLS_KEY, a_release, an_enclave, policy};
use super::*;
use crate::trust::reports::tests::settings;
use crate::trust::{Attestation, FirmwareMode, ReportSettings};

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

/// A report that is there already.
struct Given(TeeReport);

impl ReportSource for Given {
    fn report(&self, _: &[u8; 32]) -> io::Result<Option<TeeReport>> {
        Ok(Some(self.0.clone()))
    }
}

/// A master that asks this of reports, and a release with these launches.
fn world(settings: Option<&ReportSettings>, roots: Roots, launches: &[[u8; 48]]) -> World {
    let world = World::with(Trust {
        enclave: Some(an_enclave()),
        attestation: Some(Attestation {
            required: true,
            policy: attest_verify::Policy {
                reports: settings.map(|settings| settings.load(roots).unwrap()),
                ..policy()
            },
            releases: REGISTRY,
            firmware: FirmwareMode::default(),
        }),
        tls_key_sha256: TLS_KEY,
    });
    let launch = |digest: &[u8; 48]| LaunchMeasurement {
        kind: TeeKind::SevSnp,
        digest: *digest,
    };
    let release = Release {
        launch_measurements: launches.iter().map(launch).collect(),
        ..a_release(attest_verify::Standing::Approved)
    };
    world.change(|state| state.releases = vec![release]);
    world
}

fn required() -> ReportSettings {
    ReportSettings {
        required: true,
        ..settings()
    }
}

async fn register(
    world: &World,
    machine: &mut Machine,
    source: Option<&dyn ReportSource>,
) -> Answer {
    let mut request = world.a_registration().await;
    let sources: Vec<_> = source.into_iter().collect();
    request.evidence = Some(machine.evidence_with(&request.nonce, TLS_KEY, &sources));
    world.register(&signed(request)).await
}

#[track_caller]
fn admitted(answer: &Answer, words: &str) {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let message = answer.body["message"].as_str().unwrap();
    assert!(message.contains(words), "{message}");
}

#[tokio::test]
async fn a_report_of_the_releases_launch_proves_it() {
    let mut machine = Machine::new();
    let processor = SecurityProcessor::new(LAUNCH);
    for settings in [settings(), required()] {
        let world = world(Some(&settings), own_roots(), &[[2; 48], LAUNCH]);
        let answer = register(&world, &mut machine, Some(&processor)).await;
        admitted(&answer, "SEV-SNP (launched as the release lists)");
    }
}

#[tokio::test]
async fn what_a_release_does_not_list_is_not_proven() {
    let mut machine = Machine::new();
    let processor = SecurityProcessor::new(LAUNCH);
    let lenient = world(Some(&settings()), own_roots(), &[]);
    let answer = register(&lenient, &mut machine, Some(&processor)).await;
    admitted(&answer, "SEV-SNP (its launch is not proven");
    let strict = world(Some(&required()), own_roots(), &[]);
    let answer = register(&strict, &mut machine, Some(&processor)).await;
    answer.refused(401, "tee-launch-unlisted");
    // listed for another kind alone
    strict.change(|state| {
        state.releases[0].launch_measurements = vec![LaunchMeasurement {
            kind: TeeKind::Tdx,
            digest: LAUNCH,
        }];
    });
    let answer = register(&strict, &mut machine, Some(&processor)).await;
    answer.refused(401, "tee-launch-unlisted");
    // of a release that was revoked under another version: it counts no more
    let known = world(Some(&settings()), own_roots(), &[LAUNCH]);
    known.change(|state| {
        state.releases[0].standing = attest_verify::Standing::Revoked { gone_by_ms: 0 }
    });
    let answer = register(&known, &mut machine, Some(&processor)).await;
    answer.refused(401, "release-revoked");
}

#[tokio::test]
async fn a_machine_without_a_report_is_one_or_is_refused() {
    let mut machine = Machine::new();
    let lenient = world(Some(&settings()), own_roots(), &[LAUNCH]);
    let answer = register(&lenient, &mut machine, None).await;
    admitted(&answer, "environment: none");
    let strict = world(Some(&required()), own_roots(), &[LAUNCH]);
    let answer = register(&strict, &mut machine, None).await;
    answer.refused(401, "tee-report-missing");
    assert_eq!(strict.ledger.0.lock().unwrap().reads, 0);
    // where they are not looked at, nothing is said of them
    let blind = world(None, own_roots(), &[LAUNCH]);
    let junk = Given(TeeReport::new(TeeKind::SevSnp, vec![1; 9], Vec::new()).unwrap());
    let answer = register(&blind, &mut machine, Some(&junk)).await;
    admitted(&answer, "environment: not looked at");
}

#[tokio::test]
async fn each_report_that_does_not_hold_is_refused_by_name() {
    let world = |settings: &ReportSettings, roots| world(Some(settings), roots, &[LAUNCH]);
    let mut machine = Machine::new();
    let processor = SecurityProcessor::new(LAUNCH);
    let ours = world(&settings(), own_roots());

    let other = SecurityProcessor::new([0x1b; 48]);
    let answer = register(&ours, &mut machine, Some(&other)).await;
    answer.refused(401, "tee-launch");
    let open = SecurityProcessor {
        debug: true,
        ..processor
    };
    let answer = register(&ours, &mut machine, Some(&open)).await;
    answer.refused(401, "tee-debug");
    // made for another registration
    let old = processor.report(&report_data(&[3; 32])).unwrap();
    let old = Given(TeeReport::new(TeeKind::SevSnp, old, certificates()).unwrap());
    let answer = register(&ours, &mut machine, Some(&old)).await;
    answer.refused(401, "tee-report-data");
    // not signed by the chip
    let mut forged = processor.report(&[0; 64]).unwrap();
    forged[0x90] ^= 1;
    for bytes in [forged, vec![7; 1184], vec![7]] {
        let forged = Given(TeeReport::new(TeeKind::SevSnp, bytes, certificates()).unwrap());
        let answer = register(&ours, &mut machine, Some(&forged)).await;
        answer.refused(401, "tee-report");
    }
    // nobody vouches for the chip
    let bare = processor.report(&report_data(&[3; 32])).unwrap();
    let bare = Given(TeeReport::new(TeeKind::SevSnp, bare, Vec::new()).unwrap());
    let answer = register(&ours, &mut machine, Some(&bare)).await;
    answer.refused(401, "tee-report");
    // AMD does not know the root of these tests
    let real = world(&settings(), Roots::vendors());
    let answer = register(&real, &mut machine, Some(&processor)).await;
    answer.refused(401, "tee-report");
    // a recorded report of a real machine, which holds, and is another machine's
    let folder = tempfile::tempdir().unwrap();
    let chips = folder.path().join("chips.pem");
    fs::write(&chips, crate::trust::reports::tests::pem_of(MILAN_VCEK)).unwrap();
    let knowing = ReportSettings {
        sev_snp_certificates: Some(chips),
        ..settings()
    };
    let recorded =
        Given(TeeReport::new(TeeKind::SevSnp, MILAN_REPORT.to_vec(), Vec::new()).unwrap());
    let real = world(&knowing, Roots::vendors());
    let answer = register(&real, &mut machine, Some(&recorded)).await;
    answer.refused(401, "tee-report-data");
    let newer = Tcb {
        microcode: 0x74,
        ..Default::default()
    };
    let firmware = ReportSettings {
        minimum_tcb: newer,
        ..settings()
    };
    let answer = register(
        &world(&firmware, own_roots()),
        &mut machine,
        Some(&processor),
    )
    .await;
    answer.refused(401, "tee-firmware");
    // TDX without anything to judge it by: the master's fault, not the node's
    let quote = Given(TeeReport::new(TeeKind::Tdx, V4_QUOTE.to_vec(), Vec::new()).unwrap());
    let answer = register(&ours, &mut machine, Some(&quote)).await;
    answer.refused(503, "unavailable");
}

#[tokio::test]
async fn a_report_is_no_substitute_for_a_release_that_counts() {
    let mut machine = Machine::new();
    let processor = SecurityProcessor::new(LAUNCH);
    let world = world(Some(&settings()), own_roots(), &[LAUNCH]);
    world.change(|state| state.releases[0].pcr11 = [9; 32]);
    let answer = register(&world, &mut machine, Some(&processor)).await;
    answer.refused(401, "release-unknown");
}
