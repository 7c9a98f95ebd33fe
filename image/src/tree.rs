//! The files of an image in memory: path, kind, mode and origin of each, in order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::digest;

/// Directories that are merged into another one. Everything goes to where it really is, whatever a
/// package still calls it.
const MERGED: [(&str, &str); 5] = [
    ("usr/sbin", "usr/bin"),
    ("bin", "usr/bin"),
    ("sbin", "usr/bin"),
    ("lib64", "usr/lib64"),
    ("lib", "usr/lib"),
];

/// What a path holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File(Content),
    /// A symbolic link and its target.
    Symlink(String),
    /// A character device: major and minor number.
    CharacterDevice(u32, u32),
}

/// A regular file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Bytes in memory.
    Bytes(Vec<u8>),
    /// A file of the builder's host.
    Path(PathBuf),
}

impl Content {
    /// Reads it whole.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn read(&self) -> Result<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.clone()),
            Self::Path(path) => {
                std::fs::read(path).with_context(|| format!("can't read {}", path.display()))
            }
        }
    }

    /// Its length in bytes.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn size(&self) -> Result<u64> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.len() as u64),
            Self::Path(path) => Ok(std::fs::metadata(path)
                .with_context(|| format!("can't read {}", path.display()))?
                .len()),
        }
    }

    /// Its SHA-256, hexadecimal.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn sha256(&self) -> Result<String> {
        match self {
            Self::Bytes(bytes) => Ok(digest::of_bytes(bytes)),
            Self::Path(path) => digest::of_file(path),
        }
    }
}

/// One path of the tree. All are owned by root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Where it comes from: `package=version`, `crate <name>`, `overlay <name>`, `builder`, …
    pub origin: String,
}

/// The tree: paths without a leading slash, in byte order, so parents come before children.
#[derive(Debug, Default, Clone)]
pub struct Tree {
    entries: BTreeMap<String, Entry>,
}

impl Tree {
    /// A tree whose merged directories stand as links, as on any usr-merged system.
    ///
    /// # Errors
    /// Never in practice: the links can't collide in an empty tree.
    pub fn usr_merged() -> Result<Self> {
        let mut tree = Self::default();
        tree.directory("usr/bin", 0o755, "builder")?;
        tree.directory("usr/lib", 0o755, "builder")?;
        tree.directory("usr/lib64", 0o755, "builder")?;
        for (name, target) in MERGED {
            let target = if name == "usr/sbin" { "bin" } else { target };
            let entry = Entry {
                kind: Kind::Symlink(target.to_owned()),
                mode: 0o777,
                origin: "builder".to_owned(),
            };
            tree.entries.insert(name.to_owned(), entry);
        }
        Ok(tree)
    }

