/// Stakes of nodes: one shared record for each.
///
/// Where every coin is, at any time: in a record's balance, in the treasury, in a vault of rewards,
/// or paid out. Coins leave a record in two ways only: to its beneficiary after the unbonding time,
/// and by a slash, of which the reporter's share is paid out and the rest goes to the treasury.
module k3s_daas::staking;

use k3s_daas::{
    basis_points,
    bounds,
    evidence,
    node_key,
    pool::{Pool, SlasherCap},
    scheduled::{Self, Scheduled},
    spans::Span,
    treasury::Treasury,
    version
};
use std::string::String;
use sui::{balance::Balance, clock::Clock, coin::Coin, derived_object, event, sui::SUI};

#[error(code = 0)]
const EBelowMinimumStake: vector<u8> = b"The stake is below the pool's minimum";
#[error(code = 1)]
const EWrongPool: vector<u8> = b"The object belongs to another pool";
#[error(code = 2)]
const EWrongVersion: vector<u8> = b"The record is of another version";
#[error(code = 3)]
const ENotActive: vector<u8> = b"The stake is not active";
#[error(code = 4)]
const ENotOwner: vector<u8> = b"Neither the staker nor the beneficiary, or not the one that may";
#[error(code = 5)]
const EStillLocked: vector<u8> = b"The unbonding time has not passed";
#[error(code = 6)]
const ENotUnbonding: vector<u8> = b"No unstake was requested";
#[error(code = 7)]
const ESettled: vector<u8> = b"The stake is already slashed or withdrawn";
#[error(code = 8)]
const EInvalidBasisPoints: vector<u8> = b"Basis points go from 1 to 10000";
#[error(code = 9)]
const EInvalidNodeKey: vector<u8> = b"The node key is not a flag byte and a public key";
#[error(code = 10)]
const EInvalidNodeId: vector<u8> = b"The node id is empty or longer than 50 bytes";
#[error(code = 11)]
const EAlreadyStaked: vector<u8> = b"This node key already has a stake record";
#[error(code = 12)]
const ENotWithdrawn: vector<u8> = b"Only a withdrawn stake can be staked anew";
#[error(code = 13)]
const EInvalidEvidence: vector<u8> = b"The evidence is neither empty nor a digest of 32 bytes";
#[error(code = 14)]
const ENotNodeKey: vector<u8> = b"The sender is not the node key's account";
#[error(code = 15)]
const EEmptyCoin: vector<u8> = b"The coin holds nothing";
#[error(code = 16)]
const EInvalidBeneficiary: vector<u8> =
    b"The beneficiary is 0x0, the pool or the record: no account";

const ACTIVE: u8 = 0;
const UNBONDING: u8 = 1;
const SLASHED: u8 = 2;
const WITHDRAWN: u8 = 3;

/// Most bytes of a node id: those of a DNS label, less a hyphen, ten characters of the record's id,
/// and two to spare. A Node's name is made of them.
const LONGEST_NODE_ID: u64 = 50;
/// Bytes of an evidence digest.
const DIGEST: u64 = 32;

/// A node's stake. Its id is derived from the pool's and the node key, so there is one for each
/// key and pool, for ever.
public struct StakeRecord has key {
    id: UID,
    version: u64,
    pool: ID,
    /// The node key's account.
    staker: address,
    /// To whom alone coins and rewards are paid.
    beneficiary: Scheduled<address>,
    node_id: String,
    /// Flag byte and public key.
    node_key: vector<u8>,
    balance: Balance<SUI>,
    /// 0 active, 1 unbonding, 2 slashed, 3 withdrawn.
    status: u8,
    staked_at_ms: u64,
    /// From when on it can be withdrawn.
    unbonding_until_ms: Option<u64>,
    /// Whether the beneficiary asked for it, so that the staker can't take the request back.
    unbonding_by_beneficiary: bool,
    /// What slashes took in all, in MIST.
    slashed: u64,
    /// The one seal token that counts.
    seal_token: Option<ID>,
    /// Announced absences of the last thirty days.
    maintenance: vector<Span>,
}

/// From what a record's id is derived.
public struct StakeKey(vector<u8>) has copy, drop, store;

