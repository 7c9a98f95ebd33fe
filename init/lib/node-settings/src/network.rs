//! Settings of netd: network and time.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use wire::{InvalidName, NodeName};

/// The longest interface name: `IFNAMSIZ` of netdevice(7), less its terminating zero.
const INTERFACE_NAME_LENGTH: usize = 15;
/// The NTP port (RFC 5905, section 7.2).
const NTP_PORT: u16 = 123;
/// The longest name of a host, in bytes (RFC 1035, section 2.3.4).
const MAXIMUM_HOST: usize = 253;

/// Settings of netd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetdSettings {
    /// The host name that a DHCP server is told.
    pub node_name: NodeName,
    /// How the network comes up.
    pub network: NetworkConfig,
    /// Time servers; empty: those that DHCP names, else public ones.
    pub time_servers: Vec<TimeServer>,
}

/// How the network comes up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// The one link to use; none: the first Ethernet link that gets an address.
    pub interface: Option<Interface>,
    /// Where the address comes from.
    pub method: NetworkMethod,
    /// Name servers; they come before those of DHCP.
    pub dns: Vec<Ipv4Addr>,
}

/// Where the address comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum NetworkMethod {
    /// From a DHCP server (RFC 2131).
    Dhcp,
    /// From the configuration.
    Static {
        /// Address and prefix length.
        address: Ipv4Cidr,
        /// The default route.
        gateway: Option<Ipv4Addr>,
    },
}

/// Text in serde, by `FromStr` and `Display`.
macro_rules! as_text {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    };
}

as_text!(Interface);
as_text!(Ipv4Cidr);
as_text!(TimeServer);

/// A network link: by name or by hardware address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Interface {
    /// The kernel's name for it.
    Name(String),
    /// Its Ethernet address.
    HardwareAddress([u8; 6]),
}

impl Interface {
    /// What [`FromStr`] takes.
    pub const EXPECTED: &str =
        "a name such as \"eth0\" or a hardware address such as \"52:54:00:12:34:56\"";
}

impl FromStr for Interface {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let wrong = InvalidName {
            expected: Self::EXPECTED,
        };
        let octets: Vec<&str> = text.splitn(7, ':').collect();
        if octets.len() == 6 {
            let mut address = [0; 6];
            for (place, octet) in address.iter_mut().zip(&octets) {
                // a sign would be parsed, too
                let digits = (1..=2).contains(&octet.len())
                    && octet.bytes().all(|byte| byte.is_ascii_hexdigit());
                *place = match u8::from_str_radix(octet, 16) {
                    Ok(octet) if digits => octet,
                    _ => return Err(wrong),
                };
            }
            return Ok(Self::HardwareAddress(address));
        }
        let fits = !text.is_empty()
            && text.len() <= INTERFACE_NAME_LENGTH
            && text
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':');
        fits.then(|| Self::Name(text.to_owned())).ok_or(wrong)
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => formatter.write_str(name),
            Self::HardwareAddress([a, b, c, d, e, f]) => {
                write!(formatter, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
            }
        }
    }
}

/// An IPv4 address with its prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ipv4Cidr {
    /// The address.
    pub address: Ipv4Addr,
    /// The prefix length, from 1 to 32.
    pub prefix: u8,
}

impl Ipv4Cidr {
    /// What [`FromStr`] takes.
    pub const EXPECTED: &str = "an IPv4 address and its prefix length, such as \"192.0.2.10/24\"";

    /// Whether an address is of this network.
    #[must_use]
    pub fn contains(&self, other: Ipv4Addr) -> bool {
        let mask = u32::MAX
            .checked_shl(32 - u32::from(self.prefix))
            .unwrap_or(0);
        u32::from(self.address) & mask == u32::from(other) & mask
    }
}

impl FromStr for Ipv4Cidr {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let read = || {
            let (address, prefix) = text.split_once('/')?;
            let address: Ipv4Addr = address.parse().ok()?;
            let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
            let prefix: u8 = prefix.parse().ok().filter(|_| digits)?;
            let usable =
                (1..=32).contains(&prefix) && !address.is_unspecified() && !address.is_multicast();
            usable.then_some(Self { address, prefix })
        };
        read().ok_or(InvalidName {
            expected: Self::EXPECTED,
        })
    }
}

impl fmt::Display for Ipv4Cidr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix)
    }
}

/// A time server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeServer {
    /// A host name or an address.
    pub host: String,
    /// A UDP port.
    pub port: u16,
}

impl TimeServer {
    /// What [`FromStr`] takes.
    pub const EXPECTED: &str = "a host and, if it isn't 123, a port, such as \"time.example.org\" or \
                                \"192.0.2.1:1123\"";
}

impl FromStr for TimeServer {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let read = || {
            let (host, port) = match text.split_once(':') {
                Some((host, port)) => {
                    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
                    (host, port.parse().ok().filter(|_| digits)?)
                }
                None => (text, NTP_PORT),
            };
            // a label of RFC 1123, in any case
            let label = |part: &str| part.to_ascii_lowercase().parse::<NodeName>().is_ok();
            let valid = host.len() <= MAXIMUM_HOST && host.split('.').all(label) && port != 0;
            valid.then(|| Self {
                host: host.to_owned(),
                port,
            })
        };
        read().ok_or(InvalidName {
            expected: Self::EXPECTED,
        })
    }
}

impl fmt::Display for TimeServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        ] {
            assert!(bad.parse::<Ipv4Cidr>().is_err(), "{bad}");
        }
        let long = format!("{}a", "a.".repeat(127));
        for bad in [
            "", ":123", "a:0", "a:+1", "a:", "a b", "a_b", "-a", "a..b", "ä", "a\n", "a:65536",
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
            name in "[!-.0-9;-~]{1,15}",
            octets in any::<[u8; 6]>(),
            address in (1_u32..0xe000_0000),
            prefix in 1_u8..=32,
            host in "[a-zA-Z0-9]{1,10}(\\.[a-z0-9]{1,10}){0,4}",
            port in 1_u16..,
        ) {
            reads_back(&name.parse::<Interface>().expect("a name"))?;
            reads_back(&Interface::HardwareAddress(octets))?;
            let address = Ipv4Addr::from(address);
            reads_back(&Ipv4Cidr { address, prefix })?;
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
}
