//! The DHCPv6 client as a state machine (RFC 8415, section 18): events and the time in, actions out. As with DHCPv4,
//! every state has a deadline and a way back to the first.

use std::time::Duration;

use super::message::{Kind, Query, Reply};

/// Waits between two messages of one kind: they double from the first to the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(120);
/// How many REQUESTs an offer is worth.
const REQUESTS: u32 = 4;
/// The shortest wait between two renewals.
const RENEWAL_WAIT: Duration = Duration::from_secs(10);
/// When information is asked for again (`IRT_DEFAULT`), and the shortest time for it (`IRT_MINIMUM`).
const REFRESH: Duration = Duration::from_secs(86_400);
const SHORTEST_REFRESH: Duration = Duration::from_secs(600);
/// The shortest lifetime that is followed by renewals.
const SHORTEST_LEASE: Duration = Duration::from_secs(10);
/// How long an offer of a server that has failed waits for another's.
const SECOND_CHOICE: Duration = Duration::from_secs(2);

/// What happens to the client.
#[derive(Debug)]
pub(crate) enum Event {
    /// The link has a carrier, at the start or again.
    Carrier,
    Reply(Box<Reply>),
    Time,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Action {
    /// Send to all servers of the link.
    Send(Vec<u8>),
    /// This is had from now on; its time runs since then.
    Have(Box<Reply>, Duration),
    /// There is nothing any more.
    Lost,
    Note(String),
}

#[derive(Debug, Clone)]
enum State {
    /// Before the first carrier.
    Idle,
    /// Every server is asked: for offers, or for information.
    Asking {
        next: Duration,
        tries: u32,
        second_choice: Option<(Reply, Duration)>,
    },
    /// One is asked for what it offers.
    Requesting {
        offer: Reply,
        next: Duration,
        tries: u32,
    },
    /// There is what was asked for; at this time it is asked for anew.
    Done { next: Option<Duration> },
    /// More time is asked for.
    Extending { next: Duration },
}

#[derive(Debug, Clone)]
struct Held {
    reply: Reply,
    since: Duration,
}

impl Held {
    fn lifetime(&self) -> Option<Duration> {
        let longest = self
            .reply
            .addresses
            .iter()
            .map(|(_, _, valid)| *valid)
            .max()?;
        (longest != u32::MAX).then(|| Duration::from_secs(longest.into()))
    }

    fn end(&self) -> Option<Duration> {
        Some(self.since + self.lifetime()?)
    }

    /// T1 and T2, in order and before the end; the recommended parts of the lifetime otherwise.
    fn renewals(&self) -> Option<(Duration, Duration)> {
        let end = self.lifetime()?.max(SHORTEST_LEASE);
        let given = |seconds: u32| Duration::from_secs(seconds.into());
        let (t1, t2) = (given(self.reply.times.0), given(self.reply.times.1));
        let in_order = t1 >= FIRST_WAIT && t1 < t2 && t2 < end;
        let (t1, t2) = if in_order {
            (t1, t2)
        } else {
            (end / 2, end * 4 / 5)
        };
        Some((self.since + t1, self.since + t2))
    }
}

/// A client on one link.
pub(crate) struct Machine {
    hardware: [u8; 6],
    /// Whether an address is wanted, or information alone.
    addresses: bool,
    random: Box<dyn FnMut() -> u32 + Send>,
    state: State,
    held: Option<Held>,
    transaction: u32,
    begun: Duration,
    failed: Option<Vec<u8>>,
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
    pub(crate) fn new(
        hardware: [u8; 6],
        addresses: bool,
        random: Box<dyn FnMut() -> u32 + Send>,
    ) -> Self {
        Self {
            hardware,
            addresses,
            random,
            state: State::Idle,
            held: None,
            transaction: 0,
            begun: Duration::ZERO,
            failed: None,
        }
    }

