//! The root's verity superblock, and the device mapper table made of it and the root hash.
//!
//! Layout: `struct verity_sb`, lib/verity/verity.c of cryptsetup
//! (gitlab.com/cryptsetup/cryptsetup/-/wikis/DMVerity). Table:
//! Documentation/admin-guide/device-mapper/verity.rst. The superblock itself is not signed, and
//! needs not be: it only tells how to compute the hashes, and any change to it leads to another
//! root hash.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use gpt::Guid;
use kernel::root_devices::BLOCK_SIZE;

/// `VERITY_SUPER_SIZE` of cryptsetup.
const SUPERBLOCK_LENGTH: usize = 512;
const SIGNATURE: [u8; 8] = *b"verity\0\0";
const VERSION: u32 = 1;
/// The format of hash trees since dm-verity is in the kernel; 0 is Chrome OS's older one.
const HASH_TYPE: u32 = 1;
const ALGORITHM: &str = "sha256";
const HASH_LENGTH: u64 = 32;
const SALT_LIMIT: u16 = 256;

mod field {
    pub(crate) const VERSION: usize = 8;
    pub(crate) const HASH_TYPE: usize = 12;
    pub(crate) const ALGORITHM: usize = 32;
    pub(crate) const ALGORITHM_LENGTH: usize = 32;
    pub(crate) const DATA_BLOCK_SIZE: usize = 64;
    pub(crate) const HASH_BLOCK_SIZE: usize = 68;
    pub(crate) const DATA_BLOCKS: usize = 72;
    pub(crate) const SALT_SIZE: usize = 80;
    pub(crate) const SALT: usize = 88;
}

/// The root hash: SHA-256 of the hash tree's top block, with salt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootHash([u8; 32]);

/// A root hash that is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`roothash=` must be 64 hexadecimal digits")]
pub struct InvalidRootHash;

impl RootHash {
    /// Reads 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`InvalidRootHash`] for anything else.
    pub fn parse(text: &str) -> Result<Self, InvalidRootHash> {
        let mut bytes = [0; 32];
        if text.len() != 64 {
            return Err(InvalidRootHash);
        }
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = str::from_utf8(digits).map_err(|_| InvalidRootHash)?;
            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(InvalidRootHash);
            }
            *byte = u8::from_str_radix(digits, 16).map_err(|_| InvalidRootHash)?;
        }
        Ok(Self(bytes))
    }

    /// The identities of the root partition and of its verity partition: the first and the last
    /// 128 bits of the root hash (Discoverable Partitions Specification, "Verity").
    pub fn partition_guids(&self) -> (Guid, Guid) {
        let (mut first, mut last) = ([0; 16], [0; 16]);
        for (target, byte) in first.iter_mut().chain(&mut last).zip(self.0) {
            *target = byte;
        }
        (Guid::from_text_order(first), Guid::from_text_order(last))
    }
}

impl std::fmt::Display for RootHash {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&hexadecimal(&self.0))
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Why a verity partition cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SuperblockError {
    /// It can't be read.
    #[error("the verity superblock cannot be read")]
    Read(#[source] io::Error),
    /// There is none.
    #[error("the verity superblock has no signature")]
    Signature,
    /// It is of another kind than the image builder makes.
    #[error("the verity superblock's {field} is {found}, expected {expected}")]
    Unsupported {
        /// What differs.
        field: &'static str,
        /// What it says.
        found: String,
        /// What it would have to say.
        expected: String,
    },
    /// It describes more than there is.
    #[error(
        "the verity superblock describes {needed} bytes of {what}, but the partition has {present}"
    )]
    TooSmall {
        /// Data or hashes.
        what: &'static str,
        /// Bytes that it describes.
        needed: u64,
        /// Bytes of the partition.
        present: u64,
    },
}

/// What the superblock says that varies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    data_blocks: u64,
    salt: Vec<u8>,
}

