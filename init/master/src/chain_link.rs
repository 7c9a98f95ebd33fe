//! The chain, connected when it is first needed.

use std::future::Future;

use attest::verify::{Release, Standing};
use chain::{Chain, ChainError, ChainSettings, ObjectId, Stake};
use tokio::sync::OnceCell;

/// What the master reads from the chain.
pub trait StakeReader: Send + Sync + 'static {
    /// The stake behind a seal token, when two fullnodes say the same where two are configured;
    /// `None`: there is no such token.
    fn stake_of_token(
        &self,
        seal_token: ObjectId,
    ) -> impl Future<Output = Result<Option<Stake>, ChainError>> + Send;

    /// The stake as it is now.
    fn reread(&self, stake: &Stake) -> impl Future<Output = Result<Stake, ChainError>> + Send;

    /// The releases of a registry, when two fullnodes say the same where two are configured.
    fn releases(
        &self,
        registry: ObjectId,
    ) -> impl Future<Output = Result<Vec<Release>, ChainError>> + Send;
}

/// The real chain.
pub struct ChainLink {
    settings: ChainSettings,
    connection: OnceCell<Chain>,
}

impl ChainLink {
    /// Not connected yet: a master starts without the chain, and says so to whoever asks.
    #[must_use]
    pub fn new(settings: ChainSettings) -> Self {
        Self {
            settings,
            connection: OnceCell::new(),
        }
    }

    async fn connection(&self) -> Result<&Chain, ChainError> {
        self.connection
            .get_or_try_init(|| Chain::connect(&self.settings))
            .await
    }
}

impl StakeReader for ChainLink {
    async fn stake_of_token(&self, seal_token: ObjectId) -> Result<Option<Stake>, ChainError> {
        self.connection()
            .await?
            .corroborated_stake_of_token(seal_token)
            .await
    }

    async fn reread(&self, stake: &Stake) -> Result<Stake, ChainError> {
        self.connection().await?.reread(stake).await
    }

    async fn releases(&self, registry: ObjectId) -> Result<Vec<Release>, ChainError> {
        let known = self
            .connection()
            .await?
            .corroborated_releases(registry)
            .await?;
        Ok(releases(known))
    }
}

/// What the chain says of each release of a registry.
fn releases(known: chain::Releases) -> Vec<Release> {
    let minimum = known.minimum;
    let release = |release: chain::Release| Release {
        version: release.version.to_string(),
        pcr11: release.pcr11,
        standing: if release.revoked {
            Standing::Revoked
        } else if release.version < minimum {
            Standing::BelowMinimum {
                minimum: minimum.to_string(),
            }
        } else {
            Standing::Approved
        },
    };
    known.releases.into_iter().map(release).collect()
}
