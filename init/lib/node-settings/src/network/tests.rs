//! Texts of the settings, and what is refused.

use std::fmt;
use std::str::FromStr;

use proptest::prelude::*;
use wire::InvalidName;

use super::*;

#[test]
fn cidr_contains_addresses_of_its_network() {
    let network: Ipv4Cidr = "192.0.2.10/32".parse().expect("one host");
    assert!(!network.contains(Ipv4Addr::new(192, 0, 2, 11)));
    let network: Ipv4Cidr = "192.0.2.10/1".parse().expect("half the world");
    assert!(network.contains(Ipv4Addr::new(200, 0, 0, 1)));
}

#[test]
fn interface_is_a_name_or_a_hardware_address() {
    let mac: Interface = "52:54:00:12:34:56".parse().expect("an address");
    assert_eq!(
        mac,
        Interface::HardwareAddress([0x52, 0x54, 0, 0x12, 0x34, 0x56])
    );
    for bad in [
        "",
        "sixteen-letters!",
        "a/b",
        "1:2",
        "eth 0",
        "eth0\n",
        "52:54:00:12:34:+6",
        "52:54:00:12:34:",
        "52:54:00:12:34:056",
        "52:54:00:12:34:56:78",
        // what is no card's own address, or is written as elsewhere
        "ff:ff:ff:ff:ff:ff",
        "00:00:00:00:00:00",
        "5254.00ab.cdef",
        "525400abcdef",
        "5254-00ab-cdef",
        // names of no link that can be set up
        "lo",
        ".",
        "..",
        "%d",
        "eth%d",
        "all",
        "default",
        "path:",
        "path:/sys",
        "path:a/../b",
    ] {
        assert!(bad.parse::<Interface>().is_err(), "{bad}");
    }
}

#[test]
fn cidr_and_time_server_refuse_other_texts() {
    for bad in [
        "",
        "192.0.2.1",
        "192.0.2.1/0",
        "192.0.2.1/33",
        "192.0.2.1/+8",
        "0.0.0.0/8",
        "224.0.0.1/8",
        " 192.0.2.1/8",
        "192.0.2.1/8\n",
        "::1/8",
        // what no host can have
        "127.0.0.5/8",
        "255.255.255.255/32",
        "240.0.0.1/8",
        "0.1.2.3/8",
        "10.0.2.0/24",
        "10.0.2.255/24",
        "10.0.2.3/30",
    ] {
        assert!(bad.parse::<Ipv4Cidr>().is_err(), "{bad}");
    }
    for good in ["203.0.113.7/32", "10.0.2.0/31", "10.0.2.255/16"] {
        assert!(good.parse::<Ipv4Cidr>().is_ok(), "{good}");
    }
    for bad in [
        "::/64",
        "::1/128",
        "fe80::1/64",
        "ff02::1/64",
        "2001:db8::1",
        "2001:db8::1/129",
        "::ffff:10.0.0.1/96",
    ] {
        assert!(bad.parse::<Ipv6Cidr>().is_err(), "{bad}");
    }
    for bad in [
        "10.0.0.1/8",
        "10.0.0.0/33",
        "2001:db8::1/64",
        "224.0.0.0/4",
        "10.0.0.0",
        "10.0.0.0/",
    ] {
        assert!(bad.parse::<Destination>().is_err(), "{bad}");
    }
    for good in [
        "0.0.0.0/0",
        "::/0",
        "10.0.0.0/8",
        "2001:db8::/32",
        "172.31.1.1/32",
    ] {
        assert!(good.parse::<Destination>().is_ok(), "{good}");
    }
    let long = format!("{}a", "a.".repeat(127));
    for (good, shown) in [
        ("2001:db8::1", "[2001:db8::1]:123"),
        ("[2001:db8::1]:1123", "[2001:db8::1]:1123"),
        ("192.0.2.1", "192.0.2.1:123"),
    ] {
        let server: TimeServer = good.parse().expect("a server");
        assert_eq!(server.to_string(), shown);
    }
    for bad in [
        "[2001:db8::1]x",
        "[::1",
        "[a]:1",
        "",
        ":123",
        "a:0",
        "a:+1",
        "a:",
        "a b",
        "a_b",
        "-a",
        "a..b",
        "ä",
        "a\n",
        "a:65536",
        &long,
    ] {
        assert!(bad.parse::<TimeServer>().is_err(), "{bad}");
    }
}

fn reads_back<T>(value: &T) -> Result<(), TestCaseError>
where
    T: FromStr<Err = InvalidName> + fmt::Display + fmt::Debug + PartialEq,
    T: Serialize + for<'a> Deserialize<'a>,
{
    prop_assert_eq!(
        &value.to_string().parse::<T>().expect("its own text"),
        value
    );
    let json = serde_json::to_string(value).expect("JSON");
    prop_assert_eq!(&serde_json::from_str::<T>(&json).expect("the same"), value);
    Ok(())
}

proptest! {
    #[test]
    fn network_texts_are_accepted_as_printed(
        name in "[g-z][!-$&-.0-9;-~]{0,14}",
        octets in any::<[u8; 6]>(),
        address in any::<u32>(),
        prefix in 1_u8..=32,
        address_v6 in any::<u128>(),
        host in "[a-zA-Z0-9]{1,10}(\\.[a-z0-9]{1,10}){0,4}",
        port in 1_u16..,
    ) {
        prop_assume!(!matches!(name.as_str(), "lo"));
        reads_back(&name.parse::<Interface>().expect("a name"))?;
        let mut octets = octets;
        octets[0] = octets[0] & 0xfe | 2;
        reads_back(&Interface::HardwareAddress(octets))?;
        reads_back(&Interface::Path("pci0000:00/0000:00:03.0".to_owned()))?;
        let address = Ipv4Addr::from(address);
        let own = Ipv4Cidr { address, prefix };
        prop_assert_eq!(own.to_string().parse::<Ipv4Cidr>().is_ok(), own.can_be_host(address));
        if own.can_be_host(address) {
            reads_back(&own)?;
        }
        let own = Ipv6Cidr { address: Ipv6Addr::from(address_v6 | 1 << 125 & !(0b11 << 126)), prefix };
        if own.to_string().parse::<Ipv6Cidr>().is_ok() {
            reads_back(&own)?;
        }
        reads_back(&Destination { network: IpAddr::V6(Ipv6Addr::UNSPECIFIED), prefix })?;
        reads_back(&TimeServer { host, port })?;
    }

    #[test]
    fn network_texts_hold_nothing_but_printable_ascii(text in "\\PC{0,40}|[\\x00-\\x7f]{0,40}") {
        let printable = |text: String| text.bytes().all(|byte| byte.is_ascii_graphic());
        prop_assert!(text.parse::<Interface>().map_or(true, |value| printable(value.to_string())));
        prop_assert!(text.parse::<Ipv4Cidr>().map_or(true, |value| printable(value.to_string())));
        prop_assert!(text.parse::<TimeServer>().map_or(true, |value| printable(value.to_string())));
    }
}
