//! The releases that count, kept as the chain last said, so that a release that is revoked ends what
//! runs it at once.
//!
//! The registry is read every few seconds, whether or not the master tends a cluster, and with every
//! registration; never for a heartbeat, which is compared with what was read last. What two
//! fullnodes say counts where two are configured; while they do not answer, or do not agree, nothing
//! new is known, and nothing ends.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use attest_verify::{Fault, Image, Release};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::chain_link::StakeReader;
use crate::refusal::Refused;
use crate::service::Master;

/// Between two looks at the registry.
const LOOK: Duration = Duration::from_secs(20);

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

impl<C: StakeReader> Master<C> {
    /// Looks at the registry for ever; nothing to do for a master that asks for no evidence.
    pub async fn watch_releases(self: Arc<Self>) -> Infallible {
        if self.trust.attestation.is_none() {
            return std::future::pending().await;
        }
        loop {
            if let Err(refused) = self.look_at_releases().await {
                warn!(
                    why = refused.message,
                    "the releases can't be read; again later"
                );
            }
            sleep(LOOK).await;
        }
    }

    /// Reads the registry once, and ends the sessions of images that do not count any more.
    pub(crate) async fn look_at_releases(&self) -> Result<(), Refused> {
        self.read_releases().await?;
        let ended = self
            .sessions
            .refuse_images(|image| self.releases.fault(image));
        for (node_id, fault) in &ended {
            info!(node_id, code = %fault.code, why = fault.message, "the session is over");
        }
        if !ended.is_empty() {
            self.join.tokens.look_at_stakes();
        }
        Ok(())
    }

    /// The releases of the registry, as the chain says now.
    pub(crate) async fn read_releases(&self) -> Result<Arc<Vec<Release>>, Refused> {
        let Some(attestation) = &self.trust.attestation else {
            return Ok(Arc::default());
        };
        let registry = attestation.releases;
        let releases = self
            .ask_for_itself(|chain| chain.releases(registry))
            .await?;
        Ok(self.releases.keep(releases))
    }
}
