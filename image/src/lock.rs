//! `packages.lock`: exact versions, places and digests of all that a build takes from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

const FORMAT: u32 = 3;
const HEADER: &str =
    "# Written by `./build.sh lock` from packages.toml and targets; not meant to be edited.\n\n";

/// The whole lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Format of this file.
    pub version: u32,
    /// Debian suite, by its code name.
    pub suite: String,
    /// Debian architecture.
    pub architecture: String,
    /// The newest date of the package indexes read, in Unix seconds: the date of all files in the
    /// image and the floor of the node's clock.
    pub source_date_epoch: u64,
    /// The k3s release, where its digest is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k3s: Option<LockedK3s>,
    /// Name of the package that holds the kernel, by target.
    pub kernel: BTreeMap<String, String>,
    /// The signed release files that vouch for the packages, one for each archive.
    pub release: Vec<LockedRelease>,
    /// The packages, by name.
    pub package: Vec<LockedPackage>,
}

/// The release file of an archive, as it was when the lock was written. Debian signs it; it holds the digest of the
/// package list, which holds the digests of the packages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedRelease {
    /// The archive.
    pub archive: Archive,
    /// Its date, Unix seconds.
    pub date: u64,
    /// Until when it is to be believed, Unix seconds, where it says so: that of the main archive does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<u64>,
    /// SHA-256 of the signed file (InRelease), hexadecimal.
    pub sha256: String,
    /// Fingerprints of the keys with whose signatures it was checked, hexadecimal.
    pub keys: Vec<String>,
}

/// The part of a lock that says how the rest is read.
#[derive(Deserialize)]
struct Format {
    version: u32,
}

/// A k3s release asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedK3s {
    /// Release, such as `v1.34.1+k3s1`.
    pub version: String,
    /// SHA-256 of the asset, hexadecimal.
    pub sha256: String,
}

/// One package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedPackage {
    /// Package name.
    pub name: String,
    /// Debian version.
    pub version: String,
    /// The archive it comes from.
    pub archive: Archive,
    /// Path below the archive's root.
    pub path: String,
    /// Length in bytes.
    pub size: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

/// Debian's two archives. Displayed as the lock names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Archive {
    /// The main archive.
    Debian,
    /// Security updates.
    DebianSecurity,
}

impl std::fmt::Display for Archive {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Debian => "debian",
            Self::DebianSecurity => "debian-security",
        })
    }
}

impl LockedPackage {
    /// `name=version`, as the manifest names an origin.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}={}", self.name, self.version)
    }
}

impl Lock {
    /// An empty lock of the current format.
    #[must_use]
    pub fn new(suite: &str, architecture: &str) -> Self {
        Self {
            version: FORMAT,
            suite: suite.to_owned(),
            architecture: architecture.to_owned(),
            source_date_epoch: 0,
            k3s: None,
            kernel: BTreeMap::new(),
            release: Vec::new(),
            package: Vec::new(),
        }
    }

    /// Reads and checks the lock.
    ///
    /// # Errors
    /// When it can't be read, is malformed or of another format, or holds a path or digest that no
    /// lock of ours would.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!("can't read {}; `./build.sh lock` writes it", path.display())
        })?;
        let malformed = || format!("{} is malformed", path.display());
        let Format { version } = toml::from_str(&text).with_context(malformed)?;
        if version != FORMAT {
            bail!(
                "{} has the format {version}, this builder reads {FORMAT}; remove it, and `./build.sh lock` writes it \
                 anew",
                path.display()
            );
        }
        let lock: Self = toml::from_str(&text).with_context(malformed)?;
        lock.check().with_context(|| {
            format!(
                "{} is unusable; remove it, and `./build.sh lock` writes it anew",
                path.display()
            )
        })?;
        Ok(lock)
    }

    fn check(&self) -> Result<()> {
        for package in &self.package {
            if package.path.starts_with('/') || package.path.split('/').any(|part| part == "..") {
                bail!(
                    "{} has the path {:?}, which leaves the archive",
                    package.name,
                    package.path
                );
            }
            check_sha256(&package.name, &package.sha256)?;
            if self.release(package.archive).is_none() {
                bail!(
                    "{} is of the archive {}, whose release file is not in the lock",
                    package.name,
                    package.archive
                );
            }
        }
        for release in &self.release {
            check_sha256(&release.archive.to_string(), &release.sha256)?;
            if release.keys.is_empty() {
                bail!("no key has signed the release file of {}", release.archive);
            }
        }
        if let Some(k3s) = &self.k3s {
            check_sha256("k3s", &k3s.sha256)?;
        }
        Ok(())
    }

    /// The package that holds a target's kernel.
    ///
    /// # Errors
    /// When the lock has none: the target was added after it was written.
    pub fn kernel_of(&self, target: &str) -> Result<&str> {
        let kernel = self.kernel.get(target).with_context(|| {
            format!("packages.lock has no kernel for the target {target}; run `./build.sh lock`")
        })?;
        Ok(kernel)
    }

    /// The same lock with no packages but these.
    #[must_use]
    pub fn only(&self, names: &BTreeSet<&str>) -> Self {
        let mut lock = self.clone();
        lock.package
            .retain(|package| names.contains(package.name.as_str()));
        lock
    }

    /// The release file of an archive.
    #[must_use]
    pub fn release(&self, archive: Archive) -> Option<&LockedRelease> {
        self.release
            .iter()
            .find(|release| release.archive == archive)
    }

    /// The entry of a package.
    ///
    /// # Errors
    /// When the lock has none: packages.toml asks for more than was locked.
    pub fn package(&self, name: &str) -> Result<&LockedPackage> {
        let found = self.package.iter().find(|package| package.name == name);
        found.with_context(|| {
            format!("packages.lock has no {name}, which packages.toml wants; run `./build.sh lock`")
        })
    }

    /// Writes the lock: a temporary file beside it, synced, then renamed.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = format!(
            "{HEADER}{}",
            toml::to_string(self).context("can't encode the lock")?
        );
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let mut file = tempfile::Builder::new()
            .prefix(".packages.lock.")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(directory)
            .with_context(|| format!("can't write in {}", directory.display()))?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.as_file().sync_all())
            .context("can't write the lock")?;
        file.persist(path)
            .with_context(|| format!("can't replace {}", path.display()))?;
        Ok(())
    }

    /// What changed since `old`, one line each; empty when nothing did.
    #[must_use]
    pub fn difference(&self, old: Option<&Self>) -> String {
        let mut text = String::new();
        let none = BTreeMap::new();
        let before = old.map_or(none, Self::versions);
        let after = self.versions();
        for (name, version) in &after {
            match before.get(name) {
                None => _ = writeln!(text, "  + {name} {version}"),
                Some(previous) if previous != version => {
                    _ = writeln!(text, "  ~ {name} {previous} -> {version}")
                }
                Some(_) => (),
            }
        }
        for (name, version) in before.iter().filter(|(name, _)| !after.contains_key(*name)) {
            _ = writeln!(text, "  - {name} {version}");
        }
        text
    }

    fn versions(&self) -> BTreeMap<&str, &str> {
        let packages = self
            .package
            .iter()
            .map(|package| (package.name.as_str(), package.version.as_str()));
        packages
            .chain(self.k3s.iter().map(|k3s| ("k3s", k3s.version.as_str())))
            .collect()
    }
}

