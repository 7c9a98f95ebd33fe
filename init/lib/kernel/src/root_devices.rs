//! What dm-verity says when a block of the root is not what was signed.
//!
//! A corrupt block never reaches a reader: the read fails with `EIO`. dm-verity also sends a
//! uevent with the block's number (`verity_handle_err`, drivers/md/dm-verity-target.c), which
//! tells what and where better than `panic_on_corruption` would: the kernel's panic shows a stack
//! trace, and loses what the state disk has not yet written. PID 1 has locked its own pages in
//! memory, so that it can act whatever part of the root is corrupt; should it not, the kernel's
//! own panic (`panic=10` on the command line) restarts the machine.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::Duration;

use rustix::fs::OFlags;

use crate::block_devices::{self, BlockDevice};
use crate::failure::Failure;
use crate::uevent::Uevent;

/// `DM_VERITY_ENV_VAR_NAME`.
const FIELD: &str = "DM_VERITY_ERR_BLOCK_NR";
/// Both kinds of blocks have this size; the superblock is refused otherwise.
pub const BLOCK_SIZE: u64 = 4096;
/// How long a block may take that is read a second time: PID 1 waits for it.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where the initramfs leaves the names of the root's devices.
const DEVICES_FILE: &str = "/run/daas/root-devices";

/// `enum verity_block_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A block of the file system.
    Data,
    /// A block of the hash tree.
    Metadata,
}

/// A block that failed its check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CorruptBlock {
    kind: Kind,
    number: u64,
}

impl fmt::Display for CorruptBlock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Data => write!(formatter, "data block {}", self.number),
            Kind::Metadata => write!(formatter, "hash block {}", self.number),
        }
    }
}

/// The devices that the root is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootDevices {
    /// The mapped device, such as `dm-0`.
    pub mapped: String,
    /// The partition with the file system.
    pub data: String,
    /// The partition with the hash tree.
    pub hashes: String,
}

impl RootDevices {
    /// Keeps the names for the running system.
    ///
    /// # Errors
    /// What the system says.
    pub fn store(&self) -> io::Result<()> {
        let text = format!("{} {} {}\n", self.mapped, self.data, self.hashes);
        files::replace(DEVICES_FILE, text.as_bytes(), 0o644)
    }

    /// What the initramfs kept. `None` where nothing was kept: outside a booted node.
    pub fn load() -> Option<Self> {
        Self::parse(&files::read_text(DEVICES_FILE, 4096).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace().map(str::to_owned);
        Some(Self {
            mapped: words.next()?,
            data: words.next()?,
            hashes: words.next()?,
        })
    }

    /// The corrupt block that an event tells of, if it is about this root. Pods can have
    /// dm-verity devices too.
    pub fn corrupt_block(&self, event: &Uevent) -> Option<CorruptBlock> {
        if event.get("DEVNAME") != Some(self.mapped.as_str()) {
            return None;
        }
        let (kind, number) = event.get(FIELD)?.split_once(',')?;
        let kind = match kind {
            "0" => Kind::Data,
            "1" => Kind::Metadata,
            _ => return None,
        };
        Some(CorruptBlock {
            kind,
            number: number.parse().ok()?,
        })
    }

    /// Whether a block that failed its check passes it now: then what had failed was a cable, a bus or the memory, and
    /// whoever read it has met an error of input and output. A block of the hash tree, which dm-verity keeps in memory as
    /// it was read, is not read again.
    pub fn reads_well(&self, block: CorruptBlock) -> bool {
        if block.kind != Kind::Data {
            return false;
        }
        reads_well(Path::new("/dev").join(&self.mapped), block.number)
    }

    /// What to tell of a corrupt block.
    pub fn failure(&self, block: CorruptBlock) -> Failure {
        let (device, of) = match block.kind {
            Kind::Data => (&self.data, "the root file system"),
            Kind::Metadata => (&self.hashes, "the root's hash tree"),
        };
        Failure {
            what: format!("{of} is corrupt: {block} is not what the image was built with"),
            place: format!(
                "{}, block {}, byte {}",
                BlockDevice::from_sysfs(device)
                    .map_or_else(|| format!("/dev/{device}"), |device| device.description()),
                block.number,
                block.number.saturating_mul(BLOCK_SIZE)
            ),
            hint: "Write the image to the disk again. If it comes back, the disk or the memory is \
                   failing."
                .to_owned(),
            details: Vec::new(),
        }
    }
}

/// Whether a block can be read, within [`PATIENCE`].
fn reads_well(path: PathBuf, block: u64) -> bool {
    let (sender, receiver) = channel();
    // a disk that hangs keeps this thread alone
    let reader = sys::thread::spawn_without_signals("read-again", move || {
        let read = DirectFile::open(&path).and_then(|file| file.read(block, 1));
        // nobody may wait any more
        let _ = sender.send(read.is_ok());
    });
    reader.is_ok() && receiver.recv_timeout(PATIENCE).unwrap_or(false)
}

/// A block device that is read past the page cache, from the disk itself (open(2), `O_DIRECT`).
#[derive(Debug)]
pub struct DirectFile(File);

impl DirectFile {
    /// Opens a device to be read.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECT.bits().cast_signed();
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(path)?;
        Ok(Self(file))
    }