    /// All entries in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries
            .iter()
            .map(|(path, entry)| (path.as_str(), entry))
    }

    /// The entry at a path, which may name a merged directory.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.get(&merged(path))
    }

    /// Adds an entry, and its parents where they are missing. The same thing twice is one.
    ///
    /// # Errors
    /// When something else is at that path, or a parent is no directory.
    pub fn insert(&mut self, path: &str, entry: Entry) -> Result<()> {
        let path = self.prepare(path, &entry.origin)?;
        match self.entries.get(&path) {
            None => _ = self.entries.insert(path, entry),
            Some(present) if present.kind == entry.kind && present.mode == entry.mode => (),
            Some(present) if present.kind == Kind::Directory && entry.kind == Kind::Directory => {
                _ = self.entries.insert(path, entry);
            }
            Some(present) => bail!(
                "{path} comes from {} and from {}",
                present.origin,
                entry.origin
            ),
        }
        Ok(())
    }

    /// Adds an entry in the place of whatever is there but a directory.
    ///
    /// # Errors
    /// When a directory is there, or a parent is none.
    pub fn replace(&mut self, path: &str, entry: Entry) -> Result<()> {
        let path = self.prepare(path, &entry.origin)?;
        if let Some(present) = self.entries.get(&path)
            && present.kind == Kind::Directory
            && entry.kind != Kind::Directory
        {
            bail!(
                "{path} is a directory of {}; {} can't replace it",
                present.origin,
                entry.origin
            );
        }
        self.entries.insert(path, entry);
        Ok(())
    }

    /// Adds a directory.
    ///
    /// # Errors
    /// See [`Tree::insert`].
    pub fn directory(&mut self, path: &str, mode: u32, origin: &str) -> Result<()> {
        self.insert(
            path,
            Entry {
                kind: Kind::Directory,
                mode,
                origin: origin.to_owned(),
            },
        )
    }

    /// Adds a regular file with the given bytes.
    ///
    /// # Errors
    /// See [`Tree::insert`].
    pub fn bytes(
        &mut self,
        path: &str,
        mode: u32,
        content: impl Into<Vec<u8>>,
        origin: &str,
    ) -> Result<()> {
        let kind = Kind::File(Content::Bytes(content.into()));
        self.insert(
            path,
            Entry {
                kind,
                mode,
                origin: origin.to_owned(),
            },
        )
    }

    /// Adds a regular file with the content of a file of the host.
    ///
    /// # Errors
    /// See [`Tree::insert`].
    pub fn file(&mut self, path: &str, mode: u32, from: &Path, origin: &str) -> Result<()> {
        let kind = Kind::File(Content::Path(from.to_owned()));
        self.insert(
            path,
            Entry {
                kind,
                mode,
                origin: origin.to_owned(),
            },
        )
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// See [`Tree::insert`].
    pub fn symlink(&mut self, path: &str, target: &str, origin: &str) -> Result<()> {
        let kind = Kind::Symlink(target.to_owned());
        self.insert(
            path,
            Entry {
                kind,
                mode: 0o777,
                origin: origin.to_owned(),
            },
        )
    }

    /// Adds everything below a directory of the host. Its modes depend on the executable bit alone,
    /// since the rest follows the umask of whoever made them.
    ///
    /// # Errors
    /// When something can't be read, or see [`Tree::insert`].
    pub fn copy(&mut self, from: &Path, into: &str, origin: &str) -> Result<()> {
        for (below, kind, mode) in host_files(from)? {
            let path = if into.is_empty() {
                below
            } else {
                format!("{into}/{below}")
            };
            let mode = plain_mode(&kind, mode);
            self.insert(
                &path,
                Entry {
                    kind,
                    mode,
                    origin: origin.to_owned(),
                },
            )?;
        }
        Ok(())
    }

    /// Follows symbolic links inside the tree; `None` when the path leads nowhere or in circles.
    #[must_use]
    pub fn resolve(&self, path: &str) -> Option<(String, &Entry)> {
        let mut path = merged(path);
        for _ in 0..16 {
            let entry = self.entries.get(&path)?;
            let Kind::Symlink(target) = &entry.kind else {
                return Some((path, entry));
            };
            path = merged(&join(&path, target)?);
        }
        None
    }

    fn prepare(&mut self, path: &str, origin: &str) -> Result<String> {
        if path.is_empty() || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            bail!("{origin} names the path {path:?}, which is not a plain relative path");
        }
        let path = merged(path);
        let mut parent = path.as_str();
        while let Some((above, _)) = parent.rsplit_once('/') {
            match self.entries.get(above) {
                None => {
                    let entry = Entry {
                        kind: Kind::Directory,
                        mode: 0o755,
                        origin: "builder".to_owned(),
                    };
                    self.entries.insert(above.to_owned(), entry);
                }
                Some(Entry {
                    kind: Kind::Directory,
                    ..
                }) => (),
                Some(entry) => bail!(
                    "{path} of {origin} would be below {above}, which is no directory in {}",
                    entry.origin
                ),
            }
            parent = above;
        }
        Ok(path)
    }
}

/// The mode of an entry by its kind and its executable bit alone.
#[must_use]
pub fn plain_mode(kind: &Kind, mode: u32) -> u32 {
    match kind {
        Kind::Symlink(_) => 0o777,
        Kind::Directory => 0o755,
        _ if mode & 0o100 != 0 => 0o755,
        _ => 0o644,
    }
}

/// Where a path really is on a usr-merged system.
fn merged(path: &str) -> String {
    let mut path = path.to_owned();
    // usr/sbin comes first in the list, and sbin leads to usr/bin at once: one pass is enough
    for (from, to) in MERGED {
        if let Some(rest) = path.strip_prefix(from)
            && rest.starts_with('/')
        {
            path = format!("{to}{rest}");
        }
    }
    path
}

