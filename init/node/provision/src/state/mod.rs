//! `provision state`: the state disk on `/var`. A task that PID 1 starts as a child, as making and
//! checking a file system takes its time.
//!
//! Where the machine can seal, the state lies under dm-crypt, its key sealed by the TPM: see `volume`
//! for when it opens, `header` for where the sealed key lies, `mapping` for the cipher. Elsewhere it is
//! a plain file system. Neither is taken for the other.
//!
//! The state partition is the one of the Discoverable Partitions Specification's type `var` on the
//! disk that the root is on. In the image it is 64 MiB of zeros. Whatever moment the power fails
//! at, the next boot goes on from there:
//!
//! 1. The partition is looked at. Neither zeros nor ours, of another version, too small, sealed by
//!    something else than this TPM, publisher and boot: said, and nothing at all is written. The key
//!    of a new state is sealed, and opened once, before that, too.
//! 2. The partition table is written: grown to the disk's end, and for a state that has yet to be
//!    made with a mark in the partition's attributes. `gpt` says how a cut is survived there.
//! 3. The first 16 MiB are cleared; the header is written, to both of its places; the file system is
//!    made, mounted and filled; last comes the file `state-version`.
//! 4. The mark is taken away. Until then nothing uses the state, and a boot that finds the mark
//!    makes it anew: a half-made file system can look like anything.
//!
//! What is looked at is mounted where no path leads to; `/var` shows nothing but the state that is to be used. A run
//! that finds something there that no run of this boot has noted as whole begins anew.
//!
//! A file system that exists is checked, mounted and grown while mounted, which the kernel does
//! through the journal.

mod configured;
mod content;
mod directories;
mod error;
mod file_system;
mod header;
mod layout;
mod mapping;
mod partition;
mod refusal;
mod sealed_volume;
mod volume;
mod wipe;
mod workloads;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use seal::envelope::Envelope;

pub(crate) use configured::{adopt_recovery, mark_owner};
use content::Content;
use error::StateError;
use header::{Found, Header, Slot};
use mapping::Mapping;
use partition::StatePartition;
use sealed_volume::{Sealed, refused};
use volume::{Machine, Unable, Volume};
pub(crate) use wipe::{discard, wipe};
use wire::exit::STATE_FAILED;
use wire::paths::STATE_ENCRYPTION;
use wire::status::Protection;

use crate::sealing::Sealer;
use crate::{last_end, machine_id, owner, phase, recovery};
use kernel::mounts;

/// Why PID 1 restarts the machine for the state's sake, as it says it (`init`, `power::Reason`).
pub(crate) const BOOT_PHASE_OVER: &str = "boot-phase-over";

const MOUNT_POINT: &str = "/var";
/// Which device is the state's, from when on it has been looked at, opened and mounted in this boot. What is mounted
/// without that was left by a run that was cut off: nobody knows how far it came.
const MOUNTED: &str = "/run/daas/state-device";
/// The least that images, logs and k3s itself need.
const SIZE_LIMIT: u64 = 1024 * 1024 * 1024;
/// Less than this is not worth growing a file system for.
const GROWTH_LIMIT: u64 = 1024 * 1024;

/// What is to be done about a partition.
#[derive(Debug, PartialEq, Eq)]
enum Action {
    /// Make a state, encrypted where that can be.
    Create,
    /// Open the plain file system.
    OpenPlain {
        /// Its size in bytes.
        size: u64,
    },
    /// Open the encrypted volume.
    OpenSealed(Sealed),
}

/// Runs the task. Exit status 0: the state is on `/var`. Otherwise it is not, and what stands in
/// the log says why: [`StateError::status`] tells them apart.
pub(crate) fn run() -> ExitCode {
    let error = match prepare() {
        Ok(()) => return ExitCode::SUCCESS,
        // the phase may have ended meanwhile: only the TPM knows
        Err(error) if error.is_not_released() && phase::has_ended() => {
            refusal::after_boot_phase(error)
        }
        Err(error) => error,
    };
    let text = error.text();
    if !phase::has_ended() && error.status() >= STATE_FAILED {
        refusal::keep(error.status(), &text);
    }
    tracing::error!("{text}");
    ExitCode::from(error.status())
}

