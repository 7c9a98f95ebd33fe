/// Rewards: a vault that anybody funds, and for each epoch one root that says which record has
/// earned how many points.
///
/// A root is signed by an enclave, stands for a window in which another enclave or the administrator
/// can object, and reserves a budget. Then anybody brings a record's proof, and its share of the
/// budget is paid to its beneficiary, once. However large the fleet, an epoch takes one transaction,
/// and a claim's proof for 100,000 records is 680 bytes.
///
/// Coins leave a vault as rewards alone; what is not claimed returns to it.
module k3s_daas::rewards;

use k3s_daas::{
    authority,
    bounds,
    enclave::{EnclaveConfig, Enclave},
    evidence,
    pool::{Pool, AdminCap},
    scheduled::{Self, Scheduled},
    staking::StakeRecord,
    statement,
    sum_tree,
    version
};
use sui::{
    balance::{Self, Balance},
    bcs,
    clock::Clock,
    coin::Coin,
    derived_object,
    dynamic_field,
    event,
    sui::SUI
};

#[error(code = 0)]
const EWrongPool: vector<u8> = b"The object belongs to another pool";
#[error(code = 1)]
const EWrongVault: vector<u8> = b"The epoch belongs to another vault";
#[error(code = 2)]
const EOutOfBounds: vector<u8> = b"The value lies outside the published bounds";
#[error(code = 3)]
const EEmptyCoin: vector<u8> = b"The coin holds nothing";
#[error(code = 4)]
const ENotOver: vector<u8> = b"The epoch is not over";
#[error(code = 5)]
const ETooLate: vector<u8> = b"The epoch ended more than 31 days ago";
#[error(code = 6)]
const EAlreadyPublished: vector<u8> = b"The epoch has a root already";
#[error(code = 7)]
const EInvalidRoot: vector<u8> = b"The root is not 32 bytes, or has no points or no budget";
#[error(code = 8)]
const EBudgetTooHigh: vector<u8> = b"The budget is higher than the vault's for an epoch";
#[error(code = 9)]
const EVaultShort: vector<u8> = b"The vault holds less than the budget";
#[error(code = 10)]
const EWindowOpen: vector<u8> = b"Objections are still possible";
#[error(code = 11)]
const EWindowClosed: vector<u8> = b"Objections are not possible any more";
#[error(code = 12)]
const ESameEnclave: vector<u8> = b"An enclave does not object to its own root";
#[error(code = 13)]
const ESameRoot: vector<u8> = b"Root, total and number of leaves are the published ones";
#[error(code = 14)]
const ENotOpen: vector<u8> = b"The epoch is void or closed";
#[error(code = 15)]
const EDeadlinePassed: vector<u8> = b"The time to claim is over";
#[error(code = 16)]
const EAlreadyClaimed: vector<u8> = b"The record's reward of this epoch is paid already";
#[error(code = 17)]
const ESlashed: vector<u8> = b"The record was slashed in this epoch";
#[error(code = 18)]
const ENothing: vector<u8> = b"The points are worth nothing";
#[error(code = 19)]
const EStillOpen: vector<u8> = b"The time to claim is not over";

/// What a root is signed under.
const ROOT_INTENT: u8 = 2;
/// Bytes of a root.
const DIGEST: u64 = 32;
/// No epoch has a higher number: it would lie in the future.
const LAST_EPOCH: u64 = 0xffff_ffff;

const OPEN: u8 = 0;
const VOID: u8 = 1;
const CLOSED: u8 = 2;

/// Coins for rewards, and how they are given. Apart from its budget it never changes.
public struct Vault has key {
    id: UID,
    version: u64,
    pool: ID,
    /// What no epoch has reserved.
    funds: Balance<SUI>,
    /// The day (UTC, since the Unix epoch) at which epoch 0 begins.
    first_day: u64,
    epoch_days: u64,
    /// How long one can object to a root.
    objection_ms: u64,
    /// How long one can claim after that.
    claim_ms: u64,
    /// Most that an epoch's root may reserve, in MIST.
    most_budget: Scheduled<u64>,
}

