//! `image lock`: turns packages.toml into packages.lock.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::download::Downloader;
use crate::index::{self, Indexed};
use crate::k3s;
use crate::lock::{Archive, Lock, LockedK3s};
use crate::mirror::{MIRROR_VARIABLE, Mirrors};
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
    refuse_older(&new, old.as_ref())?;
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
    let names = wanted.locked_names();
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

/// A mirror that stands still, or somebody between it and us, must not bring old holes back.
fn refuse_older(new: &Lock, old: Option<&Lock>) -> Result<()> {
    match old {
        Some(old) if new.source_date_epoch < old.source_date_epoch => bail!(
            "the mirror's indexes are older than packages.lock; wait for it, name another with {MIRROR_VARIABLE}, \
             or remove packages.lock to go back on purpose"
        ),
        _ => Ok(()),
    }
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
            Ok(index) => {
                if index.valid_until.is_some_and(|until| until < now()) {
                    step(format!(
                        "lock: WARNING: the index of {mirror} has expired; it may lack security updates"
                    ));
                }
                return Ok(index);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| anyhow::anyhow!("there is no mirror to read")))
}

/// Unix seconds; 0 where the clock stands before 1970.
fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_mirror_is_refused() {
        let at = |date| Lock {
            source_date_epoch: date,
            ..Lock::new("trixie", "amd64")
        };
        refuse_older(&at(5), None).unwrap();
        refuse_older(&at(5), Some(&at(5))).unwrap();
        assert!(
            refuse_older(&at(4), Some(&at(5)))
                .unwrap_err()
                .to_string()
                .contains("older")
        );
    }

    #[test]
    fn a_metapackage_leads_to_its_kernel() {
        let entry = |depends: &str| Indexed {
            package: crate::lock::LockedPackage {
                name: "linux-image-cloud-amd64".into(),
                version: "6.12.117-1".into(),
                archive: Archive::Debian,
                path: "pool/x.deb".into(),
                size: 1,
                sha256: "0".repeat(64),
            },
            depends: depends.into(),
        };
        let kernel =
            kernel_of(&entry("linux-image-6.12.117-cloud-amd64 (= 6.12.117-1), x")).unwrap();
        assert_eq!(kernel, "linux-image-6.12.117-cloud-amd64");
        assert!(kernel_of(&entry("libc6")).is_err() && kernel_of(&entry("")).is_err());
    }
}
