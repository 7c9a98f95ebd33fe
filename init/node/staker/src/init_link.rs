//! The connection to PID 1, as the runtime sees it.

use std::io;
use std::os::fd::AsFd as _;

use sys::InitConnection;
use tokio::net::UnixDatagram;
use wire::child::{FILE_DESCRIPTOR_VARIABLE, FromInit, MAXIMUM_DATAGRAM, ToInit, decode, encode};

use crate::seams::{Init, InitError};

/// Connected, or started by somebody else than `init`.
#[derive(Debug)]
pub struct InitLink(Option<UnixDatagram>);

impl InitLink {
    /// Takes over the descriptor that `init` passed, if it did. To be called within a runtime.
    ///
    /// # Errors
    /// When there should be one, and it can't be used.
    pub fn from_environment() -> io::Result<Self> {
        match InitConnection::from_environment(FILE_DESCRIPTOR_VARIABLE)? {
            Some(connection) => Self::connected(&connection),
            None => Ok(Self(None)),
        }
    }

    /// With a connection that is there already. To be called within a runtime.
    ///
    /// # Errors
    /// When the runtime can't wait on it.
    pub fn connected(connection: &InitConnection) -> io::Result<Self> {
        // A `SOCK_SEQPACKET` socket sends and receives like a connected `SOCK_DGRAM` one
        // (unix(7)); at its end it gives a datagram of length zero.
        let descriptor = connection.as_fd().try_clone_to_owned()?;
        UnixDatagram::from_std(descriptor.into()).map(|socket| Self(Some(socket)))
    }

    /// The next message of `init`. Waits for ever when there is no `init`.
    ///
    /// # Errors
    /// When `init` is gone, or says what is not a message.
    pub async fn receive(&self) -> Result<FromInit, InitError> {
        let Some(socket) = &self.0 else {
            return std::future::pending().await;
        };
        // one byte more than is allowed, so that what is too long shows
        let mut buffer = vec![0; MAXIMUM_DATAGRAM + 1];
        let length = socket
            .recv(&mut buffer)
            .await
            .map_err(InitError::Connection)?;
        if length == 0 {
            return Err(InitError::Connection(io::ErrorKind::UnexpectedEof.into()));
        }
        buffer.truncate(length);
        decode(&buffer).map_err(InitError::Message)
    }
}

impl Init for InitLink {
    fn present(&self) -> bool {
        self.0.is_some()
    }

    async fn send(&self, message: &ToInit) -> Result<(), InitError> {
        let Some(socket) = &self.0 else {
            return Ok(());
        };
        let datagram = encode(message).map_err(InitError::Message)?;
        socket
            .send(&datagram)
            .await
            .map(drop)
            .map_err(InitError::Connection)
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use wire::child::{AgentDesire, Desired, PowerDesire};
    use wire::status::NodeStatus;
    use wire::{JoinToken, Secret};

    use super::*;
    use crate::doubles::JOIN_TOKEN;

    fn pair() -> (InitLink, InitConnection) {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let ours = InitConnection::from_descriptor(ours).unwrap();
        (
            InitLink::connected(&ours).unwrap(),
            InitConnection::from_descriptor(theirs).unwrap(),
        )
    }

    #[tokio::test]
    async fn messages_go_both_ways() {
        let (link, init) = pair();
        let desired = Desired {
            number: 1,
            agent: AgentDesire::Run {
                node: "edge-0001-0123456789".parse().unwrap(),
                server: "https://k3s.example:6443".parse().unwrap(),
                token: JoinToken::new(Secret::new(JOIN_TOKEN.to_owned())).unwrap(),
                run: 1,
            },
            power: PowerDesire::On,
        };
        let message = ToInit::Desired { desired };
        link.send(&message).await.unwrap();
        let mut buffer = [0; 1024];
        let length = init.receive(&mut buffer).unwrap();
        assert_eq!(decode::<ToInit>(&buffer[..length]).unwrap(), message);

        let status = FromInit::Status {
            status: NodeStatus::default(),
        };
        init.send(&encode(&status).unwrap()).unwrap();
        init.send(b"junk").unwrap();
        init.send(&vec![b' '; MAXIMUM_DATAGRAM + 1]).unwrap();
        assert_eq!(link.receive().await.unwrap(), status);
        for _ in 0..2 {
            let failure = link.receive().await.unwrap_err();
            assert!(matches!(failure, InitError::Message(_)), "{failure}");
        }
        drop(init);
        let failure = link.receive().await.unwrap_err();
        assert!(matches!(failure, InitError::Connection(_)), "{failure}");
    }
}
