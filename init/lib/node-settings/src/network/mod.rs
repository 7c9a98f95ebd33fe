//! Settings of netd: network and time.

mod address;
mod interface;
mod time_server;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use wire::{NodeName, ServerUrl};

pub use address::{Destination, Ipv4Cidr, Ipv6Cidr};
pub use interface::Interface;
pub use time_server::TimeServer;

/// Settings of netd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetdSettings {
    /// The host name that is sent to DHCP servers.
    pub node_name: NodeName,
    /// How the network comes up.
    pub network: NetworkConfig,
    /// Time servers; empty: those that DHCP names, else public ones.
    pub time_servers: Vec<TimeServer>,
    /// The master: network settings by which it is reached are kept, and come back should others not reach it.
    pub master: ServerUrl,
}

/// How the network comes up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// The links; at least one. The only one that names no interface is whichever Ethernet link leads furthest.
    pub links: Vec<LinkConfig>,
    /// Links that are made of others by tags (IEEE 802.1Q).
    pub vlans: Vec<VlanConfig>,
    /// Links that are made of several others.
    pub bonds: Vec<BondConfig>,
    /// Name servers; they come before those of the links.
    pub dns: Vec<IpAddr>,
    /// Domains in which names are looked for; they come before those of the links.
    pub search: Vec<String>,
}

/// How one link comes up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkConfig {
    /// Which; none: the one Ethernet link that leads furthest.
    pub interface: Option<Interface>,
    /// Where its IPv4 address comes from.
    pub ipv4: Ipv4Method,
    /// Where its IPv6 addresses come from.
    pub ipv6: Ipv6Method,
    /// Routes beside those of DHCP and router advertisements.
    pub routes: Vec<RouteConfig>,
    /// Name servers; they come before those that the network names.
    pub dns: Vec<IpAddr>,
    /// The MTU, whatever the network says.
    pub mtu: Option<u16>,
    /// The metric of its routes; none: a link's place in the list decides.
    pub metric: Option<u32>,
}

/// Where a link's IPv4 address comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Ipv4Method {
    /// From a DHCP server (RFC 2131).
    Dhcp,
    /// From the configuration.
    Static {
        /// Address and prefix length.
        address: Ipv4Cidr,
        /// The default route; the gateway need not be in the address's network.
        gateway: Option<Ipv4Addr>,
    },
    /// There is none.
    Off,
}

/// Where a link's IPv6 addresses come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Ipv6Method {
    /// From router advertisements (RFC 4862), and from DHCPv6 where these say so.
    Auto,
    /// From the configuration.
    Static {
        /// Address and prefix length.
        address: Ipv6Cidr,
        /// The default route; none: that of router advertisements.
        gateway: Option<Ipv6Addr>,
    },
    /// The link has no IPv6 at all.
    Off,
}

/// A route of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// Where it leads.
    pub to: Destination,
    /// The gateway; none: the link itself.
    pub via: Option<IpAddr>,
    /// Its metric; none: that of the link.
    pub metric: Option<u32>,
}

/// A link by a tag on another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VlanConfig {
    /// Its name.
    pub name: String,
    /// The link that carries it.
    pub link: Interface,
    /// Its tag, 1 to 4094.
    pub id: u16,
}

/// Several links as one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BondConfig {
    /// Its name.
    pub name: String,
    /// The links; at least one.
    pub links: Vec<Interface>,
    /// How they work together.
    pub mode: BondMode,
}

/// How the links of a bond work together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BondMode {
    /// LACP, which the switch has to speak.
    #[serde(rename = "802.3ad")]
    Lacp,
    /// One at a time.
    #[serde(rename = "active-backup")]
    ActiveBackup,
}

impl LinkConfig {
    /// What holds where nothing is said of a link: DHCP and router advertisements.
    #[must_use]
    pub const fn automatic(interface: Option<Interface>) -> Self {
        Self {
            interface,
            ipv4: Ipv4Method::Dhcp,
            ipv6: Ipv6Method::Auto,
            routes: Vec::new(),
            dns: Vec::new(),
            mtu: None,
            metric: None,
        }
    }
}

impl NetworkConfig {
    /// What holds where nothing is said of the network: any Ethernet link, by DHCP and router advertisements.
    #[must_use]
    pub fn automatic() -> Self {
        Self {
            links: vec![LinkConfig::automatic(None)],
            vlans: Vec::new(),
            bonds: Vec::new(),
            dns: Vec::new(),
            search: Vec::new(),
        }
    }
}

/// Text in serde, by `FromStr` and `Display`.
macro_rules! as_text {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    };
}
use as_text;

#[cfg(test)]
mod tests;
