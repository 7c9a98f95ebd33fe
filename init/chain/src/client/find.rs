//! Reading stakes.

use sui_sdk_types::Address as SuiAddress;

use super::{Chain, id};
use crate::abi::{self, MoveType, status};
use crate::amount::Mist;
use crate::error::ChainError;
use crate::identifiers::ObjectId;
use crate::key::PublicKey;
use crate::rpc::{Fullnode, ObjectView, Owner};
use crate::stake::{Pool, SealToken, Stake, Verdict};
use crate::transactions::Shared;

/// The pool as read: its terms, and how transactions name it.
pub(super) struct PoolView {
    pub(super) terms: Pool,
    pub(super) shared: Shared,
}

/// A record as read: the stake, and how transactions name it.
pub(super) struct RecordView {
    pub(super) stake: Stake,
    pub(super) shared: Shared,
}

impl Chain {
    /// The stake of a node, found through the seal tokens that its key's account owns, or, when
    /// its token was burnt to unstake, through the account's own `Staked` events.
    ///
    /// A token counts when it is of the package, names a record of the pool, and both hold the
    /// node's key; the record must name the node. A slashed stake outweighs any other: it is how
    /// a slashed node stays off. It is told only after two fullnodes have shown it, where there
    /// are two. Stakes that were withdrawn are not found.
    ///
    /// # Errors
    /// What the conversation fails with; [`ChainError::Disagreement`] where a slash is not
    /// confirmed.
    pub async fn find_stake(
        &self,
        key: PublicKey,
        node_id: &str,
    ) -> Result<Option<Stake>, ChainError> {
        let found = self
            .on_any(|fullnode| self.find_on(fullnode, key, node_id))
            .await?;
        match found {
            Some(stake) if stake.verdict == Verdict::Slashed => {
                self.confirm(&stake).await.map(Some)
            }
            found => Ok(found),
        }
    }

    /// The stake behind a seal token; `None` where there is no such token. For the master.
    ///
    /// # Errors
    /// [`ChainError::WrongObject`] where the object is no seal token of the package, or names a
    /// record of another pool, key or owner; else what the conversation fails with.
    pub async fn stake_of_token(&self, seal_token: ObjectId) -> Result<Option<Stake>, ChainError> {
        self.on_any(|fullnode| self.stake_of_token_on(fullnode, seal_token.into()))
            .await
    }

    /// The stake of a record; `None` where there is no such object. It does not know the token.
    ///
    /// # Errors
    /// [`ChainError::WrongObject`] where it is no record of the package and the pool; else what
    /// the conversation fails with.
    pub async fn read_record(&self, record: ObjectId) -> Result<Option<Stake>, ChainError> {
        self.on_any(|fullnode| async move {
            Ok(self
                .record_on(fullnode, record.into())
                .await?
                .map(|view| view.stake))
        })
        .await
    }

    /// The same stake as it is now.
    ///
    /// # Errors
    /// [`ChainError::NotFound`] where the record is gone, [`ChainError::Unreachable`] where the
    /// fullnodes only know an older state; else what the conversation fails with.
    pub async fn reread(&self, stake: &Stake) -> Result<Stake, ChainError> {
        self.on_any(|fullnode| self.reread_on(fullnode, stake))
            .await
    }

    /// The stake as it is now, when enough fullnodes show the same verdict: two, or one where
    /// only one is configured. To be asked before anything that cannot be undone.
    ///
    /// # Errors
    /// [`ChainError::Disagreement`] where they do not; it is worth asking again.
    pub async fn confirm(&self, stake: &Stake) -> Result<Stake, ChainError> {
        let mut latest: Option<Stake> = None;
        let mut agreeing = 0;
        for fullnode in &self.inner.fullnodes {
            let read = async {
                fullnode.verify().await?;
                self.reread_on(fullnode, stake).await
            };
            match read.await {
                Ok(now) if now.verdict == stake.verdict => {
                    agreeing += 1;
                    if latest
                        .as_ref()
                        .is_none_or(|other| other.version < now.version)
                    {
                        latest = Some(now);
                    }
                }
                Ok(now) => tracing::warn!(
                    fullnode = fullnode.url(), record = %stake.record, verdict = %now.verdict,
                    "a fullnode does not show the stake as {}", stake.verdict
                ),
                Err(error) => tracing::warn!(
                    fullnode = fullnode.url(), %error, "a fullnode cannot confirm the stake"
                ),
            }
            if agreeing >= self.needed()
                && let Some(latest) = latest
            {
                return Ok(latest);
            }
        }
        Err(ChainError::Disagreement {
            record: stake.record,
            claim: stake.verdict.name(),
            agreeing,
            needed: self.needed(),
        })
    }

