//! One Ethernet link with an address: found, set up, kept.

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use node_settings::{NetworkConfig, NetworkMethod};
use tokio::sync::mpsc::{Sender, channel};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};
use wire::NodeName;

use crate::chosen::{Change, Chosen};
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
    /// It can't be used any more.
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
    /// The lease is over.
    Lost(String),
    /// The DHCP client failed. What it had goes on until its time is over.
    Failed(String),
}

/// Finds a link and keeps it. Every candidate asks for a lease at once; the first that has an
/// address is the one, and the others stop.
pub(crate) struct Network {
    links: Links,
    events: LinkEvents,
    config: NetworkConfig,
    node_name: Option<NodeName>,
    /// The tasks of the candidates, by the link's index.
    tasks: HashMap<u32, JoinHandle<()>>,
    chosen: Option<Chosen>,
}

impl Network {
    pub(crate) fn new(
        config: NetworkConfig,
        node_name: Option<NodeName>,
    ) -> Result<Self, LinkError> {
        let (links, events) = Links::open()?;
        let tasks = HashMap::new();
        Ok(Self {
            links,
            events,
            config,
            node_name,
            tasks,
            chosen: None,
        })
    }

    /// Runs until the kernel's socket is gone; tells what the network came to.
    pub(crate) async fn run(mut self, tell: Sender<NetworkEvent>) -> Result<(), LinkError> {
        self.links.loopback().await?;
        if let Err(error) = self.links.guard_metadata(self.node_name.is_none()).await {
            warn!(
                error = chain(&error),
                "nothing keeps pods from the metadata service of a cloud"
            );
        }
        let (sender, mut from_links) = channel(16);
        self.look(&sender).await?;
        loop {
            tokio::select! {
                more = self.events.changed() => {
                    if !more {
                        return Ok(());
                    }
                    if let Some(event) = self.check(&sender).await? {
                        let _ = tell.send(event).await;
                    }
                    self.look(&sender).await?;
                }
                () = ended(self.chosen.as_ref().and_then(Chosen::ends)) => {
                    if let Some(event) = self.run_out().await {
                        let _ = tell.send(event).await;
                    }
                    self.look(&sender).await?;
                }
                Some(FromLink { link, event }) = from_links.recv() => {
                    if let Some(event) = self.take(link, event).await {
                        let _ = tell.send(event).await;
                    }
                    // it may have lost its carrier before it was chosen
                    if let Some(event) = self.check(&sender).await? {
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
            self.follow(link, sender);
        }
        Ok(())
    }

    /// Looks what became of the chosen link.
    async fn check(
        &mut self,
        sender: &Sender<FromLink>,
    ) -> Result<Option<NetworkEvent>, LinkError> {
        let Some(chosen) = &mut self.chosen else {
            return Ok(None);
        };
        let links = self.links.ethernet().await?;
        let change = chosen.look(&links, Instant::now());
        let link = chosen.link().clone();
        Ok(match change {
            None => None,
            Some(Change::Gone) => {
                self.release(&link);
                Some(NetworkEvent::Down(format!(
                    "the link {} is gone",
                    link.name
                )))
            }
            Some(Change::CarrierLost) => {
                // were it taken down by hand, its carrier would never come back
                if let Err(error) = self.links.set_up(link.index).await {
                    warn!(link = link.name, %error, "link does not come up");
                }
                let detail = format!("the link {} has no carrier: is its cable in?", link.name);
                Some(NetworkEvent::Down(detail))
            }
            Some(Change::CarrierBack(settings)) => {
                info!(link = link.name, "carrier is back");
                if settings.lifetime.is_some() {
                    // it may be the cable of another network: its server is asked at once
                    self.follow(link.clone(), sender);
                }
                match self.links.apply(&link, &settings).await {
                    Ok(()) => Some(NetworkEvent::Up(settings)),
                    Err(error) => {
                        self.release(&link);
                        Some(NetworkEvent::Down(told(&link, &error)))
                    }
                }
            }
        })
    }

    /// The time of the chosen link's lease is over.
    async fn run_out(&mut self) -> Option<NetworkEvent> {
        let link = self.chosen.take()?.link().clone();
        if let Err(error) = self.links.remove_addresses(&link, None).await {
            warn!(link = link.name, %error, "address stays");
        }
        Some(NetworkEvent::Down(ran_out(&link)))
    }

    /// Starts the task of a link, in place of the one that it may have.
    fn follow(&mut self, link: Link, sender: &Sender<FromLink>) {
        let index = link.index;
        let (method, node_name) = (self.config.method.clone(), self.node_name.clone());
        let task = tokio::spawn(follow(link, method, node_name, sender.clone()));
        if let Some(former) = self.tasks.insert(index, task) {
            former.abort();
        }
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
            .is_some_and(|chosen| chosen.link().index != link.index)
        {
            return None;
        }
        match event {
            LinkEvent::Settings(settings) => match self.links.apply(&link, &settings).await {
                Ok(()) => self.choose(link, settings),
                // the address that it has is still good
                Err(error) if self.is_valid() => {
                    warn!(detail = told(&link, &error), "the renewed lease is not set");
                    None
                }
                Err(error) => {
                    self.release(&link);
                    Some(NetworkEvent::Down(told(&link, &error)))
                }
            },
            LinkEvent::Failed(detail) if self.is_valid() => {
                warn!(detail, "the address stays until its lease is over");
                None
            }
            LinkEvent::Lost(detail) | LinkEvent::Failed(detail) => {
                if self.chosen.take().is_some()
                    && let Err(error) = self.links.remove_addresses(&link, None).await
                {
                    warn!(link = link.name, %error, "address stays");
                }
                Some(NetworkEvent::Down(detail))
            }
        }
    }

    /// Whether there is an address whose time is not over.
    fn is_valid(&self) -> bool {
        let now = Instant::now();
        self.chosen
            .as_ref()
            .is_some_and(|chosen| chosen.is_valid(now))
    }

    /// The link has these settings from now on. What is to be told of it.
    fn choose(&mut self, link: Link, settings: Settings) -> Option<NetworkEvent> {
        let now = Instant::now();
        if let Some(chosen) = &mut self.chosen {
            chosen.renew(settings.clone(), now);
            // without a carrier it can't be used all the same
            return chosen.has_carrier().then_some(NetworkEvent::Up(settings));
        }
        info!(link = link.name, "link is used");
        for (index, task) in &self.tasks {
            if *index != link.index {
                task.abort();
            }
        }
        self.tasks.retain(|index, _| *index == link.index);
        self.chosen = Some(Chosen::new(link, settings.clone(), now));
        Some(NetworkEvent::Up(settings))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for task in self.tasks.values() {
            task.abort();
        }
    }
}

/// Waits for the end of a lease; for ever where there is none.
async fn ended(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn ran_out(link: &Link) -> String {
    format!("the lease on {} ran out", link.name)
}

/// An error of a link, with its cause.
fn told(link: &Link, error: &(dyn Error + 'static)) -> String {
    format!("{}: {}", link.name, chain(error))
}

/// An error with its cause.
fn chain(error: &(dyn Error + 'static)) -> String {
    let cause = error.source();
    let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}

/// Tells the settings of one link, and every change of them.
async fn follow(
    link: Link,
    method: NetworkMethod,
    node_name: Option<NodeName>,
    sender: Sender<FromLink>,
) {
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
        let error = match Dhcp::start(&link, node_name.as_ref()).await {
            Ok(mut dhcp) => loop {
                let event = match dhcp.next().await {
                    Ok(LeaseEvent::Leased(settings)) => LinkEvent::Settings(settings),
                    Ok(LeaseEvent::Lost) => LinkEvent::Lost(ran_out(&link)),
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
        let event = LinkEvent::Failed(told(&link, &error));
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
