//! What is wrong with a root: every block is read, past the page cache, and each that dm-verity refuses is read from the
//! partition itself, to tell a disk that reports an error from one that gives something else.

use std::io;
use std::path::Path;

use kernel::block_devices::BlockDevice;
use kernel::root_devices::{BLOCK_SIZE, DirectFile, RootDevices};

/// Blocks that are read in one piece.
const AT_ONCE: u16 = 256;
/// Numbers of blocks that the screen shows.
const TOLD: usize = 8;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// How many blocks there are.
    pub blocks: u64,
    /// How many of them are not what the image was built with.
    pub corrupt: u64,
    /// How many of those the disk does not give at all.
    pub unreadable: u64,
    /// The first of them.
    first: Vec<u64>,
}

impl Diagnosis {
    /// For people, a line each.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let numbers: Vec<String> = self.first.iter().map(u64::to_string).collect();
        let more = if self.corrupt > TOLD as u64 {
            ", ..."
        } else {
            ""
        };
        let Self {
            blocks,
            corrupt,
            unreadable,
            ..
        } = self;
        let disk = match unreadable {
            0 => "the disk reports no error and gives other bytes".to_owned(),
            _ => format!("the disk reports an error for {unreadable} of them"),
        };
        vec![
            format!(
                "{corrupt} of {blocks} blocks are corrupt: {}{more}",
                numbers.join(", ")
            ),
            disk,
        ]
    }
}

/// Looks through a root that is open.
///
/// # Errors
/// When it can't be opened, or its size is not known.
pub fn of(devices: &RootDevices) -> io::Result<Diagnosis> {
    let device = |name: &str| {
        BlockDevice::from_sysfs(name).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    };
    let mapped = device(&devices.mapped)?;
    let verified = DirectFile::open(&mapped.path())?;
    let raw = DirectFile::open(&Path::new("/dev").join(&devices.data))?;
    Ok(look_through(
        mapped.size / BLOCK_SIZE,
        |first, blocks| verified.read(first, blocks),
        |block| raw.read(block, 1),
    ))
}

fn look_through(
    blocks: u64,
    verified: impl Fn(u64, u16) -> io::Result<()>,
    raw: impl Fn(u64) -> io::Result<()>,
) -> Diagnosis {
    let mut found = Diagnosis {
        blocks,
        ..Diagnosis::default()
    };
    let mut first = 0;
    while first < blocks {
        let left = blocks.saturating_sub(first);
        let length = u16::try_from(left).unwrap_or(AT_ONCE).min(AT_ONCE);
        let next = first.saturating_add(u64::from(length));
        if verified(first, length).is_err() {
            for block in (first..next).filter(|block| verified(*block, 1).is_err()) {
                found.corrupt = found.corrupt.saturating_add(1);
                if found.first.len() < TOLD {
                    found.first.push(block);
                }
                if raw(block).is_err() {
                    found.unreadable = found.unreadable.saturating_add(1);
                }
            }
        }
        first = next;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(blocks: u64, corrupt: &[u64], unreadable: &[u64]) -> Diagnosis {
        let failed = || Err(io::Error::from_raw_os_error(5));
        look_through(
            blocks,
            |first, length| {
                assert!(length > 0 && first + u64::from(length) <= blocks);
                let read = first..first + u64::from(length);
                match corrupt.iter().any(|block| read.contains(block)) {
                    true => failed(),
                    false => Ok(()),
                }
            },
            |block| match unreadable.contains(&block) {
                true => failed(),
                false => Ok(()),
            },
        )
    }

    #[test]
    fn whole_root_has_no_corrupt_block() {
        for blocks in [1, 255, 256, 257, 70_000] {
            let found = found(blocks, &[], &[]);
            assert_eq!((found.blocks, found.corrupt), (blocks, 0));
        }
    }

    #[test]
    fn corrupt_blocks_are_found_wherever_they_lie() {
        let diagnosis = found(1000, &[0, 255, 256, 999], &[256]);
        assert_eq!((diagnosis.corrupt, diagnosis.unreadable), (4, 1));
        let lines = diagnosis.lines();
        assert_eq!(lines[0], "4 of 1000 blocks are corrupt: 0, 255, 256, 999");
        assert_eq!(lines[1], "the disk reports an error for 1 of them");
    }

    #[test]
    fn many_corrupt_blocks_are_counted_and_the_first_told() {
        let corrupt: Vec<u64> = (0..300).collect();
        let lines = found(300, &corrupt, &[]).lines();
        assert_eq!(
            lines[0],
            "300 of 300 blocks are corrupt: 0, 1, 2, 3, 4, 5, 6, 7, ..."
        );
        assert_eq!(lines[1], "the disk reports no error and gives other bytes");
        assert!(
            lines.iter().all(|line| line.len() < 66),
            "they fit on a screen"
        );
    }
}
