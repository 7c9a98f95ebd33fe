//! What the network came to, for the rest of the node and for a person.

use tokio::sync::mpsc::Sender;

use super::port::Port;
use super::{Available, Network, NetworkEvent};
use crate::links::Link;
use crate::settings::{Reach, append};

/// The most links that a message lists.
const LISTED: usize = 8;

impl Network {
    /// Tells what the network came to, where that is news.
    pub(super) async fn publish(&mut self, links: &[Link], tell: &Sender<NetworkEvent>) {
        let mut used: Vec<&Port> = match self.is_automatic() {
            true => self.used().into_iter().collect(),
            false => self.ports.values().collect(),
        };
        used.sort_by_key(|port| port.position);
        let best = used
            .iter()
            .map(|port| port.reach())
            .max()
            .unwrap_or(Reach::Nothing);
        let event = if best >= Reach::LinkLocalRouted {
            let mut available = Available {
                dns: self.config.dns.iter().map(ToString::to_string).collect(),
                search: self.config.search.clone(),
                time_servers: Vec::new(),
            };
            for port in &used {
                append(&mut available.dns, &port.name_servers());
                let (search, time_servers) = port.names_and_time();
                append(&mut available.search, &search);
                append(&mut available.time_servers, &time_servers);
            }
            Some(NetworkEvent::Up(available))
        } else {
            self.why_down(&used).map(NetworkEvent::Down)
        };
        let searching = self.search(links);
        if searching != self.searching {
            self.searching.clone_from(&searching);
            let _ = tell.send(NetworkEvent::Searching(searching)).await;
        }
        if event != self.told {
            if let Some(event) = &event {
                let _ = tell.send(event.clone()).await;
            }
            self.told = event;
        }
    }

    /// Why there is no network any more; none: there was none yet.
    fn why_down(&self, used: &[&Port]) -> Option<String> {
        let dark = used.iter().find(|port| !port.link.running);
        if let Some(port) = dark {
            return Some(format!(
                "the link {} has no carrier: is its cable in?",
                port.link.name
            ));
        }
        if let Some(trouble) = self.ports.values().find_map(|port| port.trouble.clone()) {
            return Some(trouble);
        }
        match &self.told {
            Some(NetworkEvent::Up(_)) => Some("the link that was used is gone".to_owned()),
            Some(NetworkEvent::Down(detail)) => Some(detail.clone()),
            _ => None,
        }
    }

    /// What the search has found so far, for a person.
    fn search(&self, links: &[Link]) -> String {
        let candidates: Vec<&Link> = links
            .iter()
            .filter(|link| link.is_candidate(&self.config))
            .collect();
        let there: Vec<String> = candidates
            .iter()
            .take(LISTED)
            .map(|link| link.described())
            .collect();
        let there = match there.is_empty() {
            true => "there is no Ethernet link at all".to_owned(),
            false => format!("there are {}", there.join("; ")),
        };
        let missing: Vec<String> = self
            .config
            .links
            .iter()
            .filter_map(|config| config.interface.as_ref())
            .filter(|wanted| !candidates.iter().any(|link| link.is(wanted)))
            .map(ToString::to_string)
            .collect();
        if !missing.is_empty() {
            return format!(
                "the interface {} of the configuration is not there; {there}",
                missing.join(", ")
            );
        }
        if self
            .ports
            .values()
            .any(|port| port.reach() == Reach::LinkLocal)
        {
            return format!("no link has an address that leads beyond it; {there}");
        }
        format!("no Ethernet link has an address yet; the search goes on; {there}")
    }
}
