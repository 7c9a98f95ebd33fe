//! Files on the ESP, which a person drops there from another computer.

use std::io::{Read, Write};

use anyhow::{Context, Result, ensure};
use fatfs::{FileSystem, FsOptions};
use fscommon::{BufStream, StreamSlice};

use image::disk::{BOOT_LOADER_PATH, LOADER_CONFIGURATION, LOADER_CONFIGURATION_PATH, UKI_PATH};

use super::Disk;

/// The node's configuration on the ESP.
const CONFIGURATION: &str = "daas/node.toml";
/// The ESP's partition label.
const LABEL: &str = "esp";

/// An entry of the boot menu that somebody adds.
const OTHER_ENTRY: &str = "loader/entries/other.conf";
/// What stands behind the name of a kernel image for its profile that resets (systemd-boot(7)).
const RESET: &str = "@reset";

impl Disk {
    fn esp(&self) -> Result<FileSystem<BufStream<StreamSlice<std::fs::File>>>> {
        let extent = self.partition(LABEL)?;
        let slice = StreamSlice::new(self.open()?, extent.start, extent.start + extent.length)
            .context("cannot open the ESP")?;
        // no access times: they would differ from run to run
        let options = FsOptions::new().update_accessed_date(false);
        FileSystem::new(BufStream::new(slice), options).context("the ESP has no FAT file system")
    }

    /// Writes `daas/node.toml` on the ESP, also while the machine runs (which mounts the ESP anew,
    /// read-only, whenever it looks).
    ///
    /// # Errors
    /// When the ESP or its folder `daas` does not exist, or is full.
    pub fn write_configuration(&self, text: &str) -> Result<()> {
        self.write_to_esp(CONFIGURATION, text.as_bytes())
    }

    /// Writes a file of the ESP, in the place of the one that is there.
    ///
    /// # Errors
    /// When its folder does not exist, or the ESP is full.
    pub fn write_to_esp(&self, path: &str, content: &[u8]) -> Result<()> {
        let esp = self.esp()?;
        {
            let mut file = esp
                .root_dir()
                .create_file(path)
                .with_context(|| format!("cannot create {path} on the ESP"))?;
            // what was there before goes last: a power cut leaves no empty file
            file.write_all(content)
                .with_context(|| format!("cannot write {path}"))?;
            file.truncate()
                .with_context(|| format!("cannot truncate {path}"))?;
            file.flush()
                .with_context(|| format!("cannot write {path}"))?;
        }
        esp.unmount().context("cannot write the ESP's directory")
    }

