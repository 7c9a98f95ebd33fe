//! The state file system of a machine that is off, looked at with the host's e2fsprogs.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::{Disk, output};

/// The state partition's label.
const LABEL: &str = "state";
/// Block size of the file systems made here.
const BLOCK: u64 = 4096;
/// How much is copied at a time; chunks of zeros stay holes.
const CHUNK: usize = 1024 * 1024;

/// A copy of the state partition, so that looking at it leaves no trace on the disk.
pub struct State {
    path: PathBuf,
}

impl Disk {
    /// Copies the state partition into `directory`.
    ///
    /// # Errors
    /// When there is none, or no room.
    pub fn state(&self, directory: &Path) -> Result<State> {
        let extent = self.partition(LABEL)?;
        let disk = self.open()?;
        let path = directory.join("state.raw");
        let copy =
            File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        copy.set_len(extent.length)
            .context("cannot size a copy of the state")?;
        let mut chunk = vec![0_u8; CHUNK];
        let mut at = 0;
        while at < extent.length {
            let rest = usize::try_from(extent.length - at)
                .unwrap_or(CHUNK)
                .min(CHUNK);
            let part = chunk.get_mut(..rest).unwrap_or_default();
            disk.read_exact_at(part, extent.start + at)
                .context("cannot read the state")?;
            if part.iter().any(|byte| *byte != 0) {
                copy.write_all_at(part, at)
                    .context("cannot copy the state")?;
            }
            at += rest as u64;
        }
        Ok(State { path })
    }

    /// Puts a state file system on the disk as another version of this system, or somebody else,
    /// would have left it: with this label, and with `/lib/daas/state-version` if any.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make_state(&self, label: &str, version: Option<&Path>) -> Result<()> {
        let extent = self.partition(LABEL)?;
        let path = self
            .path()
            .to_str()
            .context("the disk's path is not UTF-8")?;
        let offset = format!("offset={}", extent.start);
        let blocks = (extent.length / BLOCK).to_string();
        let size = BLOCK.to_string();
        let arguments = [
            "-q", "-F", "-t", "ext4", "-b", &size, "-L", label, "-E", &offset, path, &blocks,
        ];
        output("mke2fs", &arguments)?;
        let Some(version) = version else {
            return Ok(());
        };
        let place = format!("{path}?{offset}");
        let write = format!("write {} /lib/daas/state-version", version.display());
        for request in ["mkdir /lib", "mkdir /lib/daas", &write] {
            output("debugfs", &["-w", "-R", request, &place])?;
        }
        let listed = output("debugfs", &["-R", "stat /lib/daas/state-version", &place])?;
        ensure!(
            listed.contains("Inode:"),
            "debugfs did not write the state's version"
        );
        Ok(())
    }
    /// Writes a file to each of these paths of the state's file system, in place of a link on its way,
    /// too.
    ///
    /// # Errors
    /// When one cannot be written.
    pub fn plant(&self, paths: &[&str], scratch: &Path) -> Result<()> {
        let extent = self.partition(LABEL)?;
        let place = format!("{}?offset={}", self.path().display(), extent.start);
        let content = scratch.join("planted");
        std::fs::write(&content, "planted\n").context("cannot write a file")?;
        let mut requests = String::new();
        let mut there = BTreeSet::from([Path::new("/")]);
        for path in paths {
            let parents: Vec<&Path> = Path::new(path).ancestors().skip(1).collect();
            for parent in parents.into_iter().rev() {
                if !there.insert(parent) {
                    continue;
                }
                // debugfs loses an inode where it makes a directory that is there
                let parent = parent.display();
                let found = output("debugfs", &["-R", &format!("stat {parent}"), &place])?;
                if found.contains("Type: directory") {
                    continue;
                }
                if found.contains("Inode:") {
                    requests.push_str(&format!("rm {parent}\n"));
                }
                requests.push_str(&format!("mkdir {parent}\n"));
            }
            requests.push_str(&format!("write {} {path}\n", content.display()));
        }
        let list = scratch.join("requests");
        std::fs::write(&list, requests).context("cannot write a file")?;
        let list = list.to_str().context("a path that is not UTF-8")?;
        output("debugfs", &["-w", "-f", list, &place])?;
        for path in paths {
            let listed = output("debugfs", &["-R", &format!("stat {path}"), &place])?;
            ensure!(listed.contains("Inode:"), "debugfs did not write {path}");
        }
        Ok(())
    }
}

