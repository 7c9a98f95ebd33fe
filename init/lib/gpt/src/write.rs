//! Writing a partition table.
//!
//! A header and its entries stand in different blocks, so no copy can be replaced in one step.
//! The two copies are therefore written one after the other, each synced, and at every moment at
//! least one of them is whole:
//!
//! 1. A table that was read from the backup because the primary copy is damaged is first written
//!    to the primary place as it was read.
//! 2. The new backup copy, at the disk's very end. Until step 3 the primary one still says the old
//!    state, and counts.
//! 3. The new primary copy. A power cut within this step leaves a damaged primary copy and the new
//!    backup where firmware, kernel (`gpt` on its command line) and [`Table::read`] look for it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::read::{PRIMARY_BLOCK, REVISION, SIGNATURE, field};
use super::{Origin, Table, array, crc32};

/// Where the entries of the primary copy start.
const PRIMARY_ENTRIES_BLOCK: u64 = 2;
/// The first partition record of the protective MBR, and in it the type and the number of blocks
/// (UEFI 2.10, table 5.4).
const MBR_TYPE: usize = 446 + 4;
const MBR_BLOCKS: usize = 446 + 12;
const MBR_TYPE_PROTECTIVE: u8 = 0xee;

/// What kept a table from being written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The disk refused.
    #[error("the partition table cannot be written")]
    Disk(#[from] io::Error),
    /// The entries do not fit before the first or after the last partition.
    #[error("the disk has no room for both copies of its partition table")]
    NoRoom,
}

/// What a table is written to: a disk, the plan of one, or in tests a disk that loses power. Offsets are in bytes.
pub trait Device {
    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// What the system says.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Fills all of `bytes`.
    ///
    /// # Errors
    /// What the system says.
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
    /// Waits until what was written is on the medium.
    ///
    /// # Errors
    /// What the system says.
    fn sync_all(&self) -> io::Result<()>;
}

impl Device for File {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, bytes, offset)
    }

    fn sync_all(&self) -> io::Result<()> {
        File::sync_all(self)
    }
}

impl Table {
    /// Writes both copies, the backup at the disk's very end, and the protective MBR's size.
    /// `self` must be a changed copy of `as_read`, which [`Table::read`] gave for this disk.
    ///
    /// # Errors
    /// See [`WriteError`]; at least one copy on the disk is whole then, too.
    pub fn write(&self, disk: &impl Device, as_read: &Self) -> Result<(), WriteError> {
        let last_block = self.disk_blocks.checked_sub(1).ok_or(WriteError::NoRoom)?;
        let backup_entries = last_block
            .checked_sub(self.entries_blocks())
            .ok_or(WriteError::NoRoom)?;
        let last_usable = backup_entries.checked_sub(1).ok_or(WriteError::NoRoom)?;
        let primary_end = PRIMARY_ENTRIES_BLOCK + self.entries_blocks();
        let fits = |partition: super::Partition| {
            partition.first_block >= primary_end && partition.last_block <= last_usable
        };
        if self.header.first_usable < primary_end || !self.partitions().all(fits) {
            return Err(WriteError::NoRoom);
        }

        if as_read.origin == Origin::Backup {
            let last_usable = as_read.header.last_usable;
            as_read.write_copy(disk, Place::primary(last_block, last_usable))?;
        }
        let backup = Place {
            header: last_block,
            alternate: PRIMARY_BLOCK,
            entries: backup_entries,
            last_usable,
        };
        self.write_copy(disk, backup)?;
        self.write_copy(disk, Place::primary(last_block, last_usable))?;
        self.write_protective_mbr(disk)?;
        Ok(())
    }

    fn write_copy(&self, disk: &impl Device, place: Place) -> Result<(), WriteError> {
        let offset = |block: u64| block.checked_mul(self.block_size).ok_or(WriteError::NoRoom);
        disk.write_all_at(&self.entries, offset(place.entries)?)?;
        // The rest of the header's block is reserved and must be zero.
        let mut block = self.raw_header(place);
        block.resize(usize::try_from(self.block_size).unwrap_or(field::LENGTH), 0);
        disk.write_all_at(&block, offset(place.header)?)?;
        disk.sync_all()?;
        Ok(())
    }

    fn raw_header(&self, place: Place) -> Vec<u8> {
        let with_checksum = |checksum: u32| {
            let mut raw = Vec::with_capacity(field::LENGTH);
            raw.extend(SIGNATURE);
            raw.extend(REVISION.to_le_bytes());
            raw.extend((field::LENGTH as u32).to_le_bytes());
            raw.extend(checksum.to_le_bytes());
            raw.extend([0; 4]);
            raw.extend(place.header.to_le_bytes());
            raw.extend(place.alternate.to_le_bytes());
            raw.extend(self.header.first_usable.to_le_bytes());
            raw.extend(place.last_usable.to_le_bytes());
            raw.extend(self.header.disk_guid);
            raw.extend(place.entries.to_le_bytes());
            raw.extend(self.header.entry_count.to_le_bytes());
            raw.extend(self.header.entry_size.to_le_bytes());
            raw.extend(crc32(self.entries.iter().copied()).to_le_bytes());
            raw
        };
        with_checksum(crc32(with_checksum(0)))
    }

