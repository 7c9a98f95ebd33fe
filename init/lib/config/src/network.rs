//! The table `[network]`: one link by its own fields, or several below `[[network.links]]`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use node_settings::{
    BondConfig, Interface, Ipv4Method, Ipv6Method, LinkConfig, NetworkConfig, RouteConfig,
    VlanConfig,
};
use toml::Spanned;

use crate::document::{Link, Network, Route};
use crate::schema::Checker;
use crate::values::{self, Expectation, MAXIMUM_LIST};

/// The smallest MTU that IPv4 hosts must take (RFC 791), the smallest of IPv6 (RFC 8200), and the largest of
/// Ethernet's jumbo frames.
const MTU: std::ops::RangeInclusive<i64> = 576..=9216;
const MTU_V6: i64 = 1280;
/// Metrics, which are 32 bits and must leave room for those that netd makes of them.
const METRIC: std::ops::RangeInclusive<i64> = 1..=1_000_000;
/// Tags (IEEE 802.1Q): 0 and 4095 are reserved.
const TAG: std::ops::RangeInclusive<i64> = 1..=4094;

/// The fields that a link has, wherever they stand.
struct Fields<'a> {
    /// `network`, or `network.links[N]`.
    at: String,
    interface: Option<&'a Spanned<String>>,
    method: Option<&'a Spanned<String>>,
    address: Option<&'a Spanned<String>>,
    gateway: Option<&'a Spanned<String>>,
    ipv6: Option<&'a Spanned<String>>,
    address6: Option<&'a Spanned<String>>,
    gateway6: Option<&'a Spanned<String>>,
    mtu: Option<&'a Spanned<i64>>,
    metric: Option<&'a Spanned<i64>>,
    routes: &'a [Spanned<Route>],
    dns: &'a [Spanned<String>],
}

impl<'a> Fields<'a> {
    fn of_network(network: &'a Network) -> Self {
        Self {
            at: "network".to_owned(),
            interface: network.interface.as_ref(),
            method: network.method.as_ref(),
            address: network.address.as_ref(),
            gateway: network.gateway.as_ref(),
            ipv6: network.ipv6.as_ref(),
            address6: network.address6.as_ref(),
            gateway6: network.gateway6.as_ref(),
            mtu: network.mtu.as_ref(),
            metric: network.metric.as_ref(),
            routes: &network.routes,
            // those of the table are for every link
            dns: &[],
        }
    }

    fn of_link(index: usize, link: &'a Link) -> Self {
        Self {
            at: format!("network.links[{index}]"),
            interface: Some(&link.interface),
            method: link.method.as_ref(),
            address: link.address.as_ref(),
            gateway: link.gateway.as_ref(),
            ipv6: link.ipv6.as_ref(),
            address6: link.address6.as_ref(),
            gateway6: link.gateway6.as_ref(),
            mtu: link.mtu.as_ref(),
            metric: link.metric.as_ref(),
            routes: &link.routes,
            dns: &link.dns,
        }
    }

    fn name(&self, field: &str) -> String {
        format!("{}.{field}", self.at)
    }

    /// Whether it says anything.
    const fn is_empty(&self) -> bool {
        self.interface.is_none()
            && self.method.is_none()
            && self.address.is_none()
            && self.gateway.is_none()
            && self.ipv6.is_none()
            && self.address6.is_none()
            && self.gateway6.is_none()
            && self.mtu.is_none()
            && self.metric.is_none()
            && self.routes.is_empty()
    }
}

