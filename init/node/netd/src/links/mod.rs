//! Links, addresses and routes by rtnetlink(7). The one module that knows its messages.

mod metadata;

use std::net::{IpAddr, Ipv4Addr};

use futures::TryStreamExt as _;
use futures::channel::mpsc::UnboundedReceiver;
use node_settings::Interface;
use rtnetlink::packet_core::NetlinkMessage;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage, CacheInfo};
use rtnetlink::packet_route::link::{
    LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use rtnetlink::packet_route::route::{RouteProtocol, RouteScope};
use rtnetlink::sys::SocketAddr;
use rtnetlink::{Handle, LinkUnspec, MulticastGroup, RouteMessageBuilder};
use thiserror::Error;

use crate::settings::{Route, Settings};

/// The metric of our routes: room for better and worse ones by a pod network.
const ROUTE_METRIC: u32 = 100;

/// Something that the kernel did not do.
#[derive(Debug, Error)]
pub(crate) enum LinkError {
    /// No netlink socket.
    #[error("the rtnetlink socket can't be opened")]
    Socket(#[source] std::io::Error),
    /// A request was refused.
    #[error("{action} failed")]
    Request {
        /// What was asked for.
        action: &'static str,
        /// The kernel's answer.
        #[source]
        source: rtnetlink::Error,
    },
}

fn failed(action: &'static str) -> impl FnOnce(rtnetlink::Error) -> LinkError {
    move |source| LinkError::Request { action, source }
}

/// An Ethernet link of the machine itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    /// The kernel's number for it.
    pub(crate) index: u32,
    /// The kernel's name for it.
    pub(crate) name: String,
    /// Its Ethernet address.
    pub(crate) address: [u8; 6],
    /// Whether it is up and has a carrier.
    pub(crate) running: bool,
}

impl Link {
    /// Takes a link's message in, unless it is no Ethernet or made by software (bridges, pairs).
    fn from_message(message: &LinkMessage) -> Option<Self> {
        if message.header.link_layer_type != LinkLayerType::Ether {
            return None;
        }
        let mut name = None;
        let mut hardware: Option<[u8; 6]> = None;
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(text) => name = Some(text.clone()),
                LinkAttribute::Address(bytes) => hardware = bytes.as_slice().try_into().ok(),
                LinkAttribute::LinkInfo(infos)
                    if infos.iter().any(|info| matches!(info, LinkInfo::Kind(_))) =>
                {
                    return None;
                }
                _ => {}
            }
        }
        Some(Self {
            index: message.header.index,
            name: name?,
            address: hardware?,
            running: message
                .header
                .flags
                .contains(LinkFlags::Up | LinkFlags::LowerUp),
        })
    }

    /// Whether the configuration means this link.
    pub(crate) fn is(&self, wanted: Option<&Interface>) -> bool {
        match wanted {
            None => true,
            Some(Interface::Name(name)) => self.name == *name,
            Some(Interface::HardwareAddress(address)) => self.address == *address,
        }
    }
}

/// The kernel's links, addresses and routes.
#[derive(Debug, Clone)]
pub(crate) struct Links(Handle);

/// Wakes whenever a link changes.
#[derive(Debug)]
pub(crate) struct LinkEvents(UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>);

impl LinkEvents {
    /// Waits for the next change and takes in all that have queued up; false when there are no
    /// more to come.
    pub(crate) async fn changed(&mut self) -> bool {
        use futures::StreamExt as _;
        let some = self.0.next().await.is_some();
        while self.0.try_recv().is_ok() {}
        some
    }
}

impl Links {
    /// Opens the socket; its driver runs as a task of the current runtime.
    pub(crate) fn open() -> Result<(Self, LinkEvents), LinkError> {
        let (connection, handle, events) =
            rtnetlink::new_multicast_connection(&[MulticastGroup::Link])
                .map_err(LinkError::Socket)?;
        tokio::spawn(connection);
        Ok((Self(handle), LinkEvents(events)))
    }

    /// Every Ethernet link of the machine itself, in the kernel's order.
    pub(crate) async fn ethernet(&self) -> Result<Vec<Link>, LinkError> {
        let messages: Vec<LinkMessage> = self
            .0
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(failed("listing the links"))?;
        Ok(messages.iter().filter_map(Link::from_message).collect())
    }

    /// Brings the loopback link up; the kernel gives it its addresses.
    pub(crate) async fn loopback(&self) -> Result<(), LinkError> {
        // the loopback link is number 1 in every network namespace (netdevice(7), LOOPBACK_IFINDEX)
        self.set_up(1).await
    }

