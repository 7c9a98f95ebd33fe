//! A lease: what a server's message comes to, option by option.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use thiserror::Error;

use super::message::Reply;
use crate::settings::{MAXIMUM_LIST, Route, is_host, masked};

/// The lease time where a server names none: an hour, as other clients have it.
const DEFAULT_LEASE: Duration = Duration::from_secs(3600);
/// The shortest lease that is followed: shorter ones would be nothing but renewals.
const SHORTEST_LEASE: Duration = Duration::from_secs(10);
/// The time of a lease that has no end (RFC 2131, section 3.3).
const INFINITE: u32 = u32::MAX;
/// The smallest MTU that an IPv4 host must take (RFC 791), and the largest of Ethernet's jumbo frames.
const MTU_BOUNDS: std::ops::RangeInclusive<u16> = 576..=9216;

/// Why a server's message gives no lease.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Unusable {
    /// No host can have that address.
    #[error("{0} is no address of a host")]
    Address(Ipv4Addr),
}

/// When a lease is renewed, and when it ends, counted from the request (RFC 2131, section 4.4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    /// When its server is asked for more time.
    pub(crate) renew: Duration,
    /// When any server is.
    pub(crate) rebind: Duration,
    /// When it ends.
    pub(crate) end: Duration,
}

/// An address and what comes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) address: Ipv4Addr,
    /// The prefix length, 1 to 32.
    pub(crate) prefix: u8,
    pub(crate) routes: Vec<Route>,
    pub(crate) dns: Vec<IpAddr>,
    pub(crate) search: Vec<String>,
    pub(crate) time_servers: Vec<IpAddr>,
    /// The link's MTU, where the server names one.
    pub(crate) mtu: Option<u32>,
    /// The server that is asked for more time.
    pub(crate) server: Ipv4Addr,
    /// None: it has no end.
    pub(crate) times: Option<Times>,
}

/// The prefix length of an address's class (RFC 791), for a server that sends no mask.
fn class(address: Ipv4Addr) -> u8 {
    match address.octets()[0] {
        0..128 => 8,
        128..192 => 16,
        192.. => 24,
    }
}

impl Lease {
    /// The lease of a message, and what of it is not followed, a sentence each.
    ///
    /// # Errors
    /// [`Unusable`]: without its address there is nothing.
    pub(crate) fn from_reply(reply: &Reply) -> Result<(Self, Vec<String>), Unusable> {
        let address = reply.address;
        if !is_host(address) {
            return Err(Unusable::Address(address));
        }
        let mut notes: Vec<String> = reply
            .malformed
            .iter()
            .map(|code| format!("option {code} is malformed and left out"))
            .collect();
        let prefix = prefix(reply, &mut notes);
        let routes = routes(reply, &mut notes);
        let mut take = |name: &str, list: &[Ipv4Addr]| -> Vec<IpAddr> {
            let (good, bad): (Vec<Ipv4Addr>, Vec<Ipv4Addr>) =
                // a name server on the node itself is none of a network's business
                list.iter().copied().partition(|address| is_host(*address));
            if let Some(bad) = bad.first() {
                notes.push(format!("{bad} can't be a {name} and is left out"));
            }
            good.into_iter()
                .take(MAXIMUM_LIST)
                .map(IpAddr::V4)
                .collect()
        };
        let dns = take("name server", &reply.dns);
        let time_servers = take("time server", &reply.time_servers);
        if dns.is_empty() {
            notes.push("no name server is named".to_owned());
        }
        let mtu = reply.mtu.filter(|mtu| MTU_BOUNDS.contains(mtu));
        if let (Some(wrong), None) = (reply.mtu, mtu) {
            notes.push(format!("an MTU of {wrong} can't be and is left out"));
        }
        let lease = Self {
            address,
            prefix,
            routes,
            dns,
            search: reply.search.iter().take(MAXIMUM_LIST).cloned().collect(),
            time_servers,
            mtu: mtu.map(u32::from),
            // a server that does not name itself is the one that the packet came from
            server: reply
                .server
                .filter(|server| is_host(*server))
                .unwrap_or(reply.source),
            times: times(reply, &mut notes),
        };
        Ok((lease, notes))
    }
}

