//! Something between a machine and its TPM: it hands commands on, and may send its own in between or answer in the
//! TPM's place. As a busy kernel, a slow bus or a locked TPM it shows a node what swtpm by itself never does.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use seal::tpm::transport::{MAX_MESSAGE, Transport as _};
use zeroize::Zeroizing;

use super::process::{Channel, read_message};

/// The TPM, as whoever stands between has it.
pub struct Behind(Channel);

impl Behind {
    /// Sends a command, and gives the reply.
    ///
    /// # Errors
    /// When the TPM is gone.
    pub fn pass(&mut self, command: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
        self.0.transact(command).map_err(io::Error::other)
    }

    /// A client of the same TPM. The machine's commands wait meanwhile.
    #[must_use]
    pub fn client(&self) -> seal::tpm::Tpm {
        seal::tpm::Tpm::new(Box::new(self.0.clone()))
    }
}

/// What becomes of a command of the machine's: the reply that it gets.
type Answer = dyn FnMut(&[u8], &mut Behind) -> io::Result<Zeroizing<Vec<u8>>> + Send;

/// What is done between a machine and its TPM, whichever of its boots it is.
#[derive(Clone)]
pub struct Interposer(Arc<Mutex<Answer>>);

impl fmt::Debug for Interposer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Interposer")
    }
}

impl Interposer {
    /// Asks `answer` for the reply to each command.
    pub fn new(
        answer: impl FnMut(&[u8], &mut Behind) -> io::Result<Zeroizing<Vec<u8>>> + Send + 'static,
    ) -> Self {
        Self(Arc::new(Mutex::new(answer)))
    }

    /// Listens in `directory` in place of the TPM's control channel `control`; gives the socket for QEMU.
    /// It ends with the connections.
    pub(crate) fn listen(&self, control: &Path, directory: &Path) -> Result<PathBuf> {
        let path = directory.join("tpm-between.sock");
        // from an earlier power-on
        let _ = std::fs::remove_file(&path);
        let listener =
            UnixListener::bind(&path).with_context(|| format!("cannot bind {}", path.display()))?;
        let control = UnixStream::connect(control).context("cannot connect to swtpm")?;
        let interposer = self.clone();
        // QEMU connects once; where it never does, the thread goes with the harness
        thread::spawn(move || {
            let served = listener
                .accept()
                .and_then(|(machine, _)| interposer.serve(&machine, &control));
            if let Err(error) = served {
                eprintln!("between the machine and its TPM: {error}");
            }
        });
        Ok(path)
    }

    /// Hands the control channel on, until one of its ends is closed.
    fn serve(&self, machine: &UnixStream, control: &UnixStream) -> io::Result<()> {
        loop {
            let mut ends = [
                PollFd::new(machine, PollFlags::IN),
                PollFd::new(control, PollFlags::IN),
            ];
            poll(&mut ends, None)?;
            let [of_machine, of_control] = ends.map(|end| !end.revents().is_empty());
            if of_machine && !self.hand_on(machine, control)? {
                return Ok(());
            }
            if of_control && !hand_back(control, machine)? {
                return Ok(());
            }
        }
    }

    /// One message to swtpm. With the descriptor of the data channel it gets one of ours instead.
    fn hand_on(&self, machine: &UnixStream, control: &UnixStream) -> io::Result<bool> {
        let mut message = [0; MAX_MESSAGE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let mut parts = [IoSliceMut::new(&mut message)];
        let length = recvmsg(machine, &mut parts, &mut ancillary, flags)?.bytes;
        let message = message.get(..length).unwrap_or_default();
        if message.is_empty() {
            return Ok(false);
        }
        let data = ancillary.drain().find_map(|part| match part {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        match data {
            Some(data) => self.take_data_channel(data, message, control)?,
            None => (&*control).write_all(message)?,
        }
        Ok(true)
    }

    fn take_data_channel(
        &self,
        data: OwnedFd,
        message: &[u8],
        control: &UnixStream,
    ) -> io::Result<()> {
        let (ours, theirs) = UnixStream::pair()?;
        let descriptors = [theirs.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        let parts = [IoSlice::new(message)];
        sendmsg(control, &parts, &mut ancillary, SendFlags::empty())?;
        let answer = Arc::clone(&self.0);
        thread::spawn(move || {
            // it ends with the machine
            let _ = exchange(&UnixStream::from(data), Channel::over(ours), &answer);
        });
        Ok(())
    }
}

fn hand_back(control: &UnixStream, machine: &UnixStream) -> io::Result<bool> {
    let mut message = [0; MAX_MESSAGE];
    let length = (&*control).read(&mut message)?;
    (&*machine).write_all(message.get(..length).unwrap_or_default())?;
    Ok(length != 0)
}

/// Commands and replies, until one of the ends is closed.
fn exchange(machine: &UnixStream, tpm: Channel, answer: &Mutex<Answer>) -> io::Result<()> {
    let mut behind = Behind(tpm);
    loop {
        let command = read_message(machine)?;
        let mut answer = answer.lock().unwrap_or_else(PoisonError::into_inner);
        let reply = (*answer)(&command, &mut behind)?;
        drop(answer);
        (&*machine).write_all(&reply)?;
    }
}

/// A command's code (`TPM_CC`).
#[must_use]
pub fn code(command: &[u8]) -> u32 {
    word(command, 6)
}

/// The big-endian word at a place; zero where the command is shorter.
#[must_use]
pub fn word(command: &[u8], at: usize) -> u32 {
    let bytes = command.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// A reply that is a response code alone (`TPM_ST_NO_SESSIONS`).
#[must_use]
pub fn refusal(response: u32) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([&[0x80, 1, 0, 0, 0, 10][..], &response.to_be_bytes()].concat())
}
