//! One question, `GET /healthz` (RFC 9110), and what counts as a good answer to it.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use httparse::{EMPTY_HEADER, Response, Status};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
    send, socket_with,
};
use thiserror::Error;

const REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
/// The most that is read of an answer, in bytes, and the most fields of its head.
const MAXIMUM_ANSWER: usize = 4096;
const MAXIMUM_FIELDS: usize = 32;
/// The most that is repeated of a bad answer, in characters.
const MAXIMUM_TEXT: usize = 256;
/// The shortest wait: none at all would be no limit (socket(7), SO_RCVTIMEO).
const LEAST: Duration = Duration::from_millis(1);
const OK: u16 = 200;

/// Where a question is asked.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// A socket in the file system.
    Unix(&'a Path),
    /// An address.
    Tcp(SocketAddr),
}

/// Why there is no good answer.
#[derive(Debug, Error)]
pub enum Fault {
    /// Nobody takes connections.
    #[error("it takes no connection")]
    Connect(#[source] io::Error),
    /// Nothing came in time, or all of it did not.
    #[error("it does not answer in time")]
    Silent,
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    /// It ended before an answer was whole.
    #[error("it hung up without a whole answer")]
    HungUp,
    /// What came is no HTTP.
    #[error("what it answers is no HTTP")]
    Malformed(#[source] httparse::Error),
    /// The head is too long.
    #[error("the head of its answer is longer than {MAXIMUM_ANSWER} bytes")]
    TooLong,
    /// It says that it does not work.
    #[error("it answers with status {status}: {text}")]
    Unwell {
        /// The status.
        status: u16,
        /// The beginning of what it says.
        text: String,
    },
}

/// A question that was asked.
#[derive(Debug)]
pub struct Asked {
    socket: OwnedFd,
    deadline: Instant,
}

/// Asks. The answer is waited for by [`Asked::answer`].
///
/// # Errors
/// [`Fault`] when the question can't be brought there.
pub fn ask(place: &Place<'_>, deadline: Instant) -> Result<Asked, Fault> {
    let left = left(deadline)?;
    let socket = match place {
        Place::Unix(path) => connect_unix(path, left),
        Place::Tcp(address) => TcpStream::connect_timeout(address, left).map(OwnedFd::from),
    };
    let asked = Asked {
        socket: socket.map_err(Fault::Connect)?,
        deadline,
    };
    set_socket_timeout(&asked.socket, Timeout::Send, Some(left)).map_err(broken)?;
    let sent = send(&asked.socket, REQUEST, SendFlags::NOSIGNAL).map_err(broken)?;
    // it is shorter than any socket's buffer
    if sent == REQUEST.len() {
        Ok(asked)
    } else {
        Err(Fault::Silent)
    }
}

/// A listener that takes nobody has connect(2) wait once its queue is full, as long as for a send (unix(7)).
fn connect_unix(path: &Path, limit: Duration) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(limit))?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

impl Asked {
    /// Waits for the answer until the deadline.
    ///
    /// # Errors
    /// [`Fault`] for everything but the status 200.
    pub fn answer(self) -> Result<(), Fault> {
        let mut buffer = [0; MAXIMUM_ANSWER];
        let mut length = 0;
        let (status, head) = loop {
            match self.read(&mut buffer, &mut length)? {
                0 if length == buffer.len() => return Err(Fault::TooLong),
                0 => return Err(Fault::HungUp),
                _ => {}
            }
            let bytes = buffer.get(..length).unwrap_or_default();
            let mut fields = [EMPTY_HEADER; MAXIMUM_FIELDS];
            let mut response = Response::new(&mut fields);
            let parsed = response.parse(bytes).map_err(Fault::Malformed)?;
            if let (Status::Complete(head), Some(status)) = (parsed, response.code) {
                break (status, head);
            }
        };
        if status == OK {
            return Ok(());
        }
        // why is worth waiting for, and no more than that
        while self
            .read(&mut buffer, &mut length)
            .is_ok_and(|read| read > 0)
        {}
        let body = buffer.get(head..length).unwrap_or_default();
        let text = String::from_utf8_lossy(body);
        let text = text.trim().chars().take(MAXIMUM_TEXT);
        Err(Fault::Unwell {
            status,
            text: log::visible(&text.collect::<String>()),
        })
    }

    /// Reads more into a buffer that is filled up to `length`. 0: it is full, or the other side has ended.
    fn read(&self, buffer: &mut [u8], length: &mut usize) -> Result<usize, Fault> {
        let room = buffer.get_mut(*length..).unwrap_or_default();
        if room.is_empty() {
            return Ok(0);
        }
        loop {
            // what has come by the deadline counts, as whoever was asked before may have used it up
            let left = left(self.deadline).unwrap_or(LEAST);
            set_socket_timeout(&self.socket, Timeout::Recv, Some(left)).map_err(broken)?;
            match recv(self.socket.as_fd(), &mut *room, RecvFlags::empty()) {
                Ok((_, read)) => {
                    *length = length.saturating_add(read);
                    return Ok(read);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(broken(error)),
            }
        }
    }
}

fn left(deadline: Instant) -> Result<Duration, Fault> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left < LEAST {
        return Err(Fault::Silent);
    }
    Ok(left)
}

fn broken(error: Errno) -> Fault {
    match error {
        Errno::AGAIN => Fault::Silent,
        error => Fault::Broken(error.into()),
    }
}
