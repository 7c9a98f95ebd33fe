//! The address of the Sui key that the TPM made, in the open beside the sealed configuration: a reset names
//! it, which can unseal nothing.

use std::io::{self, Read as _};

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest as _};
use seal::node::StoredKey;
use seal::tpm::error::Error as TpmError;

use crate::sealing::hex_digits;
use crate::system_partition::SystemPartition;

/// Below [`DIRECTORY`](crate::system_partition::DIRECTORY): one line.
pub(crate) const FILE: &str = "sui-address";
/// What a reset was confirmed with from outside the machine (`build.sh reset --disk`): the same line.
pub(crate) const CONFIRMED: &str = "reset-confirmed";
/// Longer than an address with any white space that a person adds.
const LIMIT: u64 = 256;
/// What a key of ECDSA over P-256 begins with at Sui (sui-types, `SignatureScheme`).
const SECP256R1_FLAG: u8 = 2;
/// Digits of an address that a person types: as many as tell two keys apart.
const TYPED: usize = 8;

/// The address: `0x` and the digits of a hash over flag and public key (BLAKE2b-256).
///
/// # Errors
/// When what is stored of the key is malformed.
pub(crate) fn of(key: &StoredKey) -> Result<String, TpmError> {
    let point = key.to_signing_key().public_key()?;
    let mut hash = Blake2b::<U32>::new();
    hash.update([SECP256R1_FLAG]);
    hash.update(point.to_compressed());
    Ok(format!("0x{}", hex_digits(&hash.finalize())))
}

/// What the file holds.
pub(crate) fn line(address: &str) -> String {
    format!("{address}\n")
}

/// Reads an address out of a file; none: the file is not there, or holds none.
///
/// # Errors
/// What the system says.
pub(crate) fn read(mounted: &SystemPartition, name: &str) -> io::Result<Option<String>> {
    let Some(file) = mounted.read(name)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    file.take(LIMIT).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let address = text.trim();
    let digits = address.strip_prefix("0x").unwrap_or_default();
    let is_one = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    Ok(is_one.then(|| address.to_ascii_lowercase()))
}

/// The first digits of an address, which confirm a reset.
pub(crate) fn digits(address: &str) -> &str {
    let digits = address.strip_prefix("0x").unwrap_or(address);
    digits.get(..TYPED).unwrap_or(digits)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::system_partition::DIRECTORY;

    #[test]
    fn address_comes_back_and_anything_else_is_none() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(DIRECTORY)).unwrap();
        let mounted = SystemPartition::folder(folder.path());
        assert_eq!(read(&mounted, FILE).unwrap(), None);
        let address = format!("0x{}", "ab12".repeat(16));
        mounted.replace(FILE, line(&address).as_bytes()).unwrap();
        assert_eq!(read(&mounted, FILE).unwrap(), Some(address.clone()));
        assert_eq!(digits(&address), "ab12ab12");
        let path = folder.path().join(DIRECTORY).join(FILE);
        for wrong in [
            "",
            "0x12",
            &address[2..],
            &format!("{address}0"),
            &"x".repeat(300),
        ] {
            fs::write(&path, wrong).unwrap();
            assert_eq!(read(&mounted, FILE).unwrap(), None, "{wrong}");
        }
        fs::write(&path, b"0x\xff\xfe").unwrap();
        assert_eq!(read(&mounted, FILE).unwrap(), None);
    }
}
