//! Messages of servers, as they are and as they should not be.

use proptest::prelude::*;

use super::*;

const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// A server's message with these options.
pub(crate) fn raw(kind: u8, address: [u8; 4], options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![REPLY, 1, 6, 0, 0, 0, 0, 7];
    bytes.resize(16, 0);
    bytes.extend(address);
    bytes.resize(28, 0);
    bytes.extend([2, 0, 0, 0, 0, 1]);
    bytes.resize(236, 0);
    bytes.extend(COOKIE);
    bytes.extend([code::KIND, 1, kind]);
    for (code, value) in options {
        bytes.extend([*code, u8::try_from(value.len()).unwrap()]);
        bytes.extend(*value);
    }
    bytes.push(code::END);
    bytes
}

#[test]
fn malformed_option_is_named_and_the_rest_counts() {
    let bytes = raw(
        2,
        [10, 0, 0, 50],
        &[
            (1, &[255, 255, 255]),
            (26, &[1]),
            (3, &[10, 0, 0, 1]),
            (121, &[33, 1, 2, 3, 4, 5, 10, 0, 0, 1]),
            (51, &[0, 0, 14, 16]),
            (119, &[0xc0, 0]),
            (15, b"example.org\0"),
        ],
    );
    let reply = Reply::decode(&bytes, SOURCE).expect("an offer");
    assert_eq!(reply.malformed, [1, 26, 121, 119]);
    assert_eq!(reply.routers, [Ipv4Addr::new(10, 0, 0, 1)]);
    assert_eq!(reply.lease_time, Some(3600));
    assert_eq!(reply.search, ["example.org"]);
}

#[test]
fn option_that_is_cut_ends_the_message_and_is_named() {
    let mut bytes = raw(5, [10, 0, 0, 50], &[(51, &[0, 0, 14, 16])]);
    bytes.pop();
    bytes.extend([6, 200, 10]);
    let reply = Reply::decode(&bytes, SOURCE).expect("an acknowledgement");
    assert_eq!((reply.lease_time, reply.malformed), (Some(3600), vec![6]));
}

#[test]
fn parts_of_an_option_are_joined_and_fields_overloaded() {
    let mut bytes = raw(
        5,
        [10, 0, 0, 50],
        &[(6, &[10, 0]), (52, &[3]), (6, &[0, 9])],
    );
    bytes[108..116].copy_from_slice(&[3, 4, 10, 0, 0, 2, 255, 0]);
    bytes[44..52].copy_from_slice(&[26, 2, 5, 180, 255, 0, 0, 0]);
    let reply = Reply::decode(&bytes, SOURCE).expect("an acknowledgement");
    assert_eq!(reply.dns, [Ipv4Addr::new(10, 0, 0, 9)]);
    assert_eq!(reply.routers, [Ipv4Addr::new(10, 0, 0, 2)]);
    assert_eq!(reply.mtu, Some(1460));
}

#[test]
fn search_list_with_a_pointer_is_read_as_names() {
    let value = b"\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04";
    let names = names(value).expect("names");
    assert_eq!(names, ["eng.apple.com", "marketing.apple.com"]);
}

#[test]
fn query_has_these_bytes_and_goes_through_a_packet() {
    let client = Client {
        hardware: [2, 0, 0, 0, 0, 1],
        host_name: Some("edge-0001".to_owned()),
    };
    let query = Query {
        kind: Kind::Request,
        transaction: 0x0102_0304,
        seconds: 5,
        own: Ipv4Addr::UNSPECIFIED,
        requested: Some(Ipv4Addr::new(10, 0, 0, 50)),
        server: Some(SOURCE),
    };
    let bytes = query.encode(&client);
    assert_eq!(bytes.len(), MINIMUM_LENGTH);
    assert_eq!(&bytes[..12], &[1, 1, 6, 0, 1, 2, 3, 4, 0, 5, 0, 0]);
    assert_eq!(
        &bytes[240..264],
        &[
            53, 1, 3, 61, 7, 1, 2, 0, 0, 0, 0, 1, 50, 4, 10, 0, 0, 50, 54, 4, 10, 0, 0, 1
        ]
    );
    let sent = packet(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, &bytes);
    assert_eq!(checksum(&[&sent[..20]]), 0);
    let pseudo = [&sent[12..20], &[0, 17], &sent[24..26]].concat();
    assert_eq!(checksum(&[&pseudo, &sent[20..]]), 0);
    assert_eq!(unpack(&sent), None, "it is for a server");
    let mut answer = sent.clone();
    answer[22..24].copy_from_slice(&68_u16.to_be_bytes());
    assert_eq!(
        unpack(&answer),
        Some((Ipv4Addr::UNSPECIFIED, bytes.as_slice()))
    );
}

proptest! {
    #[test]
    fn decoding_takes_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = Reply::decode(&bytes, SOURCE);
        let _ = unpack(&bytes);
        let _ = names(&bytes);
        let mut message = raw(2, [10, 0, 0, 50], &[]);
        message.pop();
        message.extend(bytes);
        let reply = Reply::decode(&message, SOURCE);
        prop_assert!(reply.is_none_or(|reply| reply.search.iter().all(|name| is_domain(name))));
    }
}
