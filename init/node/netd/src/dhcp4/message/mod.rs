//! Messages of DHCPv4 (RFC 2131, section 2; RFC 2132) and the packets that carry them.
//!
//! Decoding goes option by option: one that is malformed is left out and named, and the rest counts. (dhcproto stops
//! at the first option that it can't read and drops what comes behind it, without a word.)

use std::net::Ipv4Addr;

/// The server's and the client's port.
pub(crate) const SERVER_PORT: u16 = 67;
pub(crate) const CLIENT_PORT: u16 = 68;
/// The longest message that is read, in bytes: what fits into a jumbo frame.
pub(crate) const MAXIMUM_LENGTH: usize = 9216;

/// The part of a message before its options (RFC 2131, section 2), with the magic cookie behind it.
const HEADER: usize = 240;
const COOKIE: [u8; 4] = [0x63, 0x82, 0x53, 0x63];
/// A message is at least as long as one of BOOTP (RFC 1542, section 2.1): some relays drop shorter ones.
const MINIMUM_LENGTH: usize = 300;
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const ETHERNET: u8 = 1;
const IPV4_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const UDP: u8 = 17;

/// Codes of options (RFC 2132; 119: RFC 3397; 121: RFC 3442; 249: what Microsoft calls it).
mod code {
    pub(super) const PAD: u8 = 0;
    pub(super) const MASK: u8 = 1;
    pub(super) const ROUTER: u8 = 3;
    pub(super) const NAME_SERVERS: u8 = 6;
    pub(super) const HOST_NAME: u8 = 12;
    pub(super) const DOMAIN: u8 = 15;
    pub(super) const MTU: u8 = 26;
    pub(super) const TIME_SERVERS: u8 = 42;
    pub(super) const REQUESTED_ADDRESS: u8 = 50;
    pub(super) const LEASE_TIME: u8 = 51;
    pub(super) const OVERLOAD: u8 = 52;
    pub(super) const KIND: u8 = 53;
    pub(super) const SERVER: u8 = 54;
    pub(super) const PARAMETERS: u8 = 55;
    pub(super) const TEXT: u8 = 56;
    pub(super) const MAXIMUM_SIZE: u8 = 57;
    pub(super) const T1: u8 = 58;
    pub(super) const T2: u8 = 59;
    pub(super) const CLIENT: u8 = 61;
    pub(super) const SEARCH: u8 = 119;
    pub(super) const CLASSLESS_ROUTES: u8 = 121;
    pub(super) const END: u8 = 255;
}

/// What is asked for, classless routes before the router (RFC 3442).
const PARAMETERS: [u8; 12] = [
    code::CLASSLESS_ROUTES,
    code::MASK,
    code::ROUTER,
    code::NAME_SERVERS,
    code::DOMAIN,
    code::SEARCH,
    code::MTU,
    code::TIME_SERVERS,
    code::LEASE_TIME,
    code::SERVER,
    code::T1,
    code::T2,
];

/// The kind of a message (option 53).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Discover,
    Offer,
    Request,
    Decline,
    Ack,
    Nak,
}

impl Kind {
    const ALL: [(Self, u8); 6] = [
        (Self::Discover, 1),
        (Self::Offer, 2),
        (Self::Request, 3),
        (Self::Decline, 4),
        (Self::Ack, 5),
        (Self::Nak, 6),
    ];

    fn number(self) -> u8 {
        let mut all = Self::ALL.iter();
        all.find(|(kind, _)| *kind == self)
            .map_or(0, |(_, number)| *number)
    }