fn prefix(reply: &Reply, notes: &mut Vec<String>) -> u8 {
    let by_class = class(reply.address);
    let Some(mask) = reply.mask else {
        notes.push(format!(
            "no subnet mask is named; the prefix length is {by_class}, by the address's class"
        ));
        return by_class;
    };
    let bits = u32::from(mask);
    if bits != 0 && bits.leading_ones() + bits.trailing_zeros() >= 32 {
        return u8::try_from(bits.leading_ones()).unwrap_or(by_class);
    }
    notes.push(format!(
        "{mask} is no subnet mask; the prefix length is {by_class}, by the address's class"
    ));
    by_class
}

/// RFC 3442: who gets classless routes ignores the router.
fn routes(reply: &Reply, notes: &mut Vec<String>) -> Vec<Route> {
    let usable = |router: Ipv4Addr| is_host(router) && router != reply.address;
    let Some(offered) = &reply.routes else {
        let router = reply.routers.iter().copied().find(|router| usable(*router));
        if let (Some(wrong), None) = (reply.routers.first(), router) {
            notes.push(format!("{wrong} can't be a router and is left out"));
        }
        return router
            .map(|router| Route::default_by(IpAddr::V4(router)))
            .into_iter()
            .collect();
    };
    if offered.len() > MAXIMUM_LIST {
        notes.push(format!(
            "{} routes are named; the first {MAXIMUM_LIST} are taken",
            offered.len()
        ));
    }
    let mut routes: Vec<Route> = Vec::new();
    for route in offered.iter().take(MAXIMUM_LIST) {
        let destination = masked(IpAddr::V4(route.destination), route.prefix);
        if destination != IpAddr::V4(route.destination) {
            notes.push(format!(
                "the route to {}/{} is taken as one to {destination}/{}",
                route.destination, route.prefix, route.prefix
            ));
        }
        let gateway = match route.router {
            router if router.is_unspecified() => None,
            router if usable(router) => Some(IpAddr::V4(router)),
            router => {
                notes.push(format!(
                    "the route to {destination}/{} by {router} can't be and is left out",
                    route.prefix
                ));
                continue;
            }
        };
        // the first of several to one destination counts
        if !routes
            .iter()
            .any(|other| (other.destination, other.prefix) == (destination, route.prefix))
        {
            routes.push(Route {
                destination,
                prefix: route.prefix,
                gateway,
                metric: None,
            });
        }
    }
    routes
}

