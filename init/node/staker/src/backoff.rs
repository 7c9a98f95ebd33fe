//! Pauses between attempts: they double up to a bound, and are never the same for two nodes.

use std::time::Duration;

/// The first pause after a failure.
const FIRST: Duration = Duration::from_millis(500);
/// The longest pause, before jitter.
const LONGEST: Duration = Duration::from_secs(60);

/// Exponential backoff with jitter. It never gives up.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// How long to wait now: half of the pause, and a random part of the other half. A fleet that
    /// lost its master does not come back to it in one moment.
    pub(crate) fn pause(&mut self) -> Duration {
        let whole = self.next;
        self.next = whole.saturating_mul(2).min(LONGEST);
        let half = whole / 2;
        half + half.mul_f64(random_fraction())
    }

    /// An attempt went well.
    pub(crate) fn reset(&mut self) {
        self.next = FIRST;
    }
}

/// From 0 to 1. Where the system has no random numbers, the middle: the pause is then merely
/// the same as that of others.
fn random_fraction() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_bound_and_begin_anew() {
        let mut backoff = Backoff::default();
        let mut whole = FIRST;
        for _ in 0..20 {
            let pause = backoff.pause();
            assert!(
                pause >= whole / 2 && pause <= whole,
                "{pause:?} of {whole:?}"
            );
            whole = (whole * 2).min(LONGEST);
        }
        assert_eq!(whole, LONGEST);
        backoff.reset();
        assert!(backoff.pause() <= FIRST);
    }
}
