//! Cuts a stream of bytes into lines.

/// The longest line that is kept, in bytes; the rest of a longer one is left out.
pub(crate) const MAXIMUM_LINE: usize = 8 * 1024;

/// Holds the beginning of a line until its end comes. Never holds more than `MAXIMUM_LINE`, 8 KiB.
#[derive(Debug, Default)]
pub struct LineSplitter {
    held: Vec<u8>,
    cut: bool,
}

impl LineSplitter {
    /// Takes bytes and gives the lines that they complete, without their ends. Empty lines are
    /// left out, and what is no UTF-8 is shown as U+FFFD.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            match part.strip_suffix(b"\n") {
                Some(end) => {
                    self.hold(end);
                    lines.extend(self.finish());
                }
                None => self.hold(part),
            }
        }
        lines
    }

    /// The line that has begun, as if it had ended.
    pub fn finish(&mut self) -> Option<String> {
        let bytes = std::mem::take(&mut self.held);
        let mut line = String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned();
        if std::mem::take(&mut self.cut) {
            line.push_str(" … (the line was longer)");
        }
        (!line.is_empty()).then_some(line)
    }

    fn hold(&mut self, part: &[u8]) {
        let room = MAXIMUM_LINE.saturating_sub(self.held.len());
        match part.get(..room) {
            Some(fits) if part.len() > room => {
                self.held.extend_from_slice(fits);
                self.cut = true;
            }
            _ => self.held.extend_from_slice(part),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_however_the_bytes_come() {
        let mut splitter = LineSplitter::default();
        assert_eq!(splitter.push(b"on"), Vec::<String>::new());
        assert_eq!(splitter.push(b"e\ntwo\r\n\n\nthr"), ["one", "two"]);
        assert_eq!(splitter.push(b"ee\n"), ["three"]);
        assert_eq!(splitter.push(b"rest"), Vec::<String>::new());
        assert_eq!(splitter.finish().as_deref(), Some("rest"));
        assert_eq!(splitter.finish(), None);
    }

    #[test]
    fn a_line_of_the_longest_length_is_whole_and_a_longer_one_is_cut() {
        let mut splitter = LineSplitter::default();
        let longest = "x".repeat(MAXIMUM_LINE);
        let lines = splitter.push(format!("{longest}\n{longest}y\nz\n").as_bytes());
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0], longest);
        assert!(lines[1].starts_with(&longest) && lines[1].ends_with("(the line was longer)"));
        assert_eq!(lines[2], "z");
    }

    #[test]
    fn a_stream_without_ends_takes_no_more_memory() {
        let mut splitter = LineSplitter::default();
        for _ in 0..100 {
            assert!(splitter.push(&[b'x'; 4096]).is_empty());
            assert!(splitter.held.len() <= MAXIMUM_LINE);
        }
        assert_eq!(splitter.push(b"\n").len(), 1);
    }

    #[test]
    fn what_is_no_text_is_shown() {
        assert_eq!(LineSplitter::default().push(b"a\xffb\n"), ["a\u{fffd}b"]);
    }
}
