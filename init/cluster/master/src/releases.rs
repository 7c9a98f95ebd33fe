//! The releases that count, kept as the chain last said, so that a release that is revoked ends what
//! runs it at once.
//!
//! The registry is never read for a heartbeat, which is compared with what was read last. What two
//! fullnodes say counts where two are configured; while they do not answer, or do not agree, nothing
//! new is known, and nothing ends.

use std::sync::{Arc, Mutex, PoisonError};

use attest_verify::{Fault, Image, Release};

/// The releases as last read; `None`: they were not read yet.
#[derive(Default)]
pub(crate) struct KnownReleases(Mutex<Option<Arc<Vec<Release>>>>);

impl KnownReleases {
    /// Why nodes with this image do not count; `None`: they do, or nothing is known.
    pub(crate) fn fault(&self, image: &Image) -> Option<Fault> {
        let known = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        image.release(&known?).err()
    }

    pub(crate) fn keep(&self, releases: Vec<Release>) -> Arc<Vec<Release>> {
        let releases = Arc::new(releases);
        let kept = Some(Arc::clone(&releases));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = kept;
        releases
    }
}
