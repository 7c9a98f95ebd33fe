//! The DHCPv4 client as a state machine (RFC 2131, section 4.4): events and the time in, actions out.
//!
//! Every state has a deadline, and every chain of deadlines leads back to DISCOVER: whatever a server says or does
//! not say, the search begins anew within a bound, and no faster than the backoff allows.

mod replies;
mod timers;

use std::net::Ipv4Addr;
use std::time::Duration;

use super::lease::{Lease, Times};
use super::message::{Client, Kind, Query, Reply};

/// Waits between two messages of one kind: they double from the first to the longest (RFC 2131, section 4.1, begins
/// with 4 s; a boot that lost one packet should not wait that long).
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(64);
/// How many REQUESTs an offer is worth: 1 + 2 + 4 + 8 s.
const REQUESTS: u32 = 4;
/// How many ask for the address of before: 1 + 2 s.
const REBOOT_REQUESTS: u32 = 2;
/// How long an offer of a server that has failed waits for another's.
const SECOND_CHOICE: Duration = Duration::from_secs(2);
/// How long a server that has failed is the second choice.
const AVOIDANCE: Duration = Duration::from_secs(600);
/// The most servers that are remembered so.
const AVOIDED: usize = 8;
/// How long an address is asked for before it is used. RFC 5227 has seconds for it, which a boot would wait; a host of
/// today answers within milliseconds. One that is later has the better right until [`PROBATION`] is over.
const PROBE_TIME: Duration = Duration::from_millis(200);
const PROBE_INTERVAL: Duration = Duration::from_millis(100);
/// Who claims an address so soon after it was begun to be used had it before: it is given up at once, as by a host
/// that waits as long as RFC 5227 says (`PROBE_WAIT`, three probes up to `PROBE_MAX` apart, `ANNOUNCE_WAIT`).
const PROBATION: Duration = Duration::from_secs(7);
/// Between the two announcements (RFC 5227, `ANNOUNCE_INTERVAL`).
const ANNOUNCEMENT_INTERVAL: Duration = Duration::from_secs(2);
/// A second claim within this time ends the use of an address (RFC 5227, `DEFEND_INTERVAL`).
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);
/// The wait after a DECLINE (RFC 2131, section 3.1, item 5).
const DECLINE_WAIT: Duration = Duration::from_secs(10);
/// A lease that was had for so long makes earlier failures past.
const SETTLED: Duration = Duration::from_secs(60);
/// The shortest wait between two REQUESTs for more time (RFC 2131, section 4.4.5), where the lease is long enough.
const RENEWAL_WAIT: Duration = Duration::from_secs(60);

/// What happens to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// The link has a carrier: at the start, or again. It may be another network.
    Carrier,
    /// A server's message.
    Reply(Box<Reply>),
    /// Another host, by its Ethernet address, has the address.
    Conflict([u8; 6]),
    /// The kernel does not take the address.
    Refused,
    /// A deadline may have come.
    Time,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Send a message to everybody on the link, from this address.
    Broadcast(Ipv4Addr, Vec<u8>),
    /// Send a message from this address to a server.
    Unicast(Ipv4Addr, Ipv4Addr, Vec<u8>),
    /// Send an ARP packet to everybody on the link.
    Arp(Vec<u8>),
    /// Watch who claims this address; none: nobody.
    Watch(Option<Ipv4Addr>),
    /// The link has this lease from now on; its time runs since then.
    Leased(Box<Lease>, Duration),
    /// The lease is over: its address is not used any more. Why, in a sentence.
    Lost(String),
    /// Something that a person should know.
    Note(String),
}

/// The lease that the link has.
#[derive(Debug, Clone)]
struct Held {
    lease: Lease,
    /// When it was asked for: its time runs from then.
    since: Duration,
    /// When it was had first.
    bound: Duration,
    /// When its address was defended last.
    defended: Option<Duration>,
    /// When it is announced the second time.
    announce: Option<Duration>,
}

impl Held {
    fn at(&self, of: impl Fn(&Times) -> Duration) -> Option<Duration> {
        let times = self.lease.times.as_ref()?;
        self.since.checked_add(of(times))
    }

    fn end(&self) -> Option<Duration> {
        self.at(|times| times.end)
    }
}

#[derive(Debug, Clone)]
enum State {
    /// Nothing before this time.
    Waiting(Duration),
    /// DISCOVER was sent.
    Selecting {
        next: Duration,
        tries: u32,
        /// An offer of a server that has failed, and until when another's is preferred.
        second_choice: Option<(Lease, Duration)>,
    },
    /// REQUEST for an offer was sent.
    Requesting {
        offer: Lease,
        next: Duration,
        tries: u32,
        sent: Duration,
    },
    /// REQUEST for the address of before was sent (INIT-REBOOT).
    Rebooting {
        address: Ipv4Addr,
        next: Duration,
        tries: u32,
        sent: Duration,
    },
    /// A server has acknowledged; whether another host has the address is found out.
    Checking {
        lease: Lease,
        sent: Duration,
        next: Duration,
        until: Duration,
    },
    /// There is a lease, and nothing to ask for.
    Bound,
    /// More time is asked for: of its server, then of every one.
    Extending { next: Duration, sent: Duration },
}

/// A source of random numbers.
pub(crate) type Random = Box<dyn FnMut() -> u32 + Send>;

