//! Memory of the process itself.

use std::io;

use rustix::mm::{MlockAllFlags, mlockall};

/// Reads in and locks every page that is mapped now, above all the program's own text.
///
/// PID 1 needs this: should the root's disk fail or fail verification later, PID 1 can still say
/// so and restart the machine, because none of its own pages has to come from that disk. Pages
/// mapped later are anonymous memory, which without swap never leaves either, so they are not
/// locked (`MCL_FUTURE` would fault in every thread's whole stack).
///
/// # Errors
/// What `mlockall(2)` says: `ENOMEM` over the limit without `CAP_IPC_LOCK`; `EIO` does not show
/// here but as `SIGBUS`.
pub fn lock_current_pages() -> io::Result<()> {
    Ok(mlockall(MlockAllFlags::CURRENT)?)
}
