//! Writing a plan to a medium, in an order that a power cut at any moment leaves nothing of that looks whole and is not:
//!
//! 1. Both ends of the disk, where partition tables are, are overwritten with zeros: first the backup copy, then the
//!    primary one and the protective MBR. From then on the disk has no partitions, and nothing boots from it.
//! 2. All that lies between is written, zeros included: what was on the disk before shows through nowhere.
//! 3. All of that is read back and compared.
//! 4. The backup copy of the partition table; then the primary one: its entries, its header, and last the protective
//!    MBR, without which neither firmware nor kernel looks for a table. Each is synced before the next, and read back.
//!
//! What is whole is thus known to be before anything says so.

use std::fmt;
use std::io;
use std::ops::Range;

use thiserror::Error;
use zeroize::Zeroizing;

use super::SECTOR;
use super::medium::Medium;
use super::plan::{Plan, TABLES};

/// How much is written or read at once.
pub(super) const CHUNK: usize = 4 << 20;
/// How much is written between two waits for the medium: progress is what has arrived, not what memory took.
const SYNC_EVERY: u64 = 32 << 20;

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Both ends are overwritten.
    Wipe,
    /// All between them is written.
    Write,
    /// It is read back.
    Compare,
    /// The partition tables are written.
    Tables,
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Wipe => "removing the old partition table",
            Self::Write => "writing",
            Self::Compare => "reading back",
            Self::Tables => "writing the partition table",
        })
    }
}

/// What ended the work.
#[derive(Debug, Error)]
pub enum Cause {
    /// The medium refused.
    #[error("the medium fails at byte {offset}")]
    Medium {
        /// Where.
        offset: u64,
        /// What the system says.
        source: io::Error,
    },
    /// The image can't be read.
    #[error("the image can't be read at byte {offset}")]
    Image {
        /// Where.
        offset: u64,
        /// What the system says.
        source: io::Error,
    },
    /// It holds other bytes than were written.
    #[error(
        "byte {offset} reads back as another one than was written; the medium is worn out, or smaller than it says: \
         take another one"
    )]
    Differs {
        /// The first such byte.
        offset: u64,
    },
    /// A person, or the system, asked to end.
    #[error("interrupted")]
    Interrupted,
}

/// A disk that was not written to its end.
#[derive(Debug, Error)]
#[error("{step} failed; {}", self.fate())]
pub struct Failure {
    /// What was being done.
    pub step: Step,
    /// Why it ended.
    #[source]
    pub cause: Cause,
}

impl Failure {
    /// What is left on the disk.
    #[must_use]
    pub const fn fate(&self) -> &'static str {
        match self.step {
            Step::Wipe => {
                "its old partition table may be gone, and nothing of the image is on it: flash it again"
            }
            Step::Write | Step::Compare | Step::Tables => {
                "it has no partition table and does not boot now: flash it again"
            }
        }
    }
}

/// Who looks on.
pub trait Observer {
    /// So many bytes of a step are done.
    fn advance(&mut self, step: Step, done: u64, total: u64);
    /// Whether to end.
    fn is_interrupted(&mut self) -> bool;
}

/// Writes a plan, and compares what is on the medium then.
///
/// # Errors
/// [`Failure`]: the medium has no partition table then.
pub fn write(
    plan: &Plan,
    medium: &mut dyn Medium,
    observer: &mut dyn Observer,
) -> Result<(), Failure> {
    let mut writer = Writer {
        plan,
        medium,
        observer,
        planned: Zeroizing::new(vec![0; CHUNK]),
        read: Zeroizing::new(vec![0; CHUNK]),
    };
    let at = |step| move |cause| Failure { step, cause };
    writer.wipe().map_err(at(Step::Wipe))?;
    writer.body().map_err(at(Step::Write))?;
    writer
        .compare(plan.body(), Step::Compare)
        .map_err(at(Step::Compare))?;
    writer.tables().map_err(|cause| {
        // best effort: what does not take a table may not take zeros either, and says so already
        let _ = writer.wipe();
        Failure {
            step: Step::Tables,
            cause,
        }
    })
}