    /// Reads the pool.
    pub(super) async fn pool_on(&self, fullnode: &Fullnode) -> Result<PoolView, ChainError> {
        let pool = self.inner.pool;
        let object = crate::rpc::present(fullnode.object(pool).await?, "pool", id(pool))?;
        let decoded: abi::Pool = object.decode(self.inner.package)?;
        version_known(&object, abi::Pool::NAME, decoded.version)?;
        Ok(PoolView {
            terms: Pool {
                id: id(pool),
                minimum_stake: Mist(decoded.minimum_stake),
                unbonding_ms: decoded.unbonding_ms,
                treasury: Mist(decoded.treasury),
            },
            shared: shared(&object, abi::Pool::NAME)?,
        })
    }

    /// Reads one record.
    pub(super) async fn record_on(
        &self,
        fullnode: &Fullnode,
        record: SuiAddress,
    ) -> Result<Option<RecordView>, ChainError> {
        let pool = self.pool_on(fullnode).await?.terms;
        match fullnode.object(record).await? {
            None => Ok(None),
            Some(object) => self.read(&object, &pool).map(Some),
        }
    }

    /// Reads a token and the record it names.
    pub(super) async fn stake_of_token_on(
        &self,
        fullnode: &Fullnode,
        seal_token: SuiAddress,
    ) -> Result<Option<Stake>, ChainError> {
        let Some(object) = fullnode.object(seal_token).await? else {
            return Ok(None);
        };
        let token: abi::SealToken = object.decode(self.inner.package)?;
        let Some(record) = self.record_on(fullnode, token.record).await? else {
            return Ok(None);
        };
        let mut stake = record.stake;
        fits(&object, &token, &stake)?;
        stake.seal_token = Some(token_of(&token));
        Ok(Some(stake))
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

    /// The stake as another fullnode than this one shows it, if any does.
    pub(super) async fn find_elsewhere(
        &self,
        than: &Fullnode,
        key: PublicKey,
        node_id: &str,
    ) -> Option<Stake> {
        for fullnode in self
            .inner
            .fullnodes
            .iter()
            .filter(|other| other.url() != than.url())
        {
            let found = async {
                fullnode.verify().await?;
                self.find_on(fullnode, key, node_id).await
            };
            match found.await {
                Ok(None) => {}
                Ok(Some(stake)) => return Some(stake),
                Err(error) => tracing::warn!(
                    fullnode = fullnode.url(), %error, "it cannot be asked whether there is a stake"
                ),
            }
        }
        None
    }

    async fn reread_on(&self, fullnode: &Fullnode, stake: &Stake) -> Result<Stake, ChainError> {
        let now = self
            .record_on(fullnode, stake.record.into())
            .await?
            .map(|view| view.stake);
        let Some(mut now) = now else {
            return Err(ChainError::NotFound {
                what: "stake record",
                id: stake.record,
            });
        };
        if now.version < stake.version {
            return Err(ChainError::Unreachable {
                fullnode: fullnode.url().to_owned(),
                call: "GetObject",
                detail: format!(
                    "it only knows version {} of the record, version {} was read before",
                    now.version, stake.version
                ),
            });
        }
        now.seal_token = stake.seal_token;
        Ok(now)
    }

    /// Looks for the stake on one fullnode.
    pub(super) async fn find_on(
        &self,
        fullnode: &Fullnode,
        key: PublicKey,
        node_id: &str,
    ) -> Result<Option<Stake>, ChainError> {
        let package = self.inner.package;
        let account: SuiAddress = key.address().into();
        let tag = abi::SealToken::tag(package);
        let mut tokens = Vec::new();
        for object in fullnode.owned(account, &tag).await? {
            let token: abi::SealToken = object.decode(package)?;
            tokens.push((object, token));
        }
        let records: Vec<SuiAddress> = tokens.iter().map(|(_, token)| token.record).collect();
        let pool = self.pool_on(fullnode).await?.terms;
        let mut stakes = Vec::new();
        for (record, (object, token)) in self
            .objects_on(fullnode, &records)
            .await?
            .into_iter()
            .zip(&tokens)
        {
            let Some(record) = record else { continue };
            match self.read(&record, &pool) {
                Ok(RecordView { mut stake, .. }) if fits(object, token, &stake).is_ok() => {
                    stake.seal_token = Some(token_of(token));
                    stakes.push(stake);
                }
                // a token of another pool, or of a layout to come: not this node's stake
                Ok(_) | Err(ChainError::WrongObject { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let ours = |stake: &Stake| stake.node_key == key && stake.node_id == node_id;
        stakes.retain(ours);
        if stakes.is_empty() {
            stakes = self.leaving_on(fullnode, account, &pool).await?;
            stakes.retain(ours);
        }
        stakes.sort_by_key(|stake| precedence(stake.verdict));
        Ok(stakes.into_iter().next())
    }

    /// Stakes that an account is taking back: their tokens are burnt, so that only the events of
    /// their making lead to them. An index that does not reach back so far is no obstacle.
    async fn leaving_on(
        &self,
        fullnode: &Fullnode,
        account: SuiAddress,
        pool: &Pool,
    ) -> Result<Vec<Stake>, ChainError> {
        let records = match fullnode
            .records_staked_by(account, self.inner.package)
            .await
        {
            Ok(records) => records,
            Err(error) => {
                tracing::warn!(%error, "stakes that are being taken back cannot be looked up");
                return Ok(Vec::new());
            }
        };
        let mut stakes = Vec::new();
        for object in self
            .objects_on(fullnode, &records)
            .await?
            .into_iter()
            .flatten()
        {
            match self.read(&object, pool) {
                Ok(view) if view.stake.verdict != Verdict::Withdrawn => stakes.push(view.stake),
                Ok(_) | Err(ChainError::WrongObject { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(stakes)
    }

    async fn objects_on(
        &self,
        fullnode: &Fullnode,
        ids: &[SuiAddress],
    ) -> Result<Vec<Option<ObjectView>>, ChainError> {
        /// What one call may ask for.
        const BATCH: usize = 50;
        let mut objects = Vec::with_capacity(ids.len());
        for batch in ids.chunks(BATCH) {
            objects.extend(fullnode.objects(batch).await?);
        }
        Ok(objects)
    }

    /// Makes a stake of a record, if it is one of the package and the pool.
    pub(super) fn read(&self, object: &ObjectView, pool: &Pool) -> Result<RecordView, ChainError> {
        const WHAT: &str = abi::StakeRecord::NAME;
        let record: abi::StakeRecord = object.decode(self.inner.package)?;
        version_known(object, WHAT, record.version)?;
        let wrong = |expected: String, found: String| ChainError::WrongObject {
            what: WHAT,
            id: id(object.id),
            expected,
            found,
        };
        if record.pool != self.inner.pool {
            return Err(wrong(
                format!("pool {}", self.inner.pool),
                format!("pool {}", record.pool),
            ));
        }
        let node_key = PublicKey::from_flagged_bytes(&record.node_key)
            .map_err(|error| wrong("an ed25519 node key".to_owned(), error.to_string()))?;
        let amount = Mist(record.balance);
        let verdict = match record.status {
            status::ACTIVE if amount < pool.minimum_stake => Verdict::BelowMinimum,
            status::ACTIVE => Verdict::Active,
            status::UNBONDING => Verdict::Unbonding,
            status::SLASHED => Verdict::Slashed,
            status::WITHDRAWN => Verdict::Withdrawn,
            other => return Err(wrong("status 0 to 3".to_owned(), format!("status {other}"))),
        };
        Ok(RecordView {
            shared: shared(object, WHAT)?,
            stake: Stake {
                record: id(object.id),
                version: object.version,
                seal_token: None,
                staker: record.staker.into(),
                node_id: record.node_id,
                node_key,
                amount,
                staked_at_ms: record.staked_at_ms,
                unbonding_until_ms: record.unbonding_until_ms,
                verdict,
            },
        })
    }
}

fn precedence(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Slashed => 0,
        Verdict::Active => 1,
        Verdict::BelowMinimum => 2,
        Verdict::Unbonding => 3,
        Verdict::Withdrawn => 4,
    }
}

fn version_known(object: &ObjectView, what: &'static str, version: u64) -> Result<(), ChainError> {
    if version == abi::VERSION {
        return Ok(());
    }
    Err(ChainError::WrongObject {
        what,
        id: id(object.id),
        expected: format!("version {}", abi::VERSION),
        found: format!("version {version}"),
    })
}

fn shared(object: &ObjectView, what: &'static str) -> Result<Shared, ChainError> {
    match object.owner {
        Owner::Shared(since) => Ok(Shared {
            id: object.id,
            since,
        }),
        other => Err(ChainError::WrongObject {
            what,
            id: id(object.id),
            expected: "a shared object".to_owned(),
            found: format!("{other:?}"),
        }),
    }
}

/// Whether a token belongs to a stake: owned by the staker, with the same key.
fn fits(object: &ObjectView, token: &abi::SealToken, stake: &Stake) -> Result<(), ChainError> {
    let wrong = |expected: String, found: String| ChainError::WrongObject {
        what: abi::SealToken::NAME,
        id: id(object.id),
        expected,
        found,
    };
    if object.owner != Owner::Address(stake.staker.into()) {
        return Err(wrong(
            format!("owner {}", stake.staker),
            format!("{:?}", object.owner),
        ));
    }
    if token.node_key != stake.node_key.to_flagged_bytes() {
        return Err(wrong(
            format!("node key {}", stake.node_key),
            "another node key".to_owned(),
        ));
    }
    Ok(())
}

fn token_of(token: &abi::SealToken) -> SealToken {
    SealToken {
        id: id(token.id),
        issued_at_ms: token.issued_at_ms,
        expires_at_ms: token.expires_at_ms,
    }
}
