//! netd beside servers: its own scenarios, and dnsmasq and radvd of Debian.

mod real_servers;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use net_tests::server::Scenario;
use net_tests::{Lab, Segment};
use node_settings::{Interface, Ipv4Method, LinkConfig, NetworkConfig};

/// A master that is nowhere: nothing answers on the discard port of a test's own loopback link.
const NOWHERE: &str = "https://127.0.0.1:9";

fn lab() -> Lab {
    Lab::new(Path::new(env!("CARGO_BIN_EXE_netd-in-namespace"))).expect("a network namespace")
}

fn scenario(name: &str) -> Scenario {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    Scenario::read(&folder.join(format!("{name}.json"))).expect("a scenario")
}

/// A node with one link beside one server, without a configuration.
fn beside(name: &str) -> (Lab, Segment, net_tests::server::Server) {
    let mut lab = lab();
    let segment = lab.link().expect("a link");
    let server = segment.serve(scenario(name)).expect("a server");
    lab.start(None, NOWHERE).expect("netd");
    (lab, segment, server)
}

fn fixed(address: &str, gateway: Option<&str>) -> NetworkConfig {
    let mut config = NetworkConfig::automatic();
    config.links[0].ipv4 = Ipv4Method::Static {
        address: address.parse().expect("an address"),
        gateway: gateway.map(|gateway| gateway.parse().expect("a gateway")),
    };
    config
}

fn named(interface: &str) -> NetworkConfig {
    let mut config = NetworkConfig::automatic();
    config.links = vec![LinkConfig::automatic(Some(
        interface.parse::<Interface>().expect("one"),
    ))];
    config
}

