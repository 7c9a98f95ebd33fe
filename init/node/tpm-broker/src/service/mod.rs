//! The loop: one user's connections, each with the TPM's device opened for it.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with,
    bind, listen, recv, send, socket_with,
};
use tpm::transport::{COMMAND_TIMEOUT, DEVICE, MAX_MESSAGE};
use zeroize::Zeroizing;

use crate::allowed;
use crate::command::{Command, Malformed};
use crate::refusals::Refusals;

/// Connections that wait to be taken.
const BACKLOG: i32 = 4;
/// The pause after a connection that the system could not give: it lacks memory or descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// `TPM_RC_COMMAND_CODE` (Part 2, 6.6.3): the TPM has no such command.
const NO_SUCH_COMMAND: u32 = 0x143;
/// `TPM_RC_COMMAND_SIZE` (Part 2, 6.6.3): the size is not that of what came.
const WRONG_SIZE: u32 = 0x142;
/// `TPM_RC_BAD_TAG` (Part 2, 6.6.3).
const WRONG_TAG: u32 = 0x01e;

/// The bounds of the service.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time. The staker has one for a proof and one for each signature.
    pub connections: usize,
    /// How long a connection may say nothing. It has what it left in the TPM as long.
    pub idle: Duration,
    /// How long the TPM may take for a command.
    pub command: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4,
            // a report of a trusted execution environment, made between two quotes, takes 40 s
            idle: Duration::from_secs(60),
            command: COMMAND_TIMEOUT,
        }
    }
}

/// Opens the TPM's device, so that neither a write nor a read waits for the TPM
/// (drivers/char/tpm/tpm-dev-common.c).
///
/// # Errors
/// What the system says.
pub fn open_device() -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(DEVICE, flags, Mode::empty())?)
}

/// One connection of the user's.
struct Connection {
    client: OwnedFd,
    /// Closed with the connection: the kernel then flushes what it has loaded.
    device: OwnedFd,
    /// Whether the TPM works for it.
    works: bool,
    deadline: Instant,
}

impl Connection {
    /// What is waited for: the TPM's reply while it works, else the next command.
    fn awaited(&self) -> BorrowedFd<'_> {
        match self.works {
            true => self.device.as_fd(),
            false => self.client.as_fd(),
        }
    }
}

/// Why a connection ends.
#[derive(Debug)]
enum End {
    /// The user has closed it.
    Closed,
    /// Something failed.
    Failed(io::Error),
}

impl<E: Into<io::Error>> From<E> for End {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Takes commands of one user, and passes those that are allowed.
pub struct Broker<O> {
    listener: OwnedFd,
    user: u32,
    limits: Limits,
    open: O,
    connections: Vec<Connection>,
    refusals: Refusals,
    buffer: Zeroizing<Vec<u8>>,
}

impl<O: FnMut() -> io::Result<OwnedFd>> Broker<O> {
    /// Listens at a path for one user. What was there before is replaced; the socket is only there once it
    /// takes connections. `open` opens the TPM for one connection.
    ///
    /// # Errors
    /// What the system says.
    pub fn listen(path: &Path, user: u32, limits: Limits, open: O) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let new = path.with_extension("new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        bind(&listener, &SocketAddrUnix::new(&new)?)?;
        // this user can't give the file to the other: the kernel's word on who connects decides instead
        fs::set_permissions(&new, Permissions::from_mode(0o666))?;
        listen(&listener, BACKLOG)?;
        fs::rename(&new, path)?;
        Ok(Self {
            listener,
            user,
            limits,
            open,
            connections: Vec::new(),
            refusals: Refusals::new(),
            buffer: Zeroizing::new(vec![0; MAX_MESSAGE]),
        })
    }

    /// Waits until something comes, or a connection's time is up, and sees to it. Waits no longer than `limit`,
    /// where there is one.
    ///
    /// # Errors
    /// When nothing can be waited for.
    pub fn turn(&mut self, limit: Option<Duration>) -> io::Result<()> {
        let ready = self.wait(limit)?;
        let now = Instant::now();
        // from the last, so that those before keep their places
        for place in (0..self.connections.len()).rev() {
            let is_ready = ready.connections.get(place).copied().unwrap_or_default();
            let outcome = match (is_ready, self.connections.get(place)) {
                (true, _) => self.serve(place),
                (false, Some(connection)) if connection.deadline <= now => {
                    Err(End::Failed(io::ErrorKind::TimedOut.into()))
                }
                _ => Ok(()),
            };
            if let Err(end) = outcome {
                self.connections.swap_remove(place);
                if let End::Failed(error) = end {
                    self.refusals
                        .other(&format_args!("a connection is closed: {error}"));
                }
            }
        }
        if ready.listener {
            self.accept();
        }
        Ok(())
    }

