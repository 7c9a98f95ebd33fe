//! Good answers, bad ones, and none.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::{Duration, Instant};

use probe::ask::{Fault, Place, ask};
use probe::round;
use wire::status::Probed;

const LIMIT: Duration = Duration::from_millis(300);

fn soon() -> Instant {
    Instant::now() + LIMIT
}

/// What comes of one connection to whoever answers with these pieces, a moment between them, and then hangs up.
fn outcome(pieces: &'static [&'static [u8]]) -> Result<(), Fault> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 256];
        let length = stream.read(&mut request).unwrap();
        assert!(request[..length].starts_with(b"GET /healthz HTTP/1.1\r\n"));
        for piece in pieces {
            // who asks may have heard enough
            let _ = stream.write_all(piece);
            thread::sleep(Duration::from_millis(5));
        }
    });
    let deadline = Instant::now() + Duration::from_secs(30);
    let asked = ask(&Place::Unix(&path), deadline);
    let outcome = asked.and_then(probe::ask::Asked::answer);
    server.join().unwrap();
    outcome
}

#[test]
fn answer_with_status_200_is_good_however_it_comes() {
    outcome(&[b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]).unwrap();
    outcome(&[b"HTTP/1.0 2", b"00 ", b"\r\n\r", b"\n"]).unwrap();
}

#[test]
fn answer_with_another_status_says_why() {
    let fault = outcome(&[
        b"HTTP/1.1 500 Internal\r\n\r\n[-]syncloop failed",
        b"\x1b[1m\n",
    ]);
    let Err(Fault::Unwell { status, text }) = fault else {
        panic!("{fault:?}");
    };
    assert_eq!((status, text.as_str()), (500, "[-]syncloop failed\\x1b[1m"));
}

#[test]
fn answer_that_is_none_is_a_fault_of_its_own() {
    let fault = outcome(&[b"SSH-2.0-x\r\n"]);
    assert!(matches!(fault, Err(Fault::Malformed(_))), "{fault:?}");
    let fault = outcome(&[]);
    assert!(
        matches!(fault, Err(Fault::HungUp | Fault::Broken(_))),
        "{fault:?}"
    );
    let fault = outcome(&[b"HTTP/1.1 200 OK\r\nContent-"]);
    assert!(matches!(fault, Err(Fault::HungUp)), "{fault:?}");
}

#[test]
fn answer_longer_than_the_bound_is_refused() {
    let fault = outcome(&[b"HTTP/1.1 200 OK\r\nX: ", &[b'y'; 8192]]);
    assert!(matches!(fault, Err(Fault::TooLong)), "{fault:?}");
    let fault = outcome(&[b"HTTP/1.1 503 No\r\n\r\n", &[b'y'; 8192]]);
    let Err(Fault::Unwell { text, .. }) = fault else {
        panic!("{fault:?}");
    };
    assert_eq!(text.len(), 256);
}

#[test]
fn nobody_there_is_a_fault_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let fault = ask(&Place::Unix(&folder.path().join("none")), soon()).unwrap_err();
    assert!(matches!(fault, Fault::Connect(_)), "{fault:?}");
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let fault = ask(&Place::Tcp(address), soon()).unwrap_err();
    assert!(matches!(fault, Fault::Connect(_)), "{fault:?}");
}

/// A stopped process: its kernel takes the connection and the question, and nothing comes back.
#[test]
fn one_that_hangs_takes_no_time_from_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let _stopped = UnixListener::bind(&path).unwrap();
    let works = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = works.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = works.accept().unwrap();
        let mut request = [0; 256];
        let _ = stream.read(&mut request).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    });
    let begun = Instant::now();
    let answers = round(
        &[
            (Probed::Containerd, Place::Unix(&path)),
            (Probed::Kubelet, Place::Tcp(address)),
        ],
        LIMIT,
    );
    assert!(begun.elapsed() < LIMIT * 10);
    let silent = Some("it does not answer in time".to_owned());
    assert_eq!(
        answers,
        [(Probed::Containerd, silent), (Probed::Kubelet, None)]
    );
}
