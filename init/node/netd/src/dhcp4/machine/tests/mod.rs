//! The client beside servers that do what they like, on a simulated clock.

mod property;

use super::super::message::tests::raw;
use super::*;

const HARDWARE: [u8; 6] = [2, 0, 0, 0, 0, 1];
const SERVER: [u8; 4] = [10, 0, 0, 1];
const HOUR: &[u8] = &[0, 0, 14, 16];
const SECOND: Duration = Duration::from_secs(1);

fn client() -> Client {
    Client {
        hardware: HARDWARE,
        host_name: None,
    }
}

fn machine(former: Option<Ipv4Addr>) -> Machine {
    let mut number = 0_u32;
    let random = move || {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        number
    };
    Machine::new(client(), former, Box::new(random))
}

/// What a test's server sees of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    at: Duration,
    kind: u8,
    transaction: [u8; 4],
    own: Ipv4Addr,
    requested: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
}

fn seen(at: Duration, message: &[u8]) -> Seen {
    let mut seen = Seen {
        at,
        kind: 0,
        transaction: message[4..8].try_into().unwrap(),
        own: <[u8; 4]>::try_from(&message[12..16]).unwrap().into(),
        requested: None,
        server: None,
    };
    let mut rest = &message[240..];
    while let [code @ 1..=254, length, behind @ ..] = rest {
        let (value, behind) = behind.split_at(usize::from(*length));
        let address = || Some(<[u8; 4]>::try_from(value).unwrap().into());
        match code {
            53 => seen.kind = value[0],
            50 => seen.requested = address(),
            54 => seen.server = address(),
            _ => {}
        }
        rest = behind;
    }
    seen
}

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const DECLINE: u8 = 4;
const ACK: u8 = 5;
const NAK: u8 = 6;

/// An answer: kind, address, options; the server's name is among them where it is to be.
type Answer = (u8, [u8; 4], Vec<(u8, Vec<u8>)>);

fn answer(kind: u8, address: [u8; 4], options: &[(u8, &[u8])]) -> Option<Answer> {
    let mut all: Vec<(u8, Vec<u8>)> = vec![(54, SERVER.to_vec())];
    all.extend(options.iter().map(|(code, value)| (*code, value.to_vec())));
    Some((kind, address, all))
}

/// A network: a client, and what became of it.
struct World {
    machine: Machine,
    now: Duration,
    sent: Vec<Seen>,
    leased: Vec<(Duration, Lease)>,
    lost: Vec<(Duration, String)>,
    notes: Vec<String>,
    holds: Option<Ipv4Addr>,
    watched: Option<Ipv4Addr>,
    arp: usize,
}

impl World {
    fn new(former: Option<Ipv4Addr>) -> Self {
        Self {
            machine: machine(former),
            now: Duration::ZERO,
            sent: Vec::new(),
            leased: Vec::new(),
            lost: Vec::new(),
            notes: Vec::new(),
            holds: None,
            watched: None,
            arp: 0,
        }
    }

    /// Gives the client an event; the server answers at once.
    fn event(&mut self, event: Event, server: &mut dyn FnMut(&Seen) -> Option<Answer>) {
        let mut events = vec![event];
        for _ in 0..50 {
            if events.is_empty() {
                return;
            }
            let actions = self.machine.handle(self.now, events.remove(0));
            for action in actions {
                match action {
                    Action::Broadcast(_, message) | Action::Unicast(_, _, message) => {
                        let seen = seen(self.now, &message);
                        if let Some((kind, address, options)) = server(&seen) {
                            let options: Vec<(u8, &[u8])> = options
                                .iter()
                                .map(|(code, value)| (*code, value.as_slice()))
                                .collect();
                            let mut bytes = raw(kind, address, &options);
                            bytes[4..8].copy_from_slice(&seen.transaction);
                            if let Some(reply) = Reply::decode(&bytes, SERVER.into()) {
                                events.push(Event::Reply(Box::new(reply)));
                            }
                        }
                        self.sent.push(seen);
                    }
                    Action::Arp(_) => self.arp += 1,
                    Action::Watch(address) => self.watched = address,
                    Action::Leased(lease, _) => {
                        self.holds = Some(lease.address);
                        self.leased.push((self.now, *lease));
                    }
                    Action::Lost(why) => {
                        self.holds = None;
                        self.lost.push((self.now, why));
                    }
                    Action::Note(note) => self.notes.push(note),
                }
            }
        }
        panic!("the client and its server go on for ever at {:?}", self.now);
    }

