//! Namespaces (namespaces(7)).

use std::io;

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Gives this thread, and those that it starts, mounts, a network, System V objects and host names of
/// their own: a copy of the mounts, and of all else nothing. The network has no link that is up.
///
/// # Errors
/// What unshare(2) says: `EPERM` without `CAP_SYS_ADMIN`.
pub fn own() -> io::Result<()> {
    let flags =
        UnshareFlags::NEWNS | UnshareFlags::NEWNET | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    // SAFETY: unshare(2) with these flags takes no memory and no descriptor from anybody. NEWNS makes
    // root and working directory this thread's own; `CLONE_FILES`, which the function is marked for, is
    // not among them.
    unsafe { unshare_unsafe(flags) }?;
    Ok(())
}
