//! Module `rewards`, with `sum_tree`.

pub(super) mod sum_tree;
mod table;

use chain::abi::abort::Abort;
use chain::abi::rewards::{LAST_EPOCH, ROOT_AGE_MS, ROOT_INTENT, epoch_state};
use chain::abi::{
    self, AdminCap, BudgetChanged, ClaimKey, Clock, Coin, Enclave, EnclaveConfig, Epoch,
    EpochClosed, EpochRoot, EpochVoided, Leaf, MoveType, Pool, RewardPaid, RootPublished,
    Scheduled, SlashedKey, StakeRecord, Vault, VaultCreated, VaultFunded,
};
use sui_sdk_types::{Address, TypeTag};

use super::{
    administration, assert_admin, assert_current, assert_own as assert_record, authority, emit,
    field, object, require, set_field, staking, statement, today, wrong,
};
use crate::execution::{Arg, Place, Scope, Stop, Value};
use sum_tree::{HASH, Root, Sum};
pub(super) use table::FUNCTIONS;

const HOUR_MS: u64 = 60 * 60 * 1000;
const DAY_MS: u64 = 24 * HOUR_MS;

pub(super) fn new_vault(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let pool: Pool = object(arguments, 0)?.read()?;
    let cap: AdminCap = object(arguments, 1)?.read()?;
    let clock: Clock = object(arguments, 6)?.read()?;
    let [
        _,
        _,
        Arg::U64(epoch_days),
        Arg::U64(objection_ms),
        Arg::U64(claim_ms),
        Arg::U64(most_budget),
        _,
    ] = &*arguments
    else {
        return Err(wrong(2));
    };
    assert_admin(&pool, &cap)?;
    let within = (1..=31).contains(epoch_days)
        && (HOUR_MS..=7 * DAY_MS).contains(objection_ms)
        && (7 * DAY_MS..=365 * DAY_MS).contains(claim_ms);
    require(within, &Abort::REWARDS_OUT_OF_BOUNDS)?;
    let vault = Vault {
        id: scope.new_id(),
        version: abi::VERSION,
        pool: pool.id,
        funds: 0,
        first_day: today(&clock) + 1,
        epoch_days: *epoch_days,
        objection_ms: *objection_ms,
        claim_ms: *claim_ms,
        most_budget: Scheduled::fixed(*most_budget),
    };
    emit(
        scope,
        &VaultCreated {
            vault: vault.id,
            pool: vault.pool,
            first_day: vault.first_day,
            epoch_days: vault.epoch_days,
            objection_ms: vault.objection_ms,
            claim_ms: vault.claim_ms,
            most_budget: *most_budget,
        },
    )?;
    share(scope, &vault)
}

pub(super) fn fund(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let mut vault: Vault = object(arguments, 0)?.read()?;
    let coin: Coin = object(arguments, 1)?.read()?;
    assert_current(vault.version)?;
    require(coin.balance > 0, &Abort::REWARDS_EMPTY_COIN)?;
    vault.funds += coin.balance;
    object(arguments, 0)?.write(&vault)?;
    emit(
        scope,
        &VaultFunded {
            vault: vault.id,
            amount: coin.balance,
            funds: vault.funds,
        },
    )
}

pub(super) fn set_budget(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let mut vault: Vault = object(arguments, 0)?.read()?;
    let pool: Pool = object(arguments, 1)?.read()?;
    let cap: AdminCap = object(arguments, 2)?.read()?;
    let clock: Clock = object(arguments, 4)?.read()?;
    let [_, _, _, Arg::U64(most_budget), _] = &*arguments else {
        return Err(wrong(3));
    };
    let most_budget = *most_budget;
    assert_vault_admin(&vault, &pool, &cap)?;
    let now_ms = clock.timestamp_ms;
    let from_ms = if most_budget <= vault.most_budget.at(now_ms) {
        now_ms
    } else {
        authority::begins_ms(&pool, &clock)
    };
    let from_ms = administration::schedule(&mut vault.most_budget, most_budget, from_ms, now_ms);
    object(arguments, 0)?.write(&vault)?;
    emit(
        scope,
        &BudgetChanged {
            vault: vault.id,
            most_budget,
            from_ms,
        },
    )
}

