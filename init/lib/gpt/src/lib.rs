//! GUID partition tables: read within bounds with every checksum checked, and written back in an
//! order that a power cut cannot turn into a disk without a table.
//!
//! Layout: UEFI specification 2.10, chapter 5.3. The table is read in PID 1, from whatever disk is
//! plugged in, so nothing here panics or allocates by a number that the disk names. (The crate
//! `gptman` asserts on entry sizes and trusts the number of entries.)
#![deny(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used
)]
#![cfg_attr(not(test), deny(clippy::string_slice))]

mod guid;
mod read;
mod write;

pub use guid::Guid;
pub use read::ReadError;
pub use write::{Device, WriteError};

/// The partition types of the Discoverable Partitions Specification that this system uses
/// (uapi-group.org/specifications/specs/discoverable_partitions_specification).
pub mod types {
    use super::Guid;

    /// Root file system of this machine's architecture.
    #[cfg(target_arch = "x86_64")]
    pub const ROOT: Guid = Guid::from_fields(0x4f68bce3, 0xe8cd, 0x4db1, 0x96e7_fbcaf984b709);
    /// dm-verity hash tree of the root.
    #[cfg(target_arch = "x86_64")]
    pub const ROOT_VERITY: Guid =
        Guid::from_fields(0x2c7357ed, 0xebd2, 0x46d9, 0xaec1_23d437ec2bf5);
    /// Root file system of this machine's architecture.
    #[cfg(target_arch = "aarch64")]
    pub const ROOT: Guid = Guid::from_fields(0xb921b045, 0x1df0, 0x41c3, 0xaf44_4c6f280d3fae);
    /// dm-verity hash tree of the root.
    #[cfg(target_arch = "aarch64")]
    pub const ROOT_VERITY: Guid =
        Guid::from_fields(0xdf3300ce, 0xd69f, 0x4c92, 0x978c_9bfb0f38d820);
    /// Variable data: the state.
    pub const VAR: Guid = Guid::from_fields(0x4d21b016, 0xb534, 0x45c2, 0xa9fb_5c16e091fd2d);
}

/// The state partition's attribute that says: its file system is being made, and holds nothing
/// yet. Bits 48 to 63 are for the partition type's own use (UEFI 2.10, table 5.9); the
/// Discoverable Partitions Specification takes 59, 60 and 63 of them.
pub const ATTRIBUTE_BEING_FORMATTED: u64 = 1 << 48;
/// The state partition's attribute that says: the machine was restarted since the state did not open before the boot
/// phase ended, and the state has not opened since. Of the same range.
pub const ATTRIBUTE_RESTARTED: u64 = 1 << 49;

/// Which of the two copies was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The one at the disk's start.
    Primary,
    /// The one at the disk's end, because the primary one is damaged.
    Backup,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number, from 1: what the kernel appends to the disk's name.
    pub number: u32,
    /// What it is for.
    pub type_guid: Guid,
    /// Its own identity.
    pub guid: Guid,
    /// First block.
    pub first_block: u64,
    /// Last block, inclusive.
    pub last_block: u64,
    /// Attribute bits.
    pub attributes: u64,
    /// Its label.
    pub name: String,
}

impl Partition {
    /// Length in blocks.
    pub fn blocks(&self) -> u64 {
        self.last_block
            .saturating_sub(self.first_block)
            .saturating_add(1)
    }
}

/// A table that was read, with its raw entries, so that what this program does not know is
/// written back as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    block_size: u64,
    disk_blocks: u64,
    origin: Origin,
    header: Header,
    entries: Vec<u8>,
}

/// The fields of a header that are the same in both copies.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Header {
    disk_guid: [u8; 16],
    first_usable: u64,
    last_usable: u64,
    entry_count: u32,
    entry_size: u32,
    entries_block: u64,
    alternate_block: u64,
}

/// Offsets in a partition entry, UEFI 2.10 table 5.8.
mod entry {
    pub(crate) const TYPE: usize = 0;
    pub(crate) const GUID: usize = 16;
    pub(crate) const FIRST_BLOCK: usize = 32;
    pub(crate) const LAST_BLOCK: usize = 40;
    pub(crate) const ATTRIBUTES: usize = 48;
    pub(crate) const NAME: usize = 56;
    pub(crate) const NAME_LENGTH: usize = 72;
}

