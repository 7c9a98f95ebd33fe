//! A machine's disk: a sparse copy of the built image, its partitions, and what scenarios do to them.

pub mod drive;
mod esp;
mod state;

pub use state::State;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use gptman::{GPT, GPTPartitionEntry};

/// A partition table with its protective MBR, and some room (UEFI specification, section 5.3).
const TABLE: u64 = 64 * 1024;

/// A disk image, raw and sparse.
#[derive(Clone, Debug)]
pub struct Disk {
    path: PathBuf,
}

/// Where a partition lies, in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Extent {
    /// Offset of its first byte.
    pub start: u64,
    /// Its length.
    pub length: u64,
}

impl Disk {
    /// Copies the built image to `path`, without its holes, and makes it `size` bytes long: the
    /// disk that somebody wrote the image to is larger than the image.
    ///
    /// # Errors
    /// When the image cannot be copied, or is larger than `size`.
    pub fn from_image(image: &Path, path: &Path, size: u64) -> Result<Self> {
        let status = Command::new("cp")
            .args(["--sparse=always", "--reflink=auto", "--"])
            .args([image, path])
            .status()
            .context("cannot start cp")?;
        ensure!(
            status.success(),
            "cannot copy {} to {}",
            image.display(),
            path.display()
        );
        let disk = Self {
            path: path.to_owned(),
        };
        let file = disk.open()?;
        let length = file
            .metadata()
            .context("cannot look at the disk's copy")?
            .len();
        ensure!(
            length <= size,
            "the image is {length} bytes long, more than {size}"
        );
        file.set_len(size).context("cannot grow the disk's copy")?;
        Ok(disk)
    }

    /// A disk that is there: an image, or a device that nothing else on this host uses.
    ///
    /// # Errors
    /// When it cannot be opened, or is mounted.
    pub fn existing(path: &Path) -> Result<Self> {
        let disk = Self {
            path: path.to_owned(),
        };
        let kind = std::fs::metadata(path)
            .with_context(|| format!("cannot look at {}", path.display()))?
            .file_type();
        ensure!(
            kind.is_file() || kind.is_block_device(),
            "{} is neither a disk nor a disk's image",
            path.display()
        );
        if kind.is_block_device() {
            // open(2): for a device that is in use, such as by a mount, this is EBUSY
            let exclusive = rustix::fs::OFlags::EXCL.bits().cast_signed();
            OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(exclusive)
                .open(path)
                .with_context(|| format!("cannot open {} for this alone", path.display()))?;
        }
        Ok(disk)
    }

    /// Has this host write all of it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn sync(&self) -> Result<()> {
        self.open()?.sync_all().context("cannot write the disk")
    }

    /// An empty disk.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn empty(path: &Path, size: u64) -> Result<Self> {
        let file =
            File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        file.set_len(size).context("cannot size an empty disk")?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// A copy of the disk as it is now.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn copy(&self, path: &Path) -> Result<Self> {
        let size = self
            .open()?
            .metadata()
            .context("cannot look at the disk")?
            .len();
        Self::from_image(&self.path, path, size)
    }

    /// The image's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn open(&self) -> Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.path)
            .with_context(|| format!("cannot open {}", self.path.display()))
    }

    fn table(&self) -> Result<GPT> {
        GPT::find_from(&mut self.open()?)
            .with_context(|| format!("{} has no partition table", self.path.display()))
    }

    fn entry(table: &GPT, label: &str) -> Result<(u32, GPTPartitionEntry)> {
        table
            .iter()
            .find(|(_, entry)| entry.is_used() && entry.partition_name.as_str() == label)
            .map(|(number, entry)| (number, entry.clone()))
            .with_context(|| format!("the disk has no partition {label}"))
    }

    /// Where the partition of this label lies.
    ///
    /// # Errors
    /// When there is none.
    pub fn partition(&self, label: &str) -> Result<Extent> {
        let table = self.table()?;
        let (_, entry) = Self::entry(&table, label)?;
        let length = entry.size().context("a partition ends before it begins")?;
        Ok(Extent {
            start: entry.starting_lba * table.sector_size,
            length: length * table.sector_size,
        })
    }

    /// Changes the partition's unique identifier (both copies of the table).
    ///
    /// # Errors
    /// When the partition does not exist or the table cannot be written.
    pub fn set_partition_identifier(&self, label: &str, identifier: [u8; 16]) -> Result<()> {
        let mut table = self.table()?;
        let (number, _) = Self::entry(&table, label)?;
        if let Some(entry) = table.iter_mut().find(|(index, _)| *index == number) {
            entry.1.unique_partition_guid = identifier;
        }
        table
            .write_into(&mut self.open()?)
            .context("cannot write the partition table")
            .map(drop)
    }

    /// Inverts every bit of the byte at `offset` of a partition.
    ///
    /// # Errors
    /// When the partition does not exist or ends before `offset`.
    pub fn flip_byte(&self, label: &str, offset: u64) -> Result<()> {
        let extent = self.partition(label)?;
        ensure!(offset < extent.length, "{label} ends before byte {offset}");
        let file = self.open()?;
        let mut byte = [0_u8];
        file.read_exact_at(&mut byte, extent.start + offset)
            .context("cannot read the disk")?;
        byte[0] = !byte[0];
        file.write_all_at(&byte, extent.start + offset)
            .context("cannot write the disk")
    }

    /// Writes `bytes` at `offset` of a partition.
    ///
    /// # Errors
    /// When the partition does not exist or is too small.
    pub fn write(&self, label: &str, offset: u64, bytes: &[u8]) -> Result<()> {
        let extent = self.partition(label)?;
        let end = offset + bytes.len() as u64;
        ensure!(end <= extent.length, "{label} ends before byte {end}");
        self.open()?
            .write_all_at(bytes, extent.start + offset)
            .context("cannot write the disk")
    }

    /// The first `length` bytes of a partition.
    ///
    /// # Errors
    /// When the partition does not exist or is shorter.
    pub fn read(&self, label: &str, length: usize) -> Result<Vec<u8>> {
        let extent = self.partition(label)?;
        ensure!(
            length as u64 <= extent.length,
            "{label} is shorter than {length} bytes"
        );
        let mut bytes = vec![0_u8; length];
        self.open()?
            .read_exact_at(&mut bytes, extent.start)
            .context("cannot read the disk")?;
        Ok(bytes)
    }
}

