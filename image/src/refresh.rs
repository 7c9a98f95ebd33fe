//! `image lock`: turns packages.toml and the targets into packages.lock.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::download::Downloader;
use crate::index::{self, Index, Indexed, Suite};
use crate::k3s;
use crate::lock::{Archive, Lock, LockedK3s, LockedRelease};
use crate::mirror::{MIRROR_VARIABLE, Mirrors};
use crate::progress::step;
use crate::target::Target;
use crate::wanted::Wanted;

/// How the names of Debian's kernel packages begin.
const KERNEL: &str = "linux-image-";
/// The components of Debian's archives that packages come from: firmware and microcode are in the second.
const COMPONENTS: [&str; 2] = ["main", "non-free-firmware"];

/// Resolves the wanted packages, and those of all targets, to the newest versions of the suite and its security updates, writes
/// the lock and prints what changed. Where upstream can't be asked for the digest of a new k3s release, the
/// lock goes without one, and says so.
///
/// # Errors
/// When a mirror can't be reached, an index does not check out, or a package does not exist.
pub fn refresh(wanted: &Wanted, targets: &[Target], lock_path: &Path) -> Result<()> {
    let old = if lock_path.exists() {
        Some(Lock::read(lock_path)?)
    } else {
        None
    };
    let mirrors = Mirrors::find()?;
    let new = resolve(wanted, targets, &mirrors, &Downloader::new(), old.as_ref())?;
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
    targets: &[Target],
    mirrors: &Mirrors,
    downloader: &Downloader,
    old: Option<&Lock>,
) -> Result<Lock> {
    let mut names = wanted.locked_names();
    names.extend(targets.iter().flat_map(Target::packages));
    let keep = |name: &str| names.contains(name) || name.starts_with(KERNEL);
    let mut lock = Lock::new(&wanted.suite, &wanted.architecture);
    let mut packages: BTreeMap<String, Indexed> = BTreeMap::new();
    for archive in [Archive::Debian, Archive::DebianSecurity] {
        let read = |mirror: &str| {
            let suite = Suite {
                name: &wanted.suite,
                architecture: &wanted.architecture,
                components: &COMPONENTS,
            };
            index::read(downloader, mirror, archive, suite, &keep)
        };
        let index = read_any(mirrors.of(archive), &read, now())?;
        lock.source_date_epoch = lock.source_date_epoch.max(index.release.date);
        lock.release.push(index.release);
        for entry in index.packages.into_values() {
            index::insert_newer(&mut packages, entry);
        }
    }
    let find = |name: &str| {
        packages.get(name).with_context(|| {
            format!(
                "Debian {} has no package {name}, which packages.toml or a target wants",
                wanted.suite
            )
        })
    };
    for target in targets {
        let metapackage = target.kernel_package(&wanted.architecture)?;
        let kernel = kernel_of(find(metapackage)?)?;
        lock.kernel.insert(target.name.clone(), kernel);
    }
    lock.k3s = k3s_release(&wanted.k3s.version, old);
    let kernels: BTreeSet<&str> = lock.kernel.values().map(String::as_str).collect();
    for name in names.union(&kernels) {
        lock.package.push(find(name)?.package.clone());
    }
    lock.package
        .sort_by(|left, right| left.name.cmp(&right.name));
    Ok(lock)
}

/// A mirror that stands still, or an attacker on the path, must not bring old holes back. Each archive is compared
/// with itself: a new index of one says nothing about the other's.
fn refuse_older(new: &Lock, old: Option<&Lock>) -> Result<()> {
    for release in &new.release {
        let known = old.and_then(|old| old.release(release.archive));
        if known.is_some_and(|known| release.date < known.date) {
            bail!(
                "the mirror's index of {} is older than the one in packages.lock; wait for it, name another with \
                 {MIRROR_VARIABLE}, or remove packages.lock to go back on purpose",
                release.archive
            );
        }
    }
    Ok(())
}

/// An index whose time is over may lack security updates that its archive has long had. `now` in Unix seconds.
fn refuse_expired(release: &LockedRelease, now: u64) -> Result<()> {
    match release.valid_until {
        Some(until) if until < now => bail!(
            "its index of {} was valid until {} s ago (Valid-Until); name another mirror with {MIRROR_VARIABLE}, \
             and look at this host's clock",
            release.archive,
            now - until
        ),
        _ => Ok(()),
    }
}

/// The wanted k3s release with its digest: from the old lock, a release never changes; or from upstream.
fn k3s_release(version: &str, old: Option<&Lock>) -> Option<LockedK3s> {
    if let Some(locked) = old
        .and_then(|old| old.k3s.clone())
        .filter(|locked| locked.version == version)
    {
        return Some(locked);
    }
    step(format!(
        "lock: asking upstream for the digest of k3s {version}"
    ));
    match k3s::lock_release(version) {
        Ok(locked) => Some(locked),
        Err(error) => {
            step(format!(
                "lock: WARNING: k3s {version} is left out, `--k3s pinned` will not work: {error:#}"
            ));
            None
        }
    }
}

/// Reads an index from the first mirror that has it in order and not expired. `now` in Unix seconds.
fn read_any(mirrors: &[String], read: &dyn Fn(&str) -> Result<Index>, now: u64) -> Result<Index> {
    let mut last = None;
    for mirror in mirrors {
        step(format!("lock: reading the index of {mirror}"));
        let index = read(mirror).and_then(|index| {
            refuse_expired(&index.release, now).with_context(|| format!("{mirror} is refused"))?;
            Ok(index)
        });
        match index {
            Ok(index) => return Ok(index),
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
    if !first.starts_with(KERNEL) {
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

    fn release(archive: Archive, date: u64, valid_until: Option<u64>) -> LockedRelease {
        LockedRelease {
            archive,
            date,
            valid_until,
            sha256: "0".repeat(64),
            keys: vec!["AB".into()],
        }
    }

    #[test]
    fn older_index_of_one_archive_is_refused() {
        let at = |debian, security| Lock {
            release: vec![
                release(Archive::Debian, debian, None),
                release(Archive::DebianSecurity, security, None),
            ],
            ..Lock::new("trixie", "amd64")
        };
        refuse_older(&at(5, 5), None).unwrap();
        refuse_older(&at(5, 6), Some(&at(5, 5))).unwrap();
        // the other archive is newer than anything that the lock knows
        let error = refuse_older(&at(9, 4), Some(&at(5, 5))).unwrap_err();
        assert!(
            error.to_string().contains("debian-security is older"),
            "{error}"
        );
        let error = refuse_older(&at(4, 9), Some(&at(5, 5))).unwrap_err();
        assert!(
            error.to_string().contains("index of debian is older"),
            "{error}"
        );
    }

    #[test]
    fn expired_index_is_an_error_and_another_mirror_is_asked() {
        let read = |mirror: &str| {
            Ok(Index {
                release: release(
                    Archive::DebianSecurity,
                    5,
                    Some(if mirror == "old" { 99 } else { 100 }),
                ),
                packages: BTreeMap::new(),
            })
        };
        let mirrors = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        let index = read_any(&mirrors(&["old", "new"]), &read, 100).unwrap();
        assert_eq!(index.release.valid_until, Some(100));
        let error = format!(
            "{:#}",
            read_any(&mirrors(&["old"]), &read, 100).unwrap_err()
        );
        assert!(
            error.contains("old is refused") && error.contains("Valid-Until"),
            "{error}"
        );
        refuse_expired(&release(Archive::Debian, 5, None), u64::MAX).unwrap();
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
