//! What runs from the initramfs: from the kernel's first program to the verified root.
//!
//! Modules, root partition, dm-verity, mount, switch. Nothing else: no shell, no prompt. Whatever
//! goes wrong ends in one screen that says what and where, and a restart.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::mount::{MountFlags, mount};
use sys::device_mapper::DeviceMapper;
use wire::status::Phase;

use crate::measure;
use crate::root::{self, FindError, RootPartitions};
use initramfs::diagnosis::{self, Diagnosis};
use initramfs::switch_root::{self, SwitchError};
use initramfs::verity::{InvalidRootHash, RootHash, Superblock, SuperblockError};
use kernel::block_devices::BlockDevice;
use kernel::command_line::{Ambiguous, CommandLine};
use kernel::failure::{Failure, show_and_restart};
use kernel::modules::{LoadError, Loader};
use kernel::mounts::{self, MountError};
use kernel::root_devices::{CorruptBlock, RootDevices};
use kernel::root_failures;
use kernel::uevent::{Received, UeventSocket};
use kernel::watchdog::Watchdog;
use log::timeline;

const NEW_ROOT: &str = "/sysroot";
/// What opens the root, whatever the disk's own driver is.
const MODULES: [&str; 3] = ["dm_mod", "dm_verity", "erofs"];
/// Drivers of watchdogs of virtual machines, of servers, and of what the firmware's tables describe (ACPI WDAT): whatever
/// hangs from here on, the hardware restarts the machine.
const WATCHDOGS: [&str; 4] = ["i6300esb", "wdat_wdt", "hpwdt", "sp5100_tco"];
const MAPPED_NAME: &str = "root";
/// How long the screen stands, and the machine with it, where the root failed several times in a row: a disk that is
/// read from the start every minute does not get better, and whoever comes by sees why.
const PAUSE: Duration = Duration::from_secs(60 * 60);

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
    #[error(
        "the root file system is corrupt: {0} of its blocks are not what the image was built with"
    )]
    Corrupt(u64),
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
        opener: None,
        watchdog: None,
        corrupt: None,
        diagnosis: None,
    };
    let error = match mounted.map_err(BootError::from).and_then(|()| boot.run()) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    let mut failure = boot.failure(&error);
    let pause = boot.count_failure(&error, &mut failure);
    if boot.opener.as_ref().is_some_and(JoinHandle::is_finished) {
        // it has the watchdog; what else it says was not waited for
        let _ = boot.join_opener();
    }
    show_and_restart(&failure, pause, boot.watchdog)
}

