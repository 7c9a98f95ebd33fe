//! The socket through which whoever may not have reports made gets them from one who may.
//!
//! On one side `tee-report`, which runs as root, on the other the staker, which has no rights at all.
//! Messages are those of [`super::message`].

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType,
    accept_with, bind, connect, listen, recv, send, shutdown, socket_with,
};
use thiserror::Error;
use wire::error::chain;

use super::error::CollectError;
use super::message::{MAXIMUM_ANSWER, REQUEST, ReportAnswer, ReportMessageError, ReportRequest};
use super::report::{REPORT_DATA, TeeKind, TeeReport};

/// Who waits for their turn. There is one client.
const BACKLOG: i32 = 4;
/// How long the other side has to send a request, and to take an answer.
pub const EXCHANGE_LIMIT: Duration = Duration::from_secs(2);

/// Where reports are asked for.
#[derive(Debug)]
pub struct ReportListener {
    socket: OwnedFd,
    client: u32,
    limit: Duration,
}

/// What became of one client.
#[derive(Debug)]
pub enum Served {
    /// It has its answer: a report of this kind, or that there is none.
    Answered(Option<TeeKind>),
    /// The report that it asked for can't be had, and it knows.
    Failed(CollectError),
    /// It is another user than the one who may ask. It got nothing.
    Stranger(u32),
    /// It sent something else than a request. It got nothing.
    NoRequest(ReportMessageError),
    /// It was too slow, or went away.
    Gone(io::Error),
}

impl ReportListener {
    /// Listens at a path for one user, who alone can connect. What was there before is replaced, and
    /// the socket is only there once it takes connections.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path, client: u32) -> io::Result<Self> {
        let socket = new_socket()?;
        let new = path.with_extension("new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // to connect takes the right to write (unix(7)): nobody but its owner has it meanwhile
        bind(&socket, &SocketAddrUnix::new(&new)?)?;
        fs::set_permissions(&new, Permissions::from_mode(0o600))?;
        chown(&new, Some(client), Some(client))?;
        listen(&socket, BACKLOG)?;
        fs::rename(&new, path)?;
        Ok(Self {
            socket,
            client,
            limit: EXCHANGE_LIMIT,
        })
    }

