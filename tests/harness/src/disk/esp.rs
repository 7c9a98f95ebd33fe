//! Files on the ESP, which a person drops there from another computer.

use std::io::{Read, Write};

use anyhow::{Context, Result};
use fatfs::{FileSystem, FsOptions};
use fscommon::{BufStream, StreamSlice};

use super::Disk;

/// The node's configuration on the ESP.
const CONFIGURATION: &str = "daas/node.toml";
/// The ESP's partition label.
const LABEL: &str = "esp";

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
        let esp = self.esp()?;
        {
            let mut file = esp
                .root_dir()
                .create_file(CONFIGURATION)
                .with_context(|| format!("cannot create {CONFIGURATION} on the ESP"))?;
            file.truncate()
                .context("cannot truncate the configuration")?;
            file.write_all(text.as_bytes())
                .context("cannot write the configuration")?;
            file.flush().context("cannot write the configuration")?;
        }
        esp.unmount().context("cannot write the ESP's directory")
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
    }
}