    /// Lets the time go on, deadline by deadline.
    fn run_until(&mut self, end: Duration, server: &mut dyn FnMut(&Seen) -> Option<Answer>) {
        let mut same = 0;
        while let Some(deadline) = self.machine.deadline().filter(|at| *at <= end) {
            same = if deadline <= self.now { same + 1 } else { 0 };
            assert!(
                same < 10,
                "no progress at {:?}: {:?}",
                self.now,
                self.machine
            );
            self.now = self.now.max(deadline);
            self.event(Event::Time, server);
        }
        self.now = end;
    }

    fn kinds(&self) -> Vec<u8> {
        self.sent.iter().map(|seen| seen.kind).collect()
    }
}

const OWN: [u8; 4] = [10, 0, 0, 50];

/// A server that gives one address, for an hour.
fn polite(seen: &Seen) -> Option<Answer> {
    match seen.kind {
        DISCOVER => answer(OFFER, OWN, &[(51, HOUR), (1, &[255, 255, 255, 0])]),
        REQUEST => answer(ACK, OWN, &[(51, HOUR), (1, &[255, 255, 255, 0])]),
        _ => None,
    }
}

#[test]
fn polite_server_s_address_is_had_after_one_probe_time() {
    let mut world = World::new(None);
    world.event(Event::Carrier, &mut polite);
    world.run_until(SECOND, &mut polite);
    assert_eq!(world.kinds(), [DISCOVER, REQUEST]);
    assert_eq!(world.leased[0].0, PROBE_TIME);
    assert_eq!(world.sent[1].server, Some(SERVER.into()));
    assert_eq!(world.sent[1].requested, Some(OWN.into()));
    // asked for at half of its time, of the server, from its address
    world.run_until(SECOND * 1801, &mut polite);
    assert_eq!(world.kinds(), [DISCOVER, REQUEST, REQUEST]);
    let renewal = world.sent.last().unwrap();
    assert_eq!(
        (renewal.own, renewal.server, renewal.requested),
        (OWN.into(), None, None)
    );
    assert_eq!(world.leased.len(), 2);
    assert!(world.lost.is_empty());
}

#[test]
fn nak_in_requesting_leads_to_discover_with_growing_waits() {
    let mut world = World::new(None);
    let mut server = |seen: &Seen| match seen.kind {
        REQUEST => answer(NAK, [0; 4], &[]),
        _ => polite(seen),
    };
    world.event(Event::Carrier, &mut server);
    world.run_until(SECOND * 600, &mut server);
    assert!(world.leased.is_empty());
    let discovers = world
        .kinds()
        .iter()
        .filter(|kind| **kind == DISCOVER)
        .count();
    assert!((8..40).contains(&discovers), "{discovers}");
    world.run_until(SECOND * 700, &mut polite);
    assert_eq!(world.holds, Some(OWN.into()));
}

