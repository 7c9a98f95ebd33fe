//! Parameters of links below `/proc/sys/net` (Documentation/networking/ip-sysctl.rst). A process with CAP_NET_ADMIN may
//! write them.

use std::fs;
use std::io;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use super::{Link, Links};

/// Where a link's IPv6 addresses come from, as the kernel has to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ipv6Mode {
    /// No IPv6 at all: what there is goes.
    Off,
    /// Router advertisements give addresses, routes and the MTU.
    Auto,
    /// They give routes and the MTU alone.
    RoutesAlone,
    /// They are not listened to.
    Ignore,
}

/// The metric of the default route of an advertisement (`IP6_RT_PRIO_USER`), for the first link.
const ADVERTISED_METRIC: u32 = 1024;

/// Whether the kernel speaks IPv6.
pub(super) fn has_ipv6() -> bool {
    Path::new("/proc/net/if_inet6").exists()
}

fn of_link(link: &Link, name: &str) -> PathBuf {
    Path::new("/proc/sys/net/ipv6/conf")
        .join(&link.name)
        .join(name)
}

/// Writes a value where it is another: some of them act when they are written.
fn write(path: &Path, value: &str) -> io::Result<()> {
    if fs::read_to_string(path).is_ok_and(|found| found.trim() == value) {
        return Ok(());
    }
    fs::write(path, value)
}

/// The same link makes the same address in a network at each boot, and another in another network (RFC 7217). The secret
/// is derived from its hardware address: it does not hide that from whoever knows it, and it needs no disk.
fn stable_secret(link: &Link) -> Ipv6Addr {
    let [a, b, c, d, e, f] = link.address;
    // the rest is the same for every node: "k3s-daas" and a zero
    Ipv6Addr::from([
        b'k', b'3', b's', b'-', b'd', b'a', b'a', b's', 0, 0, a, b, c, d, e, f,
    ])
}

impl Links {
    /// An address that is removed while others of its network are there takes them along otherwise.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn promote_secondaries() -> io::Result<()> {
        write(
            Path::new("/proc/sys/net/ipv4/conf/all/promote_secondaries"),
            "1",
        )
    }

    /// Tells the kernel where a link's IPv6 addresses come from. `metric` is the link's own, from 0.
    ///
    /// # Errors
    /// What the system says of the first parameter that can't be written.
    pub(crate) fn set_ipv6(link: &Link, mode: Ipv6Mode, metric: u32) -> io::Result<()> {
        if !has_ipv6() {
            return Ok(());
        }
        if mode == Ipv6Mode::Off {
            return write(&of_link(link, "disable_ipv6"), "1");
        }
        // a node forwards, and takes advertisements all the same
        let accept = if mode == Ipv6Mode::Ignore { "0" } else { "2" };
        write(&of_link(link, "accept_ra"), accept)?;
        let autoconf = if mode == Ipv6Mode::Auto { "1" } else { "0" };
        write(&of_link(link, "autoconf"), autoconf)?;
        // kernels may be built without these
        let optional = [
            ("accept_ra_rt_info_max_plen", "64".to_owned()),
            ("ra_defrtr_metric", (ADVERTISED_METRIC + metric).to_string()),
        ];
        for (name, value) in optional {
            match write(&of_link(link, name), &value) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        let secret = of_link(link, "stable_secret");
        // it can't be read before it was written once, and writing it chooses that kind of address
        let expected = full(stable_secret(link));
        if fs::read_to_string(&secret).is_ok_and(|found| found.trim() == expected) {
            return write(&of_link(link, "disable_ipv6"), "0");
        }
        fs::write(&secret, stable_secret(link).to_string())?;
        // addresses of before, link-local ones too, were made in another way: they are made anew
        fs::write(of_link(link, "disable_ipv6"), "1")?;
        fs::write(of_link(link, "disable_ipv6"), "0")
    }
}

/// An address as the kernel writes it (`%pI6`).
fn full(address: Ipv6Addr) -> String {
    let parts = address.segments().map(|segment| format!("{segment:04x}"));
    parts.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_is_the_link_s_own_and_written_as_the_kernel_does() {
        let link = Link {
            index: 2,
            name: "eth0".to_owned(),
            address: [0x52, 0x54, 0, 0x12, 0x34, 0x56],
            running: true,
            carrier_changes: 1,
            mtu: 1500,
            kind: super::super::Kind::Hardware,
            controller: None,
        };
        assert_eq!(
            full(stable_secret(&link)),
            "6b33:732d:6461:6173:0000:5254:0012:3456"
        );
    }
}