impl Table {
    /// Bytes of one block of the disk.
    pub fn block_size(&self) -> u64 {
        self.block_size
    }

    /// Which copy this was read from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Every partition, by number.
    pub fn partitions(&self) -> impl Iterator<Item = Partition> {
        let size = usize::try_from(self.header.entry_size)
            .unwrap_or(usize::MAX)
            .max(1);
        self.entries
            .chunks_exact(size)
            .zip(1..)
            .filter_map(|(raw, number)| partition(raw, number))
    }

    /// The last block that a partition may end at when the backup copy stands at the disk's very
    /// end, and the end is rounded down to `alignment` bytes. `None` on a disk without room.
    pub fn last_usable_block(&self, alignment: u64) -> Option<u64> {
        let end = self
            .disk_blocks
            .checked_sub(1)?
            .checked_sub(self.entries_blocks())?;
        let alignment = (alignment / self.block_size).max(1);
        (end / alignment).checked_mul(alignment)?.checked_sub(1)
    }

    /// Whether the table needs no repair: the primary copy is whole, and the backup copy belongs
    /// at the disk's very end.
    pub fn is_settled(&self) -> bool {
        self.origin == Origin::Primary
            && self.disk_blocks.checked_sub(1) == Some(self.header.alternate_block)
    }

    /// Blocks that the entries take.
    fn entries_blocks(&self) -> u64 {
        (self.entries.len() as u64).div_ceil(self.block_size)
    }

    /// Sets where a partition ends. `false` when there is no such partition.
    pub fn set_last_block(&mut self, number: u32, last_block: u64) -> bool {
        self.set_u64(number, entry::LAST_BLOCK, last_block)
    }

    /// Sets a partition's attributes. `false` when there is no such partition.
    pub fn set_attributes(&mut self, number: u32, attributes: u64) -> bool {
        self.set_u64(number, entry::ATTRIBUTES, attributes)
    }

    fn set_u64(&mut self, number: u32, offset: usize, value: u64) -> bool {
        let size = usize::try_from(self.header.entry_size).unwrap_or(usize::MAX);
        let field = usize::try_from(number)
            .ok()
            .and_then(|number| {
                number
                    .checked_sub(1)?
                    .checked_mul(size)?
                    .checked_add(offset)
            })
            .and_then(|start| self.entries.get_mut(start..start.checked_add(8)?));
        match field {
            Some(field) => {
                field.copy_from_slice(&value.to_le_bytes());
                true
            }
            None => false,
        }
    }
}

fn partition(raw: &[u8], number: u32) -> Option<Partition> {
    let type_guid = Guid(array(raw, entry::TYPE)?);
    if type_guid == Guid([0; 16]) {
        return None;
    }
    let name = raw.get(entry::NAME..entry::NAME + entry::NAME_LENGTH)?;
    let units = name
        .chunks_exact(2)
        .filter_map(|pair| array(pair, 0).map(u16::from_le_bytes));
    let name: String = char::decode_utf16(units.take_while(|unit| *unit != 0))
        .map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER))
        // Names are printed on the console; a control character there could pretend anything.
        .map(|character| {
            if character.is_control() {
                '?'
            } else {
                character
            }
        })
        .collect();
    Some(Partition {
        number,
        type_guid,
        guid: Guid(array(raw, entry::GUID)?),
        first_block: u64::from_le_bytes(array(raw, entry::FIRST_BLOCK)?),
        last_block: u64::from_le_bytes(array(raw, entry::LAST_BLOCK)?),
        attributes: u64::from_le_bytes(array(raw, entry::ATTRIBUTES)?),
        name,
    })
}

/// `N` bytes at an offset; `None` past the end.
fn array<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()
}

/// CRC-32 as in IEEE 802.3, which UEFI 2.10, 5.3.1 asks for: reflected, polynomial 0xEDB88320.
/// Bit by bit: a table is 16 KiB.
fn crc32(bytes: impl IntoIterator<Item = u8>) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_standard_one() {
        assert_eq!(crc32(*b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32([]), 0);
    }
}
