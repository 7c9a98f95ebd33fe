//! The header of an encrypted state: where the sealed key of its volume lies.
//!
//! It stands twice in the partition's first bytes, so that one place can be damaged, or half written
//! when the power fails, and the other is whole. What is written anew goes to the place that is not
//! in use, with the next generation; the highest generation that is whole counts. One place:
//!
//! | bytes | what |
//! | --- | --- |
//! | 8 | `DAASDISK` |
//! | 4 | version, big-endian |
//! | 8 | generation, big-endian |
//! | 4 | length of the sealed file, big-endian |
//! | 32 | SHA-256 over all before it and the sealed file |
//! | … | the sealed file, see [`seal::envelope`] |
//!
//! Behind both places stands a mark once the state has an owner: then the file that names the owner has to be there, and
//! where it is not, the state is damaged and not to be made anew. The mark protects from accidents, too: without it a
//! state is made anew only where it holds nothing of workloads.
//!
//! All that stands before the sealed file is the same in every version, so that damage is told from a
//! newer version. The sum protects from accidents alone. What protects from people is that the TPM opens the sealed
//! file, and nothing else that is said here matters.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use seal::tpm::crypto::sha256;

/// Where the encrypted volume begins, in bytes from the partition's start. Before it lies the header,
/// and zeros.
pub(super) const PAYLOAD_OFFSET: u64 = 16 * 1024 * 1024;

/// Where the two places are, in bytes from the partition's start: clear of each other's flash pages,
/// and of where other systems look for theirs.
const SLOTS: [u64; 2] = [64 * 1024, 128 * 1024];
/// Where the mark is that the state has an owner.
const MARK_OFFSET: u64 = 192 * 1024;
/// The mark, in one sector, so that a power cut leaves all or nothing of it.
const MARK: [u8; 8] = *b"DAASOWND";
const MAGIC: [u8; 8] = *b"DAASDISK";
const VERSION: u32 = 1;
/// Bytes before the sum.
const FIELDS: usize = 8 + 4 + 8 + 4;
const SUM: usize = 32;
/// The longest sealed file in bytes; ours has about 900.
const ENVELOPE_LIMIT: usize = 16 * 1024;
const SLOT_LENGTH: usize = FIELDS + SUM + ENVELOPE_LIMIT;

/// A header that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// Which of several is the newest.
    pub(super) generation: u64,
    /// The sealed file.
    pub(super) envelope: Vec<u8>,
}

/// What the two places hold together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// No header: no place begins like one.
    Nothing,
    /// A header was here, and no place is whole.
    Damaged,
    /// A header of a version that this program does not know.
    Newer(u32),
    /// A header.
    Whole {
        /// The newest that is whole.
        header: Header,
        /// Its place.
        slot: Slot,
        /// Why the other place cannot stand in for it, if it cannot.
        other: Option<&'static str>,
    },
}

/// One of the two places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// The first.
    First,
    /// The second.
    Second,
}

impl Slot {
    const BOTH: [Self; 2] = [Self::First, Self::Second];

    /// The one that this is not.
    pub(super) const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    const fn offset(self) -> u64 {
        let [first, second] = SLOTS;
        match self {
            Self::First => first,
            Self::Second => second,
        }
    }
}

/// What one place holds.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// It does not begin like a header.
    Other,
    Damaged(&'static str),
    Newer(u32),
    Whole(Header),
}

/// Looks at both places of a partition. Nothing is written.
///
/// # Errors
/// What the system says.
pub(super) fn read(partition: &File) -> io::Result<Found> {
    let mut places = Vec::with_capacity(SLOTS.len());
    for slot in Slot::BOTH {
        let mut bytes = vec![0; SLOT_LENGTH];
        partition.read_exact_at(&mut bytes, slot.offset())?;
        places.push((slot, parse(&bytes)));
    }
    Ok(choose(places))
}

/// Writes a header to a place, through to the disk.
///
/// # Errors
/// What the system says, `InvalidInput` for a sealed file of more than 16 KiB.
pub(super) fn write(partition: &File, slot: Slot, header: &Header) -> io::Result<()> {
    let bytes = encode(header).ok_or(io::ErrorKind::InvalidInput)?;
    partition.write_all_at(&bytes, slot.offset())?;
    partition.sync_all()
}

/// Whether the state is marked as one that has an owner. A mark that is damaged is one.
///
/// # Errors
/// What the system says.
pub(super) fn has_owner(partition: &File) -> io::Result<bool> {
    let mut mark = [0; MARK.len()];
    partition.read_exact_at(&mut mark, MARK_OFFSET)?;
    Ok(mark != [0; MARK.len()])
}

/// Marks the state as one that has an owner, through to the disk, unless it is.
///
/// # Errors
/// What the system says.
pub(super) fn mark_owner(partition: &File) -> io::Result<()> {
    if has_owner(partition)? {
        return Ok(());
    }
    partition.write_all_at(&MARK, MARK_OFFSET)?;
    partition.sync_all()
}

