/// The calls of a pool's administrator, who holds its `AdminCap`: open the pool, set rules within the
/// published bounds, pay out the treasury, issue and revoke the right to slash. None opens a record.
module k3s_daas::administration;

use k3s_daas::{
    authority,
    offences,
    pool::{Pool, AdminCap, SlasherCap},
    scheduled::Scheduled,
    treasury::Treasury
};
use sui::{clock::Clock, coin::Coin, event, sui::SUI};

public struct RulesChanged has copy, drop {
    pool: ID,
    minimum_stake: Scheduled<u64>,
    unbonding_ms: Scheduled<u64>,
    seal_token_ms: u64,
    reporter_basis_points: Scheduled<u64>,
}
public struct OffenceChanged has copy, drop {
    pool: ID,
    reason: u16,
    basis_points: u64,
    daily_cap_basis_points: u64,
    in_force: bool,
    /// From when on it counts.
    from_ms: u64,
}
public struct TreasuryWithdrawn has copy, drop { pool: ID, amount: u64, remaining: u64 }

/// Takes stakes from now on, for good. Authorities, offences and rules that are set before count
/// without a notice.
public fun open_pool(pool: &mut Pool, cap: &AdminCap) {
    pool.assert_admin(cap);
    pool.open();
}

/// Sets the least that an active stake must hold (`bounds::minimum_stake`). A higher one counts
/// for new stakes after the notice (`bounds::notice_ms`), and for stakes that stand after the grace
/// besides (`bounds::minimum_stake_grace_ms`).
public fun set_minimum_stake(pool: &mut Pool, cap: &AdminCap, minimum_stake: u64, clock: &Clock) {
    pool.assert_admin(cap);
    pool.change_minimum_stake(minimum_stake, clock);
    pool.emit_rules();
}

/// Sets the unbonding time (`bounds::unbonding_ms`) of requests after the notice
/// (`bounds::notice_ms`), whether it gets longer or shorter.
public fun set_unbonding(pool: &mut Pool, cap: &AdminCap, unbonding_ms: u64, clock: &Clock) {
    pool.assert_admin(cap);
    pool.change_unbonding(unbonding_ms, clock);
    pool.emit_rules();
}

/// Sets how long seal tokens that are issued from now on count (`bounds::seal_token_ms`).
public fun set_seal_token_lifetime(pool: &mut Pool, cap: &AdminCap, seal_token_ms: u64) {
    pool.assert_admin(cap);
    pool.change_seal_token_lifetime(seal_token_ms);
    pool.emit_rules();
}

/// Sets the reporter's share (`bounds::reporter_basis_points`) of slashes after the notice
/// (`bounds::notice_ms`), whether it gets larger or smaller.
public fun set_reporter_share(pool: &mut Pool, cap: &AdminCap, basis_points: u64, clock: &Clock) {
    pool.assert_admin(cap);
    pool.change_reporter_share(basis_points, clock);
    pool.emit_rules();
}

/// Sets what an offence costs, and whether it is in force, after the notice (`bounds::notice_ms`);
/// at once only while the pool is not open.
public fun set_offence(
    pool: &mut Pool,
    cap: &AdminCap,
    reason: u16,
    basis_points: u64,
    daily_cap_basis_points: u64,
    in_force: bool,
    clock: &Clock,
) {
    pool.assert_admin(cap);
    let effective_from_ms = pool.effective_from_ms(clock);
    let from_ms = offences::change(
        pool.offences_mut(),
        reason,
        basis_points,
        daily_cap_basis_points,
        in_force,
        effective_from_ms,
        clock,
    );
    event::emit(OffenceChanged {
        pool: object::id(pool),
        reason,
        basis_points,
        daily_cap_basis_points,
        in_force,
        from_ms,
    });
}

/// Pays slashed coins out of the treasury. Stakes are not in it.
public fun withdraw_treasury(
    pool: &Pool,
    treasury: &mut Treasury,
    cap: &AdminCap,
    amount: u64,
    ctx: &mut TxContext,
): Coin<SUI> {
    pool.assert_admin(cap);
    treasury.assert_own(object::id(pool));
    let coins = treasury.withdraw(amount);
    let remaining = treasury.value();
    event::emit(TreasuryWithdrawn { pool: object::id(pool), amount, remaining });
    coins.into_coin(ctx)
}

/// Takes a treasury of an earlier version over to this one, once its pool is. Anybody may.
public fun migrate_treasury(pool: &Pool, treasury: &mut Treasury) {
    pool.assert_version();
    treasury.migrate(object::id(pool));
}

/// Makes a capability to slash. It counts after the notice (`bounds::notice_ms`), and at once only
/// while the pool is not open.
public fun new_slasher_cap(
    pool: &mut Pool,
    cap: &AdminCap,
    clock: &Clock,
    ctx: &mut TxContext,
): SlasherCap {
    pool.assert_admin(cap);
    let effective_from_ms = pool.effective_from_ms(clock);
    pool.issue_slasher_cap(effective_from_ms, ctx)
}

/// Takes a slasher's capability off the list, wherever it is.
public fun revoke_slasher_cap(pool: &mut Pool, cap: &AdminCap, slasher_cap: ID) {
    pool.assert_admin(cap);
    authority::revoke(pool.uid_mut(), slasher_cap);
}

use fun emit_rules as Pool.emit_rules;

fun emit_rules(pool: &Pool) {
    let (unbonding_ms, seal_token_ms, reporter_basis_points) = pool.scheduled_rules();
    event::emit(RulesChanged {
        pool: object::id(pool),
        minimum_stake: pool.minimum_stake(),
        unbonding_ms,
        seal_token_ms,
        reporter_basis_points,
    });
}
