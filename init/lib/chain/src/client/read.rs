//! Reading pool, records and tokens of one fullnode into types.

use chain_types::Mist;
use sui_sdk_types::Address as SuiAddress;

use super::{Chain, id};
use crate::abi::{self, MoveType, status};
use crate::clock::now_ms;
use crate::error::ChainError;
use crate::key::PublicKey;
use crate::rpc::{Fullnode, ObjectView, Owner, present};
use crate::stake::{Pool, SealToken, Stake, Verdict};
use crate::transactions::Shared;

/// The pool as read: its terms, and how transactions name it.
pub(super) struct PoolView {
    pub(super) terms: Pool,
    pub(super) shared: Shared,
    /// Least that a stake which stands must hold now.
    standing: Mist,
    treasury: SuiAddress,
}

/// A record as read: the stake, its pool, and how transactions name it.
pub(super) struct RecordView {
    /// Without its seal token, which is an object of its own.
    pub(super) stake: Stake,
    pub(super) shared: Shared,
    pub(super) pool: PoolView,
    /// The one seal token that counts.
    pub(super) seal_token: Option<SuiAddress>,
}

impl Chain {
    /// Reads the pool.
    pub(super) async fn pool_on(&self, fullnode: &Fullnode) -> Result<PoolView, ChainError> {
        let pool = self.inner.pool;
        self.read_pool(present(fullnode.object(pool).await?, "pool", id(pool))?)
    }

    /// Reads one record, and the pool with it, in one round trip.
    pub(super) async fn record_on(
        &self,
        fullnode: &Fullnode,
        record: SuiAddress,
    ) -> Result<Option<RecordView>, ChainError> {
        let pool = self.inner.pool;
        let mut objects = fullnode.objects(&[pool, record]).await?.into_iter();
        let (found_pool, found) = (objects.next().flatten(), objects.next().flatten());
        let pool = self.read_pool(present(found_pool, "pool", id(pool))?)?;
        match found {
            None => Ok(None),
            Some(object) => self.read(&object, pool).map(Some),
        }
    }

    /// Adds the seal token to a stake; one that is known already is not read again.
    pub(super) async fn with_seal_token_on(
        &self,
        fullnode: &Fullnode,
        view: RecordView,
        known: Option<SealToken>,
    ) -> Result<Stake, ChainError> {
        let mut stake = view.stake;
        let Some(token) = view.seal_token else {
            return Ok(stake);
        };
        if let Some(known) = known.filter(|known| known.id == id(token)) {
            stake.seal_token = Some(known);
            return Ok(stake);
        }
        // its owner may have burnt it
        let Some(object) = fullnode.object(token).await? else {
            return Ok(stake);
        };
        let token: abi::SealToken = object.decode(self.inner.package)?;
        fits(&object, &token, view.seal_token, &stake)?;
        stake.seal_token = Some(seal_token_of(&token));
        Ok(stake)
    }

    fn read_pool(&self, object: ObjectView) -> Result<PoolView, ChainError> {
        let decoded: abi::Pool = object.decode(self.inner.package)?;
        version_known(&object, abi::Pool::NAME, decoded.version)?;
        if decoded.offences.len() > abi::pool::MOST_OFFENCES {
            return Err(ChainError::WrongObject {
                what: abi::Pool::NAME,
                id: id(object.id),
                expected: format!("{} offences at most", abi::pool::MOST_OFFENCES),
                found: format!("{} offences", decoded.offences.len()),
            });
        }
        let now_ms = now_ms();
        Ok(PoolView {
            terms: Pool {
                id: id(object.id),
                minimum_stake: Mist(decoded.minimum_for_new(now_ms)),
                unbonding_ms: decoded.unbonding_ms.at(now_ms),
                seal_token_ms: decoded.seal_token_ms,
                open: decoded.open,
            },
            shared: shared(&object, abi::Pool::NAME)?,
            standing: Mist(decoded.minimum_for_standing(now_ms)),
            treasury: decoded.treasury,
        })
    }