/// The bytes that no refusal may change: the partition table, its backup, the state partition.
#[derive(Clone, Eq, PartialEq)]
pub struct Ownership(Vec<u8>);

impl Disk {
    /// What belongs to whoever made the state partition.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn ownership(&self) -> Result<Ownership> {
        let file = self.open()?;
        let size = file.metadata().context("cannot look at the disk")?.len();
        let state = self.partition("state")?;
        let mut bytes = Vec::new();
        let table = Extent {
            start: 0,
            length: TABLE,
        };
        let backup = Extent {
            start: size.saturating_sub(TABLE),
            length: TABLE,
        };
        for extent in [table, backup, state] {
            let length = usize::try_from(extent.length).context("too large to compare")?;
            let mut part = vec![0_u8; length];
            file.read_exact_at(&mut part, extent.start)
                .context("cannot read the disk")?;
            bytes.append(&mut part);
        }
        Ok(Ownership(bytes))
    }
}

/// Runs a program of the host and gives its output.
fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        bail!(
            "{program} {}: {}\n{}{}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("{program} wrote something strange"))
}

/// Disks for the tests of this folder.
#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    /// A disk of the image's shape in small: an ESP and a state partition.
    pub(super) fn sample(directory: &Path) -> Disk {
        let disk = Disk::empty(&directory.join("disk.raw"), 128 * MIB).unwrap();
        let mut file = disk.open().unwrap();
        let mut table = GPT::new_from(&mut file, 512, [7; 16]).unwrap();
        for (index, (name, start, size)) in
            [("esp", 1, 64), ("state", 65, 62)].into_iter().enumerate()
        {
            table[index as u32 + 1] = GPTPartitionEntry {
                partition_type_guid: [index as u8 + 1; 16],
                unique_partition_guid: [index as u8 + 17; 16],
                starting_lba: start * MIB / 512,
                ending_lba: (start + size) * MIB / 512 - 1,
                attribute_bits: 0,
                partition_name: name.into(),
            };
        }
        table.write_into(&mut file).unwrap();
        disk
    }

    #[test]
    fn partitions_are_found_by_label_and_bytes_flipped_in_place() {
        let directory = tempfile::tempdir().unwrap();
        let disk = sample(directory.path());
        let extent = disk.partition("state").unwrap();
        assert_eq!(
            extent,
            Extent {
                start: 65 * MIB,
                length: 62 * MIB
            }
        );
        disk.write("state", 4095, b"\x0f").unwrap();
        disk.flip_byte("state", 4095).unwrap();
        let copy = disk.copy(&directory.path().join("copy.raw")).unwrap();
        assert_eq!(copy.read("state", 4096).unwrap()[4095], 0xf0);
        assert!(disk.flip_byte("state", extent.length).is_err());
        assert!(disk.partition("root-a").is_err());
    }

    #[test]
    fn an_identifier_is_changed_alone() {
        let directory = tempfile::tempdir().unwrap();
        let disk = sample(directory.path());
        disk.set_partition_identifier("state", [9; 16]).unwrap();
        let table = disk.table().unwrap();
        let unique = |label| Disk::entry(&table, label).unwrap().1.unique_partition_guid;
        assert_eq!((unique("esp"), unique("state")), ([17; 16], [9; 16]));
    }

    #[test]
    fn a_disk_smaller_than_the_image_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let disk = sample(directory.path());
        assert!(Disk::from_image(disk.path(), &directory.path().join("copy"), MIB).is_err());
    }
}
