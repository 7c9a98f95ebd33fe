//! Sending all coins of an account on.

use chain_types::Address;

use super::Chain;
use super::kept::{Fate, PayoutTo, PayoutTransaction};
use crate::error::ChainError;
use crate::key::NodeKey;
use crate::stake::Executed;
use crate::transactions::Plan;

impl Chain {
    /// Builds the transaction that sends all coins of the key's account on, and signs it. `None`: what
    /// is there does not pay for its own sending. Of more coins than one transaction takes, the largest
    /// go: ask again afterwards.
    ///
    /// # Errors
    /// What the conversation fails with.
    pub async fn prepare_payout(
        &self,
        key: &NodeKey,
        receiver: Address,
    ) -> Result<Option<PayoutTransaction>, ChainError> {
        let plan = Plan::SendAll {
            receiver: receiver.into(),
        };
        let plan = &plan;
        let prepared = self.on_any(|fullnode| async move {
            fullnode.verify().await?;
            self.pay_and_sign(fullnode, key, plan).await
        });
        match prepared.await {
            Ok(signed) => {
                let kept_for = PayoutTo {
                    key: key.public().to_flagged_bytes(),
                    receiver: receiver.to_bytes(),
                };
                Ok(Some(PayoutTransaction::new(kept_for, signed)))
            }
            Err(ChainError::BalanceShort { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Submits a prepared payout, and waits for the checkpoint that holds it. Submitting the same one
    /// again is safe, and sends nothing twice.
    ///
    /// # Errors
    /// Where [`ChainError::never_executed`] says so, it was not executed and never will be: prepare
    /// anew. Any other says nothing about its fate: submit the same one again.
    pub async fn submit_payout(
        &self,
        transaction: &PayoutTransaction,
    ) -> Result<Executed, ChainError> {
        let fate = Fate::default();
        let submitted = self.on_any(|fullnode| fate.submit(fullnode, transaction));
        let submitted = submitted.await;
        fate.settle(transaction, submitted)
    }
}
