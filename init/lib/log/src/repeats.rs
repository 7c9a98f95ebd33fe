//! Lines that a program repeats: each is passed once and counted from then on.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use tracing::Level;

/// For so long after a line passed, others like it are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// How many different lines are looked out for.
const LINES: usize = 64;
/// How much of a line the count repeats, in bytes.
const SHOWN: usize = 200;

/// What is said of lines that were counted.
pub type Counted = (Level, String);

/// The lines of one program that passed lately.
///
/// Two lines are alike where they differ in digits alone: in times, ports, addresses, numbers of attempts.
#[derive(Debug, Default)]
pub struct Repeats {
    /// The one that passed first comes first.
    lines: VecDeque<Line>,
}

#[derive(Debug)]
struct Line {
    /// Of its level and of its text without digits.
    hash: u64,
    level: Level,
    text: String,
    /// When it passed, or when its count was last said.
    since: Duration,
    count: u64,
}

impl Repeats {
    /// Nothing has passed yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            lines: VecDeque::new(),
        }
    }

    /// Whether a line passes. Where there are too many different ones, the oldest is forgotten, and its count
    /// comes back to be said now.
    pub fn take(&mut self, level: Level, text: &str, now: Duration) -> (bool, Option<Counted>) {
        let hash = hash(level, text);
        if let Some(line) = self.lines.iter_mut().find(|line| line.hash == hash) {
            line.count = line.count.saturating_add(1);
            return (false, None);
        }
        let oldest = if self.lines.len() < LINES {
            None
        } else {
            self.lines.pop_front()
        };
        let mut text = text.to_owned();
        text.truncate(text.floor_char_boundary(SHOWN));
        self.lines.push_back(Line {
            hash,
            level,
            text,
            since: now,
            count: 0,
        });
        (true, oldest.and_then(|line| line.counted(now)))
    }

    /// What is to be said now of lines whose window is over. What was not repeated meanwhile is forgotten: the next
    /// one like it passes.
    pub fn due(&mut self, now: Duration) -> Vec<Counted> {
        let mut said = Vec::new();
        while let Some(line) = self.lines.pop_front_if(|line| line.is_over(now)) {
            if let Some(counted) = line.counted(now) {
                said.push(counted);
                self.lines.push_back(Line {
                    since: now,
                    count: 0,
                    ..line
                });
            }
        }
        said
    }

    /// The same of all lines, as the program has ended.
    pub fn finish(&mut self, now: Duration) -> Vec<Counted> {
        let lines = std::mem::take(&mut self.lines).into_iter();
        lines.filter_map(|line| line.counted(now)).collect()
    }

    /// When [`Self::due`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let first = self.lines.front()?;
        Some(first.since.saturating_add(WINDOW))
    }
}

impl Line {
    fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) >= WINDOW
    }

    fn counted(&self, now: Duration) -> Option<Counted> {
        let seconds = now.saturating_sub(self.since).as_secs();
        let Self { count, text, .. } = self;
        (*count > 0).then(|| {
            let said = format!("{count} more lines in {seconds} s like this one: {text}");
            (self.level, said)
        })
    }
}

fn hash(level: Level, text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    level.as_str().hash(&mut hasher);
    let mut in_number = false;
    for byte in text.bytes() {
        let digit = byte.is_ascii_digit();
        if !digit {
            byte.hash(&mut hasher);
        } else if !in_number {
            // one mark for a number, however long it is
            b'0'.hash(&mut hasher);
        }
        in_number = digit;
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1000 + seconds)
    }

    fn passes(repeats: &mut Repeats, text: &str, seconds: u64) -> bool {
        repeats.take(Level::ERROR, text, at(seconds)).0
    }

    #[test]
    fn repeats_are_counted_and_said_once_a_minute() {
        let mut repeats = Repeats::new();
        assert!(passes(&mut repeats, "dial 10.0.2.2:6443: attempt 9", 0));
        for second in 1..=20 {
            let text = format!("dial 10.0.2.2:6443: attempt {}", 9 + second);
            assert!(!passes(&mut repeats, &text, second));
        }
        assert!(passes(&mut repeats, "something else", 30));
        assert_eq!(repeats.deadline(), Some(at(60)));
        assert!(repeats.due(at(59)).is_empty());
        let said = repeats.due(at(60));
        assert_eq!(said.len(), 1);
        assert_eq!(said[0].0, Level::ERROR);
        assert_eq!(
            said[0].1,
            "20 more lines in 60 s like this one: dial 10.0.2.2:6443: attempt 9"
        );
        // it goes on: counted from then on, and the first line is not written again
        assert!(!passes(&mut repeats, "dial 10.0.2.2:6443: attempt 99", 61));
        assert_eq!(repeats.deadline(), Some(at(90)));
        assert!(repeats.due(at(119)).is_empty());
        assert_eq!(repeats.due(at(120)).len(), 1);
        // it was silent for a minute: it is news again
        assert!(repeats.due(at(180)).is_empty());
        assert!(passes(&mut repeats, "dial 10.0.2.2:6443: attempt 9", 181));
    }

    #[test]
    fn another_level_or_text_passes() {
        let mut repeats = Repeats::new();
        assert!(repeats.take(Level::WARN, "x", at(0)).0);
        assert!(repeats.take(Level::ERROR, "x", at(0)).0);
        assert!(repeats.take(Level::ERROR, "y", at(0)).0);
        assert!(!repeats.take(Level::ERROR, "y", at(0)).0);
    }

    #[test]
    fn too_many_different_lines_lose_no_count() {
        let mut repeats = Repeats::new();
        let name = |number: usize| "x".repeat(number + 1);
        assert!(passes(&mut repeats, &name(0), 0));
        assert!(!passes(&mut repeats, &name(0), 1));
        for number in 1..LINES {
            assert_eq!(
                repeats.take(Level::ERROR, &name(number), at(2)),
                (true, None)
            );
        }
        let (pass, said) = repeats.take(Level::ERROR, &name(LINES), at(3));
        let text = said.unwrap().1;
        assert!(pass && text.starts_with("1 more lines in 3 s"), "{text}");
        assert!(repeats.lines.len() <= LINES);
    }

    #[test]
    fn end_of_the_program_says_every_count() {
        let mut repeats = Repeats::new();
        passes(&mut repeats, "a", 0);
        passes(&mut repeats, "a", 1);
        passes(&mut repeats, "b", 1);
        assert_eq!(repeats.finish(at(5)).len(), 1);
        assert_eq!(repeats.deadline(), None);
        // a line is cut between characters
        assert!(passes(&mut repeats, &"ö".repeat(SHOWN), 6));
    }
}
