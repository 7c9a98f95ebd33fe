//! A static address: the messages of rtnetlink(7) for one link, written out.

use std::fs;
use std::io;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

/// QEMU's user network: the machine's address, its prefix, and the gateway.
const ADDRESS: [u8; 4] = [10, 0, 2, 15];
const PREFIX: u8 = 24;
const GATEWAY: [u8; 4] = [10, 0, 2, 2];

/// Types and flags, linux/rtnetlink.h and linux/netlink.h.
const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const REQUEST_AND_ACKNOWLEDGE: u16 = 1 | 4;
const CREATE: u16 = 0x400;
const ERROR: u16 = 2;
const IPV4: u8 = 2;
const UP: u32 = 1;
/// Attributes, linux/if_addr.h and linux/rtnetlink.h.
const LOCAL: u16 = 2;
const ROUTE_GATEWAY: u16 = 5;
/// `RT_TABLE_MAIN`, `RTPROT_STATIC`, `RT_SCOPE_UNIVERSE`, `RTN_UNICAST`.
const MAIN_STATIC_UNICAST: [u8; 4] = [254, 4, 0, 1];
const HEADER: usize = 16;

/// Sets loopback and the first other link up, with address and route.
///
/// # Errors
/// When there is no link, or the kernel refuses.
pub fn set_up() -> Result<()> {
    let link = first_link()?;
    for message in [link_up(1), link_up(link), address(link), route()] {
        exchange(&message)?;
    }
    Ok(())
}

fn first_link() -> Result<u32> {
    for entry in fs::read_dir("/sys/class/net").context("no links")? {
        let entry = entry?;
        if entry.file_name() != "lo" {
            let index = fs::read_to_string(entry.path().join("ifindex"))?;
            return index.trim().parse().context("a link without an index");
        }
    }
    bail!("no link but loopback")
}

/// `struct nlmsghdr` and what follows it.
fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + body.len()).unwrap_or_default();
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend((REQUEST_AND_ACKNOWLEDGE | flags).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// `struct rtattr` with four bytes.
fn attribute(kind: u16, value: [u8; 4]) -> Vec<u8> {
    let mut attribute = 8_u16.to_ne_bytes().to_vec();
    attribute.extend(kind.to_ne_bytes());
    attribute.extend(value);
    attribute
}

/// `struct ifinfomsg`.
fn link_up(link: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(link.to_ne_bytes());
    body.extend(UP.to_ne_bytes());
    body.extend(UP.to_ne_bytes());
    message(NEW_LINK, 0, &body)
}

/// `struct ifaddrmsg`.
fn address(link: u32) -> Vec<u8> {
    let mut body = vec![IPV4, PREFIX, 0, 0];
    body.extend(link.to_ne_bytes());
    body.extend(attribute(LOCAL, ADDRESS));
    message(NEW_ADDRESS, CREATE, &body)
}

/// `struct rtmsg`.
fn route() -> Vec<u8> {
    let mut body = vec![IPV4, 0, 0, 0];
    body.extend(MAIN_STATIC_UNICAST);
    body.extend([0; 4]);
    body.extend(attribute(ROUTE_GATEWAY, GATEWAY));
    message(NEW_ROUTE, CREATE, &body)
}

fn exchange(message: &[u8]) -> Result<()> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        // NETLINK_ROUTE is 0
        None,
    )?;
    send(&socket, message, SendFlags::empty())?;
    let mut reply = [0; 256];
    let (length, _) = recv(&socket, reply.as_mut_slice(), RecvFlags::empty())?;
    outcome(reply.get(..length).unwrap_or_default())
}

/// `struct nlmsgerr` behind the header: 0, or a negative error number.
fn outcome(reply: &[u8]) -> Result<()> {
    let number =
        |range: std::ops::Range<usize>| reply.get(range).and_then(|bytes| bytes.try_into().ok());
    let kind = reply
        .get(4..6)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u16::from_ne_bytes);
    ensure!(kind == Some(ERROR), "the kernel did not acknowledge");
    match number(HEADER..HEADER + 4).map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(error) => Err(io::Error::from_raw_os_error(error.saturating_neg()).into()),
        None => bail!("the kernel's answer is cut short"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_has_its_length_and_whole_attributes() {
        for message in [link_up(2), address(2), route()] {
            let length: [u8; 4] = message[..4].try_into().unwrap();
            assert_eq!(u32::from_ne_bytes(length) as usize, message.len());
            assert_eq!(message.len() % 4, 0);
        }
    }

    #[test]
    fn refusal_is_an_error() {
        let mut reply = message(ERROR, 0, &0_i32.to_ne_bytes());
        outcome(&reply).unwrap();
        reply[HEADER..HEADER + 4].copy_from_slice(&(-19_i32).to_ne_bytes());
        let error = outcome(&reply).unwrap_err().to_string();
        assert!(error.contains("No such device"), "{error}");
        assert!(outcome(&reply[..10]).is_err());
    }
}
