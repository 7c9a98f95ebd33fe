//! What a link is to have beside what the kernel has: the differences, one by one.

use std::net::IpAddr;

use tokio::time::Instant;

use crate::settings::{Address, Route, Settings};

/// Lifetimes that differ by no more than this, in seconds, are the same: some time passes between reading and
/// writing.
const LIFETIME_SLACK: u32 = 2;

/// What the kernel has of a link, as far as it is netd's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) mtu: u32,
    pub(crate) addresses: Vec<ObservedAddress>,
    /// With metrics.
    pub(crate) routes: Vec<Route>,
}

/// An address that a link has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ObservedAddress {
    pub(crate) ip: IpAddr,
    pub(crate) prefix: u8,
    /// Seconds until the kernel drops it; none: never.
    pub(crate) seconds: Option<u32>,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    SetMtu(u32),
    /// Adds an address, or gives it another lifetime.
    SetAddress(ObservedAddress),
    /// Adds a route, in place of one with the same destination and metric.
    SetRoute(Route),
    RemoveRoute(Route),
    RemoveAddress(ObservedAddress),
}

impl Operation {
    /// Whether it is the same step as another, whenever they were planned.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::SetAddress(one), Self::SetAddress(other))
            | (Self::RemoveAddress(one), Self::RemoveAddress(other)) => {
                (one.ip, one.prefix) == (other.ip, other.prefix)
            }
            (one, other) => one == other,
        }
    }

    /// Whether a link is of no use without it.
    pub(crate) const fn is_required(&self) -> bool {
        matches!(self, Self::SetAddress(_))
    }
}

impl std::fmt::Display for Operation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SetMtu(mtu) => write!(formatter, "the MTU {mtu}"),
            Self::SetAddress(address) => {
                write!(formatter, "the address {}/{}", address.ip, address.prefix)
            }
            Self::SetRoute(route) => write!(formatter, "the route {route}"),
            Self::RemoveRoute(route) => write!(formatter, "the end of the route {route}"),
            Self::RemoveAddress(address) => {
                write!(
                    formatter,
                    "the end of the address {}/{}",
                    address.ip, address.prefix
                )
            }
        }
    }
}

/// What a link is to have, in the kernel's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Desired {
    /// The MTU: what is asked for, or what the link had at first.
    pub(crate) mtu: u32,
    pub(crate) addresses: Vec<Address>,
    /// With metrics.
    pub(crate) routes: Vec<Route>,
}

impl Desired {
    /// From what all sources say of a link, its first MTU, and the metric of its routes.
    pub(crate) fn new(settings: &Settings, first_mtu: u32, metric: u32) -> Self {
        let routes = settings.routes.iter().map(|route| Route {
            metric: Some(route.metric.unwrap_or(metric)),
            ..*route
        });
        Self {
            mtu: settings.mtu.unwrap_or(first_mtu),
            addresses: settings.addresses.clone(),
            routes: routes.collect(),
        }
    }
}

