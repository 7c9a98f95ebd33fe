//! The chain, connected when it is first needed, for this node's key, name and amount.

use std::rc::Rc;

use chain::{
    Address, ChainError, ChainSettings, Mist, NodeKey, ObjectId, PayoutTransaction, Stake,
    StakeTransaction, WatchEvent,
};
use futures::StreamExt as _;
use futures::stream::LocalBoxStream;
use tokio::sync::OnceCell;
use wire::NodeName;

use crate::seams::{Chain, KnownMaster, Prepared};

/// The chain for one node. A node that starts without a network comes to it later.
pub struct ChainLink {
    settings: ChainSettings,
    key: Rc<NodeKey>,
    node_id: NodeName,
    amount: Mist,
    /// To whom the stake is paid back.
    beneficiary: Address,
    /// The pool's directory of masters.
    directory: Option<ObjectId>,
    connection: OnceCell<chain::Chain>,
}

impl ChainLink {
    /// Not connected yet.
    #[must_use]
    pub fn new(settings: ChainSettings, key: Rc<NodeKey>, node_id: NodeName, amount: Mist) -> Self {
        Self {
            settings,
            beneficiary: key.address(),
            key,
            node_id,
            amount,
            directory: None,
            connection: OnceCell::new(),
        }
    }

    /// With another account than the node's to pay the stake to.
    #[must_use]
    pub fn with_beneficiary(self, beneficiary: Option<Address>) -> Self {
        let beneficiary = beneficiary.unwrap_or(self.beneficiary);
        Self {
            beneficiary,
            ..self
        }
    }

    /// With the pool's directory of masters.
    #[must_use]
    pub fn with_directory(self, directory: Option<ObjectId>) -> Self {
        Self { directory, ..self }
    }

    async fn connection(&self) -> Result<&chain::Chain, ChainError> {
        self.connection
            .get_or_try_init(|| chain::Chain::connect(&self.settings))
            .await
    }
}

impl Chain for ChainLink {
    type Transaction = StakeTransaction;
    type Payout = PayoutTransaction;

    async fn find_stake(&self) -> Result<Option<Stake>, ChainError> {
        let chain = self.connection().await?;
        chain
            .find_stake(self.key.public(), self.node_id.as_str())
            .await
    }

    async fn prepare_stake(&self) -> Result<Prepared<StakeTransaction>, ChainError> {
        let chain = self.connection().await?;
        let prepared = chain
            .prepare_stake(
                &self.key,
                self.node_id.as_str(),
                self.amount,
                self.beneficiary,
            )
            .await?;
        Ok(match prepared {
            chain::Prepared::Staked(stake) => Prepared::Staked(Box::new(stake)),
            chain::Prepared::Transaction(transaction) => Prepared::Transaction(transaction),
        })
    }

    async fn prepare_restake(&self, stake: &Stake) -> Result<StakeTransaction, ChainError> {
        let chain = self.connection().await?;
        chain.prepare_restake(&self.key, stake, self.amount).await
    }

    async fn expired(&self, transaction: &StakeTransaction) -> Result<bool, ChainError> {
        self.connection().await?.expired(transaction).await
    }

    async fn renew_seal_token(&self, stake: &Stake) -> Result<Stake, ChainError> {
        let chain = self.connection().await?;
        chain.renew_seal_token(&self.key, stake).await
    }

    async fn submit_stake(&self, transaction: &StakeTransaction) -> Result<Stake, ChainError> {
        self.connection().await?.submit_stake(transaction).await
    }

    fn encode(&self, transaction: &StakeTransaction) -> Vec<u8> {
        transaction.to_bytes()
    }

    fn decode(&self, bytes: &[u8]) -> Option<StakeTransaction> {
        StakeTransaction::from_bytes(bytes)
            .ok()
            .filter(|transaction| {
                let (key, node_id) = (self.key.public(), self.node_id.as_str());
                transaction.is_for(key, node_id, self.beneficiary)
            })
    }

    async fn reread(&self, stake: &Stake) -> Result<Stake, ChainError> {
        self.connection().await?.reread(stake).await
    }

    async fn confirm(&self, stake: &Stake) -> Result<Stake, ChainError> {
        self.connection().await?.confirm(stake).await
    }

    async fn masters(&self) -> Result<Option<Vec<KnownMaster>>, ChainError> {
        let Some(directory) = self.directory else {
            return Ok(None);
        };
        let masters = self
            .connection()
            .await?
            .corroborated_masters(directory)
            .await?;
        let known = |master: chain::Master| KnownMaster {
            enclave: master.enclave.to_string(),
            public_key: master.public_key,
            tls_key_sha256: master.tls_key_sha256,
        };
        Ok(Some(masters.into_iter().map(known).collect()))
    }

    async fn request_unstake(&self, stake: &Stake) -> Result<(), ChainError> {
        let chain = self.connection().await?;
        chain.request_unstake(&self.key, stake).await.map(drop)
    }

    async fn withdraw(&self, stake: &Stake) -> Result<(), ChainError> {
        let chain = self.connection().await?;
        chain.withdraw(&self.key, stake.record).await.map(drop)
    }

    async fn prepare_payout(
        &self,
        receiver: Address,
    ) -> Result<Option<PayoutTransaction>, ChainError> {
        let chain = self.connection().await?;
        chain.prepare_payout(&self.key, receiver).await
    }

    async fn payout_expired(&self, payout: &PayoutTransaction) -> Result<bool, ChainError> {
        self.connection().await?.expired(payout).await
    }

    async fn submit_payout(&self, payout: &PayoutTransaction) -> Result<(), ChainError> {
        let chain = self.connection().await?;
        chain.submit_payout(payout).await.map(drop)
    }

    fn encode_payout(&self, payout: &PayoutTransaction) -> Vec<u8> {
        payout.to_bytes()
    }

    fn decode_payout(&self, bytes: &[u8], receiver: Address) -> Option<PayoutTransaction> {
        PayoutTransaction::from_bytes(bytes)
            .ok()
            .filter(|payout| payout.is_for(self.key.public(), receiver))
    }

    async fn watch(
        &self,
        stake: &Stake,
    ) -> Result<LocalBoxStream<'static, WatchEvent>, ChainError> {
        Ok(self.connection().await?.watch_stake(stake).boxed_local())
    }
}