impl Checker<'_> {
    pub(crate) fn network(&mut self, network: &Network) -> Option<NetworkConfig> {
        let before = self.problems.len();
        let dns = self.check_all("network.dns", &network.dns, values::host);
        let search = self.check_all("network.search", &network.search, values::domain);
        for (field, count, span) in [
            (
                "network.dns",
                network.dns.len(),
                network.dns.last().map(Spanned::span),
            ),
            (
                "network.search",
                network.search.len(),
                network.search.last().map(Spanned::span),
            ),
            (
                "network.links",
                network.links.len(),
                network.links.last().map(Spanned::span),
            ),
            (
                "network.vlans",
                network.vlans.len(),
                network.vlans.last().map(Spanned::span),
            ),
            (
                "network.bonds",
                network.bonds.len(),
                network.bonds.last().map(Spanned::span),
            ),
        ] {
            if count > MAXIMUM_LIST {
                let why = Expectation::new("8 at most", "remove some");
                self.add(span, field, format!("{count} entries"), why);
            }
        }
        let own = Fields::of_network(network);
        let mut links = Vec::new();
        if !own.is_empty() || network.links.is_empty() {
            links.push(self.link(&own));
        }
        for (index, link) in network.links.iter().enumerate() {
            links.push(self.link(&Fields::of_link(index, link.get_ref())));
        }
        let vlans = self.vlans(network);
        let bonds = self.bonds(network);
        let links: Vec<LinkConfig> = links.into_iter().collect::<Option<_>>()?;
        self.distinct(network, &links);
        let config = NetworkConfig {
            links,
            vlans: vlans?,
            bonds: bonds?,
            dns,
            search,
        };
        (self.problems.len() == before).then_some(config)
    }

    /// Several links need names, each its own.
    fn distinct(&mut self, network: &Network, links: &[LinkConfig]) {
        if links.len() > 1 && links.iter().any(|link| link.interface.is_none()) {
            let why = Expectation::new(
                "network.interface beside [[network.links]]",
                "with several links each is named; move the fields of [network] into a [[network.links]]",
            );
            self.add(None, "network.interface", "missing".to_owned(), why);
        }
        for (index, link) in network.links.iter().enumerate() {
            let place = links.len() - network.links.len() + index;
            let same = links.iter().take(place).any(|other| {
                links
                    .get(place)
                    .is_some_and(|link| link.interface == other.interface)
            });
            if same {
                let value = &link.get_ref().interface;
                let why = Expectation::new("each interface once", "put its fields into one entry");
                let field = format!("network.links[{index}].interface");
                self.add(
                    Some(value.span()),
                    &field,
                    values::quoted(value.get_ref()),
                    why,
                );
            }
        }
    }

    fn link(&mut self, fields: &Fields<'_>) -> Option<LinkConfig> {
        let before = self.problems.len();
        let interface = fields
            .interface
            .map(|value| self.check(&fields.name("interface"), value, values::interface));
        let ipv4 = self.ipv4(fields);
        let ipv6 = self.ipv6(fields);
        let mtu = fields
            .mtu
            .map(|value| self.number(&fields.name("mtu"), value, &MTU, MTU_EXPECTED));
        if let Some(value) = fields.mtu
            && *MTU.start() <= *value.get_ref()
            && *value.get_ref() < MTU_V6
            && !matches!(ipv6, None | Some(Ipv6Method::Off))
        {
            let why = Expectation::new(
                "1280 or more where there is IPv6",
                "a smaller one needs ipv6 = \"off\"",
            );
            self.add(
                Some(value.span()),
                &fields.name("mtu"),
                value.get_ref().to_string(),
                why,
            );
        }
        let metric = fields
            .metric
            .map(|value| self.number(&fields.name("metric"), value, &METRIC, METRIC_EXPECTED));
        let routes = self.routes(fields);
        let dns = self.check_all(&fields.name("dns"), fields.dns, values::host);
        let link = LinkConfig {
            interface: match interface {
                None => None,
                Some(interface) => Some(interface?),
            },
            ipv4: ipv4?,
            ipv6: ipv6?,
            routes,
            dns,
            mtu: mtu.flatten().and_then(|mtu| u16::try_from(mtu).ok()),
            metric: metric.flatten(),
        };
        (self.problems.len() == before).then_some(link)
    }

    fn number(
        &mut self,
        field: &str,
        value: &Spanned<i64>,
        bounds: &std::ops::RangeInclusive<i64>,
        why: Expectation,
    ) -> Option<u32> {
        let number = *value.get_ref();
        if bounds.contains(&number) {
            return u32::try_from(number).ok();
        }
        self.add(Some(value.span()), field, number.to_string(), why);
        None
    }

    /// Refuses fields that mean nothing beside a method.
    fn unused(
        &mut self,
        fields: &Fields<'_>,
        list: &[(&str, Option<&Spanned<String>>)],
        why: Expectation,
    ) {
        for (field, value) in list {
            if let Some(value) = value {
                let found = values::quoted(value.get_ref());
                self.add(Some(value.span()), &fields.name(field), found, why);
            }
        }
    }

    fn ipv4(&mut self, fields: &Fields<'_>) -> Option<Ipv4Method> {
        let method = match fields.method {
            None => "dhcp",
            Some(method) => self.check(&fields.name("method"), method, values::method)?,
        };
        if method == "static" {
            return self.ipv4_static(fields);
        }
        let why = Expectation::new(
            "no such field without method = \"static\"",
            "set method = \"static\", or remove it",
        );
        self.unused(
            fields,
            &[("address", fields.address), ("gateway", fields.gateway)],
            why,
        );
        Some(if method == "dhcp" {
            Ipv4Method::Dhcp
        } else {
            Ipv4Method::Off
        })
    }

    fn ipv4_static(&mut self, fields: &Fields<'_>) -> Option<Ipv4Method> {
        let Some(address) = fields.address else {
            let why = Expectation::new(
                "an address such as \"192.0.2.10/24\"",
                "a static network needs an address",
            );
            let span = fields.method.map(Spanned::span);
            self.add(span, &fields.name("address"), "missing".to_owned(), why);
            return None;
        };
        let address = self.check(&fields.name("address"), address, values::cidr)?;
        // a route to the gateway by the link itself says that it is there, whatever the prefix
        let on_link = |gateway: Ipv4Addr| {
            fields.routes.iter().any(|route| {
                let route = route.get_ref();
                route.via.is_none() && *route.to.get_ref() == format!("{gateway}/32")
            })
        };
        let gateway = match fields.gateway {
            Some(value) => Some(self.check(&fields.name("gateway"), value, |text| {
                let why = Expectation::new(
                    "another host's address in the network that the address names",
                    "check the prefix length behind the slash; a gateway elsewhere on the link needs address = \
                     \"…/32\", or a route to it: routes = [{ to = \"GATEWAY/32\" }]",
                );
                let gateway: Ipv4Addr = text.parse().map_err(|_| why)?;
                let reachable = address.prefix == 32 || address.contains(gateway) || on_link(gateway);
                if gateway != address.address && reachable && address.can_be_host(gateway) {
                    Ok(gateway)
                } else {
                    Err(why)
                }
            })?),
            None => None,
        };
        Some(Ipv4Method::Static { address, gateway })
    }

    fn ipv6(&mut self, fields: &Fields<'_>) -> Option<Ipv6Method> {
        let method = match (fields.ipv6, fields.address6) {
            (None, None) => "auto",
            // an address says enough
            (None, Some(_)) => "static",
            (Some(method), _) => self.check(&fields.name("ipv6"), method, values::method_v6)?,
        };
        if method != "static" {
            let why = Expectation::new(
                "no such field without ipv6 = \"static\"",
                "set ipv6 = \"static\", or remove it",
            );
            self.unused(
                fields,
                &[("address6", fields.address6), ("gateway6", fields.gateway6)],
                why,
            );
            return Some(if method == "auto" {
                Ipv6Method::Auto
            } else {
                Ipv6Method::Off
            });
        }
        let Some(address) = fields.address6 else {
            let why = Expectation::new(
                "an address such as \"2001:db8::10/64\"",
                "a static address of IPv6 has its own field",
            );
            let span = fields.ipv6.map(Spanned::span);
            self.add(span, &fields.name("address6"), "missing".to_owned(), why);
            return None;
        };
        let address = self.check(&fields.name("address6"), address, values::cidr_v6)?;
        let gateway = match fields.gateway6 {
            Some(value) => Some(self.check(&fields.name("gateway6"), value, |text| {
                let why = Expectation::new(
                    "another host's IPv6 address, such as \"2001:db8::1\" or \"fe80::1\"",
                    "leave it out to take the router that advertises itself",
                );
                let gateway: Ipv6Addr = text.parse().map_err(|_| why)?;
                let host =
                    !gateway.is_unspecified() && !gateway.is_loopback() && !gateway.is_multicast();
                if host && gateway != address.address {
                    Ok(gateway)
                } else {
                    Err(why)
                }
            })?),
            None => None,
        };
        Some(Ipv6Method::Static { address, gateway })
    }

    fn routes(&mut self, fields: &Fields<'_>) -> Vec<RouteConfig> {
        if let Some(first) = fields.routes.get(MAXIMUM_LIST) {
            let why = Expectation::new("8 routes at most", "remove some");
            let found = format!("{} routes", fields.routes.len());
            self.add(Some(first.span()), &fields.name("routes"), found, why);
        }
        let mut routes = Vec::new();
        for (index, route) in fields.routes.iter().enumerate() {
            let route = route.get_ref();
            let field = |name: &str| fields.name(&format!("routes[{index}].{name}"));
            let to = self.check(&field("to"), &route.to, values::destination);
            let via = route.via.as_ref().map(|value| {
                self.check(&field("via"), value, |text| {
                    let via = values::host(text)?;
                    match to {
                        Some(to) if to.network.is_ipv4() != via.is_ipv4() => Err(Expectation::new(
                            "a gateway of the same family as the destination",
                            "IPv4 goes by IPv4, and IPv6 by IPv6",
                        )),
                        _ => Ok(via),
                    }
                })
            });
            let metric = route
                .metric
                .as_ref()
                .map(|value| self.number(&field("metric"), value, &METRIC, METRIC_EXPECTED));
            let via: Option<IpAddr> = match via {
                Some(None) => continue,
                via => via.flatten(),
            };
            if let Some(to) = to {
                routes.push(RouteConfig {
                    to,
                    via,
                    metric: metric.flatten(),
                });
            }
        }
        routes
    }

    fn link_name(&mut self, field: &str, value: &Spanned<String>) -> Option<String> {
        let why = Expectation::new(
            "a name such as \"vlan5\" or \"bond0\"",
            "15 characters at most",
        );
        self.check(field, value, |text| match text.parse() {
            Ok(Interface::Name(name)) => Ok(name),
            _ => Err(why),
        })
    }

    fn vlans(&mut self, network: &Network) -> Option<Vec<VlanConfig>> {
        let all = network.vlans.iter().enumerate().map(|(index, vlan)| {
            let vlan = vlan.get_ref();
            let field = |name: &str| format!("network.vlans[{index}].{name}");
            let name = self.link_name(&field("name"), &vlan.name);
            let link = self.check(&field("link"), &vlan.link, values::interface);
            let id = self.number(
                &field("id"),
                &vlan.id,
                &TAG,
                Expectation::new("a tag from 1 to 4094", "the switch's port says which"),
            );
            Some(VlanConfig {
                name: name?,
                link: link?,
                id: u16::try_from(id?).ok()?,
            })
        });
        let all: Vec<Option<VlanConfig>> = all.collect();
        all.into_iter().collect()
    }

    fn bonds(&mut self, network: &Network) -> Option<Vec<BondConfig>> {
        let all = network.bonds.iter().enumerate().map(|(index, bond)| {
            let bond = bond.get_ref();
            let field = |name: &str| format!("network.bonds[{index}].{name}");
            let name = self.link_name(&field("name"), &bond.name);
            let list = bond.links.get_ref();
            if list.is_empty() || list.len() > MAXIMUM_LIST {
                let why =
                    Expectation::new("1 to 8 links", "name those whose cables lead to the switch");
                self.add(
                    Some(bond.links.span()),
                    &field("links"),
                    format!("{} links", list.len()),
                    why,
                );
            }
            let links = self.check_all(&field("links"), list, values::interface);
            let mode = self.check(&field("mode"), &bond.mode, values::bond_mode);
            Some(BondConfig {
                name: name?,
                links,
                mode: mode?,
            })
        });
        let all: Vec<Option<BondConfig>> = all.collect();
        all.into_iter().collect()
    }
}

const MTU_EXPECTED: Expectation = Expectation::new(
    "576 to 9216",
    "1500 is Ethernet's own; a larger one needs switches that take it",
);
const METRIC_EXPECTED: Expectation = Expectation::new(
    "1 to 1000000",
    "of two routes the one with the lower metric is taken",
);