    /// Reads blocks of [`BLOCK_SIZE`] bytes, at most 256 of them, and forgets them again.
    ///
    /// # Errors
    /// What the system says.
    pub fn read(&self, first: u64, blocks: u16) -> io::Result<()> {
        let block = usize::try_from(BLOCK_SIZE).map_err(io::Error::other)?;
        let length = block.saturating_mul(usize::from(blocks.min(256)));
        // what is read directly goes to memory that is aligned as the device is
        let mut buffer = vec![0; length.saturating_add(block)];
        let start = buffer.as_ptr().align_offset(block);
        let aligned = buffer
            .get_mut(start..start.saturating_add(length))
            .ok_or(io::ErrorKind::InvalidInput)?;
        self.0
            .read_exact_at(aligned, first.saturating_mul(BLOCK_SIZE))
    }
}

/// The disk that the root partition is on, and the partition's number.
pub fn boot_disk(devices: &RootDevices) -> io::Result<Option<(BlockDevice, u32)>> {
    let all = block_devices::all()?;
    let partition = all.iter().find(|device| device.name == devices.data);
    let Some((number, disk)) = partition.and_then(|device| device.partition_of.clone()) else {
        return Ok(None);
    };
    Ok(all
        .into_iter()
        .find(|device| device.name == disk)
        .map(|disk| (disk, number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices() -> RootDevices {
        RootDevices::parse("dm-0 vda2 vda3\n").unwrap()
    }

    fn event(device: &str, field: &str) -> Uevent {
        let text = format!(
            "change@/devices/virtual/block/{device}\0SUBSYSTEM=block\0DEVNAME={device}\0{field}\0"
        );
        Uevent::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_corrupt_block_is_told_with_its_place() {
        let block = devices()
            .corrupt_block(&event("dm-0", "DM_VERITY_ERR_BLOCK_NR=0,7"))
            .unwrap();
        let failure = devices().failure(block);
        assert!(failure.what.contains("data block 7"), "{failure:?}");
        assert_eq!(failure.place, "/dev/vda2, block 7, byte 28672");
        let block = devices()
            .corrupt_block(&event("dm-0", "DM_VERITY_ERR_BLOCK_NR=1,2"))
            .unwrap();
        assert!(devices().failure(block).what.contains("hash block 2"));
        assert!(devices().failure(block).place.starts_with("/dev/vda3"));
    }

    #[test]
    fn block_is_read_again_from_its_device_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("device");
        std::fs::write(&path, vec![7; 8192]).unwrap();
        assert!(reads_well(path.clone(), 1));
        assert!(!reads_well(path, 2), "there is no such block");
        assert!(!reads_well(directory.path().join("none"), 0));
        let event = event("dm-0", "DM_VERITY_ERR_BLOCK_NR=1,2");
        let hashes = devices().corrupt_block(&event).unwrap();
        assert!(!devices().reads_well(hashes), "dm-verity has it in memory");
    }

    #[test]
    fn other_events_are_not_ours() {
        for event in [
            event("dm-1", "DM_VERITY_ERR_BLOCK_NR=0,7"),
            event("dm-0", "DM_COOKIE=1"),
            event("dm-0", "DM_VERITY_ERR_BLOCK_NR=2,7"),
            event("dm-0", "DM_VERITY_ERR_BLOCK_NR=0,x"),
        ] {
            assert_eq!(devices().corrupt_block(&event), None);
        }
        assert_eq!(RootDevices::parse("dm-0 vda2"), None);
    }
}
