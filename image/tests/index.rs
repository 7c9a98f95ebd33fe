//! A package index that nobody vouches for is refused.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;

use image::download::Downloader;
use image::index::{self, Suite};
use image::lock::Archive;

/// A mirror that has one file: this release file.
fn mirror(release: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/debian/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let request = BufReader::new(connection.try_clone().unwrap()).lines();
            let head: Vec<String> = request
                .map(Result::unwrap)
                .take_while(|line| !line.is_empty())
                .collect();
            let (status, body) = if head[0].contains("/dists/trixie/InRelease") {
                ("200 OK", release)
            } else {
                ("404 Not Found", "")
            };
            let length = body.len();
            // whoever gave up does not read it
            _ = write!(
                connection,
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
        }
    });
    address
}

fn read(mirror: &str, suite: &str) -> String {
    let result = index::read(
        &Downloader::new(),
        mirror,
        Archive::Debian,
        Suite {
            name: suite,
            architecture: "amd64",
            components: &["main"],
        },
        &|_| true,
    );
    format!("{:#}", result.unwrap_err())
}

#[test]
fn an_unsigned_release_file_is_refused() {
    let error = read(
        &mirror("Codename: trixie\nDate: Sat, 12 Sep 2026 07:55:41 UTC\nSHA256:\n"),
        "trixie",
    );
    assert!(
        error.contains("not vouched for") && error.contains("gpgv"),
        "{error}"
    );
}

#[test]
fn a_forged_signature_is_refused() {
    let forged = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nCodename: trixie\n\
        -----BEGIN PGP SIGNATURE-----\n\niHUEARYKAB0WIQRMtQGQIHt0dYo/efppbtDntoJD4TEFAgAAAAAACgkQAA==\n=AAAA\n\
        -----END PGP SIGNATURE-----\n";
    let error = read(&mirror(forged), "trixie");
    assert!(error.contains("not vouched for"), "{error}");
}

#[test]
fn a_suite_that_does_not_exist_is_named() {
    let error = read(&mirror(""), "bullseye");
    assert!(
        error.contains("dists/bullseye/InRelease does not exist"),
        "{error}"
    );
}