impl State {
    fn place(&self) -> Result<&str> {
        self.path
            .to_str()
            .context("the path of the state's copy is not UTF-8")
    }

    /// Checks that the file system was unmounted in order and has no fault.
    ///
    /// # Errors
    /// With what e2fsck(8) or the superblock says.
    pub fn check(&self) -> Result<()> {
        let place = self.place()?;
        // dumpe2fs(8): a file system that was not unmounted needs its journal replayed
        let header = output("dumpe2fs", &["-h", place])?;
        ensure!(
            !header.contains("needs_recovery"),
            "the state file system was not unmounted: its journal needs a replay"
        );
        let clean = |line: &str| {
            let state = line.strip_prefix("Filesystem state:");
            state.is_some_and(|state| state.trim() == "clean")
        };
        ensure!(
            header.lines().any(clean),
            "the state file system is not clean:\n{header}"
        );
        output("e2fsck", &["-f", "-n", place]).map(drop)
    }

    /// Makes the copy whole after a power cut, as the next boot will do it on the disk.
    ///
    /// # Errors
    /// When more than the journal's replay is needed: a power cut must not damage the state.
    pub fn recover(&self) -> Result<()> {
        let status = Command::new("e2fsck")
            .args(["-p", self.place()?])
            .stdout(Stdio::null())
            .status()
            .context("cannot start e2fsck")?;
        // e2fsck(8): 0 no errors, 1 errors corrected
        ensure!(
            matches!(status.code(), Some(0 | 1)),
            "e2fsck cannot repair the state: {status}"
        );
        self.check()
    }

    /// A file, by its path from this file system's root.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn read(&self, path: &str) -> Result<String> {
        let listed = output("debugfs", &["-R", &format!("stat {path}"), self.place()?])?;
        ensure!(
            listed.contains("Inode:"),
            "the state file system has no {path}"
        );
        output("debugfs", &["-R", &format!("cat {path}"), self.place()?])
    }

    /// The names in a folder, by its path from this file system's root; none where there is no such folder.
    ///
    /// # Errors
    /// When the file system cannot be read.
    pub fn list(&self, path: &str) -> Result<Vec<String>> {
        // debugfs(8), `ls -p`: "/inode/mode/uid/gid/name/size/" a line
        let listed = output("debugfs", &["-R", &format!("ls -p {path}"), self.place()?])?;
        let names = listed.lines().filter_map(|line| line.split('/').nth(5));
        Ok(names
            .filter(|name| !name.is_empty() && *name != "." && *name != "..")
            .map(str::to_owned)
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_file_system_is_made_checked_and_read() {
        let directory = tempfile::tempdir().unwrap();
        let disk = super::super::tests::sample(directory.path());
        let version = directory.path().join("version");
        std::fs::write(&version, "2\n").unwrap();
        disk.make_state("daas-state", Some(&version)).unwrap();
        let state = disk.state(directory.path()).unwrap();
        state.check().unwrap();
        assert_eq!(state.read("/lib/daas/state-version").unwrap(), "2\n");
        assert!(state.read("/missing").is_err());
        assert_eq!(state.list("/lib/daas").unwrap(), ["state-version"]);
        assert!(state.list("/missing").unwrap().is_empty());
        disk.plant(&["/lib/daas/a/b", "/lib/c"], directory.path())
            .unwrap();
        let state = disk.state(directory.path()).unwrap();
        state.check().unwrap();
        assert_eq!(state.read("/lib/daas/a/b").unwrap(), "planted\n");
        assert_eq!(state.read("/lib/c").unwrap(), "planted\n");
    }

    #[test]
    fn a_file_system_that_was_not_unmounted_fails_the_check() {
        let directory = tempfile::tempdir().unwrap();
        let disk = super::super::tests::sample(directory.path());
        disk.make_state("daas-state", None).unwrap();
        let state = disk.state(directory.path()).unwrap();
        // debugfs keeps the superblock's checksum right; state 0 is "not unmounted"
        let request = "set_super_value state 0";
        output("debugfs", &["-w", "-R", request, state.place().unwrap()]).unwrap();
        assert!(state.check().is_err());
        state.recover().unwrap();
    }
}
