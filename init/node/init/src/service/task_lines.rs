//! What a task says, run after run, without what it has said before.

use tracing::Level;

use super::Exit;

/// How many lines of a run are remembered.
const REMEMBERED: usize = 64;

/// A line of a task.
pub(crate) type Line = (Level, String);

/// The lines of a task that runs again and again and mostly says the same.
#[derive(Debug, Default)]
pub(crate) struct TaskLines {
    /// This run.
    said: Vec<Line>,
    held: Vec<Line>,
    told: bool,
    /// The run before.
    before: Vec<Line>,
    exit: Option<Exit>,
}

impl TaskLines {
    /// Takes a line, and gives it back if it is to be written now: if the run before did not say
    /// it, and it need not be held until it is known how the run ends.
    pub(crate) fn take(&mut self, line: Line, hold: bool) -> Option<Line> {
        if self.said.len() >= REMEMBERED {
            return None;
        }
        self.said.push(line.clone());
        if self.before.contains(&line) {
            return None;
        }
        if hold {
            self.held.push(line);
            return None;
        }
        self.told = true;
        Some(line)
    }

    /// The run has ended: gives the lines that were held, and whether its end is news too.
    pub(crate) fn end(&mut self, exit: &Exit) -> (Vec<Line>, bool) {
        let held = std::mem::take(&mut self.held);
        let told = std::mem::take(&mut self.told);
        let news = told || !held.is_empty() || self.exit.as_ref() != Some(exit);
        self.before = std::mem::take(&mut self.said);
        self.exit = Some(exit.clone());
        (held, news)
    }

    /// The run has ended in a way that means nothing: it is forgotten, lines and all.
    pub(crate) fn forget(&mut self) {
        self.said.clear();
        self.held.clear();
        self.told = false;
    }

    /// The first thing that the last run complained of.
    pub(crate) fn complaint(&self) -> Option<&str> {
        let mut lines = self.before.iter();
        lines
            .find(|(level, _)| *level <= Level::WARN)
            .map(|(_, text)| text.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: Exit = Exit::Status(11);

    fn line(text: &str) -> Line {
        (Level::ERROR, text.to_owned())
    }

    #[test]
    fn what_is_said_again_is_told_once() {
        let mut lines = TaskLines::default();
        assert_eq!(lines.take(line("a"), false), Some(line("a")));
        assert_eq!(lines.end(&FAILED), (Vec::new(), true));
        for _ in 0..3 {
            assert_eq!(lines.take(line("a"), false), None);
            assert_eq!(lines.end(&FAILED), (Vec::new(), false));
        }
        assert_eq!(lines.take(line("b"), false), Some(line("b")));
        assert_eq!(lines.end(&FAILED), (Vec::new(), true));
        assert_eq!(lines.take(line("a"), false), Some(line("a")));
        assert_eq!(lines.end(&Exit::Status(0)), (Vec::new(), true));
    }

    #[test]
    fn the_same_lines_with_another_end_are_news() {
        let mut lines = TaskLines::default();
        assert!(lines.end(&FAILED).1);
        assert!(!lines.end(&FAILED).1);
        assert!(lines.end(&Exit::Signal(9)).1);
    }

    #[test]
    fn what_is_held_comes_at_the_end_or_never() {
        let mut lines = TaskLines::default();
        assert_eq!(lines.take(line("a"), true), None);
        lines.forget();
        assert_eq!(lines.complaint(), None);
        assert_eq!(lines.take(line("a"), true), None);
        assert_eq!(lines.end(&FAILED), (vec![line("a")], true));
        assert_eq!(lines.complaint(), Some("a"));
        assert_eq!(lines.take(line("a"), true), None);
        assert_eq!(lines.end(&FAILED), (Vec::new(), false));
    }

    #[test]
    fn information_is_no_complaint_and_memory_is_bounded() {
        let mut lines = TaskLines::default();
        lines.take((Level::INFO, "fine".to_owned()), false);
        for number in 0..1000 {
            lines.take(line(&number.to_string()), true);
        }
        let (held, _) = lines.end(&FAILED);
        assert_eq!(held.len(), REMEMBERED - 1);
        assert_eq!(lines.complaint(), Some("0"));
    }
}
