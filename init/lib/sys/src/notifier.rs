//! A service's way to PID 1 by sd_notify(3): that it is ready, and that it still does its work.

use std::env;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

/// How many keepalives fit into the time after which PID 1 takes a service for hung: one or two that are late, as on
/// a machine that is short of processors, end nothing.
const KEEPALIVES: u32 = 4;

/// A connection to PID 1, kept open, as a service may give up the right to make another.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    interval: Option<Duration>,
    last: Option<Instant>,
}

impl Notifier {
    /// Connects to the socket that `NOTIFY_SOCKET` names; where nobody started this service, to nothing. Whether
    /// keepalives are expected, and how often, stands in `WATCHDOG_USEC` (sd_watchdog_enabled(3)).
    ///
    /// # Errors
    /// What the system says.
    pub fn from_environment() -> io::Result<Self> {
        let Some(path) = env::var_os("NOTIFY_SOCKET") else {
            return Ok(Self::default());
        };
        let limit = env::var("WATCHDOG_USEC").ok();
        let limit = limit.and_then(|text| text.parse().ok());
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        Ok(Self::connected(socket, limit.map(Duration::from_micros)))
    }

    fn connected(socket: UnixDatagram, limit: Option<Duration>) -> Self {
        let limit = limit.filter(|limit| !limit.is_zero());
        Self {
            socket: Some(socket),
            interval: limit.and_then(|limit| limit.checked_div(KEEPALIVES)),
            last: None,
        }
    }

    /// Says that the service is ready.
    ///
    /// # Errors
    /// What the system says.
    pub fn ready(&self) -> io::Result<()> {
        self.say(b"READY=1")
    }

    /// How often [`Notifier::alive`] is to be called; none: PID 1 expects no keepalives.
    #[must_use]
    pub const fn interval(&self) -> Option<Duration> {
        self.interval
    }

    /// Says that the service does its work, where that is due. To be called by the loop that does the work, and by
    /// nothing that would go on without it.
    ///
    /// # Errors
    /// What the system says. The next call tries again.
    pub fn alive(&mut self) -> io::Result<()> {
        let due = self.interval.is_some_and(|interval| {
            self.last
                .is_none_or(|last| last.elapsed() >= interval / KEEPALIVES)
        });
        if due {
            self.say(b"WATCHDOG=1")?;
            self.last = Some(Instant::now());
        }
        Ok(())
    }

    fn say(&self, what: &[u8]) -> io::Result<()> {
        match &self.socket {
            Some(socket) => socket.send(what).map(drop),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keepalive_is_sent_when_expected_and_no_more_often() {
        let (ours, init) = UnixDatagram::pair().unwrap();
        init.set_nonblocking(true).unwrap();
        let mut notifier = Notifier::connected(ours, Some(Duration::from_secs(60)));
        assert_eq!(notifier.interval(), Some(Duration::from_secs(15)));
        notifier.ready().unwrap();
        notifier.alive().unwrap();
        notifier.alive().unwrap();
        let mut buffer = [0; 64];
        for expected in [&b"READY=1"[..], b"WATCHDOG=1"] {
            let length = init.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], expected);
        }
        let error = init.recv(&mut buffer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn keepalive_nobody_expects_is_not_sent() {
        let (ours, init) = UnixDatagram::pair().unwrap();
        init.set_nonblocking(true).unwrap();
        let mut notifier = Notifier::connected(ours, None);
        notifier.alive().unwrap();
        assert!(init.recv(&mut [0; 64]).is_err());
        assert_eq!(notifier.interval(), None);
        Notifier::default().ready().unwrap();
    }
}
