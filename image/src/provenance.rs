//! Says by which signature or pin each file of an image was checked when it was fetched.

use anyhow::{Context, Result};

use crate::k3s::Source;
use crate::lock::Lock;
use crate::manifest::File;

/// What checked a file, from its origin: `debian` and `debian-security` (a release file of Debian's that is signed,
/// see the manifest's `signatures`), `go.sum`, `packages.lock` (the digest of k3s that this source tree pins),
/// `request` (the digest, or the file itself, that whoever built the image named), `https` (a list of digests from a
/// server that its certificate names), `source` (this source tree; for crates, with the digests of `Cargo.lock`).
///
/// # Errors
/// When an origin is none of the builder's.
pub fn checked_by(origin: &str, lock: &Lock, k3s: &Source) -> Result<String> {
    if let Some(package) = lock.package.iter().find(|it| it.origin() == origin) {
        return Ok(package.archive.to_string());
    }
    let kind = origin.split(' ').next().unwrap_or_default();
    let by = match (kind, k3s) {
        ("go", _) => Some("go.sum"),
        ("crate" | "overlay" | "builder", _) | ("k3s", Source::Double) => Some("source"),
        ("k3s", Source::Pinned) => Some("packages.lock"),
        ("k3s", Source::Path(_)) => Some("request"),
        ("k3s", Source::Url(url)) if url.contains('#') => Some("request"),
        ("k3s", Source::Url(_)) => Some("https"),
        _ => None,
    };
    let by =
        by.with_context(|| format!("no signature and no pin checked what comes from {origin}"))?;
    Ok(by.to_owned())
}

/// Fills in what checked each file of a list.
///
/// # Errors
/// As [`checked_by`].
pub fn mark(files: &mut [File], lock: &Lock, k3s: &Source) -> Result<()> {
    for file in files {
        file.checked_by = checked_by(&file.origin, lock, k3s)
            .with_context(|| format!("{} can't be in an image", file.path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::{Archive, LockedPackage};

    #[test]
    fn files_are_marked_with_what_checked_them() {
        let package = |name: &str, archive| LockedPackage {
            name: name.into(),
            version: "1".into(),
            archive,
            path: "pool/x.deb".into(),
            size: 1,
            sha256: "0".repeat(64),
        };
        let lock = Lock {
            package: vec![
                package("kmod", Archive::Debian),
                package("libc6", Archive::DebianSecurity),
            ],
            ..Lock::new("trixie", "amd64")
        };
        let url = |text: &str| Source::Url(text.into());
        for (origin, k3s, expected) in [
            ("kmod=1", Source::Pinned, "debian"),
            ("libc6=1", Source::Pinned, "debian-security"),
            ("go example.org/runc@v1", Source::Pinned, "go.sum"),
            ("crate init", Source::Pinned, "source"),
            ("overlay base", Source::Pinned, "source"),
            ("builder", Source::Pinned, "source"),
            ("k3s v1", Source::Pinned, "packages.lock"),
            ("k3s double", Source::Double, "source"),
            ("k3s v1", Source::Path("/k3s".into()), "request"),
            ("k3s v1", url("http://x/k3s#sha256=00"), "request"),
            ("k3s v1", url("https://x/k3s"), "https"),
        ] {
            assert_eq!(
                checked_by(origin, &lock, &k3s).unwrap(),
                expected,
                "{origin}"
            );
        }
        // another version than the lock's
        for unknown in ["kmod=2", "somewhere", ""] {
            let error = checked_by(unknown, &lock, &Source::Pinned).unwrap_err();
            assert!(error.to_string().contains("no signature"), "{error}");
        }
    }
}
