//! A time server's name in the settings.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use wire::{InvalidName, NodeName};

use super::as_text;

/// The NTP port (RFC 5905, section 7.2).
const NTP_PORT: u16 = 123;
/// The longest name of a host, in bytes (RFC 1035, section 2.3.4).
const MAXIMUM_HOST: usize = 253;

as_text!(TimeServer);

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
            let port = |text: &str| {
                let digits = text.bytes().all(|byte| byte.is_ascii_digit());
                text.parse().ok().filter(|_| digits)
            };
            // an address of IPv6 is in brackets, as in URLs, or stands alone
            let bare = text
                .parse::<Ipv6Addr>()
                .ok()
                .map(|address| (address, NTP_PORT));
            let bracketed = || {
                let (address, rest) = text.strip_prefix('[')?.split_once(']')?;
                let number = match rest.strip_prefix(':') {
                    Some(number) => port(number)?,
                    None if rest.is_empty() => NTP_PORT,
                    None => return None,
                };
                Some((address.parse::<Ipv6Addr>().ok()?, number))
            };
            if let Some((address, port)) = bare.or_else(bracketed) {
                return (port != 0).then(|| Self {
                    host: address.to_string(),
                    port,
                });
            }
            let (host, port) = match text.split_once(':') {
                Some((host, number)) => (host, port(number)?),
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
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}
