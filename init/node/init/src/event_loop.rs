//! Waiting for many descriptors at once (epoll(7)), level-triggered.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

use crate::service::Name;

/// How many descriptors one wait tells of; the others come with the next.
const EVENTS_AT_ONCE: usize = 64;

/// What a descriptor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// Signals.
    Signals,
    /// The socket of sd_notify(3).
    Notify,
    /// The kernel's device events.
    Uevents,
    /// A service's output.
    Output(Name),
    /// The connection to a service.
    Connection(Name),
    /// An input device with a power key.
    Button(u32),
}

impl Token {
    fn number(self) -> u64 {
        let (kind, index) = match self {
            Self::Signals => (0, 0),
            Self::Notify => (1, 0),
            Self::Uevents => (2, 0),
            Self::Output(name) => (3, name as u32),
            Self::Connection(name) => (4, name as u32),
            Self::Button(index) => (5, index),
        };
        kind << 32 | u64::from(index)
    }

    fn from_number(number: u64) -> Option<Self> {
        let index = u32::try_from(number & u64::from(u32::MAX)).ok()?;
        let name = || Name::ALL.get(usize::try_from(index).ok()?).copied();
        match number >> 32 {
            0 => Some(Self::Signals),
            1 => Some(Self::Notify),
            2 => Some(Self::Uevents),
            3 => name().map(Self::Output),
            4 => name().map(Self::Connection),
            5 => Some(Self::Button(index)),
            _ => None,
        }
    }
}

/// The set of descriptors. One that is closed leaves it by itself.
#[derive(Debug)]
pub(crate) struct EventLoop(OwnedFd);

impl EventLoop {
    /// An empty set.
    ///
    /// # Errors
    /// What epoll_create1(2) says.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(CreateFlags::CLOEXEC)?))
    }

    /// Adds a descriptor, to be told when it can be read.
    ///
    /// # Errors
    /// What epoll_ctl(2) says.
    pub(crate) fn watch(&self, descriptor: impl AsFd, token: Token) -> io::Result<()> {
        let data = EventData::new_u64(token.number());
        Ok(epoll::add(&self.0, descriptor, data, EventFlags::IN)?)
    }

    /// Changes what is told of a descriptor: when it can be read, and when it can be written.
    ///
    /// # Errors
    /// What epoll_ctl(2) says.
    pub(crate) fn change(
        &self,
        descriptor: impl AsFd,
        token: Token,
        reading: bool,
        writing: bool,
    ) -> io::Result<()> {
        let data = EventData::new_u64(token.number());
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, reading);
        flags.set(EventFlags::OUT, writing);
        Ok(epoll::modify(&self.0, descriptor, data, flags)?)
    }

    /// Waits until a descriptor can be read or written, or for so long at most, and gives what
    /// is for whom.
    ///
    /// # Errors
    /// What epoll_wait(2) says.
    pub(crate) fn wait(&self, limit: Duration) -> io::Result<Vec<Token>> {
        let timeout = Timespec::try_from(limit).unwrap_or(Timespec {
            tv_sec: 60,
            tv_nsec: 0,
        });
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS_AT_ONCE);
        match epoll::wait(&self.0, spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(events
            .iter()
            .filter_map(|event| Token::from_number(event.data.u64()))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn tokens_come_back() {
        let mut tokens = vec![
            Token::Signals,
            Token::Notify,
            Token::Uevents,
            Token::Button(u32::MAX),
        ];
        for name in Name::ALL {
            tokens.push(Token::Output(*name));
            tokens.push(Token::Connection(*name));
        }
        for token in tokens {
            assert_eq!(Token::from_number(token.number()), Some(token));
        }
        assert_eq!(Token::from_number(u64::MAX), None);
        assert_eq!(Token::from_number(3 << 32 | 1000), None);
    }

    #[test]
    fn what_can_be_read_is_told_and_what_is_closed_is_forgotten() {
        let events = EventLoop::new().unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        events.watch(&reader, Token::Notify).unwrap();
        assert!(events.wait(Duration::ZERO).unwrap().is_empty());
        writer.write_all(b"x").unwrap();
        assert_eq!(
            events.wait(Duration::from_secs(60)).unwrap(),
            [Token::Notify]
        );
        events.change(&reader, Token::Notify, false, true).unwrap();
        assert!(events.wait(Duration::ZERO).unwrap().is_empty());
        events.change(&reader, Token::Notify, true, false).unwrap();
        assert_eq!(events.wait(Duration::ZERO).unwrap(), [Token::Notify]);
        drop(reader);
        assert!(events.wait(Duration::ZERO).unwrap().is_empty());
    }
}
