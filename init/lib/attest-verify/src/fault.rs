//! Why evidence is refused.

use master_api::RefusalCode;

/// Why evidence is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// The code, for programs.
    pub code: RefusalCode,
    /// One sentence, for people.
    pub message: String,
}

impl Fault {
    /// A refusal.
    pub fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}