    /// The same with another time for request and answer each.
    #[must_use]
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Waits for a client, no longer than `limit` where there is one. Whether one is there.
    ///
    /// # Errors
    /// What poll(2) says.
    pub fn wait(&self, limit: Option<Duration>) -> io::Result<bool> {
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        let mut waited = [PollFd::new(&self.socket, PollFlags::IN)];
        match poll(&mut waited, limit.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for a client and answers it. There is no second one meanwhile.
    ///
    /// # Errors
    /// When no connection can be taken any more.
    pub fn serve(
        &self,
        collect: impl FnOnce(&[u8; REPORT_DATA]) -> Result<Option<TeeReport>, CollectError>,
    ) -> io::Result<Served> {
        let connection = loop {
            match accept_with(&self.socket, SocketFlags::CLOEXEC) {
                Ok(connection) => break connection,
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(error) => return Err(error.into()),
            }
        };
        Ok(self
            .answer(&connection, collect)
            .unwrap_or_else(Served::Gone))
    }

    /// Takes no more clients: who connects is refused at once, even while this process goes on.
    pub fn close(&self) {
        // a socket that is closed already is closed
        let _ = shutdown(&self.socket, Shutdown::Both);
    }

    fn answer(
        &self,
        connection: &OwnedFd,
        collect: impl FnOnce(&[u8; REPORT_DATA]) -> Result<Option<TeeReport>, CollectError>,
    ) -> io::Result<Served> {
        let peer = socket_peercred(connection)?.uid.as_raw();
        if peer != self.client {
            return Ok(Served::Stranger(peer));
        }
        set_limits(connection, self.limit, self.limit)?;
        let mut buffer = [0; REQUEST];
        let request = match receive(connection.as_fd(), &mut buffer)? {
            Ok(request) => ReportRequest::from_bytes(request),
            Err(length) => Err(ReportMessageError::Length {
                found: length,
                expected: REQUEST.to_string(),
            }),
        };
        let request = match request {
            Ok(request) => request,
            Err(error) => return Ok(Served::NoRequest(error)),
        };
        let (answer, served) = match collect(&request.report_data) {
            Ok(Some(report)) => {
                let kind = report.kind();
                (ReportAnswer::Report(report), Served::Answered(Some(kind)))
            }
            Ok(None) => (ReportAnswer::NoSource, Served::Answered(None)),
            Err(error) => (ReportAnswer::failed(chain(&error)), Served::Failed(error)),
        };
        let answer = answer.to_bytes().map_err(io::Error::other)?;
        match (send(connection, &answer, SendFlags::NOSIGNAL), &served) {
            // that is worth more than that nobody waited for it
            (_, Served::Failed(_)) | (Ok(_), _) => Ok(served),
            (Err(error), _) => Err(error.into()),
        }
    }
}

/// Why there is no report from the other side of the socket.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AskError {
    /// Nobody listens there.
    #[error("{}: nobody can be asked for a report", path.display())]
    Connect {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Nothing came in time, or the connection broke.
    #[error("whoever makes reports did not answer within {} s", limit.as_secs())]
    Exchange {
        /// How long it was waited for.
        limit: Duration,
        /// What the system says.
        source: io::Error,
    },
    /// It hung up without a word.
    #[error("whoever makes reports refused to be asked by this user, or ended")]
    Refused,
    /// An answer that is none.
    #[error("whoever makes reports gave an answer that can't be read")]
    Message(#[from] ReportMessageError),
    /// The machine gives none.
    #[error("the machine gave no report: {0}")]
    Failed(String),
}

/// Asks for a report over this data, and waits for it at most so long, and twice [`EXCHANGE_LIMIT`]
/// besides. `None`: the machine is in no trusted execution environment. Blocks.
///
/// # Errors
/// When the machine is in one, or might be, and there is no report.
pub fn ask(
    path: &Path,
    report_data: &[u8; REPORT_DATA],
    limit: Duration,
) -> Result<Option<TeeReport>, AskError> {
    let connect_to = || -> io::Result<OwnedFd> {
        let socket = new_socket()?;
        // a listener whose backlog is full has connect(2) wait as long as a send
        set_limits(&socket, limit, EXCHANGE_LIMIT)?;
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(socket)
    };
    let socket = connect_to().map_err(|source| AskError::Connect {
        path: path.to_owned(),
        source,
    })?;
    let request = ReportRequest {
        report_data: *report_data,
    };
    let exchange = |source: io::Error| match source.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => AskError::Refused,
        _ => AskError::Exchange { limit, source },
    };
    send(&socket, &request.to_bytes(), SendFlags::NOSIGNAL)
        .map_err(|error| exchange(error.into()))?;
    let mut buffer = vec![0; MAXIMUM_ANSWER];
    let answer = receive(socket.as_fd(), &mut buffer).map_err(exchange)?;
    let answer = answer.map_err(|length| ReportMessageError::Length {
        found: length,
        expected: format!("at most {MAXIMUM_ANSWER}"),
    })?;
    if answer.is_empty() {
        return Err(AskError::Refused);
    }
    match ReportAnswer::from_bytes(answer)? {
        ReportAnswer::Report(report) => Ok(Some(report)),
        ReportAnswer::NoSource => Ok(None),
        ReportAnswer::Failed { message } => Err(AskError::Failed(message)),
    }
}

fn new_socket() -> io::Result<OwnedFd> {
    Ok(socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

fn set_limits(socket: &OwnedFd, receive: Duration, send: Duration) -> io::Result<()> {
    set_socket_timeout(socket, Timeout::Recv, Some(receive))?;
    set_socket_timeout(socket, Timeout::Send, Some(send))?;
    Ok(())
}

/// One datagram; or its length, where it is longer than the buffer. Empty: the other side is gone.
fn receive<'a>(
    socket: BorrowedFd<'_>,
    buffer: &'a mut [u8],
) -> io::Result<Result<&'a [u8], usize>> {
    let (_, length) = loop {
        match recv(socket, &mut *buffer, RecvFlags::TRUNC) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    Ok(buffer.get(..length).ok_or(length))
}

#[cfg(test)]
mod tests;