    /// Removes a file of the ESP.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn remove_from_esp(&self, path: &str) -> Result<()> {
        let esp = self.esp()?;
        esp.root_dir()
            .remove(path)
            .with_context(|| format!("cannot remove {path} from the ESP"))?;
        esp.unmount().context("cannot write the ESP's directory")
    }

    /// The names in a folder of the ESP, in order.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn list_esp(&self, folder: &str) -> Result<Vec<String>> {
        let esp = self.esp()?;
        let root = esp.root_dir();
        let mut names = Vec::new();
        for entry in root
            .open_dir(folder)
            .with_context(|| format!("the ESP has no folder {folder}"))?
            .iter()
        {
            let name = entry
                .with_context(|| format!("cannot read {folder} on the ESP"))?
                .file_name();
            if !matches!(name.as_str(), "." | "..") {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Installs a kernel image in the place of the one that is there.
    ///
    /// # Errors
    /// When the ESP is full.
    pub fn install_uki(&self, program: &[u8]) -> Result<()> {
        self.write_to_esp(UKI_PATH, program)
    }

    /// Installs a boot loader in the place of the one that is there.
    ///
    /// # Errors
    /// When the ESP is full.
    pub fn install_boot_loader(&self, program: &[u8]) -> Result<()> {
        self.write_to_esp(BOOT_LOADER_PATH, program)
    }

    /// Has the boot menu start the kernel image with another command line than its own, which the stub
    /// takes where Secure Boot is off (systemd-stub(7), "Command Line").
    ///
    /// # Errors
    /// When the boot loader's configuration cannot be written.
    pub fn boot_with_command_line(&self, command_line: &str) -> Result<()> {
        let entry = format!("title other\nefi /{UKI_PATH}\noptions {command_line}\n");
        {
            let esp = self.esp()?;
            esp.root_dir()
                .create_dir("loader/entries")
                .context("cannot create loader/entries on the ESP")?;
            esp.unmount().context("cannot write the ESP's directory")?;
        }
        self.write_to_esp(OTHER_ENTRY, entry.as_bytes())?;
        let text = LOADER_CONFIGURATION.replace("default k3s-daas*.efi", "default other.conf");
        self.write_to_esp(LOADER_CONFIGURATION_PATH, text.as_bytes())
    }

    /// Has the boot menu start the kernel image as it is again.
    ///
    /// # Errors
    /// When the boot loader's configuration cannot be written.
    pub fn boot_as_it_is(&self) -> Result<()> {
        self.remove_from_esp(OTHER_ENTRY)?;
        self.write_to_esp(LOADER_CONFIGURATION_PATH, LOADER_CONFIGURATION.as_bytes())
    }

    /// Has the boot menu choose the entry that resets, as a person does with the arrow keys; or again the
    /// one that boots by itself. A node that has reset itself does the latter.
    ///
    /// # Errors
    /// When this is no disk of a node's, or the boot loader's configuration cannot be written.
    pub fn choose_reset(&self, reset: bool) -> Result<()> {
        let text = self.boot_menu()?;
        let chosen = text
            .lines()
            .map(|line| {
                let entry = line.strip_prefix("default ").map(str::trim);
                match entry.map(|entry| entry.trim_end_matches(RESET)) {
                    Some(entry) if reset => format!("default {entry}{RESET}\n"),
                    Some(entry) => format!("default {entry}\n"),
                    None => format!("{line}\n"),
                }
            })
            .collect::<String>();
        self.write_to_esp(LOADER_CONFIGURATION_PATH, chosen.as_bytes())?;
        self.sync()
    }

    /// Whether the boot menu chooses the entry that resets.
    ///
    /// # Errors
    /// When this is no disk of a node's.
    pub fn resets(&self) -> Result<bool> {
        let text = self.boot_menu()?;
        Ok(text
            .lines()
            .any(|line| line.starts_with("default ") && line.trim_end().ends_with(RESET)))
    }

    /// The boot loader's configuration, which chooses a kernel image of ours.
    fn boot_menu(&self) -> Result<String> {
        let no_node = "this is not a disk with an image of this system's";
        let text = self
            .read_from_esp(LOADER_CONFIGURATION_PATH)
            .context(no_node)?;
        let text = String::from_utf8(text).context(no_node)?;
        let ours = |line: &str| line.starts_with("default k3s-daas");
        ensure!(
            text.lines().any(ours),
            "{no_node}: {LOADER_CONFIGURATION_PATH} starts something else"
        );
        Ok(text)
    }

    /// Reads a file of the ESP.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn read_from_esp(&self, path: &str) -> Result<Vec<u8>> {
        let esp = self.esp()?;
        let mut bytes = Vec::new();
        let root = esp.root_dir();
        root.open_file(path)
            .with_context(|| format!("the ESP has no file {path}"))?
            .read_to_end(&mut bytes)
            .with_context(|| format!("cannot read {path} on the ESP"))?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fatfs::{FormatVolumeOptions, format_volume};

    #[test]
    fn a_configuration_is_replaced_by_a_shorter_one() {
        let directory = tempfile::tempdir().unwrap();
        let disk = super::super::tests::sample(directory.path());
        let extent = disk.partition(LABEL).unwrap();
        let end = extent.start + extent.length;
        let mut slice = StreamSlice::new(disk.open().unwrap(), extent.start, end).unwrap();
        format_volume(&mut slice, FormatVolumeOptions::new()).unwrap();
        assert!(
            disk.write_configuration("x").is_err(),
            "the folder daas is the image's"
        );
        disk.esp().unwrap().root_dir().create_dir("daas").unwrap();
        disk.write_configuration(&"a = 1\n".repeat(2000)).unwrap();
        disk.write_configuration("b = 2\n").unwrap();
        assert_eq!(disk.read_from_esp(CONFIGURATION).unwrap(), b"b = 2\n");
        assert!(disk.read_from_esp("daas/other").is_err());
        assert_eq!(disk.list_esp("daas").unwrap(), ["node.toml"]);
        disk.remove_from_esp(CONFIGURATION).unwrap();
        assert!(disk.list_esp("daas").unwrap().is_empty());
        assert!(disk.remove_from_esp(CONFIGURATION).is_err());
    }

    #[test]
    fn the_reset_is_chosen_once_and_on_a_node_s_disk_alone() {
        let directory = tempfile::tempdir().unwrap();
        let disk = super::super::tests::sample(directory.path());
        let extent = disk.partition(LABEL).unwrap();
        let end = extent.start + extent.length;
        let mut slice = StreamSlice::new(disk.open().unwrap(), extent.start, end).unwrap();
        format_volume(&mut slice, FormatVolumeOptions::new()).unwrap();
        assert!(disk.choose_reset(true).is_err(), "there is no boot menu");
        disk.esp().unwrap().root_dir().create_dir("loader").unwrap();
        let other = "default windows.efi\n";
        disk.write_to_esp(LOADER_CONFIGURATION_PATH, other.as_bytes())
            .unwrap();
        assert!(disk.choose_reset(true).is_err(), "another system's menu");
        let kept = disk.read_from_esp(LOADER_CONFIGURATION_PATH).unwrap();
        assert_eq!(kept, other.as_bytes());

        let ours = LOADER_CONFIGURATION.as_bytes();
        disk.write_to_esp(LOADER_CONFIGURATION_PATH, ours).unwrap();
        assert!(!disk.resets().unwrap());
        for _ in 0..2 {
            disk.choose_reset(true).unwrap();
            assert!(disk.resets().unwrap());
            let chosen = disk.read_from_esp(LOADER_CONFIGURATION_PATH).unwrap();
            let chosen = String::from_utf8(chosen).unwrap();
            assert!(
                chosen.contains("\ndefault k3s-daas*.efi@reset\n"),
                "{chosen}"
            );
        }
        disk.choose_reset(false).unwrap();
        assert_eq!(disk.read_from_esp(LOADER_CONFIGURATION_PATH).unwrap(), ours);
    }

    #[test]
    fn what_is_no_disk_is_not_opened() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Disk::existing(directory.path()).is_err());
        assert!(Disk::existing(&directory.path().join("missing")).is_err());
    }
}
