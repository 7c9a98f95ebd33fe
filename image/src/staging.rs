//! A directory that takes another one's place only when it is finished.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{CWD, RenameFlags};

/// A directory being filled beside its final place. Dropped before it is finished, it is removed; what
/// a killed program left of it is removed by the next one.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
    /// Held for as long as the directory is filled: a second program finds out and stops.
    _lock: File,
}

impl Staging {
    /// Starts a directory that is to stand at `out`.
    ///
    /// # Errors
    /// When `out` is something else than an earlier result, which holds a file named as one of `marks`; when
    /// another program fills the same directory; or when it can't be written.
    pub fn start(out: &Path, marks: &[&str]) -> Result<Self> {
        let name = out
            .file_name()
            .with_context(|| format!("{} names no directory", out.display()))?;
        let occupied = match fs::read_dir(out) {
            Ok(mut entries) => {
                entries.next().is_some() && !marks.iter().any(|mark| out.join(mark).exists())
            }
            Err(error) => error.kind() != std::io::ErrorKind::NotFound,
        };
        if occupied {
            bail!(
                "{} holds something else than an image; name another directory with --out",
                out.display()
            );
        }
        let path = out.with_file_name(format!(".{}.building", name.to_string_lossy()));
        fs::create_dir_all(&path).with_context(|| format!("can't create {}", path.display()))?;
        let lock = File::open(&path).with_context(|| format!("can't open {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => (),
            Err(TryLockError::WouldBlock) => {
                bail!("another build fills {} right now", out.display())
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("can't lock {}", path.display()));
            }
        }
        for entry in fs::read_dir(&path)? {
            let left_over = entry?.path();
            let removed = if left_over.is_dir() {
                fs::remove_dir_all(&left_over)
            } else {
                fs::remove_file(&left_over)
            };
            removed.with_context(|| format!("can't remove {}", left_over.display()))?;
        }
        Ok(Self { path, _lock: lock })
    }

    /// Where to write.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts the directory into its place in one step; the one that stood there is removed.
    ///
    /// # Errors
    /// When it can't be renamed.
    pub fn finish(self, out: &Path) -> Result<()> {
        if out.exists() {
            // both names change at once: no moment without a whole directory at `out`. What is then at
            // our path is the old one, and goes with us
            rustix::fs::renameat_with(CWD, &self.path, CWD, out, RenameFlags::EXCHANGE)
        } else {
            rustix::fs::rename(&self.path, out)
        }
        .with_context(|| format!("can't name {}", out.display()))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // the next program removes what can't be removed now
        _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only_out(parent: &Path) -> bool {
        fs::read_dir(parent)
            .unwrap()
            .all(|entry| entry.unwrap().file_name() == "out")
    }

    #[test]
    fn a_finished_directory_takes_the_place_of_the_old_one() {
        let parent = tempfile::tempdir().unwrap();
        let out = parent.path().join("out");
        for content in ["first", "second"] {
            let staging = Staging::start(&out, &["mark", "other"]).unwrap();
            fs::write(staging.path().join("mark"), content).unwrap();
            staging.finish(&out).unwrap();
            assert_eq!(fs::read_to_string(out.join("mark")).unwrap(), content);
            assert!(only_out(parent.path()));
        }
    }

    #[test]
    fn an_unfinished_directory_leaves_the_old_one_alone() {
        let parent = tempfile::tempdir().unwrap();
        let out = parent.path().join("out");
        fs::create_dir(&out).unwrap();
        fs::write(out.join("mark"), "old").unwrap();
        let staging = Staging::start(&out, &["mark", "other"]).unwrap();
        fs::write(staging.path().join("mark"), "new").unwrap();
        let second = Staging::start(&out, &["mark", "other"])
            .unwrap_err()
            .to_string();
        assert!(second.contains("another build"), "{second}");
        drop(staging);
        assert_eq!(fs::read_to_string(out.join("mark")).unwrap(), "old");
        assert!(only_out(parent.path()));
    }

    #[test]
    fn what_a_killed_build_left_is_cleared_and_strangers_are_kept() {
        let parent = tempfile::tempdir().unwrap();
        let out = parent.path().join("out");
        fs::create_dir(parent.path().join(".out.building")).unwrap();
        fs::write(parent.path().join(".out.building/half"), "").unwrap();
        let staging = Staging::start(&out, &["mark", "other"]).unwrap();
        assert_eq!(fs::read_dir(staging.path()).unwrap().count(), 0);
        drop(staging);
        fs::create_dir(&out).unwrap();
        Staging::start(&out, &["mark", "other"]).unwrap();
        fs::write(out.join("thesis.tex"), "").unwrap();
        let refused = Staging::start(&out, &["mark", "other"])
            .unwrap_err()
            .to_string();
        assert!(refused.contains("something else"), "{refused}");
    }
}
