/// What slashes have brought in. Its own object, so that a slash does not wait for those who stake.
module k3s_daas::treasury;

use k3s_daas::version;
use sui::{balance::{Self, Balance}, sui::SUI};

#[error(code = 0)]
const EWrongPool: vector<u8> = b"The treasury belongs to another pool";
#[error(code = 1)]
const EEmptyWithdrawal: vector<u8> = b"Nothing was asked for";
#[error(code = 2)]
const EShort: vector<u8> = b"The treasury holds less than that";

/// A pool's treasury. It is made with its pool; there is no other.
public struct Treasury has key {
    id: UID,
    version: u64,
    pool: ID,
    balance: Balance<SUI>,
}

/// Makes a pool's treasury and shares it.
public(package) fun create(pool: ID, ctx: &mut TxContext): ID {
    let treasury = Treasury {
        id: object::new(ctx),
        version: version::current(),
        pool,
        balance: balance::zero(),
    };
    let id = object::id(&treasury);
    transfer::share_object(treasury);
    id
}

/// What it holds, in MIST.
public fun value(treasury: &Treasury): u64 { treasury.balance.value() }

/// Aborts unless the treasury is the pool's, and of this code's version.
public(package) fun assert_own(treasury: &Treasury, pool: ID) {
    version::assert_current(treasury.version);
    assert!(treasury.pool == pool, EWrongPool);
}

public(package) fun deposit(treasury: &mut Treasury, coins: Balance<SUI>) {
    treasury.balance.join(coins);
}

public(package) fun withdraw(treasury: &mut Treasury, amount: u64): Balance<SUI> {
    assert!(amount > 0, EEmptyWithdrawal);
    assert!(amount <= treasury.balance.value(), EShort);
    treasury.balance.split(amount)
}

/// Its callers check that the pool is of this code's version.
public(package) fun migrate(treasury: &mut Treasury, pool: ID) {
    assert!(treasury.pool == pool, EWrongPool);
    version::migrate(object::id(treasury), &mut treasury.version);
}

#[test_only]
public fun set_version_for_testing(treasury: &mut Treasury, version: u64) {
    treasury.version = version
}
