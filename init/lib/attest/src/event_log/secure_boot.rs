//! What register 7 says of Secure Boot: whether it was on, and whose keys let something start.
//!
//! The kind of an event is under no digest, so that an event can be passed off as one of another
//! kind. Here therefore every event of the register must be one that is known, must hash to its
//! digest, and must stand where the firmware measures it (PFP 3.3.4.8): each variable once before the
//! separator, and behind it nothing but certificates that images were verified by. What a boot
//! loader adds later can't pass for the firmware's word.

use seal::tpm::crypto::{Digest, sha256};

use super::{
    EV_EFI_ACTION, EV_EFI_VARIABLE_AUTHORITY, EV_EFI_VARIABLE_DRIVER_CONFIG, EV_SEPARATOR, Event,
    EventLog, Reader,
};

/// The register of Secure Boot.
const REGISTER: u8 = 7;

/// `EFI_GLOBAL_VARIABLE`, 8be4df61-93ca-11d2-aa0d-00e098032b8c (UEFI 2.10, 3.3), as it is stored.
const GLOBAL_VARIABLE: [u8; 16] = [
    0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c,
];

/// What a firmware measures whose debugger can be used (PFP 3.3.4.8).
const DEBUG_MODE: &[u8] = b"UEFI Debug Mode";

/// What a firmware measures that does not keep devices from memory before the operating system does
/// (Microsoft, "Kernel DMA Protection" for OEMs).
const DMA_PROTECTION_DISABLED: &[u8] = b"DMA Protection Disabled";

/// The longest name of a variable, in UTF-16 units.
const LONGEST_NAME: u64 = 256;

/// Bytes of the owner's GUID before a certificate (`EFI_SIGNATURE_DATA`, UEFI 2.10, 32.4.1).
const OWNER: usize = 16;

/// What the register says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecureBoot {
    /// Whether it was on.
    pub on: bool,
    /// Whether the firmware kept devices from memory until the operating system did, as far as it
    /// says: one that says nothing counts as one that did.
    pub dma_protection: bool,
    /// SHA-256 of each certificate (or other entry of a signature database) by which something was let
    /// start.
    pub authorities: Vec<Digest>,
}

/// Why the register's events can't be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecureBootError {
    /// An event's data is not what was measured.
    #[error("an event of register 7 carries other data than was measured")]
    Data,
    /// An event that is not known, or not in its place.
    #[error("register 7 was extended by what a firmware does not measure there")]
    Unexpected,
    /// The firmware's own debugger.
    #[error(
        "the firmware says that its debugger can be used: what it measures is not to be relied on"
    )]
    Debug,
    /// Nothing about Secure Boot.
    #[error("register 7 does not say whether Secure Boot was on")]
    Missing,
}

/// `UEFI_VARIABLE_DATA` (PFP 10.4.2).
struct Variable<'a> {
    vendor: [u8; 16],
    /// UTF-16, little-endian.
    name: &'a [u8],
    content: &'a [u8],
}

fn variable(data: &[u8]) -> Option<Variable<'_>> {
    let mut reader = Reader::new(data);
    let vendor = reader.array()?;
    let units = reader.u64().filter(|units| *units <= LONGEST_NAME)?;
    let length = reader.u64()?;
    let name = reader.take(usize::try_from(units).ok()?.checked_mul(2)?)?;
    let content = reader.take(usize::try_from(length).ok()?)?;
    reader.bytes.is_empty().then_some(Variable {
        vendor,
        name,
        content,
    })
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// Reads the events of register 7. The log must have been replayed to the quoted value before.
///
/// # Errors
/// When they can't be believed.
pub fn read(log: &EventLog<'_>) -> Result<SecureBoot, SecureBootError> {
    let mut on = None;
    let mut seen: Vec<([u8; 16], &[u8])> = Vec::new();
    let mut authorities = Vec::new();
    let (mut separated, mut dma_protection) = (false, true);
    for event in log.of(REGISTER) {
        if !event.is_hash_of_data() {
            return Err(SecureBootError::Data);
        }
        match event.kind {
            EV_SEPARATOR if !separated && event.data == [0; 4] => separated = true,
            EV_EFI_VARIABLE_DRIVER_CONFIG if !separated => {
                let variable = variable(event.data).ok_or(SecureBootError::Unexpected)?;
                let name = (variable.vendor, variable.name);
                if seen.contains(&name) {
                    return Err(SecureBootError::Unexpected);
                }
                seen.push(name);
                if variable.vendor == GLOBAL_VARIABLE && variable.name == utf16("SecureBoot") {
                    on = Some(variable.content == [1]);
                }
            }
            EV_EFI_ACTION if !separated => match text(event.data) {
                DMA_PROTECTION_DISABLED => dma_protection = false,
                DEBUG_MODE => return Err(SecureBootError::Debug),
                _ => return Err(SecureBootError::Unexpected),
            },
            EV_EFI_VARIABLE_AUTHORITY => authorities.push(authority(event)?),
            _ => return Err(SecureBootError::Unexpected),
        }
    }
    match on {
        Some(on) if separated => Ok(SecureBoot {
            on,
            dma_protection,
            authorities,
        }),
        _ => Err(SecureBootError::Missing),
    }
}