/// The path that a link at `path` leads to, without `.` and `..`. `None` when it leaves the tree.
fn join(path: &str, target: &str) -> Option<String> {
    let base = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let base = if target.starts_with('/') { "" } else { base };
    let mut parts: Vec<&str> = base.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => (),
            ".." => _ = parts.pop()?,
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Everything below a directory of the host but set-id bits: path, kind, mode, in order.
///
/// # Errors
/// When something can't be read or is neither file, directory nor link.
pub fn host_files(directory: &Path) -> Result<Vec<(String, Kind, u32)>> {
    fn walk(directory: &Path, below: &str, found: &mut Vec<(String, Kind, u32)>) -> Result<()> {
        let unreadable = || format!("can't read {}", directory.display());
        let mut entries: Vec<_> = std::fs::read_dir(directory)
            .with_context(unreadable)?
            .collect::<std::io::Result<_>>()
            .with_context(unreadable)?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let name = entry.file_name();
            let name = name
                .to_str()
                .with_context(|| format!("{} is not UTF-8", path.display()))?;
            let below = if below.is_empty() {
                name.to_owned()
            } else {
                format!("{below}/{name}")
            };
            let metadata = path
                .symlink_metadata()
                .with_context(|| format!("can't read {}", path.display()))?;
            let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
            if metadata.is_dir() {
                found.push((below.clone(), Kind::Directory, mode));
                walk(&path, &below, found)?;
            } else if metadata.is_file() {
                found.push((below, Kind::File(Content::Path(path)), mode));
            } else if metadata.is_symlink() {
                let target = std::fs::read_link(&path)
                    .with_context(|| format!("can't read {}", path.display()))?;
                let target = target
                    .to_str()
                    .with_context(|| format!("{} is not UTF-8", target.display()))?
                    .to_owned();
                found.push((below, Kind::Symlink(target), 0o777));
            } else {
                bail!("{} is neither file, directory nor link", path.display());
            }
        }
        Ok(())
    }
    let mut found = Vec::new();
    walk(directory, "", &mut found)?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_go_to_where_they_really_are() {
        let mut tree = Tree::usr_merged().unwrap();
        tree.bytes("sbin/modprobe", 0o755, "x", "a").unwrap();
        tree.bytes("usr/sbin/losetup", 0o755, "x", "a").unwrap();
        tree.symlink("lib64/ld.so", "../lib/ld.so", "a").unwrap();
        tree.bytes("lib/ld.so", 0o755, "x", "a").unwrap();
        assert!(
            tree.entries.contains_key("usr/bin/modprobe")
                && tree.entries.contains_key("usr/bin/losetup")
        );
        assert_eq!(tree.resolve("lib64/ld.so").unwrap().0, "usr/lib/ld.so");
        assert_eq!(tree.resolve("sbin/losetup").unwrap().0, "usr/bin/losetup");
        let order: Vec<_> = tree.iter().map(|(path, _)| path).collect();
        assert!(order.is_sorted());
    }

    #[test]
    fn collisions_name_both_sides() {
        let mut tree = Tree::default();
        tree.bytes("etc/a", 0o644, "1", "one").unwrap();
        tree.bytes("etc/a", 0o644, "1", "again").unwrap();
        let error = tree
            .bytes("etc/a", 0o644, "2", "two")
            .unwrap_err()
            .to_string();
        assert!(error.contains("one") && error.contains("two"), "{error}");
        assert!(
            tree.bytes("etc/a/b", 0o644, "2", "two")
                .unwrap_err()
                .to_string()
                .contains("no directory")
        );
        assert!(tree.bytes("../a", 0o644, "2", "two").is_err());
        assert!(tree.bytes("/a", 0o644, "2", "two").is_err());
    }

    #[test]
    fn circles_and_dead_ends_resolve_to_nothing() {
        let mut tree = Tree::default();
        tree.symlink("a", "b", "x").unwrap();
        tree.symlink("b", "a", "x").unwrap();
        tree.symlink("c", "../../etc", "x").unwrap();
        assert!(
            tree.resolve("a").is_none()
                && tree.resolve("c").is_none()
                && tree.resolve("d").is_none()
        );
    }
}