struct Boot {
    events: Option<UeventSocket>,
    partitions: Option<RootPartitions>,
    devices: Option<RootDevices>,
    /// The thread of [`load_opener`].
    opener: Option<JoinHandle<Result<Option<Watchdog>, LoadError>>>,
    watchdog: Option<Watchdog>,
    /// The block that failed its check.
    corrupt: Option<CorruptBlock>,
    /// What was found wrong with the root, where all of it was read.
    diagnosis: Option<Diagnosis>,
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
        self.opener = Some(opener);
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
        self.partitions = Some(partitions.clone());
        self.join_opener()?;
        let devices = self.devices.insert(open_verity(&partitions, &root_hash)?);
        if failures(devices) >= root_failures::MANY {
            // the last boots ended somewhere else: all of it is looked at before anything runs from it
            diagnose(devices, &mut self.diagnosis)?;
        }
        self.mount_root()?;
        let devices = self.devices.as_ref().ok_or(BootError::Panic)?;
        timeline::mark(Phase::Verity);
        devices.store().map_err(BootError::Store)?;
        // before anything runs from the root
        measurer.join().map_err(|_| BootError::Panic)?;
        Ok(switch_root::switch(Path::new(NEW_ROOT))?)
    }

    fn join_opener(&mut self) -> Result<(), BootError> {
        if let Some(opener) = self.opener.take() {
            self.watchdog = opener.join().map_err(|_| BootError::Panic)??;
        }
        Ok(())
    }

    /// Mounts the root; once more, where a block that failed its check passes it when it is read again.
    fn mount_root(&mut self) -> Result<(), BootError> {
        let Some(devices) = &self.devices else {
            return Ok(());
        };
        let Err(error) = mount_root(&devices.mapped) else {
            return Ok(());
        };
        self.corrupt = self.take_corrupt_block();
        let Some((devices, block)) = self.devices.as_ref().zip(self.corrupt) else {
            return Err(error);
        };
        if !devices.reads_well(block) {
            return Err(error);
        }
        tracing::error!(
            "the root's {block} was not what the image was built with, and is when it is read again: the disk, its cable \
             or the memory may be failing"
        );
        self.corrupt = None;
        mount_root(&devices.mapped)
    }

    /// The corrupt block that the kernel has reported, if there is one.
    fn take_corrupt_block(&self) -> Option<CorruptBlock> {
        let (events, devices) = self.events.as_ref().zip(self.devices.as_ref())?;
        while let Ok(Received::Event(event)) = events.receive() {
            if let Some(block) = devices.corrupt_block(&event) {
                return Some(block);
            }
        }
        None
    }

    /// Counts a failure of the root itself in its partition's entry. Gives how much longer than usual the screen stands,
    /// and says so on it.
    fn count_failure(&mut self, error: &BootError, failure: &mut Failure) -> Duration {
        let Some(partitions) = self.partitions.as_ref().filter(|_| error.is_of_the_root()) else {
            return Duration::ZERO;
        };
        let devices = self.devices.clone().unwrap_or_else(|| RootDevices {
            mapped: String::new(),
            data: partitions.data.name.clone(),
            hashes: partitions.hashes.name.clone(),
        });
        let failures = root_failures::add(&devices).unwrap_or_else(|error| {
            tracing::warn!(%error, "the root's failures can't be counted");
            0
        });
        if failures < root_failures::MANY {
            return Duration::ZERO;
        }
        if self.diagnosis.is_none() && self.devices.is_some() {
            // the screen shows what it finds
            let _ = diagnose(&devices, &mut self.diagnosis);
        }
        failure.details.push(format!(
            "the root could not be used {failures} times in a row"
        ));
        if let Some(diagnosis) = &self.diagnosis {
            failure.details.extend(diagnosis.lines());
        }
        PAUSE
    }

    /// What to tell: a corrupt block, if dm-verity saw one, is the reason of whatever failed.
    fn failure(&self, error: &BootError) -> Failure {
        let corrupt = self.corrupt.or_else(|| self.take_corrupt_block());
        if let Some((devices, block)) = self.devices.as_ref().zip(corrupt) {
            return devices.failure(block);
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
    /// Whether the content of the root's partitions is at fault, or what reads it.
    const fn is_of_the_root(&self) -> bool {
        matches!(
            self,
            Self::OpenHashes(_)
                | Self::Superblock(_)
                | Self::DeviceMapper(_)
                | Self::MountRoot(_)
                | Self::Switch(_)
                | Self::Corrupt(_)
        )
    }

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
            Self::MountRoot(_) | Self::Switch(_) | Self::Store(_) | Self::Corrupt(_) => {
                (place(|partitions| &partitions.data), REWRITE.to_owned())
            }
        }
    }
}

/// Loads what opens the root, and starts the watchdog.
fn load_opener() -> Result<Option<Watchdog>, LoadError> {
    let mut loader = Loader::open()?;
    MODULES.iter().try_for_each(|module| loader.load(module))?;
    // The fastest implementation for this processor, where there is one: dm-verity stays with
    // what it finds when it is opened.
    loader.load_for("crypto-sha256");
    loader.load_asked_for(&WATCHDOGS);
    // it goes on when this program is replaced by the root's, which has a minute to take it over
    Ok(Watchdog::start(timeline::now()))
}

/// How many times in a row the root could not be used. What can't be read is none.
fn failures(devices: &RootDevices) -> u64 {
    root_failures::count(devices).unwrap_or_else(|error| {
        tracing::warn!(%error, "the root's failures can't be read");
        0
    })
}

/// Reads all of the root.
fn diagnose(devices: &RootDevices, diagnosis: &mut Option<Diagnosis>) -> Result<(), BootError> {
    match diagnosis::of(devices) {
        Ok(found) if found.corrupt == 0 => {
            tracing::info!(
                blocks = found.blocks,
                "every block of the root is what the image was built with"
            );
            Ok(())
        }
        Ok(found) => {
            let corrupt = found.corrupt;
            *diagnosis = Some(found);
            Err(BootError::Corrupt(corrupt))
        }
        // the boot itself will tell
        Err(error) => {
            tracing::warn!(%error, "the root can't be looked through");
            Ok(())
        }
    }
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
