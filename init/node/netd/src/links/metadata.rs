//! Who on this machine reaches the cloud's metadata service: its user data may hold the node's
//! configuration, and other things of the service are none of a pod's business either.
//!
//! Two policy rules (ip-rule(8)) decide it before any route does. They are about that one service alone:
//! some clouds have their name and time servers at the same address.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use rtnetlink::packet_route::IpProtocol;
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RulePortRange, RuleUidRange};
use rtnetlink::{Handle, RuleAddRequest};
use wire::users::METADATA;

use super::{LinkError, Links, failed};

/// Where every cloud that the program `metadata` knows has the service: an address of the link alone
/// (RFC 3927).
const ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// Where Amazon EC2 and Google have it by IPv6, where a customer switches that on, and OpenStack on the
/// link. Nothing here asks there.
const ADDRESSES_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];
/// HTTP.
const PORT: u16 = 80;
/// Before the rules of pod networks, behind that for the machine's own addresses, which is 0.
const ALLOW: u32 = 98;
const REFUSE: u32 = 99;
/// `EEXIST` and `ENOENT`, as netlink(7) gives them.
const EXISTS: i32 = -17;
const NOT_THERE: i32 = -2;

impl Links {
    /// Refuses the service to pods and to everything else on this machine, but for the program that asks
    /// it for a configuration, as long as there is none.
    pub(crate) async fn guard_metadata(&self, unconfigured: bool) -> Result<(), LinkError> {
        let mut allowed = rule(&self.handle, ALLOW, RuleAction::ToTable);
        allowed.message_mut().attributes.extend([
            // what starts on this machine, by that user
            RuleAttribute::Iifname("lo".to_owned()),
            RuleAttribute::UidRange(RuleUidRange {
                start: METADATA,
                end: METADATA,
            }),
        ]);
        if !unconfigured {
            // first: whatever else fails, this way does not stay open
            let message = allowed.message_mut().clone();
            match self.handle.rule().del(message).execute().await {
                Err(error) if code(&error) != Some(NOT_THERE) => {
                    return Err(failed("closing the way to the metadata service")(error));
                }
                _ => {}
            }
        }
        let refused = allow_existing(
            rule(&self.handle, REFUSE, RuleAction::Unreachable)
                .execute()
                .await,
        );
        refused.map_err(failed("refusing the metadata service to pods"))?;
        let by_v6 = ADDRESSES_V6.iter().filter(|_| has_ipv6());
        for address in by_v6 {
            let request = about_the_service(self.handle.rule().add().v6(), REFUSE)
                .destination_prefix(*address, 128)
                .action(RuleAction::Unreachable);
            let refused = allow_existing(request.execute().await);
            refused.map_err(failed("refusing the metadata service by IPv6 to pods"))?;
        }
        if unconfigured {
            let allowed = allow_existing(allowed.execute().await);
            return allowed.map_err(failed("opening the way to the metadata service"));
        }
        Ok(())
    }
}

/// A rule about the service at [`ADDRESS`] and nothing else.
fn rule(handle: &Handle, priority: u32, action: RuleAction) -> RuleAddRequest<Ipv4Addr> {
    about_the_service(handle.rule().add().v4(), priority)
        .destination_prefix(ADDRESS, 32)
        .action(action)
}

fn about_the_service<T>(request: RuleAddRequest<T>, priority: u32) -> RuleAddRequest<T> {
    let mut request = request.priority(priority);
    request.message_mut().attributes.extend([
        RuleAttribute::IpProtocol(IpProtocol::Tcp),
        RuleAttribute::DestinationPortRange(RulePortRange {
            start: PORT,
            end: PORT,
        }),
    ]);
    request
}

/// Whether the kernel speaks IPv6.
fn has_ipv6() -> bool {
    Path::new("/proc/net/if_inet6").exists()
}

fn allow_existing(result: Result<(), rtnetlink::Error>) -> Result<(), rtnetlink::Error> {
    match result {
        Err(error) if code(&error) == Some(EXISTS) => Ok(()),
        other => other,
    }
}

/// The kernel's answer.
fn code(error: &rtnetlink::Error) -> Option<i32> {
    match error {
        rtnetlink::Error::NetlinkError(message) => Some(message.raw_code()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
    use std::process::Command;

    use rtnetlink::RouteMessageBuilder;
    use rustix::io::Errno;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

    use super::*;

    /// What the kernel says at once about a connection: whether there is a way.
    fn way(port: u16) -> Result<(), Errno> {
        way_to(SocketAddrV4::new(ADDRESS, port).into(), AddressFamily::INET)
    }

    fn way_to(address: SocketAddr, family: AddressFamily) -> Result<(), Errno> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        match connect(&socket, &address) {
            Err(Errno::INPROGRESS) => Ok(()),
            other => other,
        }
    }

    /// How many addresses there are by IPv6.
    const COUNT_V6: usize = ADDRESSES_V6.len();

    /// The same by IPv6, at each address.
    fn ways_by_v6() -> [Result<(), Errno>; COUNT_V6] {
        ADDRESSES_V6.map(|address| {
            // one of the link alone needs to know which
            let link = u32::from(address.is_unicast_link_local());
            let address = SocketAddrV6::new(address, PORT, 0, link);
            way_to(address.into(), AddressFamily::INET6)
        })
    }

    /// As [`way`], for the program `metadata`.
    fn way_of_the_program() -> Result<(), Errno> {
        let thread = std::thread::spawn(|| {
            rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(METADATA))?;
            way(PORT)
        });
        thread.join().expect("no panic")
    }

    #[tokio::test]
    #[ignore = "it changes the network that it runs in: the next test runs it in one of its own"]
    async fn in_a_network_of_its_own() {
        let (links, _events) = Links::open(crate::links::Accept::Hardware).expect("a socket");
        links.loopback().await.expect("up");
        let everything = RouteMessageBuilder::<Ipv4Addr>::new()
            .output_interface(1)
            .build();
        let route = links.handle.route().add(everything).execute();
        route.await.expect("a route");
        assert_eq!(way(PORT), Ok(()), "the route leads there");
        if has_ipv6() {
            let everything = RouteMessageBuilder::<Ipv6Addr>::new()
                .output_interface(1)
                .build();
            let route = links.handle.route().add(everything).execute();
            route.await.expect("a route");
            assert_eq!(ways_by_v6(), [Ok(()); COUNT_V6], "the route leads there");
        }
        // twice: this program may have run before
        for _ in 0..2 {
            links.guard_metadata(true).await.expect("rules");
            assert_eq!(way(PORT), Err(Errno::NETUNREACH));
            if has_ipv6() {
                assert_eq!(ways_by_v6(), [Err(Errno::NETUNREACH); COUNT_V6]);
            }
            assert_eq!(way(53), Ok(()), "name servers may be there");
            assert_eq!(way_of_the_program(), Ok(()));
        }
        for _ in 0..2 {
            links.guard_metadata(false).await.expect("rules");
            assert_eq!(way(PORT), Err(Errno::NETUNREACH));
            assert_eq!(way(53), Ok(()));
            assert_eq!(way_of_the_program(), Err(Errno::NETUNREACH));
        }
    }

    #[test]
    #[ignore = "needs root, for a network and a user of its own"]
    fn metadata_service_answers_the_program_alone_as_root() {
        let this = std::env::current_exe().expect("a path");
        let output = Command::new("unshare")
            .args(["--net", "--"])
            .arg(this)
            .args(["--exact", "--ignored", "--nocapture"])
            .arg("links::metadata::tests::in_a_network_of_its_own")
            .output()
            .expect("unshare runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
