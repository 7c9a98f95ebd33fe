//! What is due in each state.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::super::acd;
use super::super::lease::Lease;
use super::super::message::{Kind, Query};
use super::{
    Action, FIRST_WAIT, Machine, PROBE_INTERVAL, REBOOT_REQUESTS, RENEWAL_WAIT, REQUESTS, State,
};

impl Machine {
    /// Whatever is due.
    pub(super) fn time(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if let Some(held) = &mut self.held {
            if held.announce.is_some_and(|at| at <= now) {
                held.announce = None;
                let packet = acd::announcement(self.client.hardware, held.lease.address);
                actions.push(Action::Arp(packet));
            }
            if held.end().is_some_and(|end| end <= now) {
                let detail = format!("the lease of {} ran out", held.lease.address);
                self.lose(now, detail, actions);
                // a search for another may be under way since the carrier came back
                if matches!(self.state, State::Bound | State::Extending { .. }) {
                    self.search_again(now, Duration::ZERO, actions);
                }
            }
        }
        self.time_of_state(now, actions);
    }

    pub(super) fn time_of_state(&mut self, now: Duration, actions: &mut Vec<Action>) {
        match self.state.clone() {
            State::Waiting(until) if until <= now => {
                self.begun = now;
                self.discover(now, actions);
            }
            State::Selecting {
                second_choice: Some((offer, until)),
                ..
            } if until <= now => self.request(now, offer, actions),
            State::Selecting {
                next,
                tries,
                second_choice,
            } if next <= now => {
                self.broadcast(&self.query(now, Kind::Discover), actions);
                let next = now + self.wait(tries);
                let tries = tries.saturating_add(1);
                self.state = State::Selecting {
                    next,
                    tries,
                    second_choice,
                };
            }
            State::Requesting {
                offer,
                next,
                tries,
                sent,
            } if next <= now => self.request_again(now, offer, tries, sent, actions),
            State::Rebooting {
                address,
                next,
                tries,
                sent,
            } if next <= now => self.reboot_again(now, address, tries, sent, actions),
            State::Checking {
                lease, sent, until, ..
            } if until <= now => {
                self.bind(now, lease, sent, actions);
            }
            State::Checking {
                lease,
                sent,
                next,
                until,
            } if next <= now => {
                actions.push(Action::Arp(acd::probe(self.client.hardware, lease.address)));
                let next = next + PROBE_INTERVAL;
                self.state = State::Checking {
                    lease,
                    sent,
                    next,
                    until,
                };
            }
            State::Bound => {
                let due = self
                    .held
                    .as_ref()
                    .and_then(|held| held.at(|times| times.renew));
                if due.is_some_and(|due| due <= now) {
                    self.failures = 0;
                    self.begun = now;
                    self.transaction = (self.random)();
                    self.extend(now, actions);
                }
            }
            State::Extending { next, .. } if next <= now => self.extend(now, actions),
            _ => {}
        }
    }

    /// Asks for more time: the lease's server before T2, everybody after it.
    pub(super) fn extend(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let Some(held) = &self.held else {
            return self.search_again(now, Duration::ZERO, actions);
        };
        let (Some(times), Some(rebind), Some(end)) =
            (held.lease.times, held.at(|times| times.rebind), held.end())
        else {
            self.state = State::Bound;
            return;
        };
        let (own, server) = (held.lease.address, held.lease.server);
        let query = Query {
            own,
            ..self.query(now, Kind::Request)
        };
        let until = if now < rebind {
            actions.push(Action::Unicast(own, server, query.encode(&self.client)));
            rebind
        } else {
            self.broadcast(&query, actions);
            end
        };
        let least = RENEWAL_WAIT.min(times.end / 16).max(FIRST_WAIT);
        let wait = (until.saturating_sub(now) / 2).max(least);
        let wait = self.jitter(wait);
        self.state = State::Extending {
            next: (now + wait).min(until.max(now + FIRST_WAIT)),
            sent: now,
        };
    }

    fn request_again(
        &mut self,
        now: Duration,
        offer: Lease,
        tries: u32,
        sent: Duration,
        actions: &mut Vec<Action>,
    ) {
        if tries < REQUESTS {
            let next = self.send_request(now, &offer, tries, actions);
            let tries = tries + 1;
            self.state = State::Requesting {
                offer,
                next,
                tries,
                sent,
            };
        } else {
            let server = offer.server;
            self.note(
                format!(
                    "the server {server} offers {} and does not acknowledge it",
                    offer.address
                ),
                actions,
            );
            self.avoid(now, server);
            self.search_again(now, Duration::ZERO, actions);
        }
    }

    fn reboot_again(
        &mut self,
        now: Duration,
        address: Ipv4Addr,
        tries: u32,
        sent: Duration,
        actions: &mut Vec<Action>,
    ) {
        if tries < REBOOT_REQUESTS {
            let next = self.ask_again(now, address, tries, actions);
            let tries = tries + 1;
            self.state = State::Rebooting {
                address,
                next,
                tries,
                sent,
            };
        } else {
            // what the link has goes on until its time is over, or there is something else
            self.discover(now, actions);
        }
    }
}
