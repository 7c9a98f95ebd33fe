//! Both ends of the socket, over a double of the kernel's side.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use attest::tee_report::socket::{AskError, ReportListener, Served, ask};
use attest::tee_report::{MAXIMUM_AUXILIARY, MAXIMUM_REPORT, REPORT_DATA, TeeKind, configfs};
use fixtures::configfs::{SimulatedKernel, report_over};

/// Long enough for anything that goes well.
const PATIENCE: Duration = Duration::from_secs(60);
const DATA: [u8; REPORT_DATA] = [5; REPORT_DATA];

struct Place {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    Place {
        path: directory.path().join("report.sock"),
        _directory: directory,
    }
}

fn me() -> u32 {
    rustix::process::getuid().as_raw()
}

/// Serves one client with what a machine gives, beside a script.
fn beside<T>(
    listener: ReportListener,
    kernel: SimulatedKernel,
    script: impl FnOnce() -> T,
) -> (Served, T) {
    let server = thread::spawn(move || {
        let served = listener.serve(|data| configfs::collect(&kernel, "a", data));
        (served.unwrap(), kernel.is_empty())
    });
    let outcome = script();
    let (served, is_empty) = server.join().unwrap();
    assert!(is_empty, "an entry was left behind");
    (served, outcome)
}

#[test]
fn the_report_is_over_the_data_that_was_asked_for() {
    for (provider, kind) in [("sev_guest", TeeKind::SevSnp), ("tdx_guest", TeeKind::Tdx)] {
        let place = place();
        let listener = ReportListener::open(&place.path, me()).unwrap();
        let mut kernel = SimulatedKernel::new(provider);
        kernel.auxiliary = Some(b"certificates".to_vec());
        let (served, report) = beside(listener, kernel, || ask(&place.path, &DATA, PATIENCE));
        let report = report.unwrap().unwrap();
        assert_eq!(report.kind(), kind);
        assert_eq!(report.bytes(), report_over(&DATA));
        assert_eq!(report.auxiliary().is_empty(), kind == TeeKind::Tdx);
        assert!(matches!(served, Served::Answered(Some(found)) if found == kind));
    }
}

#[test]
fn the_longest_report_comes_through() {
    let place = place();
    let listener = ReportListener::open(&place.path, me()).unwrap();
    let mut kernel = SimulatedKernel::new("sev_guest");
    kernel.firmware = Box::new(|_| Ok(vec![1; MAXIMUM_REPORT]));
    kernel.auxiliary = Some(vec![2; MAXIMUM_AUXILIARY]);
    let (_, report) = beside(listener, kernel, || ask(&place.path, &DATA, PATIENCE));
    assert_eq!(report.unwrap().unwrap().auxiliary()[0], 2);
}

#[test]
fn no_environment_and_a_firmware_that_fails_are_told_apart() {
    let place = place();
    let listener = ReportListener::open(&place.path, me()).unwrap();
    let none = SimulatedKernel::new("");
    let (served, report) = beside(listener, none, || ask(&place.path, &DATA, PATIENCE));
    assert_eq!(report.unwrap(), None);
    assert!(matches!(served, Served::Answered(None)));

    // the next listener takes the place of the one that is gone
    let listener = ReportListener::open(&place.path, me()).unwrap();
    let mut busy = SimulatedKernel::new("sev_guest");
    busy.firmware = Box::new(|_| Err(io::Error::from_raw_os_error(16)));
    let (served, report) = beside(listener, busy, || ask(&place.path, &DATA, PATIENCE));
    let error = report.unwrap_err();
    assert!(matches!(error, AskError::Failed(_)), "{error}");
    let words = error.to_string();
    assert!(
        words.contains("outblob") && words.contains("busy"),
        "{words}"
    );
    assert!(matches!(served, Served::Failed(_)));
}

#[test]
fn wait_for_a_client_ends_at_its_limit() {
    let place = place();
    let listener = ReportListener::open(&place.path, me()).unwrap();
    let short = Duration::from_millis(10);
    assert!(!listener.wait(Some(short)).unwrap());
    let path = place.path.clone();
    let client = thread::spawn(move || ask(&path, &DATA, PATIENCE));
    assert!(listener.wait(Some(PATIENCE)).unwrap());
    drop(listener);
    assert!(client.join().unwrap().is_err());
}
