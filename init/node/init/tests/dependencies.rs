//! What PID 1 links: a list that each addition has to be put on.

use std::collections::BTreeSet;
use std::process::Command;

/// Every package, those that only run at compile time too. Nothing here speaks to a network, holds a key,
/// parses a configuration, or brings an async runtime.
const ALLOWED: &[&str] = &[
    // ours
    "files",
    "init",
    "kernel",
    "node-log",
    "sys",
    "wire",
    // the system: system calls, capabilities, filters of system calls
    "bitflags",
    "caps",
    "libc",
    "linux-raw-sys",
    "rustix",
    "seccompiler",
    // messages of the node's programs: JSON, and secrets that are wiped
    "itoa",
    "memchr",
    "serde",
    "serde_core",
    "serde_json",
    "zeroize",
    "zmij",
    // the log
    "once_cell",
    "pin-project-lite",
    "tracing",
    "tracing-core",
    // errors, and what derives at compile time
    "proc-macro2",
    "quote",
    "serde_derive",
    "syn",
    "thiserror",
    "thiserror-impl",
    "unicode-ident",
];

fn packages(arguments: &[&str]) -> BTreeSet<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args([
            "tree", "--edges", "normal", "--prefix", "none", "--format", "{p}",
        ])
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    let text = String::from_utf8(output.stdout).expect("names are text");
    let names = text.lines().filter_map(|line| line.split(' ').next());
    names.map(str::to_owned).collect()
}

#[test]
fn pid_1_links_what_is_allowed_and_no_more() {
    let linked = packages(&["--package", "init"]);
    let allowed: BTreeSet<String> = ALLOWED.iter().map(|name| (*name).to_owned()).collect();
    let unknown: Vec<_> = linked.difference(&allowed).collect();
    assert!(unknown.is_empty(), "PID 1 would link {unknown:?}");
    let gone: Vec<_> = allowed.difference(&linked).collect();
    assert!(
        gone.is_empty(),
        "PID 1 links {gone:?} no more: take them off the list"
    );
    assert!(allowed.len() <= 30, "{} packages", allowed.len());
}

/// The initramfs runs before anything is verified but itself.
#[test]
fn initramfs_links_no_more_of_a_tpm_than_its_registers() {
    let linked = packages(&["--package", "initramfs"]);
    assert!(linked.contains("tpm") && linked.contains("gpt"));
    for forbidden in [
        "seal", "config", "p256", "toml", "attest", "tokio", "rustls",
    ] {
        assert!(
            !linked.contains(forbidden),
            "the initramfs would link {forbidden}"
        );
    }
}
