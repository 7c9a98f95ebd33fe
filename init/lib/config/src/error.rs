//! What is wrong with a configuration, told so that a person can mend it.

use std::fmt;

use thiserror::Error;

/// A configuration that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}", self.shown())]
pub struct ConfigError {
    /// What the document is called: a path, or the name of a firmware item.
    pub source_name: String,
    /// Everything that was found, in the document's order; at least one.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1; none where the document as a whole is meant.
    pub line: Option<usize>,
    /// The field, as `table.field`; empty where none is meant.
    pub field: String,
    /// What is there, or is missing. Never the value of a secret field.
    pub found: String,
    /// What was expected.
    pub expected: String,
    /// What to do.
    pub hint: String,
}

impl ConfigError {
    fn shown(&self) -> String {
        let lines: Vec<String> = self
            .problems
            .iter()
            .map(|problem| format!("{}{problem}", self.source_name))
            .collect();
        lines.join("\n")
    }
}

impl fmt::Display for Problem {
    /// `:LINE: FIELD: FOUND; expected EXPECTED (HINT)`, to stand behind the document's name.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(formatter, ":{line}")?;
        }
        formatter.write_str(": ")?;
        if !self.field.is_empty() {
            write!(formatter, "{}: ", self.field)?;
        }
        formatter.write_str(&self.found)?;
        if !self.expected.is_empty() {
            write!(formatter, "; expected {}", self.expected)?;
        }
        if !self.hint.is_empty() {
            write!(formatter, " ({})", self.hint)?;
        }
        Ok(())
    }
}

/// The line, from 1, that a byte offset stands in.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    let end = offset.min(text.len());
    1 + text
        .as_bytes()
        .iter()
        .take(end)
        .filter(|byte| **byte == b'\n')
        .count()
}