pub(super) fn publish_root(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let mut vault: Vault = object(arguments, 0)?.read()?;
    let config: EnclaveConfig = object(arguments, 1)?.read()?;
    let enclave: Enclave = object(arguments, 2)?.read()?;
    let clock: Clock = object(arguments, 10)?.read()?;
    let [_, _, _, Arg::U64(number), ..] = &*arguments else {
        return Err(wrong(3));
    };
    let number = *number;
    let signed = Signed::of(&arguments[4..], vault.id, number)?;
    signed.verify(&vault, &config, &enclave, &clock)?;
    let said = signed.said;
    let now_ms = clock.timestamp_ms;
    require(number <= LAST_EPOCH, &Abort::REWARDS_NOT_OVER)?;
    let first_day = vault.first_day + number * vault.epoch_days;
    let end_ms = (first_day + vault.epoch_days) * DAY_MS;
    require(now_ms >= end_ms, &Abort::REWARDS_NOT_OVER)?;
    require(now_ms < end_ms + ROOT_AGE_MS, &Abort::REWARDS_TOO_LATE)?;
    assert_valid(&said)?;
    require(
        said.budget <= vault.most_budget.at(now_ms),
        &Abort::REWARDS_BUDGET_TOO_HIGH,
    )?;
    require(said.budget <= vault.funds, &Abort::REWARDS_VAULT_SHORT)?;
    let id = abi::epoch_id(scope.package(), vault.id, number);
    require(scope.claim(id), &Abort::REWARDS_ALREADY_PUBLISHED)?;
    vault.funds -= said.budget;
    let claimable_from_ms = now_ms + vault.objection_ms;
    let epoch = Epoch {
        id,
        version: abi::VERSION,
        vault: vault.id,
        pool: vault.pool,
        number,
        first_day,
        days: vault.epoch_days,
        root: said.root,
        total_points: said.total_points,
        leaves: said.leaves,
        budget: said.budget,
        funds: said.budget,
        enclave: enclave.id,
        claimable_from_ms,
        claimable_until_ms: claimable_from_ms + vault.claim_ms,
        state: epoch_state::OPEN,
    };
    object(arguments, 0)?.write(&vault)?;
    emit(
        scope,
        &RootPublished {
            vault: epoch.vault,
            epoch: epoch.id,
            number,
            root: epoch.root.clone(),
            total_points: epoch.total_points,
            leaves: epoch.leaves,
            budget: epoch.budget,
            enclave: epoch.enclave,
            claimable_from_ms,
            claimable_until_ms: epoch.claimable_until_ms,
        },
    )?;
    share(scope, &epoch)
}

pub(super) fn object_with_root(
    scope: &mut Scope<'_, '_>,
    arguments: &mut [Arg],
) -> Result<(), Stop> {
    let vault: Vault = object(arguments, 0)?.read()?;
    let epoch: Epoch = object(arguments, 1)?.read()?;
    let config: EnclaveConfig = object(arguments, 2)?.read()?;
    let enclave: Enclave = object(arguments, 3)?.read()?;
    let clock: Clock = object(arguments, 10)?.read()?;
    assert_own(&vault, &epoch)?;
    let signed = Signed::of(&arguments[4..], epoch.vault, epoch.number)?;
    signed.verify(&vault, &config, &enclave, &clock)?;
    require(enclave.id != epoch.enclave, &Abort::REWARDS_SAME_ENCLAVE)?;
    let said = signed.said;
    assert_valid(&said)?;
    require(
        said.root != epoch.root
            || said.total_points != epoch.total_points
            || said.leaves != epoch.leaves,
        &Abort::REWARDS_SAME_ROOT,
    )?;
    let objection = Objection {
        enclave: Some(enclave.id),
        root: said.root,
        total_points: said.total_points,
        leaves: said.leaves,
    };
    void(scope, arguments, vault, epoch, objection, &clock)
}

pub(super) fn object_by_admin(
    scope: &mut Scope<'_, '_>,
    arguments: &mut [Arg],
) -> Result<(), Stop> {
    let vault: Vault = object(arguments, 0)?.read()?;
    let epoch: Epoch = object(arguments, 1)?.read()?;
    let pool: Pool = object(arguments, 2)?.read()?;
    let cap: AdminCap = object(arguments, 3)?.read()?;
    let clock: Clock = object(arguments, 4)?.read()?;
    assert_vault_admin(&vault, &pool, &cap)?;
    assert_own(&vault, &epoch)?;
    void(scope, arguments, vault, epoch, Objection::default(), &clock)
}

