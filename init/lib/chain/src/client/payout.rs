//! Sending all coins of an account on: a transaction that is kept before it is sent.

use std::sync::atomic::{AtomicBool, Ordering};

use chain_types::{Address, ParseError, TransactionId};
use serde::{Deserialize, Serialize};
use sui_sdk_types::{SignedTransaction, TransactionExpiration};

use super::Chain;
use super::transact::execute;
use crate::error::ChainError;
use crate::key::{NodeKey, PublicKey};
use crate::stake::Executed;
use crate::transactions::Plan;

/// All coins of an account, for another: built, tried in a dry run, signed, not yet submitted.
///
/// It sends the very coins that it names, gas taken from them, so that they are sent once, whatever
/// happens; kept on disk before it is submitted, its fate is known after a power cut. It holds no
/// secret. It can run in the epoch it was made in and in the next, or never.
#[derive(Clone, Serialize, Deserialize)]
pub struct PayoutTransaction {
    key: Vec<u8>,
    receiver: [u8; 32],
    signed: Box<SignedTransaction>,
}

impl PayoutTransaction {
    /// Most bytes that are looked at.
    const LONGEST: usize = 64 * 1024;

    /// For keeping on disk.
    pub fn to_bytes(&self) -> Vec<u8> {
        // BCS fails on maps and on numbers that these types do not have
        bcs::to_bytes(self).unwrap_or_default()
    }

    /// What was kept.
    ///
    /// # Errors
    /// Where it is not what [`Self::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ParseError> {
        let wrong = ParseError {
            expected: "a signed transaction that sends coins on",
        };
        if bytes.len() > Self::LONGEST {
            return Err(wrong);
        }
        let transaction: Self = bcs::from_bytes(bytes).map_err(|_error| wrong)?;
        match transaction.signed.signatures.len() {
            1 => Ok(transaction),
            _ => Err(wrong),
        }
    }

    /// Its digest.
    pub fn id(&self) -> TransactionId {
        self.signed.transaction.digest().into()
    }

    /// Whether it is of this key's account, for this one.
    pub fn is_for(&self, key: PublicKey, receiver: Address) -> bool {
        self.key == key.to_flagged_bytes() && Address::from_bytes(self.receiver) == receiver
    }
}

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
            Ok(signed) => Ok(Some(PayoutTransaction {
                key: key.public().to_flagged_bytes(),
                receiver: receiver.to_bytes(),
                signed: Box::new(signed),
            })),
            Err(ChainError::BalanceShort { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a prepared payout can't be executed any more, its last epoch being over.
    ///
    /// # Errors
    /// What the conversation fails with.
    pub async fn payout_expired(
        &self,
        transaction: &PayoutTransaction,
    ) -> Result<bool, ChainError> {
        let TransactionExpiration::Epoch(last) = transaction.signed.transaction.expiration else {
            return Ok(false);
        };
        let epoch = self
            .on_any(|fullnode| async { Ok(fullnode.verify().await?.epoch) })
            .await?;
        Ok(epoch > last)
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
        // set where a fullnode has taken it and not said what became of it: what another makes of it
        // is then no longer the whole truth
        let fate_unknown = AtomicBool::new(false);
        let fate_unknown = &fate_unknown;
        let submitted = self.on_any(|fullnode| async move {
            fullnode.verify().await?;
            execute(fullnode, &transaction.signed)
                .await
                .inspect_err(|error| {
                    if !error.never_executed() {
                        fate_unknown.store(true, Ordering::Relaxed);
                    }
                })
        });
        match submitted.await {
            Err(error @ ChainError::Refused { .. }) if fate_unknown.load(Ordering::Relaxed) => {
                tracing::warn!(%error, "another fullnode took it: what became of it is not known");
                Err(ChainError::NotFinal {
                    transaction: transaction.id(),
                    seconds: 0,
                })
            }
            submitted => submitted,
        }
    }
}