/// A client on one link.
pub(crate) struct Machine {
    client: Client,
    random: Random,
    state: State,
    held: Option<Held>,
    /// The address to ask for again.
    former: Option<Ipv4Addr>,
    transaction: u32,
    /// When the search began.
    begun: Duration,
    /// Searches that came to nothing, one after the other.
    failures: u32,
    avoided: Vec<(Ipv4Addr, Duration)>,
    notes: Vec<String>,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Machine")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Machine {
    /// A client that knows nothing yet, but perhaps the address of before.
    pub(crate) fn new(client: Client, former: Option<Ipv4Addr>, random: Random) -> Self {
        Self {
            client,
            random,
            state: State::Waiting(Duration::MAX),
            held: None,
            former,
            transaction: 0,
            begun: Duration::ZERO,
            failures: 0,
            avoided: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// When [`Event::Time`] is due at the latest.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let of_state = match &self.state {
            State::Waiting(until) => Some(*until),
            State::Selecting {
                next,
                second_choice,
                ..
            } => Some(
                second_choice
                    .as_ref()
                    .map_or(*next, |(_, until)| (*until).min(*next)),
            ),
            State::Requesting { next, .. }
            | State::Rebooting { next, .. }
            | State::Extending { next, .. } => Some(*next),
            State::Checking { next, until, .. } => Some((*next).min(*until)),
            State::Bound => self
                .held
                .as_ref()
                .and_then(|held| held.at(|times| times.renew)),
        };
        let of_held = self.held.as_ref().and_then(|held| {
            let end = held.end();
            [end, held.announce].into_iter().flatten().min()
        });
        [of_state, of_held]
            .into_iter()
            .flatten()
            .filter(|at| *at != Duration::MAX)
            .min()
    }

    /// Takes an event.
    pub(crate) fn handle(&mut self, now: Duration, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Carrier => self.carrier(now, &mut actions),
            Event::Reply(reply) => self.reply(now, &reply, &mut actions),
            Event::Conflict(by) => self.conflict(now, by, &mut actions),
            Event::Refused => self.refused(now, &mut actions),
            Event::Time => {}
        }
        self.time(now, &mut actions);
        actions
    }

    /// A wait with jitter, around the one that doubles with each try.
    fn wait(&mut self, tries: u32) -> Duration {
        let wait = FIRST_WAIT
            .saturating_mul(1 << tries.min(6))
            .min(LONGEST_WAIT);
        self.jitter(wait)
    }

    /// From seven eighths to nine eighths.
    fn jitter(&mut self, wait: Duration) -> Duration {
        let part = (self.random)() % 1024;
        wait * 7 / 8 + wait / 4 * part / 1024
    }

    fn query(&self, now: Duration, kind: Kind) -> Query {
        let seconds = now.saturating_sub(self.begun).as_secs();
        Query {
            kind,
            transaction: self.transaction,
            seconds: u16::try_from(seconds).unwrap_or(u16::MAX),
            own: Ipv4Addr::UNSPECIFIED,
            requested: None,
            server: None,
        }
    }

    fn broadcast(&self, query: &Query, actions: &mut Vec<Action>) {
        actions.push(Action::Broadcast(query.own, query.encode(&self.client)));
    }

    fn carrier(&mut self, now: Duration, actions: &mut Vec<Action>) {
        self.begun = now;
        let address = self
            .held
            .as_ref()
            .map(|held| held.lease.address)
            .or(self.former.take());
        match address {
            Some(address) => {
                self.transaction = (self.random)();
                let next = self.ask_again(now, address, 0, actions);
                self.state = State::Rebooting {
                    address,
                    next,
                    tries: 1,
                    sent: now,
                };
            }
            None => self.discover(now, actions),
        }
    }

    fn ask_again(
        &mut self,
        now: Duration,
        address: Ipv4Addr,
        tries: u32,
        actions: &mut Vec<Action>,
    ) -> Duration {
        let query = Query {
            requested: Some(address),
            ..self.query(now, Kind::Request)
        };
        self.broadcast(&query, actions);
        now + self.wait(tries)
    }

    /// Begins the search at once.
    fn discover(&mut self, now: Duration, actions: &mut Vec<Action>) {
        self.transaction = (self.random)();
        self.broadcast(&self.query(now, Kind::Discover), actions);
        self.state = State::Selecting {
            next: now + self.wait(0),
            tries: 1,
            second_choice: None,
        };
    }

    /// Begins the search anew: at once after a lease that has worked, else after a wait that grows.
    fn search_again(&mut self, now: Duration, least: Duration, actions: &mut Vec<Action>) {
        let wait = match self.failures {
            0 => Duration::ZERO,
            failures => self.wait(failures - 1),
        };
        self.failures = self.failures.saturating_add(1);
        let wait = wait.max(least);
        if self.held.is_none() {
            actions.push(Action::Watch(None));
        }
        if wait.is_zero() {
            self.begun = now;
            self.discover(now, actions);
        } else {
            self.state = State::Waiting(now + wait);
        }
    }

    fn avoid(&mut self, now: Duration, server: Ipv4Addr) {
        self.avoided
            .retain(|(other, until)| *other != server && *until > now);
        if self.avoided.len() == AVOIDED {
            self.avoided.remove(0);
        }
        self.avoided.push((server, now + AVOIDANCE));
    }

    fn is_avoided(&self, now: Duration, server: Ipv4Addr) -> bool {
        self.avoided
            .iter()
            .any(|(other, until)| *other == server && *until > now)
    }
}

#[cfg(test)]
mod tests;
