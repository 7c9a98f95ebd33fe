//! Reading a partition table.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::{Header, Origin, Table, array, crc32};

/// Offsets in a header, UEFI 2.10 table 5.5.
pub(crate) mod field {
    pub(crate) const SIGNATURE: usize = 0;
    pub(crate) const REVISION: usize = 8;
    pub(crate) const HEADER_SIZE: usize = 12;
    pub(crate) const HEADER_CRC: usize = 16;
    pub(crate) const MY_BLOCK: usize = 24;
    pub(crate) const ALTERNATE_BLOCK: usize = 32;
    pub(crate) const FIRST_USABLE: usize = 40;
    pub(crate) const LAST_USABLE: usize = 48;
    pub(crate) const DISK_GUID: usize = 56;
    pub(crate) const ENTRIES_BLOCK: usize = 72;
    pub(crate) const ENTRY_COUNT: usize = 80;
    pub(crate) const ENTRY_SIZE: usize = 84;
    pub(crate) const ENTRIES_CRC: usize = 88;
    pub(crate) const LENGTH: usize = 92;
}

pub(crate) const SIGNATURE: [u8; 8] = *b"EFI PART";
/// Version 1.0 of the header, the only one there is (UEFI 2.10, table 5.5).
pub(crate) const REVISION: u32 = 0x0001_0000;
/// Where the primary header stands.
pub(crate) const PRIMARY_BLOCK: u64 = 1;
/// More than this is no table that anybody makes: 128 entries of 128 bytes are 16 KiB.
const ENTRIES_LIMIT: u64 = 256 * 1024;
const BLOCK_SIZES: [u32; 2] = [512, 4096];

/// Why a disk has no usable partition table.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk can't be read.
    #[error("the disk cannot be read")]
    Disk(#[from] io::Error),
    /// Neither 512 nor 4096 bytes a block, or fewer blocks than a table takes.
    #[error("a disk of {blocks} blocks of {block_size} bytes cannot hold a partition table")]
    Geometry {
        /// Bytes of one block.
        block_size: u32,
        /// Blocks of the disk.
        blocks: u64,
    },
    /// No table at all.
    #[error("the disk has no GUID partition table")]
    Absent,
    /// There is or was a table, but neither copy passes its checks.
    #[error("both copies of the partition table are damaged (the primary one: {primary})")]
    Damaged {
        /// What is wrong with the copy at the disk's start.
        primary: Damage,
    },
}

/// What is wrong with one copy of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("no signature")]
    Signature,
    #[error("the header's checksum is wrong")]
    HeaderChecksum,
    #[error("the header's sizes or places are out of bounds")]
    Bounds,
    #[error("the entries' checksum is wrong")]
    EntriesChecksum,
    #[error("a partition lies outside the usable blocks")]
    PartitionBounds,
}

impl Table {
    /// Reads the table of a disk: the primary copy, or when that one is damaged the backup at the
    /// disk's very end, as the firmware does and the kernel with `gpt` on its command line.
    /// The device must be a whole disk.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(disk: &File) -> Result<Self, ReadError> {
        let size = sys::block::size(disk)?;
        Self::read_from(disk, sys::block::logical_block_size(disk)?, size)
    }

    /// As [`Table::read`], of anything of a known size in bytes.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read_from(disk: &File, block_size: u32, size: u64) -> Result<Self, ReadError> {
        let blocks = size / u64::from(block_size.max(1));
        if !BLOCK_SIZES.contains(&block_size) || blocks < 8 {
            return Err(ReadError::Geometry { block_size, blocks });
        }
        let disk = Disk {
            disk,
            block_size: u64::from(block_size),
            blocks,
        };
        let primary = match disk.copy(PRIMARY_BLOCK, Origin::Primary)? {
            Ok(table) => return Ok(table),
            Err(damage) => damage,
        };
        match disk.copy(blocks - 1, Origin::Backup)? {
            Ok(table) => Ok(table),
            Err(Damage::Signature) if primary == Damage::Signature => Err(ReadError::Absent),
            Err(_) => Err(ReadError::Damaged { primary }),
        }
    }
}

struct Disk<'a> {
    disk: &'a File,
    block_size: u64,
    blocks: u64,
}

