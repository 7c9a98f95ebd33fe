//! The state's file system: made, checked, mounted and grown, with the tools of e2fsprogs.

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, unmount,
};

use super::content::LABEL;
use super::layout::CLOSED;
use super::{MOUNT_POINT, StateError};

const MAKE: &str = "/usr/sbin/mke2fs";
const CHECK: &str = "/usr/sbin/e2fsck";
const RESIZE: &str = "/usr/sbin/resize2fs";

/// No devices, no setuid files and no programs: containers have theirs on overlay mounts, whose flags are
/// their own, and in volumes, which `layout` opens for them.
const FLAGS: MountFlags = CLOSED;

/// Makes the file system, whatever is on the device.
///
/// # Errors
/// [`StateError::Tool`].
pub(super) fn make(device: &Path) -> Result<(), StateError> {
    let arguments = [
        "-q",
        "-F",
        "-t",
        "ext4",
        "-L",
        LABEL,
        // After an error nothing is written any more.
        "-e",
        "remount-ro",
        // 1 % kept for root instead of 5.
        "-m",
        "1",
        // The kernel clears inode tables later, in the background; discarding a large disk would
        // take longer than everything else.
        "-E",
        "lazy_itable_init=1,lazy_journal_init=1,nodiscard",
    ];
    let arguments = arguments.iter().map(OsStr::new).chain([device.as_os_str()]);
    match run(MAKE, arguments)? {
        0 => Ok(()),
        status => Err(StateError::Tool { tool: MAKE, status }),
    }
}

/// Replays the journal and repairs what can be repaired without losing anything (`e2fsck -p`).
///
/// # Errors
/// [`StateError::Damaged`] when more than that is needed, [`StateError::Tool`] when the check
/// itself fails.
pub(super) fn check(device: &Path) -> Result<(), StateError> {
    // The exit status is a set of bits, e2fsck(8): 1 repaired, 2 repaired and restart if it was
    // mounted (it is not), 4 errors are left, 8 and up the check failed.
    match run(CHECK, [OsStr::new("-p"), device.as_os_str()])? {
        0 => Ok(()),
        1..=3 => {
            tracing::warn!(device = %device.display(), "the state file system was repaired");
            Ok(())
        }
        4..=7 => Err(StateError::Damaged {
            device: device.to_owned(),
        }),
        status => Err(StateError::Tool {
            tool: CHECK,
            status,
        }),
    }
}

/// Blocks are allocated when data is written, not up to 30 s later (ext4(5)). With `data=ordered`,
/// the default, whoever syncs one file has then synced what all wrote before. containerd relies on
/// that: it unpacks an image without fsync, and then notes in its database, with fsync, that the
/// image is there. With delayed allocation a power cut soon after leaves images full of empty files
/// that nothing ever unpacks again.
const OPTIONS: &CStr = c"nodelalloc";

/// Mounts the file system on `/var`.
///
/// # Errors
/// [`StateError::Mount`].
pub(super) fn mount_state(device: &Path) -> Result<(), StateError> {
    mount(device, MOUNT_POINT, "ext4", FLAGS, Some(OPTIONS)).map_err(|errno| StateError::Mount {
        device: device.to_owned(),
        source: errno.into(),
    })
}

/// The root of the file system, for looking only: not even the journal is replayed. It is mounted where no path
/// leads to, so that no other program opens anything there, and the mount goes with the value, also where this
/// program is killed (fsmount(2)).
///
/// # Errors
/// What the system says.
pub(super) fn look(device: &Path) -> io::Result<OwnedFd> {
    let context = fsopen("ext4", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", device)?;
    for flag in ["ro", "noload"] {
        fsconfig_set_flag(&context, flag)?;
    }
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    Ok(fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        attributes,
    )?)
}

/// Takes the file system off `/var` again.
///
/// # Errors
/// [`StateError::Unmount`].
pub(super) fn unmount_state() -> Result<(), StateError> {
    unmount(MOUNT_POINT, UnmountFlags::empty()).map_err(|errno| StateError::Unmount(errno.into()))
}

/// Grows the mounted file system to its device's end. The kernel does it step by step through the
/// journal, so that a power cut leaves a smaller file system that is whole; not so with an
/// unmounted one.
///
/// # Errors
/// [`StateError::Tool`].
pub(super) fn grow(device: &Path) -> Result<(), StateError> {
    match run(RESIZE, [device.as_os_str()])? {
        0 => Ok(()),
        status => Err(StateError::Tool {
            tool: RESIZE,
            status,
        }),
    }
}

/// Runs a tool to its end; what it prints goes to the log. Gives its exit status, 128 and the
/// signal's number for one that was killed.
fn run<'a>(
    tool: &'static str,
    arguments: impl IntoIterator<Item = &'a OsStr>,
) -> Result<i32, StateError> {
    use std::os::unix::process::ExitStatusExt;

    let failed = |source: io::Error| StateError::Start { tool, source };
    let status = Command::new(tool)
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .status()
        .map_err(failed)?;
    Ok(status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default()))
}
