//! The node that a devnet is for: its id, its key, and its name in the cluster.

use anyhow::{Context, Result, ensure};
use chain::{Address, NodeKey, ObjectId};

use super::Devnet;

impl Devnet {
    /// The node's id, with which its name in the cluster begins.
    pub fn node_id(&self) -> &str {
        &self.description.node_id
    }

    /// The node's name in the cluster: of the stake that [`Self::follow`] took, else of the stake of
    /// [`Self::node_key`].
    ///
    /// # Errors
    /// When the description names no package or pool.
    pub fn node_name(&self) -> Result<String> {
        let record = match self.record.get() {
            Some(record) => *record,
            None => {
                let package: ObjectId = self.description.package.parse()?;
                let pool: ObjectId = self.description.pool.parse()?;
                let key = self.node_key.public().to_flagged_bytes();
                chain::abi::record_id(package.into(), pool.into(), &key).into()
            }
        };
        Ok(chain::node_name(self.node_id(), record)?.to_string())
    }

    /// Follows the stake of a key that was made in the node's TPM, which the devnet does not know.
    ///
    /// # Errors
    /// When the chain has no such record, when another account staked, or when another record was
    /// followed before.
    pub async fn follow(&self, record: ObjectId, staker: Address) -> Result<()> {
        let stake = self.chain().await?.read_record(record).await?;
        let stake = stake.with_context(|| format!("there is no record {record}"))?;
        ensure!(
            stake.staker == staker && stake.node_id == self.node_id(),
            "{staker} did not stake {stake:?}"
        );
        let followed = *self.record.get_or_init(|| record);
        ensure!(followed == record, "the node staked as {followed} before");
        Ok(())
    }

    /// The node's key.
    pub fn node_key(&self) -> &NodeKey {
        &self.node_key
    }
}
