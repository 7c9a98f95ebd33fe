//! Signed transactions that move coins: kept before they are sent, and sent until their fate is known.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sui_sdk_types::{SignedTransaction, TransactionExpiration};

use super::Chain;
use super::transact::execute;
use crate::error::ChainError;
use crate::key::PublicKey;
use crate::rpc::Fullnode;
use crate::stake::Executed;
use chain_types::{Address, ParseError, TransactionId};

/// What a kept transaction is for, as it stands before the transaction on disk.
pub trait KeptFor: Clone + fmt::Debug + Serialize + DeserializeOwned {
    /// What bytes are expected to be, for an error.
    const EXPECTED: &'static str;
}

/// The stake of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StakeOf {
    pub(super) node_id: String,
    /// Flag byte first.
    pub(super) node_key: Vec<u8>,
    /// To whom it is paid back; none: what the record says, that it fills anew.
    pub(super) beneficiary: Option<[u8; 32]>,
}

impl KeptFor for StakeOf {
    const EXPECTED: &'static str = "a signed stake transaction";
}

/// All coins of an account, for another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayoutTo {
    /// Flag byte first.
    pub(super) key: Vec<u8>,
    pub(super) receiver: [u8; 32],
}

impl KeptFor for PayoutTo {
    const EXPECTED: &'static str = "a signed transaction that sends coins on";
}

/// A transaction that moves coins: built, tried in a dry run, signed, not yet submitted.
///
/// Kept on disk before it is submitted, it makes a node that lost power in between submit the
/// same transaction again, never a second one. It holds no secret. It can run in the epoch it was
/// made in and in the next, or never.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeptTransaction<P> {
    pub(super) kept_for: P,
    signed: Box<SignedTransaction>,
}

/// A stake transaction.
pub type StakeTransaction = KeptTransaction<StakeOf>;

/// A payout. It sends the very coins that it names, gas taken from them, so that they are sent
/// once, whatever happens.
pub type PayoutTransaction = KeptTransaction<PayoutTo>;

impl<P: KeptFor> KeptTransaction<P> {
    /// Most bytes that are looked at.
    const LONGEST: usize = 64 * 1024;

    pub(super) fn new(kept_for: P, signed: SignedTransaction) -> Self {
        Self {
            kept_for,
            signed: Box::new(signed),
        }
    }

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
            expected: P::EXPECTED,
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

    /// Nothing is known of its fate.
    pub(super) fn not_final(&self) -> ChainError {
        ChainError::NotFinal {
            transaction: self.id(),
            seconds: 0,
        }
    }
}

impl StakeTransaction {
    /// Whether it was made for this node and key, to be paid back to this account.
    pub fn is_for(&self, key: PublicKey, node_id: &str, beneficiary: Address) -> bool {
        let kept_for = &self.kept_for;
        let kept = kept_for.beneficiary.map(Address::from_bytes);
        kept_for.node_id == node_id
            && kept_for.node_key == key.to_flagged_bytes()
            && kept.is_none_or(|kept| kept == beneficiary)
    }
}

impl PayoutTransaction {
    /// Whether it is of this key's account, for this one.
    pub fn is_for(&self, key: PublicKey, receiver: Address) -> bool {
        let kept_for = &self.kept_for;
        kept_for.key == key.to_flagged_bytes() && Address::from_bytes(kept_for.receiver) == receiver
    }
}

impl Chain {
    /// Whether a kept transaction can't be executed any more, its last epoch being over. For a stake to
    /// be asked before looking for it once more: only when that then finds none was it never made.
    ///
    /// # Errors
    /// What the conversation fails with.
    pub async fn expired<P>(&self, transaction: &KeptTransaction<P>) -> Result<bool, ChainError> {
        let TransactionExpiration::Epoch(last) = transaction.signed.transaction.expiration else {
            return Ok(false);
        };
        let epoch = self
            .on_any(|fullnode| async { Ok(fullnode.verify().await?.epoch) })
            .await?;
        Ok(epoch > last)
    }
}