impl Superblock {
    /// Reads the superblock at the start of a verity partition, and checks it against the sizes of
    /// both partitions in bytes.
    ///
    /// # Errors
    /// See [`SuperblockError`].
    pub fn read(hashes: &File, data_size: u64, hashes_size: u64) -> Result<Self, SuperblockError> {
        let mut raw = [0; SUPERBLOCK_LENGTH];
        hashes
            .read_exact_at(&mut raw, 0)
            .map_err(SuperblockError::Read)?;
        let superblock = Self::parse(&raw)?;
        let data_needed = superblock.data_blocks.saturating_mul(BLOCK_SIZE);
        let hashes_needed = superblock
            .hash_blocks()
            .saturating_add(1)
            .saturating_mul(BLOCK_SIZE);
        for (what, needed, present) in [
            ("data", data_needed, data_size),
            ("hashes", hashes_needed, hashes_size),
        ] {
            if needed > present {
                return Err(SuperblockError::TooSmall {
                    what,
                    needed,
                    present,
                });
            }
        }
        Ok(superblock)
    }

    fn parse(raw: &[u8; SUPERBLOCK_LENGTH]) -> Result<Self, SuperblockError> {
        if !raw.starts_with(&SIGNATURE) {
            return Err(SuperblockError::Signature);
        }
        let number = |offset| u32::from_le_bytes(array(raw, offset));
        let block_size = u32::try_from(BLOCK_SIZE).unwrap_or_default();
        for (field, offset, expected) in [
            ("version", field::VERSION, VERSION),
            ("hash type", field::HASH_TYPE, HASH_TYPE),
            ("data block size", field::DATA_BLOCK_SIZE, block_size),
            ("hash block size", field::HASH_BLOCK_SIZE, block_size),
        ] {
            if number(offset) != expected {
                let (found, expected) = (number(offset).to_string(), expected.to_string());
                return Err(SuperblockError::Unsupported {
                    field,
                    found,
                    expected,
                });
            }
        }
        let algorithm: [u8; field::ALGORITHM_LENGTH] = array(raw, field::ALGORITHM);
        let algorithm = algorithm
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default();
        if algorithm != ALGORITHM.as_bytes() {
            return Err(SuperblockError::Unsupported {
                field: "algorithm",
                found: String::from_utf8_lossy(algorithm)
                    .escape_default()
                    .to_string(),
                expected: ALGORITHM.to_owned(),
            });
        }
        let salt_size = u16::from_le_bytes(array(raw, field::SALT_SIZE));
        let salt = raw.get(field::SALT..field::SALT + usize::from(salt_size));
        let (Some(salt), true) = (salt, salt_size <= SALT_LIMIT) else {
            return Err(SuperblockError::Unsupported {
                field: "salt size",
                found: salt_size.to_string(),
                expected: format!("at most {SALT_LIMIT}"),
            });
        };
        let data_blocks = u64::from_le_bytes(array(raw, field::DATA_BLOCKS));
        if data_blocks == 0 {
            return Err(SuperblockError::Unsupported {
                field: "number of data blocks",
                found: "0".to_owned(),
                expected: "at least 1".to_owned(),
            });
        }
        Ok(Self {
            data_blocks,
            salt: salt.to_vec(),
        })
    }

    /// Blocks of the hash tree: one hash for each block of the level below, up to a single block.
    fn hash_blocks(&self) -> u64 {
        let hashes_per_block = BLOCK_SIZE / HASH_LENGTH;
        let mut level = self.data_blocks;
        let mut total = 0_u64;
        while level > 1 {
            level = level.div_ceil(hashes_per_block);
            total = total.saturating_add(level);
        }
        total.max(1)
    }

    /// Length of the mapped device in sectors of 512 bytes.
    pub fn sectors(&self) -> u64 {
        self.data_blocks
            .saturating_mul(BLOCK_SIZE / kernel::block_devices::SECTOR)
    }

