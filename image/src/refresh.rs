//! `image lock`: turns packages.toml into packages.lock.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::download::Downloader;
use crate::index::{self, Indexed};
use crate::k3s;
use crate::lock::{Archive, Lock, LockedK3s};
use crate::mirror::Mirrors;
use crate::progress::step;
use crate::wanted::Wanted;

/// Resolves the wanted packages to the newest versions of the suite and its security updates, writes
/// the lock and prints what changed. Where upstream can't be asked for the digest of a new k3s release, the
/// lock goes without one, and says so.
///
/// # Errors
/// When a mirror can't be reached, an index does not check out, or a package does not exist.
pub fn refresh(wanted: &Wanted, lock_path: &Path) -> Result<()> {
    let old = if lock_path.exists() {
        Some(Lock::read(lock_path)?)
    } else {
        None
    };
    let new = resolve(wanted, &Mirrors::find()?, &Downloader::new(), old.as_ref())?;
    if old.as_ref() == Some(&new) {
        step("lock: nothing is newer");
        return Ok(());
    }
    new.write(lock_path)?;
    let difference = new.difference(old.as_ref());
    step(format!(
        "lock: {} packages, written to {}",
        new.package.len(),
        lock_path.display()
    ));
    if difference.is_empty() {
        println!("  no version changed");
    } else {
        print!("{difference}");
    }
    Ok(())
}

fn resolve(
    wanted: &Wanted,
    mirrors: &Mirrors,
    downloader: &Downloader,
    old: Option<&Lock>,
) -> Result<Lock> {
    let names = wanted.names();
    let metapackage = wanted.kernel.package.as_str();
    let keep = |name: &str| {
        names.contains(name)
            || name == metapackage
            || (name.starts_with("linux-image-") && metapackage.starts_with("linux-image-"))
    };
    let mut lock = Lock::new(&wanted.suite, &wanted.architecture);
    let mut packages: BTreeMap<String, Indexed> = BTreeMap::new();
    for archive in [Archive::Debian, Archive::DebianSecurity] {
        let index = read_any(wanted, mirrors.of(archive), archive, downloader, &keep)?;
        lock.source_date_epoch = lock.source_date_epoch.max(index.date);
        for entry in index.packages.into_values() {
            index::insert_newer(&mut packages, entry);
        }
    }
    let find = |name: &str| {
        packages.get(name).with_context(|| {
            format!(
                "Debian {} has no package {name}, which packages.toml wants",
                wanted.suite
            )
        })
    };
    lock.kernel = kernel_of(find(metapackage)?)?;
    lock.k3s = k3s_release(&wanted.k3s.version, downloader, old);
    for name in names.iter().copied().chain([lock.kernel.as_str()]) {
        lock.package.push(find(name)?.package.clone());
    }
    lock.package
        .sort_by(|left, right| left.name.cmp(&right.name));
    Ok(lock)
}

/// The wanted k3s release with its digest: from the old lock, a release never changes; or from upstream.
fn k3s_release(version: &str, downloader: &Downloader, old: Option<&Lock>) -> Option<LockedK3s> {
    if let Some(locked) = old
        .and_then(|old| old.k3s.clone())
        .filter(|locked| locked.version == version)
    {
        return Some(locked);
    }
    step(format!(
        "lock: asking upstream for the digest of k3s {version}"
    ));
    match k3s::lock_release(version, downloader) {
        Ok(locked) => Some(locked),
        Err(error) => {
            step(format!(
                "lock: WARNING: k3s {version} is left out, `--k3s pinned` will not work: {error:#}"
            ));
            None
        }
    }
}

/// Reads an index from the first mirror that has it in order.
fn read_any(
    wanted: &Wanted,
    mirrors: &[String],
    archive: Archive,
    downloader: &Downloader,
    keep: &dyn Fn(&str) -> bool,
) -> Result<index::Index> {
    let mut last = None;
    for mirror in mirrors {
        step(format!("lock: reading the index of {mirror}"));
        match index::read(
            downloader,
            mirror,
            archive,
            &wanted.suite,
            &wanted.architecture,
            keep,
        ) {
            Ok(index) => return Ok(index),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| anyhow::anyhow!("there is no mirror to read")))
}

/// The package that a kernel metapackage stands for: the first that it depends on.
fn kernel_of(metapackage: &Indexed) -> Result<String> {
    let name = &metapackage.package.name;
    let first = metapackage
        .depends
        .split([',', '|', ' '])
        .next()
        .unwrap_or_default();
    if !first.starts_with("linux-image-") {
        bail!(
            "{name} depends on {:?}, where a linux-image package was expected first",
            metapackage.depends
        );
    }
    Ok(first.to_owned())
}
