//! The way to the TPM: one command in, one reply out.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::OFlags,
};
use wire::backoff::Backoff;
use zeroize::Zeroizing;

use crate::error::Error;

/// The largest command or reply in bytes: the buffer of the kernel's TPM driver (`TPM_BUFSIZE`).
pub const MAX_MESSAGE: usize = 4096;

/// How long a command may take. The kernel's driver itself gives up on one that makes a key after
/// 300 s (`TPM2_DURATION_LONG_LONG`), which is meant for RSA; our keys are ECC, made in under a second.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(90);

/// How long a command is offered again to a kernel that takes none.
const BUSY_LIMIT: Duration = Duration::from_secs(5);
/// The pauses in between.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The device node of a machine's TPM.
pub use wire::paths::TPM as DEVICE;

/// Carries one command to a TPM and its reply back.
pub trait Transport: Send {
    /// Sends a command and waits for the reply, of at most [`MAX_MESSAGE`] bytes.
    ///
    /// # Errors
    ///
    /// When the channel fails, or the TPM does not answer in time.
    fn transact(&mut self, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error>;
}

/// A TPM behind a character device, by default [`DEVICE`].
pub struct Device {
    file: File,
    timeout: Duration,
    out_of_step: bool,
}

impl Device {
    /// Opens a device.
    ///
    /// # Errors
    ///
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            // without it, write(2) blocks for as long as the TPM works, and poll(2) bounds nothing
            // (drivers/char/tpm/tpm-dev-common.c)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(path)
            .map_err(|source| Error::Open {
                path: path.to_owned(),
                source,
            })?;
        Ok(Self::from_file(file, COMMAND_TIMEOUT))
    }

    /// Takes an open device over: a descriptor that a parent has passed. It must be non-blocking.
    #[must_use]
    pub fn from_file(file: File, timeout: Duration) -> Self {
        Self {
            file,
            timeout,
            out_of_step: false,
        }
    }

    fn wait(&self, flag: PollFlags) -> Result<(), Error> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Timeout(self.timeout));
            }
            let left = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            match poll(&mut [PollFd::new(&self.file, flag)], Some(&left)) {
                Ok(0) => return Err(Error::Timeout(self.timeout)),
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(Error::Channel(errno.into())),
            }
        }
    }

    /// Hands a command over, again while the kernel takes none: nothing was sent then.
    fn write(&self, command: &[u8]) -> Result<usize, Error> {
        let mut waits = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let deadline = Instant::now() + BUSY_LIMIT;
        loop {
            match (&self.file).write(command) {
                Err(error) if is_busy(&error) && Instant::now() < deadline => {
                    thread::sleep(waits.fail());
                }
                written => return written.map_err(Error::Channel),
            }
        }
    }

    fn exchange(&mut self, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let written = self.write(command)?;
        if written != command.len() {
            return Err(Error::Channel(io::ErrorKind::WriteZero.into()));
        }
        // the kernel gives a reply in one piece; a channel that passes it on may not
        let mut reply = Zeroizing::new(vec![0; MAX_MESSAGE]);
        let mut length = 0;
        while !is_whole(&reply, length) {
            self.wait(PollFlags::IN)?;
            match (&self.file).read(reply.get_mut(length..).unwrap_or_default()) {
                Ok(0) => return Err(Error::Channel(io::ErrorKind::UnexpectedEof.into())),
                Ok(more) => length += more,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
                    ) => {}
                Err(error) => return Err(Error::Channel(error)),
            }
        }
        reply.truncate(length);
        Ok(reply)
    }
}

/// Whether the driver has another command in hand (`EBUSY`: drivers/char/tpm/tpm-dev-common.c), or was interrupted before
/// it took this one.
fn is_busy(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ResourceBusy | io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
    )
}

/// Whether the first `length` bytes hold all that the header announces (Part 3, 4.4: a tag, then the
/// size). A size that is out of bounds ends the reading; the reply is refused later.
fn is_whole(reply: &[u8], length: usize) -> bool {
    let Some(field) = reply.get(2..6).filter(|_| length >= 6) else {
        return false;
    };
    let size = field
        .iter()
        .fold(0_usize, |size, byte| size << 8 | usize::from(*byte));
    length >= size || size > MAX_MESSAGE
}

impl Transport for Device {
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
    use std::os::{fd::OwnedFd, unix::net::UnixDatagram};

    use super::*;

    fn pair(timeout: Duration) -> (Device, UnixDatagram) {
        let (ours, theirs) = UnixDatagram::pair().expect("a socket pair");
        ours.set_nonblocking(true).expect("non-blocking");
        (
            Device::from_file(File::from(OwnedFd::from(ours)), timeout),
            theirs,
        )
    }

    const REPLY: [u8; 10] = [0x80, 1, 0, 0, 0, 10, 0, 0, 0, 0];

    #[test]
    fn one_write_is_one_read() {
        let (mut device, tpm) = pair(Duration::from_secs(60));
        tpm.send(&REPLY).expect("sent");
        assert_eq!(
            device.transact(b"command").expect("a reply").as_slice(),
            REPLY
        );
        let mut command = [0; 16];
        let length = tpm.recv(&mut command).expect("a command");
        assert_eq!(command.get(..length), Some(b"command".as_slice()));
    }

    #[test]
    fn a_reply_in_pieces_is_put_together() {
        let (mut device, tpm) = pair(Duration::from_secs(60));
        for part in REPLY.chunks(3) {
            tpm.send(part).expect("sent");
        }
        assert_eq!(
            device.transact(b"command").expect("a reply").as_slice(),
            REPLY
        );
    }

    #[test]
    fn device_busy_at_first_is_offered_the_command_again() {
        let (mut device, tpm) = pair(Duration::from_secs(60));
        // no room: write(2) gives EAGAIN until something is read
        let mut filled = 0;
        while (&device.file).write(&[0; MAX_MESSAGE]).is_ok() {
            filled += 1;
        }
        let reader = thread::spawn(move || {
            let mut message = [0; MAX_MESSAGE];
            for _ in 0..filled {
                tpm.recv(&mut message).expect("a message");
            }
            let length = tpm.recv(&mut message).expect("the command");
            tpm.send(&REPLY).expect("sent");
            length
        });
        let reply = device.transact(b"command").expect("a reply");
        assert_eq!(reply.as_slice(), REPLY);
        assert_eq!(reader.join().expect("no panic"), b"command".len());
    }

    #[test]
    fn a_size_out_of_bounds_is_not_waited_for() {
        let (mut device, tpm) = pair(Duration::from_secs(60));
        tpm.send(&[0x80, 1, 0xff, 0, 0, 0]).expect("sent");
        assert_eq!(device.transact(b"command").expect("a reply").len(), 6);
    }

    #[test]
    fn a_silent_tpm_is_left_and_not_asked_again() {
        let (mut device, tpm) = pair(Duration::from_millis(10));
        assert!(matches!(
            device.transact(b"command"),
            Err(Error::Timeout(_))
        ));
        tpm.send(&REPLY).expect("sent");
        assert!(matches!(device.transact(b"command"), Err(Error::OutOfStep)));
    }
}
