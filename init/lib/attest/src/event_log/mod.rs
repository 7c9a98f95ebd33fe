//! The firmware's event log: what was measured into which register, in order.
//!
//! The log is in the crypto-agile format (PFP 10.2): a first event in the old format that names the
//! banks, then events with a digest for each bank. Nothing in it is believed until its digests lead
//! to the quoted registers, and no event's data until it hashes to its digest: see [`EventLog::replay`]
//! and [`secure_boot`].

pub mod secure_boot;

use seal::tpm::{
    crypto::{Digest, sha256},
    pcr,
};

use crate::evidence::MAXIMUM_EVENT_LOG;

/// `TPM_ALG_SHA256` (TCG Algorithm Registry 1.32, table 3).
const SHA256: u16 = 0x000b;

/// The most banks; every TPM has fewer.
const MOST_BANKS: usize = 8;

/// The longest digest of a bank in bytes (SHA-512).
const LONGEST_DIGEST: u16 = 64;

/// `EV_NO_ACTION` (PFP 10.4.1): it is in the log, and extends nothing.
pub const EV_NO_ACTION: u32 = 0x3;

/// `EV_SEPARATOR` (PFP 10.4.1).
pub const EV_SEPARATOR: u32 = 0x4;

/// `EV_EFI_VARIABLE_DRIVER_CONFIG` (PFP 10.4.1).
pub const EV_EFI_VARIABLE_DRIVER_CONFIG: u32 = 0x8000_0001;

/// `EV_EFI_ACTION` (PFP 10.4.1): a text that says what was done.
pub const EV_EFI_ACTION: u32 = 0x8000_0007;

/// `EV_EFI_VARIABLE_AUTHORITY` (PFP 10.4.1).
pub const EV_EFI_VARIABLE_AUTHORITY: u32 = 0x8000_00e0;

/// The signature of the first event (PFP 10.4.5.1).
const SPECIFICATION: &[u8; 16] = b"Spec ID Event03\0";

/// The signature of the event that says from which locality the TPM was started (PFP 10.4.5.3).
const STARTUP_LOCALITY: &[u8; 16] = b"StartupLocality\0";

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    /// The register.
    pub register: u32,
    /// The kind, PFP 10.4.1. It is under no digest.
    pub kind: u32,
    /// The digest of the SHA-256 bank.
    pub digest: Digest,
    /// The data. What its relation to the digest is, depends on the kind.
    pub data: &'a [u8],
}

/// A log that is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EventLogError {
    /// Nothing in it.
    #[error("the machine has no event log: it was not started by a firmware that measures")]
    Empty,
    /// Too long.
    #[error("the event log is longer than {MAXIMUM_EVENT_LOG} bytes")]
    TooLong,
    /// Its first event is not the one that names the banks.
    #[error("the event log does not begin with a specification of the crypto-agile format")]
    Specification,
    /// No SHA-256.
    #[error("the event log has no digests of the SHA-256 bank")]
    NoSha256,
    /// It ends within an event, or an event is malformed.
    #[error("the event log is malformed from byte {0} on")]
    Malformed(usize),
}

/// A log, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog<'a> {
    events: Vec<Event<'a>>,
}

/// What is left to read, and where that is.
struct Reader<'a> {
    bytes: &'a [u8],
    whole: usize,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            whole: bytes.len(),
        }
    }

    fn place(&self) -> usize {
        self.whole - self.bytes.len()
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(taken)
    }

    fn array<const LENGTH: usize>(&mut self) -> Option<[u8; LENGTH]> {
        self.take(LENGTH)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A buffer with its length before it, in four bytes.
    fn sized(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(usize::try_from(length).ok()?)
    }
}

/// A bank: its algorithm, and the length of its digests.
type Bank = (u16, u16);

