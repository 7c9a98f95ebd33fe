//! The attestation document: Nitro Enclaves Attestation Process, section 3, "Attestation document
//! specification" (github.com/aws/aws-nitro-enclaves-nsm-api, docs/attestation_process.md).

use std::collections::BTreeMap;

use attest::tee_report::TeeKind;
use ciborium::Value;

use crate::tee_report::outcome::Refusal;

/// How deep a document may nest. It has two levels.
const DEPTH: usize = 8;
/// The longest certificate in bytes, by the document's specification.
const MAXIMUM_CERTIFICATE: usize = 1024;
/// The most certificates. A real one has four.
const MAXIMUM_CERTIFICATES: usize = 16;
/// The longest public key, user data and nonce, in bytes, by the document's specification.
const MAXIMUM_FIELD: usize = 1024;

/// A document. Nothing in it is believed before its signature was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Document {
    pub(super) module: String,
    /// Milliseconds since 1970.
    pub(super) timestamp: u64,
    pub(super) pcrs: BTreeMap<u8, [u8; 48]>,
    pub(super) certificate: Vec<u8>,
    /// The issuers' certificates, the root's first.
    pub(super) authorities: Vec<Vec<u8>>,
    pub(super) user_data: Option<Vec<u8>>,
    pub(super) nonce: Option<Vec<u8>>,
}

/// Takes the value of a key out of a map. Nothing when the key is not there exactly once.
fn take(map: &mut Vec<(Value, Value)>, key: &str) -> Option<Value> {
    let index = map
        .iter()
        .position(|(name, _)| name.as_text() == Some(key))?;
    let (_, value) = map.swap_remove(index);
    let again = map.iter().any(|(name, _)| name.as_text() == Some(key));
    (!again).then_some(value)
}

fn bytes(value: Value, lengths: std::ops::RangeInclusive<usize>) -> Option<Vec<u8>> {
    let bytes = value.into_bytes().ok()?;
    lengths.contains(&bytes.len()).then_some(bytes)
}

/// A field that may be absent or null.
#[expect(
    clippy::option_option,
    reason = "outside: whether it is what it may be"
)]
fn optional(map: &mut Vec<(Value, Value)>, key: &str) -> Option<Option<Vec<u8>>> {
    if !map.iter().any(|(name, _)| name.as_text() == Some(key)) {
        return Some(None);
    }
    match take(map, key)? {
        Value::Null => Some(None),
        value => Some(Some(bytes(value, 0..=MAXIMUM_FIELD)?)),
    }
}

impl Document {
    /// Reads the payload of a document.
    pub(super) fn parse(payload: &[u8]) -> Result<Self, Refusal> {
        let malformed = |what| Refusal::Malformed {
            kind: TeeKind::Nitro,
            what,
        };
        let mut rest = payload;
        let value: Value = ciborium::de::from_reader_with_recursion_limit(&mut rest, DEPTH)
            .map_err(|_| malformed("its payload is no CBOR"))?;
        let mut map = value
            .into_map()
            .map_err(|_| malformed("its payload is no map"))?;
        if !rest.is_empty() {
            return Err(malformed("something follows its payload"));
        }
        let digest = take(&mut map, "digest");
        if digest.as_ref().and_then(Value::as_text) != Some("SHA384") {
            return Err(malformed("its digest is not SHA384"));
        }
        let document = Self {
            module: take(&mut map, "module_id")
                .and_then(|value| value.into_text().ok())
                .filter(|module| (1..=MAXIMUM_FIELD).contains(&module.len()))
                .ok_or_else(|| malformed("it has no module_id"))?,
            timestamp: take(&mut map, "timestamp")
                .and_then(|value| u64::try_from(value.into_integer().ok()?).ok())
                .ok_or_else(|| malformed("it has no timestamp"))?,
            pcrs: take(&mut map, "pcrs")
                .and_then(pcrs)
                .ok_or_else(|| malformed("its pcrs are not up to 32 values of 48 bytes"))?,
            certificate: take(&mut map, "certificate")
                .and_then(|value| bytes(value, 1..=MAXIMUM_CERTIFICATE))
                .ok_or_else(|| malformed("it has no certificate"))?,
            authorities: take(&mut map, "cabundle")
                .and_then(authorities)
                .ok_or_else(|| malformed("it has no cabundle"))?,
            user_data: optional(&mut map, "user_data")
                .ok_or_else(|| malformed("its user_data is not up to 1024 bytes"))?,
            nonce: optional(&mut map, "nonce")
                .ok_or_else(|| malformed("its nonce is not up to 1024 bytes"))?,
        };
        optional(&mut map, "public_key")
            .ok_or_else(|| malformed("its public_key is not up to 1024 bytes"))?;
        if !map.is_empty() {
            return Err(malformed("it has a field that is not known"));
        }
        Ok(document)
    }
}

fn pcrs(value: Value) -> Option<BTreeMap<u8, [u8; 48]>> {
    let entries = value.into_map().ok()?;
    let count = entries.len();
    let pcrs: BTreeMap<u8, [u8; 48]> = entries
        .into_iter()
        .map(|(index, value)| {
            let index = u8::try_from(index.into_integer().ok()?).ok()?;
            let value = value.into_bytes().ok()?.try_into().ok()?;
            (index < 32).then_some((index, value))
        })
        .collect::<Option<_>>()?;
    ((1..=32).contains(&count) && pcrs.len() == count).then_some(pcrs)
}

fn authorities(value: Value) -> Option<Vec<Vec<u8>>> {
    let certificates = value.into_array().ok()?;
    if !(1..=MAXIMUM_CERTIFICATES).contains(&certificates.len()) {
        return None;
    }
    certificates
        .into_iter()
        .map(|certificate| bytes(certificate, 1..=MAXIMUM_CERTIFICATE))
        .collect()
}
