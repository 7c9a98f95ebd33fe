//! One websocket and the connections that it carries.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message};

use super::frame::{Frame, FrameError, Kind};

/// remotedialer's `PingWriteInterval`: the agent's side pings.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// remotedialer's `PingWaitDuration`: a side that hears nothing for so long gives up.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
/// A connection whose reader takes nothing for so long is dropped, so that it does not hold up
/// the others.
const READER_LIMIT: Duration = Duration::from_secs(10);
/// The bytes of one data message.
const CHUNK: usize = 16 * 1024;
/// Messages that wait for one connection's reader, and for the websocket.
const QUEUE: usize = 64;

/// Why a tunnel ended.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The other side closed it.
    #[error("the tunnel was closed by the other side")]
    Closed,
    /// The websocket broke.
    #[error("the tunnel's websocket failed")]
    Websocket(#[from] tungstenite::Error),
    /// Nothing heard, not even a ping.
    #[error("nothing heard through the tunnel for {} s", SILENCE_LIMIT.as_secs())]
    Silent,
    /// Not a tunnel message.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A text message where only binary ones belong.
    #[error("wrong websocket message type")]
    WrongType,
    /// The other side asked for an address that it may not reach.
    #[error("connect not allowed: {0}")]
    NotAllowed(String),
}

/// Which end of the tunnel this is.
pub enum Side {
    /// The server: asks for connections, refuses to open any.
    Server,
    /// The agent: opens what the function allows, by handing back the near end of a stream.
    /// Its arguments are the protocol and the address.
    Agent(Open),
}

/// Opens a stream for a protocol and an address, or refuses.
pub type Open = Box<dyn Fn(&str, &str) -> Option<DuplexStream> + Send + Sync>;

/// A handle on a running tunnel; the tunnel ends when its driver does.
#[derive(Clone)]
pub struct Session {
    outgoing: mpsc::Sender<Frame>,
    connections: Connections,
    next_connection: Arc<AtomicI64>,
}

type Connections = Arc<Mutex<HashMap<i64, mpsc::Sender<Vec<u8>>>>>;

/// The numbers of messages; nobody compares them.
static NEXT_MESSAGE: AtomicI64 = AtomicI64::new(1);

impl Session {
    /// A tunnel over an open websocket: the handle, and the driver that must be polled for
    /// anything to happen. The driver resolves to the reason of the tunnel's end.
    pub fn over<S>(
        websocket: WebSocketStream<S>,
        side: Side,
    ) -> (Self, impl Future<Output = SessionError> + Send)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin,
    {
        let (outgoing, queue) = mpsc::channel(QUEUE);
        let session = Self {
            outgoing,
            connections: Connections::default(),
            next_connection: Arc::new(AtomicI64::new(1)),
        };
        let driver = drive(session.clone(), websocket, side, queue);
        (session, driver)
    }

    /// Asks the other side to connect to `address` over TCP. The stream ends when either side
    /// closes it or the tunnel breaks.
    ///
    /// # Errors
    /// The tunnel has ended.
    pub async fn dial(&self, address: &str) -> Result<DuplexStream, SessionError> {
        let connection = self.next_connection.fetch_add(1, Ordering::Relaxed) + 1;
        let (near, far) = tokio::io::duplex(CHUNK);
        self.carry(connection, far);
        self.send(
            connection,
            Kind::Connect,
            format!("tcp/{address}").into_bytes(),
        )
        .await
        .map_err(|()| SessionError::Closed)?;
        Ok(near)
    }

    async fn send(&self, connection: i64, kind: Kind, payload: Vec<u8>) -> Result<(), ()> {
        let id = NEXT_MESSAGE.fetch_add(1, Ordering::Relaxed);
        self.outgoing
            .send(Frame {
                id,
                connection,
                kind,
                payload,
            })
            .await
            .map_err(|_| ())
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<i64, mpsc::Sender<Vec<u8>>>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries bytes between `stream` and the tunnel until one of them ends.
    fn carry(&self, connection: i64, stream: DuplexStream) {
        let (incoming, mut queue) = mpsc::channel::<Vec<u8>>(QUEUE);
        self.table().insert(connection, incoming);
        let session = self.clone();
        tokio::spawn(async move {
            let (mut reader, mut writer) = tokio::io::split(stream);
            let inward = async {
                while let Some(bytes) = queue.recv().await {
                    if writer.write_all(&bytes).await.is_err() {
                        break;
                    }
                }
                let _ = writer.shutdown().await;
            };
            let outward = async {
                let mut buffer = vec![0; CHUNK];
                while let Ok(length @ 1..) = reader.read(&mut buffer).await {
                    let bytes = buffer.get(..length).unwrap_or_default().to_vec();
                    if session.send(connection, Kind::Data, bytes).await.is_err() {
                        break;
                    }
                }
            };
            // remotedialer knows no half-closed connections: the first end ends both ways.
            tokio::select! { () = inward => {}, () = outward => {} }
            if session.table().remove(&connection).is_some() {
                let _ = session.send(connection, Kind::Error, b"EOF".to_vec()).await;
            }
        });
    }
}

async fn drive<S>(
    session: Session,
    mut websocket: WebSocketStream<S>,
    side: Side,
    mut queue: mpsc::Receiver<Frame>,
) -> SessionError
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let mut pings = tokio::time::interval(PING_INTERVAL);
    let mut silence = Instant::now() + SILENCE_LIMIT;
    let reason = loop {
        tokio::select! {
            received = websocket.next() => {
                let message = match received {
                    None => break SessionError::Closed,
                    Some(Err(error)) => break error.into(),
                    Some(Ok(message)) => message,
                };
                silence = Instant::now() + SILENCE_LIMIT;
                match receive(&session, &side, message).await {
                    Ok(()) => {}
                    Err(error) => break error,
                }
            }
            Some(frame) = queue.recv() => {
                let message = Message::Binary(frame.encode().into());
                if let Err(error) = websocket.send(message).await {
                    break error.into();
                }
            }
            _ = pings.tick(), if matches!(side, Side::Agent(_)) => {
                if let Err(error) = websocket.send(Message::Ping(Vec::new().into())).await {
                    break error.into();
                }
            }
            () = tokio::time::sleep_until(silence) => break SessionError::Silent,
        }
    };
    // Ends every connection's inward half, and with it the connection.
    session.table().clear();
    reason
}

