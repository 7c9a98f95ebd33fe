//! What a link is to have, wherever it comes from: a lease, router advertisements, the configuration.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use tokio::time::Instant;

/// The most routes, name servers or time servers that are taken from one source.
pub(crate) const MAXIMUM_LIST: usize = 16;

/// What one source says of a link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Addresses of the link.
    pub(crate) addresses: Vec<Address>,
    /// Routes by the link.
    pub(crate) routes: Vec<Route>,
    /// Name servers.
    pub(crate) dns: Vec<IpAddr>,
    /// Domains in which names are looked for.
    pub(crate) search: Vec<String>,
    /// Time servers.
    pub(crate) time_servers: Vec<IpAddr>,
    /// The link's MTU, where it isn't to stay.
    pub(crate) mtu: Option<u32>,
}

/// An address of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    /// The address.
    pub(crate) ip: IpAddr,
    /// Its prefix length: 1 to 32, or to 128.
    pub(crate) prefix: u8,
    /// When it ends; none: never. The kernel drops it by itself should no program be left to do so.
    pub(crate) ends: Option<Instant>,
}

/// A route by a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Route {
    /// The destination, without bits behind the prefix.
    pub(crate) destination: IpAddr,
    /// Its prefix length; 0 with an unspecified destination is the default route.
    pub(crate) prefix: u8,
    /// The gateway, which need not be in the link's own network; none: the link itself.
    pub(crate) gateway: Option<IpAddr>,
    /// The metric; none: that of the link.
    pub(crate) metric: Option<u32>,
}

impl Route {
    /// The default route by a gateway.
    pub(crate) const fn default_by(gateway: IpAddr) -> Self {
        let destination = match gateway {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Self {
            destination,
            prefix: 0,
            gateway: Some(gateway),
            metric: None,
        }
    }

    /// Whether it leads everywhere.
    pub(crate) const fn is_default(&self) -> bool {
        self.prefix == 0
    }
}

impl fmt::Display for Route {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_default() {
            formatter.write_str("default")?;
        } else {
            write!(formatter, "{}/{}", self.destination, self.prefix)?;
        }
        match self.gateway {
            Some(gateway) => write!(formatter, " by {gateway}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.ip, self.prefix)
    }
}

impl Address {
    /// Seconds until it ends; none: it does not.
    pub(crate) fn seconds_left(&self, now: Instant) -> Option<u32> {
        let left = self.ends?.saturating_duration_since(now);
        // a part of a second counts as one: zero would be no lifetime at all
        let left = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        Some(u32::try_from(left).unwrap_or(u32::MAX).max(1))
    }
}

/// How far a link's settings reach. A link of a higher class is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    /// No address.
    Nothing,
    /// Addresses of the link alone (RFC 3927, RFC 4291): there is nothing beyond it.
    LinkLocal,
    /// Such an address of IPv4, and a router all the same: there are networks that are made so, and translate it.
    LinkLocalRouted,
    /// An address, and no way beyond its own network.
    Network,
    /// A default route.
    Everywhere,
}

impl Settings {
    /// How far these settings reach.
    pub(crate) fn reach(&self) -> Reach {
        let local = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        if self.addresses.is_empty() {
            Reach::Nothing
        } else if self.addresses.iter().all(|address| local(address.ip)) {
            // of IPv6, the router is often there before its prefix
            let four = self.addresses.iter().any(|address| address.ip.is_ipv4());
            let router = |route: &Route| route.is_default() && route.destination.is_ipv4();
            match four && self.routes.iter().any(router) {
                true => Reach::LinkLocalRouted,
                false => Reach::LinkLocal,
            }
        } else if self.routes.iter().any(Route::is_default) {
            Reach::Everywhere
        } else {
            Reach::Network
        }
    }

    /// Takes in what another source says of the same link.
    pub(crate) fn extend(&mut self, other: &Self) {
        for address in &other.addresses {
            if !self.addresses.iter().any(|own| own.ip == address.ip) {
                self.addresses.push(*address);
            }
        }
        for route in &other.routes {
            let same = |own: &Route| {
                (own.destination, own.prefix, own.metric)
                    == (route.destination, route.prefix, route.metric)
            };
            if !self.routes.iter().any(same) {
                self.routes.push(*route);
            }
        }
        append(&mut self.dns, &other.dns);
        append(&mut self.search, &other.search);
        append(&mut self.time_servers, &other.time_servers);
        self.mtu = self.mtu.or(other.mtu);
    }

    /// When the first of the addresses ends; none: none of them does.
    pub(crate) fn ends(&self) -> Option<Instant> {
        self.addresses
            .iter()
            .filter_map(|address| address.ends)
            .min()
    }
}

/// Appends what is not there yet.
pub(crate) fn append<T: Clone + PartialEq>(list: &mut Vec<T>, more: &[T]) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

/// Whether a host can have this address on a network.
pub(crate) fn is_host(address: Ipv4Addr) -> bool {
    // 0.0.0.0/8 is "this host on this network" (RFC 1122), 240.0.0.0/4 reserved (RFC 1112)
    !matches!(address.octets()[0], 0 | 127 | 224..)
}

/// An address without the bits behind its prefix.
pub(crate) fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX
                .checked_shl(32_u32.saturating_sub(prefix.into()))
                .unwrap_or(0);
            IpAddr::V4((u32::from(address) & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX
                .checked_shl(128_u32.saturating_sub(prefix.into()))
                .unwrap_or(0);
            IpAddr::V6((u128::from(address) & mask).into())
        }
    }
}

/// An instant that may be too far for the clock: then it never comes.
pub(crate) fn after(now: Instant, wait: Duration) -> Option<Instant> {
    now.checked_add(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reach_of_link_local_addresses_needs_a_router_of_ipv4() {
        let with = |ip: &str, gateway: Option<&str>| {
            let ip: IpAddr = ip.parse().expect("an address");
            let gateway = gateway.map(|text| text.parse().expect("a gateway"));
            Settings {
                addresses: vec![Address {
                    ip,
                    prefix: 24,
                    ends: None,
                }],
                routes: gateway.map(Route::default_by).into_iter().collect(),
                ..Settings::default()
            }
            .reach()
        };
        assert_eq!(with("169.254.3.2", None), Reach::LinkLocal);
        let router = Some("169.254.3.1");
        assert_eq!(with("169.254.3.2", router), Reach::LinkLocalRouted);
        assert_eq!(with("fe80::2", Some("fe80::1")), Reach::LinkLocal);
        assert_eq!(with("10.0.0.2", None), Reach::Network);
        assert_eq!(with("10.0.0.2", Some("10.0.0.1")), Reach::Everywhere);
        assert!(Reach::LinkLocalRouted < Reach::Network);
    }
}
