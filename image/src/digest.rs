//! SHA-256 over files and bytes, and identifiers derived from it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// The SHA-256 of some bytes, in lower-case hexadecimal.
#[must_use]
pub fn of_bytes(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The SHA-256 of a file's content, in lower-case hexadecimal.
///
/// # Errors
/// When the file can't be read.
pub fn of_file(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("can't open {}", path.display()))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let length = file
            .read(&mut buffer)
            .with_context(|| format!("can't read {}", path.display()))?;
        if length == 0 {
            return Ok(hex::encode(hasher.finalize()));
        }
        hasher.update(&buffer[..length]);
    }
}

/// A UUID that depends on `purpose` and `input` alone, so that an image built twice has the same
/// identifiers. Version 8 (RFC 9562, section 5.8: vendor-specific content), variant 1; in the order
/// in which a UUID is written, most significant byte first.
#[must_use]
pub fn uuid(purpose: &str, input: &str) -> [u8; 16] {
    let mut hasher = Sha256::new();
    hasher.update(purpose.as_bytes());
    hasher.update([0]);
    hasher.update(input.as_bytes());
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&hasher.finalize()[..16]);
    uuid[6] = (uuid[6] & 0x0f) | 0x80;
    uuid[8] = (uuid[8] & 0x3f) | 0x80;
    uuid
}

/// A UUID as it is written: `8-4-4-4-12` hexadecimal digits.
#[must_use]
pub fn uuid_text(uuid: [u8; 16]) -> String {
    let digits = hex::encode(uuid);
    format!(
        "{}-{}-{}-{}-{}",
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..]
    )
}

/// The first 128 bits of a 64-digit hash, as UUID bytes.
///
/// # Errors
/// When the text is not 64 hexadecimal digits.
pub fn halves(hash: &str) -> Result<([u8; 16], [u8; 16])> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(hash, &mut bytes)
        .with_context(|| format!("{hash:?} is not a SHA-256 hash"))?;
    let (mut first, mut last) = ([0; 16], [0; 16]);
    first.copy_from_slice(&bytes[..16]);
    last.copy_from_slice(&bytes[16..]);
    Ok((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_stable_and_differ_by_purpose() {
        assert_eq!(uuid("disk", "a"), uuid("disk", "a"));
        assert_ne!(uuid("disk", "a"), uuid("esp", "a"));
        let text = uuid_text(uuid("disk", "a"));
        assert_eq!(text.len(), 36);
        assert_eq!(&text[14..15], "8");
    }

    #[test]
    fn a_hash_splits_into_halves() {
        let hash = "00112233445566778899aabbccddeeff0123456789abcdeffedcba9876543210";
        let (first, last) = halves(hash).unwrap();
        assert_eq!(uuid_text(first), "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(uuid_text(last), "01234567-89ab-cdef-fedc-ba9876543210");
        assert!(halves("0011").is_err());
    }

    #[test]
    fn bytes_and_files_hash_alike() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"abc").unwrap();
        assert_eq!(of_file(file.path()).unwrap(), of_bytes(b"abc"));
        assert_eq!(
            of_bytes(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
