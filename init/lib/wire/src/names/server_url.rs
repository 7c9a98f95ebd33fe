//! Where a server is.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::InvalidName;

const SCHEME: &str = "https://";
/// The longest name of a host, in bytes (RFC 1035, section 2.3.4).
const MAXIMUM_HOST: usize = 253;

/// The URL of a server, a master or a fullnode: `https://<host>[:<port>]`, without user, path, query and
/// fragment.
///
/// The host is a name of letters, digits, underscores, inner hyphens and dots, an IPv4 address, or an IPv6 address in
/// brackets. A text that ends with slashes is taken without them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServerUrl(String);

impl ServerUrl {
    /// The longest URL, in bytes.
    pub const MAXIMUM_LENGTH: usize = 512;
    /// What [`FromStr`] takes.
    pub const EXPECTED: &str =
        "an https URL without a path, such as \"https://server.example.org:443\"";

    /// The URL as text, without a slash at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServerUrl {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let read = || {
            let url = text.trim_end_matches('/');
            let authority = url.strip_prefix(SCHEME)?;
            (text.len() <= Self::MAXIMUM_LENGTH && is_authority(authority)).then_some(url)
        };
        read()
            .map(|url| Self(url.to_owned()))
            .ok_or(InvalidName::new(Self::EXPECTED))
    }
}

/// `host[:port]` (RFC 3986, section 3.2), without a user.
fn is_authority(text: &str) -> bool {
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(host, port)| {
            host.parse::<Ipv6Addr>().is_ok()
                && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
        });
    }
    match text.split_once(':') {
        Some((host, port)) => is_host(host) && is_port(port),
        None => is_host(text),
    }
}

fn is_port(text: &str) -> bool {
    // a sign would be parsed, too
    text.bytes().all(|byte| byte.is_ascii_digit())
        && text.parse::<u16>().is_ok_and(|port| port != 0)
}

fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        // an underscore is no letter of a host's name, and names with one resolve all the same
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // a dot at the end says that the name is whole
    let name = text.strip_suffix('.').unwrap_or(text);
    text.len() <= MAXIMUM_HOST && name.split('.').all(label)
}

impl TryFrom<String> for ServerUrl {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<ServerUrl> for String {
    fn from(url: ServerUrl) -> Self {
        url.0
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn server_url_is_taken_without_slashes_at_its_end() {
        for (text, expected) in [
            ("https://10.0.2.2:6443", "https://10.0.2.2:6443"),
            ("https://10.0.2.2:6443/", "https://10.0.2.2:6443"),
            ("https://k3s.example.org//", "https://k3s.example.org"),
            ("https://k3s.example.org.", "https://k3s.example.org."),
            ("https://localhost:65535", "https://localhost:65535"),
            ("https://[2001:db8::1]:443", "https://[2001:db8::1]:443"),
            ("https://[::1]", "https://[::1]"),
            ("https://sui_fullnode:9000", "https://sui_fullnode:9000"),
        ] {
            let url: ServerUrl = text.parse().unwrap();
            assert_eq!(url.as_str(), expected);
        }
    }

    #[test]
    fn server_url_of_another_form_is_refused() {
        let long_host = format!("https://{}a", "a.".repeat(127));
        let long = format!("https://a{}", "/".repeat(ServerUrl::MAXIMUM_LENGTH));
        let label = format!("https://{}", "a".repeat(64));
        for text in [
            "",
            "https://",
            "https:///",
            "http://192.0.2.1",
            "HTTPS://192.0.2.1",
            "192.0.2.1",
            "--server",
            "https://user@192.0.2.1",
            "https://user:word@192.0.2.1",
            "https://192.0.2.1/path",
            "https://192.0.2.1?query",
            "https://192.0.2.1#fragment",
            "https://192.0.2.1:",
            "https://192.0.2.1:0",
            "https://192.0.2.1:+1",
            "https://192.0.2.1:65536",
            "https://192.0.2.1:1:2",
            "https://192.0.2.1 --token x",
            "https://192.0.2.1\n",
            " https://192.0.2.1",
            "https://:443",
            "https://.",
            "https://a..b",
            "https://-a",
            "https://ä.example",
            "https://a%20b",
            "https://2001:db8::1",
            "https://[2001:db8::1",
            "https://[fe80::1%eth0]",
            "https://[192.0.2.1]",
            "https://[::1]443",
            "https://[]",
            &long_host,
            &long,
            &label,
        ] {
            let error = text.parse::<ServerUrl>().expect_err(text);
            assert!(error.to_string().contains("https URL"));
        }
    }

    proptest! {
        #[test]
        fn server_url_accepts_what_it_prints(
            host in "[a-zA-Z0-9]([a-zA-Z0-9-]{0,20}[a-zA-Z0-9])?(\\.[a-z0-9]{1,20}){0,4}",
            port in proptest::option::of(1_u16..),
            slash in "/?",
        ) {
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            let url: ServerUrl = format!("https://{host}{port}{slash}").parse().unwrap();
            prop_assert_eq!(url.as_str(), format!("https://{host}{port}"));
            prop_assert_eq!(url.to_string().parse::<ServerUrl>(), Ok(url.clone()));
            let json = serde_json::to_string(&url).unwrap();
            prop_assert_eq!(serde_json::from_str::<ServerUrl>(&json).unwrap(), url);
        }

        #[test]
        fn server_url_refuses_a_foreign_character(
            host in "[a-z0-9]{1,20}",
            wrong in "[\\x00-\\x20\\x7f\"'<>@?#\\\\%&=]|[^\\x00-\\x7f]",
            place in 0_usize..40,
        ) {
            let mut text = format!("https://{host}:6443");
            text.insert_str(place % (text.len() + 1), &wrong);
            prop_assert!(text.parse::<ServerUrl>().is_err());
        }

        #[test]
        fn server_url_is_one_argument_of_a_command(text in "https://[ -~]{0,80}") {
            if let Ok(url) = text.parse::<ServerUrl>() {
                prop_assert!(url.as_str().bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
    }
}
