//! An event as one line: `message key=value…`.

use std::fmt::{self, Write};

use tracing::Event;
use tracing::field::{Field, Visit};
use wire::error::chain;

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

/// The message, then the fields in their order; a value with white space stands in quotes.
pub(crate) fn event(event: &Event<'_>) -> String {
    let mut line = Line::default();
    event.record(&mut line);
    line.message.push_str(&line.fields);
    line.message.trim_start().to_owned()
}

/// Text without characters that would steer a terminal or break a line.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.trim_end().chars() {
        match character {
            '\t' => shown.push(' '),
            character if character.is_control() => {
                // writing to a String never fails
                let _ = write!(shown, "\\x{:02x}", u32::from(character));
            }
            character => shown.push(character),
        }
    }
    shown
}

impl Line {
    fn add(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
            return;
        }
        let plain = !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || c == '"');
        // writing to a String never fails
        let _ = if plain {
            write!(self.fields, " {}={value}", field.name())
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    /// The error and what caused it, each sentence once.
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, &chain(value));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::{Logger, Record, Sink};

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<Record>>>);

    impl Sink for Kept {
        fn write(&self, record: Record) {
            self.0.lock().unwrap().push(record);
        }
    }

    fn lines(log: impl FnOnce()) -> Vec<String> {
        let kept = Kept::default();
        tracing::subscriber::with_default(Logger(kept.clone()), log);
        let records = kept.0.lock().unwrap();
        records.iter().map(|record| record.text.clone()).collect()
    }

    #[test]
    fn the_lines_of_the_contract() {
        let found = lines(|| {
            tracing::info!("timeline phase={} seconds={}", "init", "0.007");
            let detail = "no time server answers";
            tracing::warn!(degraded = %"clock", detail);
            tracing::info!(state = %"joined");
            tracing::debug!("not shown");
        });
        assert_eq!(
            found,
            [
                "timeline phase=init seconds=0.007",
                " degraded=clock detail=\"no time server answers\"",
                " state=joined"
            ]
            .map(str::trim_start)
        );
    }

    #[test]
    fn an_error_stands_with_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("can't open /x")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::other("no disk"));
        let found = lines(|| {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                count = 3,
                "it failed"
            );
        });
        assert_eq!(
            found,
            ["it failed error=\"can't open /x: no disk\" count=3"]
        );
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(visible("a\u{1b}[31mb\u{7}\tc \r\n"), "a\\x1b[31mb\\x07 c");
        let found = lines(|| tracing::info!("one\ntwo"));
        assert_eq!(found, ["one", "two"]);
    }
}
