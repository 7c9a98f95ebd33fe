//! The state's volume under dm-crypt.
//!
//! Table: Documentation/admin-guide/device-mapper/dm-crypt.rst. The cipher is AES-256 in XTS, its
//! initial vectors the numbers of sectors (`plain64`). It hides what is stored; it does not vouch for
//! it: who writes to the disk can turn sectors into noise, or back into what they once held.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use sys::device_mapper::{self, DeviceMapper};
use sys::keyring::LogonKey;

use super::header::PAYLOAD_OFFSET;
use super::volume::Volume;
use kernel::block_devices::{BlockDevice, SECTOR};
use kernel::modules::{LoadError, Loader};

/// The target and the mode of its cipher. AES itself is built into the kernel.
const MODULES: [&str; 2] = ["dm_crypt", "xts"];
/// Whatever makes AES fast on this processor.
const FAST_CIPHER: &str = "crypto-aes";
const TARGET: &str = "crypt";
const CIPHER: &str = "aes-xts-plain64";
const NAME: &str = "state";
pub(super) const UUID: &str = "K3S-DAAS-CRYPT-state";
/// By what the kernel finds the key, on the keyring of the thread that loads the table.
const KEY_DESCRIPTION: &str = "daas:state";
/// A device that was unmounted just now can be busy for a moment.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(100);

/// Why there is no mapped device.
#[derive(Debug, thiserror::Error)]
pub(super) enum MappingError {
    #[error(transparent)]
    Module(#[from] LoadError),
    #[error("the numbers of the state partition cannot be read")]
    Number(#[source] std::io::Error),
    #[error("the kernel does not take the key")]
    Key(#[source] std::io::Error),
    #[error(transparent)]
    DeviceMapper(#[from] device_mapper::Error),
}

/// The open volume.
#[derive(Debug)]
pub(super) struct Mapping {
    /// Where devtmpfs has it.
    pub(super) path: PathBuf,
    /// Its length in bytes.
    pub(super) size: u64,
}

/// Opens the volume on a partition, over the whole of it but for the header. One that a task left
/// behind when it was killed is closed first.
///
/// # Errors
/// See [`MappingError`].
pub(super) fn open(partition: &BlockDevice, volume: &Volume) -> Result<Mapping, MappingError> {
    let mut loader = Loader::open()?;
    MODULES.iter().try_for_each(|module| loader.load(module))?;
    loader.load_for(FAST_CIPHER);
    let mapper = DeviceMapper::open()?;
    remove(&mapper)?;
    let number = partition.number().map_err(MappingError::Number)?;
    let sectors = sectors(partition.size, volume.sector_size);
    let table = table(&number, volume.sector_size, is_solid_state(partition));
    let key = LogonKey::add(KEY_DESCRIPTION, volume.key()).map_err(MappingError::Key)?;
    let device = mapper.create_writable(NAME, UUID, TARGET, sectors, &table)?;
    // dm-crypt has its own copy by now.
    drop(key);
    Ok(Mapping {
        path: PathBuf::from(format!("/dev/dm-{}", device.minor)),
        size: sectors.saturating_mul(SECTOR),
    })
}

/// Closes the volume, if it is open.
///
/// # Errors
/// [`MappingError::DeviceMapper`] when it is in use.
pub(super) fn close() -> Result<(), MappingError> {
    remove(&DeviceMapper::open()?)
}

fn remove(mapper: &DeviceMapper) -> Result<(), MappingError> {
    let mut attempt = 1;
    loop {
        match mapper.remove(NAME) {
            Ok(_) => return Ok(()),
            Err(device_mapper::Error::Call { source, .. })
                if attempt < ATTEMPTS
                    && source.raw_os_error() == Some(Errno::BUSY.raw_os_error()) =>
            {
                attempt += 1;
                thread::sleep(PAUSE);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The volume's length in sectors of 512 bytes: whole units of encryption.
fn sectors(partition_size: u64, sector_size: u32) -> u64 {
    let payload = partition_size.saturating_sub(PAYLOAD_OFFSET);
    let sector_size = u64::from(sector_size).max(SECTOR);
    payload / sector_size * (sector_size / SECTOR)
}

/// The parameters of the `crypt` target. The key is named, not told: root could read it back.
///
/// Discards are not passed on. Nothing on the node trims, and on a disk that somebody else can look
/// at, which blocks are in use tells what is stored there; `init reset` discards the whole.
fn table(partition: &str, sector_size: u32, solid_state: bool) -> String {
    let key_length = super::volume::KEY_LENGTH;
    let payload = PAYLOAD_OFFSET / SECTOR;
    let mut options = Vec::new();
    if u64::from(sector_size) != SECTOR {
        options.push(format!("sector_size:{sector_size}"));
        // Initial vectors count units of encryption, too.
        options.push("iv_large_sectors".to_owned());
    }
    if solid_state {
        // Encrypted where the request comes in: queues of threads, which put a rotating disk's
        // requests in order, cost a fast disk more than the cipher does.
        options.push("no_read_workqueue".to_owned());
        options.push("no_write_workqueue".to_owned());
    }
    let mut table =
        format!("{CIPHER} :{key_length}:logon:{KEY_DESCRIPTION} 0 {partition} {payload}");
    if !options.is_empty() {
        table.push_str(&format!(" {} {}", options.len(), options.join(" ")));
    }
    table
}

/// Whether the partition's disk says that it does not rotate (Documentation/ABI/stable/sysfs-block).
fn is_solid_state(partition: &BlockDevice) -> bool {
    let disk = match &partition.partition_of {
        Some((_, disk)) => disk,
        None => &partition.name,
    };
    files::read_text(format!("/sys/class/block/{disk}/queue/rotational"), 16)
        .is_ok_and(|rotational| rotational == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_that_of_the_kernel_document() {
        assert_eq!(
            table("254:6", 512, false),
            "aes-xts-plain64 :64:logon:daas:state 0 254:6 32768"
        );
        assert_eq!(
            table("254:6", 4096, true),
            "aes-xts-plain64 :64:logon:daas:state 0 254:6 32768 4 sector_size:4096 \
             iv_large_sectors no_read_workqueue no_write_workqueue"
        );
        assert_eq!(
            table("259:1", 512, true),
            "aes-xts-plain64 :64:logon:daas:state 0 259:1 32768 2 no_read_workqueue \
             no_write_workqueue"
        );
    }

    #[test]
    fn a_volume_has_whole_units_and_leaves_the_header_out() {
        assert_eq!(sectors(PAYLOAD_OFFSET + 8192, 512), 16);
        assert_eq!(sectors(PAYLOAD_OFFSET + 8192 + 4095, 4096), 16);
        assert_eq!(sectors(PAYLOAD_OFFSET + 513, 512), 1);
        assert_eq!(sectors(PAYLOAD_OFFSET - 1, 512), 0);
    }

    #[test]
    fn a_disk_that_says_nothing_is_taken_for_one_that_rotates() {
        assert!(!is_solid_state(&BlockDevice {
            name: "no such disk".to_owned(),
            size: 0,
            partition_of: None,
        }));
    }
}