async fn receive(session: &Session, side: &Side, message: Message) -> Result<(), SessionError> {
    let bytes = match message {
        Message::Binary(bytes) => bytes,
        Message::Ping(_) | Message::Pong(_) => return Ok(()),
        Message::Close(_) => return Err(SessionError::Closed),
        Message::Text(_) | Message::Frame(_) => return Err(SessionError::WrongType),
    };
    let frame = Frame::decode(&bytes)?;
    match frame.kind {
        Kind::Connect => {
            let target = String::from_utf8_lossy(&frame.payload).into_owned();
            let stream = match (side, target.split_once('/')) {
                (Side::Agent(open), Some((protocol, address))) => open(protocol, address),
                _ => None,
            };
            session.carry(
                frame.connection,
                stream.ok_or(SessionError::NotAllowed(target))?,
            );
        }
        Kind::Data => {
            let connection = session.table().get(&frame.connection).cloned();
            let delivered = match connection {
                Some(connection) => connection
                    .send_timeout(frame.payload, READER_LIMIT)
                    .await
                    .is_ok(),
                None => false,
            };
            if !delivered {
                session.table().remove(&frame.connection);
                let reason = format!("connection not found {}", frame.connection);
                let _ = session
                    .send(frame.connection, Kind::Error, reason.into_bytes())
                    .await;
            }
        }
        Kind::Error => {
            session.table().remove(&frame.connection);
        }
        Kind::Other(_) => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;

    async fn pair(
        open: impl Fn(&str, &str) -> Option<DuplexStream> + Send + Sync + 'static,
    ) -> (
        Session,
        tokio::task::JoinHandle<SessionError>,
        tokio::task::JoinHandle<SessionError>,
    ) {
        let (near, far) = tokio::io::duplex(1024);
        let server = WebSocketStream::from_raw_socket(near, Role::Server, None).await;
        let agent = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
        let (session, server) = Session::over(server, Side::Server);
        let (_, agent) = Session::over(agent, Side::Agent(Box::new(open)));
        (session, tokio::spawn(server), tokio::spawn(agent))
    }

    #[tokio::test]
    async fn a_connection_carries_more_than_one_chunk_both_ways_and_ends() {
        let (session, _server, _agent) = pair(|protocol, address| {
            assert_eq!((protocol, address), ("tcp", super::super::KUBELET));
            let (near, mut far) = tokio::io::duplex(64);
            tokio::spawn(async move {
                let mut bytes = vec![0; 100_000];
                far.read_exact(&mut bytes).await.unwrap();
                bytes.reverse();
                far.write_all(&bytes).await.unwrap();
            });
            Some(near)
        })
        .await;
        let stream = session.dial(super::super::KUBELET).await.unwrap();
        let sent: Vec<u8> = (0..100_000u32).map(|number| number as u8).collect();
        let (mut reader, mut writer) = tokio::io::split(stream);
        let expected = sent.iter().rev().copied().collect::<Vec<_>>();
        tokio::spawn(async move { writer.write_all(&sent).await.unwrap() });
        let mut received = Vec::new();
        reader.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, expected);
        assert!(session.table().is_empty());
    }

    #[tokio::test]
    async fn an_address_that_is_not_allowed_ends_the_tunnel() {
        let (session, server, agent) = pair(|_, _| None).await;
        let mut stream = session.dial("10.0.0.1:22").await.unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await.unwrap();
        assert!(received.is_empty());
        assert!(matches!(agent.await.unwrap(), SessionError::NotAllowed(_)));
        assert!(matches!(
            server.await.unwrap(),
            SessionError::Closed | SessionError::Websocket(_)
        ));
    }
}
