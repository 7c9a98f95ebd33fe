//! The node's links: found, set up, kept.
//!
//! What leases, router advertisements and the configuration say is put together for each link ([`port`]), compared
//! with what the kernel has ([`crate::plan`]), and brought about step by step. Where the configuration names no link,
//! each is tried at once, and the one that leads furthest is used.

mod choice;
mod port;
mod report;

use std::collections::HashMap;
use std::error::Error;
use std::net::IpAddr;
use std::time::Duration;

use node_settings::{LinkConfig, NetworkConfig};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::Instant;
use tracing::{info, warn};
use wire::backoff::Backoff;

use self::choice::{Candidate, choose};
use self::port::Port;
use crate::follow::{Command, FromLink, Identity, follow, random};
use crate::links::{Ipv6Mode, Link, LinkError, LinkEvents, Links};
use crate::receive::due;
use crate::repeats::Repeats;
use crate::settings::Reach;

/// How long a link that is used may be without a carrier before others are looked at.
const DARK_PATIENCE: Duration = Duration::from_secs(5);
/// The first and the longest wait before what the kernel refused is tried again.
const RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

/// What the network came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NetworkEvent {
    /// A link has an address and its routes.
    Up(Available),
    /// None can be used. Why.
    Down(String),
    /// What the search has found so far.
    Searching(String),
}

/// What the network has for the rest of the node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Available {
    /// Name servers, as resolv.conf(5) has them.
    pub(crate) dns: Vec<String>,
    pub(crate) search: Vec<String>,
    pub(crate) time_servers: Vec<IpAddr>,
}

/// The links that are followed, and the one that is used.
pub(crate) struct Network {
    links: Links,
    events: LinkEvents,
    config: NetworkConfig,
    identity: Identity,
    /// Whether pods' way to a metadata service is to be left open for the program that asks it.
    unconfigured: bool,
    ports: HashMap<u32, Port>,
    /// The link that is used, where the configuration names none.
    chosen: Option<u32>,
    /// What was reported last.
    told: Option<NetworkEvent>,
    searching: String,
    /// Links that were brought up, so that their carriers come as events.
    woken: Vec<u32>,
    /// Links that are not the configuration's, and were looked at for what an earlier one left.
    cleaned: Vec<u32>,
    /// When what was refused is tried again.
    retry: Option<Instant>,
    backoff: Backoff,
    repeats: Repeats,
}

impl Network {
    pub(crate) fn new(
        links: Links,
        events: LinkEvents,
        config: NetworkConfig,
        identity: Identity,
        unconfigured: bool,
    ) -> Self {
        Self {
            links,
            events,
            config,
            identity,
            unconfigured,
            ports: HashMap::new(),
            chosen: None,
            told: None,
            searching: String::new(),
            woken: Vec::new(),
            cleaned: Vec::new(),
            retry: None,
            backoff: Backoff::new(RETRY.0, RETRY.1),
            repeats: Repeats::default(),
        }
    }

    /// Runs until the kernel's socket is gone; tells what the network came to.
    pub(crate) async fn run(mut self, tell: Sender<NetworkEvent>) -> Result<(), LinkError> {
        self.links.loopback().await?;
        self.prepare().await?;
        let (sender, mut from_links) = channel(16);
        loop {
            self.settle(&sender, &tell).await?;
            let deadline = self.deadline();
            tokio::select! {
                more = self.events.changed() => {
                    if !more {
                        return Ok(());
                    }
                }
                Some(from) = from_links.recv() => {
                    self.take(from);
                    drain(&mut from_links, |from| self.take(from));
                }
                () = due(deadline) => {
                    let now = Instant::now();
                    for port in self.ports.values_mut() {
                        port.expire(now);
                    }
                    if self.retry.is_some_and(|at| at <= now) {
                        self.retry = None;
                        for port in self.ports.values_mut() {
                            port.refused.clear();
                            port.applied = None;
                        }
                    }
                }
            }
        }
    }