/// An epoch's root, and what it reserved. Its id is derived from the vault's and the number, so
/// there is one of each.
public struct Epoch has key {
    id: UID,
    version: u64,
    vault: ID,
    pool: ID,
    number: u64,
    first_day: u64,
    days: u64,
    root: vector<u8>,
    total_points: u64,
    leaves: u64,
    budget: u64,
    /// What is left of the budget.
    funds: Balance<SUI>,
    /// Whose root it is.
    enclave: ID,
    claimable_from_ms: u64,
    claimable_until_ms: u64,
    /// 0 open, 1 void, 2 closed.
    state: u8,
}

/// From what an epoch's id is derived: its number.
public struct EpochKey(u64) has copy, drop, store;

/// Under which an epoch keeps (as a dynamic field) what it paid for a record.
public struct ClaimKey(ID) has copy, drop, store;

/// What an enclave signs, within a `statement::IntentMessage` of intent 2 whose nonce is the epoch.
public struct EpochRoot has copy, drop {
    vault: ID,
    epoch: u64,
    root: vector<u8>,
    total_points: u64,
    leaves: u64,
    budget: u64,
}

/// What a leaf says, as BCS, before its points.
public struct Leaf has copy, drop { vault: ID, epoch: u64, record: ID }

public struct VaultCreated has copy, drop {
    vault: ID,
    pool: ID,
    first_day: u64,
    epoch_days: u64,
    objection_ms: u64,
    claim_ms: u64,
    most_budget: u64,
}
public struct VaultFunded has copy, drop { vault: ID, amount: u64, funds: u64 }
public struct BudgetChanged has copy, drop {
    vault: ID,
    most_budget: u64,
    /// From when on it counts.
    from_ms: u64,
}
public struct RootPublished has copy, drop {
    vault: ID,
    epoch: ID,
    number: u64,
    root: vector<u8>,
    total_points: u64,
    leaves: u64,
    budget: u64,
    enclave: ID,
    claimable_from_ms: u64,
    claimable_until_ms: u64,
}
public struct EpochVoided has copy, drop {
    vault: ID,
    epoch: ID,
    number: u64,
    /// Who objected; none: the administrator.
    enclave: Option<ID>,
    /// The objecting root, its total and leaves; the administrator's objection has none.
    root: vector<u8>,
    total_points: u64,
    leaves: u64,
    returned: u64,
}
public struct RewardPaid has copy, drop {
    vault: ID,
    epoch: ID,
    number: u64,
    record: ID,
    beneficiary: address,
    points: u64,
    amount: u64,
}
public struct EpochClosed has copy, drop { vault: ID, epoch: ID, number: u64, returned: u64 }

/// Makes a vault for a pool and shares it. Epoch 0 begins with the day after this one.
public fun new_vault(
    pool: &Pool,
    cap: &AdminCap,
    epoch_days: u64,
    objection_ms: u64,
    claim_ms: u64,
    most_budget: u64,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    pool.assert_admin(cap);
    assert!(bounds::epoch_days().contain(epoch_days), EOutOfBounds);
    assert!(bounds::objection_ms().contain(objection_ms), EOutOfBounds);
    assert!(bounds::claim_ms().contain(claim_ms), EOutOfBounds);
    let vault = Vault {
        id: object::new(ctx),
        version: version::current(),
        pool: object::id(pool),
        funds: balance::zero(),
        first_day: evidence::today(clock) + 1,
        epoch_days,
        objection_ms,
        claim_ms,
        most_budget: scheduled::fixed(most_budget),
    };
    event::emit(VaultCreated {
        vault: object::id(&vault),
        pool: vault.pool,
        first_day: vault.first_day,
        epoch_days,
        objection_ms,
        claim_ms,
        most_budget,
    });
    transfer::share_object(vault);
}

