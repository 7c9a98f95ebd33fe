//! What runs from the initramfs: from the kernel's first program to the verified root.
//!
//! Modules, root partition, dm-verity, mount, switch. Nothing else: no shell, no prompt. Whatever
//! goes wrong ends in one screen that says what and where, and a restart.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::path::Path;

use rustix::mount::{MountFlags, mount};
use sys::device_mapper::DeviceMapper;
use wire::status::Phase;

use crate::measure;
use crate::root::{self, FindError, RootPartitions};
use initramfs::switch_root::{self, SwitchError};
use initramfs::verity::{InvalidRootHash, RootHash, Superblock, SuperblockError};
use kernel::block_devices::BlockDevice;
use kernel::command_line::{Ambiguous, CommandLine};
use kernel::failure::{Failure, show_and_restart};
use kernel::modules::{LoadError, Loader};
use kernel::mounts::{self, MountError};
use kernel::root_devices::RootDevices;
use kernel::uevent::{Received, UeventSocket};
use log::timeline;

const NEW_ROOT: &str = "/sysroot";
/// What opens the root, whatever the disk's own driver is.
const MODULES: [&str; 3] = ["dm_mod", "dm_verity", "erofs"];
const MAPPED_NAME: &str = "root";

/// Why there is no root.
#[derive(Debug, thiserror::Error)]
enum BootError {
    #[error(transparent)]
    Mount(#[from] MountError),
    #[error("the kernel command line cannot be read")]
    CommandLine(#[source] io::Error),
    #[error(transparent)]
    Ambiguous(#[from] Ambiguous),
    #[error("the kernel command line has no `roothash=`")]
    NoRootHash,
    #[error(transparent)]
    RootHash(#[from] InvalidRootHash),
    #[error(transparent)]
    Module(#[from] LoadError),
    #[error("a thread cannot be started")]
    Thread(#[source] io::Error),
    #[error("a thread of init panicked")]
    Panic,
    #[error(transparent)]
    Find(#[from] FindError),
    #[error("the verity partition cannot be opened")]
    OpenHashes(#[source] io::Error),
    #[error(transparent)]
    Superblock(#[from] SuperblockError),
    #[error(transparent)]
    DeviceMapper(#[from] sys::device_mapper::Error),
    #[error("the root file system cannot be mounted")]
    MountRoot(#[source] io::Error),
    #[error("the names of the root's devices cannot be kept")]
    Store(#[source] io::Error),
    #[error(transparent)]
    Switch(#[from] SwitchError),
}

/// Boots. Returns never: init runs again from the root, or the machine restarts.
pub(crate) fn run() -> ! {
    let started = timeline::now();
    let mounted = mounts::initramfs();
    log::to_kernel();
    timeline::mark_at(Phase::Init, started);
    let mut boot = Boot {
        events: None,
        partitions: None,
        devices: None,
    };
    let error = match mounted.map_err(BootError::from).and_then(|()| boot.run()) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    show_and_restart(&boot.failure(&error), None)
}

struct Boot {
    events: Option<UeventSocket>,
    partitions: Option<RootPartitions>,
    devices: Option<RootDevices>,
}

impl Boot {
    fn run(&mut self) -> Result<Infallible, BootError> {
        let command_line = CommandLine::read().map_err(BootError::CommandLine)?;
        let root_hash = command_line
            .value("roothash")?
            .ok_or(BootError::NoRootHash)?;
        let root_hash = RootHash::parse(root_hash)?;

        let events = self
            .events
            .insert(UeventSocket::open().map_err(FindError::Devices)?);
        let mut loader = Loader::open()?;
        // Two processors can load modules at the same time.
        let opener = std::thread::Builder::new()
            .spawn(load_opener)
            .map_err(BootError::Thread)?;
        // A TPM takes its time, and the disk does, too.
        let measurer = std::thread::Builder::new()
            .spawn(measure::begin)
            .map_err(BootError::Thread)?;

        let (data, hashes) = root_hash.partition_guids();
        let partitions = root::wait_for(data, hashes, events, &mut loader)?;
        timeline::mark(Phase::RootDevice);
        tracing::info!(
            data = partitions.data.name,
            hashes = partitions.hashes.name,
            modules = loader.loaded(),
            "root partition found"
        );
        let partitions = self.partitions.insert(partitions);
        opener.join().map_err(|_| BootError::Panic)??;
        let devices = self.devices.insert(open_verity(partitions, &root_hash)?);
        mount_root(&devices.mapped)?;
        timeline::mark(Phase::Verity);
        devices.store().map_err(BootError::Store)?;
        // before anything runs from the root
        measurer.join().map_err(|_| BootError::Panic)?;
        Ok(switch_root::switch(Path::new(NEW_ROOT))?)
    }

    /// What to tell: a corrupt block, if dm-verity saw one, is the reason of whatever failed.
    fn failure(&self, error: &BootError) -> Failure {
        if let (Some(events), Some(devices)) = (&self.events, &self.devices) {
            while let Ok(Received::Event(event)) = events.receive() {
                if let Some(block) = devices.corrupt_block(&event) {
                    return devices.failure(block);
                }
            }
        }
        let (place, hint) = error.place_and_hint(self.partitions.as_ref());
        let details = match error {
            BootError::Find(FindError::Absent { found }) => found.clone(),
            _ => Vec::new(),
        };
        Failure {
            what: log::chain(error),
            place,
            hint,
            details,
        }
    }
}

impl BootError {
    fn place_and_hint(&self, partitions: Option<&RootPartitions>) -> (String, String) {
        const REWRITE: &str = "Write the image to the disk again.";
        let place = |part: fn(&RootPartitions) -> &BlockDevice| {
            partitions.map_or_else(String::new, |partitions| part(partitions).description())
        };
        match self {
            Self::CommandLine(_) | Self::Ambiguous(_) | Self::NoRootHash | Self::RootHash(_) => (
                "kernel command line".to_owned(),
                "Boot the image's own kernel image, which carries the root hash.".to_owned(),
            ),
            Self::Mount(_) | Self::Module(_) | Self::Thread(_) | Self::Panic => (
                "initramfs".to_owned(),
                "The kernel and its initramfs do not belong together: write the image to the disk \
                 again."
                    .to_owned(),
            ),
            Self::Find(_) => (
                "all disks".to_owned(),
                "Check that the disk with the image is attached, and that its root belongs to \
                 this kernel: an update may be half done. Otherwise write the image again."
                    .to_owned(),
            ),
            Self::OpenHashes(_) | Self::Superblock(_) | Self::DeviceMapper(_) => {
                ("the root's verity partition".to_owned(), REWRITE.to_owned())
            }
            Self::MountRoot(_) | Self::Switch(_) | Self::Store(_) => {
                (place(|partitions| &partitions.data), REWRITE.to_owned())
            }
        }
    }
}

/// Loads what opens the root.
fn load_opener() -> Result<(), LoadError> {
    let mut loader = Loader::open()?;
    MODULES.iter().try_for_each(|module| loader.load(module))?;
    // The fastest implementation for this processor, where there is one: dm-verity stays with
    // what it finds when it is opened.
    loader.load_for("crypto-sha256");
    Ok(())
}

fn open_verity(partitions: &RootPartitions, hash: &RootHash) -> Result<RootDevices, BootError> {
    let RootPartitions { data, hashes } = partitions;
    let file = hashes.open().map_err(BootError::OpenHashes)?;
    let superblock = Superblock::read(&file, data.size, hashes.size)?;
    let number = |device: &BlockDevice| device.number().map_err(BootError::OpenHashes);
    let table = superblock.table(&number(data)?, &number(hashes)?, hash);
    let uuid = format!("K3S-DAAS-VERITY-{hash}");
    let mapped = DeviceMapper::open()?.create_read_only(
        MAPPED_NAME,
        &uuid,
        "verity",
        superblock.sectors(),
        &table,
    )?;
    Ok(RootDevices {
        mapped: format!("dm-{}", mapped.minor),
        data: data.name.clone(),
        hashes: hashes.name.clone(),
    })
}

/// No file of the image is a device or setuid, and none may become one.
fn mount_root(mapped: &str) -> Result<(), BootError> {
    let device = format!("/dev/{mapped}");
    let flags = MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID;
    fs::create_dir_all(NEW_ROOT)
        .and_then(|()| mount(device, NEW_ROOT, "erofs", flags, None).map_err(Into::into))
        .map_err(BootError::MountRoot)
}