fn prepare() -> Result<(), StateError> {
    let directory = |path| move |source| StateError::Directory { path, source };
    let something = mounts::is_mount_point(MOUNT_POINT).map_err(directory(MOUNT_POINT))?;
    let device = mounted_device().map_err(directory(MOUNT_POINT))?;
    let mounted = something && is_noted(Path::new(MOUNTED), &device);
    if mounted {
        tracing::info!("the state is mounted already");
    } else {
        if something {
            tracing::warn!("what is mounted was left by a run that was cut off: it is unmounted");
            file_system::unmount_state()?;
        }
        mount_state()?;
        note_mounted().map_err(directory(MOUNTED))?;
    }
    tell_encryption().map_err(directory(STATE_ENCRYPTION))?;
    let failed = |(path, source)| StateError::Directory { path, source };
    // root may have made it immutable
    layout::release(Path::new(MOUNT_POINT)).map_err(directory(MOUNT_POINT))?;
    // what is swept is looked at first, so that no link leads elsewhere; what is swept away is made anew
    directories::prepare().map_err(failed)?;
    layout::sweep().map_err(failed)?;
    directories::prepare().map_err(failed)?;
    layout::mount_all().map_err(failed)?;
    if !mounted {
        last_end::take(Path::new(partition::RESTARTED).exists());
    }
    Ok(machine_id::settle()?)
}

/// The numbers of the device that is mounted on `/var`, `major:minor`.
fn mounted_device() -> std::io::Result<String> {
    let device = fs::metadata(MOUNT_POINT)?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    Ok(format!("{major}:{minor}"))
}

fn note_mounted() -> std::io::Result<()> {
    files::replace(MOUNTED, mounted_device()?.as_bytes(), 0o600)
}

/// Whether this device was noted as the state's.
fn is_noted(note: &Path, device: &str) -> bool {
    files::read_text(note, 64).is_ok_and(|noted| noted == device)
}

/// Leaves word of whether what is mounted is encrypted. The kernel says it, whoever mounted it.
fn tell_encryption() -> std::io::Result<()> {
    let device = mounted_device()?;
    let uuid = files::read_text(format!("/sys/dev/block/{device}/dm/uuid"), 256);
    let encryption = match uuid {
        Ok(uuid) if uuid == mapping::UUID => Protection::Tpm,
        _ => Protection::None,
    };
    tracing::info!(%encryption, "state mounted");
    files::replace(
        STATE_ENCRYPTION,
        format!("{encryption}\n").as_bytes(),
        0o644,
    )
}

fn mount_state() -> Result<(), StateError> {
    let mut partition = StatePartition::find()?;
    let machine = Machine::look()?;
    let device = partition.device().path();
    let read_error = |source| StateError::Read {
        device: device.clone(),
        source,
    };
    let content = match partition.is_being_formatted() {
        // Whatever it looks like, it was never used.
        true => Content::Empty,
        false => {
            let file = partition.device().open().map_err(read_error)?;
            content::inspect(&file, partition.device().size).map_err(read_error)?
        }
    };
    match (plan(content, machine.ability(), &device)?, machine) {
        (Action::Create, machine) => {
            let size = partition.size_when_grown();
            if size < SIZE_LIMIT {
                return Err(StateError::TooSmall { device, size });
            }
            create(&mut partition, machine)
        }
        (Action::OpenPlain { size }, _) => {
            let target = Target::open(&partition, None)?;
            open(&mut partition, None, target, size)
        }
        (Action::OpenSealed(sealed), Machine::Seals(mut sealer)) => {
            match open_sealed(&mut partition, &mut sealer, &sealed)? {
                Owned::Yes => Ok(()),
                Owned::No => create(&mut partition, Machine::Seals(sealer)),
            }
        }
        (Action::OpenSealed(_), Machine::Cannot(why)) => Err(StateError::Unable { device, why }),
    }
}