    async fn prepare(&mut self) -> Result<(), LinkError> {
        if let Err(error) = self.links.guard_metadata(self.unconfigured).await {
            warn!(
                error = with_cause(&error),
                "nothing keeps pods from the metadata service of a cloud"
            );
        }
        if let Err(error) = Links::promote_secondaries() {
            warn!(%error, "an address that goes takes others of its network along");
        }
        for bond in &self.config.bonds {
            let links = self.links.ethernet().await?;
            if let Err(error) = self.links.remove_idle_bond(bond, &links).await {
                self.repeats
                    .warn(&format!("{}: {}", bond.name, with_cause(&error)));
            }
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        let ends = self.ports.values().filter_map(Port::ends);
        let dark = self
            .used()
            .and_then(|port| port.dark_since)
            .map(|at| at + DARK_PATIENCE);
        let dark = dark.filter(|at| *at > Instant::now());
        ends.chain(self.retry).chain(dark).min()
    }

    /// The link that is used, where the configuration names none.
    fn used(&self) -> Option<&Port> {
        self.ports.get(&self.chosen?)
    }

    /// Whether the node takes whichever link leads furthest.
    fn is_automatic(&self) -> bool {
        self.config
            .links
            .iter()
            .all(|link| link.interface.is_none())
    }

    fn take(&mut self, from: FromLink) {
        if let Some(port) = self.ports.get_mut(&from.index) {
            port.take(from.news);
            if let Some(trouble) = &port.trouble {
                self.repeats.warn(trouble);
            }
        }
    }

    /// Brings everything to where it belongs: links that came and went, the one to use, what the kernel has.
    async fn settle(
        &mut self,
        sender: &Sender<FromLink>,
        tell: &Sender<NetworkEvent>,
    ) -> Result<(), LinkError> {
        let links = self.made(self.links.ethernet().await?).await?;
        self.look(&links, sender).await;
        for port in self.ports.values_mut() {
            if port.ipv6_mode() != Ipv6Mode::Off {
                port.kernel = self.links.advertised(port.link.index).await?;
            }
        }
        if self.is_automatic() {
            self.choose().await?;
        }
        self.apply().await?;
        self.publish(&links, tell).await;
        Ok(())
    }

    /// Makes the links that the configuration asks for.
    async fn made(&mut self, mut links: Vec<Link>) -> Result<Vec<Link>, LinkError> {
        let mut changed = false;
        for bond in &self.config.bonds {
            match self.links.make_bond(bond, &links).await {
                Ok(made) => changed |= made,
                Err(error) => self
                    .repeats
                    .warn(&format!("{}: {}", bond.name, with_cause(&error))),
            }
        }
        if changed {
            links = self.links.ethernet().await?;
        }
        for vlan in &self.config.vlans {
            match self.links.make_vlan(vlan, &links).await {
                Ok(made) => changed |= made,
                Err(error) => self
                    .repeats
                    .warn(&format!("{}: {}", vlan.name, with_cause(&error))),
            }
        }
        if changed {
            self.links.ethernet().await
        } else {
            Ok(links)
        }
    }

    /// The configuration of a link, and its place; none: it is not the node's.
    fn config_of(&self, link: &Link) -> Option<(u32, LinkConfig)> {
        if !link.is_candidate(&self.config) {
            return None;
        }
        let mut all = (0..).zip(&self.config.links);
        let (position, config) = all.find(|(_, config)| {
            config
                .interface
                .as_ref()
                .is_none_or(|wanted| link.is(wanted))
        })?;
        Some((position, config.clone()))
    }

    /// Whether links beside the one that is used are followed.
    fn searches(&self) -> bool {
        let Some(used) = self.used() else {
            return true;
        };
        match used.dark_since {
            Some(since) => since.elapsed() >= DARK_PATIENCE,
            None => used.reach() < Reach::Everywhere,
        }
    }

    /// Notes what links came, went, or changed, and follows those that are the node's.
    async fn look(&mut self, links: &[Link], sender: &Sender<FromLink>) {
        let now = Instant::now();
        let is_there = |port: &Port| {
            links.iter().any(|link| {
                (link.index, link.address, link.controller)
                    == (port.link.index, port.link.address, None)
            })
        };
        let gone: Vec<u32> = self
            .ports
            .iter()
            .filter(|(_, port)| !is_there(port))
            .map(|(index, _)| *index)
            .collect();
        for index in gone {
            if let Some(port) = self.ports.remove(&index) {
                warn!(link = port.link.name, "the link is gone");
            }
            self.woken.retain(|other| *other != index);
            if self.chosen == Some(index) {
                self.chosen = None;
            }
        }
        for link in links {
            if let Some(port) = self.ports.get_mut(&link.index) {
                let had = std::mem::replace(&mut port.link, link.clone());
                let changed = had.carrier_changes != link.carrier_changes;
                match (had.running, link.running) {
                    (true, false) => {
                        port.dark_since = Some(now);
                        self.woken.retain(|other| *other != link.index);
                    }
                    // it may have gone and come back between two looks
                    (was, true) if !was || changed => {
                        port.dark_since = None;
                        info!(link = link.name, "carrier is back");
                        // it may be the cable of another network: its servers are asked at once
                        let _ = port.commands.try_send(Command::Carrier);
                        // and the kernel may have dropped routes meanwhile
                        port.applied = None;
                    }
                    _ => {}
                }
            }
        }
        for link in links {
            self.follow(link, sender).await;
        }
    }

    async fn follow(&mut self, link: &Link, sender: &Sender<FromLink>) {
        let Some((position, config)) = self.config_of(link) else {
            self.clean(link).await;
            return;
        };
        if !link.running {
            // its carrier comes as an event
            if !self.woken.contains(&link.index) {
                self.woken.push(link.index);
                if let Err(error) = self.links.set_up(link.index).await {
                    let line = format!(
                        "{}: link does not come up: {}",
                        link.name,
                        with_cause(&error)
                    );
                    self.repeats.warn(&line);
                }
            }
            return;
        }
        if self.ports.contains_key(&link.index) || (self.is_automatic() && !self.searches()) {
            return;
        }
        info!(link = link.name, "link is up");
        let (commands, receiver) = channel(8);
        let task = follow(
            link.clone(),
            config.clone(),
            self.identity.clone(),
            sender.clone(),
            receiver,
        );
        let port = Port::new(link.clone(), config, position, commands, tokio::spawn(task));
        if let Err(error) = Links::set_ipv6(link, port.ipv6_mode(), position) {
            self.repeats
                .warn(&format!("{}: IPv6 is not set up: {error}", link.name));
        }
        self.ports.insert(link.index, port);
    }

    /// Takes away what an earlier configuration left on a link that is not this one's.
    async fn clean(&mut self, link: &Link) {
        if self.cleaned.contains(&link.index) || !matches!(link.kind, crate::links::Kind::Hardware)
        {
            return;
        }
        self.cleaned.push(link.index);
        let nothing = crate::plan::Desired {
            mtu: link.mtu,
            addresses: Vec::new(),
            routes: Vec::new(),
        };
        if let Err(error) = self.links.reconcile(link, &nothing).await {
            self.repeats
                .warn(&format!("{}: {}", link.name, with_cause(&error)));
        }
    }

    /// Chooses the link to use where the configuration names none, and lets the others go once it leads everywhere.
    async fn choose(&mut self) -> Result<(), LinkError> {
        let now = Instant::now();
        let candidates: Vec<Candidate> = self
            .ports
            .values()
            .map(|port| Candidate {
                index: port.link.index,
                reach: port.reach(),
                dark: port
                    .dark_since
                    .map(|since| now.saturating_duration_since(since)),
            })
            .collect();
        let chosen = choose(self.chosen, &candidates, DARK_PATIENCE);
        if chosen != self.chosen {
            let former = self.chosen.and_then(|index| self.ports.get(&index));
            if let Some(port) = chosen.and_then(|index| self.ports.get(&index)) {
                let instead_of = former.map(|port| port.link.name.clone());
                match instead_of {
                    None => info!(
                        link = port.link.name,
                        addresses = port.shown(),
                        "link is used"
                    ),
                    Some(former) => info!(
                        link = port.link.name,
                        addresses = port.shown(),
                        former,
                        "link is used: it leads further"
                    ),
                }
            }
            self.chosen = chosen;
        }
        if self.searches() {
            return Ok(());
        }
        let others: Vec<u32> = self
            .ports
            .keys()
            .copied()
            .filter(|index| Some(*index) != chosen)
            .collect();
        for index in others {
            if let Some(port) = self.ports.remove(&index) {
                self.links.reconcile(&port.link, &port.released()).await?;
                if let Err(error) = Links::set_ipv6(&port.link, Ipv6Mode::Off, 0) {
                    self.repeats
                        .warn(&format!("{}: IPv6 stays: {error}", port.link.name));
                }
            }
        }
        Ok(())
    }

    /// Brings the links that are used to what is desired of them, and the others to nothing.
    async fn apply(&mut self) -> Result<(), LinkError> {
        let automatic = self.is_automatic();
        for port in self.ports.values_mut() {
            let used = !automatic || self.chosen == Some(port.link.index);
            let desired = if used {
                port.desired()
            } else {
                port.released()
            };
            // what an earlier run of this program left is good until there is something else: the kernel ends it
            let unknown =
                port.applied.is_none() && desired.addresses.is_empty() && desired.routes.is_empty();
            if unknown || port.applied.as_ref() == Some(&desired) {
                continue;
            }
            let outcome = self.links.reconcile(&port.link, &desired).await?;
            let mut again = false;
            for (operation, why) in &outcome.refused {
                self.repeats.warn(&format!(
                    "{}: the kernel refuses {operation}: {why}",
                    port.link.name
                ));
                again |= operation.is_required();
            }
            for ip in outcome.refused_addresses() {
                port.refused.push(ip);
                let _ = port.commands.try_send(Command::Refused(ip));
            }
            if again && self.retry.is_none() {
                let fraction = f64::from(random()) / f64::from(u32::MAX);
                self.retry = Some(Instant::now() + self.backoff.fail_with_jitter(fraction));
            } else if !again && !desired.addresses.is_empty() {
                self.backoff.reset();
            }
            port.applied = Some(desired);
        }
        Ok(())
    }
}

/// Takes what is there.
fn drain<T>(receiver: &mut Receiver<T>, mut take: impl FnMut(T)) {
    while let Ok(item) = receiver.try_recv() {
        take(item);
    }
}

/// An error with its cause.
fn with_cause(error: &(dyn Error + 'static)) -> String {
    let cause = error.source();
    let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}
