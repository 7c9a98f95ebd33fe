//! Every cloud's service, by a double that asks what the real one asks.

use std::env;
use std::process::Command;
use std::time::{Duration, Instant};

use cloud::{Cloud, MAXIMUM_USER_DATA};
use fixtures::metadata_service::MetadataService;
use metadata::ask::{self, AskError};
use metadata::http::{Client, HttpError};
use metadata::retry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const DOCUMENT: &[u8] = b"version = 1\n";

async fn service(cloud: Cloud, user_data: Option<&[u8]>) -> (MetadataService, Client) {
    let service = MetadataService::start(cloud, user_data)
        .await
        .expect("a double");
    let client = Client::new(service.address());
    (service, client)
}

/// Where nothing may be asked again.
fn never(wait: Duration) {
    panic!("it would be asked again in {wait:?}");
}

/// Answers one request with these bytes, as they are.
async fn answering(bytes: Vec<u8>) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let mut request = [0_u8; 4096];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(&bytes).await;
    });
    Client::new(address)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cloud_gives_the_user_data_of_this_machine() {
    for cloud in Cloud::ALL {
        let (service, client) = service(*cloud, Some(DOCUMENT)).await;
        let given = ask::user_data(&client, *cloud).expect("user data");
        assert_eq!(given.as_slice(), DOCUMENT, "{cloud}");
        assert!(!service.asked().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_user_data_is_told_so_at_once() {
    for cloud in Cloud::ALL {
        let (service, client) = service(*cloud, None).await;
        let error = retry::user_data(&client, *cloud, never).expect_err("none");
        assert!(matches!(error, AskError::None), "{cloud}: {error}");
        service.set_user_data(Some(DOCUMENT));
        let given = ask::user_data(&client, *cloud).expect("user data");
        assert_eq!(given.as_slice(), DOCUMENT, "{cloud}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ec2_is_asked_by_version_2_alone() {
    let (service, client) = service(Cloud::Ec2, Some(DOCUMENT)).await;
    ask::user_data(&client, Cloud::Ec2).expect("user data");
    assert_eq!(
        service.asked(),
        ["PUT /latest/api/token", "GET /latest/user-data"]
    );
    // where there is no token, nothing is asked without one
    let refusal = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n".to_vec();
    let error = ask::user_data(&answering(refusal).await, Cloud::Ec2).expect_err("no token");
    assert!(!error.may_pass());
    assert!(error.to_string().contains("403 Forbidden"), "{error}");
    for token in [&b""[..], b"a\r\nb", &[b'x'; 2000]] {
        let mut answer =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", token.len()).into_bytes();
        answer.extend_from_slice(token);
        let error = ask::user_data(&answering(answer).await, Cloud::Ec2).expect_err("no token");
        assert!(matches!(error, AskError::NotTheService { .. }), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attribute_of_our_own_comes_first() {
    let (service, client) = service(Cloud::Google, Some(b"#cloud-config")).await;
    service.set_own_attribute(DOCUMENT);
    let given = ask::user_data(&client, Cloud::Google).expect("user data");
    assert_eq!(given.as_slice(), DOCUMENT);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_google_is_not_believed() {
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nversion = 1".to_vec();
    let error = ask::user_data(&answering(answer).await, Cloud::Google).expect_err("somebody else");
    assert!(matches!(error, AskError::NotTheService { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_encodes_what_it_gives() {
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nversion = 1".to_vec();
    let error = ask::user_data(&answering(answer).await, Cloud::Azure).expect_err("no base64");
    assert!(matches!(error, AskError::NotTheService { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_answers_end_within_their_bounds() {
    let long = vec![b'x'; MAXIMUM_USER_DATA + 1];
    let mut too_long = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    too_long.extend_from_slice(&long);
    let mut headers = b"HTTP/1.1 200 OK\r\nx: ".to_vec();
    headers.extend_from_slice(&long);
    for (answer, wanted) in [
        (too_long, "at most 131072 bytes"),
        (headers, "no answer to"),
        (b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(), "no answer to"),
        (Vec::new(), "no answer to"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nversion".to_vec(),
            "can't be read",
        ),
        (
            b"HTTP/1.1 302 Found\r\nlocation: http://192.0.2.1/\r\ncontent-length: 0\r\n\r\n"
                .to_vec(),
            "302 Found",
        ),
    ] {
        let error =
            ask::user_data(&answering(answer).await, Cloud::OpenStack).expect_err("a bad answer");
        assert!(error.to_string().contains(wanted), "{wanted}: {error}");
    }
}

#[test]
fn a_service_that_says_nothing_is_not_waited_for() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let limit = Duration::from_millis(100);
    let client = Client::with_limits(address, Duration::from_secs(5), limit);
    let began = Instant::now();
    let error = ask::user_data(&client, Cloud::Hetzner).expect_err("silence");
    assert!(
        matches!(error, AskError::Http(HttpError::Late { limit: found, .. }) if found == limit),
        "{error}"
    );
    assert!(began.elapsed() >= limit);
    assert!(error.may_pass());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_stops_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let service = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nversion";
        stream.write_all(answer).await.expect("written");
        std::future::pending::<()>().await;
    });
    let limit = Duration::from_millis(100);
    let client = Client::with_limits(address, Duration::from_secs(5), limit);
    let error = ask::user_data(&client, Cloud::Hetzner).expect_err("half an answer");
    assert!(
        matches!(error, AskError::Http(HttpError::Late { .. })),
        "{error}"
    );
    service.abort();
}

#[test]
fn where_nobody_listens_there_is_no_connection() {
    // bound, so that no other test gets the port, and never listening
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    let any = "127.0.0.1:0".parse().expect("an address");
    socket.bind(any).expect("a port");
    let address = socket.local_addr().expect("an address");
    let error = ask::user_data(&Client::new(address), Cloud::Hetzner).expect_err("nobody");
    assert!(
        matches!(error, AskError::Http(HttpError::Connect { .. })),
        "{error}"
    );
    assert!(error.may_pass());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_is_asked_again_until_it_has_passed() {
    let (service, client) = service(Cloud::DigitalOcean, Some(DOCUMENT)).await;
    service.fail(3);
    let mut waits = Vec::new();
    let given = retry::user_data(&client, Cloud::DigitalOcean, |wait| waits.push(wait));
    assert_eq!(given.expect("user data").as_slice(), DOCUMENT);
    assert_eq!(service.asked().len(), 4);
    assert_eq!(waits, [1, 2, 4].map(Duration::from_secs));
    // and not for ever
    service.fail(u32::MAX);
    let mut waits = Vec::new();
    let error = retry::user_data(&client, Cloud::DigitalOcean, |wait| waits.push(wait))
        .expect_err("it fails");
    assert!(error.to_string().contains("503"), "{error}");
    assert_eq!(waits, [1, 2, 4, 8, 16, 30].map(Duration::from_secs));
}

#[test]
fn a_proxy_of_the_environment_is_not_asked() {
    // nobody listens there
    const PROXY: &str = "http://127.0.0.1:9";
    let output = Command::new(env::current_exe().expect("this program"))
        .args(["--exact", "every_cloud_gives_the_user_data_of_this_machine"])
        .envs(["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"].map(|name| (name, PROXY)))
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("1 passed"), "{said}");
}
