//! The values of single fields.

use std::net::{Ipv4Addr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bech32::Bech32;
use bech32::primitives::decode::CheckedHrpstring;
use zeroize::Zeroizing;

use crate::{MINIMUM_STAKE_MIST, SealMethod};

/// The most entries that a list of servers can have.
pub(crate) const MAXIMUM_LIST: usize = 8;

/// The longest interface name: `IFNAMSIZ` of netdevice(7), less its terminating zero.
const INTERFACE_NAME_LENGTH: usize = 15;

/// Ports of the kubelet, kube-proxy, k3s and containerd on a worker
/// (<https://docs.k3s.io/installation/requirements>, kubelet and kube-proxy references).
const TAKEN_PORTS: &[u16] = &[
    6443, 6444, 8472, 10010, 10248, 10249, 10250, 10256, 51820, 51821,
];

/// The NTP port (RFC 5905, section 7.2).
const NTP_PORT: u16 = 123;

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

/// A digest of Sui's: 256 bits of BLAKE2b (Sui documentation, cryptography).
const DIGEST_LENGTH: usize = 32;

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

/// A network link: by name or by hardware address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interface {
    /// The kernel's name for it.
    Name(String),
    /// Its Ethernet address.
    HardwareAddress([u8; 6]),
}

impl Interface {
    pub(crate) fn parse(text: &str) -> Result<Self, Expectation> {
        let octets: Vec<&str> = text.split(':').collect();
        if octets.len() == 6 {
            let mut address = [0; 6];
            for (place, octet) in address.iter_mut().zip(&octets) {
                *place = u8::from_str_radix(octet, 16).map_err(|_| INTERFACE)?;
            }
            return Ok(Self::HardwareAddress(address));
        }
        let fits = !text.is_empty()
            && text.len() <= INTERFACE_NAME_LENGTH
            && text
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':');
        if fits {
            Ok(Self::Name(text.to_owned()))
        } else {
            Err(INTERFACE)
        }
    }
}

const INTERFACE: Expectation = Expectation::new(
    "a name such as \"eth0\" or a hardware address such as \"52:54:00:12:34:56\"",
    "leave it out to use the first Ethernet link",
);

/// An IPv4 address with its prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4Cidr {
    /// The address.
    pub address: Ipv4Addr,
    /// The prefix length, from 1 to 32.
    pub prefix: u8,
}

impl Ipv4Cidr {
    pub(crate) fn parse(text: &str) -> Result<Self, Expectation> {
        let why = Expectation::new(
            "an IPv4 address and its prefix length, such as \"192.0.2.10/24\"",
            "the number behind the slash is the length of the network's prefix, 1 to 32",
        );
        let (address, prefix) = text.split_once('/').ok_or(why)?;
        let address: Ipv4Addr = address.parse().map_err(|_| why)?;
        let prefix: u8 = prefix.parse().map_err(|_| why)?;
        if !(1..=32).contains(&prefix) || address.is_unspecified() || address.is_multicast() {
            return Err(why);
        }
        Ok(Self { address, prefix })
    }

    /// Whether an address is of this network.
    #[must_use]
    pub fn contains(&self, other: Ipv4Addr) -> bool {
        let mask = u32::MAX
            .checked_shl(32 - u32::from(self.prefix))
            .unwrap_or(0);
        u32::from(self.address) & mask == u32::from(other) & mask
    }
}

/// A time server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeServer {
    /// A host name or an address.
    pub host: String,
    /// A UDP port.
    pub port: u16,
}

impl TimeServer {
    pub(crate) fn parse(text: &str) -> Result<Self, Expectation> {
        let why = Expectation::new(
            "a host and, if it isn't 123, a port, such as \"time.example.org\" or \"192.0.2.1:1123\"",
            "leave time.servers out to use those of DHCP",
        );
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| why)?),
            None => (text, NTP_PORT),
        };
        let valid = !host.is_empty()
            && host.len() <= 253
            && host
                .split('.')
                .all(|part| is_label(&part.to_ascii_lowercase()));
        if valid && port != 0 {
            Ok(Self {
                host: host.to_owned(),
                port,
            })
        } else {
            Err(why)
        }
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