/// What is to be done, or why nothing is.
fn plan(
    content: Content,
    ability: Result<(), Unable>,
    device: &Path,
) -> Result<Action, StateError> {
    let device = device.to_owned();
    match (content, ability) {
        (Content::Empty, _) => Ok(Action::Create),
        (Content::Foreign { description }, _) => Err(StateError::Foreign {
            device,
            description,
        }),
        (Content::Ours { size }, Err(_)) => Ok(Action::OpenPlain { size }),
        (Content::Ours { .. }, Ok(())) => Err(StateError::Unencrypted { device }),
        // That there is none was told as such.
        (Content::Sealed(Found::Nothing | Found::Damaged), _) => {
            Err(StateError::HeaderDamaged { device })
        }
        (Content::Sealed(Found::Newer(found)), _) => {
            Err(StateError::HeaderVersion { device, found })
        }
        (Content::Sealed(Found::Whole { .. }), Err(why)) => Err(StateError::Unable { device, why }),
        (
            Content::Sealed(Found::Whole {
                header,
                slot,
                other,
            }),
            Ok(()),
        ) => Ok(Action::OpenSealed(Sealed {
            header,
            slot,
            other,
        })),
    }
}

/// Where the file system lies.
struct Target {
    path: PathBuf,
    /// In bytes.
    size: u64,
}

impl Target {
    /// The partition itself, or the volume on it.
    fn open(partition: &StatePartition, volume: Option<&Volume>) -> Result<Self, StateError> {
        let device = partition.device();
        let Some(volume) = volume else {
            return Ok(Self {
                path: device.path(),
                size: device.size,
            });
        };
        let Mapping { path, size } =
            mapping::open(device, volume).map_err(|source| StateError::Mapping {
                device: device.path(),
                source,
            })?;
        Ok(Self { path, size })
    }
}

/// Makes a new state.
fn create(partition: &mut StatePartition, machine: Machine) -> Result<(), StateError> {
    // Before anything is written: where this fails, the partition is as it was.
    let sealed = match machine {
        Machine::Seals(mut sealer) => Some(seal_new(partition, &mut sealer)?),
        Machine::Cannot(why) => {
            tracing::warn!("the state will not be encrypted: this machine {why}");
            None
        }
    };
    partition.settle(true)?;
    let made = make(partition, sealed.as_ref());
    if made.is_err() {
        give_up(sealed.is_some());
    }
    made
}

/// Makes a state on a partition that is marked, and takes the mark away.
fn make(
    partition: &mut StatePartition,
    sealed: Option<&(Volume, Envelope)>,
) -> Result<(), StateError> {
    write_start(partition, sealed.map(|(_, envelope)| envelope))?;
    let target = Target::open(partition, sealed.map(|(volume, _)| volume))?;
    let device = &target.path;
    tracing::info!(device = %device.display(), encrypted = sealed.is_some(), "making the state file system");
    file_system::make(device)?;
    file_system::mount_state(device)?;
    directories::prepare().map_err(|(path, source)| StateError::Directory { path, source })?;
    directories::write_version().map_err(|source| StateError::Directory {
        path: directories::VERSION_FILE,
        source,
    })?;
    partition.settle(false)
}

/// A new key, and what it is sealed in.
fn seal_new(
    partition: &StatePartition,
    sealer: &mut Sealer,
) -> Result<(Volume, Envelope), StateError> {
    let device = partition.device();
    let block_size = device
        .open()
        .and_then(|file| sys::block::logical_block_size(&file))
        .map_err(|source| StateError::Read {
            device: device.path(),
            source,
        })?;
    let volume = Volume::generate(volume::sector_size(block_size)).map_err(StateError::Random)?;
    // No key on paper is asked for yet.
    let envelope = volume::seal(sealer, &volume, None)
        .map_err(|error| refused(device.path(), error, false))?;
    Ok((volume, envelope))
}

/// Clears the partition's start, and writes the header to both of its places.
fn write_start(partition: &StatePartition, envelope: Option<&Envelope>) -> Result<(), StateError> {
    let device = partition.device();
    let write = || {
        let file = open_for_writing(&device.path())?;
        content::clear(&file, device.size)?;
        let Some(envelope) = envelope else {
            return Ok(());
        };
        for (slot, generation) in [(Slot::First, 1), (Slot::Second, 2)] {
            let envelope = envelope.to_bytes();
            let header = Header {
                generation,
                envelope,
            };
            header::write(&file, slot, &header)?;
        }
        Ok(())
    };
    write().map_err(|source| StateError::Write {
        device: device.path(),
        source,
    })
}

