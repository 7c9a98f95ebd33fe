//! Messages of DHCPv6 (RFC 8415, sections 8 and 21).

use std::net::Ipv6Addr;

use crate::dhcp4::{is_domain, names};
use crate::settings::MAXIMUM_LIST;

mod code {
    pub(super) const CLIENT: u16 = 1;
    pub(super) const SERVER: u16 = 2;
    pub(super) const IA_NA: u16 = 3;
    pub(super) const ADDRESS: u16 = 5;
    pub(super) const WANTED: u16 = 6;
    pub(super) const ELAPSED: u16 = 8;
    pub(super) const STATUS: u16 = 13;
    pub(super) const NAME_SERVERS: u16 = 23;
    pub(super) const SEARCH: u16 = 24;
    pub(super) const SNTP_SERVERS: u16 = 31;
    pub(super) const REFRESH: u16 = 32;
    pub(super) const NTP: u16 = 56;
}
/// The suboption of NTP that holds an address (RFC 5908).
const NTP_ADDRESS: u16 = 1;

/// The kind of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Solicit = 1,
    Advertise = 2,
    Request = 3,
    Renew = 5,
    Rebind = 6,
    Reply = 7,
    Information = 11,
}

/// An address with its preferred and its valid lifetime, in seconds.
pub(crate) type Leased = (Ipv6Addr, u32, u32);

/// A message to servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query<'a> {
    pub(crate) kind: Kind,
    /// Three bytes of it are sent.
    pub(crate) transaction: u32,
    pub(crate) hardware: [u8; 6],
    /// Hundredths of a second since the exchange began.
    pub(crate) elapsed: u16,
    /// The server that is meant.
    pub(crate) server: Option<&'a [u8]>,
    /// The addresses that are asked for; none: nothing but information.
    pub(crate) addresses: Option<&'a [Leased]>,
}

impl Query<'_> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let [_, transaction @ ..] = self.transaction.to_be_bytes();
        let mut bytes = vec![self.kind as u8];
        bytes.extend(transaction);
        let mut option = |code: u16, value: &[u8]| {
            bytes.extend(code.to_be_bytes());
            // a server's identifier was checked when it was read; every other value is short
            bytes.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
            bytes.extend(value);
        };
        // DUID-LL (section 11.4): the same at each boot, on a disk or none
        let mut identifier = vec![0, 3, 0, 1];
        identifier.extend(self.hardware);
        option(code::CLIENT, &identifier);
        if let Some(server) = self.server {
            option(code::SERVER, server);
        }
        if let Some(addresses) = self.addresses {
            let [_, _, association @ ..] = self.hardware;
            let mut value = association.to_vec();
            value.extend([0; 8]);
            for (address, _, _) in addresses {
                value.extend(code::ADDRESS.to_be_bytes());
                value.extend(24_u16.to_be_bytes());
                value.extend(address.octets());
                value.extend([0; 8]);
            }
            option(code::IA_NA, &value);
        }
        option(code::ELAPSED, &self.elapsed.to_be_bytes());
        let wanted: Vec<u8> = [
            code::NAME_SERVERS,
            code::SEARCH,
            code::SNTP_SERVERS,
            code::REFRESH,
            code::NTP,
        ]
        .iter()
        .flat_map(|code| code.to_be_bytes())
        .collect();
        option(code::WANTED, &wanted);
        bytes
    }
}

/// A message of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) kind: Kind,
    pub(crate) transaction: u32,
    /// The client's hardware address, by its identifier.
    pub(crate) hardware: Option<[u8; 6]>,
    /// The server's identifier: 1 to 130 bytes.
    pub(crate) server: Vec<u8>,
    pub(crate) addresses: Vec<Leased>,
    /// T1 and T2, in seconds; zero: as the client likes.
    pub(crate) times: (u32, u32),
    /// Whether the server refuses, and by which status code.
    pub(crate) refusal: Option<u16>,
    pub(crate) dns: Vec<Ipv6Addr>,
    pub(crate) search: Vec<String>,
    pub(crate) time_servers: Vec<Ipv6Addr>,
    /// When information is asked for again, in seconds.
    pub(crate) refresh: Option<u32>,
}

