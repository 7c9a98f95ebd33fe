//! The table `[network]`.

use super::*;

#[test]
fn interface_that_can_t_be_is_refused_with_its_field() {
    for wrong in ["lo", "..", "%d", "5254.00ab.cdef", "ff:ff:ff:ff:ff:ff"] {
        let text = with(
            "[network]\n",
            &format!("[network]\ninterface = \"{wrong}\"\n"),
        );
        let shown = problem(&text);
        assert!(
            shown.starts_with("node.toml:5: network.interface: "),
            "{shown}"
        );
    }
}

/// The table `[network]` with other fields.
fn network(fields: &str) -> String {
    let start = GOOD.find("[network]").expect("there");
    let end = GOOD.find("[time]").expect("there");
    format!("{}[network]\n{fields}\n{}", &GOOD[..start], &GOOD[end..])
}

#[test]
fn static_is_no_stricter_than_dhcp() {
    for good in [
        "method = \"static\"\naddress = \"203.0.113.7/32\"\ngateway = \"172.31.1.1\"",
        "method = \"static\"\naddress = \"203.0.113.7/24\"\ngateway = \"172.31.1.1\"\n\
         routes = [{ to = \"172.31.1.1/32\" }]",
        "address6 = \"2001:db8::10/64\"\ngateway6 = \"fe80::1\"\nmethod = \"off\"",
        "ipv6 = \"off\"\nmtu = 1200\nmetric = 7\nsearch = [\"example.org\"]\ndns = [\"2001:db8::53\"]",
    ] {
        let text = network(good);
        NodeConfig::parse("node.toml", &text).unwrap_or_else(|error| panic!("{error}"));
    }
    for (bad, field) in [
        (
            "method = \"static\"\naddress = \"203.0.113.7/32\"\ngateway = \"127.0.0.1\"",
            "network.gateway",
        ),
        ("ipv6 = \"static\"", "network.address6"),
        ("gateway6 = \"fe80::1\"", "network.gateway6"),
        ("mtu = 1200", "network.mtu"),
        ("routes = [{ to = \"10.0.0.1/8\" }]", "network.routes[0].to"),
        (
            "routes = [{ to = \"10.0.0.0/8\", via = \"fe80::1\" }]",
            "network.routes[0].via",
        ),
        ("search = [\"a b\"]", "network.search[0]"),
    ] {
        let shown = problem(&network(bad));
        assert!(shown.contains(&format!(" {field}: ")), "{shown}");
    }
}

#[test]
fn several_links_are_named_each_once() {
    let two = "[[network.links]]\ninterface = \"eth0\"\n[[network.links]]\ninterface = \"eth1\"\nmetric = 5\n\
               [[network.vlans]]\nname = \"vlan5\"\nlink = \"eth0\"\nid = 5\n\
               [[network.bonds]]\nname = \"bond0\"\nlinks = [\"eth2\", \"eth3\"]\nmode = \"802.3ad\"";
    let config = NodeConfig::parse("node.toml", &network(two)).expect("good");
    assert_eq!(config.public.network.links.len(), 2);
    assert_eq!(
        (
            config.public.network.vlans.len(),
            config.public.network.bonds.len()
        ),
        (1, 1)
    );
    for (from, to, field) in [
        ("\"eth1\"", "\"eth0\"", "network.links[1].interface"),
        ("id = 5", "id = 4095", "network.vlans[0].id"),
        ("802.3ad", "balance-rr", "network.bonds[0].mode"),
        ("\"bond0\"", "\"lo\"", "network.bonds[0].name"),
    ] {
        let shown = problem(&network(&two.replace(from, to)));
        assert!(shown.contains(&format!(" {field}: ")), "{shown}");
    }
    let shown = problem(&network(&format!("mtu = 1400\n{two}")));
    assert!(shown.contains("network.interface: missing"), "{shown}");
}