#[test]
fn server_that_never_acknowledges_gives_way_to_another() {
    let other: [u8; 4] = [10, 0, 0, 2];
    let mut world = World::new(None);
    // the fast one offers first and answers nothing else; the other's offer is beside it from the second DISCOVER on
    let mut discovers = 0;
    let mut server = |seen: &Seen| match (seen.kind, seen.server) {
        (DISCOVER, _) => {
            discovers += 1;
            if discovers % 2 == 1 {
                polite(seen)
            } else {
                Some((
                    OFFER,
                    [10, 0, 0, 60],
                    vec![(54, other.to_vec()), (51, HOUR.to_vec())],
                ))
            }
        }
        (REQUEST, Some(server)) if server == Ipv4Addr::from(other) => Some((
            ACK,
            [10, 0, 0, 60],
            vec![(54, other.to_vec()), (51, HOUR.to_vec())],
        )),
        _ => None,
    };
    world.event(Event::Carrier, &mut server);
    world.run_until(SECOND * 60, &mut server);
    assert_eq!(world.holds, Some([10, 0, 0, 60].into()));
    assert!(
        world
            .notes
            .iter()
            .any(|note| note.contains("does not acknowledge")),
        "{:?}",
        world.notes
    );
}

#[test]
fn nak_on_renewal_ends_the_address_at_once() {
    let mut world = World::new(None);
    let mut server = |seen: &Seen| match seen.kind {
        REQUEST if !seen.own.is_unspecified() => answer(NAK, [0; 4], &[(56, b"renumbered")]),
        _ => polite(seen),
    };
    world.event(Event::Carrier, &mut server);
    world.run_until(SECOND * 1799, &mut server);
    assert_eq!(world.holds, Some(OWN.into()));
    world.run_until(SECOND * 1801, &mut server);
    assert_eq!(world.lost.len(), 1);
    assert!(
        world.lost[0].1.contains("renumbered"),
        "{}",
        world.lost[0].1
    );
    assert_eq!(world.kinds()[2..], [REQUEST, DISCOVER, REQUEST]);
    assert_eq!(world.holds, Some(OWN.into()));
}

#[test]
fn silence_ends_the_lease_at_its_time_and_the_search_goes_on() {
    let mut world = World::new(None);
    world.event(Event::Carrier, &mut polite);
    let mut silent = |_: &Seen| None;
    world.run_until(SECOND, &mut polite);
    world.run_until(SECOND * 3599, &mut silent);
    assert_eq!(world.holds, Some(OWN.into()));
    let renewals = world.sent.len() - 2;
    assert!((4..40).contains(&renewals), "{renewals}");
    world.run_until(SECOND * 3602, &mut silent);
    assert_eq!(world.lost.len(), 1);
    world.run_until(SECOND * 3900, &mut silent);
    assert_eq!(*world.kinds().last().unwrap(), DISCOVER);
    world.run_until(SECOND * 4000, &mut polite);
    assert_eq!(world.holds, Some(OWN.into()));
}

#[test]
fn former_address_is_asked_for_and_a_nak_leads_to_discover() {
    let former = Ipv4Addr::new(10, 9, 0, 5);
    let mut world = World::new(Some(former));
    let mut server = |seen: &Seen| match seen.requested {
        Some(requested) if requested == former => answer(NAK, [0; 4], &[]),
        _ => polite(seen),
    };
    world.event(Event::Carrier, &mut server);
    world.run_until(SECOND, &mut server);
    assert_eq!(world.kinds(), [REQUEST, DISCOVER, REQUEST]);
    assert_eq!(
        (world.sent[0].requested, world.sent[0].server),
        (Some(former), None)
    );
    assert_eq!(world.holds, Some(OWN.into()));
    // a silent server of another network: after two tries
    let mut world = World::new(Some(former));
    let mut server = |seen: &Seen| {
        (seen.requested != Some(former))
            .then(|| polite(seen))
            .flatten()
    };
    world.event(Event::Carrier, &mut server);
    world.run_until(SECOND * 5, &mut server);
    assert_eq!(world.kinds(), [REQUEST, REQUEST, DISCOVER, REQUEST]);
}