/// Adds coins. Anybody may; they can be had back as rewards alone.
public fun fund(vault: &mut Vault, payment: Coin<SUI>) {
    version::assert_current(vault.version);
    let amount = payment.value();
    assert!(amount > 0, EEmptyCoin);
    vault.funds.join(payment.into_balance());
    event::emit(VaultFunded { vault: object::id(vault), amount, funds: vault.funds.value() });
}

/// Sets the most that a root may reserve: a larger budget after the notice (`bounds::notice_ms`), in
/// place of a change that is ahead; a smaller one at once.
public fun set_budget(
    vault: &mut Vault,
    pool: &Pool,
    cap: &AdminCap,
    most_budget: u64,
    clock: &Clock,
) {
    vault.assert_admin(pool, cap);
    let now_ms = clock.timestamp_ms();
    let from_ms = if (most_budget <= vault.most_budget.at(now_ms)) now_ms
    else pool.effective_from_ms(clock);
    let from_ms = vault.most_budget.schedule(most_budget, from_ms, now_ms);
    event::emit(BudgetChanged { vault: object::id(vault), most_budget, from_ms });
}

/// Publishes an epoch's root, once the epoch is over, and reserves its budget. Anybody may bring
/// what a current enclave, whose notice is over, has signed.
public fun publish_root(
    vault: &mut Vault,
    config: &EnclaveConfig,
    enclave: &Enclave,
    number: u64,
    root: vector<u8>,
    total_points: u64,
    leaves: u64,
    budget: u64,
    timestamp_ms: u64,
    signature: vector<u8>,
    clock: &Clock,
) {
    version::assert_current(vault.version);
    let said = EpochRoot {
        vault: object::id(vault),
        epoch: number,
        root,
        total_points,
        leaves,
        budget,
    };
    vault.assert_signed(config, enclave, said, timestamp_ms, &signature, clock);
    let now_ms = clock.timestamp_ms();
    assert!(number <= LAST_EPOCH, ENotOver);
    let first_day = vault.first_day + number * vault.epoch_days;
    let end_ms = (first_day + vault.epoch_days) * bounds::day_ms();
    assert!(now_ms >= end_ms, ENotOver);
    assert!(now_ms < end_ms + bounds::root_age_ms(), ETooLate);
    said.assert_valid();
    assert!(budget <= vault.most_budget.at(now_ms), EBudgetTooHigh);
    assert!(budget <= vault.funds.value(), EVaultShort);
    let key = EpochKey(number);
    assert!(!derived_object::exists(&vault.id, key), EAlreadyPublished);
    let claimable_from_ms = now_ms + vault.objection_ms;
    let epoch = Epoch {
        id: derived_object::claim(&mut vault.id, key),
        version: version::current(),
        vault: object::id(vault),
        pool: vault.pool,
        number,
        first_day,
        days: vault.epoch_days,
        root,
        total_points,
        leaves,
        budget,
        funds: vault.funds.split(budget),
        enclave: object::id(enclave),
        claimable_from_ms,
        claimable_until_ms: claimable_from_ms + vault.claim_ms,
        state: OPEN,
    };
    event::emit(RootPublished {
        vault: epoch.vault,
        epoch: object::id(&epoch),
        number,
        root,
        total_points,
        leaves,
        budget,
        enclave: epoch.enclave,
        claimable_from_ms,
        claimable_until_ms: epoch.claimable_until_ms,
    });
    transfer::share_object(epoch);
}

