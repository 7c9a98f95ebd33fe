//! Finding the root partition: by type and by the identity that the root hash gives it, on
//! whatever disk it is, however late that disk shows up.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use gpt::{Guid, Origin, Table, types};
use kernel::block_devices::{self, BlockDevice};
use kernel::modules::{self, Loader};
use kernel::uevent::{Received, UeventSocket};

/// How long disks may take to show up: controllers that spin disks up take 10 to 20 s.
const PATIENCE: Duration = Duration::from_secs(30);
/// Lines about disks on the screen; a machine can have hundreds.
const FOUND_LIMIT: usize = 8;

/// The two partitions of a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RootPartitions {
    /// The file system.
    pub(crate) data: BlockDevice,
    /// Its hash tree.
    pub(crate) hashes: BlockDevice,
}

/// Why no root was found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FindError {
    /// The kernel can't be asked.
    #[error("the kernel's devices cannot be watched")]
    Devices(#[from] io::Error),
    /// Time is up.
    #[error("no disk has the root partition that belongs to this kernel")]
    Absent {
        /// What there is instead, one line a disk.
        found: Vec<String>,
    },
}

/// Waits until the partitions with these identities are there. Meanwhile it loads the drivers
/// that devices ask for, likely ones first, and looks again whenever a block device shows up.
/// Drivers that are not needed for that are left to the root, so that nobody waits for them.
///
/// # Errors
/// See [`FindError`].
pub(crate) fn wait_for(
    data: Guid,
    hashes: Guid,
    events: &UeventSocket,
    loader: &mut Loader,
) -> Result<RootPartitions, FindError> {
    let deadline = Instant::now() + PATIENCE;
    let mut pending: Vec<String> = modules::device_aliases().into_iter().collect();
    pending.sort_by_key(|alias| likelihood(alias));
    let mut search = Search::new(data, hashes);
    let mut look = true;
    loop {
        if look && let Some(partitions) = search.look()? {
            return Ok(partitions);
        }
        if let Some(alias) = pending.pop() {
            loader.load_for(&alias);
        } else if !wait_for_event(events, deadline)? {
            return Err(FindError::Absent {
                found: search.found,
            });
        }
        look = take_events(events, &mut pending)?;
    }
}

/// How likely a device leads to a disk, by its modalias: the drivers of the likeliest are loaded
/// first. Storage controllers have the PCI base class 01 (PCI Code and ID Assignment
/// Specification, 1.2).
fn likelihood(alias: &str) -> u8 {
    if alias.starts_with("virtio:") || alias.starts_with("scsi:") {
        2
    } else if alias.starts_with("pci:") && alias.contains("bc01") {
        1
    } else {
        0
    }
}

