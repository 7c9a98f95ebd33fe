//! What PID 1 links: nothing that speaks to a network, and no async runtime.

use std::process::Command;

/// Packages that would bring either. The beginning of a name is enough.
const FORBIDDEN: &[&str] = &[
    "actix",
    "async-",
    "aws-lc",
    "curl",
    "futures",
    "h2",
    "hickory",
    "hyper",
    "mio",
    "native-tls",
    "openssl",
    "polling",
    "quinn",
    "rayon",
    "reqwest",
    "ring",
    "rustls",
    "smol",
    "socket2",
    "sui-",
    "tokio",
    "tonic",
    "tower",
    "tungstenite",
    "ureq",
    "webpki",
];

fn packages() -> Vec<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["tree", "--package", "init", "--edges", "normal"])
        .args(["--prefix", "none", "--format", "{p}"])
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
fn pid_1_speaks_to_no_network() {
    let packages = packages();
    // the list is the right one: what is wanted stands on it
    for wanted in ["init", "sys", "config", "wire", "rustix"] {
        assert!(packages.iter().any(|name| name == wanted), "{wanted}");
    }
    for name in packages {
        let forbidden = FORBIDDEN.iter().find(|start| name.starts_with(**start));
        assert_eq!(forbidden, None, "PID 1 would link {name}");
    }
}
