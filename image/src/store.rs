//! The packages of a lock, fetched and unpacked in the cache.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, anyhow};

use crate::deb;
use crate::download::{Downloader, Size, Wanted};
use crate::lock::{Lock, LockedPackage};
use crate::mirror::{MIRROR_VARIABLE, Mirrors};
use crate::progress::step;

/// How many packages are fetched and unpacked side by side.
const PARALLEL: usize = 4;

/// Where downloads and the development key are kept unless told otherwise: `K3S_DAAS_CACHE`, or
/// `~/.cache/k3s-daas`.
///
/// # Errors
/// When neither that variable nor HOME is set.
pub fn default_cache() -> Result<PathBuf> {
    let variable = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    variable("K3S_DAAS_CACHE")
        .or_else(|| variable("HOME").map(|home| home.join(".cache/k3s-daas")))
        .context("neither K3S_DAAS_CACHE nor HOME is set; name a cache directory with --cache")
}

/// One unpacked package.
#[derive(Debug, Clone)]
pub struct Unpacked {
    /// Where its files are.
    pub directory: PathBuf,
    /// `name=version`.
    pub origin: String,
}

/// All packages of a lock, by name.
#[derive(Debug)]
pub struct Store {
    packages: BTreeMap<String, Unpacked>,
}

impl Store {
    /// Fetches what the cache lacks and unpacks it.
    ///
    /// # Errors
    /// When a package can't be had ([`crate::download::Vanished`] when no mirror has it any more) or is
    /// malformed.
    pub fn fill(lock: &Lock, cache: &Path) -> Result<Self> {
        let unpacked = cache.join("unpacked");
        let missing: Vec<&LockedPackage> = lock
            .package
            .iter()
            .filter(|package| !unpacked.join(&package.sha256).exists())
            .collect();
        if missing.is_empty() {
            step(format!(
                "packages: all {} are in the cache",
                lock.package.len()
            ));
        } else {
            step(format!(
                "packages: {} of {} are missing in the cache",
                missing.len(),
                lock.package.len()
            ));
            fetch_all(&missing, cache, &unpacked)?;
        }
        let packages = lock.package.iter().map(|package| {
            let directory = unpacked.join(&package.sha256);
            (
                package.name.clone(),
                Unpacked {
                    directory,
                    origin: package.origin(),
                },
            )
        });
        Ok(Self {
            packages: packages.collect(),
        })
    }

    /// A package of the lock.
    ///
    /// # Errors
    /// When the lock lacks it.
    pub fn get(&self, name: &str) -> Result<&Unpacked> {
        let found = self.packages.get(name);
        found.with_context(|| {
            format!("packages.lock has no {name}, which packages.toml wants; run `./build.sh lock`")
        })
    }
}

fn fetch_all(missing: &[&LockedPackage], cache: &Path, unpacked: &Path) -> Result<()> {
    let mirrors = Mirrors::find()?;
    let downloader = Downloader::new();
    let next = AtomicUsize::new(0);
    let failure: Mutex<Option<anyhow::Error>> = Mutex::new(None);
    let failed = || failure.lock().map_or(true, |failure| failure.is_some());
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL.min(missing.len()) {
            scope.spawn(|| {
                while let Some(package) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if failed() {
                        return;
                    }
                    if let Err(error) = fetch_one(package, &mirrors, &downloader, cache, unpacked)
                        && let Ok(mut failure) = failure.lock()
                    {
                        failure.get_or_insert(error);
                    }
                }
            });
        }
    });
    match failure.into_inner() {
        Ok(None) => Ok(()),
        Ok(Some(error)) => Err(error),
        Err(_) => Err(anyhow!("a download thread panicked")),
    }
}

fn fetch_one(
    package: &LockedPackage,
    mirrors: &Mirrors,
    downloader: &Downloader,
    cache: &Path,
    unpacked: &Path,
) -> Result<()> {
    let name = format!("{} {}", package.name, package.version);
    let wanted = Wanted {
        name: &name,
        urls: mirrors
            .of(package.archive)
            .iter()
            .map(|mirror| format!("{mirror}{}", package.path))
            .collect(),
        size: Size::Exactly(package.size),
        sha256: &package.sha256,
    };
    let file = downloader.fetch(&wanted, &cache.join("packages"), ".deb");
    let hint = || format!("can't get {name}; another mirror can be named with {MIRROR_VARIABLE}");
    let file = file.with_context(hint)?;
    deb::unpack(&file, unpacked, &package.sha256)?;
    Ok(())
}
