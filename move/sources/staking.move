/// Stakes of nodes: a pool with its rules and its treasury, and one shared record for each node.
///
/// Where every coin is, at any time: in a record's balance, in the treasury, or paid out. Coins
/// leave a record in two ways only: to its staker after the unbonding time, and by a slash, of
/// which the reporter's share is paid out and the rest goes to the treasury.
module k3s_daas::staking;

use k3s_daas::{authority, basis_points, bounds, evidence, node_key, version};
use std::string::String;
use sui::{
    balance::{Self, Balance},
    clock::Clock,
    coin::Coin,
    derived_object,
    event,
    sui::SUI,
    table::{Self, Table}
};

#[error(code = 0)]
const EBelowMinimumStake: vector<u8> = b"The stake is below the pool's minimum";
#[error(code = 1)]
const EWrongPool: vector<u8> = b"The object belongs to another pool";
#[error(code = 2)]
const EWrongVersion: vector<u8> = b"The shared object is of another version";
#[error(code = 3)]
const ENotActive: vector<u8> = b"The stake is not active";
#[error(code = 4)]
const ENotOwner: vector<u8> = b"Only the staker may do this";
#[error(code = 5)]
const EStillLocked: vector<u8> = b"The unbonding time has not passed";
#[error(code = 6)]
const ENotUnbonding: vector<u8> = b"The stake was not asked back";
#[error(code = 7)]
const ESettled: vector<u8> = b"The stake is already slashed or withdrawn";
#[error(code = 8)]
const EInvalidBasisPoints: vector<u8> = b"Basis points go from 1 to 10000";
#[error(code = 9)]
const EInvalidNodeKey: vector<u8> = b"The node key is not a flag byte and a public key";
#[error(code = 10)]
const EInvalidNodeId: vector<u8> = b"The node id is empty or longer than 63 bytes";
#[error(code = 11)]
const ENameTaken: vector<u8> = b"The node id is taken by another record";
#[error(code = 12)]
const EAlreadyStaked: vector<u8> = b"This node key already has a stake record";
#[error(code = 13)]
const ENotWithdrawn: vector<u8> = b"Only a withdrawn stake can be staked anew";
#[error(code = 14)]
const EOutOfBounds: vector<u8> = b"The value lies outside the pool's published bounds";
#[error(code = 15)]
const EInvalidEvidence: vector<u8> = b"The evidence is neither empty nor a digest of 32 bytes";
#[error(code = 16)]
const ENotNodeKey: vector<u8> = b"The sender is not the node key's account; its proof is needed";
#[error(code = 17)]
const EEmptyCoin: vector<u8> = b"The coin holds nothing";
const ACTIVE: u8 = 0;
const UNBONDING: u8 = 1;
const SLASHED: u8 = 2;
const WITHDRAWN: u8 = 3;

/// Most bytes of a node id: those of a DNS label.
const LONGEST_NODE_ID: u64 = 63;
/// Bytes of an evidence digest.
const DIGEST: u64 = 32;

/// The rules, and what slashes have brought in.
public struct Pool has key {
    id: UID,
    version: u64,
    /// Least that an active stake must hold, in MIST.
    minimum_stake: u64,
    /// How long coins stay locked, and can be slashed, after the request to unstake.
    unbonding_ms: u64,
    seal_token_ms: u64,
    reporter_basis_points: u64,
    treasury: Balance<SUI>,
    /// Sum of all records' balances, in MIST.
    staked: u64,
    /// Which record holds a node id.
    names: Table<String, ID>,
}

/// A node's stake. Its id is derived from the pool's and the node key, so there is one for each
/// key and pool, for ever.
public struct StakeRecord has key {
    id: UID,
    version: u64,
    pool: ID,
    staker: address,
    node_id: String,
    /// Flag byte and public key.
    node_key: vector<u8>,
    balance: Balance<SUI>,
    /// 0 active, 1 unbonding, 2 slashed, 3 withdrawn.
    status: u8,
    staked_at_ms: u64,
    /// From when on it can be withdrawn.
    unbonding_until_ms: Option<u64>,
    /// What slashes took in all, in MIST.
    slashed: u64,
    /// The one seal token that counts.
    seal_token: Option<ID>,
}

/// From what a record's id is derived.
public struct StakeKey(vector<u8>) has copy, drop, store;

/// The right to set the pool's rules, to pay out its treasury, and to hand out other rights. It
/// opens no record.
public struct AdminCap has key, store { id: UID, pool: ID }

/// The right to slash, as long as the pool lists it.
public struct SlasherCap has key, store { id: UID, pool: ID }

