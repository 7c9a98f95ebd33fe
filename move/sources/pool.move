/// A pool of stakes: its rules, and who may change them. Its treasury and its records are objects of
/// their own.
module k3s_daas::pool;

use k3s_daas::{
    authority,
    bounds,
    minimum_stake,
    offences::{Self, Offence},
    scheduled::{Self, Scheduled},
    treasury,
    version
};
use sui::{clock::Clock, event};

#[error(code = 0)]
const EWrongPool: vector<u8> = b"The capability belongs to another pool";
#[error(code = 1)]
const EWrongVersion: vector<u8> = b"The pool is of another version";
#[error(code = 2)]
const EOutOfBounds: vector<u8> = b"The value lies outside the pool's published bounds";
#[error(code = 3)]
const ENotOpen: vector<u8> = b"The pool is not open for stakes yet";
#[error(code = 4)]
const EAlreadyOpen: vector<u8> = b"The pool is open already";

/// The rules. Only who stakes, and the administrator, write it.
public struct Pool has key {
    id: UID,
    version: u64,
    /// Whether stakes are taken. What an administrator sets before counts without a notice.
    open: bool,
    /// Least that an active stake must hold, in MIST.
    minimum_stake: Scheduled<u64>,
    /// How long coins stay locked, and can be slashed, after the request to unstake.
    unbonding_ms: Scheduled<u64>,
    seal_token_ms: u64,
    /// The share of a slash by evidence that its reporter gets.
    reporter_basis_points: Scheduled<u64>,
    offences: vector<Offence>,
    treasury: ID,
}

/// The right to set the pool's rules, to pay out its treasury, and to hand out other rights. It
/// opens no record.
public struct AdminCap has key, store { id: UID, pool: ID }

/// The right to slash, as long as the pool lists it.
public struct SlasherCap has key, store { id: UID, pool: ID }

public struct PoolCreated has copy, drop {
    pool: ID,
    treasury: ID,
    admin_cap: ID,
    creator: address,
}
public struct PoolOpened has copy, drop { pool: ID }

/// The package's pool, with its treasury. The publisher gets the capabilities.
fun init(ctx: &mut TxContext) {
    let (minimum_stake, unbonding_ms, seal_token_ms, reporter_basis_points) = bounds::defaults();
    let id = object::new(ctx);
    let treasury = treasury::create(id.to_inner(), ctx);
    let mut pool = Pool {
        id,
        version: version::current(),
        open: false,
        minimum_stake: scheduled::fixed(minimum_stake),
        unbonding_ms: scheduled::fixed(unbonding_ms),
        seal_token_ms,
        reporter_basis_points: scheduled::fixed(reporter_basis_points),
        offences: vector[],
        treasury,
    };
    let id = object::id(&pool);
    let creator = ctx.sender();
    let admin_cap = AdminCap { id: object::new(ctx), pool: id };
    event::emit(PoolCreated { pool: id, treasury, admin_cap: object::id(&admin_cap), creator });
    let slasher_cap = pool.issue_slasher_cap(0, ctx);
    transfer::transfer(admin_cap, creator);
    transfer::transfer(slasher_cap, creator);
    transfer::share_object(pool);
}

/// Takes a pool of an earlier version over to this one. From then on only this code works on it.
public fun migrate(pool: &mut Pool, cap: &AdminCap) {
    assert!(cap.pool == object::id(pool), EWrongPool);
    version::migrate(object::id(pool), &mut pool.version);
}

/// The capability is this pool's, listed, and its notice is over.
public(package) fun assert_slasher(pool: &Pool, cap: &SlasherCap, clock: &Clock) {
    assert!(cap.pool == object::id(pool), EWrongPool);
    authority::assert_effective(authority::effective_from_ms(&pool.id, object::id(cap)), clock);
}

/// The pool is of this code's version, and takes stakes.
public(package) fun assert_open(pool: &Pool) {
    pool.assert_version();
    assert!(pool.open, ENotOpen);
}

public(package) fun assert_version(pool: &Pool) {
    assert!(pool.version == version::current(), EWrongVersion);
}

