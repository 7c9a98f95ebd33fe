//! Detection of an address that another host has (ACD, RFC 5227), by ARP (RFC 826).

use std::net::Ipv4Addr;

use sys::packet::Test;

/// The length of an ARP packet for Ethernet and IPv4.
const LENGTH: usize = 28;
const REQUEST: u8 = 1;
/// Hardware Ethernet, protocol IPv4, and the lengths of their addresses.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// What passes to the socket while an address is tried or used: ARP whose sender has it.
pub(crate) fn filter(address: Ipv4Addr) -> [Test; 3] {
    let [a, b, c, d, e, f] = ETHERNET_IPV4;
    [
        Test::Word(0, u32::from_be_bytes([a, b, c, d])),
        Test::Half(4, u16::from_be_bytes([e, f])),
        Test::Word(14, address.into()),
    ]
}

fn request(hardware: [u8; 6], sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut packet = ETHERNET_IPV4.to_vec();
    packet.extend([0, REQUEST]);
    packet.extend(hardware);
    packet.extend(sender.octets());
    packet.extend([0; 6]);
    packet.extend(target.octets());
    packet
}

/// The question whether a host has the address (RFC 5227, section 2.1.1).
pub(crate) fn probe(hardware: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    request(hardware, Ipv4Addr::UNSPECIFIED, address)
}

/// The word that this host has it (section 2.3).
pub(crate) fn announcement(hardware: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    request(hardware, address, address)
}

/// The Ethernet address of another host that has the address, if a packet says so.
pub(crate) fn conflict(packet: &[u8], own: [u8; 6], address: Ipv4Addr) -> Option<[u8; 6]> {
    let packet = packet.get(..LENGTH)?;
    let sender: [u8; 6] = packet.get(8..14)?.try_into().ok()?;
    let matches = packet.starts_with(&ETHERNET_IPV4) && packet.get(14..18)? == address.octets();
    (matches && sender != own).then_some(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflict_is_another_host_s_claim_of_the_address() {
        let (own, other) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let address = Ipv4Addr::new(10, 0, 0, 50);
        assert_eq!(probe(own, address).len(), LENGTH);
        assert_eq!(conflict(&probe(other, address), own, address), None);
        assert_eq!(
            conflict(&announcement(other, address), own, address),
            Some(other)
        );
        assert_eq!(conflict(&announcement(own, address), own, address), None);
        let elsewhere = announcement(other, Ipv4Addr::new(10, 0, 0, 51));
        assert_eq!(conflict(&elsewhere, own, address), None);
        assert_eq!(
            conflict(&announcement(other, address)[..20], own, address),
            None
        );
    }
}
