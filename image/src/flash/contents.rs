//! What is on a disk: a node's image, another partition table, a file system, or nothing that is known.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use gpt::{ReadError, Table};

use super::SECTOR;

/// The labels that an image of this system has.
pub(super) const ESP: &str = "esp";
/// See [`ESP`].
pub(super) const ROOT: &str = "root-a";
/// See [`ESP`].
pub(super) const STATE: &str = "state";

/// How much of a state partition is zero before a node made its state: the same length as in
/// `init/node/provision/src/state/content.rs`.
const FRESH: u64 = 16 << 20;
/// What is looked at of a disk without a table: every well-known signature lies within it.
const HEAD: usize = 128 << 10;
/// The most labels that are printed.
const LABELS: usize = 8;

/// Where well-known formats say what they are (libblkid's superblocks/).
const SIGNATURES: [(usize, &[u8], &str); 14] = [
    (0, b"XFSB", "an XFS file system"),
    (0, b"LUKS\xba\xbe", "a LUKS volume"),
    (0, b"hsqs", "a squashfs file system"),
    (3, b"NTFS    ", "an NTFS file system"),
    (3, b"EXFAT   ", "an exFAT file system"),
    (54, b"FAT1", "a FAT file system"),
    (82, b"FAT32", "a FAT file system"),
    (536, b"LVM2", "an LVM volume"),
    (1024, b"\xe2\xe1\xf5\xe0", "an EROFS file system"),
    (
        1024 + 0x38,
        b"\x53\xef",
        "an ext2, ext3 or ext4 file system",
    ),
    (4086, b"SWAPSPACE2", "swap space"),
    (4096, b"\xfc\x4e\x2b\xa9", "a RAID member"),
    (32769, b"CD001", "an ISO 9660 file system"),
    (65_600, b"_BHRfS_M", "a btrfs file system"),
];

/// What is on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contents {
    /// An image of this system, and whether a node made its state there.
    Node {
        /// The state partition is not as the image has it.
        state: bool,
    },
    /// Another GUID partition table, with its labels.
    Partitions(Vec<String>),
    /// One that is damaged in both places.
    DamagedTable,
    /// An MBR with so many partitions.
    Mbr(usize),
    /// Something without a partition table.
    Format(&'static str),
    /// Zeros, as far as was looked.
    Empty,
    /// Anything else.
    Unknown,
    /// It can't be read.
    Unreadable(String),
}

impl Contents {
    /// Looks at a disk of `size` bytes. Nothing is written.
    #[must_use]
    pub fn of(disk: &File, size: u64) -> Self {
        inspect(disk, size).unwrap_or_else(|error| Self::Unreadable(error.to_string()))
    }

    /// Whether a node keeps its state there.
    #[must_use]
    pub fn holds_state(&self) -> bool {
        matches!(self, Self::Node { state: true })
    }
}

impl fmt::Display for Contents {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node { state: true } => formatter.write_str("K3s-DaaS, holds a node's state"),
            Self::Node { state: false } => formatter.write_str("K3s-DaaS image, no state yet"),
            Self::Partitions(labels) if labels.is_empty() => {
                formatter.write_str("GPT without partitions")
            }
            Self::Partitions(labels) => {
                write!(
                    formatter,
                    "GPT: {}",
                    labels[..labels.len().min(LABELS)].join(", ")
                )?;
                match labels.len().saturating_sub(LABELS) {
                    0 => Ok(()),
                    more => write!(formatter, " and {more} more"),
                }
            }
            Self::DamagedTable => formatter.write_str("a damaged GPT"),
            Self::Mbr(count) => write!(formatter, "MBR: {count} partition(s)"),
            Self::Format(what) => formatter.write_str(what),
            Self::Empty => formatter.write_str("empty (its start is zeros)"),
            Self::Unknown => formatter.write_str("unknown data"),
            Self::Unreadable(error) => write!(formatter, "can't be read: {error}"),
        }
    }
}

fn inspect(disk: &File, size: u64) -> io::Result<Contents> {
    match Table::read_from(disk, SECTOR, size) {
        Ok(table) => of_table(disk, &table),
        Err(ReadError::Damaged { .. }) => Ok(Contents::DamagedTable),
        Err(ReadError::Disk(error)) => Err(error),
        Err(ReadError::Absent | ReadError::Geometry { .. }) => without_table(disk, size),
    }
}

fn of_table(disk: &File, table: &Table) -> io::Result<Contents> {
    let partitions: Vec<_> = table.partitions().collect();
    let labelled = |label: &str| partitions.iter().find(|partition| partition.name == label);
    let (Some(_), Some(_), Some(state)) = (labelled(ESP), labelled(ROOT), labelled(STATE)) else {
        let label = |partition: &gpt::Partition| match partition.name.as_str() {
            "" => format!("(partition {})", partition.number),
            // a label is anybody's text
            name => name.chars().filter(|letter| !letter.is_control()).collect(),
        };
        return Ok(Contents::Partitions(partitions.iter().map(label).collect()));
    };
    let length = state.blocks().saturating_mul(table.block_size()).min(FRESH);
    let start = state.first_block.saturating_mul(table.block_size());
    let state = state.attributes != 0 || !is_zero(disk, start, length)?;
    Ok(Contents::Node { state })
}

fn is_zero(disk: &File, start: u64, length: u64) -> io::Result<bool> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    disk.read_exact_at(&mut bytes, start)?;
    Ok(bytes.iter().all(|byte| *byte == 0))
}

fn without_table(disk: &File, size: u64) -> io::Result<Contents> {
    let mut head = vec![0; HEAD.min(usize::try_from(size).unwrap_or(HEAD))];
    disk.read_exact_at(&mut head, 0)?;
    let signature = SIGNATURES.iter().find(|(offset, signature, _)| {
        head.get(*offset..*offset + signature.len()) == Some(*signature)
    });
    if let Some((.., what)) = signature {
        return Ok(Contents::Format(what));
    }
    if head.get(510..512) == Some(&[0x55, 0xaa]) {
        // the type of each of the four entries; 0 is none
        let used = (0..4)
            .filter(|entry| head.get(446 + 16 * entry + 4) != Some(&0))
            .count();
        return Ok(Contents::Mbr(used));
    }
    Ok(match head.iter().all(|byte| *byte == 0) {
        true => Contents::Empty,
        false => Contents::Unknown,
    })
}
