//! The chain, connected when it is first needed.

use std::future::Future;

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
}