/// The steps from one to the other. What is new comes before what goes, so that a link is never without an address
/// in between; what was refused before is not tried again.
pub(crate) fn steps(
    desired: &Desired,
    observed: &Observed,
    refused: &[Operation],
    now: Instant,
) -> Vec<Operation> {
    let mut steps = Vec::new();
    if desired.mtu != observed.mtu {
        steps.push(Operation::SetMtu(desired.mtu));
    }
    for address in &desired.addresses {
        let wanted = ObservedAddress {
            ip: address.ip,
            prefix: address.prefix,
            seconds: address.seconds_left(now),
        };
        let is_there = observed.addresses.iter().any(|other| {
            let same_time = match (wanted.seconds, other.seconds) {
                (None, None) => true,
                (Some(wanted), Some(other)) => wanted.abs_diff(other) <= LIFETIME_SLACK,
                _ => false,
            };
            (other.ip, other.prefix) == (wanted.ip, wanted.prefix) && same_time
        });
        if !is_there {
            steps.push(Operation::SetAddress(wanted));
        }
    }
    // a gateway may be reached by a route of the same list
    let (by_link, by_gateway): (Vec<Route>, Vec<Route>) = desired
        .routes
        .iter()
        .copied()
        .partition(|route| route.gateway.is_none());
    for route in by_link.into_iter().chain(by_gateway) {
        if !observed.routes.contains(&route) {
            steps.push(Operation::SetRoute(route));
        }
    }
    for route in &observed.routes {
        let replaced = desired.routes.iter().any(|other| {
            (other.destination, other.prefix, other.metric)
                == (route.destination, route.prefix, route.metric)
        });
        if !replaced {
            steps.push(Operation::RemoveRoute(*route));
        }
    }
    for address in &observed.addresses {
        let wanted = |other: &Address| (other.ip, other.prefix) == (address.ip, address.prefix);
        if !desired.addresses.iter().any(wanted) {
            steps.push(Operation::RemoveAddress(*address));
        }
    }
    steps.retain(|step| !refused.iter().any(|other| other.is_like(step)));
    steps
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// The kernel's rules, as far as they matter here.
    #[derive(Debug)]
    struct Kernel {
        observed: Observed,
        largest_mtu: u32,
    }

    impl Kernel {
        fn carry_out(&mut self, operation: Operation) -> bool {
            match operation {
                Operation::SetMtu(mtu) => {
                    if mtu > self.largest_mtu {
                        return false;
                    }
                    self.observed.mtu = mtu;
                }
                Operation::SetAddress(address) => {
                    self.observed
                        .addresses
                        .retain(|other| (other.ip, other.prefix) != (address.ip, address.prefix));
                    self.observed.addresses.push(address);
                }
                Operation::SetRoute(route) => {
                    // a gateway that is the node itself is refused, and so is one without any address
                    let own = |address: &ObservedAddress| Some(address.ip) == route.gateway;
                    if self.observed.addresses.is_empty() || self.observed.addresses.iter().any(own)
                    {
                        return false;
                    }
                    self.observed.routes.retain(|other| {
                        (other.destination, other.prefix, other.metric)
                            != (route.destination, route.prefix, route.metric)
                    });
                    self.observed.routes.push(route);
                }
                Operation::RemoveRoute(route) => {
                    self.observed.routes.retain(|other| *other != route)
                }
                Operation::RemoveAddress(address) => {
                    let count = self.observed.addresses.len();
                    self.observed
                        .addresses
                        .retain(|other| (other.ip, other.prefix) != (address.ip, address.prefix));
                    if self.observed.addresses.is_empty() && count > 0 {
                        self.observed.routes.clear();
                    }
                }
            }
            true
        }

        /// As `Links::reconcile` does it.
        fn reconcile(&mut self, desired: &Desired, now: Instant) -> Vec<Operation> {
            let mut refused = Vec::new();
            for _ in 0..4 {
                let had = !self.observed.addresses.is_empty() && !desired.addresses.is_empty();
                let steps = steps(desired, &self.observed, &refused, now);
                if steps.is_empty() {
                    return refused;
                }
                for step in steps {
                    if !self.carry_out(step) {
                        refused.push(step);
                    }
                    assert!(
                        !had || !self.observed.addresses.is_empty(),
                        "without an address in between"
                    );
                }
            }
            panic!("no end: {desired:?} {self:?}");
        }
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
    }

    fn address(last: u8, now: Instant) -> Address {
        Address {
            ip: ip(last),
            prefix: 24,
            ends: Some(now + Duration::from_secs(3600)),
        }
    }

    fn kernel() -> Kernel {
        let observed = Observed {
            mtu: 1500,
            ..Observed::default()
        };
        Kernel {
            observed,
            largest_mtu: 1500,
        }
    }

    #[test]
    fn lease_without_a_former_route_and_mtu_takes_them_back() {
        let now = Instant::now();
        let mut kernel = kernel();
        let mut settings = Settings {
            addresses: vec![address(50, now)],
            routes: vec![
                Route::default_by(ip(1)),
                Route {
                    prefix: 8,
                    ..Route::default_by(ip(7))
                },
            ],
            mtu: Some(1460),
            ..Settings::default()
        };
        assert!(
            kernel
                .reconcile(&Desired::new(&settings, 1500, 100), now)
                .is_empty()
        );
        assert_eq!(
            (kernel.observed.mtu, kernel.observed.routes.len()),
            (1460, 2)
        );
        settings.routes.pop();
        settings.routes[0].gateway = Some(ip(2));
        settings.addresses = vec![address(60, now)];
        settings.mtu = None;
        kernel.reconcile(&Desired::new(&settings, 1500, 100), now);
        assert_eq!(kernel.observed.mtu, 1500);
        let gateways: Vec<_> = kernel
            .observed
            .routes
            .iter()
            .map(|route| route.gateway)
            .collect();
        assert_eq!(gateways, [Some(ip(2))]);
        assert_eq!(kernel.observed.addresses[0].ip, ip(60));
        assert_eq!(kernel.observed.addresses.len(), 1);
    }

    #[test]
    fn refused_mtu_and_route_leave_the_rest() {
        let now = Instant::now();
        let mut kernel = kernel();
        let settings = Settings {
            addresses: vec![address(50, now)],
            routes: vec![
                Route {
                    prefix: 8,
                    ..Route::default_by(ip(50))
                },
                Route::default_by(ip(1)),
            ],
            mtu: Some(9000),
            ..Settings::default()
        };
        let refused = kernel.reconcile(&Desired::new(&settings, 1500, 100), now);
        assert_eq!(refused.len(), 2);
        assert!(!refused.iter().any(Operation::is_required));
        assert_eq!(
            (kernel.observed.mtu, kernel.observed.routes.len()),
            (1500, 1)
        );
    }

    #[test]
    fn lifetime_is_given_anew_where_it_differs() {
        let now = Instant::now();
        let desired = Desired::new(
            &Settings {
                addresses: vec![address(50, now)],
                ..Settings::default()
            },
            1500,
            100,
        );
        let mut kernel = kernel();
        kernel.reconcile(&desired, now);
        assert!(steps(&desired, &kernel.observed, &[], now).is_empty());
        kernel.observed.addresses[0].seconds = Some(1800);
        assert_eq!(steps(&desired, &kernel.observed, &[], now).len(), 1);
        kernel.observed.addresses[0].seconds = None;
        assert_eq!(steps(&desired, &kernel.observed, &[], now).len(), 1);
    }

    /// Addresses by their last byte, routes (network, prefix, gateway), and the MTU.
    type Case = (Vec<u8>, Vec<(u8, u8, Option<u8>)>, Option<u32>);

    fn settings() -> impl Strategy<Value = Case> {
        (
            proptest::collection::vec(1_u8..6, 0..3),
            proptest::collection::vec(
                (
                    0_u8..3,
                    prop_oneof![Just(0_u8), Just(24)],
                    proptest::option::of(1_u8..9),
                ),
                0..5,
            ),
            proptest::option::of(prop_oneof![Just(1400_u32), Just(1500), Just(9000)]),
        )
    }

    proptest! {
        #[test]
        fn kernel_has_what_is_desired_but_what_it_refuses(all in proptest::collection::vec(settings(), 1..6)) {
            let now = Instant::now();
            let mut kernel = kernel();
            for (addresses, routes, mtu) in all {
                let mut own = Settings { mtu, ..Settings::default() };
                for last in addresses {
                    own.extend(&Settings { addresses: vec![address(last, now)], ..Settings::default() });
                }
                for (network, prefix, gateway) in routes {
                    let destination = if prefix == 0 { [0, 0, 0, 0] } else { [10, 9, network, 0] };
                    let route = Route {
                        destination: IpAddr::V4(destination.into()),
                        prefix,
                        gateway: gateway.map(ip),
                        metric: None,
                    };
                    own.extend(&Settings { routes: vec![route], ..Settings::default() });
                }
                let desired = Desired::new(&own, 1500, 100);
                let refused = kernel.reconcile(&desired, now);
                prop_assert!(!refused.iter().any(Operation::is_required));
                prop_assert_eq!(kernel.observed.addresses.len(), desired.addresses.len());
                for route in &desired.routes {
                    let is_refused = refused.contains(&Operation::SetRoute(*route));
                    prop_assert!(is_refused || kernel.observed.routes.contains(route));
                }
                for route in &kernel.observed.routes {
                    prop_assert!(
                        desired.routes.contains(route)
                            || desired.routes.iter().any(|other| refused.contains(&Operation::SetRoute(*other))),
                        "{route} is left"
                    );
                }
            }
        }
    }
}