fn open_for_writing(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Whether a state of an earlier boot names an owner.
enum Owned {
    Yes,
    No,
}

/// Opens an encrypted state of an earlier boot. One that names no owner, and has neither the mark of one nor volumes of
/// pods, was never a configured node's, or was put there by another party that knows its key: it is left again, to be made
/// anew.
fn open_sealed(
    partition: &mut StatePartition,
    sealer: &mut Sealer,
    sealed: &Sealed,
) -> Result<Owned, StateError> {
    let device = partition.device().path();
    let opened = sealed.open(&device, sealer, recovery::find)?;
    let volume = &opened.volume;
    let mounted = Target::open(partition, Some(volume)).and_then(|target| {
        let size = look_into(&device, &target)?;
        open(partition, Some(volume), target, size)
    });
    if let Err(error) = mounted {
        give_up(true);
        return Err(error);
    }
    if !owner::is_settled() {
        if has_had_an_owner(&device)? || workloads::are_there(Path::new(MOUNT_POINT)) {
            give_up(true);
            return Err(StateError::OwnerLost { device });
        }
        tracing::info!("the state of an earlier boot has no owner: it is made anew");
        give_up(true);
        return Ok(Owned::No);
    }
    // A state whose header is as it was is still a state.
    if let Err(error) = sealed.keep(&device, sealer, &opened) {
        tracing::error!(
            "the state's header is left as it is: {}",
            log::chain(&error)
        );
    }
    Ok(Owned::Yes)
}

/// Whether the header has the mark of an owner.
fn has_had_an_owner(device: &Path) -> Result<bool, StateError> {
    let marked = File::open(device).and_then(|file| header::has_owner(&file));
    marked.map_err(|source| StateError::Read {
        device: device.to_owned(),
        source,
    })
}

/// The size of our file system in an open volume.
fn look_into(device: &Path, target: &Target) -> Result<u64, StateError> {
    let content = File::open(&target.path)
        .and_then(|file| content::inspect(&file, target.size))
        .map_err(|source| StateError::Read {
            device: target.path.clone(),
            source,
        })?;
    let description = match content {
        Content::Ours { size } => return Ok(size),
        Content::Foreign { description } => description,
        Content::Empty => "zeros".to_owned(),
        Content::Sealed(_) => "another encrypted volume".to_owned(),
    };
    Err(StateError::Overwritten {
        device: device.to_owned(),
        description,
    })
}

/// Leaves nothing mounted or mapped behind, so that the next run begins where this one did.
fn give_up(mapped: bool) {
    if mounts::is_mount_point(MOUNT_POINT).unwrap_or(false)
        && let Err(error) = file_system::unmount_state()
    {
        tracing::warn!("{}", log::chain(&error));
    }
    if mapped && let Err(error) = mapping::close() {
        tracing::warn!("{}", log::chain(&error));
    }
}

/// Opens the file system of an earlier boot, which has `size` bytes.
fn open(
    partition: &mut StatePartition,
    volume: Option<&Volume>,
    mut target: Target,
    size: u64,
) -> Result<(), StateError> {
    // Before anything is changed, as far as a journal that is not replayed lets it be read.
    let found = file_system::look(&target.path)
        .ok()
        .and_then(|root| directories::version_below(root).unwrap_or_default());
    let expected = directories::VERSION;
    directories::check_version(&target.path, found.as_deref().unwrap_or(expected))?;

    let before = partition.device().size;
    partition.settle(false)?;
    if partition.device().size != before {
        // A volume has the length that it was mapped with.
        target = Target::open(partition, volume)?;
    }
    let device = &target.path;
    file_system::check(device)?;
    file_system::mount_state(device)?;
    let found = directories::version().map_err(|source| StateError::Directory {
        path: directories::VERSION_FILE,
        source,
    })?;
    let checked = directories::check_version(device, found.as_deref().unwrap_or("none"));
    if checked.is_err() {
        file_system::unmount_state()?;
        return checked;
    }
    if target.size.saturating_sub(size) >= GROWTH_LIMIT {
        tracing::info!(device = %device.display(), "growing the state file system");
        // A state that did not grow is still a state.
        if let Err(error) = file_system::grow(device) {
            tracing::error!("the state keeps its size: {}", log::chain(&error));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
