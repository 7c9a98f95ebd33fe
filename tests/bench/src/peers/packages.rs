//! The packages of peers: fetched by the image builder's lock, and used by no image.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use image::lock::Lock;
use image::store::{self, Store};
use image::tools::Tools;
use image::tree::{Entry, Kind, Tree, host_files, plain_mode};
use image::wanted::Wanted;

/// What no program reads.
const LEFT_OUT: [&str; 6] = [
    "usr/share/doc/",
    "usr/share/man/",
    "usr/share/locale/",
    "usr/share/bug/",
    "usr/share/lintian/",
    "usr/share/bash-completion/",
];

/// The bench's packages, unpacked, and the tools that write file systems.
#[derive(Debug)]
pub struct Packages {
    store: Store,
    /// The tools tree.
    pub tools: Tools,
    /// The date of all files.
    pub date: u64,
}

impl Packages {
    /// Fetches what the cache lacks.
    ///
    /// # Errors
    /// When a package cannot be had.
    pub fn fetch() -> Result<Self> {
        let definitions = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../image");
        let lock = Lock::read(&definitions.join("packages.lock"))?;
        let wanted = Wanted::read(&definitions.join("packages.toml"))?;
        let names: BTreeSet<&str> = wanted
            .bench
            .packages
            .iter()
            .chain(&wanted.tools.packages)
            .map(String::as_str)
            .collect();
        let store = Store::fill(&lock.only(&names), &store::default_cache()?)?;
        let tools = Tools::new(&wanted, &store, lock.source_date_epoch)?;
        Ok(Self {
            store,
            tools,
            date: lock.source_date_epoch,
        })
    }

    /// A file of a package.
    ///
    /// # Errors
    /// When the lock has no such package, or the package no such file.
    pub fn file(&self, package: &str, path: &str) -> Result<PathBuf> {
        let file = self.store.get(package)?.directory.join(path);
        anyhow::ensure!(file.exists(), "{package} has no {path}");
        Ok(file)
    }

    /// Adds a package's files where the tree has none; documentation is left out.
    ///
    /// # Errors
    /// When the lock has no such package, or a file cannot be read.
    pub fn add(&self, package: &str, tree: &mut Tree) -> Result<()> {
        let unpacked = self.store.get(package)?;
        add_below(&unpacked.directory, &unpacked.origin, tree)
            .with_context(|| format!("cannot take the files of {package}"))
    }
}

fn add_below(directory: &Path, origin: &str, tree: &mut Tree) -> Result<()> {
    for (path, kind, mode) in host_files(directory)? {
        let left_out = LEFT_OUT.iter().any(|prefix| path.starts_with(prefix));
        if left_out || kind == Kind::Directory || tree.get(&path).is_some() {
            continue;
        }
        let mode = plain_mode(&kind, mode);
        let origin = origin.to_owned();
        tree.insert(&path, Entry { kind, mode, origin })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn add_below_leaves_what_is_there_and_documentation() {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("usr/bin/a", "new"),
            ("usr/bin/b", "new"),
            ("usr/share/doc/b", "new"),
        ] {
            let path = directory.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let mut tree = Tree::usr_merged().unwrap();
        tree.bytes("usr/bin/a", 0o755, "old", "test").unwrap();
        add_below(directory.path(), "package=1", &mut tree).unwrap();
        assert_eq!(tree.get("usr/bin/a").unwrap().origin, "test");
        assert_eq!(tree.get("usr/bin/b").unwrap().origin, "package=1");
        assert!(tree.get("usr/share/doc/b").is_none());
    }

    /// A package that the peers need and nobody locked would show only when the bench runs.
    #[test]
    fn lock_has_every_package_of_the_bench() {
        let definitions = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../image");
        let lock = Lock::read(&definitions.join("packages.lock")).unwrap();
        let wanted = Wanted::read(&definitions.join("packages.toml")).unwrap();
        for name in wanted.locked_names() {
            lock.package(name).unwrap();
        }
    }
}
