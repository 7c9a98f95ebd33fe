//! The client beside servers that do what they like, on a simulated clock.

use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::super::message::tests::{association, raw};
use super::*;

const SECOND: Duration = Duration::from_secs(1);
const OWN: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x50);

struct World {
    machine: Machine,
    now: Duration,
    sent: Vec<(Duration, u8)>,
    holds: bool,
}

type Server<'a> = &'a mut dyn FnMut(u8, u32) -> Option<Vec<u8>>;

impl World {
    fn new(addresses: bool) -> Self {
        let mut number = 7_u32;
        let random = move || {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            number
        };
        let machine = Machine::new([2, 0, 0, 0, 0, 1], addresses, Box::new(random));
        Self {
            machine,
            now: Duration::ZERO,
            sent: Vec::new(),
            holds: false,
        }
    }

    fn event(&mut self, event: Event, server: Server<'_>) {
        let mut events = vec![event];
        for _ in 0..50 {
            if events.is_empty() {
                return;
            }
            for action in self.machine.handle(self.now, events.remove(0)) {
                match action {
                    Action::Send(bytes) => {
                        self.sent.push((self.now, bytes[0]));
                        let transaction = u32::from_be_bytes([0, bytes[1], bytes[2], bytes[3]]);
                        let answer = server(bytes[0], transaction);
                        if let Some(reply) = answer.and_then(|bytes| Reply::decode(&bytes)) {
                            events.push(Event::Reply(Box::new(reply)));
                        }
                    }
                    Action::Have(..) => self.holds = true,
                    Action::Lost => self.holds = false,
                    Action::Note(_) => {}
                }
            }
        }
        panic!("no end");
    }

    fn run_until(&mut self, end: Duration, server: Server<'_>) {
        let mut same = 0;
        while let Some(deadline) = self.machine.deadline().filter(|at| *at <= end) {
            same = if deadline <= self.now { same + 1 } else { 0 };
            assert!(same < 10, "no progress: {:?}", self.machine);
            self.now = self.now.max(deadline);
            self.event(Event::Time, server);
        }
        self.now = end;
    }
}

fn polite(kind: u8, transaction: u32) -> Option<Vec<u8>> {
    let options = [(2, vec![1]), association(OWN, 0, 0, 3600)];
    match kind {
        1 => Some(raw(2, transaction, &options)),
        3 | 5 | 6 | 11 => Some(raw(7, transaction, &options)),
        _ => None,
    }
}

#[test]
fn address_is_had_and_renewed() {
    let mut world = World::new(true);
    world.event(Event::Carrier, &mut polite);
    assert!(world.holds);
    world.run_until(SECOND * 1801, &mut polite);
    let kinds: Vec<u8> = world.sent.iter().map(|(_, kind)| *kind).collect();
    assert_eq!(kinds, [1, 3, 5]);
}

#[test]
fn server_without_the_address_takes_it_back_and_gives_another() {
    let mut world = World::new(true);
    world.event(Event::Carrier, &mut polite);
    let mut forgetful = |kind: u8, transaction| match kind {
        5 => Some(raw(7, transaction, &[(2, vec![1]), (13, vec![0, 3])])),
        _ => polite(kind, transaction),
    };
    world.run_until(SECOND * 1801, &mut forgetful);
    let kinds: Vec<u8> = world.sent.iter().map(|(_, kind)| *kind).collect();
    assert_eq!(kinds, [1, 3, 5, 1, 3]);
    assert!(world.holds);
}

#[test]
fn information_is_asked_for_once_a_day() {
    let mut world = World::new(false);
    world.event(Event::Carrier, &mut polite);
    world.run_until(SECOND * 86_401, &mut polite);
    let kinds: Vec<u8> = world.sent.iter().map(|(_, kind)| *kind).collect();
    assert_eq!(kinds, [11, 11]);
}

#[test]
fn silence_ends_the_address_and_the_search_goes_on() {
    let mut world = World::new(true);
    world.event(Event::Carrier, &mut polite);
    world.run_until(SECOND * 3601, &mut |_, _| None);
    assert!(!world.holds);
    assert_eq!(world.sent.last().unwrap().1, 1);
    world.run_until(SECOND * 4000, &mut polite);
    assert!(world.holds);
}

proptest! {
    #[test]
    fn address_comes_whatever_a_server_did_before(
        whims in proptest::collection::vec((0_u8..5, any::<u32>(), proptest::collection::vec(any::<u8>(), 0..40)), 1..40),
    ) {
        let mut world = World::new(true);
        let mut whims = whims.into_iter();
        let mut rude = |kind: u8, transaction: u32| match whims.next() {
            None | Some((0, ..)) => None,
            Some((1, ..)) => polite(kind, transaction),
            Some((2, seconds, _)) => {
                let options = [(2, vec![1]), association(OWN, seconds, seconds / 2, seconds)];
                Some(raw(if kind == 1 { 2 } else { 7 }, transaction, &options))
            }
            Some((3, ..)) => Some(raw(7, transaction, &[(2, vec![1]), (13, vec![0, 2])])),
            Some((_, seconds, noise)) => {
                let mut bytes = raw(if seconds % 2 == 0 { 2 } else { 7 }, transaction, &[(2, vec![1])]);
                bytes.extend(noise);
                Some(bytes)
            }
        };
        world.event(Event::Carrier, &mut rude);
        world.run_until(SECOND * 7200, &mut rude);
        let begun = world.now;
        world.event(Event::Carrier, &mut polite);
        world.run_until(begun + LONGEST_WAIT * 2, &mut polite);
        prop_assert!(world.holds, "{:?}", world.machine);
        for window in world.sent.windows(31) {
            let span = window[30].0.saturating_sub(window[0].0);
            prop_assert!(span >= SECOND * 5, "31 messages within {span:?}");
        }
    }
}
