//! The edge of the DHCPv4 client: sockets and timers around the state machine.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use sys::packet::{BROADCAST, PacketSocket, Protocol, Test};
use tokio::io::unix::AsyncFd;
use tokio::net::UdpSocket;
use tokio::time::Instant;
use tracing::info;

use super::acd;
use super::lease::Lease;
use super::machine::{Action, Event, Machine, Random};
use super::message::{self, CLIENT_PORT, Client, MAXIMUM_LENGTH, Reply, SERVER_PORT};
use crate::links::Link;
use crate::receive::{due, receive, watched};
use crate::repeats::Repeats;
use crate::settings::{Address, Settings};

/// What reaches the socket: UDP, no fragment, for the client's port.
const FILTER: [Test; 3] = [
    Test::Byte(9, 17),
    Test::NoBits(6, 0x1fff),
    Test::AfterIpv4(2, CLIENT_PORT),
];
/// What passes where no address is watched: ARP packets of a hardware that Ethernet is not.
const NOTHING: [Test; 1] = [Test::Half(0, u16::MAX)];
/// No ARP packet of Ethernet is longer; padding is cut.
const ARP_LENGTH: usize = 64;

/// What becomes of a lease.
#[derive(Debug)]
pub(crate) enum LeaseEvent {
    /// There is one, or it was renewed.
    Leased(Settings),
    /// Its address is not to be used any more.
    Lost(String),
}

/// A DHCP client on one link.
#[derive(Debug)]
pub(crate) struct Dhcp4 {
    link: Link,
    machine: Machine,
    packets: AsyncFd<PacketSocket>,
    arp: AsyncFd<PacketSocket>,
    /// While more time is asked for: the sender of unicasts. Answers are read from the packet socket.
    renewal: Option<(Ipv4Addr, UdpSocket)>,
    watched: Option<Ipv4Addr>,
    /// What the machine's time counts from.
    epoch: Instant,
    queue: Vec<Action>,
    repeats: Repeats,
}

impl Dhcp4 {
    /// Begins on a link that is up. `host_name` is sent to servers; `former` is asked for first.
    ///
    /// # Errors
    /// What the kernel says of the packet sockets.
    pub(crate) fn start(
        link: &Link,
        host_name: Option<String>,
        former: Option<Ipv4Addr>,
        random: Random,
    ) -> io::Result<Self> {
        let client = Client {
            hardware: link.address,
            host_name,
        };
        let mut dhcp = Self {
            link: link.clone(),
            machine: Machine::new(client, former, random),
            packets: watched(PacketSocket::open(link.index, Protocol::Ipv4, &FILTER)?)?,
            arp: watched(PacketSocket::open(link.index, Protocol::Arp, &NOTHING)?)?,
            renewal: None,
            watched: None,
            epoch: Instant::now(),
            queue: Vec::new(),
            repeats: Repeats::default(),
        };
        dhcp.handle(Event::Carrier);
        Ok(dhcp)
    }

    /// The link's carrier is back: the network may be another.
    pub(crate) fn carrier(&mut self) {
        self.handle(Event::Carrier);
    }

    /// The kernel does not take the lease's address.
    pub(crate) fn refused(&mut self) {
        self.handle(Event::Refused);
    }

    fn handle(&mut self, event: Event) {
        let actions = self.machine.handle(self.epoch.elapsed(), event);
        self.queue.extend(actions);
    }

