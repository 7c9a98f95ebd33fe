//! Power cuts, media that fail, and Ctrl-C.

use std::io;
use std::ops::Range;

use super::super::medium::Medium;
use super::*;

/// What a disk keeps of what it had not confirmed when the power failed.
#[derive(Debug, Clone, Copy)]
enum Keeps {
    Nothing,
    Half,
    All,
}

/// A disk in memory that loses power in the middle of an operation.
#[derive(Debug)]
struct LosesPower {
    /// What a read gives.
    bytes: Vec<u8>,
    /// What is safe.
    synced: Vec<u8>,
    /// Where the two may differ.
    unsynced: Vec<Range<usize>>,
    operations_left: usize,
    keeps: Keeps,
}

impl LosesPower {
    fn new(bytes: Vec<u8>, operations_left: usize, keeps: Keeps) -> Self {
        Self {
            synced: bytes.clone(),
            bytes,
            unsynced: Vec::new(),
            operations_left,
            keeps,
        }
    }

    /// Whether the operation is carried out; the one in which the power fails isn't.
    fn has_power(&mut self) -> io::Result<()> {
        self.operations_left = self
            .operations_left
            .checked_sub(1)
            .ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(())
    }

    fn put(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let start = offset as usize;
        if let Err(error) = self.has_power() {
            if let Keeps::Half = self.keeps {
                let half = bytes.len() / 2;
                self.bytes[start..start + half].copy_from_slice(&bytes[..half]);
            }
            return Err(error);
        }
        self.unsynced.push(start..start + bytes.len());
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn after(self) -> Vec<u8> {
        match self.keeps {
            Keeps::Nothing => self.synced,
            Keeps::Half | Keeps::All => self.bytes,
        }
    }
}

impl Medium for LosesPower {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.put(offset, bytes)
    }

    fn zero_at(&mut self, offset: u64, length: usize) -> io::Result<()> {
        self.put(offset, &vec![0; length])
    }

    fn sync(&mut self) -> io::Result<()> {
        self.has_power()?;
        for range in self.unsynced.drain(..) {
            self.synced[range.clone()].copy_from_slice(&self.bytes[range]);
        }
        Ok(())
    }

    fn read_back(&mut self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        // what is read changes nothing: it is no moment of its own
        bytes.copy_from_slice(&self.bytes[offset as usize..offset as usize + bytes.len()]);
        Ok(())
    }
}

/// Whether either copy of a partition table is readable.
fn has_table(disk: &[u8]) -> bool {
    let file = tempfile::tempfile().unwrap();
    file.set_len(disk.len() as u64).unwrap();
    let end = disk.len() - MIB as usize;
    file.write_all_at(&disk[..MIB as usize], 0).unwrap();
    file.write_all_at(&disk[end..], end as u64).unwrap();
    Table::read_from(&file, SECTOR, disk.len() as u64).is_ok()
}

fn read(plan: &Plan, range: &Range<u64>) -> Vec<u8> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    plan.read_at(&mut bytes, range.start).unwrap();
    bytes
}

/// The plan of a sample with a configuration, and a disk with another version of it that is larger by `more`.
fn plan_and_old_disk(more: u64) -> (Plan, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let size = SAMPLE + more;
    let sealed = directory.path().join("node.sealed");
    fs::write(&sealed, SEALED).unwrap();
    let plan = Plan::new(sample(&directory.path().join("new"), 7), size).unwrap();
    Configuration::read(&Source::Sealed(sealed))
        .unwrap()
        .put(&plan)
        .unwrap();
    let old = Plan::new(sample(&directory.path().join("old"), 9), size).unwrap();
    let mut disk = vec![0xee; size as usize];
    for range in [0..old.body().start, old.body(), old.tail()] {
        disk[range.start as usize..range.end as usize].copy_from_slice(&read(&old, &range));
    }
    assert!(has_table(&disk));
    (plan, disk)
}

#[test]
fn power_cut_leaves_no_table_or_a_whole_disk() {
    let all = [Keeps::Nothing, Keeps::Half, Keeps::All].as_slice();
    for (more, all) in [(0, all), (6 * MIB, &[Keeps::Half])] {
        let (plan, old) = plan_and_old_disk(more);
        let body = plan.body();
        let within = body.start as usize..body.end as usize;
        let planned = read(&plan, &body);
        for &keeps in all {
            let (mut without_table, mut operations) = (0, 0);
            loop {
                let mut disk = LosesPower::new(old.clone(), operations, keeps);
                let result = write::write(&plan, &mut disk, &mut Calls::default());
                let after = disk.after();
                let case =
                    format!("{more} bytes more, power for {operations} operations, {keeps:?}");
                if has_table(&after) {
                    let is_new = after[within.clone()] == planned;
                    let is_old = after[within.clone()] == old[within.clone()];
                    assert!(is_new || is_old, "{case}: half of a disk looks whole");
                } else {
                    without_table += 1;
                }
                if result.is_ok() {
                    assert!(
                        has_table(&after) && after[within.clone()] == planned,
                        "{case}"
                    );
                    break;
                }
                operations += 1;
            }
            // two ends, five chunks, four parts of the tables, and what is synced
            assert!(
                operations >= 18 && without_table >= 7,
                "{operations} {without_table}"
            );
        }
    }
}

/// A disk that works, but for one byte: it takes none there.
#[derive(Debug)]
struct Worn {
    disk: LosesPower,
    at: usize,
}

impl Medium for Worn {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.write_at(bytes, offset)?;
        self.disk.bytes[self.at] = 0x55;
        Ok(())
    }

    fn zero_at(&mut self, offset: u64, length: usize) -> io::Result<()> {
        self.disk.zero_at(offset, length)?;
        self.disk.bytes[self.at] = 0x55;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.sync()
    }

    fn read_back(&mut self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.read_back(bytes, offset)
    }
}

#[test]
fn byte_that_reads_back_wrong_leaves_no_table() {
    let (plan, old) = plan_and_old_disk(0);
    let last = SAMPLE as usize - 1;
    // in the root, in a hole of the image, in the ends: reserved parts of the header's sector, the backup header
    for (at, step) in [
        (8 << 20, Step::Compare),
        (14 << 20, Step::Compare),
        (700, Step::Tables),
        (last, Step::Tables),
    ] {
        let disk = LosesPower::new(old.clone(), usize::MAX, Keeps::All);
        let mut worn = Worn { disk, at };
        let failure = write::write(&plan, &mut worn, &mut Calls::default()).unwrap_err();
        assert_eq!(failure.step, step, "{at}");
        assert!(
            matches!(failure.cause, Cause::Differs { offset } if offset == at as u64),
            "{failure:?}"
        );
        assert!(
            failure
                .to_string()
                .contains("does not boot now: flash it again"),
            "{failure}"
        );
        assert!(!has_table(&worn.disk.after()), "{at}");
    }
}

#[test]
fn interrupt_leaves_no_table_and_says_so() {
    let (plan, old) = plan_and_old_disk(0);
    for (after, step) in [(0, Step::Write), (3, Step::Write), (6, Step::Compare)] {
        let mut disk = LosesPower::new(old.clone(), usize::MAX, Keeps::All);
        let mut calls = Calls {
            interrupt_after: Some(after),
            ..Calls::default()
        };
        let failure = write::write(&plan, &mut disk, &mut calls).unwrap_err();
        assert_eq!(failure.step, step);
        assert!(matches!(failure.cause, Cause::Interrupted));
        assert!(
            failure
                .to_string()
                .contains("does not boot now: flash it again"),
            "{failure}"
        );
        assert!(!has_table(&disk.after()), "{after}");
    }
}