/// The highest generation that is whole. A newer version in either place is somebody's who knows
/// more: nothing older is taken then.
fn choose(places: Vec<(Slot, Place)>) -> Found {
    let mut best: Option<(Slot, Header)> = None;
    let mut other = None;
    let mut damaged = false;
    for (slot, place) in places {
        match place {
            Place::Newer(version) => return Found::Newer(version),
            Place::Other => other = Some("it does not begin like one"),
            Place::Damaged(what) => {
                damaged = true;
                other = Some(what);
            }
            Place::Whole(header) => {
                if best
                    .as_ref()
                    .is_some_and(|(_, known)| known.envelope != header.envelope)
                {
                    other = Some("it holds an older one");
                }
                let is_better = best
                    .as_ref()
                    .is_none_or(|(_, known)| header.generation > known.generation);
                if is_better {
                    best = Some((slot, header));
                }
            }
        }
    }
    match best {
        Some((slot, header)) => Found::Whole {
            header,
            slot,
            other,
        },
        None if damaged => Found::Damaged,
        None => Found::Nothing,
    }
}

/// The bytes of a place; none for a sealed file that is too long.
fn encode(header: &Header) -> Option<Vec<u8>> {
    if header.envelope.len() > ENVELOPE_LIMIT {
        return None;
    }
    let length = u32::try_from(header.envelope.len()).ok()?;
    let mut bytes = Vec::with_capacity(SLOT_LENGTH);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&header.generation.to_be_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    let sum = sha256(&[&bytes, &header.envelope]);
    bytes.extend_from_slice(&sum);
    bytes.extend_from_slice(&header.envelope);
    Some(bytes)
}

/// Reads a place's bytes, of which those behind the sealed file mean nothing.
fn parse(bytes: &[u8]) -> Place {
    let Some(rest) = bytes.strip_prefix(&MAGIC) else {
        return Place::Other;
    };
    parse_fields(bytes, rest).unwrap_or(Place::Damaged("it is cut short"))
}