public struct PoolCreated has copy, drop { pool: ID, admin_cap: ID, creator: address }
public struct Staked has copy, drop {
    pool: ID,
    record: ID,
    staker: address,
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
public struct UnstakeRequested has copy, drop { record: ID, until_ms: u64 }
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
public struct Withdrawn has copy, drop { record: ID, amount: u64 }

/// The package's pool. The publisher gets the capabilities.
fun init(ctx: &mut TxContext) {
    let (minimum_stake, unbonding_ms, seal_token_ms, reporter_basis_points) = bounds::defaults();
    let mut pool = Pool {
        id: object::new(ctx),
        version: version::current(),
        minimum_stake,
        unbonding_ms,
        seal_token_ms,
        reporter_basis_points,
        treasury: balance::zero(),
        staked: 0,
        names: table::new(ctx),
    };
    let id = object::id(&pool);
    let creator = ctx.sender();
    let admin_cap = AdminCap { id: object::new(ctx), pool: id };
    event::emit(PoolCreated { pool: id, admin_cap: object::id(&admin_cap), creator });
    let slasher_cap = pool.issue_slasher_cap(0, ctx);
    transfer::transfer(admin_cap, creator);
    transfer::transfer(slasher_cap, creator);
    transfer::share_object(pool);
}

/// Stakes for the node whose key is the sender's account. The record must then be shared with
/// `share_stake`, in the same transaction.
public fun stake_for_node(
    pool: &mut Pool,
    node_id: String,
    node_key: vector<u8>,
    payment: Coin<SUI>,
    clock: &Clock,
    ctx: &mut TxContext,
): StakeRecord {
    assert!(node_key::is_valid(&node_key), EInvalidNodeKey);
    assert!(node_key::account(&node_key) == ctx.sender(), ENotNodeKey);
    pool.stake(node_id, node_key, payment, clock, ctx)
}

/// Makes the record the shared object that staker, slasher and master reach.
public fun share_stake(record: StakeRecord) {
    transfer::share_object(record);
}

/// Stakes anew on a record whose stake was withdrawn, under the same name if it is still free.
public fun restake(
    pool: &mut Pool,
    record: &mut StakeRecord,
    payment: Coin<SUI>,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    pool.assert_own(record);
    assert!(record.staker == ctx.sender(), ENotOwner);
    assert!(record.status == WITHDRAWN, ENotWithdrawn);
    assert!(payment.value() >= pool.minimum_stake, EBelowMinimumStake);
    pool.take_name(record.node_id, object::id(record));
    record.status = ACTIVE;
    record.staked_at_ms = clock.timestamp_ms();
    pool.deposit(record, payment);
    event::emit(Restaked {
        pool: record.pool,
        record: object::id(record),
        staker: record.staker,
        node_id: record.node_id,
        amount: record.balance.value(),
    });
}

/// Adds to an active stake. Anybody may; the coins become the staker's.
public fun top_up(pool: &mut Pool, record: &mut StakeRecord, payment: Coin<SUI>) {
    pool.assert_own(record);
    assert!(record.status == ACTIVE, ENotActive);
    let amount = payment.value();
    assert!(amount > 0, EEmptyCoin);
    pool.deposit(record, payment);
    event::emit(ToppedUp { record: object::id(record), amount, balance: record.balance.value() });
}

/// Pays the stake, or what slashes left of it, back to the staker, and frees the name.
public fun withdraw_stake(
    pool: &mut Pool,
    record: &mut StakeRecord,
    clock: &Clock,
    ctx: &mut TxContext,
): Coin<SUI> {
    pool.assert_own(record);
    assert!(record.staker == ctx.sender(), ENotOwner);
    assert!(record.status != SLASHED && record.status != WITHDRAWN, ESettled);
    assert!(record.status == UNBONDING, ENotUnbonding);
    assert!(clock.timestamp_ms() >= *record.unbonding_until_ms.borrow(), EStillLocked);
    let coins = record.balance.withdraw_all();
    let amount = coins.value();
    pool.staked = pool.staked - amount;
    record.status = WITHDRAWN;
    record.unbonding_until_ms = option::none();
    pool.free_name(record);
    event::emit(Withdrawn { record: object::id(record), amount });
    coins.into_coin(ctx)
}

/// Takes a share of what the record holds into the treasury, also while it unbonds. `evidence` is
/// empty or a digest of 32 bytes, which counts once against a record. All of it: the record is
/// slashed for good.
public fun slash_stake(
    pool: &mut Pool,
    cap: &SlasherCap,
    record: &mut StakeRecord,
    basis_points: u64,
    reason: u16,
    evidence: vector<u8>,
    clock: &Clock,
) {
    assert!(cap.pool == object::id(pool), EWrongPool);
    authority::assert_effective(authority::effective_from_ms(&pool.id, object::id(cap)), clock);
    pool.slash(record, basis_points, reason, evidence, @0x0).destroy_zero();
}

/// Takes a pool of an earlier version over to this one. From then on only this code works on it.
public fun migrate(pool: &mut Pool, cap: &AdminCap) {
    assert!(cap.pool == object::id(pool), EWrongPool);
    version::migrate(object::id(pool), &mut pool.version);
}

/// Takes a record of an earlier version over to this one. Anybody may, so that nobody's coins
/// wait for another.
public fun migrate_record(record: &mut StakeRecord) {
    version::migrate(object::id(record), &mut record.version);
}

/// Starts the unbonding. Its callers check what becomes of the seal token.
public(package) fun request_unstake(
    pool: &Pool,
    record: &mut StakeRecord,
    clock: &Clock,
    ctx: &TxContext,
) {
    pool.assert_own(record);
    assert!(record.staker == ctx.sender(), ENotOwner);
    assert!(record.status == ACTIVE, ENotActive);
    let until_ms = clock.timestamp_ms() + pool.unbonding_ms;
    record.status = UNBONDING;
    record.unbonding_until_ms = option::some(until_ms);
    record.seal_token = option::none();
    event::emit(UnstakeRequested { record: object::id(record), until_ms });
}

/// Takes the request back: the stake is active again, without a seal token.
public(package) fun cancel_unstake(pool: &Pool, record: &mut StakeRecord, ctx: &TxContext) {
    pool.assert_own(record);
    assert!(record.staker == ctx.sender(), ENotOwner);
    assert!(record.status == UNBONDING, ENotUnbonding);
    record.status = ACTIVE;
    record.unbonding_until_ms = option::none();
    event::emit(UnstakeCancelled { record: object::id(record) });
}

/// Names the one seal token that counts.
public(package) fun set_seal_token(record: &mut StakeRecord, token: ID) {
    record.seal_token = option::some(token);
}

/// Slashes, and returns the share of `reporter` (nothing for `0x0`). Its callers check the right.
public(package) fun slash(
    pool: &mut Pool,
    record: &mut StakeRecord,
    basis_points: u64,
    reason: u16,
    evidence: vector<u8>,
    reporter: address,
): Balance<SUI> {
    pool.assert_own(record);
    assert!(basis_points::is_valid(basis_points), EInvalidBasisPoints);
    assert!(record.status == ACTIVE || record.status == UNBONDING, ESettled);
    if (!evidence.is_empty()) {
        assert!(evidence.length() == DIGEST, EInvalidEvidence);
        evidence::count(&mut record.id, evidence);
    };
    let amount = basis_points::share(record.balance.value(), basis_points);
    let mut taken = record.balance.split(amount);
    pool.staked = pool.staked - amount;
    record.slashed = record.slashed + amount;
    if (record.balance.value() == 0) {
        record.status = SLASHED;
        record.unbonding_until_ms = option::none();
    };

    let reward = if (reporter == @0x0) 0
    else basis_points::share(amount, pool.reporter_basis_points);
    let reward_coins = taken.split(reward);
    pool.treasury.join(taken);
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

public(package) fun assert_version(pool: &Pool) {
    assert!(pool.version == version::current(), EWrongVersion);
}

/// The capability is this pool's, and the pool of this code's version.
public(package) fun assert_admin(pool: &Pool, cap: &AdminCap) {
    pool.assert_version();
    assert!(cap.pool == object::id(pool), EWrongPool);
}

/// The record is this pool's, and both are of this code's version.
public(package) fun assert_own(pool: &Pool, record: &StakeRecord) {
    pool.assert_version();
    assert!(record.version == version::current(), EWrongVersion);
    assert!(record.pool == object::id(pool), EWrongPool);
}

/// From when on an authority over stakes counts that is made now: after the notice; at once only
/// while there is no stake that it could surprise.
public(package) fun authority_effective_from_ms(pool: &Pool, clock: &Clock): u64 {
    if (pool.staked == 0) clock.timestamp_ms() else clock.timestamp_ms() + bounds::notice_ms()
}

/// Minimum stake, unbonding time, seal token's lifetime, reporter's share.
public(package) fun rules(pool: &Pool): (u64, u64, u64, u64) {
    (pool.minimum_stake, pool.unbonding_ms, pool.seal_token_ms, pool.reporter_basis_points)
}

public(package) fun set_rules(
    pool: &mut Pool,
    minimum_stake: u64,
    unbonding_ms: u64,
    seal_token_ms: u64,
    reporter: u64,
) {
    assert!(bounds::allow(minimum_stake, unbonding_ms, seal_token_ms, reporter), EOutOfBounds);
    pool.minimum_stake = minimum_stake;
    pool.unbonding_ms = unbonding_ms;
    pool.seal_token_ms = seal_token_ms;
    pool.reporter_basis_points = reporter;
}

public(package) fun treasury_mut(pool: &mut Pool): &mut Balance<SUI> { &mut pool.treasury }

public(package) fun issue_slasher_cap(
    pool: &mut Pool,
    effective_from_ms: u64,
    ctx: &mut TxContext,
): SlasherCap {
    let cap = SlasherCap { id: object::new(ctx), pool: object::id(pool) };
    authority::list(&mut pool.id, object::id(&cap), effective_from_ms);
    cap
}

public(package) fun uid_mut(pool: &mut Pool): &mut UID { &mut pool.id }

/// Stakes, whoever the sender is. Its callers check that the node consents.
public(package) fun stake(
    pool: &mut Pool,
    node_id: String,
    node_key: vector<u8>,
    payment: Coin<SUI>,
    clock: &Clock,
    ctx: &TxContext,
): StakeRecord {
    pool.assert_version();
    assert!(!node_id.is_empty() && node_id.length() <= LONGEST_NODE_ID, EInvalidNodeId);
    assert!(payment.value() >= pool.minimum_stake, EBelowMinimumStake);
    let key = StakeKey(node_key);
    assert!(!derived_object::exists(&pool.id, key), EAlreadyStaked);
    let mut record = StakeRecord {
        id: derived_object::claim(&mut pool.id, key),
        version: version::current(),
        pool: object::id(pool),
        staker: ctx.sender(),
        node_id,
        node_key,
        balance: balance::zero(),
        status: ACTIVE,
        staked_at_ms: clock.timestamp_ms(),
        unbonding_until_ms: option::none(),
        slashed: 0,
        seal_token: option::none(),
    };
    pool.take_name(node_id, object::id(&record));
    pool.deposit(&mut record, payment);
    event::emit(Staked {
        pool: record.pool,
        record: object::id(&record),
        staker: record.staker,
        node_id,
        amount: record.balance.value(),
    });
    record
}

fun deposit(pool: &mut Pool, record: &mut StakeRecord, payment: Coin<SUI>) {
    pool.staked = pool.staked + payment.value();
    record.balance.join(payment.into_balance());
}

fun take_name(pool: &mut Pool, node_id: String, record: ID) {
    assert!(!pool.names.contains(node_id), ENameTaken);
    pool.names.add(node_id, record);
}

/// Frees the record's name, if it still is the record's.
public(package) fun free_name(pool: &mut Pool, record: &StakeRecord) {
    let name = record.node_id;
    if (pool.names.contains(name) && pool.names[name] == object::id(record)) {
        pool.names.remove(name);
    };
}

/// The address of a node's record, whether or not it exists.
public fun record_address(pool: ID, node_key: vector<u8>): address {
    derived_object::derive_address(pool, StakeKey(node_key))
}

/// Whether the record is this pool's, active, and holds the minimum.
public fun counts(pool: &Pool, record: &StakeRecord): bool {
    record.pool == object::id(pool) && record.status == ACTIVE &&
        record.balance.value() >= pool.minimum_stake
}

public fun treasury(pool: &Pool): u64 { pool.treasury.value() }

public fun staked(pool: &Pool): u64 { pool.staked }

public fun staker(record: &StakeRecord): address { record.staker }

public fun node_id(record: &StakeRecord): String { record.node_id }

public fun node_key(record: &StakeRecord): vector<u8> { record.node_key }

public fun balance(record: &StakeRecord): u64 { record.balance.value() }

public fun is_active(record: &StakeRecord): bool { record.status == ACTIVE }

public fun is_slashed(record: &StakeRecord): bool { record.status == SLASHED }

public fun seal_token(record: &StakeRecord): Option<ID> { record.seal_token }

#[test_only]
public fun init_for_testing(ctx: &mut TxContext) { init(ctx) }
#[test_only]
public fun set_versions_for_testing(pool: &mut Pool, record: &mut StakeRecord, p: u64, r: u64) {
    pool.version = p;
    record.version = r;
}
