//! `init`'s end of its connections to services.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};
use wire::child::{MAXIMUM_DATAGRAM, ToInit, decode};
use zeroize::Zeroizing;

use crate::service::Rights;
use log::{RateLimit, Verdict};

/// Messages a second that a service may send, and how many at once.
const MESSAGES_PER_SECOND: u32 = 5;
const MESSAGES_AT_ONCE: u32 = 100;

/// A connection to one process. Neither direction blocks, and nothing piles up: of statuses that
/// a service does not read, the newest is kept.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: OwnedFd,
    rights: Rights,
    waiting: Option<Rc<[u8]>>,
    refused: u32,
    rate: RateLimit,
}

/// What one read gave.
#[derive(Debug)]
pub(crate) enum Received {
    /// A message that its sender may send.
    Message(ToInit),
    /// Something else, and why it is refused. Holds nothing of the content.
    Refused(String),
    /// Nothing more for now.
    Empty,
    /// The other end is closed.
    Closed,
}

impl Connection {
    /// A new connection, and the end of it that is for the service.
    ///
    /// # Errors
    /// What socketpair(2) says.
    pub(crate) fn new(rights: Rights) -> io::Result<(Self, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (socket, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let connection = Self {
            socket,
            rights,
            waiting: None,
            refused: 0,
            rate: RateLimit::new(MESSAGES_PER_SECOND, MESSAGES_AT_ONCE),
        };
        Ok((connection, theirs))
    }

    /// How many messages were refused.
    pub(crate) const fn refused(&self) -> u32 {
        self.refused
    }

    /// Counts a message. `false` when its sender has sent too many: then it is to be left unread
    /// for a while, so that it waits, and nobody else does.
    pub(crate) fn may_go_on(&mut self, now: Duration) -> bool {
        self.rate.take(now) != Verdict::Drop
    }

    /// Reads one message.
    pub(crate) fn receive(&mut self) -> Received {
        // wiped when it goes: a token can be in it
        let mut buffer = Zeroizing::new(vec![0; MAXIMUM_DATAGRAM]);
        let length = match recv(&self.socket, buffer.as_mut_slice(), RecvFlags::TRUNC) {
            Ok((_, 0)) | Err(Errno::CONNRESET) => return Received::Closed,
            Ok((_, length)) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Received::Empty,
            Err(error) => {
                tracing::warn!(%error, "a connection to a service broke");
                return Received::Closed;
            }
        };
        let Some(datagram) = buffer.get(..length) else {
            return self.refuse(format!("a message of {length} bytes is too long"));
        };
        match decode::<ToInit>(datagram) {
            // the source of the error can repeat parts of the message: it is left out
            Err(error) => self.refuse(error.to_string()),
            Ok(message) if self.rights.allow(&message) => Received::Message(message),
            Ok(message) => self.refuse(format!(
                "a message of kind {:?} that this service may not send",
                message.kind()
            )),
        }
    }

    fn refuse(&mut self, why: String) -> Received {
        self.refused = self.refused.saturating_add(1);
        Received::Refused(why)
    }

    /// Sends a status, or keeps it in place of an older one until there is room.
    pub(crate) fn send_status(&mut self, status: &Rc<[u8]>) {
        self.waiting = Some(Rc::clone(status));
        self.flush();
    }

    /// Sends what waits, as far as there is room.
    pub(crate) fn flush(&mut self) {
        let Some(status) = &self.waiting else {
            return;
        };
        match send(&self.socket, status, SendFlags::NOSIGNAL) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            // a closed connection is found by reading
            Ok(_) | Err(_) => self.waiting = None,
        }
    }

    /// Whether a status waits for room.
    pub(crate) const fn waits(&self) -> bool {
        self.waiting.is_some()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use wire::child::{AgentDesire, Desired, FromInit, PowerDesire, PowerOffReason, encode};
    use wire::status::{NodeState, NodeStatus, Phase};

    use super::*;
    use crate::service::Name;

    fn connection(name: Name) -> (Connection, sys::InitConnection) {
        let rights = name.service().rights.unwrap();
        let (connection, theirs) = Connection::new(rights).unwrap();
        (
            connection,
            sys::InitConnection::from_descriptor(theirs).unwrap(),
        )
    }

    fn status(state: NodeState) -> Rc<[u8]> {
        let status = NodeStatus {
            state,
            ..NodeStatus::default()
        };
        encode(&FromInit::Status { status })
            .unwrap()
            .as_slice()
            .into()
    }

    #[test]
    fn messages_of_those_who_may() {
        let (mut ours, theirs) = connection(Name::Netd);
        let phase = Phase::Clock;
        theirs
            .send(&encode(&ToInit::Reached { phase }).unwrap())
            .unwrap();
        let Received::Message(ToInit::Reached { phase: found }) = ours.receive() else {
            panic!("no message");
        };
        assert_eq!(found, phase);
        assert!(matches!(ours.receive(), Received::Empty));
        drop(theirs);
        assert!(matches!(ours.receive(), Received::Closed));
    }

    #[test]
    fn all_else_is_refused_counted_and_not_repeated() {
        let (mut ours, theirs) = connection(Name::Netd);
        let desired = Desired {
            number: 1,
            agent: AgentDesire::Stop {
                reason: String::new(),
            },
            power: PowerDesire::Off {
                reason: PowerOffReason::Slashed,
                detail: "K10secret".to_owned(),
            },
        };
        let power_off = ToInit::Desired { desired };
        theirs.send(&encode(&power_off).unwrap()).unwrap();
        theirs.send(b"{\"message\":\"K10secret\"}").unwrap();
        theirs.send(b"\xff\xfe").unwrap();
        theirs.send(&vec![b'x'; MAXIMUM_DATAGRAM + 1]).unwrap();
        for count in 1..=4 {
            let Received::Refused(why) = ours.receive() else {
                panic!("not refused");
            };
            assert!(!why.contains("K10"), "{why}");
            assert_eq!(ours.refused(), count);
        }
        assert!(matches!(ours.receive(), Received::Empty));
    }

    #[test]
    fn who_sends_too_much_waits() {
        let (mut ours, _theirs) = connection(Name::Netd);
        let now = Duration::from_secs(1);
        for _ in 0..MESSAGES_AT_ONCE {
            assert!(ours.may_go_on(now));
        }
        assert!(!ours.may_go_on(now));
        assert!(ours.may_go_on(now + Duration::from_secs(60)));
    }

    #[test]
    fn who_does_not_read_gets_the_newest_status_later() {
        let (mut ours, theirs) = connection(Name::Staker);
        let old = status(NodeState::Booting);
        let mut sent = 0;
        while !ours.waits() {
            ours.send_status(&old);
            sent += 1;
            assert!(sent < 100_000);
        }
        ours.send_status(&status(NodeState::Joined));
        ours.flush();
        assert!(ours.waits());
        let mut buffer = vec![0; MAXIMUM_DATAGRAM];
        let mut states = Vec::new();
        while let Ok(length) = theirs.receive(&mut buffer) {
            let FromInit::Status { status } = decode_status(&buffer[..length]);
            states.push(status.state);
            ours.flush();
        }
        assert!(!ours.waits());
        assert_eq!(states.last(), Some(&NodeState::Joined));
        assert_eq!(states.len(), sent);
    }

    fn decode_status(bytes: &[u8]) -> FromInit {
        decode(bytes).unwrap()
    }
}