    /// One block, so one step. Nothing but old tools looks at the size.
    fn write_protective_mbr(&self, disk: &impl Device) -> Result<(), WriteError> {
        let length = usize::try_from(self.block_size).unwrap_or(512);
        let mut block = vec![0; length];
        disk.read_exact_at(&mut block, 0)?;
        let protective = array(&block, MBR_TYPE) == Some([MBR_TYPE_PROTECTIVE]);
        let blocks = u32::try_from(self.disk_blocks.saturating_sub(1)).unwrap_or(u32::MAX);
        if protective {
            let size = block.get_mut(MBR_BLOCKS..MBR_BLOCKS + 4);
            size.ok_or(WriteError::NoRoom)?
                .copy_from_slice(&blocks.to_le_bytes());
            disk.write_all_at(&block, 0)?;
            disk.sync_all()?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Place {
    header: u64,
    alternate: u64,
    entries: u64,
    last_usable: u64,
}

impl Place {
    fn primary(last_block: u64, last_usable: u64) -> Self {
        Self {
            header: PRIMARY_BLOCK,
            alternate: last_block,
            entries: PRIMARY_ENTRIES_BLOCK,
            last_usable,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::{ATTRIBUTE_BEING_FORMATTED, Partition};
    use super::*;
    use fixtures::gpt_disk::TestDisk;

    /// A disk that takes a number of bytes, and then no more.
    struct LosesPower<'a> {
        disk: &'a File,
        bytes_left: Cell<usize>,
    }

    impl Device for LosesPower<'_> {
        fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
            let taken = bytes.len().min(self.bytes_left.get());
            FileExt::write_all_at(self.disk, &bytes[..taken], offset)?;
            self.bytes_left.set(self.bytes_left.get() - taken);
            if taken < bytes.len() {
                Err(io::ErrorKind::BrokenPipe.into())
            } else {
                Ok(())
            }
        }

        fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
            FileExt::read_exact_at(self.disk, bytes, offset)
        }

        fn sync_all(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn read(disk: &TestDisk) -> Table {
        Table::read_from(disk.file(), 512, disk.size()).unwrap()
    }

    fn state(table: &Table) -> Partition {
        table
            .partitions()
            .find(|partition| partition.number == 6)
            .unwrap()
    }

    /// Grows the state partition to the disk's end and sets its attribute, as far as the power
    /// lasts.
    fn change(disk: &TestDisk, bytes_left: usize) -> Result<(), WriteError> {
        let as_read = read(disk);
        let mut table = as_read.clone();
        let last_block = table.last_usable_block(1 << 20).unwrap();
        assert!(table.set_last_block(6, last_block));
        assert!(table.set_attributes(6, ATTRIBUTE_BEING_FORMATTED));
        let device = LosesPower {
            disk: disk.file(),
            bytes_left: Cell::new(bytes_left),
        };
        table.write(&device, &as_read)
    }

    #[test]
    fn a_table_grows_with_its_disk() {
        let mut disk = TestDisk::new(4096, 512);
        disk.grow(16384);
        assert!(!read(&disk).is_settled());
        change(&disk, usize::MAX).unwrap();
        let table = read(&disk);
        assert!(table.is_settled());
        assert_eq!(table.origin(), Origin::Primary);
        // The last MiB holds the backup copy, so the partition ends at the last whole one before.
        assert_eq!(
            (state(&table).first_block, state(&table).last_block),
            (1024, 14335)
        );
        assert_eq!(state(&table).attributes, ATTRIBUTE_BEING_FORMATTED);
        // The backup alone says the same.
        disk.flip(512);
        let backup = read(&disk);
        assert_eq!(backup.origin(), Origin::Backup);
        assert_eq!(state(&backup), state(&table));
        let mut size = [0; 4];
        FileExt::read_exact_at(disk.file(), &mut size, 446 + 12).unwrap();
        assert_eq!(u32::from_le_bytes(size), 16383);
    }

    #[test]
    fn a_power_cut_at_any_byte_leaves_a_table_from_which_the_next_boot_goes_on() {
        const COPY: usize = 128 * 128 + 512;
        for bytes in (0..=2 * COPY + 512).step_by(1021) {
            let mut disk = TestDisk::new(4096, 512);
            disk.grow(16384);
            let _ = change(&disk, bytes);
            let found = read(&disk);
            assert!(
                matches!(state(&found).last_block, 2047 | 14335),
                "after {bytes} bytes"
            );
            // A second cut while the first one is being repaired.
            let _ = change(&disk, bytes / 2);
            read(&disk);
            change(&disk, usize::MAX).unwrap();
            assert_eq!(read(&disk).origin(), Origin::Primary);
            assert_eq!(state(&read(&disk)).last_block, 14335);
        }
    }

    #[test]
    fn a_disk_that_shrank_is_not_written() {
        let disk = TestDisk::new(4096, 512);
        let mut table = read(&disk);
        let as_read = table.clone();
        table.disk_blocks = 2048;
        assert!(matches!(
            table.write(disk.file(), &as_read),
            Err(WriteError::NoRoom)
        ));
        assert_eq!(read(&disk), as_read);
    }

    #[test]
    fn no_such_partition() {
        let mut table = read(&TestDisk::new(4096, 512));
        assert!(!table.set_last_block(0, 5));
        assert!(!table.set_last_block(129, 5));
        assert!(!table.set_attributes(u32::MAX, 5));
    }
}
