//! What a link is set to, wherever it comes from.

use std::net::Ipv4Addr;

use mozim::DhcpV4Lease;
use node_settings::{Ipv4Cidr, NetworkMethod};

/// The smallest MTU that IPv4 hosts must take (RFC 791) and the largest that Ethernet carries as
/// jumbo frames: an offer outside is not followed.
const MTU_BOUNDS: std::ops::RangeInclusive<u16> = 576..=9216;

/// The most routes, name servers or time servers that are taken from one lease.
const MAXIMUM_LIST: usize = 16;

/// Addresses and routes of the one link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The link's address.
    pub(crate) address: Ipv4Addr,
    /// Its prefix length, 1 to 32.
    pub(crate) prefix: u8,
    /// Routes by gateway; the default route is `0.0.0.0/0`.
    pub(crate) routes: Vec<Route>,
    /// Name servers.
    pub(crate) dns: Vec<Ipv4Addr>,
    /// Time servers.
    pub(crate) time_servers: Vec<Ipv4Addr>,
    /// The link's MTU, where it isn't to stay.
    pub(crate) mtu: Option<u16>,
    /// Seconds until the kernel drops the address by itself; none: never.
    pub(crate) lifetime: Option<u32>,
}

/// A route by a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    /// The destination.
    pub(crate) destination: Ipv4Addr,
    /// Its prefix length, 0 to 32.
    pub(crate) prefix: u8,
    /// The gateway; unspecified: the link itself.
    pub(crate) gateway: Ipv4Addr,
}

impl Route {
    const fn default_by(gateway: Ipv4Addr) -> Self {
        Self {
            destination: Ipv4Addr::UNSPECIFIED,
            prefix: 0,
            gateway,
        }
    }
}

impl Settings {
    /// The settings of a configuration without DHCP; `None` for one with it.
    pub(crate) fn from_configuration(method: &NetworkMethod) -> Option<Self> {
        let NetworkMethod::Static {
            address: Ipv4Cidr { address, prefix },
            gateway,
        } = method
        else {
            return None;
        };
        Some(Self {
            address: *address,
            prefix: *prefix,
            routes: gateway.iter().copied().map(Route::default_by).collect(),
            dns: Vec::new(),
            time_servers: Vec::new(),
            mtu: None,
            lifetime: None,
        })
    }

    /// The settings of a lease; `None` where its address or mask can't be used.
    pub(crate) fn from_lease(lease: &DhcpV4Lease) -> Option<Self> {
        let mask = u32::from(lease.subnet_mask);
        let contiguous = mask.leading_ones() + mask.trailing_zeros() == 32;
        let usable = !lease.yiaddr.is_unspecified()
            && !lease.yiaddr.is_loopback()
            && !lease.yiaddr.is_multicast()
            && !lease.yiaddr.is_broadcast();
        if !usable || mask == 0 || !contiguous {
            return None;
        }
        // RFC 3442: a client that gets classless routes ignores the router option
        let routes = match &lease.classless_routes {
            Some(routes) => routes
                .iter()
                .take(MAXIMUM_LIST)
                .filter(|route| route.prefix_length <= 32)
                .map(|route| Route {
                    destination: route.destination,
                    prefix: route.prefix_length,
                    gateway: route.router,
                })
                .collect(),
            None => {
                let first = lease.gateways.as_deref().unwrap_or_default().first();
                first.copied().map(Route::default_by).into_iter().collect()
            }
        };
        let take = |list: &Option<Vec<Ipv4Addr>>| -> Vec<Ipv4Addr> {
            let list = list.as_deref().unwrap_or_default().iter();
            list.filter(|address| !address.is_unspecified())
                .take(MAXIMUM_LIST)
                .copied()
                .collect()
        };
        Some(Self {
            address: lease.yiaddr,
            prefix: lease.prefix_length(),
            routes,
            dns: take(&lease.dns_srvs),
            time_servers: take(&lease.ntp_srvs),
            mtu: lease.mtu.filter(|mtu| MTU_BOUNDS.contains(mtu)),
            lifetime: Some(lease.lease_time_sec),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mozim::DhcpV4ClasslessRoute;

    fn lease() -> DhcpV4Lease {
        let mut lease = DhcpV4Lease::default();
        lease.yiaddr = Ipv4Addr::new(10, 0, 2, 15);
        lease.subnet_mask = Ipv4Addr::new(255, 255, 255, 0);
        lease.lease_time_sec = 3600;
        lease.gateways = Some(vec![Ipv4Addr::new(10, 0, 2, 2), Ipv4Addr::new(10, 0, 2, 9)]);
        lease
    }

    #[test]
    fn the_first_router_is_the_default_route() {
        let settings = Settings::from_lease(&lease()).expect("usable");
        assert_eq!(settings.prefix, 24);
        assert_eq!(
            settings.routes,
            [Route::default_by(Ipv4Addr::new(10, 0, 2, 2))]
        );
        assert_eq!(settings.lifetime, Some(3600));
    }

    #[test]
    fn classless_routes_replace_the_router() {
        let mut lease = lease();
        let router = Ipv4Addr::new(10, 0, 2, 3);
        lease.classless_routes = Some(vec![DhcpV4ClasslessRoute {
            destination: Ipv4Addr::new(192, 0, 2, 0),
            prefix_length: 24,
            router,
        }]);
        let settings = Settings::from_lease(&lease).expect("usable");
        assert_eq!(settings.routes.len(), 1);
        assert_eq!(settings.routes[0].gateway, router);
        assert_eq!(settings.routes[0].prefix, 24);
    }

    #[test]
    fn what_a_server_must_not_say_is_not_followed() {
        for (address, mask) in [
            ([0, 0, 0, 0], [255, 255, 255, 0]),
            ([127, 0, 0, 1], [255, 255, 255, 0]),
            ([224, 0, 0, 1], [255, 255, 255, 0]),
            ([10, 0, 2, 15], [0, 0, 0, 0]),
            ([10, 0, 2, 15], [255, 0, 255, 0]),
        ] {
            let mut lease = lease();
            lease.yiaddr = address.into();
            lease.subnet_mask = mask.into();
            assert_eq!(Settings::from_lease(&lease), None, "{address:?} {mask:?}");
        }
        let mut lease = lease();
        lease.mtu = Some(68);
        lease.dns_srvs = Some(vec![Ipv4Addr::UNSPECIFIED; 99]);
        lease.ntp_srvs = Some(vec![Ipv4Addr::new(10, 0, 2, 4); 99]);
        let settings = Settings::from_lease(&lease).expect("usable");
        assert_eq!(settings.mtu, None);
        assert!(settings.dns.is_empty());
        assert_eq!(settings.time_servers.len(), MAXIMUM_LIST);
    }

    #[test]
    fn a_configured_address() {
        let method = NetworkMethod::Static {
            address: Ipv4Cidr {
                address: Ipv4Addr::new(192, 0, 2, 10),
                prefix: 28,
            },
            gateway: None,
        };
        let settings = Settings::from_configuration(&method).expect("static");
        assert!(settings.routes.is_empty() && settings.lifetime.is_none());
        assert_eq!(Settings::from_configuration(&NetworkMethod::Dhcp), None);
    }
}
