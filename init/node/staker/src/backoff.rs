//! Pauses between attempts, never the same for two nodes.

use std::time::Duration;

use wire::backoff::Backoff;

/// Half a second after the first failure, and a minute at most.
pub(crate) const ATTEMPTS: Backoff =
    Backoff::new(Duration::from_millis(500), Duration::from_secs(60));

/// How long to wait now. Where the system has no random numbers, the pause is merely the same as that
/// of others.
pub(crate) fn pause(backoff: &mut Backoff) -> Duration {
    let fraction = getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX));
    backoff.fail_with_jitter(fraction)
}
