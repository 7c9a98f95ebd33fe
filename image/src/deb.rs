//! Unpacks Debian packages (deb(5)) into the cache, each into a directory named by its digest.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cache;

/// No package that an image needs unpacks to more.
const UNPACKED_BOUND: u64 = 4 << 30;

/// Unpacks a package's files below `directory`/`digest` and returns that path. What is there already
/// is whole, since a directory gets its name only after its last file.
///
/// # Errors
/// When the package is malformed or the cache can't be written.
pub fn unpack(package: &Path, directory: &Path, digest: &str) -> Result<PathBuf> {
    cache::directory(&directory.join(digest), |into| {
        unpack_data(package, into).with_context(|| format!("can't unpack {}", package.display()))
    })
}

fn unpack_data(package: &Path, into: &Path) -> Result<()> {
    let file = BufReader::new(File::open(package)?);
    let mut archive = ar::Archive::new(file);
    while let Some(entry) = archive.next_entry() {
        let entry = entry?;
        match entry.header().identifier() {
            b"data.tar.xz" => return unpack_tar(lzma_rust2::XzReader::new(entry, true), into),
            b"data.tar.zst" => return unpack_tar(zstd::Decoder::new(entry)?, into),
            b"data.tar" => return unpack_tar(entry, into),
            name if name.starts_with(b"data.tar") => {
                bail!(
                    "its files are packed as {}, which this builder can't read",
                    String::from_utf8_lossy(name)
                );
            }
            _ => (),
        }
    }
    bail!("it holds no data.tar")
}

fn unpack_tar(data: impl Read, into: &Path) -> Result<()> {
    let mut archive = tar::Archive::new(data.take(UNPACKED_BOUND));
    for entry in archive.entries()? {
        let mut entry = entry?;
        // set-id and sticky bits have no business in a cache, and never reach an image
        let mode = entry.header().mode()? & 0o777;
        let path = into.join(entry.path()?);
        let kind = entry.header().entry_type();
        if !(kind.is_file() || kind.is_dir() || kind.is_symlink() || kind.is_hard_link()) {
            bail!(
                "{} is neither file, directory nor link",
                entry.path()?.display()
            );
        }
        if !entry.unpack_in(into)? {
            bail!("{} leaves the package", entry.path()?.display());
        }
        if kind.is_file() || kind.is_dir() {
            // readable by the builder, whoever that is
            let mode = if kind.is_dir() {
                mode | 0o700
            } else {
                mode | 0o400
            };
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn package(path: &Path, member: &str, build: impl FnOnce(&mut tar::Builder<Vec<u8>>)) {
        let mut data = tar::Builder::new(Vec::new());
        build(&mut data);
        let data = data.into_inner().unwrap();
        let mut archive = ar::Builder::new(File::create(path).unwrap());
        archive
            .append(
                &ar::Header::new(b"debian-binary".to_vec(), 4),
                &b"2.0\n"[..],
            )
            .unwrap();
        archive
            .append(
                &ar::Header::new(member.into(), data.len() as u64),
                data.as_slice(),
            )
            .unwrap();
    }

    fn append(data: &mut tar::Builder<Vec<u8>>, name: &[u8], mode: u32, content: &[u8]) {
        let mut header = tar::Header::new_gnu();
        // set by hand: the builder refuses the names that a hostile package would have
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name);
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        data.append(&header, content).unwrap();
    }

    #[test]
    fn a_package_is_unpacked_without_setuid_bits() {
        let directory = tempfile::tempdir().unwrap();
        let deb = directory.path().join("x.deb");
        package(&deb, "data.tar", |data| {
            append(data, b"./usr/bin/mount", 0o4755, b"x")
        });
        let into = unpack(&deb, &directory.path().join("cache"), "aa").unwrap();
        let mode = fs::metadata(into.join("usr/bin/mount"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o755);
    }

    #[test]
    fn a_package_can_not_leave_its_directory() {
        let directory = tempfile::tempdir().unwrap();
        let deb = directory.path().join("x.deb");
        package(&deb, "data.tar", |data| {
            append(data, b"../../evil", 0o644, b"x")
        });
        let cache = directory.path().join("cache");
        let error = unpack(&deb, &cache, "aa").unwrap_err();
        assert!(
            format!("{error:#}").contains("leaves the package"),
            "{error:#}"
        );
        assert_eq!(
            fs::read_dir(&cache).unwrap().count(),
            0,
            "nothing half-unpacked is left"
        );
    }

    #[test]
    fn what_is_no_package_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let deb = directory.path().join("x.deb");
        package(&deb, "data.tar.lzma", |_| ());
        let error = unpack(&deb, directory.path(), "aa").unwrap_err();
        assert!(format!("{error:#}").contains("data.tar.lzma"), "{error:#}");
        fs::write(&deb, "junk").unwrap();
        assert!(unpack(&deb, directory.path(), "aa").is_err());
    }
}
