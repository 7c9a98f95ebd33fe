//! Directories of the cache, each named by what it is made from.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Makes `directory` where it is missing, has `fill` fill it, and returns its path. It gets its name when it is whole
/// and on the disk, so that one that is there can be believed, also after a power cut. Where another build was
/// quicker, its directory stays.
///
/// # Errors
/// What `fill` says; when the cache can't be written. Nothing is left behind then.
pub fn directory(directory: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    if directory.exists() {
        return Ok(directory.to_owned());
    }
    let parent = directory.parent().context("the cache has no directory")?;
    fs::create_dir_all(parent).with_context(|| format!("can't create {}", parent.display()))?;
    let staging = tempfile::Builder::new()
        .prefix(".staging.")
        .tempdir_in(parent)
        .with_context(|| format!("can't write in {}", parent.display()))?;
    fill(staging.path())?;
    let sync = || rustix::fs::syncfs(File::open(staging.path())?).map_err(std::io::Error::from);
    sync().with_context(|| format!("can't write in {}", parent.display()))?;
    let staging = staging.keep();
    if let Err(error) = fs::rename(&staging, directory) {
        _ = fs::remove_dir_all(&staging);
        if !directory.exists() {
            return Err(error).with_context(|| format!("can't name {}", directory.display()));
        }
    }
    Ok(directory.to_owned())
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn directory_is_filled_once() {
        let cache = tempfile::tempdir().unwrap();
        let wanted = cache.path().join("below/name");
        let filled = directory(&wanted, |into| Ok(fs::write(into.join("file"), "content")?));
        assert_eq!(filled.unwrap(), wanted);
        directory(&wanted, |_| bail!("filled twice")).unwrap();
        assert_eq!(fs::read(wanted.join("file")).unwrap(), b"content");
        assert_eq!(names(&cache.path().join("below")), ["name"]);
    }

    #[test]
    fn directory_that_fails_leaves_nothing() {
        let cache = tempfile::tempdir().unwrap();
        let failed = directory(&cache.path().join("name"), |into| {
            fs::write(into.join("file"), "half")?;
            bail!("it broke off")
        });
        assert_eq!(failed.unwrap_err().to_string(), "it broke off");
        assert!(names(cache.path()).is_empty());
    }

    #[test]
    fn directory_of_a_quicker_build_stays() {
        let cache = tempfile::tempdir().unwrap();
        let wanted = cache.path().join("name");
        directory(&wanted, |into| {
            fs::create_dir(&wanted)?;
            fs::write(wanted.join("first"), "")?;
            Ok(fs::write(into.join("second"), "")?)
        })
        .unwrap();
        assert_eq!(names(&wanted), ["first"]);
        assert_eq!(names(cache.path()), ["name"]);
    }
}
