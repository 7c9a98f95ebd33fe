//! How many times in a row the root could not be read: kept in its partition's entry, as nothing else of the disk can be
//! written to by whoever has no root.

use std::fs::{File, OpenOptions};
use std::io;

use gpt::{ATTRIBUTE_FAILURES, Partition, Table};

use crate::root_devices::{RootDevices, boot_disk};

/// After so many failures in a row the machine does not restart at once any more. More are not counted.
pub const MANY: u64 = 3;

/// How many there were.
///
/// # Errors
/// When the partition table can't be read.
pub fn count(devices: &RootDevices) -> io::Result<u64> {
    let (_, _, entry) = find(devices)?;
    Ok(of(entry.attributes))
}

/// Counts one more, and gives how many there are now.
///
/// # Errors
/// When the partition table can't be read or written.
pub fn add(devices: &RootDevices) -> io::Result<u64> {
    let (disk, table, entry) = find(devices)?;
    let failures = of(entry.attributes).saturating_add(1).min(MANY);
    write(&disk, &table, &entry, failures)?;
    Ok(failures)
}

/// Forgets them: the root works.
///
/// # Errors
/// When the partition table can't be read or written.
pub fn forget(devices: &RootDevices) -> io::Result<()> {
    let (disk, table, entry) = find(devices)?;
    if of(entry.attributes) != 0 {
        write(&disk, &table, &entry, 0)?;
        tracing::info!("the root has worked for a while: its failures are forgotten");
    }
    Ok(())
}

fn find(devices: &RootDevices) -> io::Result<(File, Table, Partition)> {
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    let (disk, number) = boot_disk(devices)?.ok_or_else(missing)?;
    let disk = OpenOptions::new()
        .read(true)
        .write(true)
        .open(disk.path())?;
    let table = Table::read(&disk).map_err(io::Error::other)?;
    let entry = table
        .partitions()
        .find(|partition| partition.number == number);
    Ok((disk, table, entry.ok_or_else(missing)?))
}

fn write(disk: &File, table: &Table, entry: &Partition, failures: u64) -> io::Result<()> {
    let mut changed = table.clone();
    if !changed.set_attributes(entry.number, with(entry.attributes, failures)) {
        return Err(io::ErrorKind::NotFound.into());
    }
    if changed != *table {
        changed.write(disk, table).map_err(io::Error::other)?;
    }
    Ok(())
}

const fn of(attributes: u64) -> u64 {
    (attributes & ATTRIBUTE_FAILURES) >> ATTRIBUTE_FAILURES.trailing_zeros()
}

const fn with(attributes: u64, failures: u64) -> u64 {
    let failures = failures << ATTRIBUTE_FAILURES.trailing_zeros();
    attributes & !ATTRIBUTE_FAILURES | failures & ATTRIBUTE_FAILURES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_beside_other_attributes() {
        let others = !ATTRIBUTE_FAILURES;
        for failures in 0..=MANY {
            for before in [0, others, u64::MAX] {
                let after = with(before, failures);
                assert_eq!(of(after), failures);
                assert_eq!(after & others, before & others);
            }
        }
        // the state's own attributes and those of the Discoverable Partitions Specification are none of these
        let taken = gpt::ATTRIBUTE_BEING_FORMATTED | gpt::ATTRIBUTE_RESTARTED | 1 << 59 | 1 << 60;
        assert_eq!(ATTRIBUTE_FAILURES & (taken | 1 << 63), 0);
    }
}