public struct Staked has copy, drop {
    pool: ID,
    record: ID,
    staker: address,
    beneficiary: address,
    node_id: String,
    amount: u64,
}
public struct Restaked has copy, drop {
    pool: ID,
    record: ID,
    staker: address,
    node_id: String,
    amount: u64,
}
public struct ToppedUp has copy, drop { record: ID, amount: u64, balance: u64 }
public struct UnstakeRequested has copy, drop { record: ID, until_ms: u64, by_beneficiary: bool }
public struct UnstakeCancelled has copy, drop { record: ID }
public struct Slashed has copy, drop {
    pool: ID,
    record: ID,
    amount: u64,
    remaining: u64,
    reason: u16,
    evidence: vector<u8>,
    /// `0x0`: slashed by capability, or reported without a wish for a reward.
    reporter: address,
    reward: u64,
}
public struct Withdrawn has copy, drop { record: ID, amount: u64, beneficiary: address }

/// Stakes for the node whose key is the sender's account. Coins and rewards will be paid to the
/// beneficiary alone. The record must then be shared with `share_stake`, in the same transaction.
public fun stake_for_node(
    pool: &mut Pool,
    node_id: String,
    node_key: vector<u8>,
    beneficiary: address,
    payment: Coin<SUI>,
    clock: &Clock,
    ctx: &mut TxContext,
): StakeRecord {
    pool.assert_open();
    assert!(node_key::is_valid(&node_key), EInvalidNodeKey);
    assert!(node_key::account(&node_key) == ctx.sender(), ENotNodeKey);
    assert!(!node_id.is_empty() && node_id.length() <= LONGEST_NODE_ID, EInvalidNodeId);
    assert!(payment.value() >= pool.minimum_for_new(clock), EBelowMinimumStake);
    let key = StakeKey(node_key);
    assert!(!derived_object::exists(pool.uid(), key), EAlreadyStaked);
    let id = derived_object::claim(pool.uid_mut(), key);
    assert_beneficiary(beneficiary, object::id(pool), id.to_inner());
    let record = StakeRecord {
        id,
        version: version::current(),
        pool: object::id(pool),
        staker: ctx.sender(),
        beneficiary: scheduled::fixed(beneficiary),
        node_id,
        node_key,
        balance: payment.into_balance(),
        status: ACTIVE,
        staked_at_ms: clock.timestamp_ms(),
        unbonding_until_ms: option::none(),
        unbonding_by_beneficiary: false,
        slashed: 0,
        seal_token: option::none(),
        maintenance: vector[],
    };
    event::emit(Staked {
        pool: record.pool,
        record: object::id(&record),
        staker: record.staker,
        beneficiary,
        node_id,
        amount: record.balance.value(),
    });
    record
}

/// Makes the record the shared object that staker, beneficiary, slasher and master reach.
public fun share_stake(record: StakeRecord) {
    transfer::share_object(record);
}

/// Stakes anew on a record whose stake was withdrawn.
public fun restake(
    pool: &Pool,
    record: &mut StakeRecord,
    payment: Coin<SUI>,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    record.assert_own(pool);
    assert!(record.staker == ctx.sender(), ENotOwner);
    assert!(record.status == WITHDRAWN, ENotWithdrawn);
    assert!(payment.value() >= pool.minimum_for_new(clock), EBelowMinimumStake);
    record.status = ACTIVE;
    record.staked_at_ms = clock.timestamp_ms();
    record.balance.join(payment.into_balance());
    event::emit(Restaked {
        pool: record.pool,
        record: object::id(record),
        staker: record.staker,
        node_id: record.node_id,
        amount: record.balance.value(),
    });
}

/// Adds to an active stake. Anybody may; the coins become the beneficiary's.
public fun top_up(pool: &Pool, record: &mut StakeRecord, payment: Coin<SUI>) {
    record.assert_own(pool);
    assert!(record.status == ACTIVE, ENotActive);
    let amount = payment.value();
    assert!(amount > 0, EEmptyCoin);
    record.balance.join(payment.into_balance());
    event::emit(ToppedUp { record: object::id(record), amount, balance: record.balance.value() });
}

