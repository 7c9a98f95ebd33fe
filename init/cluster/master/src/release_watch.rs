//! The watch over the registry of releases: it is read every few seconds, whether or not the master tends a
//! cluster, and with every registration.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use attest_verify::Release;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::chain_link::StakeReader;
use crate::refusal::Refused;
use crate::service::Master;

/// Between two looks at the registry.
const LOOK: Duration = Duration::from_secs(20);

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

    /// Reads the registry once, and ends the sessions of images that do not count any more. A deadline
    /// that was read before is over also where the registry can't be read.
    pub(crate) async fn look_at_releases(&self) -> Result<(), Refused> {
        let read = self.read_releases().await;
        let ended = self
            .sessions
            .refuse_images(|image| self.releases.fault(image));
        for (node_id, fault) in &ended {
            info!(node_id, code = %fault.code, why = fault.message, "the session is over");
        }
        if !ended.is_empty() {
            self.join.tokens.look_at_stakes();
        }
        read.map(drop)
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
