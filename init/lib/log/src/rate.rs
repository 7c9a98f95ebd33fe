//! How many lines a program may write.

use std::time::Duration;

/// A bucket of tokens: it fills at a steady rate and is never fuller than its size. Once empty, it
/// gives none before a tenth of it has come together, so that what is left out is told now and
/// then and not between any two lines.
#[derive(Debug)]
pub struct RateLimit {
    per_second: u32,
    size: u32,
    /// Thousandths of a token.
    filled: u64,
    at: Duration,
    closed: bool,
    dropped: u64,
}

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It passes.
    Pass,
    /// It passes, and it is the first after so many that did not.
    PassAfter(u64),
    /// It is dropped.
    Drop,
}

impl RateLimit {
    /// A full bucket.
    pub const fn new(per_second: u32, size: u32) -> Self {
        Self {
            per_second,
            size,
            filled: size as u64 * 1000,
            at: Duration::ZERO,
            closed: false,
            dropped: 0,
        }
    }

    /// Takes a token for one line.
    pub fn take(&mut self, now: Duration) -> Verdict {
        let passed = u64::try_from(now.saturating_sub(self.at).as_millis()).unwrap_or(u64::MAX);
        self.at = now;
        self.filled = passed
            .saturating_mul(u64::from(self.per_second))
            .saturating_add(self.filled)
            .min(u64::from(self.size) * 1000);
        let reopens = u64::from(self.size).saturating_mul(100).max(1000);
        self.closed = self.closed && self.filled < reopens;
        match self.filled.checked_sub(1000).filter(|_| !self.closed) {
            None => {
                self.closed = true;
                self.dropped = self.dropped.saturating_add(1);
                Verdict::Drop
            }
            Some(left) => {
                self.filled = left;
                match std::mem::take(&mut self.dropped) {
                    0 => Verdict::Pass,
                    dropped => Verdict::PassAfter(dropped),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_holds() {
        let mut limit = RateLimit::new(10, 3);
        let second = Duration::from_secs(1);
        let start = Duration::from_secs(100);
        for _ in 0..3 {
            assert_eq!(limit.take(start), Verdict::Pass);
        }
        assert_eq!(limit.take(start), Verdict::Drop);
        assert_eq!(limit.take(start), Verdict::Drop);
        assert_eq!(limit.take(start + second / 10), Verdict::PassAfter(2));
        assert_eq!(limit.take(start + second / 10), Verdict::Drop);
        // however long it was quiet, no more than the bucket holds
        let later = start + second * 1000;
        assert_eq!(limit.take(later), Verdict::PassAfter(1));
        assert_eq!(limit.take(later), Verdict::Pass);
        assert_eq!(limit.take(later), Verdict::Pass);
        assert_eq!(limit.take(later), Verdict::Drop);
    }

    #[test]
    fn once_empty_it_stays_closed_for_a_while() {
        let mut limit = RateLimit::new(100, 50);
        let start = Duration::from_secs(1);
        for _ in 0..50 {
            assert_eq!(limit.take(start), Verdict::Pass);
        }
        assert_eq!(limit.take(start), Verdict::Drop);
        let token = Duration::from_millis(10);
        for tokens in 1..5 {
            assert_eq!(limit.take(start + token * tokens), Verdict::Drop);
        }
        assert_eq!(limit.take(start + token * 5), Verdict::PassAfter(5));
        for _ in 0..4 {
            assert_eq!(limit.take(start + token * 5), Verdict::Pass);
        }
        assert_eq!(limit.take(start + token * 5), Verdict::Drop);
    }

    #[test]
    fn a_clock_that_stands_still_gives_nothing() {
        let mut limit = RateLimit::new(1000, 1);
        assert_eq!(limit.take(Duration::ZERO), Verdict::Pass);
        assert_eq!(limit.take(Duration::ZERO), Verdict::Drop);
    }
}