    /// Brings a link up.
    pub(crate) async fn set_up(&self, index: u32) -> Result<(), LinkError> {
        let message = LinkUnspec::new_with_index(index).up().build();
        let request = self.0.link().set(message).execute();
        request.await.map_err(failed("bringing a link up"))
    }

    /// Gives a link what `settings` say, and takes away every other IPv4 address of it.
    pub(crate) async fn apply(&self, link: &Link, settings: &Settings) -> Result<(), LinkError> {
        if let Some(mtu) = settings.mtu {
            let message = LinkUnspec::new_with_index(link.index)
                .mtu(mtu.into())
                .build();
            let request = self.0.link().set(message).execute();
            request.await.map_err(failed("setting the MTU"))?;
        }
        let address = IpAddr::V4(settings.address);
        let mut request = self
            .0
            .address()
            .add(link.index, address, settings.prefix)
            .replace();
        if let Some(seconds) = settings.lifetime {
            // the kernel takes the address away should nobody be left to renew it
            let mut lifetime = CacheInfo::default();
            lifetime.ifa_preferred = seconds;
            lifetime.ifa_valid = seconds;
            request
                .message_mut()
                .attributes
                .push(AddressAttribute::CacheInfo(lifetime));
        }
        request
            .execute()
            .await
            .map_err(failed("setting the address"))?;
        self.remove_addresses(link, Some(settings.address)).await?;
        let protocol = match settings.lifetime {
            Some(_) => RouteProtocol::Dhcp,
            None => RouteProtocol::Static,
        };
        for route in &settings.routes {
            self.add_route(link, *route, protocol).await?;
        }
        Ok(())
    }

    async fn add_route(
        &self,
        link: &Link,
        route: Route,
        protocol: RouteProtocol,
    ) -> Result<(), LinkError> {
        let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(route.destination, route.prefix)
            .output_interface(link.index)
            .priority(ROUTE_METRIC)
            .protocol(protocol);
        builder = if route.gateway.is_unspecified() {
            builder.scope(RouteScope::Link)
        } else {
            // a gateway outside the prefix, as some clouds have it, is reached by the link
            builder.gateway(route.gateway).onlink()
        };
        let request = self.0.route().add(builder.build()).replace().execute();
        request.await.map_err(failed("setting a route"))
    }

    /// Takes a link's IPv4 addresses away, and with them their routes.
    pub(crate) async fn remove_addresses(
        &self,
        link: &Link,
        but: Option<Ipv4Addr>,
    ) -> Result<(), LinkError> {
        let messages: Vec<AddressMessage> = self
            .0
            .address()
            .get()
            .set_link_index_filter(link.index)
            .execute()
            .try_collect()
            .await
            .map_err(failed("listing the addresses"))?;
        for message in messages {
            let local = message
                .attributes
                .iter()
                .find_map(|attribute| match attribute {
                    AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
                    _ => None,
                });
            if local.is_some() && local != but && message.header.index == link.index {
                let request = self.0.address().del(message).execute();
                request.await.map_err(failed("removing an address"))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtnetlink::packet_route::link::{InfoKind, LinkHeader};

    fn message(attributes: Vec<LinkAttribute>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header = LinkHeader {
            index: 2,
            link_layer_type: LinkLayerType::Ether,
            flags: LinkFlags::Up | LinkFlags::LowerUp,
            ..LinkHeader::default()
        };
        message.attributes = attributes;
        message
    }

    fn ethernet() -> Vec<LinkAttribute> {
        vec![
            LinkAttribute::IfName("eth0".to_owned()),
            LinkAttribute::Address(vec![0x52, 0x54, 0, 0x12, 0x34, 0x56]),
        ]
    }

    #[test]
    fn an_ethernet_link() {
        let link = Link::from_message(&message(ethernet())).expect("a link");
        assert!(link.running);
        assert!(link.is(None));
        assert!(link.is(Some(&Interface::Name("eth0".to_owned()))));
        assert!(!link.is(Some(&Interface::Name("eth1".to_owned()))));
        assert!(link.is(Some(&Interface::HardwareAddress([
            0x52, 0x54, 0, 0x12, 0x34, 0x56
        ]))));
    }

    #[test]
    fn links_made_by_software_are_left_alone() {
        let mut attributes = ethernet();
        attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(
            InfoKind::Bridge,
        )]));
        assert_eq!(Link::from_message(&message(attributes)), None);
        let mut loopback = message(ethernet());
        loopback.header.link_layer_type = LinkLayerType::Loopback;
        assert_eq!(Link::from_message(&loopback), None);
    }
}
