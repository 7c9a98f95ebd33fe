//! Links, addresses and routes by rtnetlink(7). The one module that knows its messages.

mod metadata;
mod software;
mod state;
mod sysctl;

use std::path::{Path, PathBuf};

use futures::TryStreamExt as _;
use futures::channel::mpsc::UnboundedReceiver;
use node_settings::{Interface, NetworkConfig};
use rtnetlink::packet_core::NetlinkMessage;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use rtnetlink::sys::SocketAddr;
use rtnetlink::{Handle, LinkUnspec, MulticastGroup};
use thiserror::Error;

pub(crate) use sysctl::Ipv6Mode;

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

/// Which links may be the node's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Accept {
    /// Those of the machine, and those that the configuration has netd make of them.
    #[default]
    Hardware,
    /// Pairs of veth(4), and macvlan on them, too: for tests, which have no other in a network namespace.
    HardwareAndPairs,
}

/// What makes a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A device of the machine.
    Hardware,
    /// A tag on another link.
    Vlan,
    /// Several others.
    Bond,
    /// Other software: bridges, tunnels, the ends of pods' links.
    Software,
}

/// An Ethernet link.
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
    /// How often its carrier has come or gone: a cable may be in another network before anybody looks.
    pub(crate) carrier_changes: u32,
    /// Its MTU.
    pub(crate) mtu: u32,
    /// What makes it.
    pub(crate) kind: Kind,
    /// The number of the link that it is a part of.
    pub(crate) controller: Option<u32>,
}

impl Link {
    /// Takes a link's message in, unless it is no Ethernet.
    fn from_message(message: &LinkMessage, accept: Accept) -> Option<Self> {
        if message.header.link_layer_type != LinkLayerType::Ether {
            return None;
        }
        let mut name = None;
        let mut hardware: Option<[u8; 6]> = None;
        let mut kind = Kind::Hardware;
        let mut mtu = 1500;
        let mut controller = None;
        let mut carrier_changes = 0;
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(text) => name = Some(text.clone()),
                LinkAttribute::Address(bytes) => hardware = bytes.as_slice().try_into().ok(),
                LinkAttribute::Mtu(bytes) => mtu = *bytes,
                LinkAttribute::CarrierChanges(count) => carrier_changes = *count,
                LinkAttribute::Controller(index) => {
                    controller = Some(*index).filter(|index| *index != 0)
                }
                LinkAttribute::LinkInfo(infos) => {
                    for info in infos {
                        match info {
                            LinkInfo::Kind(InfoKind::Vlan) => kind = Kind::Vlan,
                            LinkInfo::Kind(InfoKind::Bond) => kind = Kind::Bond,
                            LinkInfo::Kind(InfoKind::Veth | InfoKind::MacVlan)
                                if accept == Accept::HardwareAndPairs => {}
                            LinkInfo::Kind(_) => kind = Kind::Software,
                            _ => {}
                        }
                    }
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
            carrier_changes,
            mtu,
            kind,
            controller,
        })
    }

    /// Whether the node may use it by itself: a device of the machine, or what the configuration makes of some, and
    /// no part of another.
    pub(crate) fn is_candidate(&self, config: &NetworkConfig) -> bool {
        let made = match self.kind {
            Kind::Hardware => true,
            Kind::Vlan => config.vlans.iter().any(|vlan| vlan.name == self.name),
            Kind::Bond => config.bonds.iter().any(|bond| bond.name == self.name),
            Kind::Software => false,
        };
        made && self.controller.is_none()
    }

    /// Whether the configuration means this link.
    pub(crate) fn is(&self, wanted: &Interface) -> bool {
        match wanted {
            Interface::Name(name) => self.name == *name,
            Interface::HardwareAddress(address) => {
                // a tag's link has the address of the one that carries it, and a bond that of its first
                self.kind == Kind::Hardware && self.address == *address
            }
            Interface::Path(path) => self.device().is_some_and(|device| contains(&device, path)),
        }
    }

    /// Where its device is, below `/sys/devices`.
    fn device(&self) -> Option<PathBuf> {
        Path::new("/sys/class/net")
            .join(&self.name)
            .join("device")
            .canonicalize()
            .ok()
    }

    /// Its address as people write it.
    pub(crate) fn hardware_address(&self) -> String {
        Interface::HardwareAddress(self.address).to_string()
    }

    /// One of the links that are there, as a message lists it: name, address, carrier, driver and path.
    pub(crate) fn described(&self) -> String {
        let carrier = if self.running {
            "carrier"
        } else {
            "no carrier"
        };
        let device = self.device();
        let driver = device
            .as_ref()
            .and_then(|device| device.join("driver").canonicalize().ok());
        let last = |path: Option<&PathBuf>| -> Option<String> {
            Some(path?.file_name()?.to_string_lossy().into_owned())
        };
        let driver = last(driver.as_ref()).map(|driver| format!(", driver {driver}"));
        let place = last(device.as_ref()).map(|place| format!(", path:{place}"));
        format!(
            "{} ({}, {carrier}{}{})",
            self.name,
            self.hardware_address(),
            driver.unwrap_or_default(),
            place.unwrap_or_default()
        )
    }
}