    /// Waits for the first lease, or for what becomes of it. It asks for ever: a network that comes late is found.
    /// Nothing is lost where this is not polled to its end.
    ///
    /// # Errors
    /// What the kernel says where a socket can't be used any more.
    pub(crate) async fn next(&mut self) -> io::Result<LeaseEvent> {
        loop {
            while !self.queue.is_empty() {
                let action = self.queue.remove(0);
                if let Some(event) = self.act(action).await? {
                    return Ok(event);
                }
            }
            let deadline = self
                .machine
                .deadline()
                .and_then(|at| self.epoch.checked_add(at));
            let event = tokio::select! {
                event = receive(&self.packets, MAXIMUM_LENGTH, |packet| {
                    let (source, message) = message::unpack(packet)?;
                    Reply::decode(message, source).map(|reply| Event::Reply(Box::new(reply)))
                }) => event?,
                event = receive(&self.arp, ARP_LENGTH, |packet| {
                    acd::conflict(packet, self.link.address, self.watched?).map(Event::Conflict)
                }) => event?,
                () = due(deadline) => Event::Time,
            };
            self.handle(event);
        }
    }

    async fn act(&mut self, action: Action) -> io::Result<Option<LeaseEvent>> {
        match action {
            Action::Broadcast(own, bytes) => {
                let packet = message::packet(own, Ipv4Addr::BROADCAST, &bytes);
                // a link that is down now has lost its carrier, which comes as an event; the next try is due anyway
                let sent = self.packets.get_ref().send(BROADCAST, &packet);
                self.tell_failure(sent, "a DHCP message was not sent");
            }
            Action::Arp(packet) => {
                let sent = self.arp.get_ref().send(BROADCAST, &packet);
                self.tell_failure(sent, "an ARP packet was not sent");
            }
            Action::Unicast(own, server, bytes) => {
                let sent = self.unicast(own, server, &bytes).await;
                self.tell_failure(sent, "a DHCP message was not sent to the server");
            }
            Action::Watch(address) => {
                self.watched = address;
                match address {
                    Some(address) => self.arp.get_ref().filter(&acd::filter(address))?,
                    None => self.arp.get_ref().filter(&NOTHING)?,
                }
            }
            Action::Leased(lease, since) => {
                self.renewal = None;
                self.tell_lease(&lease);
                return Ok(Some(LeaseEvent::Leased(self.settings(&lease, since))));
            }
            Action::Lost(detail) => {
                self.renewal = None;
                return Ok(Some(LeaseEvent::Lost(format!(
                    "{}: {detail}",
                    self.link.name
                ))));
            }
            Action::Note(note) => self.repeats.warn(&format!("{}: {note}", self.link.name)),
        }
        Ok(None)
    }

    fn tell_lease(&self, lease: &Lease) {
        info!(
            link = self.link.name,
            address = %lease.address,
            prefix = lease.prefix,
            seconds = lease.times.map_or(u64::MAX, |times| times.end.as_secs()),
            server = %lease.server,
            "lease"
        );
    }

    fn tell_failure(&mut self, sent: io::Result<()>, what: &str) {
        if let Err(error) = sent {
            self.repeats
                .warn(&format!("{}: {what}: {error}", self.link.name));
        }
    }

    /// Sends from the link's own address, by its routes.
    async fn unicast(&mut self, own: Ipv4Addr, server: Ipv4Addr, bytes: &[u8]) -> io::Result<()> {
        if self
            .renewal
            .as_ref()
            .is_none_or(|(address, _)| *address != own)
        {
            let socket = UdpSocket::bind((own, CLIENT_PORT)).await?;
            socket.bind_device(Some(self.link.name.as_bytes()))?;
            self.renewal = Some((own, socket));
        }
        if let Some((_, socket)) = &self.renewal {
            socket.send_to(bytes, (server, SERVER_PORT)).await?;
        }
        Ok(())
    }

    fn settings(&self, lease: &Lease, since: Duration) -> Settings {
        let ends = lease
            .times
            .and_then(|times| self.epoch.checked_add(since)?.checked_add(times.end));
        Settings {
            addresses: vec![Address {
                ip: IpAddr::V4(lease.address),
                prefix: lease.prefix,
                ends,
            }],
            routes: lease.routes.clone(),
            dns: lease.dns.clone(),
            search: lease.search.clone(),
            time_servers: lease.time_servers.clone(),
            mtu: lease.mtu,
        }
    }
}
