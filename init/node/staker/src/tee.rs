//! The report of this machine's trusted execution environment, which `tee-report` has made: this
//! program has no right to it.
//!
//! A machine whose report can't be had registers without one, and says so. Which reports are needed is
//! the master's to say; a machine that would rather hide its environment can do that anyway.

use std::cell::RefCell;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use attest::collect::ReportSource;
use attest::tee_report::message::{NO_SOURCE, SOCKET, SOURCE, SOURCE_FILE};
use attest::tee_report::socket::ask;
use attest::tee_report::{TeeKind, TeeReport, report_data};

use crate::explain;

/// How long a report may take: a little longer than `tee-report` waits for it. All of the evidence must
/// be there before the master's nonce is a minute old.
const LIMIT: Duration = Duration::from_secs(40);
/// The longest word in the file that says whether there is a source.
const LONGEST_WORD: u64 = 32;

/// Where reports are asked for.
#[derive(Debug, Clone)]
pub struct Reporter {
    socket: PathBuf,
    source: PathBuf,
    limit: Duration,
}

impl Default for Reporter {
    fn default() -> Self {
        Self::at(Path::new(SOCKET), Path::new(SOURCE_FILE))
    }
}

/// What became of the report in a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TeeOutcome {
    /// One of this kind is in the evidence.
    Sent(TeeKind),
    /// The machine is in no trusted execution environment.
    NoSource,
    /// It has a source of reports, or might have one, and gave none.
    Failed(String),
}

impl fmt::Display for TeeOutcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent(kind) => write!(formatter, "a report of {kind}"),
            Self::NoSource => {
                formatter.write_str("none: the machine is in no trusted execution environment")
            }
            Self::Failed(why) => write!(formatter, "none: {why}"),
        }
    }
}

impl Reporter {
    /// With another socket, and another file that says whether there is a source.
    #[must_use]
    pub fn at(socket: &Path, source: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            source: source.to_owned(),
            limit: LIMIT,
        }
    }

    /// Whether the machine has a source of reports.
    fn has_source(&self) -> Result<bool, String> {
        let mut word = String::new();
        let read = File::open(&self.source)
            .and_then(|file| file.take(LONGEST_WORD).read_to_string(&mut word));
        match (read, word.as_str()) {
            (Ok(_), SOURCE) => Ok(true),
            (Ok(_), NO_SOURCE) => Ok(false),
            (Ok(_), _) => Err(format!(
                "{}: expected {SOURCE} or {NO_SOURCE}",
                self.source.display()
            )),
            (Err(error), _) => Err(format!(
                "{}: it is not said whether the machine has a source of reports: {error}",
                self.source.display()
            )),
        }
    }

    fn report(&self, qualifying_data: &[u8; 32]) -> (TeeOutcome, Option<TeeReport>) {
        match self.has_source() {
            Err(why) => return (TeeOutcome::Failed(why), None),
            Ok(false) => return (TeeOutcome::NoSource, None),
            Ok(true) => {}
        }
        match ask(&self.socket, &report_data(qualifying_data), self.limit) {
            Ok(Some(report)) => (TeeOutcome::Sent(report.kind()), Some(report)),
            Ok(None) => (TeeOutcome::NoSource, None),
            Err(error) => (TeeOutcome::Failed(explain(&error)), None),
        }
    }
}

/// Asks, and remembers what became of it.
pub(crate) struct Asking {
    reporter: Option<Reporter>,
    outcome: RefCell<TeeOutcome>,
}

impl Asking {
    pub(crate) fn new(reporter: Option<Reporter>) -> Self {
        Self {
            reporter,
            outcome: RefCell::new(TeeOutcome::NoSource),
        }
    }

    pub(crate) fn outcome(self) -> TeeOutcome {
        self.outcome.into_inner()
    }
}

impl ReportSource for Asking {
    /// Blocks, for at most some 45 s.
    fn report(&self, qualifying_data: &[u8; 32]) -> io::Result<Option<TeeReport>> {
        let Some(reporter) = &self.reporter else {
            return Ok(None);
        };
        let (outcome, report) = reporter.report(qualifying_data);
        *self.outcome.borrow_mut() = outcome;
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// What becomes of a report where this is said of the machine, and nobody listens.
    fn outcome(said: Option<&str>) -> TeeOutcome {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("report-source");
        if let Some(said) = said {
            fs::write(&source, said).unwrap();
        }
        let reporter = Reporter::at(&folder.path().join("report.sock"), &source);
        let asking = Asking::new(Some(reporter));
        assert!(asking.report(&[1; 32]).unwrap().is_none());
        asking.outcome()
    }

    #[test]
    fn nobody_is_asked_on_a_machine_without_a_source() {
        assert_eq!(outcome(Some(NO_SOURCE)), TeeOutcome::NoSource);
        assert_eq!(Asking::new(None).outcome(), TeeOutcome::NoSource);
    }

    #[test]
    fn what_is_not_said_and_who_does_not_listen_are_failures_that_say_where() {
        for (said, words) in [
            (None, "report-source"),
            (Some("perhaps"), "expected present or none"),
            (Some(SOURCE), "report.sock"),
        ] {
            let TeeOutcome::Failed(why) = outcome(said) else {
                panic!("{said:?}");
            };
            assert!(why.contains(words), "{why}");
        }
    }
}