pub(super) fn claim(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let mut epoch: Epoch = object(arguments, 0)?.read()?;
    let pool: Pool = object(arguments, 1)?.read()?;
    let record: StakeRecord = object(arguments, 2)?.read()?;
    let clock: Clock = object(arguments, 6)?.read()?;
    let [
        _,
        _,
        _,
        Arg::U64(points),
        Arg::U64(index),
        Arg::Bytes(proof),
        _,
    ] = &*arguments
    else {
        return Err(wrong(3));
    };
    let points = *points;
    assert_current(epoch.version)?;
    require(epoch.pool == pool.id, &Abort::REWARDS_WRONG_POOL)?;
    assert_record(&pool, &record)?;
    require(epoch.state == epoch_state::OPEN, &Abort::REWARDS_NOT_OPEN)?;
    let now_ms = clock.timestamp_ms;
    require(
        now_ms >= epoch.claimable_from_ms,
        &Abort::REWARDS_WINDOW_OPEN,
    )?;
    require(
        now_ms < epoch.claimable_until_ms,
        &Abort::REWARDS_DEADLINE_PASSED,
    )?;
    let key = ClaimKey(record.id);
    let paid: Option<u64> = field(scope, epoch.id, &key, TypeTag::U64)?;
    require(paid.is_none(), &Abort::REWARDS_ALREADY_CLAIMED)?;
    for day in epoch.first_day..epoch.first_day + epoch.days {
        let slashed: Option<bool> = field(scope, record.id, &SlashedKey(day), TypeTag::Bool)?;
        require(slashed.is_none(), &Abort::REWARDS_SLASHED)?;
    }
    let root = Root {
        hash: &epoch.root,
        total: epoch.total_points,
        leaves: epoch.leaves,
    };
    let leaf = leaf(epoch.vault, epoch.number, record.id, points)?;
    sum_tree::assert_contains(&root, *index, leaf, proof)?;
    let amount = u128::from(epoch.budget) * u128::from(points) / u128::from(epoch.total_points);
    let amount = u64::try_from(amount).map_err(|error| Stop::Broken(error.to_string()))?;
    require(amount > 0, &Abort::REWARDS_NOTHING)?;
    set_field(scope, epoch.id, &key, TypeTag::U64, amount)?;
    let beneficiary = record.beneficiary.at(now_ms);
    epoch.funds -= amount;
    object(arguments, 0)?.write(&epoch)?;
    emit(
        scope,
        &RewardPaid {
            vault: epoch.vault,
            epoch: epoch.id,
            number: epoch.number,
            record: record.id,
            beneficiary,
            points,
            amount,
        },
    )?;
    staking::pay(scope, amount, beneficiary)
}

pub(super) fn close(scope: &mut Scope<'_, '_>, arguments: &mut [Arg]) -> Result<(), Stop> {
    let vault: Vault = object(arguments, 0)?.read()?;
    let epoch: Epoch = object(arguments, 1)?.read()?;
    let clock: Clock = object(arguments, 2)?.read()?;
    assert_own(&vault, &epoch)?;
    require(epoch.state == epoch_state::OPEN, &Abort::REWARDS_NOT_OPEN)?;
    require(
        clock.timestamp_ms >= epoch.claimable_until_ms,
        &Abort::REWARDS_STILL_OPEN,
    )?;
    let event = EpochClosed {
        vault: epoch.vault,
        epoch: epoch.id,
        number: epoch.number,
        returned: epoch.funds,
    };
    settle(arguments, vault, epoch, epoch_state::CLOSED)?;
    emit(scope, &event)
}

/// A record's leaf (`rewards::leaf`).
pub(super) fn leaf(vault: Address, epoch: u64, record: Address, points: u64) -> Result<Sum, Stop> {
    let said = Leaf {
        vault,
        epoch,
        record,
    };
    let said = bcs::to_bytes(&said).map_err(|error| Stop::Broken(error.to_string()))?;
    Ok(Sum::leaf(&said, points))
}

/// What an enclave signed, with its signature.
struct Signed {
    said: EpochRoot,
    timestamp_ms: u64,
    signature: Vec<u8>,
}

