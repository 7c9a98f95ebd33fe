//! A link's addresses, routes and MTU: read, and brought to what is desired, one step after the other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::TryStreamExt as _;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, AddressScope, CacheInfo,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::{LinkUnspec, RouteMessageBuilder};
use tokio::time::Instant;

use super::{Link, LinkError, Links, failed};
use crate::plan::{Desired, Observed, ObservedAddress, Operation, steps};
use crate::settings::{Address, Route, Settings};

/// How addresses of netd are marked (`IFA_PROTO`): what others add to a link, as some pods do, stays.
const ADDRESS_MARK: AddressProtocol = AddressProtocol::Other(0x4e);
/// How its routes are (`rtm_protocol`). The kernel's own and those of pod networks have others.
const ROUTE_MARK: RouteProtocol = RouteProtocol::Dhcp;
/// Rounds of steps: what one of them took along, as the kernel does with an address's routes, the next brings back.
const ROUNDS: usize = 4;
/// A time without an end (`INFINITY_LIFE_TIME` of `<net/addrconf.h>`).
const FOREVER: u32 = u32::MAX;

/// What became of a link's steps.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Steps that the kernel refused, with its words.
    pub(crate) refused: Vec<(Operation, String)>,
}

impl Outcome {
    /// Addresses that the kernel does not take.
    pub(crate) fn refused_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.refused
            .iter()
            .filter_map(|(operation, _)| match operation {
                Operation::SetAddress(address) => Some(address.ip),
                _ => None,
            })
    }
}

fn local(message: &AddressMessage) -> Option<IpAddr> {
    let of = |want_local: bool| {
        message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                AddressAttribute::Local(ip) if want_local => Some(*ip),
                AddressAttribute::Address(ip) if !want_local => Some(*ip),
                _ => None,
            })
    };
    of(true).or_else(|| of(false))
}

fn valid_seconds(message: &AddressMessage) -> Option<u32> {
    message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::CacheInfo(info) if info.ifa_valid != FOREVER => Some(info.ifa_valid),
            _ => None,
        })
}

fn flags(message: &AddressMessage) -> AddressFlags {
    let mut all = message.attributes.iter();
    all.find_map(|attribute| match attribute {
        AddressAttribute::Flags(flags) => Some(*flags),
        _ => None,
    })
    .unwrap_or(AddressFlags::empty())
}

/// A route of the main table by a link.
fn route(message: &RouteMessage, index: u32) -> Option<Route> {
    let header = &message.header;
    if header.table != RouteHeader::RT_TABLE_MAIN || header.kind != RouteType::Unicast {
        return None;
    }
    let (mut destination, mut gateway, mut metric, mut by_link) = (None, None, 0, false);
    let ip = |address: &RouteAddress| match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip(address),
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::Priority(number) => metric = *number,
            RouteAttribute::Oif(number) => by_link = *number == index,
            _ => {}
        }
    }
    let unspecified = match header.address_family {
        rtnetlink::packet_route::AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        rtnetlink::packet_route::AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    by_link.then(|| Route {
        destination: destination.unwrap_or(unspecified),
        prefix: header.destination_prefix_length,
        gateway,
        metric: Some(metric),
    })
}

impl Links {
    async fn addresses(&self, index: u32) -> Result<Vec<AddressMessage>, LinkError> {
        let messages: Vec<AddressMessage> = self
            .handle
            .address()
            .get()
            .set_link_index_filter(index)
            .execute()
            .try_collect()
            .await
            .map_err(failed("listing the addresses"))?;
        Ok(messages
            .into_iter()
            .filter(|message| message.header.index == index)
            .collect())
    }

    async fn routes(&self) -> Result<Vec<RouteMessage>, LinkError> {
        let mut all = Vec::new();
        for message in [
            RouteMessageBuilder::<Ipv4Addr>::new().build(),
            RouteMessageBuilder::<Ipv6Addr>::new().build(),
        ] {
            let more: Result<Vec<RouteMessage>, _> = self
                .handle
                .route()
                .get(message)
                .execute()
                .try_collect()
                .await;
            match more {
                Ok(more) => all.extend(more),
                // a kernel without IPv6 has no such table
                Err(_) if !all.is_empty() || !super::sysctl::has_ipv6() => {}
                Err(error) => return Err(failed("listing the routes")(error)),
            }
        }
        Ok(all)
    }

    /// What a link has that is netd's.
    async fn observe(&self, index: u32) -> Result<Observed, LinkError> {
        let links = self.ethernet().await?;
        let mtu = links
            .iter()
            .find(|link| link.index == index)
            .map_or(0, |link| link.mtu);
        let addresses = self.addresses(index).await?;
        let addresses = addresses.iter().filter(|message| {
            message
                .attributes
                .contains(&AddressAttribute::Protocol(ADDRESS_MARK))
        });
        let routes = self.routes().await?;
        let routes = routes
            .iter()
            .filter(|message| message.header.protocol == ROUTE_MARK);
        Ok(Observed {
            mtu,
            addresses: addresses
                .filter_map(|message| {
                    Some(ObservedAddress {
                        ip: local(message)?,
                        prefix: message.header.prefix_len,
                        seconds: valid_seconds(message),
                    })
                })
                .collect(),
            routes: routes.filter_map(|message| route(message, index)).collect(),
        })
    }

