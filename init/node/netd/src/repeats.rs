//! Log lines that come again and again: counted, and shown ever more seldom.

use tracing::warn;

/// How many different lines are counted; the oldest is forgotten first.
const LINES: usize = 64;

/// Counts of lines.
#[derive(Debug, Default)]
pub(crate) struct Repeats(Vec<(String, u32)>);

impl Repeats {
    /// Logs a warning the first, the tenth, the hundredth time and so on, with its number.
    pub(crate) fn warn(&mut self, line: &str) {
        match self.count(line) {
            Some(1) => warn!("{line}"),
            Some(times) => warn!(times, "{line}"),
            None => {}
        }
    }

    /// The number of this time, where it is one to show.
    fn count(&mut self, line: &str) -> Option<u32> {
        let place = match self.0.iter().position(|(other, _)| other == line) {
            Some(place) => place,
            None => {
                if self.0.len() == LINES {
                    self.0.remove(0);
                }
                self.0.push((line.to_owned(), 0));
                self.0.len() - 1
            }
        };
        let (_, count) = self.0.get_mut(place)?;
        *count = count.saturating_add(1);
        let shown = 10_u32.pow(count.ilog10());
        (*count == shown).then_some(*count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_is_shown_at_powers_of_ten() {
        let mut repeats = Repeats::default();
        let shown: Vec<u32> = (0..1500)
            .filter_map(|_| repeats.count("the same"))
            .collect();
        assert_eq!(shown, [1, 10, 100, 1000]);
        assert_eq!(repeats.count("another"), Some(1));
    }

    #[test]
    fn lines_are_forgotten_oldest_first() {
        let mut repeats = Repeats::default();
        for line in 0..=LINES {
            repeats.count(&line.to_string());
        }
        assert_eq!(repeats.0.len(), LINES);
        assert_eq!(repeats.count("0"), Some(1));
        assert_eq!(repeats.count("64"), None);
    }
}
