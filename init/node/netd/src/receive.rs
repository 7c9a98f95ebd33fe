//! What the clients of a link wait for: packets and deadlines.

use std::io;

use sys::packet::PacketSocket;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};

/// Has the runtime watch a socket.
///
/// # Errors
/// What epoll(7) says.
#[expect(
    deprecated,
    reason = "the one that takes its place is unsafe; a packet socket owns its descriptor, as that one asks for"
)]
pub(crate) fn watched(socket: PacketSocket) -> io::Result<AsyncFd<PacketSocket>> {
    AsyncFd::new(socket)
}

/// Waits for a packet that means something.
pub(crate) async fn receive<T>(
    socket: &AsyncFd<PacketSocket>,
    length: usize,
    read: impl Fn(&[u8]) -> Option<T>,
) -> io::Result<T> {
    let mut buffer = vec![0; length];
    loop {
        let mut ready = socket.readable().await?;
        match ready.try_io(|socket| socket.get_ref().receive(&mut buffer)) {
            Ok(Ok(length)) => {
                if let Some(value) = buffer.get(..length).and_then(&read) {
                    return Ok(value);
                }
            }
            // the link went down; what becomes of it comes by netlink
            Ok(Err(error)) if error.raw_os_error() == Some(NETWORK_DOWN) => {}
            Ok(Err(error)) => return Err(error),
            Err(_would_block) => {}
        }
    }
}

/// `ENETDOWN` of `<asm-generic/errno.h>`: a packet socket says so once when its link goes down.
const NETWORK_DOWN: i32 = 100;

/// Waits for a deadline; for ever where there is none.
pub(crate) async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