    /// The parameters of the `verity` target for these devices (`major:minor`). The hash tree
    /// starts after the superblock's block.
    pub fn table(&self, data: &str, hashes: &str, root_hash: &RootHash) -> String {
        let salt = if self.salt.is_empty() {
            "-".to_owned()
        } else {
            hexadecimal(&self.salt)
        };
        format!(
            "{HASH_TYPE} {data} {hashes} {BLOCK_SIZE} {BLOCK_SIZE} {} 1 {ALGORITHM} {root_hash} {salt}",
            self.data_blocks
        )
    }
}

/// `N` bytes at an offset below the length, which every offset here is.
fn array<const N: usize>(raw: &[u8; SUPERBLOCK_LENGTH], offset: usize) -> [u8; N] {
    let bytes = raw.get(offset..offset + N);
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef";

    fn superblock() -> [u8; SUPERBLOCK_LENGTH] {
        let mut raw = [0; SUPERBLOCK_LENGTH];
        raw[..8].copy_from_slice(b"verity\0\0");
        raw[8..12].copy_from_slice(&1_u32.to_le_bytes());
        raw[12..16].copy_from_slice(&1_u32.to_le_bytes());
        raw[32..38].copy_from_slice(b"sha256");
        raw[64..68].copy_from_slice(&4096_u32.to_le_bytes());
        raw[68..72].copy_from_slice(&4096_u32.to_le_bytes());
        raw[72..80].copy_from_slice(&1000_u64.to_le_bytes());
        raw[80..82].copy_from_slice(&2_u16.to_le_bytes());
        raw[88..90].copy_from_slice(&[0xab, 0x01]);
        raw
    }

    #[test]
    fn the_table_is_that_of_the_kernel_document() {
        let root_hash = RootHash::parse(HASH).unwrap();
        let superblock = Superblock::parse(&superblock()).unwrap();
        assert_eq!(superblock.sectors(), 8000);
        assert_eq!(
            superblock.table("254:2", "254:3", &root_hash),
            format!("1 254:2 254:3 4096 4096 1000 1 sha256 {HASH} ab01")
        );
        // 1000 blocks take 8 blocks of hashes, and those one more.
        assert_eq!(superblock.hash_blocks(), 9);
    }

    #[test]
    fn partition_guids_are_the_halves_of_the_root_hash() {
        let (data, hashes) = RootHash::parse(HASH).unwrap().partition_guids();
        assert_eq!(data.to_string(), "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(hashes.to_string(), "01234567-89ab-cdef-0123-456789abcdef");
    }

    #[test]
    fn a_root_hash_is_64_digits() {
        let short = &HASH[1..];
        let long = HASH.to_owned() + "0";
        let signed = format!("+{}", &HASH[1..]);
        for text in ["", "zz", short, &long, &signed, &"é".repeat(32)] {
            assert_eq!(RootHash::parse(text), Err(InvalidRootHash), "{text}");
        }
    }

    #[test]
    fn any_flipped_byte_of_the_fixed_fields_is_seen() {
        // After the algorithm's name its field is not looked at.
        for offset in (0..16).chain(32..39).chain(64..72).chain([81]) {
            let mut raw = superblock();
            raw[offset] ^= 0x40;
            assert!(Superblock::parse(&raw).is_err(), "offset {offset}");
        }
    }

    #[test]
    fn a_superblock_that_does_not_fit_its_partitions_is_refused() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&superblock(), 0).unwrap();
        assert!(Superblock::read(&file, 4_096_000, 40_960).is_ok());
        assert!(matches!(
            Superblock::read(&file, 4_095_999, 40_960),
            Err(SuperblockError::TooSmall { what: "data", .. })
        ));
        assert!(matches!(
            Superblock::read(&file, 4_096_000, 40_959),
            Err(SuperblockError::TooSmall { what: "hashes", .. })
        ));
        let mut raw = superblock();
        raw[72..80].fill(0xff);
        file.write_all_at(&raw, 0).unwrap();
        assert!(Superblock::read(&file, u64::MAX - 1, 1 << 40).is_err());
    }
}
