//! The node's configuration: one TOML document, typed at the edge.
//!
//! [`NodeConfig::parse`] takes the whole document; [`NodeConfig::netd`] and [`NodeConfig::staker`] give the
//! parts that programs of the node get. Whatever is wrong is told with file, line, field, what was
//! expected, and what to do; the values of secret fields are never repeated.

mod certificates;
mod configuration;
mod document;
mod error;
mod network;
mod redaction;
mod schema;
mod values;

pub use configuration::{NodeConfig, PublicConfig, SealMethod};
pub use document::{MAXIMUM_LENGTH, VERSION};
pub use error::{ConfigError, Problem};
pub use values::{DEFAULT_STATUS_LISTEN, MINIMUM_STAKE};

#[cfg(test)]
mod tests;