/// Pays the stake, or what slashes left of it, to the beneficiary. Staker and beneficiary may.
public fun withdraw_stake(
    pool: &Pool,
    record: &mut StakeRecord,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    record.assert_own(pool);
    record.assert_owner(clock, ctx);
    assert!(record.status != SLASHED && record.status != WITHDRAWN, ESettled);
    assert!(record.status == UNBONDING, ENotUnbonding);
    assert!(clock.timestamp_ms() >= *record.unbonding_until_ms.borrow(), EStillLocked);
    let coins = record.balance.withdraw_all();
    let beneficiary = record.beneficiary(clock);
    record.end_unbonding(WITHDRAWN);
    event::emit(Withdrawn { record: object::id(record), amount: coins.value(), beneficiary });
    transfer::public_transfer(coins.into_coin(ctx), beneficiary);
}

/// Takes a share of what the record holds into the treasury, also while it unbonds. `evidence` is
/// empty or a digest of 32 bytes, which counts once against a record. All of it: the record is
/// slashed for good.
public fun slash_stake(
    pool: &Pool,
    treasury: &mut Treasury,
    cap: &SlasherCap,
    record: &mut StakeRecord,
    basis_points: u64,
    reason: u16,
    evidence: vector<u8>,
    clock: &Clock,
) {
    pool.assert_slasher(cap, clock);
    assert!(basis_points::is_valid(basis_points), EInvalidBasisPoints);
    let amount = basis_points::share(record.balance.value(), basis_points);
    record.slash(pool, treasury, amount, reason, evidence, @0x0, clock).destroy_zero();
}

/// Takes a record of an earlier version over to this one, once its pool is. Anybody may, so that
/// nobody's coins wait for another.
public fun migrate_record(pool: &Pool, record: &mut StakeRecord) {
    pool.assert_version();
    assert!(record.pool == object::id(pool), EWrongPool);
    version::migrate(object::id(record), &mut record.version);
}

/// Starts the unbonding. Its callers check what becomes of the seal token. The beneficiary's request
/// stands above the staker's: it keeps the time of one that was made before, and the staker can't
/// cancel it.
public(package) fun request_unstake(
    record: &mut StakeRecord,
    pool: &Pool,
    clock: &Clock,
    ctx: &TxContext,
) {
    record.assert_own(pool);
    record.assert_owner(clock, ctx);
    let by_beneficiary = record.beneficiary(clock) == ctx.sender();
    let confirms = record.status == UNBONDING && by_beneficiary && !record.unbonding_by_beneficiary;
    assert!(record.status == ACTIVE || confirms, ENotActive);
    if (!confirms) {
        let (unbonding_ms, _, _) = pool.rules(clock);
        record.status = UNBONDING;
        record.unbonding_until_ms = option::some(clock.timestamp_ms() + unbonding_ms);
        record.seal_token = option::none();
    };
    record.unbonding_by_beneficiary = by_beneficiary;
    event::emit(UnstakeRequested {
        record: object::id(record),
        until_ms: *record.unbonding_until_ms.borrow(),
        by_beneficiary,
    });
}

/// Takes the request back: the stake is active again, without a seal token. The beneficiary may,
/// and the staker unless the beneficiary asked.
public(package) fun cancel_unstake(
    record: &mut StakeRecord,
    pool: &Pool,
    clock: &Clock,
    ctx: &TxContext,
) {
    record.assert_own(pool);
    record.assert_owner(clock, ctx);
    assert!(record.status == UNBONDING, ENotUnbonding);
    assert!(
        record.beneficiary(clock) == ctx.sender() || !record.unbonding_by_beneficiary,
        ENotOwner,
    );
    record.end_unbonding(ACTIVE);
    event::emit(UnstakeCancelled { record: object::id(record) });
}

/// Names the one seal token that counts.
public(package) fun set_seal_token(record: &mut StakeRecord, token: ID) {
    record.seal_token = option::some(token);
}

/// Slashes, and returns the share of `reporter` (nothing for `0x0`). Its callers check the right,
/// and that the record holds the amount.
public(package) fun slash(
    record: &mut StakeRecord,
    pool: &Pool,
    treasury: &mut Treasury,
    amount: u64,
    reason: u16,
    evidence: vector<u8>,
    reporter: address,
    clock: &Clock,
): Balance<SUI> {
    record.assert_slashable(pool);
    treasury.assert_own(object::id(pool));
    if (!evidence.is_empty()) {
        assert!(evidence.length() == DIGEST, EInvalidEvidence);
        evidence::count(&mut record.id, evidence);
    };
    let mut taken = record.balance.split(amount);
    record.slashed = record.slashed + amount;
    if (amount > 0) evidence::mark_day(&mut record.id, clock);
    if (record.balance.value() == 0) record.end_unbonding(SLASHED);

    let (_, _, reporter_share) = pool.rules(clock);
    let reward = if (reporter == @0x0) 0 else basis_points::share(amount, reporter_share);
    let reward_coins = taken.split(reward);
    treasury.deposit(taken);
    event::emit(Slashed {
        pool: record.pool,
        record: object::id(record),
        amount,
        remaining: record.balance.value(),
        reason,
        evidence,
        reporter,
        reward,
    });
    reward_coins
}