/// The first event, PFP 10.4.5.1: a `TCG_PCR_EVENT` with a `TCG_EfiSpecIdEvent` in it.
fn specification(reader: &mut Reader<'_>) -> Option<Vec<Bank>> {
    let register = reader.u32()?;
    let kind = reader.u32()?;
    let _sha1: [u8; 20] = reader.array()?;
    let mut data = Reader::new(reader.sized()?);
    if register != 0 || kind != EV_NO_ACTION || data.take(SPECIFICATION.len())? != SPECIFICATION {
        return None;
    }
    // platformClass; minor and major version, errata, size of UINTN
    let _platform = data.u32()?;
    let _version: [u8; 4] = data.array()?;
    let count = usize::try_from(data.u32()?).ok()?;
    if !(1..=MOST_BANKS).contains(&count) {
        return None;
    }
    let mut banks: Vec<Bank> = Vec::with_capacity(count);
    for _ in 0..count {
        let (algorithm, length) = (data.u16()?, data.u16()?);
        let known = banks.iter().any(|(other, _)| *other == algorithm);
        if known || length == 0 || length > LONGEST_DIGEST {
            return None;
        }
        banks.push((algorithm, length));
    }
    let vendor = data.u8()?;
    data.take(vendor.into())?;
    data.bytes.is_empty().then_some(banks)
}

/// One `TCG_PCR_EVENT2` (PFP 10.2.2).
fn event<'a>(reader: &mut Reader<'a>, banks: &[Bank]) -> Option<Event<'a>> {
    let register = reader.u32()?;
    let kind = reader.u32()?;
    let count = usize::try_from(reader.u32()?).ok()?;
    if count != banks.len() {
        return None;
    }
    let mut digest: Option<Digest> = None;
    for _ in 0..count {
        let algorithm = reader.u16()?;
        let (_, length) = banks.iter().find(|(other, _)| *other == algorithm)?;
        let value = reader.take((*length).into())?;
        if algorithm == SHA256 {
            if digest.is_some() {
                return None;
            }
            digest = Some(value.try_into().ok()?);
        }
    }
    Some(Event {
        register,
        kind,
        digest: digest?,
        data: reader.sized()?,
    })
}

impl<'a> EventLog<'a> {
    /// Reads a log.
    ///
    /// # Errors
    /// When it is empty, too long, of another format, or malformed: then with the place.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EventLogError> {
        if bytes.is_empty() {
            return Err(EventLogError::Empty);
        }
        if bytes.len() > MAXIMUM_EVENT_LOG {
            return Err(EventLogError::TooLong);
        }
        let mut reader = Reader::new(bytes);
        let banks = specification(&mut reader).ok_or(EventLogError::Specification)?;
        if !banks.contains(&(SHA256, 32)) {
            return Err(EventLogError::NoSha256);
        }
        let mut events = Vec::new();
        while !reader.bytes.is_empty() {
            let place = reader.place();
            events.push(event(&mut reader, &banks).ok_or(EventLogError::Malformed(place))?);
        }
        Ok(Self { events })
    }

    /// The events of a register, those that extend nothing left out.
    pub fn of(&self, register: u8) -> impl Iterator<Item = &Event<'a>> {
        self.events.iter().filter(move |event| {
            event.register == u32::from(register) && event.kind != EV_NO_ACTION
        })
    }

    /// Whether anything at all was measured into a register.
    #[must_use]
    pub fn measures(&self, register: u8) -> bool {
        self.of(register).next().is_some()
    }

    /// The value that a register has after all its events.
    #[must_use]
    pub fn replay(&self, register: u8) -> Digest {
        let mut start = [0; 32];
        if register == 0 {
            // TPM 2.0 Library Part 1, 17.3: the locality of TPM2_Startup is PCR 0's first value
            start[31] = self.startup_locality();
        }
        self.of(register)
            .fold(start, |value, event| pcr::extended(&value, &event.digest))
    }

    fn startup_locality(&self) -> u8 {
        self.events
            .iter()
            .filter(|event| event.register == 0 && event.kind == EV_NO_ACTION)
            .find_map(|event| match event.data.strip_prefix(STARTUP_LOCALITY) {
                Some([locality]) => Some(*locality),
                _ => None,
            })
            .unwrap_or_default()
    }
}

