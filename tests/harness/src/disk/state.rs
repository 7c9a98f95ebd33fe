//! The state file system of a machine that is off, looked at with the host's e2fsprogs.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::{Disk, output};

/// The state partition's label.
const LABEL: &str = "state";

impl Disk {
    /// Checks the state file system without changing it: it was unmounted in order and has no fault.
    ///
    /// # Errors
    /// With what e2fsck(8) or the superblock says.
    pub fn check_state(&self) -> Result<()> {
        let place = self.state_place()?;
        // dumpe2fs(8): a file system that was not unmounted needs its journal replayed
        let header = output("dumpe2fs", &["-h", &place])?;
        ensure!(
            !header.contains("needs_recovery"),
            "the state file system was not unmounted: its journal needs a replay"
        );
        ensure!(
            header.lines().any(|line| {
                line.starts_with("Filesystem state:") && line.trim_end().ends_with(" clean")
            }),
            "the state file system is not clean:\n{header}"
        );
        output("e2fsck", &["-f", "-n", &place]).map(drop)
    }

    /// A copy of the disk whose state file system is made whole after a power cut, as the next boot
    /// would do it.
    ///
    /// # Errors
    /// When it cannot be copied or repaired.
    pub fn recovered_copy(&self, path: &Path) -> Result<Disk> {
        let copy = self.copy(path)?;
        let place = copy.state_place()?;
        let status = Command::new("e2fsck")
            .args(["-p", &place])
            .stdout(Stdio::null())
            .status()
            .context("cannot start e2fsck")?;
        // e2fsck(8): 0 no errors, 1 errors corrected
        ensure!(
            matches!(status.code(), Some(0 | 1)),
            "e2fsck cannot repair the state: {status}"
        );
        Ok(copy)
    }

    /// Makes a state file system as an older or a newer version of the system would have left it:
    /// with this label, and with the content of `/lib/daas/state-version` if any.
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
        let blocks = (extent.length / 4096).to_string();
        let arguments = [
            "-q", "-F", "-t", "ext4", "-b", "4096", "-L", label, "-E", &offset, path, &blocks,
        ];
        output("mke2fs", &arguments)?;
        if let Some(version) = version {
            let place = self.state_place()?;
            let write = format!("write {} /lib/daas/state-version", version.display());
            for request in ["mkdir /lib", "mkdir /lib/daas", &write] {
                output("debugfs", &["-w", "-R", request, &place])?;
            }
            ensure!(
                self.read_from_state("/lib/daas/state-version").is_ok(),
                "debugfs did not write the state's version"
            );
        }
        Ok(())
    }

    /// A file of the state file system, by its path from that file system's root.
    ///
    /// # Errors
    /// When it does not exist there.
    pub fn read_from_state(&self, path: &str) -> Result<String> {
        let place = self.state_place()?;
        let listed = output("debugfs", &["-R", &format!("stat {path}"), &place])?;
        ensure!(
            listed.contains("Inode:"),
            "the state file system has no {path}"
        );
        output("debugfs", &["-R", &format!("cat {path}"), &place])
    }

    /// Mode, owner and group of a file of the state file system.
    ///
    /// # Errors
    /// When it does not exist there.
    pub fn state_owner(&self, path: &str) -> Result<(u32, u32, u32)> {
        let place = self.state_place()?;
        let listed = output("debugfs", &["-R", &format!("stat {path}"), &place])?;
        let number = |name: &str, radix: u32| {
            let after = listed.split(name).nth(1)?;
            let digits = after.split_whitespace().next()?;
            u32::from_str_radix(digits, radix).ok()
        };
        let found = number("Mode:", 8)
            .zip(number("User:", 10))
            .zip(number("Group:", 10));
        let ((mode, user), group) =
            found.with_context(|| format!("the state file system has no {path}"))?;
        Ok((mode & 0o7777, user, group))
    }

    /// The file system as e2fsprogs name it: an image and an offset.
    fn state_place(&self) -> Result<String> {
        let extent = self.partition(LABEL)?;
        let path = self
            .path()
            .to_str()
            .context("the disk's path is not UTF-8")?;
        Ok(format!("{path}?offset={}", extent.start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_file_system_is_checked_and_read() {
        let directory = tempfile::tempdir().unwrap();
        let disk = super::super::tests::sample(directory.path());
        let version = directory.path().join("version");
        std::fs::write(&version, "2\n").unwrap();
        disk.make_state("daas-state", Some(&version)).unwrap();
        assert_eq!(
            disk.read_from_state("/lib/daas/state-version").unwrap(),
            "2\n"
        );
        disk.check_state().unwrap();

        let content = directory.path().join("content");
        std::fs::write(&content, "1\n").unwrap();
        let place = disk.state_place().unwrap();
        let write = format!("write {} state-version", content.display());
        output("debugfs", &["-w", "-R", &write, &place]).unwrap();
        assert_eq!(disk.read_from_state("/state-version").unwrap(), "1\n");
        assert!(disk.read_from_state("/missing").is_err());
        let (mode, user, _) = disk.state_owner("/state-version").unwrap();
        assert_eq!(
            (mode & 0o400, user),
            (
                0o400,
                std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&content).unwrap())
            )
        );

        // a superblock that says "not unmounted": state 0 at offset 0x3a of byte 1024 (ext4.wiki)
        disk.write(LABEL, 1024 + 0x3a, &[0, 0]).unwrap();
        assert!(disk.check_state().is_err());
        let whole = disk
            .recovered_copy(&directory.path().join("copy.raw"))
            .unwrap();
        whole.check_state().unwrap();
    }
}
