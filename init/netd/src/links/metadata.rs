//! Who on this machine reaches the cloud's metadata service: its user data may hold the node's
//! configuration, and other things of the service are none of a pod's business either.
//!
//! Two policy rules (ip-rule(8)) decide it before any route does. They are about that one service alone:
//! some clouds have their name and time servers at the same address.

use std::net::Ipv4Addr;

use rtnetlink::packet_route::IpProtocol;
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RulePortRange, RuleUidRange};
use rtnetlink::{Handle, RuleAddRequest};

use super::{LinkError, Links, failed};

/// Where every cloud that the program `metadata` knows has the service: an address of the link alone
/// (RFC 3927).
const ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// HTTP.
const PORT: u16 = 80;
/// User of the program `metadata`, as in the image's passwd(5).
const METADATA: u32 = 902;
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
        let refused = allow_existing(
            rule(&self.0, REFUSE, RuleAction::Unreachable)
                .execute()
                .await,
        );
        refused.map_err(failed("refusing the metadata service to pods"))?;
        let mut allowed = rule(&self.0, ALLOW, RuleAction::ToTable);
        allowed.message_mut().attributes.extend([
            // what starts on this machine, by that user
            RuleAttribute::Iifname("lo".to_owned()),
            RuleAttribute::UidRange(RuleUidRange {
                start: METADATA,
                end: METADATA,
            }),
        ]);
        if unconfigured {
            let allowed = allow_existing(allowed.execute().await);
            return allowed.map_err(failed("opening the way to the metadata service"));
        }
        let message = allowed.message_mut().clone();
        match self.0.rule().del(message).execute().await {
            Err(error) if code(&error) != Some(NOT_THERE) => {
                Err(failed("closing the way to the metadata service")(error))
            }
            _ => Ok(()),
        }
    }
}

/// A rule about the service and nothing else.
fn rule(handle: &Handle, priority: u32, action: RuleAction) -> RuleAddRequest<Ipv4Addr> {
    let mut request = handle
        .rule()
        .add()
        .v4()
        .destination_prefix(ADDRESS, 32)
        .priority(priority)
        .action(action);
    request.message_mut().attributes.extend([
        RuleAttribute::IpProtocol(IpProtocol::Tcp),
        RuleAttribute::DestinationPortRange(RulePortRange {
            start: PORT,
            end: PORT,
        }),
    ]);
    request
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