/// Voids an epoch, for good, by another root of it (or another total, or number of leaves), signed
/// by another current enclave whose notice is over. Its budget returns to the vault; the epoch pays
/// nothing. A differing budget alone is no objection: it is the vault's affair.
public fun object_with_root(
    vault: &mut Vault,
    epoch: &mut Epoch,
    config: &EnclaveConfig,
    enclave: &Enclave,
    root: vector<u8>,
    total_points: u64,
    leaves: u64,
    budget: u64,
    timestamp_ms: u64,
    signature: vector<u8>,
    clock: &Clock,
) {
    vault.assert_own(epoch);
    let published = epoch.said();
    let said = EpochRoot {
        vault: published.vault,
        epoch: published.epoch,
        root,
        total_points,
        leaves,
        budget,
    };
    vault.assert_signed(config, enclave, said, timestamp_ms, &signature, clock);
    assert!(object::id(enclave) != epoch.enclave, ESameEnclave);
    said.assert_valid();
    assert!(
        root != published.root || total_points != published.total_points || leaves != published.leaves,
        ESameRoot,
    );
    vault.void(epoch, option::some(object::id(enclave)), root, total_points, leaves, clock);
}

/// Voids an epoch by the administrator's objection.
public fun object_by_admin(
    vault: &mut Vault,
    epoch: &mut Epoch,
    pool: &Pool,
    cap: &AdminCap,
    clock: &Clock,
) {
    vault.assert_admin(pool, cap);
    vault.assert_own(epoch);
    vault.void(epoch, option::none(), b"", 0, 0, clock);
}

/// Pays a record's reward to its beneficiary. Anybody may bring the proof (`sum_tree`).
public fun claim(
    epoch: &mut Epoch,
    pool: &Pool,
    record: &StakeRecord,
    points: u64,
    index: u64,
    proof: vector<u8>,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    version::assert_current(epoch.version);
    assert!(epoch.pool == object::id(pool), EWrongPool);
    record.assert_own(pool);
    assert!(epoch.state == OPEN, ENotOpen);
    assert!(clock.timestamp_ms() >= epoch.claimable_from_ms, EWindowOpen);
    assert!(clock.timestamp_ms() < epoch.claimable_until_ms, EDeadlinePassed);
    let id = object::id(record);
    assert!(!dynamic_field::exists_(&epoch.id, ClaimKey(id)), EAlreadyClaimed);
    assert!(!evidence::was_slashed(record.uid(), epoch.first_day, epoch.days), ESlashed);
    sum_tree::assert_contains(
        &epoch.root,
        epoch.total_points,
        epoch.leaves,
        index,
        leaf(epoch.vault, epoch.number, id, points),
        points,
        &proof,
    );
    let share = (epoch.budget as u128) * (points as u128) / (epoch.total_points as u128);
    let amount = share as u64;
    assert!(amount > 0, ENothing);
    dynamic_field::add(&mut epoch.id, ClaimKey(id), amount);
    let beneficiary = record.beneficiary(clock);
    event::emit(RewardPaid {
        vault: epoch.vault,
        epoch: object::id(epoch),
        number: epoch.number,
        record: id,
        beneficiary,
        points,
        amount,
    });
    transfer::public_transfer(epoch.funds.split(amount).into_coin(ctx), beneficiary);
}

/// Returns what was not claimed to the vault, once the time to claim is over. Anybody may.
public fun close(vault: &mut Vault, epoch: &mut Epoch, clock: &Clock) {
    vault.assert_own(epoch);
    assert!(epoch.state == OPEN, ENotOpen);
    assert!(clock.timestamp_ms() >= epoch.claimable_until_ms, EStillOpen);
    epoch.state = CLOSED;
    let returned = vault.take_back(epoch);
    event::emit(EpochClosed {
        vault: epoch.vault,
        epoch: object::id(epoch),
        number: epoch.number,
        returned,
    });
}

/// Takes a vault of an earlier version over to this one, once its pool is. Anybody may.
public fun migrate(vault: &mut Vault, pool: &Pool) {
    pool.assert_version();
    assert!(vault.pool == object::id(pool), EWrongPool);
    version::migrate(object::id(vault), &mut vault.version);
}