    /// What the kernel has taken from router advertisements on a link: addresses that can be used, and the default
    /// route.
    pub(crate) async fn advertised(&self, index: u32) -> Result<Settings, LinkError> {
        let unusable = AddressFlags::Tentative | AddressFlags::Dadfailed | AddressFlags::Deprecated;
        let addresses = self.addresses(index).await?;
        let addresses = addresses.iter().filter(|message| {
            message.header.scope == AddressScope::Universe
                && !message
                    .attributes
                    .contains(&AddressAttribute::Protocol(ADDRESS_MARK))
                && !flags(message).intersects(unusable)
        });
        let routes = self.routes().await?;
        let routes = routes
            .iter()
            .filter(|message| message.header.protocol == RouteProtocol::Ra);
        Ok(Settings {
            addresses: addresses
                .filter_map(|message| {
                    let ip = local(message).filter(IpAddr::is_ipv6)?;
                    Some(Address {
                        ip,
                        prefix: message.header.prefix_len,
                        ends: None,
                    })
                })
                .collect(),
            routes: routes
                .filter_map(|message| route(message, index))
                .filter(|route| route.destination.is_ipv6() && route.is_default())
                .collect(),
            ..Settings::default()
        })
    }

    /// Brings a link to what is desired, reads back, and goes on until there is no difference but what the kernel
    /// refuses.
    pub(crate) async fn reconcile(
        &self,
        link: &Link,
        desired: &Desired,
    ) -> Result<Outcome, LinkError> {
        let mut outcome = Outcome::default();
        let mut tried: Vec<Operation> = Vec::new();
        for _ in 0..ROUNDS {
            let observed = self.observe(link.index).await?;
            let steps = steps(desired, &observed, &tried, Instant::now());
            if steps.is_empty() {
                break;
            }
            for step in steps {
                if let Err(error) = self.carry_out(link, &step).await {
                    tried.push(step);
                    outcome.refused.push((step, error.to_string()));
                }
            }
        }
        Ok(outcome)
    }

    async fn carry_out(&self, link: &Link, operation: &Operation) -> Result<(), rtnetlink::Error> {
        match operation {
            Operation::SetMtu(mtu) => {
                let message = LinkUnspec::new_with_index(link.index).mtu(*mtu).build();
                self.handle.link().set(message).execute().await
            }
            Operation::SetAddress(address) => self.set_address(link, address).await,
            Operation::RemoveAddress(address) => {
                let request = self
                    .handle
                    .address()
                    .add(link.index, address.ip, address.prefix);
                let mut request = request;
                let message = request.message_mut().clone();
                self.handle.address().del(message).execute().await
            }
            Operation::SetRoute(route) => {
                let request = self.handle.route().add(message(link, route)).replace();
                request.execute().await
            }
            Operation::RemoveRoute(route) => {
                self.handle
                    .route()
                    .del(message(link, route))
                    .execute()
                    .await
            }
        }
    }

    async fn set_address(
        &self,
        link: &Link,
        address: &ObservedAddress,
    ) -> Result<(), rtnetlink::Error> {
        let add = self
            .handle
            .address()
            .add(link.index, address.ip, address.prefix);
        let mut request = add.replace();
        let attributes = &mut request.message_mut().attributes;
        attributes.push(AddressAttribute::Protocol(ADDRESS_MARK));
        // the kernel takes the address away should no program be left to renew it
        let seconds = address.seconds.unwrap_or(FOREVER);
        let mut lifetime = CacheInfo::default();
        lifetime.ifa_preferred = seconds;
        lifetime.ifa_valid = seconds;
        attributes.push(AddressAttribute::CacheInfo(lifetime));
        request.execute().await
    }
}

/// A route's message. A gateway outside the link's prefixes, as some clouds have it, is reached by the link.
fn message(link: &Link, route: &Route) -> RouteMessage {
    let metric = route.metric.unwrap_or(0);
    match (route.destination, route.gateway) {
        (IpAddr::V4(destination), gateway) => {
            let builder = RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(destination, route.prefix)
                .output_interface(link.index)
                .priority(metric)
                .protocol(ROUTE_MARK);
            match gateway {
                Some(IpAddr::V4(gateway)) => builder.gateway(gateway).onlink().build(),
                _ => builder.scope(RouteScope::Link).build(),
            }
        }
        (IpAddr::V6(destination), gateway) => {
            let builder = RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(destination, route.prefix)
                .output_interface(link.index)
                .priority(metric)
                .protocol(ROUTE_MARK);
            match gateway {
                Some(IpAddr::V6(gateway)) => builder.gateway(gateway).onlink().build(),
                _ => builder.build(),
            }
        }
    }
}
