//! The state partition in its disk's partition table: found, grown, marked.

use std::fs::{File, OpenOptions};
use std::io;

use super::StateError;
use gpt::{ATTRIBUTE_BEING_FORMATTED, ATTRIBUTE_RESTARTED, Partition, Table, types};
use kernel::block_devices::{self, BlockDevice};
use kernel::root_devices::{self, RootDevices};

/// That the boot before this one ended by a restart for the state's sake.
pub(super) const RESTARTED: &str = "/run/daas/restarted";
/// Which of several partitions of its type is the state.
const LABEL: &str = "state";
/// Partitions end at a multiple of this, as they start.
const ALIGNMENT: u64 = 1024 * 1024;

/// The disk that the root is on, and the state partition in its table.
#[derive(Debug)]
pub(super) struct StatePartition {
    disk: File,
    table: Table,
    /// As the table has it.
    entry: Partition,
    /// As the kernel has it.
    device: BlockDevice,
}

impl StatePartition {
    /// Finds the partition on the disk that the root is on.
    ///
    /// # Errors
    /// See [`StateError`].
    pub(super) fn find() -> Result<Self, StateError> {
        let devices = RootDevices::load().ok_or(StateError::NoBootDisk)?;
        let (boot_disk, _) = root_devices::boot_disk(&devices)
            .map_err(StateError::Devices)?
            .ok_or(StateError::NoBootDisk)?;
        let path = boot_disk.path();
        let disk = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|source| StateError::Disk {
                disk: path.clone(),
                source,
            })?;
        let table = Table::read(&disk).map_err(|source| StateError::Table {
            disk: path.clone(),
            source,
        })?;
        let entry = find_entry(&table).ok_or(StateError::NoPartition { disk: path })?;
        let place = Some((entry.number, boot_disk.name));
        let device = block_devices::all()
            .map_err(StateError::Devices)?
            .into_iter()
            .find(|device| device.partition_of == place)
            .ok_or(StateError::NoDevice {
                number: entry.number,
            })?;
        Ok(Self {
            disk,
            table,
            entry,
            device,
        })
    }

    /// The device.
    pub(super) fn device(&self) -> &BlockDevice {
        &self.device
    }

    /// Whether an earlier boot began to make the file system and did not end.
    pub(super) fn is_being_formatted(&self) -> bool {
        self.entry.attributes & ATTRIBUTE_BEING_FORMATTED != 0
    }

    /// The partition's size in bytes once it reaches the disk's end.
    pub(super) fn size_when_grown(&self) -> u64 {
        let last_block = grown_last_block(&self.table, &self.entry);
        let grown = Partition {
            last_block,
            ..self.entry.clone()
        };
        grown.blocks().saturating_mul(self.table.block_size())
    }

    /// Grows the partition to the disk's end, in the table and in the kernel, repairs a damaged
    /// copy of the table, and marks whether the file system is being made. To be called when the state's key is
    /// there: the mark of a restart goes.
    ///
    /// # Errors
    /// See [`StateError`]; the table is whole then, too.
    pub(super) fn settle(&mut self, being_formatted: bool) -> Result<(), StateError> {
        let last_block = grown_last_block(&self.table, &self.entry);
        let settled = self.entry.attributes & !ATTRIBUTE_BEING_FORMATTED & !ATTRIBUTE_RESTARTED;
        let attributes = match being_formatted {
            true => settled | ATTRIBUTE_BEING_FORMATTED,
            false => settled,
        };
        if self.entry.attributes & ATTRIBUTE_RESTARTED != 0 {
            tracing::info!("the state's key is there, after the restart for its sake");
            if let Err(error) = std::fs::write(RESTARTED, b"") {
                tracing::warn!(%error, "{RESTARTED} can't be left");
            }
        }
        self.write(last_block, attributes)?;
        self.resize_in_kernel().map_err(StateError::Resize)
    }

    /// Marks that the machine is restarted since the state did not open before the boot phase ended. `false`: it
    /// was marked before, and has not opened since.
    ///
    /// # Errors
    /// See [`StateError`]; the table is whole then, too.
    pub(super) fn mark_restarted(&mut self) -> Result<bool, StateError> {
        if self.entry.attributes & ATTRIBUTE_RESTARTED != 0 {
            return Ok(false);
        }
        let attributes = self.entry.attributes | ATTRIBUTE_RESTARTED;
        self.write(self.entry.last_block, attributes)?;
        Ok(true)
    }

    /// Writes the partition's entry, where it is another one or a copy of the table is damaged.
    fn write(&mut self, last_block: u64, attributes: u64) -> Result<(), StateError> {
        let mut table = self.table.clone();
        let number = self.entry.number;
        let set =
            table.set_last_block(number, last_block) && table.set_attributes(number, attributes);
        if !set {
            return Err(StateError::NoDevice { number });
        }
        if table != self.table || !self.table.is_settled() {
            table
                .write(&self.disk, &self.table)
                .map_err(StateError::WriteTable)?;
            // What was written is what counts from now on.
            self.table = Table::read(&self.disk).map_err(|source| StateError::Table {
                disk: self.device.path(),
                source,
            })?;
            self.entry = find_entry(&self.table).ok_or(StateError::NoDevice { number })?;
            tracing::info!(
                partition = self.device.name,
                bytes = self.size_when_grown(),
                "the partition table is written"
            );
        }
        Ok(())
    }

    fn resize_in_kernel(&mut self) -> io::Result<()> {
        let block_size = self.table.block_size();
        let size = self.entry.blocks().saturating_mul(block_size);
        if self.device.size == size {
            return Ok(());
        }
        let start = self.entry.first_block.saturating_mul(block_size);
        sys::block::resize_partition(&self.disk, self.entry.number, start, size)?;
        self.device.size = size;
        Ok(())
    }
}

fn find_entry(table: &Table) -> Option<Partition> {
    let candidates: Vec<_> = table
        .partitions()
        .filter(|partition| partition.type_guid == types::VAR)
        .collect();
    match candidates.as_slice() {
        [only] => Some(only.clone()),
        several => several
            .iter()
            .find(|partition| partition.name == LABEL)
            .cloned(),
    }
}

/// Where the partition can end: at the disk's end if nothing lies behind it, otherwise where it
/// ends now. It never shrinks.
fn grown_last_block(table: &Table, entry: &Partition) -> u64 {
    let is_last = table
        .partitions()
        .all(|other| other.first_block <= entry.first_block);
    let disk_end = table.last_usable_block(ALIGNMENT).filter(|_| is_last);
    disk_end.unwrap_or_default().max(entry.last_block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fixtures::gpt_disk::TestDisk;

    fn read(disk: &TestDisk) -> Table {
        Table::read_from(disk.file(), 512, disk.size()).unwrap()
    }

    #[test]
    fn the_state_is_found_and_grows_to_the_end() {
        let mut disk = TestDisk::new(4096, 512);
        let entry = find_entry(&read(&disk)).unwrap();
        assert_eq!(entry.number, 6);
        // The last MiB of this small disk holds the backup table.
        assert_eq!(grown_last_block(&read(&disk), &entry), 2047);
        disk.grow(8192);
        assert_eq!(grown_last_block(&read(&disk), &entry), 6143);
    }

    #[test]
    fn it_does_not_grow_over_a_partition_behind_it() {
        let mut disk = TestDisk::new(4096, 512);
        disk.grow(8192);
        let table = read(&disk);
        let first = table.partitions().next().unwrap();
        assert_eq!(grown_last_block(&table, &first), first.last_block);
    }
}
