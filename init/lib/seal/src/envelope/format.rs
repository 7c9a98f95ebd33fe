//! The bytes of a sealed file.
//!
//! | bytes | what |
//! | --- | --- |
//! | 8 | `DAASSEAL` |
//! | 2 | version, big-endian |
//! | 4 | length of the header, big-endian |
//! | … | header: BCS of [`Header`] |
//! | 24 | nonce |
//! | … | XChaCha20-Poly1305 over the content, with all before the nonce as associated data |
//! | 32 | SHA-256 of all before it |
//!
//! The checksum protects from nothing but accidents: it tells a damaged file from an edited one.

use serde::{Deserialize, Serialize};

use super::{error::Error, recovery::Recovery};
use crate::tpm::{Duplicate, SealedObject, crypto::sha256, object::Name, policy::Policy};

const MAGIC: &[u8; 8] = b"DAASSEAL";

/// The newest version of the format, and the only one.
pub(super) const VERSION: u16 = 1;

/// Bytes of an XChaCha20-Poly1305 nonce (draft-irtf-cfrg-xchacha, 2.3).
pub(super) const NONCE: usize = 24;

/// Bytes of a Poly1305 tag (RFC 8439, 2.5).
const TAG: usize = 16;

/// The longest header in bytes; ours have about 700.
const MAX_HEADER: usize = 8 * 1024;

/// The longest content in bytes.
pub const MAX_CONTENT: usize = 256 * 1024;

const CHECKSUM: usize = 32;

/// The longest sealed file in bytes.
pub const MAX_FILE: usize = MAGIC.len() + 2 + 4 + MAX_HEADER + NONCE + MAX_CONTENT + TAG + CHECKSUM;

/// Where the content's key is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum KeyHolder {
    /// Sealed by the TPM that opens it.
    Sealed(SealedObject),
    /// Sealed from afar: the TPM takes it in first.
    Duplicate(Duplicate),
}

/// What is authenticated, and readable by all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    /// What the content is, so that files cannot be mixed up.
    pub(super) label: String,
    /// The name of the storage root key that the content's key is below.
    pub(super) root: Name,
    /// The name of the TPM's endorsement key, which outlives a clear, where it was known.
    pub(super) endorsement: Option<Name>,
    /// The policy under which the content's key opens.
    pub(super) policy: Policy,
    /// The content's key.
    pub(super) key: KeyHolder,
    /// The content's key once more, for the recovery key.
    pub(super) recovery: Option<Recovery>,
}

/// A sealed file, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) header: Header,
    /// All before the nonce.
    pub(super) authenticated: Vec<u8>,
    pub(super) nonce: [u8; NONCE],
    pub(super) ciphertext: Vec<u8>,
}

/// The authenticated bytes of a header.
pub(super) fn authenticated(header: &Header) -> Result<Vec<u8>, Error> {
    let encoded = bcs::to_bytes(header).map_err(|_| Error::Damaged("its header"))?;
    let length = u32::try_from(encoded.len()).map_err(|_| Error::Damaged("its header"))?;
    if encoded.len() > MAX_HEADER {
        return Err(Error::Damaged("its header is too long"));
    }
    let version = VERSION.to_be_bytes();
    Ok([MAGIC.as_slice(), &version, &length.to_be_bytes(), &encoded].concat())
}

/// Puts a file together.
pub(super) fn write(parts: &Parts) -> Vec<u8> {
    let mut bytes = [
        parts.authenticated.as_slice(),
        &parts.nonce,
        &parts.ciphertext,
    ]
    .concat();
    let checksum = sha256(&[&bytes]);
    bytes.extend_from_slice(&checksum);
    bytes
}

/// Takes a file apart. Nothing is authentic yet but that it is whole.
pub(super) fn read(bytes: &[u8]) -> Result<Parts, Error> {
    let cut = || Error::Damaged("it is cut short");
    let body = bytes.strip_prefix(MAGIC).ok_or(Error::NotSealed)?;
    let (version, body) = body.split_first_chunk().ok_or_else(cut)?;
    let found = u16::from_be_bytes(*version);
    if found == 0 || found > VERSION {
        return Err(Error::NewerVersion {
            found,
            known: VERSION,
        });
    }
    if bytes.len() > MAX_FILE {
        return Err(Error::Damaged("it is longer than any sealed file"));
    }
    let (whole, checksum) = bytes.split_last_chunk::<CHECKSUM>().ok_or_else(cut)?;
    if sha256(&[whole]) != *checksum {
        return Err(Error::Damaged("its checksum is wrong"));
    }
    let body = body.split_last_chunk::<CHECKSUM>().ok_or_else(cut)?.0;
    let (length, body) = body.split_first_chunk().ok_or_else(cut)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| cut())?;
    if length > MAX_HEADER {
        return Err(Error::Damaged("its header is too long"));
    }
    let (encoded, body) = body.split_at_checked(length).ok_or_else(cut)?;
    let header = bcs::from_bytes(encoded).map_err(|_| Error::Damaged("its header"))?;
    let (nonce, ciphertext) = body.split_first_chunk().ok_or_else(cut)?;
    if ciphertext.len() < TAG {
        return Err(cut());
    }
    let authenticated = MAGIC.len() + 2 + 4 + length;
    Ok(Parts {
        header,
        authenticated: bytes.get(..authenticated).ok_or_else(cut)?.to_vec(),
        nonce: *nonce,
        ciphertext: ciphertext.to_vec(),
    })
}