/// The text of an action: the specification has no zero at its end, some firmwares do.
fn text(data: &[u8]) -> &[u8] {
    data.strip_suffix(&[0]).unwrap_or(data)
}

/// The entry of a signature database that something was verified by.
fn authority(event: &Event<'_>) -> Result<Digest, SecureBootError> {
    let entry = variable(event.data).and_then(|variable| variable.content.get(OWNER..));
    entry
        .map(|entry| sha256(&[entry]))
        .ok_or(SecureBootError::Unexpected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(vendor: [u8; 16], name: &str, content: &[u8]) -> Vec<u8> {
        let mut data = vendor.to_vec();
        data.extend((name.len() as u64).to_le_bytes());
        data.extend((content.len() as u64).to_le_bytes());
        data.extend(utf16(name));
        data.extend(content);
        data
    }

    fn event(kind: u32, data: &[u8]) -> Event<'_> {
        Event {
            register: 7,
            kind,
            digest: sha256(&[data]),
            data,
        }
    }

    fn read_events(events: &[(u32, Vec<u8>)]) -> Result<SecureBoot, SecureBootError> {
        let events = events.iter().map(|(kind, data)| event(*kind, data));
        read(&EventLog {
            events: events.collect(),
        })
    }

    const DATABASE: [u8; 16] = [0xcb; 16];

    fn switched(on: u8) -> Vec<(u32, Vec<u8>)> {
        vec![
            (
                EV_EFI_VARIABLE_DRIVER_CONFIG,
                data(GLOBAL_VARIABLE, "SecureBoot", &[on]),
            ),
            (EV_EFI_VARIABLE_DRIVER_CONFIG, data(DATABASE, "db", b"list")),
            (EV_SEPARATOR, vec![0; 4]),
        ]
    }

    fn authority_event() -> (u32, Vec<u8>) {
        let entry = [[0; OWNER].as_slice(), b"certificate"].concat();
        (EV_EFI_VARIABLE_AUTHORITY, data(DATABASE, "db", &entry))
    }

    #[test]
    fn on_off_and_whose_keys() {
        assert!(!read_events(&switched(0)).expect("read").on);
        let mut events = switched(1);
        events.push(authority_event());
        let read = read_events(&events).expect("read");
        assert!(read.on);
        assert_eq!(read.authorities, [sha256(&[b"certificate"])]);
    }

    #[test]
    fn a_boot_loaders_word_is_not_the_firmwares() {
        let unexpected = Err(SecureBootError::Unexpected);
        // switched on by an event behind the separator, or by a second one
        let mut late = switched(0);
        late.push((
            EV_EFI_VARIABLE_DRIVER_CONFIG,
            data(GLOBAL_VARIABLE, "SecureBoot", &[1]),
        ));
        assert_eq!(read_events(&late), unexpected);
        late.swap(2, 3);
        assert_eq!(read_events(&late), unexpected);
        // an authority that is passed off as something else
        for kind in [EV_EFI_VARIABLE_DRIVER_CONFIG, EV_SEPARATOR, 0xd] {
            let mut events = switched(1);
            events.push((kind, authority_event().1));
            assert_eq!(read_events(&events), unexpected);
        }
        let mut early = switched(1);
        early.insert(0, (EV_EFI_VARIABLE_DRIVER_CONFIG, authority_event().1));
        assert_eq!(read_events(&early), unexpected);
        let mut twice = switched(1);
        twice.push((EV_SEPARATOR, vec![0; 4]));
        assert_eq!(read_events(&twice), unexpected);
    }

    #[test]
    fn action_of_the_firmware_is_read_by_its_text() {
        let with = |text: &[u8], place| {
            let mut events = switched(1);
            events.insert(place, (EV_EFI_ACTION, text.to_vec()));
            read_events(&events)
        };
        for text in [
            b"DMA Protection Disabled".as_slice(),
            b"DMA Protection Disabled\0",
        ] {
            let read = with(text, 2).expect("read");
            assert!(read.on && !read.dma_protection);
        }
        assert_eq!(with(b"UEFI Debug Mode", 0), Err(SecureBootError::Debug));
        assert_eq!(
            with(b"Exit Boot Services", 2),
            Err(SecureBootError::Unexpected)
        );
        // a boot loader's
        let late = with(b"DMA Protection Disabled", 3);
        assert_eq!(late, Err(SecureBootError::Unexpected));
        assert!(read_events(&switched(1)).expect("read").dma_protection);
    }

    #[test]
    fn other_data_than_was_measured_is_refused() {
        let bytes = data(GLOBAL_VARIABLE, "SecureBoot", &[1]);
        let forged = Event {
            digest: sha256(&[&data(GLOBAL_VARIABLE, "SecureBoot", &[0])]),
            ..event(EV_EFI_VARIABLE_DRIVER_CONFIG, &bytes)
        };
        let log = EventLog {
            events: vec![forged, event(EV_SEPARATOR, &[0; 4])],
        };
        assert_eq!(read(&log), Err(SecureBootError::Data));
    }

    #[test]
    fn silence_is_not_off() {
        assert_eq!(read_events(&[]), Err(SecureBootError::Missing));
        let mut cut = switched(1);
        cut.pop();
        assert_eq!(read_events(&cut), Err(SecureBootError::Missing));
    }
}