/// A label of RFC 1123, section 2.1, in lower case.
fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
        && bytes.first() != Some(&b'-')
        && bytes.last() != Some(&b'-')
}

pub(crate) fn node_id(text: &str) -> Result<String, Expectation> {
    if is_label(text) {
        Ok(text.to_owned())
    } else {
        Err(Expectation::new(
            "1 to 63 lower-case letters, digits and inner hyphens",
            "it becomes the node's name in the cluster and its host name, such as \"edge-0001\"",
        ))
    }
}

pub(crate) fn ipv4(text: &str) -> Result<Ipv4Addr, Expectation> {
    text.parse().map_err(|_| {
        Expectation::new(
            "an IPv4 address such as \"192.0.2.1\"",
            "four numbers, three dots",
        )
    })
}

pub(crate) fn method(text: &str) -> Result<&'static str, Expectation> {
    match text {
        "dhcp" => Ok("dhcp"),
        "static" => Ok("static"),
        _ => Err(Expectation::new(
            "\"dhcp\" or \"static\"",
            "leave it out for DHCP",
        )),
    }
}

pub(crate) fn https_url(text: &str) -> Result<String, Expectation> {
    let why = Expectation::new(
        "an https URL without a path, such as \"https://fullnode.example.org:443\"",
        "plain http is not spoken",
    );
    let uri: http::Uri = text.parse().map_err(|_| why)?;
    let authority = uri.authority().ok_or(why)?;
    let plain = uri.scheme_str() == Some("https")
        && !authority.as_str().contains('@')
        && !authority.host().is_empty()
        && has_a_usable_port(authority.as_str())
        && uri.path_and_query().is_none_or(|path| path == "/");
    if plain {
        Ok(text.trim_end_matches('/').to_owned())
    } else {
        Err(why)
    }
}

/// `http` takes any digits for a port. What stands behind the last colon of an IPv6 address ends
/// with its bracket.
fn has_a_usable_port(authority: &str) -> bool {
    match authority.rsplit_once(':') {
        Some((_, port)) if !port.ends_with(']') => port.parse::<u16>().is_ok_and(|port| port != 0),
        _ => true,
    }
}

pub(crate) fn object_id(text: &str) -> Result<String, Expectation> {
    let why = Expectation::new(
        "\"0x\" and 64 hexadecimal digits",
        "copy it from the explorer or from `sui client publish`",
    );
    let digits = text.strip_prefix("0x").ok_or(why)?;
    let valid = digits.len() == 64
        && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        && digits.bytes().any(|byte| byte != b'0');
    if valid {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(why)
    }
}

pub(crate) fn address(text: &str) -> Result<String, Expectation> {
    // of the same form; and the zero address is nobody's, too
    object_id(text).map_err(|_| {
        Expectation::new(
            "a Sui address: \"0x\" and 64 hexadecimal digits",
            "`sui client addresses` tells your own; what is sent to another can't be taken back",
        )
    })
}

pub(crate) fn chain_id(text: &str) -> Result<String, Expectation> {
    let mut digest = [0; DIGEST_LENGTH];
    if bs58::decode(text).onto(&mut digest) == Ok(DIGEST_LENGTH) {
        Ok(text.to_owned())
    } else {
        Err(Expectation::new(
            "the base58 digest of the chain's genesis checkpoint: 32 bytes, 32 to 44 characters",
            "a fullnode's GetServiceInfo tells it as chain_id",
        ))
    }
}

pub(crate) fn stake(amount: i64) -> Result<u64, Expectation> {
    u64::try_from(amount)
        .ok()
        .filter(|mist| *mist >= MINIMUM_STAKE_MIST)
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
