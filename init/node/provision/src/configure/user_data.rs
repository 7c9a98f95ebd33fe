//! What a cloud calls user data: whether it is a configuration of ours.
//!
//! Clouds hand over whatever their customer wrote, and most of that is for other systems. Ours is
//!
//! - a `node.toml`: it has a line `version = …` before its first table, and does not begin as what
//!   other systems take ([`FOREIGN`]);
//! - or a sealed file (`build.sh seal`), as it is;
//! - or either of them in base64, which some clouds and tools ask for.
//!
//! What else is wrong with a `node.toml` is for the parser to say, with its line.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use seal::envelope::Envelope;
use zeroize::Zeroizing;

/// How the user data of other systems begins, and what it is called
/// (cloud-init: "User data formats"; Ignition: JSON).
const FOREIGN: [(&[u8], &str); 9] = [
    (b"#!", "a script"),
    (b"#cloud-config", "a cloud-config"),
    (b"#cloud-boothook", "a boothook of cloud-init"),
    (b"#include", "a list of files for cloud-init"),
    (b"#part-handler", "a part handler of cloud-init"),
    (b"## template:", "a template of cloud-init"),
    (b"Content-Type:", "a MIME message"),
    (b"{", "JSON, as Ignition takes it"),
    (&[0x1f, 0x8b], "compressed"),
];

/// Something of ours.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum UserData {
    /// A `node.toml`, which may still have mistakes.
    Plain(Zeroizing<String>),
    /// A sealed file.
    Sealed(Box<Envelope>),
}

/// Nothing of ours, and what it looks like. What stands there is never repeated: it may be a secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is not a node.toml: {0}; expected a text with `version = 1` before its first table, or the \
     base64 of a sealed file"
)]
pub(super) struct NotOurs(&'static str);

/// Tells ours from others'.
///
/// # Errors
/// [`NotOurs`].
pub(super) fn recognise(bytes: &[u8]) -> Result<UserData, NotOurs> {
    as_it_is(bytes).or_else(|not_ours| match decode(bytes) {
        Some(decoded) => as_it_is(&decoded),
        None => Err(not_ours),
    })
}

fn as_it_is(bytes: &[u8]) -> Result<UserData, NotOurs> {
    if let Ok(envelope) = Envelope::from_bytes(bytes) {
        return Ok(UserData::Sealed(Box::new(envelope)));
    }
    if let Some((_, what)) = FOREIGN.iter().find(|(start, _)| bytes.starts_with(start)) {
        return Err(NotOurs(what));
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(NotOurs("empty"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| NotOurs("not text"))?;
    if !has_version(text) {
        return Err(NotOurs("some other text"));
    }
    Ok(UserData::Plain(Zeroizing::new(text.to_owned())))
}

/// Whether a line before the first table gives the schema's version.
fn has_version(text: &str) -> bool {
    text.lines()
        .map(str::trim_start)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.strip_prefix("version"))
        .any(|rest| rest.trim_start().starts_with('='))
}

fn decode(bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let digits: Zeroizing<Vec<u8>> = Zeroizing::new(
        bytes
            .iter()
            .copied()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect(),
    );
    STANDARD.decode(digits.as_slice()).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    use fixtures::documents::SEALED;

    fn is_plain(bytes: &[u8]) -> bool {
        matches!(recognise(bytes), Ok(UserData::Plain(_)))
    }

    #[test]
    fn a_configuration_is_known_by_its_version_before_the_first_table() {
        for ours in [
            "version = 1\n",
            "# a comment\n\nseal = \"none\"\n  version=2\n[node]\n",
            // broken: that is for the parser to say
            "version = \n[node\nid = 7",
        ] {
            assert!(is_plain(ours.as_bytes()), "{ours}");
            let encoded = STANDARD.encode(ours);
            assert!(is_plain(encoded.as_bytes()), "{encoded}");
        }
    }

    #[test]
    fn a_sealed_file_is_known_as_it_is_and_in_base64() {
        let encoded = STANDARD.encode(SEALED);
        let lines: Vec<&str> = encoded
            .as_bytes()
            .chunks(76)
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect();
        for bytes in [SEALED, encoded.as_bytes(), lines.join("\r\n").as_bytes()] {
            assert!(bytes.len() <= cloud::MAXIMUM_USER_DATA);
            assert!(matches!(recognise(bytes), Ok(UserData::Sealed(_))));
        }
        // damaged: neither ours nor anybody's
        assert!(recognise(&SEALED[..SEALED.len() - 1]).is_err());
    }

    #[test]
    fn what_is_for_other_systems_is_told_by_its_kind() {
        for (theirs, kind) in [
            ("#!/bin/sh\nversion = 1\n", "a script"),
            ("#cloud-config\nversion = 1\n", "a cloud-config"),
            ("Content-Type: multipart/mixed\nversion = 1", "MIME"),
            ("{\"ignition\": {\"version\": \"3.4.0\"}}", "Ignition"),
            ("", "empty"),
            (" \n\t\n", "empty"),
            ("hostname: edge\nversion: 1\n", "some other text"),
            ("[node]\nversion = 1\n", "some other text"),
            ("versions = 1\n", "some other text"),
        ] {
            let error = recognise(theirs.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(kind), "{theirs:?}: {error}");
        }
        assert_eq!(recognise(&[0x1f, 0x8b, 8]), Err(NotOurs("compressed")));
        assert_eq!(recognise(&[0xff, 0xfe]), Err(NotOurs("not text")));
    }

    proptest! {
        #[test]
        fn nothing_brings_it_down(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            let _ = recognise(&bytes);
        }
    }
}
