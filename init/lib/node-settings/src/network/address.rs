//! Addresses with their prefix lengths in the settings.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use wire::InvalidName;

use super::as_text;

as_text!(Ipv4Cidr);
as_text!(Ipv6Cidr);
as_text!(Destination);

/// A host's IPv4 address with its prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ipv4Cidr {
    /// The address: neither that of the network nor its broadcast address.
    pub address: Ipv4Addr,
    /// The prefix length, from 1 to 32.
    pub prefix: u8,
}

impl Ipv4Cidr {
    /// What [`FromStr`] takes.
    pub const EXPECTED: &str =
        "a host's IPv4 address and its prefix length, such as \"192.0.2.10/24\"";

    fn mask(&self) -> u32 {
        u32::MAX
            .checked_shl(32 - u32::from(self.prefix))
            .unwrap_or(0)
    }

    /// Whether an address is of this network.
    #[must_use]
    pub fn contains(&self, other: Ipv4Addr) -> bool {
        u32::from(self.address) & self.mask() == u32::from(other) & self.mask()
    }

    /// Whether an address can be that of a host: one that a host can have at all and, in this network, neither the
    /// network's own nor its broadcast address. Networks of one or two addresses have neither (RFC 3021).
    #[must_use]
    pub fn can_be_host(&self, other: Ipv4Addr) -> bool {
        let host_bits = u32::from(other) & !self.mask();
        let reserved = self.prefix < 31
            && self.contains(other)
            && (host_bits == 0 || host_bits == !self.mask());
        // 0.0.0.0/8 is "this host on this network" (RFC 1122), 240.0.0.0/4 reserved (RFC 1112)
        !reserved && !matches!(other.octets()[0], 0 | 127 | 224..)
    }
}

/// Address and prefix length of a text, which has no more than them.
fn split<T: FromStr>(text: &str) -> Option<(T, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
    Some((
        address.parse().ok()?,
        prefix.parse().ok().filter(|_| digits)?,
    ))
}

impl FromStr for Ipv4Cidr {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let read = || {
            let (address, prefix) = split(text)?;
            let own = Self { address, prefix };
            ((1..=32).contains(&prefix) && own.can_be_host(address)).then_some(own)
        };
        read().ok_or(InvalidName {
            expected: Self::EXPECTED,
        })
    }
}

impl fmt::Display for Ipv4Cidr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix)
    }
}

/// A host's IPv6 address with its prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ipv6Cidr {
    /// The address.
    pub address: Ipv6Addr,
    /// The prefix length, from 1 to 128.
    pub prefix: u8,
}

impl Ipv6Cidr {
    /// What [`FromStr`] takes.
    pub const EXPECTED: &str =
        "a host's IPv6 address and its prefix length, such as \"2001:db8::10/64\"";

    /// Whether an address is of this network.
    #[must_use]
    pub fn contains(&self, other: Ipv6Addr) -> bool {
        let mask = u128::MAX
            .checked_shl(128 - u32::from(self.prefix))
            .unwrap_or(0);
        u128::from(self.address) & mask == u128::from(other) & mask
    }
}

/// Whether an IPv6 address can be that of a host beyond the link.
fn is_host_v6(address: Ipv6Addr) -> bool {
    !address.is_unspecified()
        && !address.is_loopback()
        && !address.is_multicast()
        && !address.is_unicast_link_local()
        && address.to_ipv4_mapped().is_none()
}

impl FromStr for Ipv6Cidr {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let read = || {
            let (address, prefix) = split(text)?;
            let usable = (1..=128).contains(&prefix) && is_host_v6(address);
            usable.then_some(Self { address, prefix })
        };
        read().ok_or(InvalidName {
            expected: Self::EXPECTED,
        })
    }
}

impl fmt::Display for Ipv6Cidr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix)
    }
}

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Destination {
    /// The network, without bits behind its prefix.
    pub network: IpAddr,
    /// The prefix length, from 0 to 32 or 128.
    pub prefix: u8,
}

impl Destination {
    /// What [`FromStr`] takes.
    pub const EXPECTED: &str = "a network and its prefix length, without bits behind the prefix, such as \
                                \"198.51.100.0/24\"";
}

impl FromStr for Destination {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let read = || {
            let (network, prefix): (IpAddr, u8) = split(text)?;
            let (bits, length) = match network {
                IpAddr::V4(address) => (u128::from(u32::from(address)) << 96, 32),
                IpAddr::V6(address) => (u128::from(address), 128),
            };
            let behind = bits.checked_shl(prefix.into()).unwrap_or(0);
            let usable = prefix <= length && behind == 0 && !network.is_multicast();
            usable.then_some(Self { network, prefix })
        };
        read().ok_or(InvalidName {
            expected: Self::EXPECTED,
        })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.network, self.prefix)
    }
}
