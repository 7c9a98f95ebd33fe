/// What the holder of a pool's `AdminCap` may do: set rules within the published bounds, pay out
/// the treasury, hand out and revoke the right to slash. Nothing here opens a record.
module k3s_daas::administration;

use k3s_daas::{authority, staking::{Pool, AdminCap, SlasherCap, StakeRecord}};
use std::string::String;
use sui::{clock::Clock, coin::Coin, event, sui::SUI};

#[error(code = 0)]
const EEmptyWithdrawal: vector<u8> = b"Nothing was asked for";
#[error(code = 1)]
const ETreasuryShort: vector<u8> = b"The treasury holds less than that";
#[error(code = 2)]
const ENotSlashed: vector<u8> = b"Only a slashed node's id can be released";

public struct RulesChanged has copy, drop {
    pool: ID,
    minimum_stake: u64,
    unbonding_ms: u64,
    seal_token_ms: u64,
    reporter_basis_points: u64,
}
public struct TreasuryWithdrawn has copy, drop { pool: ID, amount: u64, remaining: u64 }
public struct NameReleased has copy, drop { pool: ID, record: ID, node_id: String }

/// Sets the least that an active stake must hold (`bounds::minimum_stake`).
public fun set_minimum_stake(pool: &mut Pool, cap: &AdminCap, minimum_stake: u64) {
    let (_, unbonding_ms, seal_token_ms, reporter) = pool.rules();
    set_rules(pool, cap, minimum_stake, unbonding_ms, seal_token_ms, reporter);
}

/// Sets the unbonding time of requests to come (`bounds::unbonding_ms`).
public fun set_unbonding(pool: &mut Pool, cap: &AdminCap, unbonding_ms: u64) {
    let (minimum_stake, _, seal_token_ms, reporter) = pool.rules();
    set_rules(pool, cap, minimum_stake, unbonding_ms, seal_token_ms, reporter);
}

/// Sets how long seal tokens to come count (`bounds::seal_token_ms`).
public fun set_seal_token_lifetime(pool: &mut Pool, cap: &AdminCap, seal_token_ms: u64) {
    let (minimum_stake, unbonding_ms, _, reporter) = pool.rules();
    set_rules(pool, cap, minimum_stake, unbonding_ms, seal_token_ms, reporter);
}

/// Sets the reporter's share of slashes to come (`bounds::reporter_basis_points`).
public fun set_reporter_share(pool: &mut Pool, cap: &AdminCap, basis_points: u64) {
    let (minimum_stake, unbonding_ms, seal_token_ms, _) = pool.rules();
    set_rules(pool, cap, minimum_stake, unbonding_ms, seal_token_ms, basis_points);
}

/// Pays slashed coins out of the treasury. Stakes are not in it.
public fun withdraw_treasury(
    pool: &mut Pool,
    cap: &AdminCap,
    amount: u64,
    ctx: &mut TxContext,
): Coin<SUI> {
    pool.assert_admin(cap);
    assert!(amount > 0, EEmptyWithdrawal);
    let treasury = pool.treasury_mut();
    assert!(amount <= treasury.value(), ETreasuryShort);
    let coins = treasury.split(amount);
    let remaining = treasury.value();
    event::emit(TreasuryWithdrawn { pool: object::id(pool), amount, remaining });
    coins.into_coin(ctx)
}

/// Makes a capability to slash. It counts after the notice (`bounds::notice_ms`), and at once only
/// while nothing is staked.
public fun new_slasher_cap(
    pool: &mut Pool,
    cap: &AdminCap,
    clock: &Clock,
    ctx: &mut TxContext,
): SlasherCap {
    pool.assert_admin(cap);
    let effective_from_ms = pool.authority_effective_from_ms(clock);
    pool.issue_slasher_cap(effective_from_ms, ctx)
}

/// Takes a slasher's capability off the list, wherever it is.
public fun revoke_slasher_cap(pool: &mut Pool, cap: &AdminCap, slasher_cap: ID) {
    pool.assert_admin(cap);
    authority::revoke(pool.uid_mut(), slasher_cap);
}

/// Frees the node id of a slashed record, so that another may take it.
public fun release_name(pool: &mut Pool, cap: &AdminCap, record: &StakeRecord) {
    pool.assert_admin(cap);
    pool.assert_own(record);
    assert!(record.is_slashed(), ENotSlashed);
    pool.free_name(record);
    event::emit(NameReleased {
        pool: object::id(pool),
        record: object::id(record),
        node_id: record.node_id(),
    });
}

fun set_rules(
    pool: &mut Pool,
    cap: &AdminCap,
    minimum_stake: u64,
    unbonding_ms: u64,
    seal_token_ms: u64,
    reporter_basis_points: u64,
) {
    pool.assert_admin(cap);
    pool.set_rules(minimum_stake, unbonding_ms, seal_token_ms, reporter_basis_points);
    event::emit(RulesChanged {
        pool: object::id(pool),
        minimum_stake,
        unbonding_ms,
        seal_token_ms,
        reporter_basis_points,
    });
}
