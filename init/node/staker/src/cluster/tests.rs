use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use super::*;

/// A server on this host that sends `answer` to whoever has said something, then waits for the end.
fn server(answer: &'static [u8]) -> ServerUrl {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut heard = [0; 5];
            connection.read_exact(&mut heard).unwrap();
            // a handshake of TLS, as every server expects it
            assert_eq!(heard[..2], [22, 3]);
            connection.write_all(answer).unwrap();
        }
    });
    format!("https://127.0.0.1:{port}").parse().unwrap()
}

async fn ask(server: &ServerUrl) -> Result<(), ProbeError> {
    probe()(server.clone()).await
}

#[tokio::test]
async fn server_that_speaks_tls_answers() {
    ask(&server(&[22, 3, 3])).await.unwrap();
    // a certificate or a name that it does not like
    ask(&server(&[21, 3, 3])).await.unwrap();
}

#[tokio::test]
async fn server_that_is_gone_or_is_none_does_not_answer() {
    let closed = {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        format!("https://127.0.0.1:{port}").parse().unwrap()
    };
    for server in [closed, server(b"HTTP/1.1 400 Bad Request"), server(b"")] {
        assert!(ask(&server).await.is_err(), "{server}");
    }
}

#[tokio::test(start_paused = true)]
async fn server_that_accepts_and_is_silent_does_not_answer() {
    // the kernel takes the connection, and nobody reads from it: a server that hangs
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = format!("https://127.0.0.1:{port}").parse().unwrap();
    assert!(ask(&server).await.is_err());
}

#[test]
fn host_and_port_are_read_from_every_form_of_a_url() {
    for (url, host, port) in [
        ("https://192.0.2.1:6443", "192.0.2.1", 6443),
        ("https://k3s.example.org", "k3s.example.org", 443),
        ("https://[2001:db8::1]:6443", "2001:db8::1", 6443),
    ] {
        let found = host_and_port(&url.parse().unwrap());
        assert_eq!(found, Some((host.to_owned(), port)), "{url}");
        hello(host).unwrap();
    }
}