/// Whether a path has another, of one component or several, in it.
fn contains(path: &Path, part: &str) -> bool {
    let components: Vec<_> = path.components().map(|part| part.as_os_str()).collect();
    let wanted: Vec<_> = part.split('/').collect();
    components
        .windows(wanted.len())
        .any(|window| window == wanted.as_slice())
}

/// The kernel's links, addresses and routes.
#[derive(Debug, Clone)]
pub(crate) struct Links {
    handle: Handle,
    accept: Accept,
}

/// Wakes whenever a link or an address of IPv6 changes.
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
    pub(crate) fn open(accept: Accept) -> Result<(Self, LinkEvents), LinkError> {
        let (connection, handle, events) = rtnetlink::new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Ipv6Ifaddr,
        ])
        .map_err(LinkError::Socket)?;
        tokio::spawn(connection);
        Ok((Self { handle, accept }, LinkEvents(events)))
    }

    /// Every Ethernet link, in the kernel's order.
    pub(crate) async fn ethernet(&self) -> Result<Vec<Link>, LinkError> {
        let messages: Vec<LinkMessage> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(failed("listing the links"))?;
        let links = messages.iter();
        Ok(links
            .filter_map(|message| Link::from_message(message, self.accept))
            .collect())
    }

    /// Brings the loopback link up; the kernel gives it its addresses.
    pub(crate) async fn loopback(&self) -> Result<(), LinkError> {
        // the loopback link is number 1 in every network namespace (netdevice(7), LOOPBACK_IFINDEX)
        self.set_up(1).await
    }

    /// Brings a link up.
    pub(crate) async fn set_up(&self, index: u32) -> Result<(), LinkError> {
        let message = LinkUnspec::new_with_index(index).up().build();
        let request = self.handle.link().set(message).execute();
        request.await.map_err(failed("bringing a link up"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtnetlink::packet_route::link::LinkHeader;

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
            LinkAttribute::IfName("test0".to_owned()),
            LinkAttribute::Address(vec![0x52, 0x54, 0, 0x12, 0x34, 0x56]),
        ]
    }

    fn made_by(kind: InfoKind) -> Vec<LinkAttribute> {
        let mut attributes = ethernet();
        attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]));
        attributes
    }

    #[test]
    fn link_is_meant_by_name_or_hardware_address() {
        let link = Link::from_message(&message(ethernet()), Accept::Hardware).expect("a link");
        assert!(link.running && link.is_candidate(&NetworkConfig::automatic()));
        for (text, meant) in [
            ("test0", true),
            ("test1", false),
            ("52:54:00:12:34:56", true),
            ("path:none", false),
        ] {
            assert_eq!(
                link.is(&text.parse().expect("an interface")),
                meant,
                "{text}"
            );
        }
        assert_eq!(link.described(), "test0 (52:54:00:12:34:56, carrier)");
    }

    #[test]
    fn path_is_meant_by_whole_components() {
        let device = Path::new("/sys/devices/pci0000:00/0000:00:03.0/virtio0");
        for (part, meant) in [
            ("0000:00:03.0", true),
            ("0000:00:03.0/virtio0", true),
            ("pci0000:00/0000:00:03.0", true),
            ("00:03.0", false),
            ("virtio0/0000:00:03.0", false),
        ] {
            assert_eq!(contains(device, part), meant, "{part}");
        }
    }

    #[test]
    fn links_made_by_software_are_left_alone() {
        let mut config = NetworkConfig::automatic();
        let link =
            |kind, accept| Link::from_message(&message(made_by(kind)), accept).expect("Ethernet");
        assert!(!link(InfoKind::Bridge, Accept::HardwareAndPairs).is_candidate(&config));
        assert!(!link(InfoKind::Veth, Accept::Hardware).is_candidate(&config));
        assert!(link(InfoKind::Veth, Accept::HardwareAndPairs).is_candidate(&config));
        // but for those that the configuration asks for
        assert!(!link(InfoKind::Vlan, Accept::Hardware).is_candidate(&config));
        config.vlans.push(node_settings::VlanConfig {
            name: "test0".to_owned(),
            link: "eth9".parse().expect("a name"),
            id: 5,
        });
        assert!(link(InfoKind::Vlan, Accept::Hardware).is_candidate(&config));
        let mut part = ethernet();
        part.push(LinkAttribute::Controller(7));
        let part = Link::from_message(&message(part), Accept::Hardware).expect("Ethernet");
        assert!(!part.is_candidate(&config), "a part of a bond");
        let mut loopback = message(ethernet());
        loopback.header.link_layer_type = LinkLayerType::Loopback;
        assert_eq!(Link::from_message(&loopback, Accept::Hardware), None);
    }
}
