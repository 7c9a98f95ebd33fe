//! What is on the state partition: nothing yet, our file system, the header of our encrypted volume,
//! or somebody else's data.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::header::{self, Found};

/// The file system's label.
pub(super) const LABEL: &str = "daas-state";
/// How much of a fresh partition must be zero. The image has 64 MiB of zeros there; what lies
/// behind them on a disk that was used before says nothing. Every file system, RAID, LVM or
/// encryption header lies within the first MiB.
const EMPTY_LENGTH: u64 = 16 * 1024 * 1024;
const CHUNK: usize = 256 * 1024;

/// ext4's superblock, Documentation/filesystems/ext4/super.rst.
const SUPERBLOCK: usize = 1024;
const MAGIC: usize = SUPERBLOCK + 0x38;
const VOLUME_NAME: usize = SUPERBLOCK + 0x78;
const VOLUME_NAME_LENGTH: usize = 16;
const LOG_BLOCK_SIZE: usize = SUPERBLOCK + 0x18;
const BLOCKS_LOW: usize = SUPERBLOCK + 0x04;
const BLOCKS_HIGH: usize = SUPERBLOCK + 0x150;
/// The least that holds a superblock and the signatures below.
const HEAD_LENGTH: usize = 68 * 1024;

/// Where well-known formats say what they are, for the message alone (libblkid's superblocks/).
const SIGNATURES: [(usize, &[u8], &str); 12] = [
    (0, b"XFSB", "an XFS file system"),
    (0, b"LUKS\xba\xbe", "a LUKS volume"),
    (0, b"hsqs", "a squashfs file system"),
    (3, b"NTFS    ", "an NTFS file system"),
    (54, b"FAT", "a FAT file system"),
    (82, b"FAT32", "a FAT file system"),
    (512, b"LABELONE", "an LVM volume"),
    (1024, b"\xe2\xe1\xf5\xe0", "an EROFS file system"),
    (1024, b"\x10\x20\xf5\xf2", "an F2FS file system"),
    (4086, b"SWAPSPACE2", "swap space"),
    (4096, b"\xfc\x4e\x2b\xa9", "a RAID member"),
    (65_600, b"_BHRfS_M", "a btrfs file system"),
];

/// What is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// Zeros, as the image has them.
    Empty,
    /// A file system with our label.
    Ours {
        /// Its size in bytes.
        size: u64,
    },
    /// The header of an encrypted volume, whole or not.
    Sealed(Found),
    /// Anything else.
    Foreign {
        /// What it seems to be.
        description: String,
    },
}

/// Looks at a partition of `size` bytes. Nothing is written.
///
/// # Errors
/// What the system says.
pub(super) fn inspect(partition: &File, size: u64) -> io::Result<Content> {
    if size >= header::PAYLOAD_OFFSET {
        match header::read(partition)? {
            Found::Nothing => {}
            found => return Ok(Content::Sealed(found)),
        }
    }
    let mut head = vec![0; HEAD_LENGTH.min(usize::try_from(size).unwrap_or(HEAD_LENGTH))];
    partition.read_exact_at(&mut head, 0)?;
    if let Some((label, size)) = ext_file_system(&head) {
        return Ok(if label == LABEL {
            Content::Ours { size }
        } else {
            let label: String = label.chars().flat_map(char::escape_default).collect();
            let description = format!("an ext2, ext3 or ext4 file system labelled {label:?}");
            Content::Foreign { description }
        });
    }
    if is_zero(partition, size.min(EMPTY_LENGTH))? {
        return Ok(Content::Empty);
    }
    let known = SIGNATURES.iter().find(|(offset, signature, _)| {
        head.get(*offset..)
            .is_some_and(|rest| rest.starts_with(signature))
    });
    let description = known.map_or("data of an unknown kind", |(_, _, name)| name);
    Ok(Content::Foreign {
        description: description.to_owned(),
    })
}

/// Fills what [`inspect`] looks at with zeros, through to the disk: nothing of what was there before
/// is taken for something then.
///
/// # Errors
/// What the system says.
pub(super) fn clear(partition: &File, size: u64) -> io::Result<()> {
    let zeros = vec![0; CHUNK];
    let mut offset = 0;
    let length = size.min(EMPTY_LENGTH);
    while offset < length {
        let wanted = usize::try_from(length - offset).unwrap_or(CHUNK).min(CHUNK);
        partition.write_all_at(zeros.get(..wanted).unwrap_or_default(), offset)?;
        offset += wanted as u64;
    }
    partition.sync_all()
}