/// Whether a fullnode has taken a transaction and not said what became of it: what another makes of
/// it is then no longer the whole truth.
#[derive(Debug, Default)]
pub(super) struct Fate {
    unknown: AtomicBool,
}

impl Fate {
    /// Submits a kept transaction to one fullnode, and waits for the checkpoint that holds it.
    pub(super) async fn submit<P>(
        &self,
        fullnode: &Fullnode,
        transaction: &KeptTransaction<P>,
    ) -> Result<Executed, ChainError> {
        fullnode.verify().await?;
        let executed = execute(fullnode, &transaction.signed).await;
        executed.inspect_err(|error| {
            if !error.never_executed() {
                self.unknown.store(true, Ordering::Relaxed);
            }
        })
    }

    /// What came of it, all fullnodes considered.
    pub(super) fn settle<P: KeptFor, T>(
        &self,
        transaction: &KeptTransaction<P>,
        submitted: Result<T, ChainError>,
    ) -> Result<T, ChainError> {
        match submitted {
            Err(error @ ChainError::Refused { .. }) if self.unknown.load(Ordering::Relaxed) => {
                tracing::warn!(%error, "another fullnode took it: what became of it is not known");
                Err(transaction.not_final())
            }
            submitted => submitted,
        }
    }
}

#[cfg(test)]
mod tests {
    use sui_sdk_types::{Address as SuiAddress, Digest, ObjectReference};

    use super::*;
    use crate::key::NodeKey;
    use crate::transactions::{Gas, Plan};

    /// The kinds as they lie on the disks of nodes: one field after the other.
    #[derive(Serialize)]
    struct StakeOnDisk(String, Vec<u8>, Option<[u8; 32]>, SignedTransaction);

    #[derive(Serialize)]
    struct PayoutOnDisk(Vec<u8>, [u8; 32], SignedTransaction);

    async fn signed(key: &NodeKey) -> SignedTransaction {
        let coin = ObjectReference::new(SuiAddress::new([1; 32]), 5, Digest::new([2; 32]));
        let gas = Gas {
            coins: vec![coin],
            price: 1000,
            budget: 10_000_000,
            last_epoch: 8,
        };
        let plan = Plan::SendAll {
            receiver: SuiAddress::new([3; 32]),
        };
        let package = SuiAddress::new([0xa1; 32]);
        let transaction = plan.build(package, key.address().into(), &gas).unwrap();
        let signature = key.sign_transaction(&transaction).await.unwrap();
        SignedTransaction {
            transaction,
            signatures: vec![signature],
        }
    }

    #[tokio::test]
    async fn kept_bytes_are_those_of_earlier_releases() {
        let key = NodeKey::generate().unwrap();
        let (signed, public) = (signed(&key).await, key.public());
        let flagged = public.to_flagged_bytes();
        let to = Address::from_bytes([5; 32]);
        let old = StakeOnDisk(
            "edge-0001".to_owned(),
            flagged.clone(),
            Some(to.to_bytes()),
            signed.clone(),
        );
        let old = bcs::to_bytes(&old).unwrap();
        let kept = StakeTransaction::from_bytes(&old).unwrap();
        assert!(kept.is_for(public, "edge-0001", to));
        assert!(!kept.is_for(public, "edge-0002", to));
        assert!(!kept.is_for(public, "edge-0001", key.address()));
        assert_eq!(kept.to_bytes(), old);
        assert!(StakeTransaction::from_bytes(&old[..old.len() - 1]).is_err());

        let receiver = Address::from_bytes([3; 32]);
        let old = PayoutOnDisk(flagged, receiver.to_bytes(), signed);
        let old = bcs::to_bytes(&old).unwrap();
        let kept = PayoutTransaction::from_bytes(&old).unwrap();
        assert!(kept.is_for(public, receiver));
        assert!(!kept.is_for(public, Address::from_bytes([4; 32])));
        assert_eq!(kept.to_bytes(), old);
        let other = StakeTransaction::from_bytes(&old).unwrap_err();
        assert!(other.to_string().contains("stake transaction"), "{other}");
    }
}
