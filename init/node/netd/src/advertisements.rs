//! Router advertisements (RFC 4861, RFC 8106), as far as they are not the kernel's: name servers, search domains, and
//! whether DHCPv6 is to be asked.
//!
//! Addresses, routes, MTU and their lifetimes are the kernel's: it has them right already, checks for duplicates, and
//! goes on while this program starts anew.

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use sys::packet::{PacketSocket, Protocol, Test};
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use crate::dhcp4::{checksum, is_domain, names};
use crate::links::Link;
use crate::receive::{due, receive, watched};
use crate::settings::{MAXIMUM_LIST, Settings, after};

/// What reaches the socket: ICMPv6 behind the fixed header, from the link itself (hop limit 255), type 134.
const FILTER: [Test; 3] = [
    Test::Half(6, 0x3aff),
    Test::Byte(40, 134),
    Test::Byte(41, 0),
];
/// No advertisement is longer than a jumbo frame.
const MAXIMUM_LENGTH: usize = 9216;
const IPV6_HEADER: usize = 40;
const HEADER: usize = 16;
const NAME_SERVERS: u8 = 25;
const SEARCH: u8 = 31;
const ICMPV6: u8 = 58;
/// A lifetime without an end.
const FOREVER: u32 = u32::MAX;

/// Something that an advertisement names, and for how many seconds.
type Named<T> = (T, u32);

/// What an advertisement says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Advertisement {
    /// The router, an address of the link.
    router: Ipv6Addr,
    /// DHCPv6 has addresses (M).
    pub(crate) managed: bool,
    /// DHCPv6 has other things (O).
    pub(crate) other: bool,
    dns: Vec<Named<Ipv6Addr>>,
    search: Vec<Named<String>>,
}

impl Advertisement {
    /// Reads an IPv6 packet; none: it is no advertisement, or a damaged or forged one.
    fn decode(packet: &[u8]) -> Option<Self> {
        let (header, rest) = packet.split_at_checked(IPV6_HEADER)?;
        let length = usize::from(u16::from_be_bytes(header.get(4..6)?.try_into().ok()?));
        let message = rest.get(..length)?;
        let router = Ipv6Addr::from(<[u8; 16]>::try_from(header.get(8..24)?).ok()?);
        let from_link = header.get(6..8)? == [ICMPV6, 255] && router.is_unicast_link_local();
        let length = u32::try_from(length).ok()?.to_be_bytes();
        let sum = checksum(&[header.get(8..40)?, &length, &[0, 0, 0, ICMPV6], message]);
        if !from_link || !message.starts_with(&[134, 0]) || sum != 0 {
            return None;
        }
        let flags = *message.get(5)?;
        let mut advertisement = Self {
            router,
            managed: flags & 0x80 != 0,
            other: flags & 0x40 != 0,
            dns: Vec::new(),
            search: Vec::new(),
        };
        let mut rest = message.get(HEADER..)?;
        while let [kind, units, ..] = *rest {
            // a length of zero would never end; such a message is dropped whole (RFC 4861, section 6.1.2)
            let length = 8 * usize::from(units);
            let (option, behind) = rest.split_at_checked(length).filter(|_| length > 0)?;
            advertisement.take(kind, option);
            rest = behind;
        }
        Some(advertisement)
    }

    fn take(&mut self, kind: u8, option: &[u8]) -> Option<()> {
        let lifetime = u32::from_be_bytes(option.get(4..8)?.try_into().ok()?);
        let value = option.get(8..)?;
        match kind {
            NAME_SERVERS => {
                let (all, _) = value.as_chunks::<16>();
                let servers = all.iter().map(|octets| Ipv6Addr::from(*octets));
                let usable = servers
                    .filter(|ip| !ip.is_unspecified() && !ip.is_multicast() && !ip.is_loopback());
                self.dns
                    .extend(usable.take(MAXIMUM_LIST).map(|ip| (ip, lifetime)));
            }
            SEARCH => {
                // zeros behind the names are padding: empty names
                let all = names(value)?;
                let usable = all.into_iter().filter(|name| is_domain(name));
                self.search
                    .extend(usable.take(MAXIMUM_LIST).map(|name| (name, lifetime)));
            }
            _ => {}
        }
        Some(())
    }
}

/// One thing that is known, from whom, and until when; none: for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known<T> {
    value: T,
    router: Ipv6Addr,
    ends: Option<Instant>,
}

/// What routers have said, and is still valid.
#[derive(Debug, Default)]
pub(crate) struct Advertised {
    dns: Vec<Known<Ipv6Addr>>,
    search: Vec<Known<String>>,
}

fn remember<T: PartialEq>(
    list: &mut Vec<Known<T>>,
    router: Ipv6Addr,
    named: Vec<Named<T>>,
    now: Instant,
) {
    for (value, seconds) in named {
        list.retain(|known| known.value != value);
        let ends = (seconds != FOREVER)
            .then(|| after(now, Duration::from_secs(seconds.into())))
            .flatten();
        if seconds > 0 && list.len() < MAXIMUM_LIST {
            list.push(Known {
                value,
                router,
                ends,
            });
        }
    }
}

impl Advertised {
    /// Takes an advertisement in.
    pub(crate) fn take(&mut self, advertisement: Advertisement, now: Instant) {
        let router = advertisement.router;
        remember(&mut self.dns, router, advertisement.dns, now);
        remember(&mut self.search, router, advertisement.search, now);
    }

