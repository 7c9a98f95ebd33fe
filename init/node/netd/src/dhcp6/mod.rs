//! DHCPv6 (RFC 8415) on one link: addresses where routers say so (M), or what else there is (O).

mod machine;
mod message;

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};

use socket2::{Domain, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::Instant;
use tracing::info;

use self::machine::{Action, Event, Machine};
use self::message::Reply;
use crate::follow::random;
use crate::links::Link;
use crate::receive::due;
use crate::repeats::Repeats;
use crate::settings::{Address, Settings};

/// The client's and the server's port, and the address of all servers and relays of a link.
const CLIENT_PORT: u16 = 546;
const SERVER_PORT: u16 = 547;
const ALL_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
/// No message that is taken is longer.
const MAXIMUM_LENGTH: usize = 9216;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Nothing,
    /// Name servers, domains, time servers.
    Information,
    /// An address, and the same.
    Addresses,
}

/// A client on one link.
#[derive(Debug)]
pub(crate) struct Dhcp6 {
    link: Link,
    machine: Machine,
    socket: UdpSocket,
    epoch: Instant,
    queue: Vec<Action>,
    repeats: Repeats,
}

impl Dhcp6 {
    /// Begins on a link that is up.
    ///
    /// # Errors
    /// What the kernel says of the socket.
    pub(crate) fn start(link: &Link, wanted: Wanted) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV6, Type::DGRAM, None)?;
        socket.set_only_v6(true)?;
        socket.set_nonblocking(true)?;
        // before it is bound: a client on another link has the same port
        socket.bind_device(Some(link.name.as_bytes()))?;
        socket.bind(&SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, CLIENT_PORT, 0, 0).into())?;
        let mut client = Self {
            link: link.clone(),
            machine: Machine::new(link.address, wanted == Wanted::Addresses, Box::new(random)),
            socket: UdpSocket::from_std(socket.into())?,
            epoch: Instant::now(),
            queue: Vec::new(),
            repeats: Repeats::default(),
        };
        client.handle(Event::Carrier);
        Ok(client)
    }

    /// The link's carrier is back: the network may be another.
    pub(crate) fn carrier(&mut self) {
        self.handle(Event::Carrier);
    }

    fn handle(&mut self, event: Event) {
        let actions = self.machine.handle(self.epoch.elapsed(), event);
        self.queue.extend(actions);
    }

    /// Waits for what is to be had, or what becomes of it. It asks for ever.
    ///
    /// # Errors
    /// What the kernel says where the socket can't be used any more.
    pub(crate) async fn next(&mut self) -> io::Result<Settings> {
        let mut buffer = vec![0; MAXIMUM_LENGTH];
        loop {
            while !self.queue.is_empty() {
                match self.queue.remove(0) {
                    Action::Send(bytes) => {
                        let to = SocketAddrV6::new(ALL_SERVERS, SERVER_PORT, 0, self.link.index);
                        // without an address of the link yet, or a carrier: the next try is due anyway
                        if let Err(error) = self.socket.send_to(&bytes, to).await {
                            let line = format!(
                                "{}: a DHCPv6 message was not sent: {error}",
                                self.link.name
                            );
                            self.repeats.warn(&line);
                        }
                    }
                    Action::Note(note) => self.repeats.warn(&format!("{}: {note}", self.link.name)),
                    Action::Have(reply, since) => {
                        for (address, _, valid) in &reply.addresses {
                            info!(link = self.link.name, %address, seconds = valid, "lease by DHCPv6");
                        }
                        return Ok(self.settings(&reply, since));
                    }
                    Action::Lost => return Ok(Settings::default()),
                }
            }
            let deadline = self
                .machine
                .deadline()
                .and_then(|at| self.epoch.checked_add(at));
            let event = tokio::select! {
                received = self.socket.recv_from(&mut buffer) => {
                    let (length, _) = received?;
                    match buffer.get(..length).and_then(Reply::decode) {
                        Some(reply) => Event::Reply(Box::new(reply)),
                        None => continue,
                    }
                }
                () = due(deadline) => Event::Time,
            };
            self.handle(event);
        }
    }

    fn settings(&self, reply: &Reply, since: std::time::Duration) -> Settings {
        let ends = |seconds: u32| {
            let forever = seconds == u32::MAX;
            let lifetime = std::time::Duration::from_secs(seconds.into());
            (!forever)
                .then(|| self.epoch.checked_add(since)?.checked_add(lifetime))
                .flatten()
        };
        Settings {
            // a prefix is the routers' to say
            addresses: reply
                .addresses
                .iter()
                .map(|(address, _, valid)| Address {
                    ip: IpAddr::V6(*address),
                    prefix: 128,
                    ends: ends(*valid),
                })
                .collect(),
            dns: reply.dns.iter().copied().map(IpAddr::V6).collect(),
            search: reply.search.clone(),
            time_servers: reply.time_servers.iter().copied().map(IpAddr::V6).collect(),
            ..Settings::default()
        }
    }
}
