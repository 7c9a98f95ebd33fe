//! What clients do that the crate's own does not. Its way is tested in `tests/socket.rs`.

use std::thread;

use super::*;

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

/// Serves one client, beside a script.
fn beside<T>(listener: ReportListener, script: impl FnOnce() -> T) -> (Served, T) {
    let server = thread::spawn(move || {
        let report = TeeReport::new(TeeKind::SevSnp, b"a report".to_vec(), Vec::new());
        listener.serve(|_| Ok(Some(report?))).unwrap()
    });
    let outcome = script();
    (server.join().unwrap(), outcome)
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
fn another_user_gets_nothing() {
    let place = place();
    // the file's mode keeps others from connecting; root, who tests, is not kept by it
    let mut listener = ReportListener::open(&place.path, me()).unwrap();
    let metadata = fs::metadata(&place.path).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    listener.client = me() + 1;
    let (served, report) = beside(listener, || ask(&place.path, &DATA, PATIENCE));
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
        let (served, answer) = beside(listener, || {
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
    let (served, answer) = beside(open(), || answer_to(&client(&place.path)));
    assert!(matches!(served, Served::Gone(_)), "{served:?}");
    assert!(answer.is_empty());
    let (served, ()) = beside(open(), || drop(client(&place.path)));
    assert!(
        matches!(served, Served::Gone(_) | Served::NoRequest(_)),
        "{served:?}"
    );
}

#[test]
fn an_answer_that_is_late_or_none_is_an_error() {
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