/// Takes an epoch of an earlier version over to this one, once its vault is. Anybody may.
public fun migrate_epoch(vault: &Vault, epoch: &mut Epoch) {
    version::assert_current(vault.version);
    assert!(epoch.vault == object::id(vault), EWrongVault);
    version::migrate(object::id(epoch), &mut epoch.version);
}

/// The hash of a record's leaf.
public fun leaf(vault: ID, epoch: u64, record: ID, points: u64): vector<u8> {
    sum_tree::leaf(bcs::to_bytes(&Leaf { vault, epoch, record }), points)
}

/// The bytes that an enclave signs for an epoch's root.
public fun root_message(
    enclave: &Enclave,
    vault: ID,
    epoch: u64,
    root: vector<u8>,
    total_points: u64,
    leaves: u64,
    budget: u64,
    timestamp_ms: u64,
): vector<u8> {
    let said = EpochRoot { vault, epoch, root, total_points, leaves, budget };
    statement::message(enclave, ROOT_INTENT, epoch, timestamp_ms, said)
}

/// The address of an epoch, whether or not it exists.
public fun epoch_address(vault: ID, number: u64): address {
    derived_object::derive_address(vault, EpochKey(number))
}

/// What no epoch has reserved, in MIST.
public fun funds(vault: &Vault): u64 { vault.funds.value() }

/// What is left of an epoch's budget, in MIST.
public fun left(epoch: &Epoch): u64 { epoch.funds.value() }

fun said(epoch: &Epoch): EpochRoot {
    EpochRoot {
        vault: epoch.vault,
        epoch: epoch.number,
        root: epoch.root,
        total_points: epoch.total_points,
        leaves: epoch.leaves,
        budget: epoch.budget,
    }
}

/// What a root has to be, whoever signed it.
fun assert_valid(said: &EpochRoot) {
    let is_complete = said.root.length() == DIGEST && said.total_points > 0 && said.budget > 0;
    assert!(is_complete, EInvalidRoot);
    sum_tree::depth(said.leaves);
}

fun void(
    vault: &mut Vault,
    epoch: &mut Epoch,
    enclave: Option<ID>,
    root: vector<u8>,
    total_points: u64,
    leaves: u64,
    clock: &Clock,
) {
    assert!(epoch.state == OPEN, ENotOpen);
    assert!(clock.timestamp_ms() < epoch.claimable_from_ms, EWindowClosed);
    epoch.state = VOID;
    let returned = vault.take_back(epoch);
    event::emit(EpochVoided {
        vault: epoch.vault,
        epoch: object::id(epoch),
        number: epoch.number,
        enclave,
        root,
        total_points,
        leaves,
        returned,
    });
}

fun take_back(vault: &mut Vault, epoch: &mut Epoch): u64 {
    let coins = epoch.funds.withdraw_all();
    let returned = coins.value();
    vault.funds.join(coins);
    returned
}

fun assert_signed(
    vault: &Vault,
    config: &EnclaveConfig,
    enclave: &Enclave,
    said: EpochRoot,
    timestamp_ms: u64,
    signature: &vector<u8>,
    clock: &Clock,
) {
    assert!(config.pool() == vault.pool, EWrongPool);
    statement::verify(
        config,
        enclave,
        ROOT_INTENT,
        said.epoch,
        timestamp_ms,
        said,
        signature,
        clock,
    );
    authority::assert_effective(enclave.effective_from_ms(), clock);
}

fun assert_own(vault: &Vault, epoch: &Epoch) {
    version::assert_current(vault.version);
    version::assert_current(epoch.version);
    assert!(epoch.vault == object::id(vault), EWrongVault);
}

fun assert_admin(vault: &Vault, pool: &Pool, cap: &AdminCap) {
    pool.assert_admin(cap);
    version::assert_current(vault.version);
    assert!(vault.pool == object::id(pool), EWrongPool);
}

#[test_only]
public fun set_versions_for_testing(vault: &mut Vault, epoch: &mut Epoch, v: u64, e: u64) {
    vault.version = v;
    epoch.version = e;
}
