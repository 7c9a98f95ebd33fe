//! The word to PID 1 that the service is ready: sd_notify(3).

use std::io;
use std::os::unix::net::UnixDatagram;

/// Says it; nobody is there where nobody started this service.
///
/// # Errors
/// What the system says.
pub(crate) fn ready() -> io::Result<()> {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return Ok(());
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.send(b"READY=1").map(drop)
}
