//! Errors as text.

use std::error::Error;

/// An error with everything that caused it, on one line: `what: why: why`.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{what}")]
    struct Layer {
        what: &'static str,
        source: Option<Box<Self>>,
    }

    #[test]
    fn chain_names_every_cause_in_order() {
        let mut error = Layer {
            what: "connection refused",
            source: None,
        };
        assert_eq!(chain(&error), "connection refused");
        for what in ["no connection", "the master does not answer"] {
            let source = Some(Box::new(error));
            error = Layer { what, source };
        }
        assert_eq!(
            chain(&error),
            "the master does not answer: no connection: connection refused"
        );
    }
}