/// `rest` is what follows the magic; none when it is cut short.
fn parse_fields(bytes: &[u8], rest: &[u8]) -> Option<Place> {
    let (version, rest) = rest.split_first_chunk()?;
    let (generation, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (sum, rest) = rest.split_first_chunk::<SUM>()?;
    let version = u32::from_be_bytes(*version);
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    if length > ENVELOPE_LIMIT {
        return Some(Place::Damaged("its length is wrong"));
    }
    let envelope = rest.get(..length)?;
    if sha256(&[bytes.get(..FIELDS)?, envelope]) != *sum {
        return Some(Place::Damaged("its checksum is wrong"));
    }
    if version != VERSION {
        return Some(Place::Newer(version));
    }
    Some(Place::Whole(Header {
        generation: u64::from_be_bytes(*generation),
        envelope: envelope.to_vec(),
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn partition() -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(PAYLOAD_OFFSET).unwrap();
        file
    }

    fn header(generation: u64, envelope: &[u8]) -> Header {
        Header {
            generation,
            envelope: envelope.to_vec(),
        }
    }

    fn whole(found: Found) -> (u64, Slot, Option<&'static str>) {
        match found {
            Found::Whole {
                header,
                slot,
                other,
            } => (header.generation, slot, other),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_newest_counts_and_the_other_stands_in_for_it() {
        let partition = partition();
        assert_eq!(read(&partition).unwrap(), Found::Nothing);
        write(&partition, Slot::First, &header(1, b"one")).unwrap();
        let (generation, slot, other) = whole(read(&partition).unwrap());
        assert_eq!((generation, slot), (1, Slot::First));
        assert!(other.is_some());
        write(&partition, slot.other(), &header(2, b"two")).unwrap();
        let older = Some("it holds an older one");
        let found = whole(read(&partition).unwrap());
        assert_eq!(found, (2, Slot::Second, older));
        write(&partition, Slot::First, &header(3, b"two")).unwrap();
        let found = whole(read(&partition).unwrap());
        assert_eq!(found, (3, Slot::First, None));

        for (damaged, left) in [(Slot::First, 2), (Slot::Second, 3)] {
            let mut byte = [0];
            let at = damaged.offset() + FIELDS as u64;
            partition.read_exact_at(&mut byte, at).unwrap();
            partition.write_all_at(&[byte[0] ^ 1], at).unwrap();
            let (generation, slot, other) = whole(read(&partition).unwrap());
            assert_eq!((generation, slot), (left, damaged.other()));
            assert_eq!(other, Some("its checksum is wrong"));
            partition.write_all_at(&byte, at).unwrap();
        }
    }

    #[test]
    fn owners_mark_stays_beside_both_places_until_cleared() {
        let partition = partition();
        assert!(!has_owner(&partition).unwrap());
        let longest = vec![1; ENVELOPE_LIMIT];
        for slot in Slot::BOTH {
            write(&partition, slot, &header(1, &longest)).unwrap();
        }
        assert!(!has_owner(&partition).unwrap());
        mark_owner(&partition).unwrap();
        mark_owner(&partition).unwrap();
        assert!(has_owner(&partition).unwrap());
        assert_eq!(whole(read(&partition).unwrap()).0, 1);
        // half of it is no less a mark
        partition.write_all_at(&[0; 7], MARK_OFFSET).unwrap();
        assert!(has_owner(&partition).unwrap());
        super::super::content::clear(&partition, PAYLOAD_OFFSET).unwrap();
        assert!(!has_owner(&partition).unwrap());
    }

    #[test]
    fn damage_to_both_is_no_empty_partition() {
        let partition = partition();
        for slot in Slot::BOTH {
            write(&partition, slot, &header(7, b"sealed")).unwrap();
            let sum = slot.offset() + FIELDS as u64;
            partition.write_all_at(&[0; SUM], sum).unwrap();
        }
        assert_eq!(read(&partition).unwrap(), Found::Damaged);
        // Even where one of them does not so much as begin like one.
        partition.write_all_at(&[0; 64], SLOTS[0]).unwrap();
        assert_eq!(read(&partition).unwrap(), Found::Damaged);
    }

    #[test]
    fn a_newer_version_is_left_to_newer_images() {
        let partition = partition();
        write(&partition, Slot::First, &header(1, b"old")).unwrap();
        write(&partition, Slot::Second, &header(2, b"new")).unwrap();
        let version = MAGIC.len();
        let mut newer = encode(&header(2, b"new")).unwrap();
        newer[version..version + 4].copy_from_slice(&2_u32.to_be_bytes());
        partition.write_all_at(&newer, SLOTS[1]).unwrap();
        // That alone is damage, and the older one is good.
        assert_eq!(whole(read(&partition).unwrap()).0, 1);
        let sum = sha256(&[&newer[..FIELDS], b"new"]);
        newer[FIELDS..FIELDS + SUM].copy_from_slice(&sum);
        partition.write_all_at(&newer, SLOTS[1]).unwrap();
        assert_eq!(read(&partition).unwrap(), Found::Newer(2));
    }

    /// The power fails while a place is written: whatever part of it reached the disk, the partition
    /// has the header of before or the new one.
    #[test]
    fn a_write_cut_at_any_byte_leaves_one_header_whole() {
        let old = header(1, &[0x11; 700]);
        let new = header(3, &[0x33; 900]);
        let bytes = encode(&new).unwrap();
        for before in [None, Some(header(0, &[0x77; 1000]))] {
            let partition = partition();
            for cut in 0..=bytes.len() {
                write(&partition, Slot::First, &old).unwrap();
                let place = match &before {
                    None => vec![0; SLOT_LENGTH],
                    Some(header) => encode(header).unwrap(),
                };
                partition.write_all_at(&place, SLOTS[1]).unwrap();
                let part = &bytes[..cut];
                partition.write_all_at(part, SLOTS[1]).unwrap();
                let Found::Whole { header, .. } = read(&partition).unwrap() else {
                    panic!("no header after {cut} bytes");
                };
                let expected = if cut == bytes.len() { &new } else { &old };
                assert_eq!(&header, expected, "after {cut} bytes");
            }
        }
    }

    #[test]
    fn a_sealed_file_that_is_too_long_is_not_written() {
        let partition = partition();
        let longest = vec![1; ENVELOPE_LIMIT];
        write(&partition, Slot::First, &header(1, &longest)).unwrap();
        assert_eq!(whole(read(&partition).unwrap()).0, 1);
        let longer = vec![1; ENVELOPE_LIMIT + 1];
        assert!(write(&partition, Slot::Second, &header(2, &longer)).is_err());
        assert_eq!(whole(read(&partition).unwrap()).0, 1);
    }

    #[test]
    fn a_partition_without_room_for_a_header_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(SLOTS[1]).unwrap();
        assert!(read(&file).is_err());
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(generation: u64, envelope in prop::collection::vec(any::<u8>(), 0..2000)) {
            let header = Header { generation, envelope };
            let mut bytes = encode(&header).unwrap();
            bytes.extend_from_slice(&[0xff; 40]);
            prop_assert_eq!(parse(&bytes), Place::Whole(header));
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..200), magic: bool) {
            let bytes = if magic { [&MAGIC, bytes.as_slice()].concat() } else { bytes };
            prop_assert!(!matches!(parse(&bytes), Place::Whole(_)));
        }

        #[test]
        fn a_changed_bit_is_seen(generation: u64, envelope in prop::collection::vec(any::<u8>(), 1..100), at: usize, bit in 0..8) {
            let header = Header { generation, envelope };
            let mut bytes = encode(&header).unwrap();
            let at = at % bytes.len();
            bytes[at] ^= 1_u8 << bit;
            prop_assert!(!matches!(parse(&bytes), Place::Whole(_)));
        }
    }
}