    fn from_number(number: u8) -> Option<Self> {
        let mut all = Self::ALL.iter();
        all.find(|(_, other)| *other == number)
            .map(|(kind, _)| *kind)
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Client {
    /// The link's Ethernet address. The client identifier is made of it (type 1), so that it is the same at
    /// each boot, and in firmware and netboot.
    pub(crate) hardware: [u8; 6],
    /// The host name that is sent to servers, at most 63 bytes.
    pub(crate) host_name: Option<String>,
}

/// A message to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) kind: Kind,
    pub(crate) transaction: u32,
    /// Seconds since the search began.
    pub(crate) seconds: u16,
    /// The address that the client has and uses; unspecified where it has none.
    pub(crate) own: Ipv4Addr,
    /// The address that it asks for.
    pub(crate) requested: Option<Ipv4Addr>,
    /// The server that is meant.
    pub(crate) server: Option<Ipv4Addr>,
}

impl Query {
    /// The message's bytes.
    pub(crate) fn encode(&self, client: &Client) -> Vec<u8> {
        let mut bytes = vec![REQUEST, ETHERNET, 6, 0];
        bytes.extend(self.transaction.to_be_bytes());
        bytes.extend(self.seconds.to_be_bytes());
        // flags: a packet socket takes unicasts, too
        bytes.extend([0; 2]);
        bytes.extend(self.own.octets());
        bytes.resize(28, 0);
        bytes.extend(client.hardware);
        bytes.resize(HEADER - COOKIE.len(), 0);
        bytes.extend(COOKIE);
        let mut option = |code: u8, value: &[u8]| {
            bytes.push(code);
            // every value here is shorter than 256 bytes
            bytes.push(u8::try_from(value.len()).unwrap_or(u8::MAX));
            bytes.extend(value);
        };
        option(code::KIND, &[self.kind.number()]);
        let mut identifier = vec![ETHERNET];
        identifier.extend(client.hardware);
        option(code::CLIENT, &identifier);
        if let Some(address) = self.requested {
            option(code::REQUESTED_ADDRESS, &address.octets());
        }
        if let Some(address) = self.server {
            option(code::SERVER, &address.octets());
        }
        if matches!(self.kind, Kind::Discover | Kind::Request) {
            option(code::MAXIMUM_SIZE, &1472_u16.to_be_bytes());
            option(code::PARAMETERS, &PARAMETERS);
            if let Some(name) = &client.host_name {
                option(code::HOST_NAME, name.as_bytes());
            }
        }
        bytes.push(code::END);
        bytes.resize(bytes.len().max(MINIMUM_LENGTH), 0);
        bytes
    }
}

/// A route of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OfferedRoute {
    /// The destination, as it was sent: bits behind the prefix may be set.
    pub(crate) destination: Ipv4Addr,
    /// Its prefix length, 0 to 32.
    pub(crate) prefix: u8,
    /// The router; unspecified: the link itself.
    pub(crate) router: Ipv4Addr,
}

/// A message of a server: what it says, and nothing made of it yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) kind: Kind,
    pub(crate) transaction: u32,
    pub(crate) hardware: [u8; 6],
    /// The address that it gives.
    pub(crate) address: Ipv4Addr,
    /// The server by option 54.
    pub(crate) server: Option<Ipv4Addr>,
    /// Where the packet came from.
    pub(crate) source: Ipv4Addr,
    pub(crate) mask: Option<Ipv4Addr>,
    pub(crate) routers: Vec<Ipv4Addr>,
    pub(crate) routes: Option<Vec<OfferedRoute>>,
    pub(crate) dns: Vec<Ipv4Addr>,
    pub(crate) search: Vec<String>,
    pub(crate) time_servers: Vec<Ipv4Addr>,
    pub(crate) mtu: Option<u16>,
    pub(crate) lease_time: Option<u32>,
    pub(crate) t1: Option<u32>,
    pub(crate) t2: Option<u32>,
    /// What a server says of its NAK.
    pub(crate) text: Option<String>,
    /// Codes of options that are malformed and were left out.
    pub(crate) malformed: Vec<u8>,
}

/// Joins the parts of each option in the order of their codes' first appearance (RFC 3396).
fn collect(area: &[u8], options: &mut Vec<(u8, Vec<u8>)>, cut: &mut Vec<u8>) {
    let mut rest = area;
    while let Some((&code, behind)) = rest.split_first() {
        match code {
            code::PAD => rest = behind,
            code::END => return,
            code => {
                let Some((&length, behind)) = behind.split_first() else {
                    return cut.push(code);
                };
                let Some((value, behind)) = behind.split_at_checked(length.into()) else {
                    return cut.push(code);
                };
                match options.iter_mut().find(|(other, _)| *other == code) {
                    Some((_, whole)) => whole.extend(value),
                    None => options.push((code, value.to_vec())),
                }
                rest = behind;
            }
        }
    }
}

fn addresses(value: &[u8]) -> Option<Vec<Ipv4Addr>> {
    let (whole, rest) = value.as_chunks::<4>();
    (rest.is_empty() && !whole.is_empty()).then(|| whole.iter().copied().map(Into::into).collect())
}

fn address(value: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(value).ok().map(Into::into)
}

fn number(value: &[u8]) -> Option<u32> {
    <[u8; 4]>::try_from(value).ok().map(u32::from_be_bytes)
}