impl Event<'_> {
    /// Whether the data is what was measured.
    #[must_use]
    pub fn is_hash_of_data(&self) -> bool {
        sha256(&[self.data]) == self.digest
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(banks: &[Bank]) -> Vec<u8> {
        let mut data = SPECIFICATION.to_vec();
        data.extend([0; 4]);
        data.extend([0, 2, 0, 2]);
        data.extend(u32::try_from(banks.len()).expect("few").to_le_bytes());
        for (algorithm, length) in banks {
            data.extend(algorithm.to_le_bytes());
            data.extend(length.to_le_bytes());
        }
        data.push(0);
        let mut bytes = vec![0; 4];
        bytes.extend(EV_NO_ACTION.to_le_bytes());
        bytes.extend([0; 20]);
        bytes.extend(u32::try_from(data.len()).expect("short").to_le_bytes());
        bytes.extend(data);
        bytes
    }

    fn push(log: &mut Vec<u8>, register: u32, kind: u32, digest: &Digest, data: &[u8]) {
        log.extend(register.to_le_bytes());
        log.extend(kind.to_le_bytes());
        log.extend(2_u32.to_le_bytes());
        log.extend(4_u16.to_le_bytes());
        log.extend([9; 20]);
        log.extend(SHA256.to_le_bytes());
        log.extend(digest);
        log.extend(u32::try_from(data.len()).expect("short").to_le_bytes());
        log.extend(data);
    }

    fn a_log() -> Vec<u8> {
        let mut log = header(&[(4, 20), (SHA256, 32)]);
        let locality = [STARTUP_LOCALITY.as_slice(), &[3]].concat();
        push(&mut log, 0, EV_NO_ACTION, &[0; 32], &locality);
        push(&mut log, 0, 8, &[1; 32], b"version");
        push(&mut log, 7, EV_SEPARATOR, &sha256(&[&[0; 4]]), &[0; 4]);
        push(&mut log, 11, 13, &[2; 32], b"linux");
        push(&mut log, 11, 13, &[3; 32], b"initrd");
        log
    }

    #[test]
    fn it_replays_to_what_a_tpm_would_hold() {
        let bytes = a_log();
        let log = EventLog::parse(&bytes).expect("a log");
        let mut start = [0; 32];
        start[31] = 3;
        assert_eq!(log.replay(0), pcr::extended(&start, &[1; 32]));
        let separator = sha256(&[&[0; 4]]);
        assert_eq!(log.replay(7), pcr::extended(&[0; 32], &separator));
        let linux = pcr::extended(&[0; 32], &[2; 32]);
        assert_eq!(log.replay(11), pcr::extended(&linux, &[3; 32]));
        assert_eq!(log.replay(5), [0; 32]);
        assert!(log.of(7).all(Event::is_hash_of_data));
    }

    #[test]
    fn what_is_no_log_is_refused_by_name() {
        assert_eq!(EventLog::parse(&[]), Err(EventLogError::Empty));
        let long = vec![0; MAXIMUM_EVENT_LOG + 1];
        assert_eq!(EventLog::parse(&long), Err(EventLogError::TooLong));
        assert_eq!(EventLog::parse(&[0; 64]), Err(EventLogError::Specification));
        let sha1 = header(&[(4, 20)]);
        assert_eq!(EventLog::parse(&sha1), Err(EventLogError::NoSha256));
        let odd = header(&[(SHA256, 20)]);
        assert_eq!(EventLog::parse(&odd), Err(EventLogError::NoSha256));
        let twice = header(&[(SHA256, 32), (SHA256, 32)]);
        assert_eq!(EventLog::parse(&twice), Err(EventLogError::Specification));
        let place = header(&[(4, 20), (SHA256, 32)]).len();
        let bytes = a_log();
        for length in place + 1..place + 60 {
            assert_eq!(
                EventLog::parse(&bytes[..length]),
                Err(EventLogError::Malformed(place))
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..1024)) {
            let _ = EventLog::parse(&bytes);
        }

        #[test]
        fn an_edited_log_is_read_or_refused(
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        ) {
            let mut bytes = a_log();
            for (place, value) in edits {
                let place = place.index(bytes.len());
                bytes[place] = value;
            }
            if let Ok(log) = EventLog::parse(&bytes) {
                let _ = (log.replay(0), log.replay(7), secure_boot::read(&log));
            }
        }
    }
}
