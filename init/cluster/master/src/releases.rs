//! The releases that count, kept as the chain last said, so that a release that is revoked ends what
//! runs it at once.
//!
//! The registry is never read for a heartbeat, which is compared with what was read last. What two
//! fullnodes say counts where two are configured; while they do not answer, or do not agree, nothing
//! new is known, and nothing ends.

use std::sync::{Arc, Mutex, PoisonError};

use attest_verify::{Fault, Image, Release};

/// The releases as last read.
pub(crate) struct KnownReleases {
    /// `None`: they were not read yet.
    known: Mutex<Option<Arc<Vec<Release>>>>,
    /// In seconds since the Unix epoch.
    clock: fn() -> u64,
}

impl KnownReleases {
    /// Nothing is known yet. The clock says the time in seconds since the Unix epoch.
    pub(crate) const fn new(clock: fn() -> u64) -> Self {
        Self {
            known: Mutex::new(None),
            clock,
        }
    }

    /// Why nodes with this image do not count now; `None`: they do, or nothing is known.
    pub(crate) fn fault(&self, image: &Image) -> Option<Fault> {
        let known = self
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        image.release(&known?, self.now_ms()).err()
    }

    /// The time by which deadlines of releases are over, in milliseconds since the Unix epoch.
    pub(crate) fn now_ms(&self) -> u64 {
        (self.clock)().saturating_mul(1000)
    }

    pub(crate) fn keep(&self, releases: Vec<Release>) -> Arc<Vec<Release>> {
        let releases = Arc::new(releases);
        let kept = Some(Arc::clone(&releases));
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = kept;
        releases
    }
}
