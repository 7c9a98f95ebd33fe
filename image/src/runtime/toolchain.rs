//! The toolchains that compile the runtime: Go's, as the Go module proxy serves it, and Zig's C compiler with its
//! C libraries, as PyPI serves it. Both are ZIP archives pinned by SHA-256.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use zip::ZipArchive;

use crate::cache;
use crate::download::{Downloader, Size, Wanted};
use crate::progress::step;
use crate::wanted::Toolchain;

/// Directory of the downloaded archives, below the cache.
pub const TOOLCHAINS: &str = "toolchains";
/// The Go module proxy where the environment names none.
pub(super) const PROXY: &str = "https://proxy.golang.org";
/// Where PyPI keeps its files.
const PYPI: &str = "https://files.pythonhosted.org/packages";
/// The longest archive that is taken, in bytes, and the longest that it unpacks to.
const ARCHIVE_BOUND: u64 = 1 << 28;
const UNPACKED_BOUND: u64 = 1 << 30;

/// The directory of Go's toolchain (`bin/go` below it).
///
/// # Errors
/// When it can't be had or unpacked.
pub(super) fn go(wanted: &Toolchain, cache: &Path) -> Result<PathBuf> {
    // <https://go.dev/ref/mod#goproxy-protocol>; the toolchain is a module (<https://go.dev/doc/toolchain>)
    let list = proxy_list();
    // a list without a server means ways of go's own, and the toolchain has but this one
    let servers = proxies(&list).chain([PROXY]);
    let urls = servers
        .map(|proxy| format!("{proxy}/{}", wanted.file))
        .collect();
    let hint = "can't get the Go toolchain; another proxy can be named with GOPROXY";
    let directory = unpacked("Go", wanted, urls, cache).context(hint)?;
    // the archive's one directory is golang.org/toolchain@<version>
    let inner = directory.join("golang.org");
    let entry = fs::read_dir(&inner)
        .with_context(|| format!("can't read {}", inner.display()))?
        .next();
    let root = entry.context("the Go toolchain is empty")??.path();
    executable(&root.join("bin"))?;
    executable(&root.join("pkg/tool/linux_amd64"))?;
    Ok(root)
}

/// The program `zig`.
///
/// # Errors
/// When it can't be had or unpacked.
pub(super) fn zig(wanted: &Toolchain, cache: &Path) -> Result<PathBuf> {
    let urls = vec![format!("{PYPI}/{}", wanted.file)];
    let directory = unpacked("Zig", wanted, urls, cache).context("can't get the C compiler")?;
    let program = directory.join("ziglang/zig");
    set_executable(&program)?;
    Ok(program)
}

/// The environment's list of proxies.
pub(super) fn proxy_list() -> String {
    std::env::var("GOPROXY")
        .ok()
        .filter(|list| !list.is_empty())
        .unwrap_or_else(|| PROXY.to_owned())
}

/// The servers in a list of Go module proxies, which also knows the words `direct` and `off`.
fn proxies(list: &str) -> impl Iterator<Item = &str> {
    list.split([',', '|'])
        .map(|proxy| proxy.trim().trim_end_matches('/'))
        .filter(|proxy| proxy.starts_with("https://") || proxy.starts_with("http://"))
}

/// Where the archive is unpacked; that is done where it was not yet.
fn unpacked(name: &str, wanted: &Toolchain, urls: Vec<String>, cache: &Path) -> Result<PathBuf> {
    let into = cache.join("unpacked").join(&wanted.sha256);
    if into.exists() {
        return Ok(into);
    }
    let name = format!("{name} {}", wanted.version);
    let archive = Downloader::new().fetch(
        &Wanted {
            name: &name,
            urls,
            size: Size::AtMost(ARCHIVE_BOUND),
            sha256: &wanted.sha256,
        },
        &cache.join(TOOLCHAINS),
        ".zip",
    )?;
    step(format!("runtime: unpacking {name}"));
    cache::directory(&into, |staging| {
        unpack(&archive, staging).with_context(|| format!("can't unpack {}", archive.display()))
    })
}

/// Unpacks the files of a ZIP archive. Modes and links are left out.
fn unpack(archive: &Path, into: &Path) -> Result<()> {
    let mut archive = ZipArchive::new(io::BufReader::new(File::open(archive)?))?;
    let mut left = UNPACKED_BOUND;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index)?;
        if entry.is_dir() {
            continue;
        }
        let Some(name) = entry.enclosed_name() else {
            bail!("it holds {:?}, which leads out of it", entry.name());
        };
        let path = into.join(name);
        fs::create_dir_all(path.parent().unwrap_or(into))?;
        let mut file =
            File::create_new(&path).with_context(|| format!("can't create {}", path.display()))?;
        let length = io::copy(
            &mut io::Read::take(&mut entry, left.saturating_add(1)),
            &mut file,
        )?;
        let Some(rest) = left.checked_sub(length) else {
            bail!("it unpacks to more than {UNPACKED_BOUND} bytes");
        };
        left = rest;
    }
    Ok(())
}

/// Makes all files of a directory executable: ZIP archives of Go modules hold no modes.
fn executable(directory: &Path) -> Result<()> {
    for entry in
        fs::read_dir(directory).with_context(|| format!("can't read {}", directory.display()))?
    {
        let path = entry?.path();
        if path.is_file() {
            set_executable(&path)?;
        }
    }
    Ok(())
}

fn set_executable(path: &Path) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("can't make {} executable", path.display()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::write::SimpleFileOptions;

    use super::*;

    fn archive(names: &[&str]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut zip = zip::ZipWriter::new(file.reopen().unwrap());
        for name in names {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(name.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
        file
    }

    #[test]
    fn unpack_files_in_directories_are_written() {
        let into = tempfile::tempdir().unwrap();
        unpack(archive(&["a/b", "a/c/d"]).path(), into.path()).unwrap();
        assert_eq!(fs::read(into.path().join("a/c/d")).unwrap(), b"a/c/d");
        assert_eq!(fs::read(into.path().join("a/b")).unwrap(), b"a/b");
    }

    #[test]
    fn unpack_name_that_leads_out_is_refused() {
        let outer = tempfile::tempdir().unwrap();
        let into = outer.path().join("into");
        fs::create_dir(&into).unwrap();
        let error = unpack(archive(&["../out"]).path(), &into)
            .unwrap_err()
            .to_string();
        assert!(error.contains("leads out"), "{error}");
        assert!(!outer.path().join("out").exists());
    }

    #[test]
    fn proxies_of_a_list_are_its_servers() {
        let list = "https://one/,direct|http://two,off";
        assert_eq!(
            proxies(list).collect::<Vec<_>>(),
            ["https://one", "http://two"]
        );
        assert_eq!(proxies("off").count(), 0);
    }
}