    /// When [`Event::Time`] is due at the latest.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let of_state = match &self.state {
            State::Idle => None,
            State::Asking {
                next,
                second_choice,
                ..
            } => Some(
                second_choice
                    .as_ref()
                    .map_or(*next, |(_, until)| (*until).min(*next)),
            ),
            State::Requesting { next, .. } | State::Extending { next } => Some(*next),
            State::Done { next } => *next,
        };
        let end = self.held.as_ref().and_then(Held::end);
        [of_state, end].into_iter().flatten().min()
    }

    /// Takes an event.
    pub(crate) fn handle(&mut self, now: Duration, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Carrier => self.ask(now, &mut actions),
            Event::Reply(reply) => self.reply(now, *reply, &mut actions),
            Event::Time => {}
        }
        self.time(now, &mut actions);
        actions
    }

    /// A wait with the jitter of a tenth (section 15).
    fn wait(&mut self, tries: u32) -> Duration {
        let wait = FIRST_WAIT
            .saturating_mul(1 << tries.min(7))
            .min(LONGEST_WAIT);
        wait * 9 / 10 + wait / 5 * ((self.random)() % 1024) / 1024
    }

    fn send(
        &self,
        now: Duration,
        kind: Kind,
        server: Option<&[u8]>,
        of: Option<&Reply>,
        actions: &mut Vec<Action>,
    ) {
        let elapsed = now.saturating_sub(self.begun).as_millis() / 10;
        let query = Query {
            kind,
            transaction: self.transaction,
            hardware: self.hardware,
            elapsed: u16::try_from(elapsed).unwrap_or(u16::MAX),
            server,
            addresses: self
                .addresses
                .then(|| of.map_or(&[][..], |reply| &reply.addresses)),
        };
        actions.push(Action::Send(query.encode()));
    }

    /// Begins anew.
    fn ask(&mut self, now: Duration, actions: &mut Vec<Action>) {
        self.begun = now;
        self.transaction = (self.random)() & 0x00ff_ffff;
        let next = self.ask_again(now, 0, actions);
        self.state = State::Asking {
            next,
            tries: 1,
            second_choice: None,
        };
    }

    fn ask_again(&mut self, now: Duration, tries: u32, actions: &mut Vec<Action>) -> Duration {
        let kind = if self.addresses {
            Kind::Solicit
        } else {
            Kind::Information
        };
        self.send(now, kind, None, None, actions);
        now + self.wait(tries)
    }

    fn reply(&mut self, now: Duration, reply: Reply, actions: &mut Vec<Action>) {
        let other = reply
            .hardware
            .is_some_and(|hardware| hardware != self.hardware);
        if reply.transaction != self.transaction || other {
            return;
        }
        match (&self.state, reply.kind) {
            (State::Asking { second_choice, .. }, Kind::Advertise) if self.addresses => {
                if reply.addresses.is_empty() || reply.refusal.is_some() {
                    let code = reply.refusal.unwrap_or(0);
                    actions.push(Action::Note(format!(
                        "a DHCPv6 server has no address (status {code})"
                    )));
                } else if self.failed.as_ref() != Some(&reply.server) {
                    self.request(now, reply, actions);
                } else if second_choice.is_none()
                    && let State::Asking { second_choice, .. } = &mut self.state
                {
                    *second_choice = Some((reply, now + SECOND_CHOICE));
                }
            }
            (State::Asking { .. }, Kind::Reply) if !self.addresses => {
                let refresh = reply
                    .refresh
                    .map(|seconds| Duration::from_secs(seconds.into()));
                let refresh = refresh.unwrap_or(REFRESH).max(SHORTEST_REFRESH);
                self.state = State::Done {
                    next: now.checked_add(refresh),
                };
                actions.push(Action::Have(Box::new(reply), now));
            }
            (State::Requesting { .. }, Kind::Reply) => {
                if reply.addresses.is_empty() || reply.refusal.is_some() {
                    self.give_up(now, "refuses what it offered", actions);
                } else {
                    self.have(now, reply, actions);
                }
            }
            (State::Extending { .. }, Kind::Reply) => {
                if reply.addresses.is_empty() || reply.refusal.is_some() {
                    // it does not know the address (NoBinding), or takes it back
                    self.held = None;
                    actions.push(Action::Note(
                        "a DHCPv6 server takes the address back".to_owned(),
                    ));
                    actions.push(Action::Lost);
                    self.ask(now, actions);
                } else {
                    self.have(now, reply, actions);
                }
            }
            _ => {}
        }
    }

    fn request(&mut self, now: Duration, offer: Reply, actions: &mut Vec<Action>) {
        self.transaction = (self.random)() & 0x00ff_ffff;
        self.send(
            now,
            Kind::Request,
            Some(&offer.server),
            Some(&offer),
            actions,
        );
        let next = now + self.wait(0);
        self.state = State::Requesting {
            offer,
            next,
            tries: 1,
        };
    }

    fn have(&mut self, now: Duration, reply: Reply, actions: &mut Vec<Action>) {
        self.failed = None;
        let held = Held {
            reply: reply.clone(),
            since: now,
        };
        self.state = State::Done {
            next: held.renewals().map(|(renew, _)| renew),
        };
        self.held = Some(held);
        actions.push(Action::Have(Box::new(reply), now));
    }

    fn give_up(&mut self, now: Duration, why: &str, actions: &mut Vec<Action>) {
        if let State::Requesting { offer, .. } = &self.state {
            actions.push(Action::Note(format!("a DHCPv6 server {why}")));
            self.failed = Some(offer.server.clone());
        }
        // not at once: a server that refuses for ever is asked ever more seldom by the waits of this state
        self.begun = now;
        self.transaction = (self.random)() & 0x00ff_ffff;
        let next = now + self.wait(3);
        self.state = State::Asking {
            next,
            tries: 4,
            second_choice: None,
        };
    }

    fn time(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if self
            .held
            .as_ref()
            .and_then(Held::end)
            .is_some_and(|end| end <= now)
        {
            self.held = None;
            actions.push(Action::Note("the address of DHCPv6 ran out".to_owned()));
            actions.push(Action::Lost);
            if matches!(self.state, State::Done { .. } | State::Extending { .. }) {
                self.ask(now, actions);
            }
        }
        match self.state.clone() {
            State::Asking {
                second_choice: Some((offer, until)),
                ..
            } if until <= now => {
                self.request(now, offer, actions);
            }
            State::Asking {
                next,
                tries,
                second_choice,
            } if next <= now => {
                let next = self.ask_again(now, tries, actions);
                let tries = tries.saturating_add(1);
                self.state = State::Asking {
                    next,
                    tries,
                    second_choice,
                };
            }
            State::Requesting { offer, next, tries } if next <= now => {
                if tries < REQUESTS {
                    self.send(
                        now,
                        Kind::Request,
                        Some(&offer.server),
                        Some(&offer),
                        actions,
                    );
                    let next = now + self.wait(tries);
                    self.state = State::Requesting {
                        offer,
                        next,
                        tries: tries + 1,
                    };
                } else {
                    self.give_up(now, "offers an address and does not give it", actions);
                }
            }
            State::Done { next: Some(next) } if next <= now => {
                if self.held.is_some() {
                    self.begun = now;
                    self.transaction = (self.random)() & 0x00ff_ffff;
                    self.extend(now, actions);
                } else {
                    self.ask(now, actions);
                }
            }
            State::Extending { next } if next <= now => self.extend(now, actions),
            _ => {}
        }
    }

    fn extend(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let Some(held) = self.held.clone() else {
            return self.ask(now, actions);
        };
        let (Some((_, rebind)), Some(end)) = (held.renewals(), held.end()) else {
            self.state = State::Done { next: None };
            return;
        };
        let until = if now < rebind {
            self.send(
                now,
                Kind::Renew,
                Some(&held.reply.server),
                Some(&held.reply),
                actions,
            );
            rebind
        } else {
            self.send(now, Kind::Rebind, None, Some(&held.reply), actions);
            end
        };
        let wait = (until.saturating_sub(now) / 2)
            .max(RENEWAL_WAIT.min(end.saturating_sub(held.since) / 16))
            .max(FIRST_WAIT);
        self.state = State::Extending {
            next: (now + wait).min(until.max(now + FIRST_WAIT)),
        };
    }
}

#[cfg(test)]
mod tests;
