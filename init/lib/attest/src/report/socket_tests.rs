//! Both ends of the socket, over a double of the kernel's side.

use std::thread;

use super::*;
use crate::report::configfs;
use crate::report::simulated::{SimulatedKernel, report_over};

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

/// A client that says something of its own.
fn client(path: &Path) -> OwnedFd {
    let socket = new_socket().unwrap();
    connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
    socket
}

fn answer_to(socket: &OwnedFd) -> Vec<u8> {
    let mut buffer = vec![0; MAXIMUM_ANSWER];
    match receive(socket.as_fd(), &mut buffer) {
        Ok(answer) => answer.unwrap().to_vec(),
        // it hung up with our message unread
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Vec::new(),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_report_is_over_the_data_that_was_asked_for() {
    for (provider, kind) in [("sev_guest", Kind::SevSnp), ("tdx_guest", Kind::Tdx)] {
        let place = place();
        let listener = ReportListener::open(&place.path, me()).unwrap();
        let mut kernel = SimulatedKernel::new(provider);
        kernel.auxiliary = Some(b"certificates".to_vec());
        let (served, report) = beside(listener, kernel, || ask(&place.path, &DATA, PATIENCE));
        let report = report.unwrap().unwrap();
        assert_eq!(report.kind(), kind);
        assert_eq!(report.bytes(), report_over(&DATA));
        assert_eq!(report.auxiliary().is_empty(), kind == Kind::Tdx);
        assert!(matches!(served, Served::Answered(Some(found)) if found == kind));
    }
}

#[test]
fn the_longest_report_comes_through() {
    let place = place();
    let listener = ReportListener::open(&place.path, me()).unwrap();
    let mut kernel = SimulatedKernel::new("sev_guest");
    kernel.firmware = Box::new(|_| Ok(vec![1; super::super::MAXIMUM_REPORT]));
    kernel.auxiliary = Some(vec![2; super::super::MAXIMUM_AUXILIARY]);
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
fn another_user_gets_nothing() {
    let place = place();
    // the file's mode keeps others from connecting; root, who tests, is not kept by it
    let mut listener = ReportListener::open(&place.path, me()).unwrap();
    let metadata = fs::metadata(&place.path).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    listener.client = me() + 1;
    let kernel = SimulatedKernel::new("sev_guest");
    let (served, report) = beside(listener, kernel, || ask(&place.path, &DATA, PATIENCE));
    assert!(matches!(served, Served::Stranger(found) if found == me()));
    assert!(matches!(report, Err(AskError::Refused)), "{report:?}");
}

#[test]
fn what_is_no_request_is_not_answered() {
    let request = ReportRequest { report_data: DATA }.to_bytes();
    let (short, long) = (&request[1..], [request.as_slice(), &[0; 9000]].concat());
    let format = [&[9], short].concat();
    for wrong in [short, &long, &format, b"GET / HTTP/1.1\r\n\r\n"] {
        let place = place();
        let listener = ReportListener::open(&place.path, me()).unwrap();
        let kernel = SimulatedKernel::new("sev_guest");
        let (served, answer) = beside(listener, kernel, || {
            let socket = client(&place.path);
            send(&socket, wrong, SendFlags::NOSIGNAL).unwrap();
            answer_to(&socket)
        });
        assert!(matches!(served, Served::NoRequest(_)), "{served:?}");
        assert!(answer.is_empty());
    }
}

#[test]
fn a_client_that_says_nothing_or_hangs_up_keeps_nobody_waiting() {
    let place = place();
    let open = || {
        let listener = ReportListener::open(&place.path, me()).unwrap();
        listener.with_limit(Duration::from_millis(20))
    };
    let kernel = || SimulatedKernel::new("sev_guest");
    let (served, answer) = beside(open(), kernel(), || answer_to(&client(&place.path)));
    assert!(matches!(served, Served::Gone(_)), "{served:?}");
    assert!(answer.is_empty());
    let (served, ()) = beside(open(), kernel(), || drop(client(&place.path)));
    assert!(
        matches!(served, Served::Gone(_) | Served::NoRequest(_)),
        "{served:?}"
    );
}

#[test]
fn an_answer_that_never_comes_is_given_up_and_one_that_is_none_refused() {
    let place = place();
    let error = ask(&place.path, &DATA, PATIENCE).unwrap_err();
    assert!(matches!(error, AskError::Connect { .. }), "{error}");
    // it takes connections, and does nothing with them
    let listener = ReportListener::open(&place.path, me()).unwrap();
    let error = ask(&place.path, &DATA, Duration::from_millis(20)).unwrap_err();
    assert!(matches!(error, AskError::Exchange { .. }), "{error}");
    // whoever waited before is still in its queue
    let _gone = accept_with(&listener.socket, SocketFlags::CLOEXEC).unwrap();
    let server = thread::spawn(move || {
        let connection = accept_with(&listener.socket, SocketFlags::CLOEXEC).unwrap();
        let mut buffer = [0; REQUEST];
        receive(connection.as_fd(), &mut buffer).unwrap().unwrap();
        send(&connection, b"\x01\x07", SendFlags::NOSIGNAL).unwrap();
    });
    let error = ask(&place.path, &DATA, PATIENCE).unwrap_err();
    assert!(matches!(error, AskError::Message(_)), "{error}");
    server.join().unwrap();
    // one that was closed keeps nobody waiting
    let listener = ReportListener::open(&place.path, me()).unwrap();
    listener.close();
    let error = ask(&place.path, &DATA, PATIENCE).unwrap_err();
    assert!(matches!(error, AskError::Connect { .. }), "{error}");
}