    /// Forgets what is no longer valid.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.dns
            .retain(|known| known.ends.is_none_or(|ends| ends > now));
        self.search
            .retain(|known| known.ends.is_none_or(|ends| ends > now));
    }

    /// When the next thing ends.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let dns = self.dns.iter().filter_map(|known| known.ends);
        dns.chain(self.search.iter().filter_map(|known| known.ends))
            .min()
    }

    /// What there is for the resolver.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            dns: self
                .dns
                .iter()
                .map(|known| IpAddr::V6(known.value))
                .collect(),
            search: self
                .search
                .iter()
                .map(|known| known.value.clone())
                .collect(),
            ..Settings::default()
        }
    }
}

/// What comes from the routers of one link.
#[derive(Debug)]
pub(crate) struct Routers {
    socket: AsyncFd<PacketSocket>,
    advertised: Advertised,
}

/// News of routers.
#[derive(Debug)]
pub(crate) struct RouterNews {
    /// What there is for the resolver from now on.
    pub(crate) settings: Settings,
    /// What the last advertisement says of DHCPv6: addresses, or other things; none: no new one came.
    pub(crate) dhcp: Option<(bool, bool)>,
}

impl Routers {
    /// Begins to listen. The kernel asks for advertisements when a link comes up.
    ///
    /// # Errors
    /// What the kernel says of the packet socket.
    pub(crate) fn listen(link: &Link) -> io::Result<Self> {
        Ok(Self {
            socket: watched(PacketSocket::open(link.index, Protocol::Ipv6, &FILTER)?)?,
            advertised: Advertised::default(),
        })
    }

    /// Waits for the next advertisement, or the end of what an earlier one said.
    ///
    /// # Errors
    /// What the kernel says where the socket can't be used any more.
    pub(crate) async fn next(&mut self) -> io::Result<RouterNews> {
        let dhcp = tokio::select! {
            advertisement = receive(&self.socket, MAXIMUM_LENGTH, Advertisement::decode) => {
                let advertisement = advertisement?;
                let dhcp = (advertisement.managed, advertisement.other);
                self.advertised.take(advertisement, Instant::now());
                Some(dhcp)
            }
            () = due(self.advertised.deadline()) => None,
        };
        self.advertised.expire(Instant::now());
        Ok(RouterNews {
            settings: self.advertised.settings(),
            dhcp,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

    fn packet(flags: u8, options: &[u8]) -> Vec<u8> {
        let mut message = vec![134, 0, 0, 0, 64, flags, 7, 8];
        message.resize(HEADER, 0);
        message.extend(options);
        let length = u16::try_from(message.len()).unwrap();
        let mut header = vec![0x60, 0, 0, 0];
        header.extend(length.to_be_bytes());
        header.extend([ICMPV6, 255]);
        header.extend(ROUTER.octets());
        header.extend(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).octets());
        let sum = checksum(&[
            &header[8..],
            &u32::from(length).to_be_bytes(),
            &[0, 0, 0, ICMPV6],
            &message,
        ]);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        header.extend(message);
        header
    }

    fn options(lifetime: u32) -> Vec<u8> {
        let mut options = vec![NAME_SERVERS, 3, 0, 0];
        options.extend(lifetime.to_be_bytes());
        options.extend(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x53).octets());
        options.extend([SEARCH, 4, 0, 0]);
        options.extend(lifetime.to_be_bytes());
        options.extend(b"\x07example\x03org");
        // the end of the name, and padding
        options.extend([0; 12]);
        options
    }

    #[test]
    fn name_servers_and_domains_are_taken_for_their_time() {
        let advertisement = Advertisement::decode(&packet(0xc0, &options(100))).expect("one");
        assert!(advertisement.managed && advertisement.other);
        let now = Instant::now();
        let mut advertised = Advertised::default();
        advertised.take(advertisement, now);
        let settings = advertised.settings();
        assert_eq!(settings.dns, ["2001:db8::53".parse::<IpAddr>().unwrap()]);
        assert_eq!(settings.search, ["example.org"]);
        assert_eq!(advertised.deadline(), Some(now + Duration::from_secs(100)));
        // a lifetime of zero takes them back at once
        let gone = Advertisement::decode(&packet(0, &options(0))).expect("one");
        advertised.take(gone, now);
        assert_eq!(advertised.settings(), Settings::default());
        let forever = Advertisement::decode(&packet(0, &options(FOREVER))).expect("one");
        advertised.take(forever, now);
        assert_eq!(
            (advertised.deadline(), advertised.settings().dns.len()),
            (None, 1)
        );
        advertised.take(
            Advertisement::decode(&packet(0, &options(5))).expect("one"),
            now,
        );
        advertised.expire(now + Duration::from_secs(6));
        assert_eq!(advertised.settings(), Settings::default());
    }

    #[test]
    fn forged_or_damaged_advertisement_is_dropped() {
        let good = packet(0, &options(100));
        assert!(Advertisement::decode(&good).is_some());
        for (at, value) in [(7, 64), (8, 0x20), (40, 133), (60, 9), (42, 0)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(Advertisement::decode(&bad), None, "{at}");
        }
        assert_eq!(
            Advertisement::decode(&packet(0, &[25, 0, 0, 0])),
            None,
            "an option without a length"
        );
    }

    proptest! {
        #[test]
        fn decoding_takes_any_options(options in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(advertisement) = Advertisement::decode(&packet(0, &options)) {
                let mut advertised = Advertised::default();
                advertised.take(advertisement, Instant::now());
                prop_assert!(advertised.settings().search.iter().all(|name| is_domain(name)));
            }
        }
    }
}