#[test]
#[ignore = "needs root, for network namespaces"]
fn lease_gives_address_route_and_names_as_root() -> Result<()> {
    let (mut lab, _segment, server) = beside("plain");
    let took = lab.wait_for(
        &[
            "10.0.0.50/24",
            "default via 10.0.0.1",
            "nameserver 10.0.0.1",
        ],
        &[],
    )?;
    println!("address and default route after {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    // at rest: a lease of an hour needs no packet for half of it
    let _ = server.seen();
    let before = lab.processor_time()?;
    assert!(server.hears_nothing_for(Duration::from_secs(3)));
    assert!(lab.processor_time()? - before <= 2);
    lab.stop()
}

/// Case 4: bits behind the mask, and a route that the kernel refuses.
#[test]
#[ignore = "needs root, for network namespaces"]
fn odd_routes_leave_the_address_as_root() -> Result<()> {
    let (mut lab, _segment, server) = beside("hostbits");
    lab.wait_for(
        &[
            "10.0.0.50/24",
            "default via 10.0.0.1",
            "10.8.16.0/20 via 10.0.0.1",
        ],
        &[],
    )?;
    assert!(server.seen().len() <= 3);
    let (mut lab, _segment, _server) = beside("badroute");
    lab.wait_for(&["10.0.0.50/24", "default via 10.0.0.1"], &["192.168.9.0"])?;
    assert!(lab.log().contains("192.168.9.0/24"), "{}", lab.log());
    Ok(())
}

/// Cases 7 and 22, a mask that is missing, a cloud's /32, a server without a router.
#[test]
#[ignore = "needs root, for network namespaces"]
fn odd_leases_are_used_and_what_is_missing_is_said_as_root() -> Result<()> {
    for (name, all) in [
        ("t2_is_lease", &["10.0.0.50/24", "default via 10.0.0.1"][..]),
        ("nomask", &["10.0.0.50/8"]),
        ("norouter", &["10.0.0.50/24"]),
        ("gcp", &["10.156.0.18/32", "default via 10.156.0.1"]),
        ("mute_options", &["10.0.0.50/8", "default via 10.0.0.1"]),
    ] {
        let (mut lab, _segment, _server) = beside(name);
        lab.wait_for(all, &[])?;
        if name == "mute_options" {
            for said in [
                "no name server",
                "no lease time",
                "no subnet mask",
                "option 26 is malformed",
            ] {
                assert!(lab.log().contains(said), "{said}: {}", lab.log());
            }
        }
        if name == "gcp" {
            assert!(lab.ip("link show eth0")?.contains("mtu 1460"));
        }
    }
    Ok(())
}

/// Case 2.
#[test]
#[ignore = "needs root, for network namespaces"]
fn refusal_and_silence_lead_back_to_discover_as_root() -> Result<()> {
    let (mut lab, _segment, server) = beside("nak_in_requesting");
    server.wait("request")?;
    server.wait("discover")?;
    lab.wait("a line about the refusal", |lab| {
        lab.log().contains("which it offered")
    })?;
    let (mut lab, _segment, server) = beside("never_acknowledges");
    server.wait("discover")?;
    server.wait("discover")?;
    lab.wait_for(&["10.0.0.50/24"], &[])?;
    Ok(())
}

/// Case 3: the network was renumbered.
#[test]
#[ignore = "needs root, for network namespaces"]
fn nak_on_renewal_gives_the_address_up_as_root() -> Result<()> {
    let mut scenario = scenario("nak_on_renew");
    for replies in scenario.replies.values_mut() {
        for option in replies.iter_mut().flat_map(|reply| &mut reply.options) {
            if option.0 == 51 {
                // the shortest lease: renewed after five seconds
                option.1 = "0000000a".to_owned();
            }
        }
    }
    let mut lab = lab();
    let segment = lab.link()?;
    let _server = segment.serve(scenario)?;
    lab.start(None, NOWHERE)?;
    lab.wait_for(&["10.0.0.50/24"], &[])?;
    lab.wait_for(&["10.9.0.50/24", "default via 10.9.0.1"], &["10.0.0.50"])?;
    Ok(())
}

/// Cases 1 and 11: another address in place of the first, and what the new lease does not name goes.
#[test]
#[ignore = "needs root, for network namespaces"]
fn renewed_lease_replaces_all_of_the_former_as_root() -> Result<()> {
    let (mut lab, _segment, _server) = beside("address_changed_on_renew");
    lab.wait_for(
        &["10.0.0.50/24", "192.168.9.0/24", "default via 10.0.0.1"],
        &[],
    )?;
    assert!(lab.ip("link show eth0")?.contains("mtu 1460"));
    lab.wait_for(
        &[
            "10.0.0.60/24",
            "default via 10.0.0.2",
            "nameserver 10.0.0.8",
        ],
        &["10.0.0.50", "192.168.9.0", "nameserver 10.0.0.1\n"],
    )?;
    lab.wait("the MTU of before", |lab| {
        lab.ip("link show eth0")
            .is_ok_and(|shown| shown.contains("mtu 1500"))
    })?;
    Ok(())
}

/// Case 1: user data names a static address in the network of the lease.
#[test]
#[ignore = "needs root, for network namespaces"]
fn configuration_takes_the_place_of_a_lease_as_root() -> Result<()> {
    let (mut lab, _segment, _server) = beside("plain");
    lab.wait_for(&["10.0.0.50/24", "default via 10.0.0.1"], &[])?;
    lab.stop()?;
    assert!(
        lab.state("4").contains("10.0.0.50"),
        "it stays while netd starts anew"
    );
    lab.start(Some(fixed("10.0.0.10/24", Some("10.0.0.2"))), NOWHERE)?;
    lab.wait_for(&["10.0.0.10/24", "default via 10.0.0.2"], &["10.0.0.50"])?;
    Ok(())
}

/// Case 9.
#[test]
#[ignore = "needs root, for network namespaces"]
fn gateway_outside_of_the_prefix_is_on_the_link_as_root() -> Result<()> {
    let mut lab = lab();
    let _segment = lab.link()?;
    lab.start(Some(fixed("203.0.113.7/32", Some("172.31.1.1"))), NOWHERE)?;
    lab.wait_for(&["203.0.113.7/32", "default via 172.31.1.1"], &[])?;
    Ok(())
}

/// Case 8: a management controller's link is there at once, and leads nowhere.
#[test]
#[ignore = "needs root, for network namespaces"]
fn link_with_a_default_route_is_used_as_root() -> Result<()> {
    for first in ["bmc", "norouter"] {
        let mut lab = lab();
        let (one, other) = (lab.link()?, lab.link()?);
        let _bmc = one.serve(scenario(first))?;
        let mut late = scenario("slow_real");
        if first == "norouter" {
            // both have an address; one leads further
            for reply in late.replies.values_mut().flatten() {
                reply.yiaddr = Some([10, 0, 0, 60].into());
            }
        }
        let _real = other.serve(late)?;
        lab.start(None, NOWHERE)?;
        lab.wait_for(
            &["default via 10.0.0.1 dev eth1"],
            &["169.254.3.2", "10.0.0.50/24 \neth0"],
        )?;
        assert!(lab.log().contains("link is used"), "{}", lab.log());
        if first == "norouter" {
            assert!(lab.log().contains("it leads further"), "{}", lab.log());
        }
    }
    Ok(())
}

/// Case 10.
#[test]
#[ignore = "needs root, for network namespaces"]
fn missing_interface_names_what_is_there_as_root() -> Result<()> {
    let mut lab = lab();
    let segment = lab.link()?;
    segment.ip("link set srv0 down")?;
    lab.start(Some(named("enp0s31f6")), NOWHERE)?;
    lab.wait("the list of what is there", |lab| {
        lab.log().contains("the interface enp0s31f6 of the configuration is not there; there are eth0 (02:00:00:00:01:00, no carrier")
    })?;
    Ok(())
}

#[test]
#[ignore = "needs root, for network namespaces"]
fn interface_is_found_by_its_hardware_address_as_root() -> Result<()> {
    let mut lab = lab();
    let (one, other) = (lab.link()?, lab.link()?);
    let _wrong = one.serve(scenario("plain"))?;
    let _right = other.serve(scenario("elsewhere"))?;
    lab.start(Some(named("02:00:00:00:01:01")), NOWHERE)?;
    lab.wait_for(
        &["10.9.0.50/24", "default via 10.9.0.1 dev eth1"],
        &["10.0.0.50"],
    )?;
    Ok(())
}

/// The cable is pulled and put into another network, whose server is mute to the former address.
#[test]
#[ignore = "needs root, for network namespaces"]
fn cable_in_another_network_has_an_address_of_it_as_root() -> Result<()> {
    let mut lab = lab();
    let segment = lab.link()?;
    let server = segment.serve(scenario("plain"))?;
    lab.start(None, NOWHERE)?;
    lab.wait_for(&["10.0.0.50/24"], &[])?;
    segment.ip("link set srv0 down")?;
    drop(server);
    segment.ip("addr flush dev srv0")?;
    let _other = segment.serve(scenario("elsewhere"))?;
    segment.ip("link set srv0 up")?;
    lab.wait_for(&["10.9.0.50/24", "default via 10.9.0.1"], &["10.0.0.50"])?;
    Ok(())
}

/// A restart asks for the same address again (INIT-REBOOT).
#[test]
#[ignore = "needs root, for network namespaces"]
fn restart_asks_for_the_address_of_before_as_root() -> Result<()> {
    let (mut lab, _segment, server) = beside("plain");
    lab.wait_for(&["10.0.0.50/24"], &[])?;
    lab.stop()?;
    let _ = server.seen();
    lab.start(None, NOWHERE)?;
    let seen = server.wait("request")?;
    assert_eq!(seen.requested, Some([10, 0, 0, 50].into()));
    Ok(())
}

/// Another host has the address: declined, and not used.
#[test]
#[ignore = "needs root, for network namespaces"]
fn address_of_another_host_is_declined_as_root() -> Result<()> {
    let mut lab = lab();
    let segment = lab.link()?;
    segment.ip("addr add 10.0.0.50/24 dev srv0")?;
    let server = segment.serve(scenario("plain"))?;
    lab.start(None, NOWHERE)?;
    server.wait("decline")?;
    assert!(!lab.state("4").contains("10.0.0.50"));
    assert!(lab.log().contains("has 10.0.0.50 already"), "{}", lab.log());
    Ok(())
}

/// A route that the kernel refuses.
#[test]
#[ignore = "needs root, for network namespaces"]
fn optional_setting_that_is_refused_leaves_the_link_as_root() -> Result<()> {
    let mut config = fixed("10.0.0.10/24", Some("10.0.0.1"));
    // the kernel refuses a gateway that is the node itself
    config.links[0].routes.push(node_settings::RouteConfig {
        to: "192.168.9.0/24".parse()?,
        via: Some([10, 0, 0, 10].into()),
        metric: None,
    });
    let mut lab = lab();
    let _segment = lab.link()?;
    lab.start(Some(config), NOWHERE)?;
    lab.wait_for(&["10.0.0.10/24", "default via 10.0.0.1"], &[])?;
    lab.wait("the warning", |lab| {
        lab.log()
            .contains("the kernel refuses the route 192.168.9.0/24")
    })?;
    assert_eq!(
        lab.log().matches("the kernel refuses").count(),
        1,
        "{}",
        lab.log()
    );
    Ok(())
}

/// A change that loses the master is taken back, and one that doesn't is kept.
#[test]
#[ignore = "needs root, for network namespaces"]
fn change_that_loses_the_master_is_taken_back_as_root() -> Result<()> {
    let master = "https://10.0.0.1:8443";
    let mut lab = lab();
    let mut segment = lab.link()?;
    segment.ip("addr add 10.0.0.1/24 dev srv0")?;
    let listen = "import socket,time\ns=socket.create_server(('10.0.0.1',8443))\nwhile True: s.accept()[0].close()";
    segment.start("python3", &["-c", listen])?;
    lab.start(Some(fixed("10.0.0.10/24", Some("10.0.0.1"))), master)?;
    lab.wait("the settings are kept", |lab| {
        lab.path("state/network.json").exists()
    })?;
    lab.stop()?;
    lab.start(Some(fixed("10.7.0.10/24", Some("10.7.0.1"))), master)?;
    lab.wait_for(&["10.7.0.10/24"], &["10.0.0.10"])?;
    lab.wait_for(&["10.0.0.10/24", "default via 10.0.0.1"], &["10.7.0.10"])?;
    assert!(lab.log().contains("are used again"), "{}", lab.log());
    lab.wait("that is remembered", |lab| {
        lab.path("state/network-refused.json").exists()
    })?;
    // the next start does not begin with what failed
    lab.stop()?;
    lab.start(Some(fixed("10.7.0.10/24", Some("10.7.0.1"))), master)?;
    lab.wait("the former settings", |lab| {
        lab.log().matches("are used again").count() == 2
    })?;
    assert!(lab.state("4").contains("10.0.0.10/24"));
    Ok(())
}

/// Case 5: the network's MTU is 9000, and the link, a macvlan on one of 1500, takes no more than that.
#[test]
#[ignore = "needs root, for network namespaces"]
fn mtu_beyond_what_the_link_takes_stays_as_root() -> Result<()> {
    let mut lab = lab();
    let segment = lab.link()?;
    let server = segment.serve(scenario("jumbo"))?;
    lab.ip("link set eth0 up")?;
    lab.ip("link add link eth0 name mac0 type macvlan")?;
    lab.start(Some(named("mac0")), NOWHERE)?;
    lab.wait_for(&["10.0.0.50/24", "default via 10.0.0.1 dev mac0"], &[])?;
    lab.wait("the warning", |lab| {
        lab.log().contains("mac0: the kernel refuses the MTU 9000")
    })?;
    assert!(lab.ip("link show mac0")?.contains("mtu 1500"));
    assert!(server.seen().len() <= 3, "no flood");
    Ok(())
}