    /// A pool's treasury, and how transactions name it.
    pub(super) async fn treasury_on(
        &self,
        fullnode: &Fullnode,
        pool: &PoolView,
    ) -> Result<(Mist, Shared), ChainError> {
        const WHAT: &str = abi::Treasury::NAME;
        let object = present(
            fullnode.object(pool.treasury).await?,
            "treasury",
            id(pool.treasury),
        )?;
        let treasury: abi::Treasury = object.decode(self.inner.package)?;
        version_known(&object, WHAT, treasury.version)?;
        if treasury.pool != self.inner.pool {
            return Err(ChainError::WrongObject {
                what: WHAT,
                id: id(object.id),
                expected: format!("pool {}", self.inner.pool),
                found: format!("pool {}", treasury.pool),
            });
        }
        Ok((Mist(treasury.balance), shared(&object, WHAT)?))
    }

    /// Makes a stake of a record, if it is one of the package and the pool.
    fn read(&self, object: &ObjectView, pool: PoolView) -> Result<RecordView, ChainError> {
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
            .map_err(|error| wrong("a node key".to_owned(), error.to_string()))?;
        let amount = Mist(record.balance);
        let minimum = pool.standing;
        let verdict = match record.status {
            status::ACTIVE if amount < minimum => Verdict::BelowMinimum,
            status::ACTIVE => Verdict::Active,
            status::UNBONDING => Verdict::Unbonding,
            status::SLASHED => Verdict::Slashed,
            status::WITHDRAWN => Verdict::Withdrawn,
            other => return Err(wrong("status 0 to 3".to_owned(), format!("status {other}"))),
        };
        Ok(RecordView {
            shared: shared(object, WHAT)?,
            pool,
            seal_token: record.seal_token,
            stake: Stake {
                record: id(object.id),
                version: object.version,
                seal_token: None,
                staker: record.staker.into(),
                beneficiary: record.beneficiary.at(now_ms()).into(),
                node_id: record.node_id,
                node_key,
                amount,
                minimum,
                slashed: Mist(record.slashed),
                staked_at_ms: record.staked_at_ms,
                unbonding_until_ms: record.unbonding_until_ms,
                verdict,
            },
        })
    }
}

/// Versions only count up, and an upgrade can't change a struct's layout.
pub(super) fn version_known(
    object: &ObjectView,
    what: &'static str,
    version: u64,
) -> Result<(), ChainError> {
    if version >= abi::VERSION {
        return Ok(());
    }
    Err(ChainError::WrongObject {
        what,
        id: id(object.id),
        expected: format!("version {} or later", abi::VERSION),
        found: format!("version {version}"),
    })
}

pub(super) fn shared(object: &ObjectView, what: &'static str) -> Result<Shared, ChainError> {
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

/// Whether a seal token belongs to a stake: the one that counts, owned by the staker, with the same
/// key.
pub(super) fn fits(
    object: &ObjectView,
    token: &abi::SealToken,
    counts: Option<SuiAddress>,
    stake: &Stake,
) -> Result<(), ChainError> {
    let wrong = |expected: String, found: String| ChainError::WrongObject {
        what: abi::SealToken::NAME,
        id: id(object.id),
        expected,
        found,
    };
    if id(token.record) != stake.record {
        return Err(wrong(
            format!("record {}", stake.record),
            format!("record {}", token.record),
        ));
    }
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
    if counts != Some(object.id) {
        return Err(wrong(
            "the one seal token that counts for its record".to_owned(),
            "one that does not count any more".to_owned(),
        ));
    }
    Ok(())
}

pub(super) fn seal_token_of(token: &abi::SealToken) -> SealToken {
    SealToken {
        id: id(token.id),
        issued_at_ms: token.issued_at_ms,
        expires_at_ms: token.expires_at_ms,
    }
}
