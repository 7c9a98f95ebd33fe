//! The crates that our programs link, with versions, digests and licences: what cargo resolves from `Cargo.lock`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// The platform that the programs are compiled for, as far as the choice of crates goes.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Between name and licence: no name of a crate has one.
const SEPARATOR: char = '\t';

/// One crate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Crate {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its licence as its manifest says, an SPDX expression; empty where it says none.
    pub licence: String,
    /// SHA-256 of its archive on crates.io, hexadecimal. `None`: it is part of this source tree.
    pub sha256: Option<String>,
}

/// Asks cargo for the crates of `programs`, without those that run at compile time alone. Reads nothing but the
/// source tree in `workspace` and what cargo has downloaded to compile it.
///
/// # Errors
/// When cargo can't be run, or `Cargo.lock` does not match the manifests.
pub fn linked(workspace: &Path, programs: &[&str]) -> Result<BTreeSet<Crate>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--locked", "--offline", "--target", TARGET])
        .args(["--edges", "normal,no-proc-macro", "--prefix", "none"])
        .args(["--format", &format!("{{p}}{SEPARATOR}{{l}}")])
        .args(programs.iter().flat_map(|name| ["--package", name]))
        .current_dir(workspace)
        .stdin(Stdio::null())
        .output()
        .context("can't run cargo to list what the programs link")?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        bail!("cargo can't list what the programs link: {}", reason.trim());
    }
    let lock = workspace.join("Cargo.lock");
    let text =
        std::fs::read_to_string(&lock).with_context(|| format!("can't read {}", lock.display()))?;
    let digests = digests(&text).with_context(|| format!("{} is malformed", lock.display()))?;
    parse(&String::from_utf8_lossy(&output.stdout), &digests)
}

/// The digest of each crate in a `Cargo.lock` that has one, by name and version.
fn digests(lock: &str) -> Result<BTreeMap<(String, String), String>> {
    #[derive(Deserialize)]
    struct Document {
        package: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        version: String,
        checksum: Option<String>,
    }
    let document: Document = toml::from_str(lock)?;
    let packages = document.package.into_iter();
    Ok(packages
        .filter_map(|package| Some(((package.name, package.version), package.checksum?)))
        .collect())
}

/// Parses `serde v1.0.228<tab>MIT OR Apache-2.0`; a path in brackets is a crate of ours, and `(*)` stands at the
/// end of a line that came before.
fn parse(tree: &str, digests: &BTreeMap<(String, String), String>) -> Result<BTreeSet<Crate>> {
    let mut crates = BTreeSet::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let read = || {
            let (package, licence) = line.split_once(SEPARATOR)?;
            let mut words = package.split_whitespace();
            let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
            let licence = licence.strip_suffix("(*)").unwrap_or(licence).trim();
            Some((name, version, licence, words.next().is_some()))
        };
        let (name, version, licence, ours) =
            read().with_context(|| format!("cargo lists {line:?}, which is no crate"))?;
        let digest = digests.get(&(name.to_owned(), version.to_owned()));
        if digest.is_none() && !ours {
            bail!("Cargo.lock has no digest of {name} {version}");
        }
        crates.insert(Crate {
            name: name.to_owned(),
            version: version.to_owned(),
            // the old way to write a choice
            licence: licence.replace('/', " OR "),
            sha256: digest.filter(|_| !ours).cloned(),
        });
    }
    Ok(crates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_of_a_tree_are_read_with_their_digests() {
        let lock = "version = 4\n[[package]]\nname = \"init\"\nversion = \"0.1.0\"\n\
            [[package]]\nname = \"memchr\"\nversion = \"2.7.6\"\nchecksum = \"aa\"\n";
        let digests = digests(lock).unwrap();
        let tree = "init v0.1.0 (/somewhere/init)\tApache-2.0\nmemchr v2.7.6\tUnlicense/MIT\n\
            memchr v2.7.6\tUnlicense/MIT (*)\n\n";
        let crates: Vec<Crate> = parse(tree, &digests).unwrap().into_iter().collect();
        let one = |name: &str, version: &str, licence: &str, sha256: Option<&str>| Crate {
            name: name.into(),
            version: version.into(),
            licence: licence.into(),
            sha256: sha256.map(str::to_owned),
        };
        assert_eq!(
            crates,
            [
                one("init", "0.1.0", "Apache-2.0", None),
                one("memchr", "2.7.6", "Unlicense OR MIT", Some("aa")),
            ]
        );
        let unknown = parse("memchr v2.7.7\tMIT\n", &digests).unwrap_err();
        assert!(unknown.to_string().contains("no digest of memchr 2.7.7"));
        assert!(parse("memchr\tMIT\n", &digests).is_err());
    }

    #[test]
    fn crates_of_init_are_listed() {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let crates = linked(workspace, &["init"]).unwrap();
        let find = |name: &str| crates.iter().find(|it| it.name == name);
        assert!(find("init").unwrap().sha256.is_none());
        assert_eq!(find("serde").unwrap().sha256.as_ref().unwrap().len(), 64);
        // runs at compile time alone
        assert!(find("syn").is_none());
    }
}
