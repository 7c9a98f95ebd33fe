//! How the settings name a network link.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use wire::InvalidName;

use super::as_text;

/// The longest interface name: `IFNAMSIZ` of netdevice(7), less its terminating zero.
const NAME_LENGTH: usize = 15;
/// What a path begins with.
const PATH: &str = "path:";
/// The longest path, in bytes: some of sysfs are long.
const PATH_LENGTH: usize = 255;

as_text!(Interface);

/// A network link: by name, by hardware address, or by where it is plugged in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Interface {
    /// The kernel's name for it.
    Name(String),
    /// Its Ethernet address.
    HardwareAddress([u8; 6]),
    /// Where its device is: a part of its path below `/sys/devices`, such as `0000:00:03.0` of PCI or `1-1:1.0` of
    /// USB. The kernel's names can change with what else is plugged in.
    Path(String),
}

impl Interface {
    /// What [`FromStr`] takes.
    pub const EXPECTED: &str = "a name such as \"eth0\", a hardware address such as \"52:54:00:12:34:56\", or a \
                                path such as \"path:0000:00:03.0\"";
}

/// Whether a text can be the name of a link that netd sets up: what the kernel takes (`dev_valid_name`), but for
/// the loopback link, patterns, and hardware addresses that are written in another way.
pub(crate) fn is_name(text: &str) -> bool {
    let characters = text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'%'));
    let digits = text
        .bytes()
        .filter(|byte| !matches!(byte, b'.' | b'-'))
        .all(|byte| byte.is_ascii_hexdigit());
    let hardware = digits && text.bytes().filter(u8::is_ascii_hexdigit).count() == 12;
    (1..=NAME_LENGTH).contains(&text.len())
        && characters
        && !hardware
        && !matches!(text, "." | ".." | "lo" | "all" | "default")
}

fn hardware_address(text: &str) -> Option<[u8; 6]> {
    let mut octets = text.split(':');
    let mut address = [0; 6];
    for place in &mut address {
        let octet = octets.next()?;
        // a sign would be parsed, too
        let digits =
            (1..=2).contains(&octet.len()) && octet.bytes().all(|byte| byte.is_ascii_hexdigit());
        *place = u8::from_str_radix(octet, 16).ok().filter(|_| digits)?;
    }
    octets.next().is_none().then_some(address)
}

impl FromStr for Interface {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let wrong = InvalidName {
            expected: Self::EXPECTED,
        };
        if let Some(path) = text.strip_prefix(PATH) {
            let part = |part: &str| {
                !part.is_empty()
                    && part != "."
                    && part != ".."
                    && part.bytes().all(|byte| byte.is_ascii_graphic())
            };
            let fits = path.len() <= PATH_LENGTH && path.split('/').all(part);
            return fits.then(|| Self::Path(path.to_owned())).ok_or(wrong);
        }
        if let Some(address) = hardware_address(text) {
            // a group's address, and that of nobody, is no card's own
            let own = address[0] & 1 == 0 && address != [0; 6];
            return own.then_some(Self::HardwareAddress(address)).ok_or(wrong);
        }
        is_name(text)
            .then(|| Self::Name(text.to_owned()))
            .ok_or(wrong)
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => formatter.write_str(name),
            Self::HardwareAddress([a, b, c, d, e, f]) => {
                write!(formatter, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
            }
            Self::Path(path) => write!(formatter, "{PATH}{path}"),
        }
    }
}
