//! The end of a state on purpose: what a reset does to the state partition, whatever is on it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::content::{self, Content};
use super::header::PAYLOAD_OFFSET;
use super::open_for_writing;
use super::partition::StatePartition;
use crate::step::Step;

/// What is discarded at once: a large disk takes its time, and is looked at in between.
const DISCARD_CHUNK: u64 = 1024 * 1024 * 1024;
/// How long discarding may take.
const DISCARD_LIMIT: Duration = Duration::from_secs(60);

/// A state partition whose start was wiped.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wiped {
    device: PathBuf,
    size: u64,
    /// Whether what lies further down is noise without the key that was wiped.
    was_encrypted: bool,
}

/// Overwrites the state partition's start: header, superblock, whatever is there. Before that it is
/// marked as one whose file system is being made, so that after a power cut at any moment the next
/// boot starts anew.
pub(crate) fn wipe(say: &mut dyn FnMut(Step)) -> Option<Wiped> {
    let mut partition = match StatePartition::find() {
        Ok(partition) => partition,
        Err(error) => {
            say(Step::NotDone(log::chain(&error)));
            return None;
        }
    };
    let device = partition.device().path();
    let content = partition
        .device()
        .open()
        .and_then(|file| content::inspect(&file, partition.device().size));
    if let Err(error) = partition.settle(true) {
        let error = log::chain(&error);
        say(Step::NotDone(format!(
            "{}: not marked as empty: {error}",
            device.display()
        )));
    }
    let size = partition.device().size;
    let cleared = open_for_writing(&device).and_then(|file| content::clear(&file, size));
    let was_encrypted = matches!(content, Ok(Content::Sealed(_)));
    match cleared {
        Ok(()) => {
            say(Step::Done(told(&device, content.as_ref().ok())));
            Some(Wiped {
                device,
                size,
                was_encrypted,
            })
        }
        Err(error) => {
            say(Step::NotDone(format!(
                "{}: its start can't be overwritten: {error}",
                device.display()
            )));
            None
        }
    }
}

/// What is gone.
fn told(device: &Path, content: Option<&Content>) -> String {
    let device = device.display();
    match content {
        Some(Content::Sealed(_)) => {
            format!("{device}: the key of the encrypted state is gone, and what it stored with it")
        }
        Some(Content::Ours { .. }) => {
            format!("{device}: the start of the state, which was not encrypted, is overwritten")
        }
        Some(Content::Foreign { description }) => {
            format!("{device}: the start of {description} is overwritten")
        }
        Some(Content::Empty) => format!("{device}: there was no state"),
        None => format!("{device}: its start is overwritten"),
    }
}

/// Tells the disk that the rest of the partition holds nothing any more.
pub(crate) fn discard(wiped: &Wiped) -> Step {
    let began = Instant::now();
    let result = open_for_writing(&wiped.device).map_err(|error| (0, error));
    let result = result.and_then(|file: File| {
        discard_rest(wiped.size, |start, length| {
            if began.elapsed() > DISCARD_LIMIT {
                return Err(io::ErrorKind::TimedOut.into());
            }
            sys::block::discard(&file, start, length)
        })
    });
    discarded(wiped, result)
}

/// Discards piece by piece; where it ends early, up to where it came, and why.
fn discard_rest(
    size: u64,
    mut discard: impl FnMut(u64, u64) -> io::Result<()>,
) -> Result<(), (u64, io::Error)> {
    let mut offset = PAYLOAD_OFFSET;
    while offset < size {
        let length = DISCARD_CHUNK.min(size - offset);
        discard(offset, length).map_err(|error| (offset, error))?;
        offset += length;
    }
    Ok(())
}

/// What is told of it. What was encrypted is gone already; what was not may be found by whoever takes
/// the disk apart.
fn discarded(wiped: &Wiped, result: Result<(), (u64, io::Error)>) -> Step {
    let device = wiped.device.display();
    let Err((offset, error)) = result else {
        return Step::Done(format!(
            "{device}: the disk was told to forget the rest of it"
        ));
    };
    let why = match error.raw_os_error() {
        Some(code) if code == Errno::OPNOTSUPP.raw_os_error() => {
            "the disk takes no discards".to_owned()
        }
        _ => format!("after {} MiB: {error}", offset >> 20),
    };
    if wiped.was_encrypted {
        return Step::Done(format!(
            "{device}: what is left there is noise without its key ({why})"
        ));
    }
    Step::NotDone(format!(
        "{device}: what was stored behind its first 16 MiB is still there, and readable if it was \
         not encrypted ({why})"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::header::Found;
    use super::*;

    const MIB: u64 = 1 << 20;

    fn wiped(was_encrypted: bool) -> Wiped {
        Wiped {
            device: PathBuf::from("/dev/vda6"),
            size: 3 * DISCARD_CHUNK,
            was_encrypted,
        }
    }

    #[test]
    fn the_rest_is_discarded_to_the_last_byte_and_no_byte_before_it() {
        let size = PAYLOAD_OFFSET + 2 * DISCARD_CHUNK + 5 * MIB;
        let mut pieces = Vec::new();
        discard_rest(size, |start, length| {
            pieces.push((start, length));
            Ok(())
        })
        .unwrap();
        assert_eq!(pieces.first().unwrap().0, PAYLOAD_OFFSET);
        assert_eq!(pieces.len(), 3);
        for pair in pieces.windows(2) {
            assert_eq!(pair[0].0 + pair[0].1, pair[1].0);
        }
        let (start, length) = pieces.last().unwrap();
        assert_eq!(start + length, size);
        // one that is all header
        discard_rest(PAYLOAD_OFFSET, |_, _| panic!("nothing is left")).unwrap();
    }

    #[test]
    fn what_was_not_encrypted_and_stays_is_told() {
        let refused = || Err((PAYLOAD_OFFSET, Errno::OPNOTSUPP.into()));
        let Step::NotDone(text) = discarded(&wiped(false), refused()) else {
            panic!("it stays");
        };
        assert!(text.contains("takes no discards"), "{text}");
        assert!(matches!(discarded(&wiped(true), refused()), Step::Done(_)));
        let late = Err((DISCARD_CHUNK, io::ErrorKind::TimedOut.into()));
        let Step::NotDone(text) = discarded(&wiped(false), late) else {
            panic!("it stays");
        };
        assert!(text.contains("after 1024 MiB"), "{text}");
        assert!(matches!(discarded(&wiped(false), Ok(())), Step::Done(_)));
    }

    #[test]
    fn what_is_gone_has_its_name() {
        let device = Path::new("/dev/vda6");
        let text = told(device, Some(&Content::Sealed(Found::Damaged)));
        assert!(text.contains("key of the encrypted state"), "{text}");
        let text = told(device, Some(&Content::Ours { size: 1 }));
        assert!(text.contains("not encrypted"), "{text}");
        assert!(told(device, None).contains("/dev/vda6"));
    }
}
