//! Every byte that the target gets: the image, and over it what is different on this disk, which is the
//! configuration and the places of the partition tables. All of it is known before the first byte is written, and all of
//! it is compared after.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};
use gpt::{Origin, Table};
use zeroize::Zeroizing;

use super::SECTOR;
use super::contents::{ESP, ROOT, STATE};

/// What is laid over the image comes in blocks of so many bytes.
const BLOCK: u64 = 4096;
/// What both ends of a disk keep for partition tables.
pub(super) const TABLES: u64 = 1 << 20;

/// The bytes of the target.
#[derive(Debug)]
pub struct Plan {
    image: File,
    image_size: u64,
    size: u64,
    esp: Range<u64>,
    /// By number; they may hold secrets of a configuration.
    laid_over: RefCell<BTreeMap<u64, Zeroizing<Vec<u8>>>>,
}

impl Plan {
    /// The image on a disk of `size` bytes, which is at least the image's. The backup copy of the partition table moves
    /// to the disk's end. The partitions stay as they are: the node grows its state at its first boot.
    ///
    /// # Errors
    /// When it is no image of this system.
    pub fn new(image: File, size: u64) -> Result<Self> {
        let image_size = image.metadata().context("the image can't be read")?.len();
        let own = Table::read_from(&image, SECTOR, image_size)?;
        let labelled = |label: &str| {
            let mut partitions = own.partitions();
            partitions
                .find(|partition| partition.name == label)
                .with_context(|| format!("it has no partition {label:?}"))
        };
        let esp = labelled(ESP)?;
        labelled(ROOT)?;
        labelled(STATE)?;
        let sector = u64::from(SECTOR);
        ensure!(
            own.is_settled(),
            "its partition table is damaged: it was cut short or changed"
        );
        let plan = Self {
            image,
            image_size,
            size,
            esp: esp.first_block * sector..(esp.last_block + 1) * sector,
            laid_over: RefCell::default(),
        };
        if size > image_size {
            plan.move_backup()?;
        }
        Ok(plan)
    }

    /// What is written between the tables; what lies behind it on a larger disk stays as it is.
    #[must_use]
    pub fn body(&self) -> Range<u64> {
        let end = self.size.saturating_sub(TABLES).min(self.image_size);
        TABLES.min(end)..end
    }

    /// The end of the target, which holds the backup copy of the partition table.
    #[must_use]
    pub fn tail(&self) -> Range<u64> {
        self.size.saturating_sub(TABLES).max(self.body().end)..self.size
    }

    fn move_backup(&self) -> Result<()> {
        let as_read = Table::read_from(&self.image, SECTOR, self.size)?;
        ensure!(
            as_read.origin() == Origin::Primary,
            "its partition table is damaged"
        );
        // 128 entries of 128 bytes, and a header: nothing but the old backup lies behind the last partition
        let last = as_read
            .partitions()
            .map(|partition| partition.last_block + 1)
            .max();
        let old = last.unwrap_or(0) * u64::from(SECTOR);
        self.lay_over(&vec![0; usize::try_from(self.image_size - old)?], old)
            .context("the image can't be read")?;
        as_read.write(self, &as_read)?;
        Ok(())
    }

    /// Reads what the target gets. Behind the image there are zeros.
    ///
    /// # Errors
    /// When the image can't be read.
    pub fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        let of_image = usize::try_from(self.image_size.clamp(offset, end) - offset).unwrap_or(0);
        self.image.read_exact_at(&mut bytes[..of_image], offset)?;
        bytes[of_image..].fill(0);
        for (number, block) in self.laid_over.borrow().range(offset / BLOCK..=end / BLOCK) {
            let start = number * BLOCK;
            let (from, to) = (start.max(offset), (start + BLOCK).min(end));
            if from < to {
                let place = |position: u64, origin: u64| (position - origin) as usize;
                bytes[place(from, offset)..place(to, offset)]
                    .copy_from_slice(&block[place(from, start)..place(to, start)]);
            }
        }
        Ok(())
    }

    fn lay_over(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        if offset + bytes.len() as u64 > self.size {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while !bytes.is_empty() {
            let (number, within) = (offset / BLOCK, (offset % BLOCK) as usize);
            let length = bytes.len().min(BLOCK as usize - within);
            let mut block = Zeroizing::new(vec![0; BLOCK as usize]);
            self.read_at(&mut block, number * BLOCK)?;
            block[within..within + length].copy_from_slice(&bytes[..length]);
            self.laid_over.borrow_mut().insert(number, block);
            bytes = &bytes[length..];
            offset += length as u64;
        }
        Ok(())
    }

    /// The EFI system partition, as a file.
    pub(super) fn esp(&self) -> Esp<'_> {
        Esp {
            plan: self,
            position: 0,
        }
    }
}

/// Where the partition table is written to before the disk is.
impl gpt::Device for Plan {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.lay_over(bytes, offset)
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_at(bytes, offset)
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The EFI system partition of a plan.
#[derive(Debug)]
pub(super) struct Esp<'a> {
    plan: &'a Plan,
    position: u64,
}

impl Esp<'_> {
    fn length(&self) -> u64 {
        self.plan.esp.end - self.plan.esp.start
    }

    /// How many of `wanted` bytes lie within, and where they start on the disk.
    fn place(&self, wanted: usize) -> (usize, u64) {
        let left = self.length().saturating_sub(self.position);
        let length = wanted.min(usize::try_from(left).unwrap_or(usize::MAX));
        (length, self.plan.esp.start + self.position)
    }
}

impl Read for Esp<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let (length, offset) = self.place(bytes.len());
        self.plan.read_at(&mut bytes[..length], offset)?;
        self.position += length as u64;
        Ok(length)
    }
}

impl Write for Esp<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (length, offset) = self.place(bytes.len());
        self.plan.lay_over(&bytes[..length], offset)?;
        self.position += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Esp<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(distance) => self.length().checked_add_signed(distance),
            SeekFrom::Current(distance) => self.position.checked_add_signed(distance),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