/// RFC 3442: the prefix length, as many bytes of the destination as it needs, and the router. What comes before a
/// malformed entry counts.
fn classless(value: &[u8]) -> (Vec<OfferedRoute>, bool) {
    let mut routes = Vec::new();
    let mut rest = value;
    while let Some((&prefix, behind)) = rest.split_first() {
        let significant = usize::from(prefix).div_ceil(8);
        let parts = behind
            .split_at_checked(significant)
            .and_then(|(destination, behind)| {
                Some((destination, behind.split_first_chunk::<4>()?))
            });
        let Some((destination, (router, behind))) = parts.filter(|_| prefix <= 32) else {
            return (routes, false);
        };
        let mut octets = [0; 4];
        for (place, octet) in octets.iter_mut().zip(destination) {
            *place = *octet;
        }
        routes.push(OfferedRoute {
            destination: octets.into(),
            prefix,
            router: (*router).into(),
        });
        rest = behind;
    }
    (routes, true)
}

/// Names as in DNS (RFC 1035, section 4.1.4), compressed or not. None where one is malformed.
pub(crate) fn names(value: &[u8]) -> Option<Vec<String>> {
    /// More than any server sends, and a bound for pointers that lead in a circle.
    const STEPS: usize = 256;
    let mut names = Vec::new();
    let (mut start, mut steps) = (0, 0);
    while start < value.len() {
        let (mut at, mut name, mut end) = (start, String::new(), None);
        loop {
            steps += 1;
            let length = usize::from(*value.get(at).filter(|_| steps < STEPS)?);
            match length {
                0 => break,
                1..64 => {
                    let label = value.get(at + 1..at + 1 + length)?;
                    let text = std::str::from_utf8(label).ok()?;
                    if !name.is_empty() {
                        name.push('.');
                    }
                    name.push_str(text);
                    at += 1 + length;
                }
                0xc0.. => {
                    end.get_or_insert(at + 2);
                    at = (length & 0x3f) << 8 | usize::from(*value.get(at + 1)?);
                }
                _ => return None,
            }
        }
        start = end.unwrap_or(at + 1);
        names.push(name);
    }
    Some(names)
}

/// Whether a text can be a domain: labels of letters, digits, hyphens and underscores.
pub(crate) fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    text.len() <= 253 && text.split('.').all(label)
}

impl Reply {
    /// Reads a message. `source` is the address that its packet came from. None: it is no server's message, or has
    /// no kind that a client takes.
    pub(crate) fn decode(bytes: &[u8], source: Ipv4Addr) -> Option<Self> {
        let (header, area) = bytes.split_at_checked(HEADER)?;
        if header.first() != Some(&REPLY) || !header.ends_with(&COOKIE) {
            return None;
        }
        let (mut options, mut malformed) = (Vec::new(), Vec::new());
        collect(area, &mut options, &mut malformed);
        // the fields of a file's and a server's name can hold options, too (RFC 2132, section 9.3)
        let overload = options
            .iter()
            .find(|(code, _)| *code == code::OVERLOAD)
            .and_then(|(_, value)| value.first().copied())
            .unwrap_or(0);
        if overload & 1 != 0 {
            collect(header.get(108..236)?, &mut options, &mut malformed);
        }
        if overload & 2 != 0 {
            collect(header.get(44..108)?, &mut options, &mut malformed);
        }
        let mut reply = Self {
            kind: Kind::Discover,
            transaction: number(header.get(4..8)?)?,
            hardware: header.get(28..34)?.try_into().ok()?,
            address: address(header.get(16..20)?)?,
            server: None,
            source,
            mask: None,
            routers: Vec::new(),
            routes: None,
            dns: Vec::new(),
            search: Vec::new(),
            time_servers: Vec::new(),
            mtu: None,
            lease_time: None,
            t1: None,
            t2: None,
            text: None,
            malformed,
        };
        let mut kind = None;
        for (code, value) in &options {
            if *code == code::KIND {
                kind = Kind::from_number(*value.first()?);
            } else if reply.take(*code, value).is_none() {
                reply.malformed.push(*code);
            }
        }
        reply.kind = kind.filter(|kind| matches!(kind, Kind::Offer | Kind::Ack | Kind::Nak))?;
        Some(reply)
    }

