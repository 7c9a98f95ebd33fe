//! Private keys as text, in the two forms of `sui keytool`. Both hold the scheme's flag byte and
//! the 32 bytes of the secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32, Hrp};
use zeroize::Zeroizing;

use super::error::KeyError;

/// The human-readable part of a private key in Sui's text form (SIP-15).
pub(super) const PREFIX: &str = "suiprivkey";

/// `suiprivkey`, the separator, 33 bytes in groups of five bits, and six of checksum.
const SUIPRIVKEY_TEXT: usize = 70;

/// 33 bytes in base64.
const KEYSTORE_TEXT: usize = 44;

/// Flag and secret.
pub struct Payload(Zeroizing<[u8; 33]>);

impl Payload {
    pub(super) fn new(flag: u8, secret: &[u8; 32]) -> Self {
        let mut bytes = Zeroizing::new([0; 33]);
        let (place, rest) = bytes.split_at_mut(1);
        place.fill(flag);
        rest.copy_from_slice(secret);
        Self(bytes)
    }

    /// The scheme's flag byte, and the secret.
    pub(super) fn parts(&self) -> (u8, &[u8; 32]) {
        let [flag, ..] = *self.0;
        // the rest of 33 bytes is 32 long
        let secret = self.0.last_chunk().unwrap_or(&[0; 32]);
        (flag, secret)
    }
}

/// Reads `suiprivkey1…`.
pub(super) fn suiprivkey(text: &str) -> Result<Payload, KeyError> {
    if !text.starts_with(PREFIX) {
        return Err(KeyError::Prefix);
    }
    if text.len() != SUIPRIVKEY_TEXT {
        return Err(KeyError::Length {
            expected: SUIPRIVKEY_TEXT,
            found: text.len(),
        });
    }
    let checked = CheckedHrpstring::new::<Bech32>(text).map_err(|_error| KeyError::Checksum)?;
    if checked.hrp().as_str() != PREFIX {
        return Err(KeyError::Prefix);
    }
    let mut bytes = Zeroizing::new([0; 33]);
    let mut found = checked.byte_iter();
    for place in bytes.iter_mut() {
        *place = found.next().ok_or(KeyError::Checksum)?;
    }
    Ok(Payload(bytes))
}

/// Reads an entry of `sui.keystore`, with or without its quotation marks.
pub(super) fn keystore_entry(text: &str) -> Result<Payload, KeyError> {
    let text = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(text);
    if text.len() != KEYSTORE_TEXT {
        return Err(KeyError::Prefix);
    }
    let mut bytes = Zeroizing::new([0; 33]);
    match STANDARD.decode_slice(text, bytes.as_mut()) {
        Ok(33) => Ok(Payload(bytes)),
        _ => Err(KeyError::Prefix),
    }
}

/// Writes `suiprivkey1…`.
pub(super) fn to_suiprivkey(payload: &Payload) -> Result<Zeroizing<String>, KeyError> {
    let prefix = Hrp::parse(PREFIX).map_err(|_error| KeyError::Prefix)?;
    bech32::encode::<Bech32>(prefix, payload.0.as_slice())
        .map(Zeroizing::new)
        .map_err(|_error| KeyError::Checksum)
}
