//! Names that come from a configuration or from the master, each a type with one constructor.
//!
//! A message or a file that holds anything else is refused where it is read: nothing behind it checks
//! again.

mod join_token;
mod node_name;
mod server_url;

pub use join_token::JoinToken;
pub use node_name::NodeName;
pub use server_url::ServerUrl;

/// A text that is not what it should be. The text itself is not repeated: it can be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct InvalidName {
    /// What the text should have been.
    pub expected: &'static str,
}

impl InvalidName {
    const fn new(expected: &'static str) -> Self {
        Self { expected }
    }
}
