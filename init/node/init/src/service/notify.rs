//! The socket on which services say that they are ready, and that they still do their work (sd_notify(3)).

use std::fs;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SocketAddrUnix, SocketFlags, SocketType, bind, recvmsg, socket_with, sockopt,
};
use rustix::process::Pid;

/// The longest message, in bytes. A longer one is refused.
const MAXIMUM_MESSAGE: usize = 4096;

/// The socket. It does not block.
#[derive(Debug)]
pub(crate) struct NotifySocket(OwnedFd);

/// A message and who sent it: the kernel vouches for the process (`SO_PASSCRED`, unix(7)).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Notification {
    pub(crate) sender: Pid,
    pub(crate) ready: bool,
    pub(crate) stopping: bool,
    /// It still does its work.
    pub(crate) alive: bool,
    /// What the service says of itself, for people.
    pub(crate) status: Option<String>,
}

impl NotifySocket {
    /// Makes the socket. Everybody may send: who sent is checked for each message.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        sockopt::set_socket_passcred(&socket, true)?;
        bind(&socket, &SocketAddrUnix::new(path)?)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
        Ok(Self(socket))
    }

    /// The next message, or none. What is no message is dropped, and its sender told apart from
    /// an empty socket by `Some(Err(reason))`.
    ///
    /// # Errors
    /// What recvmsg(2) says.
    pub(crate) fn receive(&self) -> io::Result<Option<Result<Notification, &'static str>>> {
        let mut bytes = [0; MAXIMUM_MESSAGE];
        // Room for the credentials alone: descriptors that somebody sends along are closed by the
        // kernel for want of room.
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let received = match recvmsg(&self.0, &mut parts, &mut ancillary, flags) {
            Ok(received) => received,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let sender = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmCredentials(credentials) => Some(credentials.pid),
            _ => None,
        });
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Ok(Some(Err("a message is too long")));
        }
        let message = bytes.get(..received.bytes).unwrap_or_default();
        Ok(Some(match (sender, std::str::from_utf8(message)) {
            (None, _) => Err("a message has no sender"),
            (_, Err(_)) => Err("a message is not UTF-8"),
            (Some(sender), Ok(text)) => Ok(parse(sender, text)),
        }))
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Lines of `NAME=value`. Names that mean nothing here are passed over, as sd_notify(3) says.
fn parse(sender: Pid, text: &str) -> Notification {
    let mut notification = Notification {
        sender,
        ready: false,
        stopping: false,
        alive: false,
        status: None,
    };
    for line in text.lines() {
        match line.split_once('=') {
            Some(("READY", "1")) => notification.ready = true,
            Some(("STOPPING", "1")) => notification.stopping = true,
            Some(("WATCHDOG", "1")) => notification.alive = true,
            Some(("STATUS", status)) if !status.trim().is_empty() => {
                notification.status = Some(log::visible(status));
            }
            _ => {}
        }
    }
    notification
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn me() -> Pid {
        rustix::process::getpid()
    }

    #[test]
    fn the_lines_that_count() {
        let found = parse(
            me(),
            "READY=1\nSTATUS=up \u{1b}[1m\nMAINPID=1\nX\n=\nREADY=0",
        );
        assert!(found.ready && !found.stopping && !found.alive);
        assert!(parse(me(), "WATCHDOG=1\n").alive);
        assert!(!parse(me(), "WATCHDOG=trigger").alive);
        assert_eq!(found.status.as_deref(), Some("up \\x1b[1m"));
        let nothing = parse(me(), "READY=yes\nREADY=\nSTATUS= \nSTOPPING=0");
        assert!(!nothing.ready && !nothing.stopping && nothing.status.is_none());
    }

    #[test]
    fn messages_come_with_their_sender_and_bad_ones_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/notify");
        let socket = NotifySocket::bind(&path).unwrap();
        let again = NotifySocket::bind(&path).unwrap();
        drop(socket);
        let client = UnixDatagram::unbound().unwrap();
        client.connect(&path).unwrap();
        client.send(b"READY=1").unwrap();
        client.send(&[b'x'; MAXIMUM_MESSAGE + 1]).unwrap();
        client.send(b"STATUS=\xff").unwrap();
        client.send(b"").unwrap();
        let first = again.receive().unwrap().unwrap().unwrap();
        assert_eq!((first.sender, first.ready), (me(), true));
        assert!(again.receive().unwrap().unwrap().is_err());
        assert!(again.receive().unwrap().unwrap().is_err());
        assert!(!again.receive().unwrap().unwrap().unwrap().ready);
        assert_eq!(again.receive().unwrap(), None);
    }

    #[test]
    fn descriptors_that_come_along_are_not_kept() {
        use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = NotifySocket::bind(&path).unwrap();
        let client = UnixDatagram::unbound().unwrap();
        client.connect(&path).unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        {
            let descriptors = [writer.as_fd()];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)));
            let parts = [io::IoSlice::new(b"READY=1")];
            sendmsg(&client, &parts, &mut ancillary, SendFlags::empty()).unwrap();
        }
        drop(writer);
        assert!(socket.receive().unwrap().unwrap().unwrap().ready);
        // had it been kept, the pipe would still have a writer, and this would not end
        assert_eq!(io::Read::read(&mut reader, &mut [0; 1]).unwrap(), 0);
    }
}
