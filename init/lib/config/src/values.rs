//! The values of single fields.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bech32::Bech32;
use bech32::primitives::decode::CheckedHrpstring;
use chain_types::{Address, ChainId, LONGEST_NODE_ID, Mist, ObjectId};
use node_settings::{BondMode, Destination, Interface, Ipv4Cidr, Ipv6Cidr, TimeServer};
use wire::{NodeName, ServerUrl};
use zeroize::Zeroizing;

use crate::configuration::SealMethod;

/// The smallest stake: 1 SUI.
pub const MINIMUM_STAKE: Mist = Mist(Mist::PER_SUI);
/// Where the status page listens unless the configuration says otherwise.
pub const DEFAULT_STATUS_LISTEN: &str = "[::]:8090";

/// The most entries that a list of servers can have.
pub(crate) const MAXIMUM_LIST: usize = 8;

/// Ports of the kubelet, kube-proxy, k3s and containerd on a worker
/// (<https://docs.k3s.io/installation/requirements>, kubelet and kube-proxy references).
const TAKEN_PORTS: &[u16] = &[
    6443, 6444, 8472, 10010, 10248, 10249, 10250, 10256, 51820, 51821,
];

/// Flags of the schemes in Sui's key encodings (Sui documentation, signature schemes).
const ED25519_FLAG: u8 = 0;
const SECP256R1_FLAG: u8 = 2;

/// A key in such an encoding: the flag, then 32 bytes.
const SUI_KEY_LENGTH: usize = 33;

/// What such a key begins with in its text form (SIP-15).
const SUIPRIVKEY: &str = "suiprivkey";

/// Characters of such a key in base64, as `sui.keystore` holds it.
const KEYSTORE_LENGTH: usize = 44;

/// The order of the group of P-256 (FIPS 186-5; SEC 2, section 2.4.2): a secret is a number from 1
/// to the one before it.
const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// What a field should have been, and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expectation {
    pub(crate) expected: &'static str,
    pub(crate) hint: &'static str,
}

impl Expectation {
    pub(crate) const fn new(expected: &'static str, hint: &'static str) -> Self {
        Self { expected, hint }
    }
}

/// A value as an error repeats it: quoted, without control characters, not longer than a line.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    let shown: String = text
        .chars()
        .take(LONGEST)
        .flat_map(char::escape_debug)
        .collect();
    let more = if text.chars().count() > LONGEST {
        "…"
    } else {
        ""
    };
    format!("\"{shown}{more}\"")
}

/// A type's own constructor, with what a person is to do where it refuses.
fn read<T>(text: &str, expected: &'static str, hint: &'static str) -> Result<T, Expectation>
where
    T: FromStr,
{
    text.parse().map_err(|_| Expectation::new(expected, hint))
}

pub(crate) fn interface(text: &str) -> Result<Interface, Expectation> {
    read(
        text,
        Interface::EXPECTED,
        "leave it out to use the first Ethernet link",
    )
}

pub(crate) fn cidr(text: &str) -> Result<Ipv4Cidr, Expectation> {
    read(
        text,
        Ipv4Cidr::EXPECTED,
        "the number behind the slash is the length of the network's prefix, 1 to 32; the network's own and its \
         broadcast address are no host's",
    )
}

pub(crate) fn cidr_v6(text: &str) -> Result<Ipv6Cidr, Expectation> {
    read(
        text,
        Ipv6Cidr::EXPECTED,
        "the number behind the slash is the length of the network's prefix, 1 to 128; addresses of the link alone \
         (fe80::) come by themselves",
    )
}

pub(crate) fn destination(text: &str) -> Result<Destination, Expectation> {
    read(
        text,
        Destination::EXPECTED,
        "the default route is \"0.0.0.0/0\" or \"::/0\"",
    )
}

/// The address of a server or a gateway: one that a host can have.
pub(crate) fn host(text: &str) -> Result<IpAddr, Expectation> {
    let why = Expectation::new(
        "the address of a host, such as \"192.0.2.1\" or \"2001:db8::1\"",
        "neither this node's own (loopback) nor a group's",
    );
    match text.parse().map_err(|_| why)? {
        IpAddr::V4(address) if matches!(address.octets()[0], 0 | 127 | 224..) => Err(why),
        IpAddr::V6(address)
            if address.is_unspecified() || address.is_loopback() || address.is_multicast() =>
        {
            Err(why)
        }
        address => Ok(address),
    }
}

/// A domain in which names are looked for.
pub(crate) fn domain(text: &str) -> Result<String, Expectation> {
    let label = |part: &str| part.to_ascii_lowercase().parse::<NodeName>().is_ok();
    let valid = text.len() <= 253 && text.split('.').all(label);
    valid.then(|| text.to_owned()).ok_or(Expectation::new(
        "a domain such as \"example.org\"",
        "letters, digits and hyphens between dots",
    ))
}

pub(crate) fn time_server(text: &str) -> Result<TimeServer, Expectation> {
    read(
        text,
        TimeServer::EXPECTED,
        "leave time.servers out to use those of DHCP",
    )
}

pub(crate) fn node_id(text: &str) -> Result<NodeName, Expectation> {
    const AT_MOST: &str = "50 characters at most";
    const { assert!(LONGEST_NODE_ID == 50, "the sentence says so") };
    const HINT: &str = "the node's name in the cluster begins with it, and it is the host name, such as \"edge-0001\"";
    let name: NodeName = read(text, NodeName::EXPECTED, HINT)?;
    if name.as_str().len() > LONGEST_NODE_ID {
        return Err(Expectation::new(AT_MOST, HINT));
    }
    Ok(name)
}

