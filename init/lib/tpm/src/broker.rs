//! The way to the TPM through `tpm-broker`, for a program that has no right to the device: one command in,
//! one reply out, each a datagram of a connection that the broker has one of the kernel's for.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
    send, socket_with,
};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::transport::{COMMAND_TIMEOUT, MAX_MESSAGE, Transport};

/// How long a broker that is not there is waited for: PID 1 starts one that ended within a second.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// The pause before the next attempt.
const CONNECT_PAUSE: Duration = Duration::from_millis(100);
/// What a reply may take longer than the broker waits for the TPM.
const MARGIN: Duration = Duration::from_secs(5);

/// A connection to the broker.
pub struct BrokerSocket {
    socket: OwnedFd,
    timeout: Duration,
    out_of_step: bool,
}

impl BrokerSocket {
    /// Connects, and waits for a broker that is being started. Blocks.
    ///
    /// # Errors
    /// [`Error::Broker`].
    pub fn connect(path: &Path) -> Result<Self, Error> {
        Self::connect_within(path, CONNECT_PATIENCE, COMMAND_TIMEOUT + MARGIN)
    }

    fn connect_within(path: &Path, patience: Duration, timeout: Duration) -> Result<Self, Error> {
        let deadline = Instant::now() + patience;
        loop {
            match open(path, timeout) {
                Ok(socket) => {
                    return Ok(Self {
                        socket,
                        timeout,
                        out_of_step: false,
                    });
                }
                Err(Errno::NOENT | Errno::CONNREFUSED) if Instant::now() < deadline => {
                    thread::sleep(CONNECT_PAUSE);
                }
                Err(error) => {
                    return Err(Error::Broker {
                        path: path.to_owned(),
                        source: error.into(),
                    });
                }
            }
        }
    }

    fn exchange(&self, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let failed = |error| match error {
            Errno::AGAIN => Error::Timeout(self.timeout),
            error => Error::Channel(error.into()),
        };
        let sent = send(&self.socket, command, SendFlags::NOSIGNAL).map_err(failed)?;
        if sent != command.len() {
            return Err(Error::Channel(io::ErrorKind::WriteZero.into()));
        }
        let mut reply = Zeroizing::new(vec![0; MAX_MESSAGE]);
        let (_, length) = loop {
            match recv(&self.socket, &mut **reply, RecvFlags::TRUNC) {
                Err(Errno::INTR) => {}
                other => break other.map_err(failed)?,
            }
        };
        match length {
            0 => Err(Error::Channel(io::ErrorKind::UnexpectedEof.into())),
            length if length > MAX_MESSAGE => {
                Err(Error::Channel(io::ErrorKind::FileTooLarge.into()))
            }
            length => {
                reply.truncate(length);
                Ok(reply)
            }
        }
    }
}

fn open(path: &Path, timeout: Duration) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    // a broker whose connections are all taken has connect(2) wait as long as a send
    for which in [Timeout::Send, Timeout::Recv] {
        set_socket_timeout(&socket, which, Some(timeout))?;
    }
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

impl Transport for BrokerSocket {
    fn transact(&mut self, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        if self.out_of_step {
            return Err(Error::OutOfStep);
        }
        let reply = self.exchange(command);
        self.out_of_step = reply.is_err();
        reply
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rustix::net::{accept, bind, listen};

    use super::*;

    const REPLY: [u8; 10] = [0x80, 1, 0, 0, 0, 10, 0, 0, 0, 0];
    const PATIENCE: Duration = Duration::from_secs(60);

    fn place() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        (directory, path)
    }

    fn listener(path: &Path) -> OwnedFd {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
        let socket = socket.expect("a socket");
        bind(&socket, &SocketAddrUnix::new(path).expect("an address")).expect("bound");
        listen(&socket, 1).expect("listening");
        socket
    }

    #[test]
    fn transact_sends_a_command_and_takes_its_reply() {
        let (_directory, path) = place();
        let late = path.clone();
        let broker = thread::spawn(move || {
            // the client is there first
            thread::sleep(CONNECT_PAUSE);
            let connection = accept(listener(&late)).expect("a client");
            let mut command = [0; 16];
            let (_, length) =
                recv(&connection, &mut command[..], RecvFlags::empty()).expect("a command");
            assert_eq!(command.get(..length), Some(b"command".as_slice()));
            send(&connection, &REPLY, SendFlags::NOSIGNAL).expect("sent");
        });
        let mut socket = BrokerSocket::connect_within(&path, PATIENCE, PATIENCE).expect("there");
        assert_eq!(*socket.transact(b"command").expect("a reply"), REPLY);
        broker.join().expect("no panic");
        // it has ended, and so has the connection
        assert!(matches!(
            socket.transact(b"command"),
            Err(Error::Channel(_))
        ));
        assert!(matches!(socket.transact(b"command"), Err(Error::OutOfStep)));
    }

    #[test]
    fn silent_broker_is_not_waited_for_for_ever() {
        let (_directory, path) = place();
        let short = Duration::from_millis(20);
        let absent = BrokerSocket::connect_within(&path, short, short).map(drop);
        assert!(matches!(absent, Err(Error::Broker { .. })));
        let _listener = listener(&path);
        let mut socket = BrokerSocket::connect_within(&path, short, short).expect("there");
        assert!(matches!(
            socket.transact(b"command"),
            Err(Error::Timeout(_))
        ));
        assert!(matches!(socket.transact(b"command"), Err(Error::OutOfStep)));
    }
}