fn times(reply: &Reply, notes: &mut Vec<String>) -> Option<Times> {
    let end = match reply.lease_time {
        Some(INFINITE) => return None,
        Some(seconds) => Duration::from_secs(seconds.into()),
        None => {
            notes.push(format!(
                "no lease time is named; it is taken as {} s",
                DEFAULT_LEASE.as_secs()
            ));
            DEFAULT_LEASE
        }
    };
    if end < SHORTEST_LEASE {
        notes.push(format!(
            "a lease of {} s is taken as one of {} s",
            end.as_secs(),
            SHORTEST_LEASE.as_secs()
        ));
    }
    let end = end.max(SHORTEST_LEASE);
    let default_renew = end / 2;
    let default_rebind = end * 7 / 8;
    let second = Duration::from_secs(1);
    let given = |seconds: Option<u32>| seconds.map(|seconds| Duration::from_secs(seconds.into()));
    let rebind = given(reply.t2).unwrap_or(default_rebind);
    let by_rebind = given(reply.t2).map_or(default_renew, |rebind| default_renew.min(rebind / 2));
    let renew = given(reply.t1).unwrap_or(by_rebind);
    // T1 is before T2, and T2 before the end
    let in_order = renew >= second && renew < rebind && rebind < end;
    if in_order {
        return Some(Times { renew, rebind, end });
    }
    notes.push(format!(
        "the times {} s and {} s of a lease of {} s are not in order; the defaults are taken",
        renew.as_secs(),
        rebind.as_secs(),
        end.as_secs()
    ));
    Some(Times {
        renew: default_renew,
        rebind: default_rebind,
        end,
    })
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::raw;
    use super::*;

    fn lease(address: [u8; 4], options: &[(u8, &[u8])]) -> Result<(Lease, Vec<String>), Unusable> {
        let bytes = raw(5, address, options);
        let reply = Reply::decode(&bytes, Ipv4Addr::new(10, 0, 0, 1)).expect("a message");
        Lease::from_reply(&reply)
    }

    fn seconds(times: Option<Times>) -> Option<(u64, u64, u64)> {
        times.map(|times| {
            (
                times.renew.as_secs(),
                times.rebind.as_secs(),
                times.end.as_secs(),
            )
        })
    }

    const OWN: [u8; 4] = [10, 0, 0, 50];
    const HOUR: (u8, &[u8]) = (51, &[0, 0, 14, 16]);

    #[test]
    fn address_that_no_host_can_have_is_refused() {
        for address in [
            [0, 0, 0, 0],
            [127, 0, 0, 1],
            [224, 0, 0, 1],
            [255, 255, 255, 255],
            [0, 1, 2, 3],
        ] {
            assert!(lease(address, &[HOUR]).is_err(), "{address:?}");
        }
    }

    #[test]
    fn wrong_options_leave_the_address_and_are_named() {
        let options: [(u8, &[u8]); 5] = [
            (1, &[255, 0, 255, 0]),
            (3, &OWN),
            (6, &[0; 4]),
            (26, &[0, 68]),
            HOUR,
        ];
        let (wrong, notes) = lease(OWN, &options).expect("usable");
        assert_eq!((wrong.prefix, wrong.mtu), (8, None));
        assert!(wrong.routes.is_empty() && wrong.dns.is_empty());
        assert_eq!(notes.len(), 5, "{notes:?}");
        let (lease, _) = lease([192, 168, 7, 9], &[]).expect("usable");
        assert_eq!(
            (lease.prefix, lease.server),
            (24, Ipv4Addr::new(10, 0, 0, 1))
        );
    }

    #[test]
    fn classless_routes_are_masked_and_bad_ones_left_out() {
        let (lease, notes) = lease(
            OWN,
            &[
                (1, &[255, 255, 255, 0]),
                (3, &[10, 0, 0, 9]),
                (6, &[10, 0, 0, 1]),
                (
                    121,
                    &[
                        0, 10, 0, 0, 1, 20, 10, 8, 0x11, 10, 0, 0, 1, 24, 192, 168, 9, 10, 0, 0,
                        50, 32, 10, 0, 0, 1, 0, 0, 0, 0,
                    ],
                ),
                HOUR,
            ],
        )
        .expect("usable");
        let shown: Vec<String> = lease.routes.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "default by 10.0.0.1",
                "10.8.16.0/20 by 10.0.0.1",
                "10.0.0.1/32"
            ]
        );
        assert_eq!(notes.len(), 2, "{notes:?}");
    }

    #[test]
    fn times_that_are_not_in_order_are_the_defaults() {
        let be = u32::to_be_bytes;
        for (end, t1, t2, expected) in [
            (3600, Some(1800), Some(3600), (1800, 3150, 3600)),
            (3600, None, None, (1800, 3150, 3600)),
            (3600, Some(900), Some(900), (1800, 3150, 3600)),
            (3600, Some(5000), Some(6000), (1800, 3150, 3600)),
            (3600, Some(0), Some(0), (1800, 3150, 3600)),
            (3600, Some(600), Some(1200), (600, 1200, 3600)),
            (3600, None, Some(1000), (500, 1000, 3600)),
            (3600, Some(u32::MAX), Some(u32::MAX), (1800, 3150, 3600)),
            (1, None, None, (5, 8, 10)),
        ] {
            let (end, t1, t2): (_, Option<u32>, Option<u32>) = (be(end), t1, t2);
            let (t1, t2) = (t1.map(be), t2.map(be));
            let mut options: Vec<(u8, &[u8])> = vec![(51, &end)];
            options.extend(t1.as_ref().map(|value| (58, value.as_slice())));
            options.extend(t2.as_ref().map(|value| (59, value.as_slice())));
            let (lease, _) = lease(OWN, &options).expect("usable");
            assert_eq!(seconds(lease.times), Some(expected), "{options:?}");
        }
        let (lease, _) = lease(OWN, &[(51, &[255; 4])]).expect("usable");
        assert_eq!(lease.times, None);
    }
}
