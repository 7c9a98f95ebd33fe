//! The child's end of the socket pair that `init` gives to the services that it talks to.

use std::env;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::net::{RecvFlags, SendFlags, recv, send};

/// Set once the descriptor was taken: it has one owner.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// A connection to `init`: datagrams, never blocking. Wait on it with poll(2) or epoll(7).
#[derive(Debug)]
pub struct InitConnection(OwnedFd);

impl InitConnection {
    /// Takes the descriptor over whose number stands in an environment variable.
    ///
    /// `None` when the variable is not set: the program was not started by `init`. The descriptor
    /// is made non-blocking and is not inherited by programs that this one starts.
    ///
    /// # Errors
    /// When the variable is not the number of an open socket, or when this is not the first call.
    pub fn from_environment(variable: &str) -> io::Result<Option<Self>> {
        let Some(value) = env::var_os(variable) else {
            return Ok(None);
        };
        let number: RawFd = value
            .to_str()
            .and_then(|text| text.parse().ok())
            .filter(|number| *number > 2)
            .ok_or_else(|| io::Error::other("the variable is not a descriptor's number"))?;
        if TAKEN.swap(true, Ordering::SeqCst) {
            return Err(io::Error::other("the descriptor was taken before"));
        }
        // SAFETY: the number is borrowed only to ask whether it is open: fcntl(2) answers EBADF
        // for one that is not.
        let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
        let flags = fcntl_getfd(borrowed)?;
        // SAFETY: the descriptor is open, `init` opened it for this program alone, and `TAKEN`
        // lets no second owner be made here.
        let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
        fcntl_setfd(&descriptor, flags | FdFlags::CLOEXEC)?;
        Self::from_descriptor(descriptor).map(Some)
    }

    /// Takes over a socket that is already owned, as tests do.
    ///
    /// # Errors
    /// When it can't be made non-blocking.
    pub fn from_descriptor(descriptor: OwnedFd) -> io::Result<Self> {
        let flags = fcntl_getfl(&descriptor)?;
        fcntl_setfl(&descriptor, flags | OFlags::NONBLOCK)?;
        Ok(Self(descriptor))
    }

    /// Sends one datagram whole.
    ///
    /// # Errors
    /// `WouldBlock` when the queue is full; any other when the connection is gone.
    pub fn send(&self, datagram: &[u8]) -> io::Result<()> {
        send(&self.0, datagram, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Receives one datagram into the buffer and gives its length; 0 when `init` is gone.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; `InvalidData` when it is longer than the buffer.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer.len();
        let (_, length) = recv(&self.0, buffer, RecvFlags::TRUNC)?;
        if length > room {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(length)
    }
}

impl AsFd for InitConnection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for InitConnection {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (InitConnection, InitConnection) {
        let (one, other) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        (
            InitConnection::from_descriptor(one).unwrap(),
            InitConnection::from_descriptor(other).unwrap(),
        )
    }

    #[test]
    fn datagrams_keep_their_bounds() {
        let (one, other) = pair();
        one.send(b"first").unwrap();
        one.send(b"second").unwrap();
        let mut buffer = [0; 16];
        assert_eq!(other.receive(&mut buffer).unwrap(), 5);
        assert_eq!(other.receive(&mut buffer).unwrap(), 6);
        let error = other.receive(&mut buffer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_long_datagram_is_told_apart() {
        let (one, other) = pair();
        one.send(&[7; 32]).unwrap();
        let error = other.receive(&mut [0; 16]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn the_end_is_length_zero() {
        let (one, other) = pair();
        drop(one);
        assert_eq!(other.receive(&mut [0; 16]).unwrap(), 0);
    }

    #[test]
    fn no_variable_is_no_connection() {
        let found = InitConnection::from_environment("K3S_DAAS_NOT_SET").unwrap();
        assert!(found.is_none());
    }
}
