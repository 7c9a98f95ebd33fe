//! The downloader against a server that answers as a test tells it to.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use image::digest;
use image::download::{Downloader, Size, Vanished, Wanted};

const CONTENT: &[u8] = b"0123456789abcdefghij";

/// A server on the loopback that gives each connection the next answer and reports the `Range` of each request.
fn serve(answers: Vec<Vec<u8>>) -> (String, mpsc::Receiver<Option<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/file", listener.local_addr().unwrap());
    let (report, reports) = mpsc::channel();
    thread::spawn(move || {
        for answer in answers {
            let (mut connection, _) = listener.accept().unwrap();
            let lines = BufReader::new(connection.try_clone().unwrap()).lines();
            let head = lines
                .map(Result::unwrap)
                .take_while(|line| !line.is_empty());
            let range = head.filter_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("range").then(|| value.to_owned())
            });
            let range = range.last();
            // whoever gave up on a test reads neither
            _ = report.send(range);
            _ = connection.write_all(&answer);
        }
    });
    (address, reports)
}

/// An answer whose announced length may differ from what it sends.
fn answer(status: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn fetch(url: &str, size: Size, directory: &Path) -> anyhow::Result<std::path::PathBuf> {
    let sha256 = digest::of_bytes(CONTENT);
    let wanted = Wanted {
        name: "file 1.0",
        urls: vec![url.to_owned()],
        size,
        sha256: &sha256,
    };
    Downloader::new().fetch(&wanted, directory, ".deb")
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn an_interrupted_download_is_resumed_and_kept() {
    let directory = tempfile::tempdir().unwrap();
    let (url, reports) = serve(vec![
        answer("200 OK", CONTENT.len(), &CONTENT[..7]),
        answer("206 Partial Content", CONTENT.len() - 7, &CONTENT[7..]),
    ]);
    let path = fetch(&url, Size::Exactly(20), directory.path()).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), CONTENT);
    assert_eq!(reports.recv().unwrap(), None);
    assert_eq!(reports.recv().unwrap(), Some("bytes=7-".to_owned()));
    assert_eq!(names(directory.path()).len(), 1, "no partial file is left");
    // the server has no answer left: the second time comes from the cache
    assert_eq!(
        fetch(&url, Size::Exactly(20), directory.path()).unwrap(),
        path
    );
}

#[test]
fn a_server_that_can_not_resume_starts_over() {
    let directory = tempfile::tempdir().unwrap();
    let (url, _reports) = serve(vec![
        answer("200 OK", CONTENT.len(), &CONTENT[..7]),
        answer("200 OK", CONTENT.len(), CONTENT),
    ]);
    let path = fetch(&url, Size::Exactly(20), directory.path()).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), CONTENT);
}

#[test]
fn a_vanished_file_is_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let (url, _reports) = serve(vec![answer("404 Not Found", 0, b"")]);
    let error = fetch(&url, Size::Exactly(20), directory.path()).unwrap_err();
    let vanished = error.downcast_ref::<Vanished>().unwrap();
    assert_eq!(vanished.url, url);
    assert!(error.to_string().contains("./build.sh lock"), "{error}");
}

#[test]
fn another_mirror_is_asked_and_says_more_than_a_404() {
    let directory = tempfile::tempdir().unwrap();
    let sha256 = digest::of_bytes(CONTENT);
    let both = |first: &str, second: &str| {
        let urls = vec![first.to_owned(), second.to_owned()];
        let (name, size) = ("file 1.0", Size::Exactly(20));
        let wanted = Wanted {
            name,
            urls,
            size,
            sha256: &sha256,
        };
        Downloader::new().fetch(&wanted, directory.path(), "")
    };
    let (lacks, _reports) = serve(vec![answer("404 Not Found", 0, b""); 2]);
    let (broken, _reports) = serve(vec![answer("500 Oops", 0, b"")]);
    let error = both(&lacks, &broken).unwrap_err();
    assert!(error.to_string().contains("500"), "{error}");
    let (has, _reports) = serve(vec![answer("200 OK", CONTENT.len(), CONTENT)]);
    both(&lacks, &has).unwrap();
}

#[test]
fn wrong_content_is_never_kept() {
    let directory = tempfile::tempdir().unwrap();
    let (url, _reports) = serve(vec![answer("200 OK", 20, &[0; 20])]);
    let error = fetch(&url, Size::Exactly(20), directory.path()).unwrap_err();
    assert!(error.to_string().contains("SHA-256"), "{error}");
    assert!(names(directory.path()).is_empty());
}

#[test]
fn a_file_without_an_end_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let (url, _reports) = serve(vec![answer("200 OK", 1 << 20, &[0; 1 << 20])]);
    let error = fetch(&url, Size::AtMost(20), directory.path()).unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");
    assert!(names(directory.path()).is_empty());
    let (url, _reports) = serve(vec![answer("200 OK", 100, &[0; 100])]);
    let error = Downloader::new().small(&url, 99).unwrap_err();
    assert!(error.to_string().contains("longer than 99 B"), "{error}");
}
