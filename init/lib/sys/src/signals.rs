//! Signals as something to read (signalfd(2)).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use libc::c_int;
use rustix::io::{Errno, read};

/// A signal that a [`SignalReader`] gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Signal {
    /// A child has ended.
    Child = libc::SIGCHLD,
    /// The polite request to end.
    Terminate = libc::SIGTERM,
    /// What the kernel sends PID 1 for Ctrl-Alt-Del (reboot(2), `LINUX_REBOOT_CMD_CAD_OFF`).
    Interrupt = libc::SIGINT,
    /// Power fails, or a button was pressed.
    Power = libc::SIGPWR,
}

impl Signal {
    /// Every signal of this type.
    pub const ALL: [Self; 4] = [Self::Child, Self::Terminate, Self::Interrupt, Self::Power];

    /// The name in signal(7).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Child => "SIGCHLD",
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
            Self::Power => "SIGPWR",
        }
    }
}

/// Reads the signals of [`Signal::ALL`], which reach nobody else any more.
#[derive(Debug)]
pub struct SignalReader(OwnedFd);

impl SignalReader {
    /// Blocks the signals for this thread, and for those that it starts later, and makes them
    /// readable. To be called before any other thread runs.
    ///
    /// # Errors
    /// What sigprocmask(2) or signalfd(2) says.
    pub fn new() -> io::Result<Self> {
        // SAFETY: the set is made by sigemptyset(3) and filled by sigaddset(3) before it is read;
        // signalfd(2) gives a new descriptor that nobody else owns.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            for signal in Signal::ALL {
                libc::sigaddset(&raw mut set, signal as c_int);
            }
            let blocked = libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut());
            if blocked != 0 {
                return Err(io::Error::from_raw_os_error(blocked));
            }
            let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
            let descriptor = libc::signalfd(-1, &raw const set, flags);
            if descriptor < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self(OwnedFd::from_raw_fd(descriptor)))
        }
    }

    /// The next signal, or none. Several of one kind can come as one.
    ///
    /// # Errors
    /// What read(2) says.
    pub fn next(&self) -> io::Result<Option<Signal>> {
        // `struct signalfd_siginfo` is 128 bytes long and begins with the signal's number, 32 bits.
        let mut bytes = [0; 128];
        match read(&self.0, &mut bytes) {
            Ok(_) => {}
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let [a, b, c, d, ..] = bytes;
        let number = c_int::from_ne_bytes([a, b, c, d]);
        Ok(Signal::ALL
            .into_iter()
            .find(|signal| *signal as c_int == number))
    }
}

impl AsFd for SignalReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
