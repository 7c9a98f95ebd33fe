//! Proves that a build is reproducible: builds twice and compares every byte.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::fs::Mode;

use crate::build::{self, Request};
use crate::progress::step;
use crate::release;
use crate::runtime;
use crate::sparse;

/// Builds the requested image twice and compares the results. The second build has a cache of its own that
/// begins with nothing but the downloads and the development key, so that it unpacks, compiles and indexes
/// everything anew, and another umask. Both work in the requested output's parent directory and leave nothing
/// there.
///
/// # Errors
/// When a build fails, or names every file in which the results differ and where.
pub fn reproducible(request: &Request) -> Result<()> {
    let parent = request
        .out
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(parent).with_context(|| format!("can't create {}", parent.display()))?;
    let work = tempfile::Builder::new()
        .prefix(".verify.")
        .tempdir_in(parent)
        .context("can't create a directory")?;
    let (first, second) = (
        work.path().join("first"),
        work.path().join("second/other-name"),
    );
    step("verify: first build");
    build::build(&Request {
        out: first.clone(),
        ..request.clone()
    })?;
    let cache = work.path().join("cache");
    for downloads in ["packages", "k3s", runtime::TOOLCHAINS, release::KEYS] {
        link_files(&request.cache.join(downloads), &cache.join(downloads))?;
    }
    // the builder compares what lies there with go.sum
    let modules = std::path::absolute(request.cache.join(runtime::GO_MODULES))?;
    std::os::unix::fs::symlink(modules, cache.join(runtime::GO_MODULES))
        .context("can't link the Go modules")?;
    step("verify: second build");
    // another user's files would have other modes; the result must not
    let umask = rustix::process::umask(Mode::from_raw_mode(0o077));
    build::build(&Request {
        out: second.clone(),
        cache,
        ..request.clone()
    })?;
    step("verify: comparing");
    rustix::process::umask(umask);
    let count = compare(&first, &second)?;
    step(format!(
        "verify: all {count} files are the same byte for byte"
    ));
    Ok(())
}

/// Links the files of a directory into another one; a missing directory has none.
fn link_files(from: &Path, to: &Path) -> Result<()> {
    if !from.exists() {
        return Ok(());
    }
    fs::create_dir_all(to).with_context(|| format!("can't create {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("can't read {}", from.display()))? {
        let entry = entry?;
        let link = to.join(entry.file_name());
        fs::hard_link(entry.path(), &link)
            .or_else(|_| fs::copy(entry.path(), &link).map(drop))
            .with_context(|| format!("can't copy {}", entry.path().display()))?;
    }
    Ok(())
}

/// Compares two directories without subdirectories and returns the number of files.
fn compare(first: &Path, second: &Path) -> Result<usize> {
    let names = |directory: &Path| -> Result<Vec<std::ffi::OsString>> {
        let entries = fs::read_dir(directory)
            .with_context(|| format!("can't read {}", directory.display()))?;
        let mut names: Vec<_> = entries
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<Result<_, _>>()?;
        names.sort();
        Ok(names)
    };
    let files = names(first)?;
    if files != names(second)? {
        bail!(
            "the builds hold different files: {files:?} and {:?}",
            names(second)?
        );
    }
    let mut differences = Vec::new();
    for name in &files {
        let open = |directory: &Path| {
            let path = directory.join(name);
            File::open(&path).with_context(|| format!("can't open {}", path.display()))
        };
        if let Some(offset) = sparse::first_difference(&open(first)?, &open(second)?)? {
            differences.push(format!("{} from byte {offset} on", name.display()));
        }
    }
    if differences.is_empty() {
        return Ok(files.len());
    }
    bail!("the builds differ in {}", differences.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_found_and_placed() {
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (directory.path().join("a"), directory.path().join("b"));
        for side in [&first, &second] {
            fs::create_dir(side).unwrap();
            fs::write(side.join("disk.raw"), vec![7; 3 << 20]).unwrap();
        }
        assert_eq!(compare(&first, &second).unwrap(), 1);
        let mut content = vec![7; 3 << 20];
        content[2 << 20] = 8;
        fs::write(second.join("disk.raw"), &content).unwrap();
        let error = compare(&first, &second).unwrap_err().to_string();
        assert!(error.contains("disk.raw from byte 2097152 on"), "{error}");
        fs::write(second.join("disk.raw"), &content[..100]).unwrap();
        assert!(
            compare(&first, &second)
                .unwrap_err()
                .to_string()
                .contains("from byte 100 on")
        );
        fs::write(second.join("more"), "").unwrap();
        assert!(
            compare(&first, &second)
                .unwrap_err()
                .to_string()
                .contains("different files")
        );
    }
}
