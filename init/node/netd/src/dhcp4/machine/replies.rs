//! What servers and other hosts say, and what becomes of it.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::super::acd;
use super::super::lease::Lease;
use super::super::message::{Kind, Query, Reply};
use super::{
    ANNOUNCEMENT_INTERVAL, Action, DECLINE_WAIT, DEFEND_INTERVAL, Held, Machine, PROBATION,
    PROBE_INTERVAL, PROBE_TIME, SECOND_CHOICE, SETTLED, State,
};

impl Machine {
    pub(super) fn reply(&mut self, now: Duration, reply: &Reply, actions: &mut Vec<Action>) {
        if reply.transaction != self.transaction || reply.hardware != self.client.hardware {
            return;
        }
        match reply.kind {
            Kind::Offer => self.offer(now, reply, actions),
            Kind::Ack => self.acknowledged(now, reply, actions),
            Kind::Nak => self.refused_by_server(now, reply, actions),
            _ => {}
        }
    }

    pub(super) fn offer(&mut self, now: Duration, reply: &Reply, actions: &mut Vec<Action>) {
        let State::Selecting { second_choice, .. } = &self.state else {
            return;
        };
        let waits = second_choice.is_some();
        let lease = match Lease::from_reply(reply) {
            Ok((lease, _)) => lease,
            Err(error) => {
                self.note(
                    format!("an offer of {} can't be used: {error}", reply.source),
                    actions,
                );
                return;
            }
        };
        if !self.is_avoided(now, lease.server) {
            self.request(now, lease, actions);
        } else if !waits && let State::Selecting { second_choice, .. } = &mut self.state {
            *second_choice = Some((lease, now + SECOND_CHOICE));
        }
    }

    pub(super) fn request(&mut self, now: Duration, offer: Lease, actions: &mut Vec<Action>) {
        // asked for while the server thinks: the answer is there when its acknowledgement is
        if !self.holds(offer.address) {
            actions.push(Action::Watch(Some(offer.address)));
            actions.push(Action::Arp(acd::probe(self.client.hardware, offer.address)));
        }
        let next = self.send_request(now, &offer, 0, actions);
        self.state = State::Requesting {
            offer,
            next,
            tries: 1,
            sent: now,
        };
    }

    pub(super) fn send_request(
        &mut self,
        now: Duration,
        offer: &Lease,
        tries: u32,
        actions: &mut Vec<Action>,
    ) -> Duration {
        let query = Query {
            requested: Some(offer.address),
            server: Some(offer.server),
            ..self.query(now, Kind::Request)
        };
        self.broadcast(&query, actions);
        now + self.wait(tries)
    }

    pub(super) fn holds(&self, address: Ipv4Addr) -> bool {
        self.held
            .as_ref()
            .is_some_and(|held| held.lease.address == address)
    }

    pub(super) fn acknowledged(&mut self, now: Duration, reply: &Reply, actions: &mut Vec<Action>) {
        let (sent, probed) = match &self.state {
            State::Requesting { sent, .. } => (*sent, Some(*sent)),
            State::Rebooting { sent, .. } | State::Extending { sent, .. } => (*sent, None),
            _ => return,
        };
        let (lease, notes) = match Lease::from_reply(reply) {
            Ok(lease) => lease,
            Err(error) => {
                self.note(
                    format!(
                        "an acknowledgement of {} can't be used: {error}",
                        reply.source
                    ),
                    actions,
                );
                self.avoid(now, reply.server.unwrap_or(reply.source));
                // more time can still come by the next try
                if !matches!(self.state, State::Extending { .. }) {
                    self.search_again(now, Duration::ZERO, actions);
                }
                return;
            }
        };
        if self.notes != notes {
            for note in &notes {
                actions.push(Action::Note(format!(
                    "of the lease by {}: {note}",
                    lease.server
                )));
            }
            self.notes = notes;
        }
        if self.holds(lease.address) {
            self.bind(now, lease, sent, actions);
            return;
        }
        actions.push(Action::Watch(Some(lease.address)));
        actions.push(Action::Arp(acd::probe(self.client.hardware, lease.address)));
        let until = probed.map_or(now + PROBE_TIME, |probed| {
            (probed + PROBE_TIME).max(now + PROBE_INTERVAL)
        });
        self.state = State::Checking {
            lease,
            sent,
            next: now + PROBE_INTERVAL,
            until,
        };
    }

