//! What of an image's manifest is about sizes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use regex::Regex;
use serde::Deserialize;

/// The manifest.
#[derive(Debug, Deserialize)]
pub(super) struct Manifest {
    parts: Vec<Part>,
    pub(super) root: Vec<File>,
    initramfs: Vec<File>,
}

/// A file that the builder wrote.
#[derive(Debug, Deserialize)]
struct Part {
    name: String,
    size: u64,
}

/// A file of the root or the initramfs.
#[derive(Debug, Deserialize)]
pub(super) struct File {
    pub(super) path: String,
    origin: String,
    /// Regular files have one.
    pub(super) size: Option<u64>,
}

impl Manifest {
    /// Reads an image's.
    pub(super) fn read(image: &Path) -> Result<Self> {
        let path = image.join("manifest.json");
        let text =
            std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is malformed", path.display()))
    }

    /// The length of a part.
    pub(super) fn part(&self, name: &str) -> Result<u64> {
        let part = self.parts.iter().find(|part| part.name == name);
        part.map(|part| part.size)
            .with_context(|| format!("the image has no {name}"))
    }

    /// Our own programs and their lengths.
    pub(super) fn programs(&self) -> BTreeMap<&str, u64> {
        let files = self.root.iter().chain(&self.initramfs);
        files
            .filter_map(|file| Some((file.origin.strip_prefix("crate ")?, file.size?)))
            .collect()
    }

    /// The names of the packages that files come from.
    pub(super) fn packages(&self) -> BTreeSet<String> {
        let files = self.root.iter().chain(&self.initramfs);
        files
            .filter(|file| file.origin.contains('='))
            .map(File::origin)
            .collect()
    }
}

impl File {
    /// Where it comes from, without a version: a package is the same one when its version grows, the kernel's
    /// too, which has it in its name.
    pub(super) fn origin(&self) -> String {
        let name = self.origin.split('=').next().unwrap_or_default();
        match Regex::new(r"^linux-image-[0-9][^-]*-") {
            Ok(version) => version.replace(name, "linux-image-").into_owned(),
            Err(_) => name.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        serde_json::from_str(
            r#"{
                "parts": [{"name": "root.erofs", "size": 7}],
                "root": [
                    {"path": "/usr", "kind": "directory", "origin": "builder"},
                    {"path": "/usr/bin/init", "origin": "crate init", "size": 100},
                    {"path": "/usr/bin/kmod", "origin": "kmod=34.2-2", "size": 5},
                    {"path": "/usr/bin/k3s", "origin": "k3s double", "size": 5}
                ],
                "initramfs": [
                    {"path": "/init", "origin": "crate initramfs", "size": 90},
                    {"path": "/lib/a.ko", "origin": "linux-image-6.12.117+deb13-cloud-amd64=6.12.117-1", "size": 1}
                ]
            }"#,
        )
        .unwrap()
    }

    #[test]
    fn manifest_names_programs_and_packages() {
        let manifest = manifest();
        let programs: Vec<_> = manifest.programs().into_iter().collect();
        assert_eq!(programs, [("init", 100), ("initramfs", 90)]);
        let packages: Vec<_> = manifest.packages().into_iter().collect();
        assert_eq!(packages, ["kmod", "linux-image-cloud-amd64"]);
        assert_eq!(manifest.part("root.erofs").unwrap(), 7);
        assert!(manifest.part("uki.efi").is_err());
    }

    #[test]
    fn origin_of_other_things_stays_as_it_is() {
        assert_eq!(manifest().root[3].origin(), "k3s double");
    }
}
