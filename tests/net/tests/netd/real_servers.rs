//! netd beside servers of Debian's: dnsmasq and radvd.

use std::process::Command;

use anyhow::Result;
use net_tests::{Lab, Segment};

use super::{NOWHERE, lab};

fn is_installed(program: &str) -> bool {
    Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Starts dnsmasq on the servers' end, for DHCP alone, with these options.
fn dnsmasq(segment: &mut Segment, options: &[&str]) -> Result<()> {
    let common = [
        "--no-daemon",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--interface=srv0",
        "--port=0",
        "--user=root",
        "--pid-file=",
        "--leasefile-ro",
    ];
    segment.start("dnsmasq", &[common.as_slice(), options].concat())
}

/// A real server: dnsmasq.
#[test]
#[ignore = "needs root, for network namespaces, and dnsmasq"]
fn dnsmasq_gives_a_lease_and_its_options_as_root() -> Result<()> {
    assert!(is_installed("dnsmasq"), "./build.sh test net installs it");
    let mut lab = lab();
    let mut segment = lab.link()?;
    segment.ip("addr add 10.1.0.1/24 dev srv0")?;
    dnsmasq(
        &mut segment,
        &[
            "--dhcp-range=10.1.0.50,10.1.0.60,255.255.255.0,1h",
            "--dhcp-option=option:dns-server,10.1.0.53",
            "--dhcp-option=option:domain-search,example.org",
            "--dhcp-option=option:mtu,1400",
            "--dhcp-option=121,10.200.0.0/16,10.1.0.7,0.0.0.0/0,10.1.0.1",
        ],
    )?;
    lab.start(None, NOWHERE)?;
    lab.wait_for(
        &[
            "10.1.0.",
            "default via 10.1.0.1",
            "10.200.0.0/16 via 10.1.0.7",
            "nameserver 10.1.0.53",
            "search example.org",
        ],
        &[],
    )?;
    assert!(lab.ip("link show eth0")?.contains("mtu 1400"));
    Ok(())
}

fn radvd(lab: &Lab, segment: &mut Segment, flags: &str) -> Result<()> {
    let text = format!(
        "interface srv0 {{ AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; AdvLinkMTU 1400; {flags}\n\
         prefix 2001:db8:5::/64 {{ }};\nroute 2001:db8:77::/48 {{ }};\nRDNSS 2001:db8:5::53 {{ }};\n\
         DNSSL example.net {{ }};\n}};\n"
    );
    let path = lab.path("radvd.conf");
    std::fs::write(&path, text)?;
    segment.ip("addr add 2001:db8:5::1/64 dev srv0 nodad")?;
    let (path, pid) = (
        path.to_string_lossy().into_owned(),
        lab.path("radvd.pid").to_string_lossy().into_owned(),
    );
    segment.start("sysctl", &["-qw", "net.ipv6.conf.all.forwarding=1"])?;
    segment.start(
        "radvd",
        &["-n", "-m", "none", "-C", &path, "-p", &pid, "-u", "root"],
    )
}

/// IPv6 alone: an address, a default route, name servers and domains by router advertisements of radvd.
#[test]
#[ignore = "needs root, for network namespaces, and radvd"]
fn router_advertisements_make_a_network_as_root() -> Result<()> {
    assert!(is_installed("radvd"), "./build.sh test net installs it");
    let mut lab = lab();
    let mut segment = lab.link()?;
    radvd(&lab, &mut segment, "")?;
    lab.start(None, NOWHERE)?;
    let all = [
        "2001:db8:5:0:",
        "default via fe80::",
        "nameserver 2001:db8:5::53",
        "search example.net",
    ];
    lab.wait("a network of IPv6 alone", |lab| {
        let state = lab.state("6");
        let names = all.iter().all(|text| state.contains(text));
        names && lab.log().contains("link is used")
    })?;
    // the address is made of neither the hardware's (02:00:00:00:01:00) nor a random number: it is the same again
    let address = |lab: &Lab| -> String {
        let state = lab.state("6");
        let mut words = state.split_ascii_whitespace();
        words
            .find(|word| word.starts_with("2001:db8:5:0:"))
            .unwrap_or_default()
            .to_owned()
    };
    let first = address(&lab);
    assert!(!first.contains("ff:fe00"), "{first}");
    lab.stop()?;
    lab.ip("link set eth0 down")?;
    lab.start(None, NOWHERE)?;
    lab.wait("the same address", |lab| address(lab) == first)?;
    Ok(())
}

/// Routers that say so (M) have an address asked for by DHCPv6; the server is dnsmasq.
#[test]
#[ignore = "needs root, for network namespaces, radvd and dnsmasq"]
fn managed_network_gives_an_address_by_dhcpv6_as_root() -> Result<()> {
    let mut lab = lab();
    let mut segment = lab.link()?;
    radvd(&lab, &mut segment, "AdvManagedFlag on;")?;
    dnsmasq(
        &mut segment,
        &[
            "--dhcp-range=2001:db8:5::100,2001:db8:5::1ff,64,1h",
            "--dhcp-option=option6:dns-server,[2001:db8:5::54]",
        ],
    )?;
    lab.start(None, NOWHERE)?;
    lab.wait("an address by DHCPv6", |lab| {
        let state = lab.state("6");
        state.contains("2001:db8:5::1")
            && state.contains("/128")
            && state.contains("nameserver 2001:db8:5::54")
    })?;
    Ok(())
}
