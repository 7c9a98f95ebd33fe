//! The waits between attempts: they double up to a bound.
//!
//! Arithmetic alone: whoever uses it brings clock and randomness.

use std::time::Duration;

/// Exponential backoff. It never gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Waits from `first` up to `longest`.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    /// The wait after one more failure.
    pub fn fail(&mut self) -> Duration {
        let wait = self.next;
        self.next = wait.saturating_mul(2).min(self.longest);
        wait
    }

    /// The same with jitter: half of the wait, and a part of the other half. `fraction` is random,
    /// from 0 to 1: a fleet that lost its master does not come back to it in one moment.
    pub fn fail_with_jitter(&mut self, fraction: f64) -> Duration {
        let half = self.fail() / 2;
        half + half.mul_f64(fraction.clamp(0.0, 1.0))
    }

    /// Begins again with the first wait.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(30);

    #[test]
    fn waits_double_up_to_the_longest_and_begin_again() {
        let mut backoff = Backoff::new(FIRST, LONGEST);
        let waits: Vec<u128> = (0..9).map(|_| backoff.fail().as_millis()).collect();
        assert_eq!(
            waits,
            [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]
        );
        backoff.reset();
        assert_eq!(backoff.fail(), FIRST);
    }

    #[test]
    fn jitter_takes_from_half_to_the_whole_of_a_wait() {
        for (fraction, milliseconds) in [(0.0, 250), (0.5, 375), (1.0, 500), (7.0, 500)] {
            let mut backoff = Backoff::new(FIRST, LONGEST);
            let wait = backoff.fail_with_jitter(fraction);
            assert_eq!(wait.as_millis(), milliseconds, "{fraction}");
        }
    }
}