struct Writer<'a> {
    plan: &'a Plan,
    medium: &'a mut dyn Medium,
    observer: &'a mut dyn Observer,
    planned: Zeroizing<Vec<u8>>,
    read: Zeroizing<Vec<u8>>,
}

impl Writer<'_> {
    fn head(&self) -> Range<u64> {
        0..self.plan.body().start
    }

    /// Both copies of the old table, which may also end elsewhere than the new one's.
    fn wipe(&mut self) -> Result<(), Cause> {
        for range in [self.plan.tail(), self.head()] {
            let zeros = vec![0; length(&range)];
            let offset = range.start;
            self.medium
                .write_at(&zeros, offset)
                .map_err(medium(offset))?;
            self.medium.sync().map_err(medium(offset))?;
        }
        Ok(())
    }

    fn body(&mut self) -> Result<(), Cause> {
        let body = self.plan.body();
        let total = body.end - body.start;
        let mut unsynced = 0;
        for chunk in chunks(&body) {
            if self.observer.is_interrupted() {
                return Err(Cause::Interrupted);
            }
            let (offset, length) = (chunk.start, length(&chunk));
            let planned = &mut self.planned[..length];
            self.plan.read_at(planned, offset).map_err(image(offset))?;
            if planned.iter().all(|byte| *byte == 0) {
                self.medium.zero_at(offset, length)
            } else {
                self.medium.write_at(planned, offset)
            }
            .map_err(medium(offset))?;
            unsynced += length as u64;
            if unsynced >= SYNC_EVERY {
                self.medium.sync().map_err(medium(offset))?;
                unsynced = 0;
            }
            self.observer
                .advance(Step::Write, chunk.end - body.start, total);
        }
        self.medium.sync().map_err(medium(body.end))
    }

    fn compare(&mut self, range: Range<u64>, step: Step) -> Result<(), Cause> {
        let total = range.end - range.start;
        for chunk in chunks(&range) {
            if step == Step::Compare && self.observer.is_interrupted() {
                return Err(Cause::Interrupted);
            }
            let (offset, length) = (chunk.start, length(&chunk));
            let (planned, read) = (&mut self.planned[..length], &mut self.read[..length]);
            self.plan.read_at(planned, offset).map_err(image(offset))?;
            self.medium
                .read_back(read, offset)
                .map_err(medium(offset))?;
            if planned != read {
                let same = planned
                    .iter()
                    .zip(read.iter())
                    .take_while(|(planned, read)| planned == read);
                let offset = offset + same.count() as u64;
                return Err(Cause::Differs { offset });
            }
            if step == Step::Compare {
                self.observer.advance(step, chunk.end - range.start, total);
            }
        }
        Ok(())
    }

    fn tables(&mut self) -> Result<(), Cause> {
        let (tail, head) = (self.plan.tail(), self.head());
        let sector = u64::from(SECTOR);
        self.put(tail)?;
        for part in [2 * sector..head.end, sector..2 * sector, 0..sector] {
            self.put(part)?;
        }
        self.compare(head, Step::Tables)
    }

    /// Writes a part of the tables, and compares it.
    fn put(&mut self, range: Range<u64>) -> Result<(), Cause> {
        let offset = range.start;
        let planned = &mut self.planned[..length(&range)];
        self.plan.read_at(planned, offset).map_err(image(offset))?;
        self.medium
            .write_at(planned, offset)
            .map_err(medium(offset))?;
        self.medium.sync().map_err(medium(offset))?;
        self.compare(range, Step::Tables)
    }
}

fn chunks(range: &Range<u64>) -> impl Iterator<Item = Range<u64>> + use<> {
    let end = range.end;
    (range.start..end)
        .step_by(CHUNK)
        .map(move |start| start..(start + CHUNK as u64).min(end))
}

/// Of a chunk, or of an end of the disk, which is shorter.
fn length(range: &Range<u64>) -> usize {
    debug_assert!(range.end - range.start <= 2 * TABLES.max(CHUNK as u64));
    (range.end - range.start) as usize
}

fn medium(offset: u64) -> impl Fn(io::Error) -> Cause {
    move |source| Cause::Medium { offset, source }
}

fn image(offset: u64) -> impl Fn(io::Error) -> Cause {
    move |source| Cause::Image { offset, source }
}