/// Options, one after the other; what is cut ends them.
fn options(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (head, behind) = rest.split_first_chunk::<4>()?;
        let [a, b, c, d] = *head;
        let (value, behind) = behind.split_at_checked(u16::from_be_bytes([c, d]).into())?;
        rest = behind;
        Some((u16::from_be_bytes([a, b]), value))
    })
}

fn number(value: &[u8]) -> Option<u32> {
    value
        .first_chunk::<4>()
        .map(|bytes| u32::from_be_bytes(*bytes))
}

fn addresses(value: &[u8]) -> Vec<Ipv6Addr> {
    let (all, _) = value.as_chunks::<16>();
    let all = all.iter().map(|octets| Ipv6Addr::from(*octets));
    all.filter(|ip| !ip.is_unspecified() && !ip.is_multicast() && !ip.is_loopback())
        .take(MAXIMUM_LIST)
        .collect()
}

fn status(value: &[u8]) -> Option<u16> {
    let code = value
        .first_chunk::<2>()
        .map(|bytes| u16::from_be_bytes(*bytes))?;
    (code != 0).then_some(code)
}

impl Reply {
    /// Reads a message; none: it is no server's, or lacks what each of them has. An option that is malformed is left
    /// out.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<4>()?;
        let [kind, a, b, c] = *head;
        let kind = match kind {
            2 => Kind::Advertise,
            7 => Kind::Reply,
            _ => return None,
        };
        let mut reply = Self {
            kind,
            transaction: u32::from_be_bytes([0, a, b, c]),
            hardware: None,
            server: Vec::new(),
            addresses: Vec::new(),
            times: (0, 0),
            refusal: None,
            dns: Vec::new(),
            search: Vec::new(),
            time_servers: Vec::new(),
            refresh: None,
        };
        for (code, value) in options(rest) {
            match code {
                code::CLIENT => reply.hardware = value.get(4..).and_then(|own| own.try_into().ok()),
                code::SERVER if (1..=130).contains(&value.len()) => reply.server = value.to_vec(),
                code::IA_NA => reply.association(value),
                code::STATUS => reply.refusal = reply.refusal.or(status(value)),
                code::NAME_SERVERS => reply.dns = addresses(value),
                code::SNTP_SERVERS if reply.time_servers.is_empty() => {
                    reply.time_servers = addresses(value)
                }
                code::NTP => {
                    let by_address = options(value).filter(|(code, _)| *code == NTP_ADDRESS);
                    reply.time_servers = by_address
                        .flat_map(|(_, value)| addresses(value))
                        .take(MAXIMUM_LIST)
                        .collect();
                }
                code::SEARCH => {
                    let all = names(value).unwrap_or_default();
                    reply.search = all
                        .into_iter()
                        .filter(|name| is_domain(name))
                        .take(MAXIMUM_LIST)
                        .collect();
                }
                code::REFRESH => reply.refresh = number(value),
                _ => {}
            }
        }
        (!reply.server.is_empty()).then_some(reply)
    }

    fn association(&mut self, value: &[u8]) {
        let (Some(t1), Some(t2), Some(rest)) = (
            value.get(4..).and_then(number),
            value.get(8..).and_then(number),
            value.get(12..),
        ) else {
            return;
        };
        self.times = (t1, t2);
        for (code, value) in options(rest) {
            match code {
                code::ADDRESS => {
                    let (Some(octets), Some(preferred), Some(valid)) = (
                        value.first_chunk::<16>(),
                        value.get(16..).and_then(number),
                        value.get(20..).and_then(number),
                    ) else {
                        continue;
                    };
                    let address = Ipv6Addr::from(*octets);
                    let host = !address.is_unspecified()
                        && !address.is_multicast()
                        && !address.is_loopback()
                        && !address.is_unicast_link_local();
                    // preferred over valid can't be (section 21.6), and a valid time of zero takes it back
                    if host
                        && preferred <= valid
                        && valid > 0
                        && self.addresses.len() < MAXIMUM_LIST
                    {
                        self.addresses.push((address, preferred, valid));
                    }
                }
                code::STATUS => self.refusal = self.refusal.or(status(value)),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A server's message.
    pub(crate) fn raw(kind: u8, transaction: u32, options: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend(&transaction.to_be_bytes()[1..]);
        for (code, value) in options {
            bytes.extend(code.to_be_bytes());
            bytes.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
            bytes.extend(value);
        }
        bytes
    }

    /// An association with one address.
    pub(crate) fn association(address: Ipv6Addr, t1: u32, t2: u32, valid: u32) -> (u16, Vec<u8>) {
        let mut value = vec![0; 4];
        value.extend(t1.to_be_bytes());
        value.extend(t2.to_be_bytes());
        value.extend([0, 5, 0, 24]);
        value.extend(address.octets());
        value.extend(valid.to_be_bytes());
        value.extend(valid.to_be_bytes());
        (3, value)
    }

    #[test]
    fn reply_is_read_and_what_can_t_be_is_left_out() {
        let address: Ipv6Addr = "2001:db8::50".parse().unwrap();
        let dns: Vec<u8> = ["2001:db8::53", "::"]
            .iter()
            .flat_map(|ip| ip.parse::<Ipv6Addr>().unwrap().octets())
            .collect();
        let bytes = raw(
            7,
            0x0102_0304,
            &[
                (1, vec![0, 3, 0, 1, 2, 0, 0, 0, 0, 1]),
                (2, vec![0, 1, 9]),
                association(address, 100, 200, 400),
                (23, dns),
                (24, b"\x07example\x03org\x00".to_vec()),
                (
                    56,
                    [
                        vec![0, 1, 0, 16],
                        "2001:db8::123"
                            .parse::<Ipv6Addr>()
                            .unwrap()
                            .octets()
                            .to_vec(),
                    ]
                    .concat(),
                ),
            ],
        );
        let reply = Reply::decode(&bytes).expect("a reply");
        assert_eq!(
            (reply.transaction, reply.hardware),
            (0x0002_0304, Some([2, 0, 0, 0, 0, 1]))
        );
        assert_eq!(reply.addresses, [(address, 400, 400)]);
        assert_eq!(
            (
                reply.dns.len(),
                reply.search.len(),
                reply.time_servers.len()
            ),
            (1, 1, 1)
        );
        assert_eq!((reply.times, reply.refusal), ((100, 200), None));
        let local = raw(
            7,
            1,
            &[
                (2, vec![1]),
                association("fe80::1".parse().unwrap(), 0, 0, 9),
                (13, vec![0, 2]),
            ],
        );
        let reply = Reply::decode(&local).expect("a reply");
        assert_eq!((reply.addresses.len(), reply.refusal), (0, Some(2)));
        assert_eq!(Reply::decode(&raw(7, 1, &[])), None, "no server");
    }

    #[test]
    fn query_has_these_bytes() {
        let query = Query {
            kind: Kind::Solicit,
            transaction: 0x0102_0304,
            hardware: [2, 0, 0, 0, 0, 1],
            elapsed: 100,
            server: None,
            addresses: Some(&[]),
        };
        let bytes = query.encode();
        assert_eq!(
            &bytes[..18],
            &[1, 2, 3, 4, 0, 1, 0, 10, 0, 3, 0, 1, 2, 0, 0, 0, 0, 1]
        );
        assert_eq!(
            &bytes[18..34],
            &[0, 3, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]
        );
    }

    proptest! {
        #[test]
        fn decoding_takes_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Reply::decode(&bytes);
            let mut reply = raw(7, 1, &[(2, vec![1])]);
            reply.extend(bytes);
            prop_assert!(Reply::decode(&reply).is_some());
        }
    }
}