impl Disk<'_> {
    fn read(&self, block: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let offset = block
            .checked_mul(self.block_size)
            .ok_or(io::ErrorKind::InvalidInput)?;
        self.disk.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// One copy of the table, whose header stands at `block`.
    fn copy(&self, block: u64, origin: Origin) -> io::Result<Result<Table, Damage>> {
        let raw = self.read(
            block,
            usize::try_from(self.block_size).unwrap_or(field::LENGTH),
        )?;
        let (header, entries_crc) = match self.header(&raw, block) {
            Ok(header) => header,
            Err(damage) => return Ok(Err(damage)),
        };
        let length = u64::from(header.entry_count) * u64::from(header.entry_size);
        let Ok(length) = usize::try_from(length) else {
            return Ok(Err(Damage::Bounds));
        };
        let entries = self.read(header.entries_block, length)?;
        if crc32(entries.iter().copied()) != entries_crc {
            return Ok(Err(Damage::EntriesChecksum));
        }
        let table = Table {
            block_size: self.block_size,
            disk_blocks: self.blocks,
            origin,
            header,
            entries,
        };
        let usable = table.header.first_usable..=table.header.last_usable;
        let in_bounds = table.partitions().all(|partition| {
            usable.contains(&partition.first_block)
                && usable.contains(&partition.last_block)
                && partition.first_block <= partition.last_block
        });
        Ok(if in_bounds {
            Ok(table)
        } else {
            Err(Damage::PartitionBounds)
        })
    }

    /// The checked header and the checksum that it holds of the entries.
    fn header(&self, raw: &[u8], block: u64) -> Result<(Header, u32), Damage> {
        let u32_at = |offset| {
            array(raw, offset)
                .map(u32::from_le_bytes)
                .ok_or(Damage::Bounds)
        };
        let u64_at = |offset| {
            array(raw, offset)
                .map(u64::from_le_bytes)
                .ok_or(Damage::Bounds)
        };
        if array(raw, field::SIGNATURE) != Some(SIGNATURE) {
            return Err(Damage::Signature);
        }
        let size = usize::try_from(u32_at(field::HEADER_SIZE)?).unwrap_or(usize::MAX);
        if size < field::LENGTH {
            return Err(Damage::Bounds);
        }
        let checksum = field::HEADER_CRC..field::HEADER_CRC + 4;
        let checked = raw.get(..size).ok_or(Damage::Bounds)?.iter().enumerate();
        let checked = checked.map(|(at, byte)| if checksum.contains(&at) { 0 } else { *byte });
        if crc32(checked) != u32_at(field::HEADER_CRC)? {
            return Err(Damage::HeaderChecksum);
        }
        let header = Header {
            disk_guid: array(raw, field::DISK_GUID).ok_or(Damage::Bounds)?,
            first_usable: u64_at(field::FIRST_USABLE)?,
            last_usable: u64_at(field::LAST_USABLE)?,
            entry_count: u32_at(field::ENTRY_COUNT)?,
            entry_size: u32_at(field::ENTRY_SIZE)?,
            entries_block: u64_at(field::ENTRIES_BLOCK)?,
            alternate_block: u64_at(field::ALTERNATE_BLOCK)?,
        };
        let entries_length = u64::from(header.entry_count) * u64::from(header.entry_size);
        let entries_end = header
            .entries_block
            .checked_add(entries_length.div_ceil(self.block_size))
            .ok_or(Damage::Bounds)?;
        let sound = u64_at(field::MY_BLOCK)? == block
            && u32_at(field::REVISION)? == REVISION
            && header.entry_size >= 128
            && header.entry_size.is_power_of_two()
            && (1..=ENTRIES_LIMIT).contains(&entries_length)
            && header.entries_block > PRIMARY_BLOCK
            && entries_end <= self.blocks
            && header.first_usable > PRIMARY_BLOCK
            && header.first_usable <= header.last_usable
            && header.last_usable < self.blocks;
        if !sound {
            return Err(Damage::Bounds);
        }
        Ok((header, u32_at(field::ENTRIES_CRC)?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::types;
    use super::*;
    use fixtures::gpt_disk::TestDisk;

    fn read(disk: &TestDisk) -> Result<Table, ReadError> {
        Table::read_from(disk.file(), 512, disk.size())
    }

    #[test]
    fn a_table_is_read() {
        let disk = TestDisk::new(4096, 512);
        let table = read(&disk).unwrap();
        let partitions: Vec<_> = table.partitions().collect();
        assert_eq!(partitions.len(), 2);
        assert_eq!(partitions[1].number, 6);
        assert_eq!(partitions[1].type_guid, types::VAR);
        assert_eq!(partitions[1].name, "state");
        assert_eq!(
            (partitions[1].first_block, partitions[1].blocks()),
            (1024, 1024)
        );
        assert_eq!(table.origin(), Origin::Primary);
        assert!(table.is_settled());
    }

    #[test]
    fn any_flipped_byte_of_the_primary_copy_is_seen_and_the_backup_taken() {
        let good = TestDisk::new(4096, 512);
        let whole = read(&good).unwrap();
        for offset in (512..512 + field::LENGTH as u64).chain([1024, 1024 + 5 * 128 + 33, 17407]) {
            let disk = TestDisk::new(4096, 512);
            disk.flip(offset);
            let table = read(&disk).unwrap();
            assert_eq!(table.origin(), Origin::Backup, "offset {offset}");
            assert_eq!(table.entries, whole.entries);
        }
    }

    #[test]
    fn an_empty_disk_has_no_table_and_a_damaged_one_says_so() {
        let disk = TestDisk::new(4096, 512);
        disk.flip(512 + 60);
        disk.flip(disk.size() - 512 + 60);
        assert!(matches!(
            read(&disk),
            Err(ReadError::Damaged {
                primary: Damage::HeaderChecksum
            })
        ));
        let empty = tempfile::tempfile().unwrap();
        empty.set_len(1 << 20).unwrap();
        assert!(matches!(
            Table::read_from(&empty, 512, 1 << 20),
            Err(ReadError::Absent)
        ));
        assert!(matches!(
            Table::read_from(&empty, 512, 0),
            Err(ReadError::Geometry { .. })
        ));
        assert!(matches!(
            Table::read_from(&empty, 0, 512),
            Err(ReadError::Geometry { .. })
        ));
    }

    #[test]
    fn a_header_that_names_wild_numbers_is_refused_whatever_its_checksum_says() {
        let wild: [(usize, &[u8]); 7] = [
            (field::ENTRY_COUNT, &u32::MAX.to_le_bytes()),
            (field::ENTRY_SIZE, &u32::MAX.to_le_bytes()),
            (field::ENTRY_SIZE, &0_u32.to_le_bytes()),
            (field::ENTRIES_BLOCK, &u64::MAX.to_le_bytes()),
            (field::LAST_USABLE, &u64::MAX.to_le_bytes()),
            (field::HEADER_SIZE, &u32::MAX.to_le_bytes()),
            (field::FIRST_USABLE, &0_u64.to_le_bytes()),
        ];
        for (offset, value) in wild {
            let disk = TestDisk::new(4096, 512);
            disk.set_header_field(1, offset, value);
            disk.set_header_field(4095, offset, value);
            assert!(
                matches!(read(&disk), Err(ReadError::Damaged { .. })),
                "field at {offset} set to {value:?}"
            );
        }
    }

    #[test]
    fn a_partition_outside_the_disk_is_refused() {
        let mut disk = TestDisk::new(4096, 512);
        disk.set_last_block(1 << 40);
        assert!(matches!(
            read(&disk),
            Err(ReadError::Damaged {
                primary: Damage::PartitionBounds
            })
        ));
    }

    #[test]
    fn blocks_of_4096_bytes() {
        let disk = TestDisk::new(2048 + 64, 4096);
        let table = Table::read_from(disk.file(), 4096, disk.size()).unwrap();
        assert_eq!(table.block_size(), 4096);
        assert_eq!(table.partitions().count(), 2);
        // The same disk behind a controller that shows blocks of 512 bytes has no table there.
        assert!(matches!(
            Table::read_from(disk.file(), 512, disk.size()),
            Err(ReadError::Absent)
        ));
    }
}
