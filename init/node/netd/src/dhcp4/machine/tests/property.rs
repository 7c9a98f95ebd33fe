//! Whatever a server does: when it behaves, there is an address.

use proptest::prelude::*;

use super::*;

/// What a server may do with a message.
#[derive(Debug, Clone)]
enum Whim {
    Silence,
    Polite,
    Nak,
    Answer {
        kind: u8,
        address: [u8; 4],
        options: Vec<(u8, Vec<u8>)>,
    },
    Conflict,
    Carrier,
}

fn whim() -> impl Strategy<Value = Whim> {
    let address = prop_oneof![Just(OWN), Just([10, 0, 0, 51]), any::<[u8; 4]>()];
    let number = prop_oneof![
        Just(0_u32),
        Just(1),
        Just(30),
        Just(3600),
        Just(u32::MAX),
        any::<u32>()
    ]
    .prop_map(|number| number.to_be_bytes().to_vec());
    let times = (prop_oneof![Just(51_u8), Just(58), Just(59)], number);
    let any_option = (1_u8..255, proptest::collection::vec(any::<u8>(), 0..12))
        .prop_filter("the kind is the case's own", |(code, _)| *code != 53);
    let server = proptest::sample::select(vec![SERVER.to_vec(), vec![10, 0, 0, 2], vec![0; 4]])
        .prop_map(|name| (54, name));
    let options = proptest::collection::vec(prop_oneof![times, any_option, server], 0..5);
    prop_oneof![
        2 => Just(Whim::Silence),
        1 => Just(Whim::Polite),
        1 => Just(Whim::Nak),
        1 => Just(Whim::Conflict),
        1 => Just(Whim::Carrier),
        4 => (prop_oneof![Just(OFFER), Just(ACK), Just(NAK)], address, options)
            .prop_map(|(kind, address, options)| Whim::Answer { kind, address, options }),
    ]
}

/// Within this time of a server's better behaviour there is an address: the longest wait after a failure, the
/// longest before the next DISCOVER, and what an offer takes.
const BOUND: Duration = Duration::from_secs(64 * 9 / 8 * 2 + 30);

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn address_comes_whatever_a_server_did_before(whims in proptest::collection::vec(whim(), 1..60)) {
        let mut world = World::new(None);
        let mut whims = whims.into_iter();
        let mut pending: Vec<Event> = Vec::new();
        let mut rude = |seen: &Seen| match whims.next() {
            None | Some(Whim::Silence) => None,
            Some(Whim::Polite) => polite(seen),
            Some(Whim::Nak) => answer(NAK, [0; 4], &[]),
            Some(Whim::Answer { kind, address, options }) => Some((kind, address, options)),
            Some(Whim::Conflict) => { pending.push(Event::Conflict([2, 9, 9, 9, 9, 9])); None }
            Some(Whim::Carrier) => { pending.push(Event::Carrier); None }
        };
        world.event(Event::Carrier, &mut rude);
        let rude_until = SECOND * 7200;
        while world.now < rude_until {
            let next = world.machine.deadline().unwrap_or(rude_until).min(rude_until);
            world.run_until(next, &mut rude);
        }
        for event in pending {
            world.event(event, &mut |_| None);
        }
        // from here on there is one server, which knows its own address alone
        let mut good = |seen: &Seen| {
            let known = seen.requested.unwrap_or(seen.own) == Ipv4Addr::from(OWN);
            match seen.kind {
                REQUEST if seen.server.is_some_and(|server| server != Ipv4Addr::from(SERVER)) => None,
                REQUEST if !known => answer(NAK, [0; 4], &[]),
                _ => polite(seen),
            }
        };
        let begun = world.now;
        // the cable's network is this one now
        world.event(Event::Carrier, &mut good);
        world.run_until(begun + BOUND, &mut good);
        prop_assert_eq!(world.holds, Some(OWN.into()), "{:?}", world.machine);
        // no flood: a burst is a DISCOVER, a REQUEST, a DECLINE, and what a carrier that comes back adds
        for window in world.sent.windows(41) {
            let span = window[40].at.saturating_sub(window[0].at);
            prop_assert!(span >= SECOND * 10, "41 messages within {span:?}");
        }
    }
}