fn check_sha256(name: &str, digest: &str) -> Result<()> {
    if digest.len() == 64
        && digest
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    {
        return Ok(());
    }
    bail!("{name} has the digest {digest:?}, which is no SHA-256 in lower-case hexadecimal");
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn sample() -> Lock {
        let package = LockedPackage {
            name: "libc6".into(),
            version: "2.41-12".into(),
            archive: Archive::DebianSecurity,
            path: "pool/main/g/glibc/libc6_2.41-12_amd64.deb".into(),
            size: 5,
            sha256: "0".repeat(64),
        };
        let release = LockedRelease {
            archive: Archive::DebianSecurity,
            date: 7,
            valid_until: Some(9),
            sha256: "1".repeat(64),
            keys: vec!["AB".into()],
        };
        Lock {
            release: vec![release],
            package: vec![package],
            source_date_epoch: 7,
            kernel: BTreeMap::from([("cloud".into(), "linux".into())]),
            ..Lock::new("trixie", "amd64")
        }
    }

    #[test]
    fn a_lock_survives_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("packages.lock");
        sample().write(&path).unwrap();
        assert_eq!(Lock::read(&path).unwrap(), sample());
        assert_eq!(
            fs::read_dir(directory.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
    }

    #[test]
    fn only_keeps_the_named_packages() {
        let mut lock = sample();
        for name in ["linux", "systemd"] {
            let mut package = lock.package[0].clone();
            package.name = name.into();
            lock.package.push(package);
        }
        let lock = lock.only(&BTreeSet::from(["libc6", "linux"]));
        let names: Vec<&str> = lock.package.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["libc6", "linux"]);
    }

    #[test]
    fn hostile_locks_are_refused() {
        for (field, text) in [
            ("leaves the archive", "../../etc/passwd"),
            ("leaves the archive", "/etc/passwd"),
        ] {
            let mut lock = sample();
            lock.package[0].path = text.into();
            assert!(lock.check().unwrap_err().to_string().contains(field));
        }
        let mut lock = sample();
        lock.package[0].sha256 = "../x".into();
        assert!(lock.check().unwrap_err().to_string().contains("SHA-256"));
        let mut lock = sample();
        lock.release[0].archive = Archive::Debian;
        let error = lock.check().unwrap_err().to_string();
        assert!(
            error.contains("whose release file is not in the lock"),
            "{error}"
        );
        let mut lock = sample();
        lock.release[0].keys.clear();
        let error = lock.check().unwrap_err().to_string();
        assert!(error.contains("no key has signed"), "{error}");
    }

    #[test]
    fn lock_of_another_format_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("packages.lock");
        fs::write(&path, "version = 1\nkernel = \"linux\"\n").unwrap();
        let error = format!("{:#}", Lock::read(&path).unwrap_err());
        assert!(error.contains("has the format 1"), "{error}");
    }

    #[test]
    fn the_difference_names_what_changed() {
        let mut newer = sample();
        newer.package[0].version = "2.41-13".into();
        newer.k3s = Some(LockedK3s {
            version: "v1".into(),
            sha256: "0".repeat(64),
        });
        assert_eq!(
            newer.difference(Some(&sample())),
            "  + k3s v1\n  ~ libc6 2.41-12 -> 2.41-13\n"
        );
        assert_eq!(
            sample().difference(Some(&newer)),
            "  ~ libc6 2.41-13 -> 2.41-12\n  - k3s v1\n"
        );
        assert_eq!(sample().difference(Some(&sample())), "");
        assert_eq!(sample().difference(None), "  + libc6 2.41-12\n");
    }
}
