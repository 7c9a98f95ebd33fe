//! The task of one link: its clients, and what they have to say.

use std::future::pending;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use node_settings::{Ipv4Method, Ipv6Method, LinkConfig};
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::Instant;
use wire::backoff::Backoff;

use crate::advertisements::{RouterNews, Routers};
use crate::dhcp4::{Dhcp4, LeaseEvent};
use crate::dhcp6::{Dhcp6, Wanted};
use crate::kept::KeptLeases;
use crate::links::Link;
use crate::receive::due;
use crate::settings::Settings;

/// The first and the longest wait before a client whose sockets failed begins anew.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What the task of a link has to say.
#[derive(Debug)]
pub(crate) struct FromLink {
    /// The link's index.
    pub(crate) index: u32,
    pub(crate) news: News,
}

/// What is new of a link.
#[derive(Debug)]
pub(crate) enum News {
    /// There is a lease, or it was renewed.
    Leased(Settings),
    /// The lease is over. Why.
    Lost(String),
    /// What routers advertise for the resolver.
    Advertised(Settings),
    /// What DHCPv6 gives.
    Dhcp6(Settings),
    /// A client's sockets failed; it begins anew.
    Failed(String),
}

/// A message to a link's task.
#[derive(Debug)]
pub(crate) enum Command {
    /// The carrier is back.
    Carrier,
    /// The kernel does not take this address.
    Refused(IpAddr),
}

/// What the clients of all links need to know.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// The host name that is sent to servers.
    pub(crate) host_name: Option<String>,
    pub(crate) kept: KeptLeases,
}

/// A random number.
pub(crate) fn random() -> u32 {
    // the kernel's generator is ready long before this program starts
    getrandom::u32().unwrap_or(0x9e37_79b9)
}

/// A client that begins anew after a failure.
struct Restarting<T> {
    client: Option<T>,
    /// When the next one begins; none: there is one, or none is wanted.
    again: Option<Instant>,
    backoff: Backoff,
}

impl<T> Restarting<T> {
    fn new(wanted: bool) -> Self {
        Self {
            client: None,
            again: wanted.then(Instant::now),
            backoff: Backoff::new(RETRY.0, RETRY.1),
        }
    }

    fn begin(&mut self, client: io::Result<T>) -> Option<io::Error> {
        self.again = None;
        match client {
            Ok(client) => {
                self.client = Some(client);
                None
            }
            Err(error) => {
                self.fail();
                Some(error)
            }
        }
    }

    fn fail(&mut self) {
        self.client = None;
        let fraction = f64::from(random()) / f64::from(u32::MAX);
        self.again = Some(Instant::now() + self.backoff.fail_with_jitter(fraction));
    }
}

async fn lease(client: &mut Restarting<Dhcp4>) -> io::Result<LeaseEvent> {
    match &mut client.client {
        Some(client) => client.next().await,
        None => pending().await,
    }
}

async fn routers(client: &mut Restarting<Routers>) -> io::Result<RouterNews> {
    match &mut client.client {
        Some(client) => client.next().await,
        None => pending().await,
    }
}

async fn dhcp6(client: &mut Restarting<Dhcp6>) -> io::Result<Settings> {
    match &mut client.client {
        Some(client) => client.next().await,
        None => pending().await,
    }
}

/// Tells what becomes of one link, until nobody listens.
pub(crate) async fn follow(
    link: Link,
    config: LinkConfig,
    identity: Identity,
    sender: Sender<FromLink>,
    mut commands: Receiver<Command>,
) {
    let listens = match config.ipv6 {
        Ipv6Method::Auto => true,
        Ipv6Method::Static { gateway, .. } => gateway.is_none(),
        Ipv6Method::Off => false,
    };
    let mut four = Restarting::<Dhcp4>::new(config.ipv4 == Ipv4Method::Dhcp);
    let mut advertised = Restarting::<Routers>::new(listens);
    let mut six = Restarting::<Dhcp6>::new(false);
    let mut wanted = Wanted::Nothing;
    loop {
        let failed = |what: &str, error: io::Error| {
            Some(News::Failed(format!("{}: {what}: {error}", link.name)))
        };
        let (four_again, listen_again, six_again) = (four.again, advertised.again, six.again);
        let news = tokio::select! {
            event = lease(&mut four) => match event {
                Ok(LeaseEvent::Leased(settings)) => {
                    four.backoff.reset();
                    if let Some(IpAddr::V4(address)) = settings.addresses.first().map(|own| own.ip) {
                        identity.kept.keep(link.address, address);
                    }
                    Some(News::Leased(settings))
                }
                Ok(LeaseEvent::Lost(why)) => {
                    identity.kept.forget(link.address);
                    Some(News::Lost(why))
                }
                Err(error) => {
                    four.fail();
                    failed("the DHCP client failed", error)
                }
            },
            event = routers(&mut advertised) => match event {
                Ok(RouterNews { settings, dhcp }) => {
                    let asks = match (&config.ipv6, dhcp) {
                        (Ipv6Method::Auto, Some((true, _))) => Some(Wanted::Addresses),
                        (Ipv6Method::Auto, Some((false, true))) => Some(Wanted::Information),
                        (_, Some(_)) => Some(Wanted::Nothing),
                        (_, None) => None,
                    };
                    if let Some(asks) = asks.filter(|asks| *asks != wanted) {
                        wanted = asks;
                        six = Restarting::new(wanted != Wanted::Nothing);
                    }
                    Some(News::Advertised(settings))
                }
                Err(error) => {
                    advertised.fail();
                    failed("router advertisements are not received", error)
                }
            },
            event = dhcp6(&mut six) => match event {
                Ok(settings) => {
                    six.backoff.reset();
                    Some(News::Dhcp6(settings))
                }
                Err(error) => {
                    six.fail();
                    failed("the DHCPv6 client failed", error)
                }
            },
            command = commands.recv() => match command {
                Some(command) => {
                    obey(&mut four, &mut six, &command);
                    None
                }
                None => return,
            },
            () = due(four_again) => {
                let former: Option<Ipv4Addr> = identity.kept.former(link.address);
                let client = Dhcp4::start(&link, identity.host_name.clone(), former, Box::new(random));
                four.begin(client).and_then(|error| failed("no DHCP client", error))
            }
            () = due(listen_again) => {
                advertised.begin(Routers::listen(&link)).and_then(|error| failed("router advertisements are not received", error))
            }
            () = due(six_again) => {
                six.begin(Dhcp6::start(&link, wanted)).and_then(|error| failed("no DHCPv6 client", error))
            }
        };
        let from = |news| FromLink {
            index: link.index,
            news,
        };
        if let Some(news) = news
            && sender.send(from(news)).await.is_err()
        {
            return;
        }
    }
}

fn obey(four: &mut Restarting<Dhcp4>, six: &mut Restarting<Dhcp6>, command: &Command) {
    match command {
        Command::Carrier => {
            if let Some(client) = &mut four.client {
                client.carrier();
            }
            if let Some(client) = &mut six.client {
                client.carrier();
            }
        }
        Command::Refused(IpAddr::V4(_)) => {
            if let Some(client) = &mut four.client {
                client.refused();
            }
        }
        // the next renewal brings it again, or another
        Command::Refused(IpAddr::V6(_)) => {}
    }
}