#[test]
fn cable_in_another_network_keeps_the_lease_until_another_comes() {
    let mut world = World::new(None);
    world.event(Event::Carrier, &mut polite);
    world.run_until(SECOND * 10, &mut polite);
    // the other network's server does not know the address and says nothing to it
    let mut server = |seen: &Seen| match seen.kind {
        REQUEST if seen.requested == Some(OWN.into()) => None,
        DISCOVER => answer(OFFER, [10, 9, 0, 7], &[(51, HOUR)]),
        _ => answer(ACK, [10, 9, 0, 7], &[(51, HOUR)]),
    };
    world.event(Event::Carrier, &mut server);
    assert!(world.lost.is_empty());
    world.run_until(SECOND * 20, &mut server);
    assert_eq!(world.holds, Some([10, 9, 0, 7].into()));
    assert!(world.lost.is_empty(), "it was replaced");
}

#[test]
fn address_that_another_host_has_is_declined() {
    let mut world = World::new(None);
    world.event(Event::Carrier, &mut polite);
    assert_eq!(world.watched, Some(OWN.into()));
    world.event(Event::Conflict([2, 9, 9, 9, 9, 9]), &mut polite);
    assert_eq!(world.kinds(), [DISCOVER, REQUEST, DECLINE]);
    assert_eq!(world.sent[2].requested, Some(OWN.into()));
    assert_eq!(world.watched, None);
    world.run_until(SECOND * 9, &mut polite);
    assert_eq!(world.kinds().len(), 3, "ten seconds of silence");
    let mut server = |seen: &Seen| match seen.kind {
        DISCOVER => answer(OFFER, [10, 0, 0, 51], &[(51, HOUR)]),
        _ => answer(ACK, [10, 0, 0, 51], &[(51, HOUR)]),
    };
    world.run_until(SECOND * 14, &mut server);
    assert_eq!(world.holds, Some([10, 0, 0, 51].into()));
}

#[test]
fn late_answer_to_a_probe_takes_the_address() {
    let mut world = World::new(None);
    world.event(Event::Carrier, &mut polite);
    world.run_until(SECOND * 3, &mut polite);
    assert_eq!(world.holds, Some(OWN.into()));
    world.event(Event::Conflict([2, 9, 9, 9, 9, 9]), &mut polite);
    assert_eq!(world.holds, None, "the other host had it before");
    assert_eq!(*world.kinds().last().unwrap(), DECLINE);
}

#[test]
fn address_in_use_is_defended_once_and_then_given_up() {
    let mut world = World::new(None);
    world.event(Event::Carrier, &mut polite);
    world.run_until(SECOND * 10, &mut polite);
    let arp = world.arp;
    world.event(Event::Conflict([2, 9, 9, 9, 9, 9]), &mut polite);
    assert_eq!((world.arp, world.holds), (arp + 1, Some(OWN.into())));
    world.run_until(SECOND * 30, &mut polite);
    world.event(Event::Conflict([2, 9, 9, 9, 9, 9]), &mut polite);
    assert_eq!(world.holds, Some(OWN.into()), "long after the first");
    world.event(Event::Conflict([2, 9, 9, 9, 9, 9]), &mut polite);
    assert_eq!(world.holds, None);
    assert_eq!(*world.kinds().last().unwrap(), DECLINE);
}

#[test]
fn renewal_with_another_address_replaces_the_first() {
    let mut world = World::new(None);
    world.event(Event::Carrier, &mut polite);
    world.run_until(SECOND, &mut polite);
    let mut server = |_: &Seen| answer(ACK, [10, 0, 0, 60], &[(51, HOUR)]);
    world.run_until(SECOND * 1802, &mut server);
    assert_eq!(world.holds, Some([10, 0, 0, 60].into()));
    assert!(world.lost.is_empty());
}

#[test]
fn infinite_lease_is_never_asked_for_again() {
    let mut world = World::new(None);
    let mut server = |seen: &Seen| match seen.kind {
        DISCOVER => answer(OFFER, OWN, &[(51, &[255; 4])]),
        _ => answer(ACK, OWN, &[(51, &[255; 4])]),
    };
    world.event(Event::Carrier, &mut server);
    world.run_until(SECOND * 10, &mut server);
    assert_eq!(world.machine.deadline(), None);
}