/// The capability is this pool's, and the pool of this code's version.
public(package) fun assert_admin(pool: &Pool, cap: &AdminCap) {
    pool.assert_version();
    assert!(cap.pool == object::id(pool), EWrongPool);
}

/// From when on what touches stakes counts if it is set now: after the notice; at once only while
/// the pool is not open, as there is no stake that it could surprise.
public(package) fun effective_from_ms(pool: &Pool, clock: &Clock): u64 {
    if (pool.open) clock.timestamp_ms() + bounds::notice_ms() else clock.timestamp_ms()
}

public(package) fun open(pool: &mut Pool) {
    assert!(!pool.open, EAlreadyOpen);
    pool.open = true;
    event::emit(PoolOpened { pool: object::id(pool) });
}

/// Unbonding time, seal token's lifetime, reporter's share, as they count now.
public(package) fun rules(pool: &Pool, clock: &Clock): (u64, u64, u64) {
    let now_ms = clock.timestamp_ms();
    (pool.unbonding_ms.at(now_ms), pool.seal_token_ms, pool.reporter_basis_points.at(now_ms))
}

/// The same with the changes that are ahead.
public(package) fun scheduled_rules(pool: &Pool): (Scheduled<u64>, u64, Scheduled<u64>) {
    (pool.unbonding_ms, pool.seal_token_ms, pool.reporter_basis_points)
}

public(package) fun change_unbonding(pool: &mut Pool, value: u64, clock: &Clock) {
    assert!(bounds::unbonding_ms().contain(value), EOutOfBounds);
    let from_ms = pool.effective_from_ms(clock);
    let _ = pool.unbonding_ms.schedule(value, from_ms, clock.timestamp_ms());
}

public(package) fun change_seal_token_lifetime(pool: &mut Pool, value: u64) {
    assert!(bounds::seal_token_ms().contain(value), EOutOfBounds);
    pool.seal_token_ms = value;
}

public(package) fun change_reporter_share(pool: &mut Pool, value: u64, clock: &Clock) {
    assert!(bounds::reporter_basis_points().contain(value), EOutOfBounds);
    let from_ms = pool.effective_from_ms(clock);
    let _ = pool.reporter_basis_points.schedule(value, from_ms, clock.timestamp_ms());
}

public(package) fun minimum_stake(pool: &Pool): Scheduled<u64> { pool.minimum_stake }

/// Least that a new stake must hold now, in MIST.
public fun minimum_for_new(pool: &Pool, clock: &Clock): u64 {
    minimum_stake::for_new(&pool.minimum_stake, clock)
}

/// Least that a stake which stands must hold now, in MIST.
public fun minimum_for_standing(pool: &Pool, clock: &Clock): u64 {
    minimum_stake::for_standing(&pool.minimum_stake, clock)
}

public(package) fun change_minimum_stake(pool: &mut Pool, value: u64, clock: &Clock) {
    minimum_stake::change(&mut pool.minimum_stake, value, pool.open, clock);
}

public(package) fun offences_mut(pool: &mut Pool): &mut vector<Offence> { &mut pool.offences }

/// The share that a verdict of this reason takes, and its daily cap, in basis points.
public(package) fun penalty(pool: &Pool, reason: u16, clock: &Clock): (u64, u64) {
    offences::penalty(&pool.offences, reason, clock)
}

public(package) fun issue_slasher_cap(
    pool: &mut Pool,
    effective_from_ms: u64,
    ctx: &mut TxContext,
): SlasherCap {
    let cap = SlasherCap { id: object::new(ctx), pool: object::id(pool) };
    authority::list(&mut pool.id, object::id(&cap), effective_from_ms);
    cap
}

public(package) fun uid(pool: &Pool): &UID { &pool.id }

public(package) fun uid_mut(pool: &mut Pool): &mut UID { &mut pool.id }

public fun is_open(pool: &Pool): bool { pool.open }

public fun treasury(pool: &Pool): ID { pool.treasury }

#[test_only]
public fun init_for_testing(ctx: &mut TxContext) { init(ctx) }
#[test_only]
public fun set_version_for_testing(pool: &mut Pool, version: u64) { pool.version = version }
