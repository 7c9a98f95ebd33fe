//! The host's table of certificates: SEV-ES Guest-Hypervisor Communication Block Standardization
//! (AMD document 56421, revision 2.03), section 4.1.8.1.

use attest::tee_report::TeeKind;

use crate::tee_report::outcome::Refusal;

/// The length in bytes of an entry: a GUID, an offset and a length.
const ENTRY: usize = 24;
/// How many entries are looked at. Six are defined.
const MAXIMUM_ENTRIES: usize = 32;

/// What an entry is: its GUID as it reads in text.
pub(super) const VCEK: [u8; 16] = guid(0x63da758d_e664_4564_adc5_f4b93be8accd);
pub(super) const VLEK: [u8; 16] = guid(0xa8074bc2_a25a_483e_aae6_39c045a0b8a1);
/// The AMD SEV Key, or for a VLEK the AMD SEV VLEK Key.
pub(super) const ASK: [u8; 16] = guid(0x4ab7b379_bbac_4fe4_a02f_05aef327c782);

const fn guid(number: u128) -> [u8; 16] {
    number.to_be_bytes()
}

/// A certificate and what it is.
pub(super) type Entry<'a> = ([u8; 16], &'a [u8]);

/// Reads a table. An empty one has no bytes, or only the entry of zeros that ends it.
pub(super) fn parse(table: &[u8]) -> Result<Vec<Entry<'_>>, Refusal> {
    let malformed = |what| Refusal::Malformed {
        kind: TeeKind::SevSnp,
        what,
    };
    let mut entries = Vec::new();
    if table.is_empty() {
        return Ok(entries);
    }
    for entry in table.chunks_exact(ENTRY).take(MAXIMUM_ENTRIES) {
        let (guid, place) = entry
            .split_first_chunk::<16>()
            .ok_or_else(|| malformed("an entry of its table of certificates is cut off"))?;
        let number = |bytes: Option<&[u8; 4]>| bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let offset = number(place.first_chunk()) as usize;
        let length = number(place.last_chunk()) as usize;
        if *guid == [0; 16] && offset == 0 && length == 0 {
            return Ok(entries);
        }
        let certificate = offset
            .checked_add(length)
            .and_then(|end| table.get(offset..end))
            .ok_or_else(|| malformed("its table of certificates points outside itself"))?;
        entries.push((*guid, certificate));
    }
    Err(malformed("its table of certificates has no end"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(entries: &[([u8; 16], u32, u32)], rest: &[u8]) -> Vec<u8> {
        let mut table = Vec::new();
        for (guid, offset, length) in entries {
            table.extend_from_slice(guid);
            table.extend_from_slice(&offset.to_le_bytes());
            table.extend_from_slice(&length.to_le_bytes());
        }
        table.extend_from_slice(rest);
        table
    }

    #[test]
    fn entries_are_what_their_places_hold() {
        let bytes = table(&[(VCEK, 72, 2), (ASK, 73, 2), ([0; 16], 0, 0)], b"abc");
        let expected: [Entry<'_>; 2] = [(VCEK, b"ab"), (ASK, b"bc")];
        assert_eq!(parse(&bytes).unwrap(), expected);
        assert!(parse(&[]).unwrap().is_empty());
        assert!(parse(&[0; 24]).unwrap().is_empty());
    }

    #[test]
    fn places_outside_and_tables_without_end_are_refused() {
        for bytes in [
            table(&[(VCEK, 48, 4), ([0; 16], 0, 0)], b"abc"),
            table(&[(VCEK, u32::MAX, u32::MAX), ([0; 16], 0, 0)], b"abc"),
            table(&[(VCEK, 24, 3)], b"abc"),
            vec![0; 23],
            table(&[(VCEK, 0, 0); 40], b""),
        ] {
            assert!(parse(&bytes).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_table_brings_it_down(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            let _ = parse(&bytes);
        }
    }
}
