//! Types of the modules `pool`, `treasury`, `scheduled` and `offences`.

use serde::{Deserialize, Serialize};
use sui_sdk_types::Address;

/// For how long after its notice a higher minimum does not count against stakes that stand
/// (`bounds::minimum_stake_grace_ms`).
pub const MINIMUM_STAKE_GRACE_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// Most offences of a pool (`offences::MOST_OFFENCES`).
pub const MOST_OFFENCES: usize = 32;

/// `scheduled::Scheduled<T>`: a value that changes at a time which is published beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduled<T> {
    /// What counts until then.
    pub current: T,
    /// What counts afterwards.
    pub next: Option<T>,
    /// From when on `next` counts, in milliseconds since the Unix epoch; 0 where there is none.
    pub from_ms: u64,
}

impl<T: Copy> Scheduled<T> {
    /// A value with no change ahead (`scheduled::fixed`).
    pub const fn fixed(value: T) -> Self {
        Self {
            current: value,
            next: None,
            from_ms: 0,
        }
    }

    /// The value that counts at a time, in milliseconds since the Unix epoch.
    pub fn at(&self, now_ms: u64) -> T {
        match self.next {
            Some(next) if now_ms >= self.from_ms => next,
            _ => self.current,
        }
    }
}

/// `offences::Offence`: a reason for which evidence slashes, and what it costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offence {
    /// The reason code.
    pub reason: u16,
    /// What it costs.
    pub penalty: Scheduled<Penalty>,
}

/// `offences::Penalty`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Penalty {
    /// The share of what the record holds that one verdict takes.
    pub basis_points: u64,
    /// The most that verdicts of the reason take of a record in a day.
    pub daily_cap_basis_points: u64,
    /// Whether verdicts of the reason count.
    pub in_force: bool,
}

/// `pool::Pool`, shared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The object's id.
    pub id: Address,
    /// The package's version that may change it.
    pub version: u64,
    /// Whether stakes are taken.
    pub open: bool,
    /// Least that a stake must hold, in MIST.
    pub minimum_stake: Scheduled<u64>,
    /// How long coins stay locked after the request to unstake.
    pub unbonding_ms: Scheduled<u64>,
    /// How long a seal token counts.
    pub seal_token_ms: u64,
    /// The share of a slash for who reported it with evidence, in basis points.
    pub reporter_basis_points: Scheduled<u64>,
    /// For what evidence slashes, and how much.
    pub offences: Vec<Offence>,
    /// What slashes bring in goes there.
    pub treasury: Address,
}

impl Pool {
    /// Least that a new stake must hold (`minimum_stake::for_new`), in MIST.
    pub fn minimum_for_new(&self, now_ms: u64) -> u64 {
        self.minimum_stake.at(now_ms)
    }

    /// Least that a stake which stands must hold (`minimum_stake::for_standing`), in MIST.
    pub fn minimum_for_standing(&self, now_ms: u64) -> u64 {
        self.minimum_stake
            .at(now_ms.saturating_sub(MINIMUM_STAKE_GRACE_MS))
    }
}

/// `treasury::Treasury`, shared: what slashes have brought in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Treasury {
    /// The object's id.
    pub id: Address,
    /// The package's version that may change it.
    pub version: u64,
    /// The pool it belongs to.
    pub pool: Address,
    /// What it holds, in MIST.
    pub balance: u64,
}

/// `pool::AdminCap`, owned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminCap {
    /// The object's id.
    pub id: Address,
    /// The pool it counts for.
    pub pool: Address,
}

/// `pool::SlasherCap`, owned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlasherCap {
    /// The object's id.
    pub id: Address,
    /// The pool it counts for.
    pub pool: Address,
}

/// Event `pool::PoolCreated`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolCreated {
    /// The pool.
    pub pool: Address,
    /// Its treasury.
    pub treasury: Address,
    /// The capability that sets its rules.
    pub admin_cap: Address,
    /// Who made it.
    pub creator: Address,
}

/// Event `pool::PoolOpened`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolOpened {
    /// The pool.
    pub pool: Address,
}
