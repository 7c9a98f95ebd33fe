//! One link that is followed: what its sources say, and what comes of it.

use std::net::IpAddr;

use node_settings::{Ipv4Method, Ipv6Method, LinkConfig};
use tokio::sync::mpsc::Sender;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::follow::{Command, News};
use crate::links::{Ipv6Mode, Link};
use crate::plan::Desired;
use crate::settings::{Address, Reach, Route, Settings, append};

/// The metric of the first link's routes: room for better and worse ones by a pod network. Each further link's is one
/// more.
const ROUTE_METRIC: u32 = 100;

/// A link that is followed.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) link: Link,
    pub(crate) config: LinkConfig,
    /// Its place in the configuration, from 0.
    pub(crate) position: u32,
    pub(crate) commands: Sender<Command>,
    pub(crate) task: JoinHandle<()>,
    /// The MTU that it had before netd set another.
    first_mtu: u32,
    lease: Option<Settings>,
    advertised: Settings,
    dhcp6: Settings,
    /// Addresses and the default route that the kernel has from router advertisements.
    pub(crate) kernel: Settings,
    /// Why it has no lease, if that was said.
    pub(crate) trouble: Option<String>,
    /// What it was brought to last.
    pub(crate) applied: Option<Desired>,
    /// Addresses that the kernel did not take.
    pub(crate) refused: Vec<IpAddr>,
    /// Since when it has no carrier.
    pub(crate) dark_since: Option<Instant>,
}

impl Port {
    /// A link that nothing is known of yet.
    pub(crate) fn new(
        link: Link,
        config: LinkConfig,
        position: u32,
        commands: Sender<Command>,
        task: JoinHandle<()>,
    ) -> Self {
        Self {
            first_mtu: link.mtu,
            link,
            config,
            position,
            commands,
            task,
            lease: None,
            advertised: Settings::default(),
            dhcp6: Settings::default(),
            kernel: Settings::default(),
            trouble: None,
            applied: None,
            refused: Vec::new(),
            dark_since: None,
        }
    }

    /// Takes news of its task in.
    pub(crate) fn take(&mut self, news: News) {
        match news {
            News::Leased(settings) => {
                self.lease = Some(settings);
                self.trouble = None;
            }
            News::Lost(why) => {
                self.lease = None;
                self.trouble = Some(why);
            }
            News::Advertised(settings) => self.advertised = settings,
            News::Dhcp6(settings) => self.dhcp6 = settings,
            // the address that it has is still good until its time is over
            News::Failed(why) => self.trouble = Some(why),
        }
    }

    /// Gives up what has run out, should no client be left to say so. True when anything has.
    pub(crate) fn expire(&mut self, now: Instant) -> bool {
        let over = |settings: &Settings| settings.ends().is_some_and(|ends| ends <= now);
        let mut any = false;
        if self.lease.as_ref().is_some_and(over) {
            self.lease = None;
            self.trouble
                .get_or_insert(format!("the lease on {} ran out", self.link.name));
            any = true;
        }
        if over(&self.dhcp6) {
            self.dhcp6 = Settings::default();
            any = true;
        }
        any
    }

    /// When the next thing runs out.
    pub(crate) fn ends(&self) -> Option<Instant> {
        let lease = self.lease.as_ref().and_then(Settings::ends);
        [lease, self.dhcp6.ends()].into_iter().flatten().min()
    }

    /// Where its IPv6 addresses come from, as the kernel has to know it.
    pub(crate) const fn ipv6_mode(&self) -> Ipv6Mode {
        match &self.config.ipv6 {
            Ipv6Method::Auto => Ipv6Mode::Auto,
            Ipv6Method::Static { gateway: None, .. } => Ipv6Mode::RoutesAlone,
            Ipv6Method::Static { .. } => Ipv6Mode::Ignore,
            Ipv6Method::Off => Ipv6Mode::Off,
        }
    }

    /// What the configuration says of it.
    fn configured(&self) -> Settings {
        let mut settings = Settings {
            mtu: self.config.mtu.map(u32::from),
            dns: self.config.dns.clone(),
            ..Settings::default()
        };
        let mut add = |ip: IpAddr, prefix: u8, gateway: Option<IpAddr>| {
            settings.addresses.push(Address {
                ip,
                prefix,
                ends: None,
            });
            settings.routes.extend(gateway.map(Route::default_by));
        };
        if let Ipv4Method::Static { address, gateway } = &self.config.ipv4 {
            add(
                address.address.into(),
                address.prefix,
                gateway.map(IpAddr::V4),
            );
        }
        if let Ipv6Method::Static { address, gateway } = &self.config.ipv6 {
            add(
                address.address.into(),
                address.prefix,
                gateway.map(IpAddr::V6),
            );
        }
        settings
    }

    fn configured_routes(&self) -> Vec<Route> {
        let routes = self.config.routes.iter();
        routes
            .map(|route| Route {
                destination: route.to.network,
                prefix: route.to.prefix,
                gateway: route.via,
                metric: route.metric,
            })
            .collect()
    }

    /// What all sources say, the configuration first, but for what the kernel has by itself.
    pub(crate) fn settings(&self) -> Settings {
        let mut settings = self.configured();
        if let Some(lease) = &self.lease {
            settings.extend(lease);
        }
        settings.extend(&self.advertised);
        settings.extend(&self.dhcp6);
        settings
            .addresses
            .retain(|address| !self.refused.contains(&address.ip));
        // without an address there is nothing to route from
        if !settings.addresses.is_empty() || !self.kernel.addresses.is_empty() {
            settings.extend(&Settings {
                routes: self.configured_routes(),
                ..Settings::default()
            });
        }
        settings
    }

    /// How far it reaches.
    pub(crate) fn reach(&self) -> Reach {
        if !self.link.running {
            return Reach::Nothing;
        }
        let mut settings = self.settings();
        settings.extend(&self.kernel);
        settings.reach()
    }

    /// What it is to be brought to.
    pub(crate) fn desired(&self) -> Desired {
        let metric = self.config.metric.unwrap_or(ROUTE_METRIC + self.position);
        Desired::new(&self.settings(), self.first_mtu, metric)
    }

    /// What it is to be brought to where it is not used.
    pub(crate) fn released(&self) -> Desired {
        Desired::new(&Settings::default(), self.first_mtu, ROUTE_METRIC)
    }

    /// Its name servers, as resolv.conf(5) has them: those of the link alone with their link.
    pub(crate) fn name_servers(&self) -> Vec<String> {
        let servers = self.settings().dns.into_iter();
        servers
            .map(|server| match server {
                IpAddr::V6(ip) if ip.is_unicast_link_local() => format!("{ip}%{}", self.link.name),
                ip => ip.to_string(),
            })
            .collect()
    }

    /// Domains and time servers that the network names.
    pub(crate) fn names_and_time(&self) -> (Vec<String>, Vec<IpAddr>) {
        let settings = self.settings();
        let mut search = Vec::new();
        append(&mut search, &settings.search);
        (search, settings.time_servers)
    }

    /// The addresses that it has, for a log.
    pub(crate) fn shown(&self) -> String {
        let mut settings = self.settings();
        settings.extend(&self.kernel);
        let addresses: Vec<String> = settings.addresses.iter().map(ToString::to_string).collect();
        addresses.join(", ")
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.task.abort();
    }
}
