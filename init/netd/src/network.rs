//! One Ethernet link with an address: found, set up, kept.

use std::collections::HashMap;
use std::time::Duration;

use config::{NetworkConfig, NetworkMethod};
use tokio::sync::mpsc::{Sender, channel};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::dhcp::{Dhcp, LeaseEvent};
use crate::links::{Link, LinkError, LinkEvents, Links};
use crate::settings::Settings;

/// How long to wait before a DHCP client that failed begins anew.
const DHCP_RETRY: Duration = Duration::from_secs(5);

/// What the network came to.
#[derive(Debug)]
pub(crate) enum NetworkEvent {
    /// The link has an address and its routes.
    Up(Settings),
    /// It has none any more.
    Down(String),
}

/// What the task of one link has to say.
#[derive(Debug)]
struct FromLink {
    link: Link,
    event: LinkEvent,
}

#[derive(Debug)]
enum LinkEvent {
    Settings(Settings),
    Lost(String),
}

/// Finds a link and keeps it. Every candidate asks for a lease at once; the first that has an
/// address is the one, and the others stop.
pub(crate) struct Network {
    links: Links,
    events: LinkEvents,
    config: NetworkConfig,
    node_id: String,
    /// The tasks of the candidates, by the link's index.
    tasks: HashMap<u32, JoinHandle<()>>,
    chosen: Option<Link>,
}

impl Network {
    pub(crate) fn new(config: NetworkConfig, node_id: String) -> Result<Self, LinkError> {
        let (links, events) = Links::open()?;
        let tasks = HashMap::new();
        Ok(Self {
            links,
            events,
            config,
            node_id,
            tasks,
            chosen: None,
        })
    }

    /// Runs until the kernel's socket is gone; tells what the network came to.
    pub(crate) async fn run(mut self, tell: Sender<NetworkEvent>) -> Result<(), LinkError> {
        self.links.loopback().await?;
        let (sender, mut from_links) = channel(16);
        self.look(&sender).await?;
        loop {
            tokio::select! {
                more = self.events.changed() => {
                    if !more {
                        return Ok(());
                    }
                    self.look(&sender).await?;
                    if let Some(link) = self.gone().await? {
                        self.release(&link);
                        let detail = format!("the link {} is gone", link.name);
                        let _ = tell.send(NetworkEvent::Down(detail)).await;
                        self.look(&sender).await?;
                    }
                }
                Some(FromLink { link, event }) = from_links.recv() => {
                    if let Some(event) = self.take(link, event).await {
                        let _ = tell.send(event).await;
                    }
                    self.look(&sender).await?;
                }
            }
        }
    }

    /// Brings candidates up and starts a task for each, unless the one is chosen.
    async fn look(&mut self, sender: &Sender<FromLink>) -> Result<(), LinkError> {
        if self.chosen.is_some() {
            return Ok(());
        }
        self.tasks.retain(|_, task| !task.is_finished());
        for link in self.links.ethernet().await? {
            if !link.is(self.config.interface.as_ref()) || self.tasks.contains_key(&link.index) {
                continue;
            }
            if !link.running {
                // its carrier comes as an event
                if let Err(error) = self.links.set_up(link.index).await {
                    warn!(link = link.name, %error, "link does not come up");
                }
                continue;
            }
            info!(link = link.name, "link is up");
            let index = link.index;
            let task = follow(
                link,
                self.config.method.clone(),
                self.node_id.clone(),
                sender.clone(),
            );
            self.tasks.insert(index, tokio::spawn(task));
        }
        Ok(())
    }

    /// The chosen link, if the kernel no longer has it.
    async fn gone(&self) -> Result<Option<Link>, LinkError> {
        let Some(chosen) = &self.chosen else {
            return Ok(None);
        };
        let links = self.links.ethernet().await?;
        let there = links
            .iter()
            .any(|link| link.index == chosen.index && link.address == chosen.address);
        Ok((!there).then(|| chosen.clone()))
    }

    fn release(&mut self, link: &Link) {
        self.chosen = None;
        if let Some(task) = self.tasks.remove(&link.index) {
            task.abort();
        }
    }

    async fn take(&mut self, link: Link, event: LinkEvent) -> Option<NetworkEvent> {
        if self
            .chosen
            .as_ref()
            .is_some_and(|chosen| chosen.index != link.index)
        {
            return None;
        }
        match event {
            LinkEvent::Settings(settings) => match self.links.apply(&link, &settings).await {
                Ok(()) => {
                    self.choose(link);
                    Some(NetworkEvent::Up(settings))
                }
                Err(error) => {
                    self.release(&link);
                    let cause = std::error::Error::source(&error);
                    let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
                    Some(NetworkEvent::Down(format!("{}: {error}{cause}", link.name)))
                }
            },
            LinkEvent::Lost(detail) => {
                if self.chosen.take().is_some()
                    && let Err(error) = self.links.remove_addresses(&link, None).await
                {
                    warn!(link = link.name, %error, "address stays");
                }
                Some(NetworkEvent::Down(detail))
            }
        }
    }

    fn choose(&mut self, link: Link) {
        if self.chosen.is_none() {
            info!(link = link.name, "link is used");
            for (index, task) in &self.tasks {
                if *index != link.index {
                    task.abort();
                }
            }
            self.tasks.retain(|index, _| *index == link.index);
            self.chosen = Some(link);
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for task in self.tasks.values() {
            task.abort();
        }
    }
}

/// Tells the settings of one link, and every change of them.
async fn follow(link: Link, method: NetworkMethod, node_id: String, sender: Sender<FromLink>) {
    if let Some(settings) = Settings::from_configuration(&method) {
        let _ = sender
            .send(FromLink {
                link,
                event: LinkEvent::Settings(settings),
            })
            .await;
        // the address stays until the link goes
        return std::future::pending().await;
    }
    loop {
        let error = match Dhcp::start(&link, &node_id).await {
            Ok(mut dhcp) => loop {
                let event = match dhcp.next().await {
                    Ok(LeaseEvent::Leased(settings)) => LinkEvent::Settings(settings),
                    Ok(LeaseEvent::Lost) => {
                        LinkEvent::Lost(format!("the lease on {} ran out", link.name))
                    }
                    Err(error) => break error,
                };
                if sender
                    .send(FromLink {
                        link: link.clone(),
                        event,
                    })
                    .await
                    .is_err()
                {
                    return;
                }
            },
            Err(error) => error,
        };
        let cause = std::error::Error::source(&error);
        let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
        let event = LinkEvent::Lost(format!("{error}{cause}"));
        if sender
            .send(FromLink {
                link: link.clone(),
                event,
            })
            .await
            .is_err()
        {
            return;
        }
        sleep(DHCP_RETRY).await;
    }
}
