//! A document's bounds, syntax, version and shape, before its values are looked at.

use serde::Deserialize;
use serde_path_to_error::Segment;
use toml::{Spanned, Table, Value};
use wire::Secret;

use crate::error::{ConfigError, Problem, line_of};
use crate::redaction::without_keys;
use crate::values;

/// The version of the schema that this release reads.
pub const VERSION: i64 = 1;
/// The longest document, in bytes.
pub const MAXIMUM_LENGTH: usize = 64 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    #[serde(rename = "version")]
    _version: i64,
    pub(crate) seal: Option<Spanned<String>>,
    pub(crate) recovery_key: Option<Spanned<bool>>,
    pub(crate) node: Node,
    #[serde(default)]
    pub(crate) network: Network,
    #[serde(default)]
    pub(crate) time: Time,
    pub(crate) chain: Chain,
    pub(crate) identity: Option<Spanned<Identity>>,
    pub(crate) master: Master,
    #[serde(default)]
    pub(crate) status: Status,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Node {
    pub(crate) id: Spanned<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Network {
    pub(crate) interface: Option<Spanned<String>>,
    pub(crate) method: Option<Spanned<String>>,
    pub(crate) address: Option<Spanned<String>>,
    pub(crate) gateway: Option<Spanned<String>>,
    pub(crate) ipv6: Option<Spanned<String>>,
    pub(crate) address6: Option<Spanned<String>>,
    pub(crate) gateway6: Option<Spanned<String>>,
    pub(crate) mtu: Option<Spanned<i64>>,
    pub(crate) metric: Option<Spanned<i64>>,
    #[serde(default)]
    pub(crate) routes: Vec<Spanned<Route>>,
    #[serde(default)]
    pub(crate) dns: Vec<Spanned<String>>,
    #[serde(default)]
    pub(crate) search: Vec<Spanned<String>>,
    #[serde(default)]
    pub(crate) links: Vec<Spanned<Link>>,
    #[serde(default)]
    pub(crate) vlans: Vec<Spanned<Vlan>>,
    #[serde(default)]
    pub(crate) bonds: Vec<Spanned<Bond>>,
}

/// One of several links. `[network]` has the same fields for the first: serde's `flatten` would lose lines and
/// unknown fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Link {
    pub(crate) interface: Spanned<String>,
    pub(crate) method: Option<Spanned<String>>,
    pub(crate) address: Option<Spanned<String>>,
    pub(crate) gateway: Option<Spanned<String>>,
    pub(crate) ipv6: Option<Spanned<String>>,
    pub(crate) address6: Option<Spanned<String>>,
    pub(crate) gateway6: Option<Spanned<String>>,
    pub(crate) mtu: Option<Spanned<i64>>,
    pub(crate) metric: Option<Spanned<i64>>,
    #[serde(default)]
    pub(crate) routes: Vec<Spanned<Route>>,
    #[serde(default)]
    pub(crate) dns: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    pub(crate) to: Spanned<String>,
    pub(crate) via: Option<Spanned<String>>,
    pub(crate) metric: Option<Spanned<i64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vlan {
    pub(crate) name: Spanned<String>,
    pub(crate) link: Spanned<String>,
    pub(crate) id: Spanned<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bond {
    pub(crate) name: Spanned<String>,
    pub(crate) links: Spanned<Vec<Spanned<String>>>,
    pub(crate) mode: Spanned<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Time {
    #[serde(default)]
    pub(crate) servers: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Chain {
    pub(crate) chain_id: Spanned<String>,
    pub(crate) fullnodes: Spanned<Vec<Spanned<String>>>,
    pub(crate) root_certificate: Option<Spanned<String>>,
    pub(crate) package: Spanned<String>,
    pub(crate) pool: Spanned<String>,
    pub(crate) stake_mist: Spanned<i64>,
    #[serde(default)]
    pub(crate) restake: bool,
    pub(crate) beneficiary: Option<Spanned<String>>,
    /// The former name of `beneficiary`: refused, with the new one.
    pub(crate) payout: Option<Spanned<String>>,
    pub(crate) leave: Option<Spanned<bool>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    pub(crate) sui_key: Spanned<Secret>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Master {
    pub(crate) url: Spanned<String>,
    pub(crate) root_certificate: Spanned<String>,
    pub(crate) directory: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Status {
    pub(crate) listen: Option<Spanned<String>>,
}

/// An error that shows no key, wherever in the document one stands.
pub(crate) fn error(source: &str, mut problems: Vec<Problem>) -> ConfigError {
    problems.sort_by_key(|problem| problem.line);
    for problem in &mut problems {
        problem.field = without_keys(&problem.field);
        problem.found = without_keys(&problem.found);
    }
    ConfigError {
        source_name: source.to_owned(),
        problems,
    }
}

/// Bounds, version, then shape: a document of another version is told so before its fields are.
pub(crate) fn read(source: &str, text: &str) -> Result<Document, ConfigError> {
    let whole = |found: String, expected: &str, hint: &str| {
        let problem = Problem {
            line: None,
            field: String::new(),
            found,
            expected: expected.to_owned(),
            hint: hint.to_owned(),
        };
        error(source, vec![problem])
    };
    if text.len() > MAXIMUM_LENGTH {
        let found = format!("{} bytes", text.len());
        return Err(whole(
            found,
            "65536 bytes at most",
            "a node's configuration is small",
        ));
    }
    let table: Table = toml::from_str(text).map_err(|failure| {
        let problem = Problem {
            line: failure.span().map(|span| line_of(text, span.start)),
            field: String::new(),
            found: format!("not TOML: {}", one_line(failure.message())),
            expected: String::new(),
            hint: "see https://toml.io for the syntax".to_owned(),
        };
        error(source, vec![problem])
    })?;
    match table.get("version") {
        Some(Value::Integer(VERSION)) => {}
        found => {
            let found = found.map_or("missing".to_owned(), |value| {
                values::quoted(&value.to_string())
            });
            let problem = Problem {
                line: top_level_line(text, "version"),
                field: "version".to_owned(),
                found,
                expected: VERSION.to_string(),
                hint: "this release reads version 1 alone".to_owned(),
            };
            return Err(error(source, vec![problem]));
        }
    }
    let deserializer = toml::Deserializer::parse(text)
        .map_err(|_| whole("not TOML".to_owned(), "TOML", "see https://toml.io"))?;
    serde_path_to_error::deserialize(deserializer)
        .map_err(|failure| error(source, vec![shape_problem(text, &failure)]))
}

/// A wrong type, an unknown or a missing field.
fn shape_problem(text: &str, failure: &serde_path_to_error::Error<toml::de::Error>) -> Problem {
    let inner = failure.inner();
    let field = field_name(failure.path());
    // serde's own words can repeat what stands there: never those of a table of secrets
    let (found, expected) = if field.split(['.', '[']).next() == Some("identity") {
        (
            "not what belongs there",
            "one text, sui_key, and nothing else",
        )
    } else {
        (inner.message(), "")
    };
    Problem {
        line: inner.span().map(|span| line_of(text, span.start)),
        field,
        found: one_line(found),
        expected: expected.to_owned(),
        hint: "README.md has an example with every field".to_owned(),
    }
}

/// `table.field[index]`, without the segments that [`toml::Spanned`] puts in between.
fn field_name(path: &serde_path_to_error::Path) -> String {
    let mut name = String::new();
    for segment in path {
        match segment {
            Segment::Map { key } if key.starts_with("$__serde_spanned") => {}
            Segment::Map { key } => {
                if !name.is_empty() {
                    name.push('.');
                }
                name.push_str(key);
            }
            Segment::Seq { index } => name.push_str(&format!("[{index}]")),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    name
}

fn one_line(message: &str) -> String {
    message
        .lines()
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(", ")
}

fn top_level_line(text: &str, key: &str) -> Option<usize> {
    text.lines()
        .position(|line| line.trim_start().starts_with(key))
        .map(|index| index + 1)
}