    /// Takes one option. None: it is malformed.
    fn take(&mut self, code: u8, value: &[u8]) -> Option<()> {
        match code {
            code::MASK => self.mask = Some(address(value)?),
            code::ROUTER => self.routers = addresses(value)?,
            code::NAME_SERVERS => self.dns = addresses(value)?,
            code::TIME_SERVERS => self.time_servers = addresses(value)?,
            code::SERVER => self.server = Some(address(value)?),
            code::MTU => self.mtu = Some(u16::from_be_bytes(value.try_into().ok()?)),
            code::LEASE_TIME => self.lease_time = Some(number(value)?),
            code::T1 => self.t1 = Some(number(value)?),
            code::T2 => self.t2 = Some(number(value)?),
            code::TEXT => {
                let text = String::from_utf8_lossy(value);
                self.text = Some(
                    text.chars()
                        .filter(|char| !char.is_control())
                        .take(100)
                        .collect(),
                );
            }
            code::DOMAIN => {
                let text = std::str::from_utf8(value).ok()?;
                let text = text.trim_end_matches(['\0', '.']);
                // some servers put several there, as a search list
                let all: Vec<String> = text.split_ascii_whitespace().map(str::to_owned).collect();
                if !all.iter().all(|name| is_domain(name)) {
                    return None;
                }
                if self.search.is_empty() {
                    self.search = all;
                }
            }
            code::SEARCH => {
                let all = names(value)?;
                if !all.iter().all(|name| is_domain(name)) {
                    return None;
                }
                self.search = all;
            }
            code::CLASSLESS_ROUTES => {
                let (routes, whole) = classless(value);
                self.routes = Some(routes);
                if !whole {
                    return None;
                }
            }
            _ => {}
        }
        Some(())
    }
}

/// The sum of RFC 1071 over 16-bit words.
pub(crate) fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for part in parts {
        for pair in part.chunks(2) {
            let high = u32::from(pair.first().copied().unwrap_or(0));
            let low = u32::from(pair.get(1).copied().unwrap_or(0));
            sum += high << 8 | low;
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    // the sum is below 0x1_0000 after each step
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

/// A message to a server in its IPv4 packet.
pub(crate) fn packet(source: Ipv4Addr, target: Ipv4Addr, message: &[u8]) -> Vec<u8> {
    let udp_length = UDP_HEADER + message.len();
    // a query is shorter than 600 bytes
    let length = |value: usize| u16::try_from(value).unwrap_or(u16::MAX).to_be_bytes();
    let mut header = vec![0x45, 0xc0];
    header.extend(length(IPV4_HEADER + udp_length));
    header.extend([0, 0, 0, 0, 64, UDP, 0, 0]);
    header.extend(source.octets());
    header.extend(target.octets());
    let sum = checksum(&[&header]).to_be_bytes();
    header[10..12].copy_from_slice(&sum);
    let mut udp = Vec::new();
    udp.extend(CLIENT_PORT.to_be_bytes());
    udp.extend(SERVER_PORT.to_be_bytes());
    udp.extend(length(udp_length));
    udp.extend([0, 0]);
    let pseudo = [0, UDP];
    let sum = match checksum(&[
        &source.octets(),
        &target.octets(),
        &pseudo,
        &length(udp_length),
        &udp,
        message,
    ]) {
        0 => u16::MAX,
        sum => sum,
    };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    [&header, udp.as_slice(), message].concat()
}

/// The message in a received IPv4 packet, and where it comes from. UDP's checksum is not looked at: the kernel shows
/// packets of the same machine before it is filled in.
pub(crate) fn unpack(packet: &[u8]) -> Option<(Ipv4Addr, &[u8])> {
    let first = *packet.first()?;
    let header = usize::from(first & 15) * 4;
    let total = usize::from(u16::from_be_bytes(packet.get(2..4)?.try_into().ok()?));
    let fragment = u16::from_be_bytes(packet.get(6..8)?.try_into().ok()?) & 0x3fff;
    if first >> 4 != 4 || header < IPV4_HEADER || fragment != 0 || packet.get(9) != Some(&UDP) {
        return None;
    }
    let source = address(packet.get(12..16)?)?;
    let udp = packet.get(header..total)?;
    let port = u16::from_be_bytes(udp.get(2..4)?.try_into().ok()?);
    let length = usize::from(u16::from_be_bytes(udp.get(4..6)?.try_into().ok()?));
    let message = udp.get(UDP_HEADER..length)?;
    (port == CLIENT_PORT).then_some((source, message))
}

#[cfg(test)]
pub(super) mod tests;