/// The record is this pool's, and both are of this code's version.
public(package) fun assert_own(record: &StakeRecord, pool: &Pool) {
    pool.assert_version();
    assert!(record.version == version::current(), EWrongVersion);
    assert!(record.pool == object::id(pool), EWrongPool);
}

/// The record is this pool's, and holds what can be slashed.
public(package) fun assert_slashable(record: &StakeRecord, pool: &Pool) {
    record.assert_own(pool);
    assert!(record.status == ACTIVE || record.status == UNBONDING, ESettled);
}

/// The sender is the record's staker or its beneficiary.
public(package) fun assert_owner(record: &StakeRecord, clock: &Clock, ctx: &TxContext) {
    let sender = ctx.sender();
    assert!(record.staker == sender || record.beneficiary(clock) == sender, ENotOwner);
}

public(package) fun uid(record: &StakeRecord): &UID { &record.id }

public(package) fun uid_mut(record: &mut StakeRecord): &mut UID { &mut record.id }

/// When the stake that the record holds, or held last, was made.
public(package) fun staked_at_ms(record: &StakeRecord): u64 { record.staked_at_ms }

public(package) fun maintenance_mut(record: &mut StakeRecord): &mut vector<Span> {
    &mut record.maintenance
}

/// Schedules another beneficiary after the notice. The one that is cancels by naming itself. Returns
/// from when on it counts.
public(package) fun change_beneficiary(
    record: &mut StakeRecord,
    beneficiary: address,
    clock: &Clock,
): u64 {
    assert_beneficiary(beneficiary, record.pool, object::id(record));
    let now_ms = clock.timestamp_ms();
    record.beneficiary.schedule(beneficiary, now_ms + bounds::notice_ms(), now_ms)
}

/// Coins that are transferred to an object's address are lost: it is neither of those that the
/// staker may take for its own.
fun assert_beneficiary(beneficiary: address, pool: ID, record: ID) {
    assert!(
        beneficiary != @0x0 && beneficiary != pool.to_address() && beneficiary != record.to_address(),
        EInvalidBeneficiary,
    );
}

fun end_unbonding(record: &mut StakeRecord, status: u8) {
    record.status = status;
    record.unbonding_until_ms = option::none();
    record.unbonding_by_beneficiary = false;
}

/// The address of a node's record, whether or not it exists.
public fun record_address(pool: ID, node_key: vector<u8>): address {
    derived_object::derive_address(pool, StakeKey(node_key))
}

/// Whether the record is this pool's, active, and holds the minimum.
public fun counts(pool: &Pool, record: &StakeRecord, clock: &Clock): bool {
    record.pool == object::id(pool) && record.status == ACTIVE &&
        record.balance.value() >= pool.minimum_for_standing(clock)
}

public fun staker(record: &StakeRecord): address { record.staker }

/// To whom coins and rewards are paid now.
public fun beneficiary(record: &StakeRecord, clock: &Clock): address {
    record.beneficiary.at(clock.timestamp_ms())
}

public fun node_id(record: &StakeRecord): String { record.node_id }

public fun node_key(record: &StakeRecord): vector<u8> { record.node_key }

public fun balance(record: &StakeRecord): u64 { record.balance.value() }

public fun is_active(record: &StakeRecord): bool { record.status == ACTIVE }

public fun is_slashed(record: &StakeRecord): bool { record.status == SLASHED }

public fun seal_token(record: &StakeRecord): Option<ID> { record.seal_token }

/// Announced absences that are not older than thirty days.
public fun maintenance(record: &StakeRecord): vector<Span> { record.maintenance }

#[test_only]
public fun set_version_for_testing(record: &mut StakeRecord, version: u64) {
    record.version = version
}