/// Label and size in bytes of an ext2, ext3 or ext4 file system.
fn ext_file_system(head: &[u8]) -> Option<(String, u64)> {
    if head.get(MAGIC..MAGIC + 2)? != [0x53, 0xef] {
        return None;
    }
    let number = |offset: usize| {
        let bytes = head.get(offset..offset + 4)?;
        Some(u64::from(u32::from_le_bytes(bytes.try_into().ok()?)))
    };
    let label = head.get(VOLUME_NAME..VOLUME_NAME + VOLUME_NAME_LENGTH)?;
    let label = label.split(|byte| *byte == 0).next().unwrap_or_default();
    let block_size = 1024_u64.checked_shl(u32::try_from(number(LOG_BLOCK_SIZE)?).ok()?)?;
    let blocks = number(BLOCKS_LOW)? | number(BLOCKS_HIGH)? << 32;
    Some((
        String::from_utf8_lossy(label).into_owned(),
        blocks.saturating_mul(block_size),
    ))
}

fn is_zero(partition: &File, length: u64) -> io::Result<bool> {
    let mut chunk = vec![0; CHUNK];
    let mut offset = 0;
    while offset < length {
        let wanted = usize::try_from(length - offset).unwrap_or(CHUNK).min(CHUNK);
        let part = chunk.get_mut(..wanted).unwrap_or_default();
        partition.read_exact_at(part, offset)?;
        if part.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        offset += wanted as u64;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 20 * 1024 * 1024;

    fn partition(content: &[(u64, &[u8])]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(SIZE).unwrap();
        for (offset, bytes) in content {
            file.write_all_at(bytes, *offset).unwrap();
        }
        file
    }

    fn description(content: &[(u64, &[u8])]) -> String {
        match inspect(&partition(content), SIZE).unwrap() {
            Content::Foreign { description } => description,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn zeros_are_empty_whatever_lies_behind_them() {
        assert_eq!(inspect(&partition(&[]), SIZE).unwrap(), Content::Empty);
        let used_disk = partition(&[(EMPTY_LENGTH, b"XFSB"), (SIZE - 512, b"EFI PART")]);
        assert_eq!(inspect(&used_disk, SIZE).unwrap(), Content::Empty);
    }

    #[test]
    fn a_single_byte_is_not_empty() {
        for offset in [0, 1023, 65_536, EMPTY_LENGTH - 1] {
            assert_eq!(description(&[(offset, b"x")]), "data of an unknown kind");
        }
    }

    #[test]
    fn an_encrypted_state_by_its_header_whatever_else_is_there() {
        let file = partition(&[(0, b"XFSB")]);
        let header = header::Header {
            generation: 1,
            envelope: b"sealed".to_vec(),
        };
        header::write(&file, header::Slot::First, &header).unwrap();
        let content = inspect(&file, SIZE).unwrap();
        assert!(
            matches!(content, Content::Sealed(Found::Whole { .. })),
            "{content:?}"
        );
        clear(&file, SIZE).unwrap();
        assert_eq!(inspect(&file, SIZE).unwrap(), Content::Empty);
    }

    #[test]
    fn clearing_ends_where_looking_ends() {
        let file = partition(&[(0, b"x"), (EMPTY_LENGTH - 1, b"yz")]);
        clear(&file, SIZE).unwrap();
        assert_eq!(inspect(&file, SIZE).unwrap(), Content::Empty);
        let mut byte = [0; 2];
        file.read_exact_at(&mut byte, EMPTY_LENGTH - 1).unwrap();
        assert_eq!(&byte, b"\0z");
        // A partition that is smaller than that.
        file.set_len(700_000).unwrap();
        file.write_all_at(b"x", 699_999).unwrap();
        clear(&file, 700_000).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 700_000);
        assert_eq!(inspect(&file, 700_000).unwrap(), Content::Empty);
    }

    #[test]
    fn our_file_system_by_its_label() {
        let ext4 = |label: &'static [u8]| {
            partition(&[
                (1024 + 0x38, &[0x53, 0xef]),
                (1024 + 0x78, label),
                (1024 + 0x18, &[2, 0, 0, 0]),
                (1024 + 0x04, &[0, 1, 0, 0]),
            ])
        };
        assert_eq!(
            inspect(&ext4(b"daas-state"), SIZE).unwrap(),
            Content::Ours { size: 256 * 4096 }
        );
        let Content::Foreign { description } = inspect(&ext4(b"home\x1b"), SIZE).unwrap() else {
            panic!("another label is not ours");
        };
        assert!(
            description.contains("ext4") && description.contains("home"),
            "{description}"
        );
        assert!(!description.contains('\x1b'), "{description:?}");
    }

    #[test]
    fn other_formats_are_named() {
        assert_eq!(description(&[(0, b"XFSB")]), "an XFS file system");
        assert_eq!(description(&[(65_600, b"_BHRfS_M")]), "a btrfs file system");
    }

    #[test]
    fn a_superblock_with_wild_numbers_does_no_harm() {
        let file = partition(&[
            (1024, &[0xff; 1024]),
            (1024 + 0x38, &[0x53, 0xef]),
            (1024 + 0x78, b"daas-state\0"),
        ]);
        assert!(matches!(
            inspect(&file, SIZE).unwrap(),
            Content::Foreign { .. }
        ));
    }
}
