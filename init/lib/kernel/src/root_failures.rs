//! How many times in a row the root could not be used: one block at the end of the partition with its hash tree, behind
//! all that the tree takes. It is written alone, so that a power cut loses nothing but the count, and nobody writes
//! there but what counts.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::root_devices::{BLOCK_SIZE, RootDevices};

/// After so many failures in a row the machine does not restart at once any more. More are not counted.
pub const MANY: u64 = 3;

/// How the block begins; the count follows in little endian. Any other content is a count of 0.
const MAGIC: &[u8; 8] = b"DAASFAIL";
/// Magic and count.
const LENGTH: usize = 16;
/// How long counting may take where PID 1 waits for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many there were.
///
/// # Errors
/// When the partition can't be read.
pub fn count(devices: &RootDevices) -> io::Result<u64> {
    read(&open(devices, false)?)
}

/// Counts one more, and gives how many there are now.
///
/// # Errors
/// When the partition can't be read or written.
pub fn add(devices: &RootDevices) -> io::Result<u64> {
    add_to(&open(devices, true)?)
}

/// As [`add`], and gives up after five seconds: a disk that hangs keeps a thread alone.
///
/// # Errors
/// As [`add`]; also when time is up.
pub fn add_in_time(devices: &RootDevices) -> io::Result<u64> {
    let devices = devices.clone();
    let (sender, receiver) = channel();
    sys::thread::spawn_without_signals("root-fails", move || {
        // nobody may wait any more
        let _ = sender.send(add(&devices));
    })?;
    receiver
        .recv_timeout(PATIENCE)
        .map_err(|_| io::ErrorKind::TimedOut)?
}

/// Forgets them: the root works.
///
/// # Errors
/// When the partition can't be read or written.
pub fn forget(devices: &RootDevices) -> io::Result<()> {
    let partition = open(devices, true)?;
    if read(&partition)? != 0 {
        write(&partition, 0)?;
        tracing::info!("the root has worked for a while: its failures are forgotten");
    }
    Ok(())
}

fn open(devices: &RootDevices, write: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(write)
        .open(Path::new("/dev").join(&devices.hashes))
}

fn add_to(partition: &File) -> io::Result<u64> {
    let failures = read(partition)?.saturating_add(1).min(MANY);
    write(partition, failures)?;
    Ok(failures)
}

/// Where the block is, in bytes: the partition's last one.
fn place(mut partition: &File) -> io::Result<u64> {
    let end = io::Seek::seek(&mut partition, io::SeekFrom::End(0))?;
    let blocks = end.checked_div(BLOCK_SIZE).unwrap_or_default();
    let last = blocks.checked_sub(1).ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(last.saturating_mul(BLOCK_SIZE))
}

fn read(partition: &File) -> io::Result<u64> {
    let mut record = [0; LENGTH];
    partition.read_exact_at(&mut record, place(partition)?)?;
    Ok(decode(record))
}

fn write(partition: &File, failures: u64) -> io::Result<()> {
    let mut record = MAGIC.to_vec();
    record.extend(failures.to_le_bytes());
    partition.write_all_at(&record, place(partition)?)?;
    partition.sync_data()
}

fn decode(record: [u8; LENGTH]) -> u64 {
    let (magic, count) = record.split_at(MAGIC.len());
    let count = count.try_into().map_or(0, u64::from_le_bytes);
    if magic == MAGIC { count.min(MANY) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_up_to_many_and_forgotten() {
        let partition = tempfile::tempfile().unwrap();
        partition.set_len(10 * BLOCK_SIZE + 512).unwrap();
        assert_eq!(read(&partition).unwrap(), 0);
        for expected in [1, 2, MANY, MANY] {
            assert_eq!(add_to(&partition).unwrap(), expected);
            assert_eq!(read(&partition).unwrap(), expected);
        }
        write(&partition, 0).unwrap();
        assert_eq!(read(&partition).unwrap(), 0);
        // nothing is written but the last whole block
        let mut before = vec![0; 9 * BLOCK_SIZE as usize];
        partition.read_exact_at(&mut before, 0).unwrap();
        assert!(before.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn block_of_anything_else_counts_nothing() {
        let partition = tempfile::tempfile().unwrap();
        let content = vec![0xff; 2 * BLOCK_SIZE as usize];
        partition.write_all_at(&content, 0).unwrap();
        assert_eq!(read(&partition).unwrap(), 0);
        assert_eq!(add_to(&partition).unwrap(), 1);
        // a count beyond what is ever written
        let record = [MAGIC.as_slice(), &u64::MAX.to_le_bytes()].concat();
        assert_eq!(decode(record.try_into().unwrap()), MANY);
    }

    #[test]
    fn partition_too_small_for_a_block_is_an_error() {
        let partition = tempfile::tempfile().unwrap();
        partition.set_len(BLOCK_SIZE - 1).unwrap();
        assert!(add_to(&partition).is_err());
    }
}
