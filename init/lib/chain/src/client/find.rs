//! Looking for stakes: a node's record has one address, derived from the pool and the node's key.

use chain_types::ObjectId;
use sui_sdk_types::Address as SuiAddress;

use super::{Chain, another_may_know_better, id};
use crate::error::ChainError;
use crate::key::PublicKey;
use crate::rpc::Fullnode;
use crate::stake::{Stake, Verdict};

impl Chain {
    /// The stake of a node: the one record of its key in the pool, whatever became of it.
    ///
    /// `None` is a definite answer: every fullnode that was asked, two where two are configured,
    /// serves the right chain, keeps up with it, and holds the pool but not the record. That a
    /// stake is gone is one fullnode's word alone: see [`Chain::confirm`].
    ///
    /// # Errors
    /// [`ChainError::WrongObject`] where the key's record is of another node; else what the
    /// conversation fails with.
    pub async fn find_stake(
        &self,
        key: PublicKey,
        node_id: &str,
    ) -> Result<Option<Stake>, ChainError> {
        let mut absent = 0;
        let mut failure = None;
        for fullnode in self.by_preference() {
            let read = async {
                fullnode.verify().await?;
                self.find_on(fullnode, key, node_id).await
            };
            match read.await {
                Ok(Some(stake)) => {
                    self.prefer(fullnode);
                    return Ok(Some(stake));
                }
                Ok(None) => absent += 1,
                Err(error) if another_may_know_better(&error) => {
                    tracing::warn!(fullnode = fullnode.url(), %error, "asking another fullnode");
                    failure.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
            if absent >= self.needed() {
                return Ok(None);
            }
        }
        Err(
            failure.unwrap_or(ChainError::Settings(crate::SettingsError::Fullnodes {
                most: self.inner.fullnodes.len(),
                found: 0,
            })),
        )
    }

    /// The stake behind a seal token; `None` where there is no such token.
    ///
    /// # Errors
    /// [`ChainError::WrongObject`] where the object is no seal token of the package, names a
    /// record of another pool, key or owner, or is not the one that counts for its record; else
    /// what the conversation fails with.
    pub async fn stake_of_seal_token(
        &self,
        seal_token: ObjectId,
    ) -> Result<Option<Stake>, ChainError> {
        self.on_any(|fullnode| self.stake_of_seal_token_on(fullnode, seal_token.into()))
            .await
    }

    /// As [`Self::stake_of_seal_token`], when two fullnodes say the same, or one where only one is
    /// configured. For the master, before it lets a node in.
    ///
    /// # Errors
    /// [`ChainError::Disagreement`] where they say different things, what a fullnode failed with
    /// where too few answer; else as for [`Self::stake_of_seal_token`].
    pub async fn corroborated_stake_of_token(
        &self,
        seal_token: ObjectId,
    ) -> Result<Option<Stake>, ChainError> {
        self.corroborated(
            seal_token,
            |stake| verdict(stake).name(),
            |fullnode| self.stake_of_seal_token_on(fullnode, seal_token.into()),
            |one, other| same(one.as_ref(), other.as_ref()),
        )
        .await
    }

    /// The stake of a record; `None` where there is no such object.
    ///
    /// # Errors
    /// [`ChainError::WrongObject`] where it is no record of the package and the pool; else what
    /// the conversation fails with.
    pub async fn read_record(&self, record: ObjectId) -> Result<Option<Stake>, ChainError> {
        self.on_any(|fullnode| async move {
            let Some(view) = self.record_on(fullnode, record.into()).await? else {
                return Ok(None);
            };
            self.with_seal_token_on(fullnode, view, None)
                .await
                .map(Some)
        })
        .await
    }

    /// The same stake as it is now. One round trip, two where its seal token is another.
    ///
    /// # Errors
    /// [`ChainError::NotFound`] where the record is gone, [`ChainError::Unreachable`] where the
    /// fullnodes only know an older state; else what the conversation fails with.
    pub async fn reread(&self, stake: &Stake) -> Result<Stake, ChainError> {
        self.on_any(|fullnode| self.reread_on(fullnode, stake))
            .await
    }

    /// As [`Self::reread`], but asks the `turn`th fullnode first: by turns, so that none can hide
    /// a change.
    pub(super) async fn reread_by_turns(
        &self,
        stake: &Stake,
        turn: usize,
    ) -> Result<Stake, ChainError> {
        let read = self
            .on_any_from(turn, |fullnode| self.reread_on(fullnode, stake))
            .await;
        read.map(|(stake, _)| stake)
    }

    pub(super) async fn reread_on(
        &self,
        fullnode: &Fullnode,
        stake: &Stake,
    ) -> Result<Stake, ChainError> {
        let Some(view) = self.record_on(fullnode, stake.record.into()).await? else {
            return Err(ChainError::NotFound {
                what: "stake record",
                id: stake.record,
            });
        };
        if view.stake.version < stake.version {
            return Err(ChainError::Unreachable {
                fullnode: fullnode.url().to_owned(),
                call: "GetObject",
                detail: format!(
                    "it only knows version {} of the record, version {} was read before",
                    view.stake.version, stake.version
                ),
            });
        }
        self.with_seal_token_on(fullnode, view, stake.seal_token)
            .await
    }

    /// Looks for the stake on one fullnode.
    pub(super) async fn find_on(
        &self,
        fullnode: &Fullnode,
        key: PublicKey,
        node_id: &str,
    ) -> Result<Option<Stake>, ChainError> {
        let record = self.record_of(key);
        let Some(view) = self.record_on(fullnode, record.into()).await? else {
            return Ok(None);
        };
        let wrong = |expected: String, found: String| ChainError::WrongObject {
            what: "stake record of this node",
            id: record,
            expected,
            found,
        };
        if view.stake.node_key != key {
            return Err(wrong(
                format!("node key {key}"),
                format!("node key {}", view.stake.node_key),
            ));
        }
        if view.stake.node_id != node_id {
            return Err(wrong(
                format!("node id {node_id:?} (one key stakes for one node)"),
                format!("node id {:?}", view.stake.node_id),
            ));
        }
        self.with_seal_token_on(fullnode, view, None)
            .await
            .map(Some)
    }

    /// Where the record of a key is, or would be.
    pub fn record_of(&self, key: PublicKey) -> ObjectId {
        let node_key = key.to_flagged_bytes();
        id(crate::abi::record_id(
            self.inner.package,
            self.inner.pool,
            &node_key,
        ))
    }

    /// Reads a seal token and the record it names.
    async fn stake_of_seal_token_on(
        &self,
        fullnode: &Fullnode,
        seal_token: SuiAddress,
    ) -> Result<Option<Stake>, ChainError> {
        let Some(object) = fullnode.object(seal_token).await? else {
            return Ok(None);
        };
        let token: crate::abi::SealToken = object.decode(self.inner.package)?;
        let Some(view) = self.record_on(fullnode, token.record).await? else {
            return Ok(None);
        };
        let mut stake = view.stake;
        super::read::fits(&object, &token, view.seal_token, &stake)?;
        stake.seal_token = Some(super::read::seal_token_of(&token));
        Ok(Some(stake))
    }
}

fn verdict(stake: &Option<Stake>) -> Verdict {
    stake
        .as_ref()
        .map_or(Verdict::NotFound, |stake| stake.verdict)
}

/// Whether two fullnodes show the same stake, be it at another version.
fn same(one: Option<&Stake>, other: Option<&Stake>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => {
            one.record == other.record
                && one.verdict == other.verdict
                && one.staker == other.staker
                && one.beneficiary == other.beneficiary
                && one.node_id == other.node_id
                && one.node_key == other.node_key
                && one.seal_token == other.seal_token
        }
        _ => false,
    }
}
