//! What an image is written to: a disk or a file, opened so that nothing else uses it, and read past the page cache.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use rustix::fs::{Advice, FallocateFlags, OFlags, fadvise, fallocate};
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::refusals::{Refusal, Target};
use super::write::CHUNK;

/// What direct reads want their buffers and offsets aligned to: a page is enough for every disk.
const ALIGNMENT: usize = 4096;

/// Something to write to. Every operation is in bytes.
pub trait Medium {
    /// Writes at an offset.
    ///
    /// # Errors
    /// What the system says.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Has a range read as zeros.
    ///
    /// # Errors
    /// What the system says.
    fn zero_at(&mut self, offset: u64, length: usize) -> io::Result<()>;
    /// Waits until all that was written is on the medium, and has the medium empty its own cache.
    ///
    /// # Errors
    /// What the system says, also of earlier writes.
    fn sync(&mut self) -> io::Result<()>;
    /// Reads from the medium, not from what memory still holds of it.
    ///
    /// # Errors
    /// What the system says.
    fn read_back(&mut self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
}

/// The ways to have zeros, the cheapest first. The kernel guarantees for each that zeros are read
/// (fallocate(2); block/fops.c, `blkdev_fallocate`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Zeroing {
    /// Blocks are given back, where the device promises zeros then.
    Punch,
    /// The device writes zeros by itself, or the kernel does.
    Range,
    /// We do.
    Write,
}

/// A disk or a file.
#[derive(Debug)]
pub struct Device {
    file: File,
    /// Opened with `O_DIRECT`; `None`: pages are dropped before they are read.
    direct: Option<File>,
    /// What is read may hold the secrets of a configuration.
    buffer: Zeroizing<Vec<u8>>,
    zeroing: Zeroing,
}

impl Device {
    /// Opens a target for this program alone: the kernel refuses a disk that is mounted or held, and lets nobody mount
    /// it meanwhile (open(2), `O_EXCL` of block devices).
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn open(target: &Target) -> Result<Self, Refusal> {
        let path = target.path();
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        if matches!(target, Target::Disk(_)) {
            options.custom_flags(OFlags::EXCL.bits().cast_signed());
        }
        let refused = |error: io::Error| {
            let path = path.to_owned();
            match Errno::from_io_error(&error) {
                Some(Errno::BUSY) => Refusal::Busy { path },
                Some(Errno::ACCESS | Errno::PERM) => Refusal::Forbidden { path },
                Some(Errno::ROFS) => Refusal::ReadOnly { path },
                _ => Refusal::Unopened { path, error },
            }
        };
        let file = options.open(path).map_err(refused)?;
        // files of some file systems can't be read directly
        let direct = match target {
            Target::Disk(_) => OpenOptions::new()
                .read(true)
                .custom_flags(OFlags::DIRECT.bits().cast_signed())
                .open(path)
                .ok(),
            Target::File { .. } => None,
        };
        Ok(Self {
            file,
            direct,
            buffer: Zeroizing::new(vec![0; CHUNK + ALIGNMENT]),
            zeroing: Zeroing::Punch,
        })
    }

    /// How it is read back, for people.
    #[must_use]
    pub const fn way_to_read(&self) -> &'static str {
        match self.direct {
            Some(_) => "from the disk itself (O_DIRECT)",
            None => "after its pages were dropped from memory (posix_fadvise)",
        }
    }

    fn allocate(&self, flags: FallocateFlags, offset: u64, length: usize) -> bool {
        fallocate(
            &self.file,
            flags | FallocateFlags::KEEP_SIZE,
            offset,
            length as u64,
        )
        .is_ok()
    }
}

impl Medium for Device {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn zero_at(&mut self, offset: u64, length: usize) -> io::Result<()> {
        if self.zeroing == Zeroing::Punch {
            if self.allocate(FallocateFlags::PUNCH_HOLE, offset, length) {
                return Ok(());
            }
            self.zeroing = Zeroing::Range;
        }
        if self.zeroing == Zeroing::Range {
            if self.allocate(FallocateFlags::ZERO_RANGE, offset, length) {
                return Ok(());
            }
            self.zeroing = Zeroing::Write;
        }
        self.write_at(&vec![0; length], offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn read_back(&mut self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let Some(direct) = &self.direct else {
            fadvise(
                &self.file,
                offset,
                std::num::NonZeroU64::new(bytes.len() as u64),
                Advice::DontNeed,
            )?;
            return self.file.read_exact_at(bytes, offset);
        };
        let start = self.buffer.as_ptr().align_offset(ALIGNMENT);
        let aligned = self
            .buffer
            .get_mut(start..start + bytes.len())
            .ok_or(io::ErrorKind::InvalidInput)?;
        direct.read_exact_at(aligned, offset)?;
        bytes.copy_from_slice(aligned);
        Ok(())
    }
}