    pub(super) fn bind(
        &mut self,
        now: Duration,
        lease: Lease,
        since: Duration,
        actions: &mut Vec<Action>,
    ) {
        self.avoided.retain(|(server, _)| *server != lease.server);
        let address = lease.address;
        let fresh = !self.holds(address);
        let bound = self.held.as_ref().map_or(now, |held| held.bound);
        let defended = self.held.as_ref().and_then(|held| held.defended);
        self.held = Some(Held {
            lease: lease.clone(),
            since,
            bound: if fresh { now } else { bound },
            defended: if fresh { None } else { defended },
            announce: fresh.then_some(now + ANNOUNCEMENT_INTERVAL),
        });
        self.state = State::Bound;
        actions.push(Action::Leased(Box::new(lease), since));
        if fresh {
            actions.push(Action::Arp(acd::announcement(
                self.client.hardware,
                address,
            )));
        }
    }

    pub(super) fn refused_by_server(
        &mut self,
        now: Duration,
        reply: &Reply,
        actions: &mut Vec<Action>,
    ) {
        let said = reply
            .text
            .as_ref()
            .map(|text| format!(": {text}"))
            .unwrap_or_default();
        let by = reply.server.unwrap_or(reply.source);
        match &self.state {
            State::Requesting { offer, .. } => {
                // one that was not asked has nothing to refuse
                if reply.server.is_some_and(|server| server != offer.server) {
                    return;
                }
                let (server, address) = (offer.server, offer.address);
                self.note(
                    format!("the server {server} refuses {address}, which it offered{said}"),
                    actions,
                );
                self.avoid(now, server);
                self.search_again(now, Duration::ZERO, actions);
            }
            State::Rebooting { address, .. } => {
                let detail = format!("the server {by} refuses {address}{said}");
                self.lose(now, detail, actions);
                self.discover(now, actions);
            }
            State::Extending { .. } => {
                let address = self.held.as_ref().map(|held| held.lease.address);
                let address = address.unwrap_or(Ipv4Addr::UNSPECIFIED);
                self.lose(
                    now,
                    format!("the server {by} takes {address} back{said}"),
                    actions,
                );
                self.search_again(now, Duration::ZERO, actions);
            }
            _ => {}
        }
    }

    /// Gives the lease up that the link has, if it has one.
    pub(super) fn lose(&mut self, now: Duration, detail: String, actions: &mut Vec<Action>) {
        if let Some(held) = self.held.take() {
            if now.saturating_sub(held.bound) >= SETTLED {
                self.failures = 0;
            }
            self.begun = now;
            actions.push(Action::Watch(None));
            actions.push(Action::Lost(detail));
        } else {
            self.note(detail, actions);
        }
    }

    pub(super) fn note(&mut self, note: String, actions: &mut Vec<Action>) {
        actions.push(Action::Note(note));
    }

    pub(super) fn decline(&mut self, now: Duration, lease: &Lease, actions: &mut Vec<Action>) {
        let query = Query {
            requested: Some(lease.address),
            server: Some(lease.server),
            ..self.query(now, Kind::Decline)
        };
        self.broadcast(&query, actions);
        self.avoid(now, lease.server);
    }

    pub(super) fn conflict(&mut self, now: Duration, by: [u8; 6], actions: &mut Vec<Action>) {
        let [a, b, c, d, e, f] = by;
        let host = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
        if let State::Requesting { offer: lease, .. } | State::Checking { lease, .. } = &self.state
            && !self.holds(lease.address)
        {
            let lease = lease.clone();
            self.note(
                format!("the host {host} has {} already: declined", lease.address),
                actions,
            );
            self.decline(now, &lease, actions);
            actions.push(Action::Watch(
                self.held.as_ref().map(|held| held.lease.address),
            ));
            self.search_again(now, DECLINE_WAIT, actions);
            return;
        }
        let Some(held) = &mut self.held else {
            return;
        };
        let again = held
            .defended
            .is_some_and(|at| now.saturating_sub(at) < DEFEND_INTERVAL)
            || now.saturating_sub(held.bound) < PROBATION;
        let address = held.lease.address;
        if !again {
            held.defended = Some(now);
            let packet = acd::announcement(self.client.hardware, address);
            actions.push(Action::Arp(packet));
            self.note(
                format!("the host {host} claims {address}, which this node has: defended"),
                actions,
            );
            return;
        }
        let lease = held.lease.clone();
        self.decline(now, &lease, actions);
        self.lose(
            now,
            format!("the host {host} uses {address}, too: given up"),
            actions,
        );
        self.search_again(now, DECLINE_WAIT, actions);
    }

    pub(super) fn refused(&mut self, now: Duration, actions: &mut Vec<Action>) {
        let Some(held) = &self.held else {
            return;
        };
        let lease = held.lease.clone();
        self.decline(now, &lease, actions);
        self.lose(
            now,
            format!("the kernel does not take {}", lease.address),
            actions,
        );
        self.search_again(now, DECLINE_WAIT, actions);
    }
}
