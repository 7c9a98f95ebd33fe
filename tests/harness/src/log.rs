//! Lines that a machine's console or a process writes, kept with the time of their arrival, so that
//! a scenario can wait for one without ever missing what came before it asked.

use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use regex::Regex;
use tokio::sync::{mpsc, watch};

/// A line longer than this is cut in two, so that a console that never ends its line stays bounded.
const LINE_LIMIT: usize = 16 * 1024;

/// One line, without its end and without terminal escapes.
#[derive(Clone, Debug)]
pub struct Line {
    /// Time since the log was opened (for a machine: since power-on).
    pub at: Duration,
    /// The text.
    pub text: String,
}

/// What [`LineLog::wait`] found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Index of the line; the place after it is `index + 1`.
    pub index: usize,
    /// The line.
    pub line: Line,
    /// The groups of the expression; a group that took no part is empty.
    pub groups: Vec<String>,
}

#[derive(Default)]
struct State {
    lines: Vec<Line>,
    closed: bool,
}

struct Shared {
    name: String,
    opened: Instant,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

/// A growing list of lines. Clones share it.
#[derive(Clone)]
pub struct LineLog {
    shared: Arc<Shared>,
}

impl LineLog {
    /// An empty log; `name` stands in error messages.
    pub fn new(name: &str) -> Self {
        Self {
            shared: Arc::new(Shared {
                name: name.to_owned(),
                opened: Instant::now(),
                state: Mutex::default(),
                changed: watch::channel(0).0,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn announce(&self) {
        self.shared.changed.send_modify(|count| *count += 1);
    }

    /// Appends one line.
    pub fn push(&self, text: String) {
        let at = self.shared.opened.elapsed();
        self.state().lines.push(Line { at, text });
        self.announce();
    }

    /// Marks the end of the source: whoever waits gets an error in place of a time-out.
    pub fn close(&self) {
        self.state().closed = true;
        self.announce();
    }

    /// Number of lines so far: the place from which a later [`Self::wait`] looks.
    pub fn position(&self) -> usize {
        self.state().lines.len()
    }

    /// All lines from `position` on.
    pub fn lines_from(&self, position: usize) -> Vec<Line> {
        self.state()
            .lines
            .get(position..)
            .map(<[Line]>::to_vec)
            .unwrap_or_default()
    }

    /// The first line at or after `position` that matches.
    pub fn find(&self, pattern: &Regex, position: usize) -> Option<Found> {
        let state = self.state();
        state
            .lines
            .iter()
            .enumerate()
            .skip(position)
            .find_map(|(index, line)| {
                pattern.captures(&line.text).map(|captures| Found {
                    index,
                    line: line.clone(),
                    groups: captures
                        .iter()
                        .skip(1)
                        .map(|group| {
                            group.map_or_else(String::new, |found| found.as_str().to_owned())
                        })
                        .collect(),
                })
            })
    }

    /// Number of lines at or after `position` that match.
    pub fn count(&self, pattern: &Regex, position: usize) -> usize {
        self.state()
            .lines
            .iter()
            .skip(position)
            .filter(|line| pattern.is_match(&line.text))
            .count()
    }

    /// Waits until a line at or after `position` matches.
    ///
    /// # Errors
    /// When the source ends or `timeout` passes first.
    pub async fn wait(&self, pattern: &str, position: usize, timeout: Duration) -> Result<Found> {
        let expression = Regex::new(pattern).context("a scenario's expression is not valid")?;
        let mut changed = self.shared.changed.subscribe();
        let search = async {
            loop {
                changed.borrow_and_update();
                // read before the search: lines that arrive between the two are searched, too
                let closed = self.state().closed;
                if let Some(found) = self.find(&expression, position) {
                    return Ok(found);
                }
                if closed {
                    bail!(
                        "{} ended without a line that matches /{pattern}/",
                        self.shared.name
                    );
                }
                if changed.changed().await.is_err() {
                    bail!("the log of {} is gone", self.shared.name);
                }
            }
        };
        match tokio::time::timeout(timeout, search).await {
            Ok(outcome) => outcome,
            Err(_) => bail!(
                "{} wrote no line that matches /{pattern}/ within {} s",
                self.shared.name,
                timeout.as_secs()
            ),
        }
    }

    /// Waits until the source has ended.
    pub async fn ended(&self) {
        let mut changed = self.shared.changed.subscribe();
        loop {
            changed.borrow_and_update();
            if self.state().closed || changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// All lines so far, as one text.
    pub fn text(&self) -> String {
        let state = self.state();
        state
            .lines
            .iter()
            .flat_map(|line| [line.text.as_str(), "\n"])
            .collect()
    }

    /// The last `count` lines, each with its time, for a failure's report.
    pub fn tail(&self, count: usize) -> String {
        let state = self.state();
        let start = state.lines.len().saturating_sub(count);
        let mut text = String::new();
        for line in state.lines.iter().skip(start) {
            text.push_str(&format!(
                "    {:>8.3} {}\n",
                line.at.as_secs_f64(),
                line.text
            ));
        }
        text
    }

    /// Reads `source` to its end: every byte goes to `file` and to `tap` as it came, every line into
    /// this log without terminal escapes. A tap that is full loses bytes rather than hold up a
    /// machine's console.
    ///
    /// It blocks, and wants a thread of its own (`spawn_blocking`): QEMU throws away what nobody takes
    /// from a serial line, and a task may wait for as long as a scenario links an image.
    ///
    /// # Errors
    /// When the file cannot be created or written. An error of the source counts as its end.
    pub fn follow(
        &self,
        source: impl Read,
        file: &Path,
        tap: Option<mpsc::Sender<Vec<u8>>>,
    ) -> Result<()> {
        let outcome = self.record(source, file, tap);
        self.close();
        outcome
    }

    fn record(
        &self,
        mut source: impl Read,
        file: &Path,
        tap: Option<mpsc::Sender<Vec<u8>>>,
    ) -> Result<()> {
        let mut record = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(file)
            .with_context(|| format!("cannot open {}", file.display()))?;
        let mut splitter = Splitter::default();
        let mut buffer = vec![0_u8; 16 * 1024];
        loop {
            let count = match source.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) | Ok(0) => break,
                Ok(count) => count,
            };
            let bytes = buffer.get(..count).unwrap_or_default();
            record
                .write_all(bytes)
                .with_context(|| format!("cannot write {}", file.display()))?;
            if let Some(tap) = &tap {
                let _ = tap.try_send(bytes.to_vec());
            }
            splitter.take(bytes, |line| self.push(line));
        }
        splitter.finish(|line| self.push(line));
        Ok(())
    }
}

/// Cuts a byte stream into lines and drops terminal escape sequences.
#[derive(Default)]
struct Splitter {
    line: Vec<u8>,
    escapes: EscapeFilter,
}

impl Splitter {
    fn take(&mut self, bytes: &[u8], mut emit: impl FnMut(String)) {
        for &byte in bytes {
            match byte {
                _ if !self.escapes.keeps(byte) => {}
                b'\n' => self.finish(&mut emit),
                b'\r' => {}
                _ => self.line.push(byte),
            }
            if self.line.len() >= LINE_LIMIT {
                self.finish(&mut emit);
            }
        }
    }

    fn finish(&mut self, mut emit: impl FnMut(String)) {
        if !self.line.is_empty() {
            emit(String::from_utf8_lossy(&self.line).into_owned());
            self.line.clear();
        }
    }
}

/// Tells terminal escape sequences (ECMA-48, section 5.4) from text, byte by byte.
#[derive(Default)]
pub struct EscapeFilter {
    state: Escape,
}

#[derive(Default)]
enum Escape {
    #[default]
    None,
    Started,
    Sequence,
}

impl EscapeFilter {
    /// Whether the next byte of the stream is text.
    pub fn keeps(&mut self, byte: u8) -> bool {
        self.state = match (&self.state, byte) {
            (Escape::None, 0x1b) => Escape::Started,
            (Escape::None, _) => return true,
            (Escape::Started, b'[') => Escape::Sequence,
            (Escape::Started, _) | (Escape::Sequence, 0x40..=0x7e) => Escape::None,
            (Escape::Sequence, _) => Escape::Sequence,
        };
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn split(chunks: &[&[u8]]) -> Vec<String> {
        let mut splitter = Splitter::default();
        let mut lines = Vec::new();
        for chunk in chunks {
            splitter.take(chunk, |line| lines.push(line));
        }
        splitter.finish(|line| lines.push(line));
        lines
    }

    #[test]
    fn escapes_and_carriage_returns_are_dropped_across_chunks() {
        assert_eq!(
            split(&[b"\x1b[2J\x1b", b"[01;0", b"1Hone\r\ntw", b"o\n"]),
            ["one", "two"]
        );
    }

    #[test]
    fn an_endless_line_is_cut() {
        let lines = split(&[&vec![b'x'; LINE_LIMIT + 1]]);
        assert_eq!(
            lines.iter().map(String::len).collect::<Vec<_>>(),
            [LINE_LIMIT, 1]
        );
    }

    #[tokio::test]
    async fn a_wait_sees_lines_from_before_and_after_it_began() {
        let log = LineLog::new("test");
        log.push("phase=init seconds=1.5".to_owned());
        let found = log.wait("phase=(\\w+)", 0, LONG).await.unwrap();
        assert_eq!((found.index, found.groups), (0, vec!["init".to_owned()]));

        let waiter = tokio::spawn({
            let log = log.clone();
            async move { log.wait("phase=(\\w+)", 1, LONG).await }
        });
        log.push("noise".to_owned());
        log.push("phase=state".to_owned());
        assert_eq!(waiter.await.unwrap().unwrap().index, 2);
    }

    #[tokio::test]
    async fn a_wait_ends_when_its_source_ends() {
        let log = LineLog::new("the machine");
        let directory = tempfile::tempdir().unwrap();
        log.follow(&b"one\ntwo"[..], &directory.path().join("log"), None)
            .unwrap();
        assert_eq!(log.wait("two", 0, LONG).await.unwrap().index, 1);
        let error = log.wait("three", 0, LONG).await.unwrap_err().to_string();
        assert_eq!(
            error,
            "the machine ended without a line that matches /three/"
        );
    }
}