impl Signed {
    /// From arguments that begin with the root.
    fn of(arguments: &[Arg], vault: Address, epoch: u64) -> Result<Self, Stop> {
        let [
            Arg::Bytes(root),
            Arg::U64(total_points),
            Arg::U64(leaves),
            Arg::U64(budget),
            Arg::U64(timestamp_ms),
            Arg::Bytes(signature),
            _,
        ] = arguments
        else {
            return Err(wrong(4));
        };
        let said = EpochRoot {
            vault,
            epoch,
            root: root.clone(),
            total_points: *total_points,
            leaves: *leaves,
            budget: *budget,
        };
        Ok(Self {
            said,
            timestamp_ms: *timestamp_ms,
            signature: signature.clone(),
        })
    }

    /// `vault.assert_signed(…)`.
    fn verify(
        &self,
        vault: &Vault,
        config: &EnclaveConfig,
        enclave: &Enclave,
        clock: &Clock,
    ) -> Result<(), Stop> {
        require(config.pool == vault.pool, &Abort::REWARDS_WRONG_POOL)?;
        let message = abi::IntentMessage {
            domain: abi::enclave::DOMAIN.to_vec(),
            intent: ROOT_INTENT,
            enclave: enclave.id,
            config_version: enclave.config_version,
            nonce: self.said.epoch,
            timestamp_ms: self.timestamp_ms,
            data: self.said.clone(),
        };
        statement::verify(config, enclave, &message, &self.signature, clock)?;
        authority::assert_effective(enclave.effective_from_ms, clock)
    }
}

/// Whose objection voids an epoch: the administrator's names no root.
#[derive(Default)]
struct Objection {
    enclave: Option<Address>,
    root: Vec<u8>,
    total_points: u64,
    leaves: u64,
}

fn void(
    scope: &mut Scope<'_, '_>,
    arguments: &mut [Arg],
    vault: Vault,
    epoch: Epoch,
    objection: Objection,
    clock: &Clock,
) -> Result<(), Stop> {
    require(epoch.state == epoch_state::OPEN, &Abort::REWARDS_NOT_OPEN)?;
    require(
        clock.timestamp_ms < epoch.claimable_from_ms,
        &Abort::REWARDS_WINDOW_CLOSED,
    )?;
    let event = EpochVoided {
        vault: epoch.vault,
        epoch: epoch.id,
        number: epoch.number,
        enclave: objection.enclave,
        root: objection.root,
        total_points: objection.total_points,
        leaves: objection.leaves,
        returned: epoch.funds,
    };
    settle(arguments, vault, epoch, epoch_state::VOID)?;
    emit(scope, &event)
}

/// Returns what an epoch holds to its vault; both are the first arguments.
fn settle(
    arguments: &mut [Arg],
    mut vault: Vault,
    mut epoch: Epoch,
    state: u8,
) -> Result<(), Stop> {
    vault.funds += epoch.funds;
    epoch.funds = 0;
    epoch.state = state;
    object(arguments, 0)?.write(&vault)?;
    object(arguments, 1)?.write(&epoch)
}

fn share<T: MoveType + serde::Serialize>(scope: &mut Scope<'_, '_>, value: &T) -> Result<(), Stop> {
    let value = Value::new(T::tag(scope.package()), false, value)?;
    scope.made.placed.push((value, Place::Shared));
    Ok(())
}

/// `said.assert_valid()`.
fn assert_valid(said: &EpochRoot) -> Result<(), Stop> {
    require(
        said.root.len() == HASH && said.total_points > 0 && said.budget > 0,
        &Abort::REWARDS_INVALID_ROOT,
    )?;
    sum_tree::depth(said.leaves)?;
    Ok(())
}

/// `vault.assert_own(epoch)`.
fn assert_own(vault: &Vault, epoch: &Epoch) -> Result<(), Stop> {
    assert_current(vault.version)?;
    assert_current(epoch.version)?;
    require(epoch.vault == vault.id, &Abort::REWARDS_WRONG_VAULT)
}

/// `vault.assert_admin(pool, cap)`.
fn assert_vault_admin(vault: &Vault, pool: &Pool, cap: &AdminCap) -> Result<(), Stop> {
    assert_admin(pool, cap)?;
    assert_current(vault.version)?;
    require(vault.pool == pool.id, &Abort::REWARDS_WRONG_POOL)
}