    fn wait(&self, limit: Option<Duration>) -> io::Result<Ready> {
        let has_room = self.connections.len() < self.limits.connections;
        let mut waited: Vec<PollFd<'_>> = self
            .connections
            .iter()
            .map(|connection| PollFd::from_borrowed_fd(connection.awaited(), PollFlags::IN))
            .collect();
        if has_room {
            waited.push(PollFd::new(&self.listener, PollFlags::IN));
        }
        let deadlines = self
            .connections
            .iter()
            .map(|connection| connection.deadline);
        let left = deadlines
            .min()
            .map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.into_iter().chain(limit).min();
        // a millisecond more, so that the deadline has come
        let left = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(
                left.subsec_nanos()
                    .saturating_add(1_000_000)
                    .min(999_999_999),
            ),
        });
        match poll(&mut waited, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut ready: Vec<bool> = waited.iter().map(|fd| !fd.revents().is_empty()).collect();
        let listener = has_room && ready.pop().unwrap_or_default();
        Ok(Ready {
            connections: ready,
            listener,
        })
    }

    fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let client = match accept_with(&self.listener, flags) {
            Ok(client) => client,
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => return,
            Err(error) => {
                self.refusals.other(&format_args!("a connection: {error}"));
                std::thread::sleep(PAUSE);
                return;
            }
        };
        match socket_peercred(&client).map(|peer| peer.uid.as_raw()) {
            Ok(user) if user == self.user => {}
            Ok(user) => {
                return self
                    .refusals
                    .other(&format_args!("the user {user} may not ask"));
            }
            Err(error) => return self.refusals.other(&format_args!("a connection: {error}")),
        }
        match (self.open)() {
            Ok(device) => self.connections.push(Connection {
                client,
                device,
                works: false,
                deadline: Instant::now() + self.limits.idle,
            }),
            Err(error) => tracing::error!(%error, "the TPM can't be opened"),
        }
    }

    /// Takes the next command of a connection, or the TPM's reply to the last.
    fn serve(&mut self, place: usize) -> Result<(), End> {
        let Some(connection) = self.connections.get_mut(place) else {
            return Ok(());
        };
        let outcome = if connection.works {
            reply(connection, &mut self.buffer)
        } else {
            take(connection, &mut self.buffer, &mut self.refusals)
        };
        self.buffer.fill(0);
        connection.deadline = Instant::now()
            + match connection.works {
                true => self.limits.command,
                false => self.limits.idle,
            };
        outcome
    }
}

/// What can be seen to without a wait.
struct Ready {
    connections: Vec<bool>,
    listener: bool,
}

/// Takes a command, and passes or answers it.
fn take(
    connection: &mut Connection,
    buffer: &mut [u8],
    refusals: &mut Refusals,
) -> Result<(), End> {
    let (_, length) = match recv(&connection.client, &mut *buffer, RecvFlags::TRUNC) {
        Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
        other => other?,
    };
    if length == 0 {
        return Err(End::Closed);
    }
    let parsed = match buffer.get(..length) {
        Some(bytes) => Command::parse(bytes).map(|command| (bytes, command)),
        None => Err(Malformed::Length(length)),
    };
    let (bytes, command) = match parsed {
        Ok(parsed) => parsed,
        Err(malformed) => {
            refusals.other(&malformed);
            let code = match malformed {
                Malformed::Tag(_) => WRONG_TAG,
                Malformed::Length(_) | Malformed::Size { .. } => WRONG_SIZE,
            };
            return answer(connection, code);
        }
    };
    if let Err(refused) = allowed::check(&command) {
        refusals.command(command.code(), &refused);
        return answer(connection, NO_SUCH_COMMAND);
    }
    if rustix::io::write(&connection.device, bytes)? != bytes.len() {
        return Err(End::Failed(io::ErrorKind::WriteZero.into()));
    }
    connection.works = true;
    Ok(())
}

/// Hands the TPM's reply on, which the device gives in one piece.
fn reply(connection: &mut Connection, buffer: &mut [u8]) -> Result<(), End> {
    let length = match rustix::io::read(&connection.device, &mut *buffer) {
        Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
        other => other?,
    };
    connection.works = false;
    match buffer.get(..length) {
        Some(bytes) if length > 0 => say(connection, bytes),
        _ => Err(End::Failed(io::ErrorKind::UnexpectedEof.into())),
    }
}

/// Answers as a TPM that refuses (Part 3, 4.4): tag, size, code.
fn answer(connection: &Connection, code: u32) -> Result<(), End> {
    let mut reply = [0x80, 1, 0, 0, 0, 10, 0, 0, 0, 0];
    if let Some(field) = reply.last_chunk_mut() {
        *field = code.to_be_bytes();
    }
    say(connection, &reply)
}

/// Does not wait: there is room for the one reply to the one command that was sent.
fn say(connection: &Connection, bytes: &[u8]) -> Result<(), End> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    match send(&connection.client, bytes, flags) {
        Ok(_) => Ok(()),
        Err(Errno::PIPE | Errno::CONNRESET) => Err(End::Closed),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