/// Waits until an event can be read; `false` when time is up.
fn wait_for_event(events: &UeventSocket, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut descriptors = [PollFd::from_borrowed_fd(events.as_fd(), PollFlags::IN)];
        match poll(&mut descriptors, Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reads all events that wait, and keeps the aliases of new devices. `true` when one of them can
/// have brought the root.
fn take_events(events: &UeventSocket, pending: &mut Vec<String>) -> io::Result<bool> {
    let mut look = false;
    loop {
        match events.receive()? {
            Received::Event(event) => {
                pending.extend(event.get("MODALIAS").map(str::to_owned));
                look |= event.is_block_device();
            }
            Received::Lost => {
                pending.extend(modules::device_aliases());
                look = true;
            }
            Received::Empty => return Ok(look),
        }
    }
}

struct Search {
    data: Guid,
    hashes: Guid,
    /// What was found instead, for the screen.
    found: Vec<String>,
    /// Disks whose partitions the kernel was told of.
    told: BTreeSet<String>,
}

impl Search {
    fn new(data: Guid, hashes: Guid) -> Self {
        Self {
            data,
            hashes,
            found: Vec::new(),
            told: BTreeSet::new(),
        }
    }

    fn look(&mut self) -> io::Result<Option<RootPartitions>> {
        self.found.clear();
        let devices = block_devices::all()?;
        let disks = devices
            .iter()
            .filter(|device| block_devices::is_real_disk(device));
        for disk in disks {
            match read_table(disk) {
                Ok((file, table)) => {
                    if let Some(partitions) = self.look_on(disk, &file, &table, &devices) {
                        return Ok(Some(partitions));
                    }
                }
                Err(reason) => {
                    self.note(format!("/dev/{}, {}: {reason}", disk.name, size(disk.size)));
                }
            }
        }
        if self.found.is_empty() {
            self.note("no disk at all".to_owned());
        }
        Ok(None)
    }

    /// Looks for both partitions in the table of one disk, and for their devices.
    fn look_on(
        &mut self,
        disk: &BlockDevice,
        file: &File,
        table: &Table,
        devices: &[BlockDevice],
    ) -> Option<RootPartitions> {
        let (data, hashes) = self.numbers(table);
        let device_of = |number| {
            let place = Some((number, disk.name.clone()));
            devices
                .iter()
                .find(|device| device.partition_of == place)
                .cloned()
        };
        let found = data.and_then(device_of).zip(hashes.and_then(device_of));
        if let Some((data, hashes)) = found {
            return Some(RootPartitions { data, hashes });
        }
        self.note(describe(disk, table, data.is_some(), hashes.is_some()));
        // Without `gpt` on its command line the kernel does not look at the backup table, which a
        // power cut while the table was being written can leave as the only one.
        let has_both = data.is_some() && hashes.is_some();
        if has_both && table.origin() == Origin::Backup && self.told.insert(disk.name.clone()) {
            tracing::warn!(
                disk = disk.name,
                "the primary partition table is damaged, the backup is used"
            );
            tell_kernel(file, table);
        }
        None
    }

    /// The numbers of both partitions in a table.
    fn numbers(&self, table: &Table) -> (Option<u32>, Option<u32>) {
        let number = |type_guid, guid| {
            table
                .partitions()
                .find(|partition| partition.type_guid == type_guid && partition.guid == guid)
                .map(|partition| partition.number)
        };
        (
            number(types::ROOT, self.data),
            number(types::ROOT_VERITY, self.hashes),
        )
    }

    fn note(&mut self, line: String) {
        if self.found.len() < FOUND_LIMIT {
            self.found.push(line);
        }
    }
}

/// Makes the kernel know the partitions of a table; their devices come with events.
fn tell_kernel(disk: &File, table: &Table) {
    for partition in table.partitions() {
        let start = partition.first_block.saturating_mul(table.block_size());
        let length = partition.blocks().saturating_mul(table.block_size());
        let added = sys::block::add_partition(disk, partition.number, start, length);
        if let Err(error) = added {
            tracing::warn!(number = partition.number, %error, "a partition is not added");
        }
    }
}

fn read_table(disk: &BlockDevice) -> Result<(File, Table), String> {
    let file = disk
        .open()
        .map_err(|error| format!("it cannot be opened: {error}"))?;
    let table = Table::read(&file).map_err(|error| error.to_string())?;
    Ok((file, table))
}

fn describe(disk: &BlockDevice, table: &Table, data: bool, hashes: bool) -> String {
    let disk_name = format!("/dev/{}, {}", disk.name, size(disk.size));
    match (data, hashes) {
        (true, true) => {
            let hint = "the kernel has not made its partitions";
            return format!("{disk_name}: has the root, but {hint}");
        }
        (true, false) => return format!("{disk_name}: has the root, but not its hash tree"),
        (false, true) => return format!("{disk_name}: has the hash tree, but not its root"),
        (false, false) => {}
    }
    let roots: Vec<String> = table
        .partitions()
        .filter(|partition| partition.type_guid == types::ROOT)
        .map(|partition| format!("{} ({})", partition.guid, partition.name))
        .collect();
    if roots.is_empty() {
        format!(
            "{disk_name}: {} partitions, none is a root",
            table.partitions().count()
        )
    } else {
        format!("{disk_name}: other roots: {}", roots.join(", "))
    }
}

fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes;
    let mut unit = "bytes";
    for next in UNITS {
        if value < 10_240 {
            break;
        }
        value /= 1024;
        unit = next;
    }
    format!("{value} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use fixtures::gpt_disk::TestDisk;

    fn disk() -> BlockDevice {
        BlockDevice {
            name: "vda".to_owned(),
            size: 2 << 20,
            partition_of: None,
        }
    }

    #[test]
    fn a_root_counts_only_with_its_type_and_its_identity() {
        let image = TestDisk::new(4096, 512);
        let table = Table::read_from(image.file(), 512, image.size()).unwrap();
        let search = |data| Search::new(Guid([data; 16]), Guid([9; 16]));
        assert_eq!(search(1).numbers(&table), (Some(1), None));
        // The state's identity is not a root's.
        assert_eq!(search(6).numbers(&table), (None, None));
        let line = describe(&disk(), &table, false, false);
        assert!(
            line.starts_with("/dev/vda, 2048 KiB: other roots: 01010101-0101-"),
            "{line}"
        );
        assert!(line.ends_with("(root-a)"), "{line}");
    }

    #[test]
    fn likely_disks_come_first() {
        let virtio = likelihood("virtio:d00000002v00001AF4");
        let controller = likelihood("pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01");
        let network = likelihood("pci:v00001AF4d00001041sv00001AF4sd00001100bc02sc00i00");
        assert!(virtio > controller && controller > network);
    }

    #[test]
    fn sizes() {
        assert_eq!(size(512), "512 bytes");
        assert_eq!(size(64 << 20), "64 MiB");
        assert_eq!(size(2 << 40), "2048 GiB");
    }
}