pub(crate) fn method(text: &str) -> Result<&'static str, Expectation> {
    match text {
        "dhcp" => Ok("dhcp"),
        "static" => Ok("static"),
        "off" => Ok("off"),
        _ => Err(Expectation::new(
            "\"dhcp\", \"static\" or \"off\"",
            "leave it out for DHCP",
        )),
    }
}

pub(crate) fn method_v6(text: &str) -> Result<&'static str, Expectation> {
    match text {
        "auto" => Ok("auto"),
        "static" => Ok("static"),
        "off" => Ok("off"),
        _ => Err(Expectation::new(
            "\"auto\", \"static\" or \"off\"",
            "leave it out for router advertisements, and DHCPv6 where these say so",
        )),
    }
}

/// How the links of a bond work together.
pub(crate) fn bond_mode(text: &str) -> Result<BondMode, Expectation> {
    match text {
        "802.3ad" => Ok(BondMode::Lacp),
        "active-backup" => Ok(BondMode::ActiveBackup),
        _ => Err(Expectation::new(
            "\"802.3ad\" or \"active-backup\"",
            "the first needs a switch that speaks LACP, the second needs none",
        )),
    }
}

pub(crate) fn server_url(text: &str) -> Result<ServerUrl, Expectation> {
    read(text, ServerUrl::EXPECTED, "plain http is not spoken")
}

/// The zero id names nothing.
pub(crate) fn object_id(text: &str) -> Result<ObjectId, Expectation> {
    let why = Expectation::new(
        "\"0x\" and 64 hexadecimal digits",
        "copy it from the explorer or from `sui client publish`",
    );
    let id: ObjectId = text.parse().map_err(|_| why)?;
    if id.is_zero() { Err(why) } else { Ok(id) }
}

/// The zero address is nobody's.
pub(crate) fn address(text: &str) -> Result<Address, Expectation> {
    let why = Expectation::new(
        "a Sui address: \"0x\" and 64 hexadecimal digits",
        "`sui client addresses` tells your own; what is sent to another can't be taken back",
    );
    let address: Address = text.parse().map_err(|_| why)?;
    if address.is_zero() {
        Err(why)
    } else {
        Ok(address)
    }
}

pub(crate) fn chain_id(text: &str) -> Result<ChainId, Expectation> {
    read(
        text,
        "the base58 digest of the chain's genesis checkpoint: 32 bytes, 32 to 44 characters",
        "a fullnode's GetServiceInfo tells it as chain_id",
    )
}

pub(crate) fn stake(amount: i64) -> Result<Mist, Expectation> {
    u64::try_from(amount)
        .ok()
        .map(Mist)
        .filter(|amount| *amount >= MINIMUM_STAKE)
        .ok_or(Expectation::new(
            "1000000000 or more",
            "the amount is in MIST, and 1 SUI is 1000000000 MIST",
        ))
}

/// How secrets are kept.
pub(crate) fn seal(text: &str) -> Result<SealMethod, Expectation> {
    match text {
        "tpm" => Ok(SealMethod::Tpm),
        "none" => Ok(SealMethod::None),
        _ => Err(Expectation::new(
            "\"tpm\" or \"none\"",
            "leave it out to have the configuration sealed by the machine's TPM 2.0",
        )),
    }
}

pub(crate) fn sui_key(text: &str) -> Result<(), Expectation> {
    let why = Expectation::new(
        "an ed25519 or secp256r1 key: suiprivkey1… or the 44 characters of an entry of sui.keystore",
        "`sui keytool export` writes the first, which one wrong character breaks",
    );
    let text = text.trim();
    let mut bytes = Zeroizing::new([0; SUI_KEY_LENGTH]);
    if text.starts_with(SUIPRIVKEY) {
        // SIP-15: bech32 (BIP-173), and not its successor bech32m
        let checked = CheckedHrpstring::new::<Bech32>(text).map_err(|_| why)?;
        let mut found = checked.byte_iter();
        if checked.hrp().as_str() != SUIPRIVKEY || found.len() != SUI_KEY_LENGTH {
            return Err(why);
        }
        for place in bytes.iter_mut() {
            *place = found.next().ok_or(why)?;
        }
    } else {
        // with or without its quotation marks
        let entry = text
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .unwrap_or(text);
        if entry.len() != KEYSTORE_LENGTH
            || STANDARD.decode_slice(entry, bytes.as_mut()) != Ok(SUI_KEY_LENGTH)
        {
            return Err(why);
        }
    }
    let valid = match bytes.split_first() {
        // any 32 bytes are a secret (RFC 8032, section 5.1.5)
        Some((&ED25519_FLAG, _)) => true,
        Some((&SECP256R1_FLAG, secret)) => {
            *secret < P256_ORDER[..] && secret.iter().any(|byte| *byte != 0)
        }
        _ => false,
    };
    if valid { Ok(()) } else { Err(why) }
}

pub(crate) fn listen(text: &str) -> Result<SocketAddr, Expectation> {
    let address: SocketAddr = text.parse().map_err(|_| {
        Expectation::new(
            "an address and a port, such as \"0.0.0.0:8090\"",
            "IPv6 in brackets",
        )
    })?;
    if TAKEN_PORTS.contains(&address.port()) {
        return Err(Expectation::new(
            "a port that k3s, the kubelet and containerd don't use",
            "8090 is free",
        ));
    }
    if address.port() < 1024 {
        return Err(Expectation::new(
            "a port from 1024 to 65535",
            "the status page is served without privileges",
        ));
    }
    Ok(address)
}
