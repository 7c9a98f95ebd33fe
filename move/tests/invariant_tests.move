/// Random sequences of calls: after each, every coin is where the books say, and at the end
/// everybody can leave.
#[test_only]
module k3s_daas::invariant_tests;

use k3s_daas::{administration, bounds, staking::StakeRecord, world::{Self, World, account, sui}};
use std::unit_test::{assert_eq, destroy};

const NODES: u64 = 6;
const STEPS: u64 = 250;

const ACTIVE: u8 = 0;
const UNBONDING: u8 = 1;
const SLASHED: u8 = 2;
const WITHDRAWN: u8 = 3;

/// What must be true, kept apart from the contracts.
public struct Books has drop {
    status: vector<u8>,
    balance: vector<u64>,
    /// From when on each can be withdrawn.
    until_ms: vector<u64>,
    /// Of each, by slashes, in all.
    slashed: vector<u64>,
    paid_in: u64,
    paid_back: u64,
    rewards: u64,
    treasury_paid: u64,
    calls: u64,
}

public struct Random has drop { state: u64 }

/// A linear congruential generator (Knuth's MMIX), of which the upper half is taken.
fun below(random: &mut Random, limit: u64): u64 {
    let next = (random.state as u128) * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407;
    random.state = (next & 0xffff_ffff_ffff_ffff) as u64;
    (random.state >> 32) % limit
}

fun run(seed: u64) {
    let mut random = Random { state: seed };
    let mut world = world::begin();
    let mut books = Books {
        status: vector[],
        balance: vector[],
        until_ms: vector[],
        slashed: vector[],
        paid_in: 0,
        paid_back: 0,
        rewards: 0,
        treasury_paid: 0,
        calls: 0,
    };
    let mut records = vector[];
    NODES.do!(|index| {
        let amount = sui(1) + random.below(sui(20));
        records.push_back(world.stake(index as u8 + 1, amount));
        books.status.push_back(ACTIVE);
        books.balance.push_back(amount);
        books.until_ms.push_back(0);
        books.slashed.push_back(0);
        books.paid_in = books.paid_in + amount;
        world.audit(&records, &books);
    });
    STEPS.do!(|_| {
        let index = random.below(NODES);
        world.act_as(account(index as u8 + 1));
        world.step(&mut records[index], &mut books, index, &mut random);
        world.audit(&records, &books);
    });
    world.everybody_leaves(&mut records, &mut books);
    destroy(records);
    world.end();
    assert_eq!(books.calls, STEPS);
    // all that can happen has
    assert!(books.paid_back > 0 && books.rewards > 0 && books.treasury_paid > 0);
}

use fun step as World.step;

/// One random call by or against a node, among those that its state allows.
fun step(
    world: &mut World,
    record: &mut StakeRecord,
    books: &mut Books,
    index: u64,
    random: &mut Random,
) {
    let status = books.status[index];
    let call = random.below(10);
    books.calls = books.calls + 1;
    if (call == 0) {
        let wait = random.below(bounds::unbonding_ms().most());
        world.wait(wait);
    } else if (call == 1) {
        world.change_rules(random);
    } else if (call == 2) {
        let treasury = world.treasury().value();
        if (treasury > 0) {
            let amount = 1 + random.below(treasury.min(4_000_000_000));
            books.treasury_paid = books.treasury_paid + world.take_treasury(amount);
        }
    } else if (status == WITHDRAWN) {
        let minimum = world.pool().minimum_for_new(world.clock());
        let amount = minimum + random.below(1_000_000_007);
        world.restake(record, amount);
        *&mut books.status[index] = ACTIVE;
        books.deposit(index, amount);
    } else if (status == SLASHED) {
        // its key is spent: nothing can be done with it
        assert!(!world.stands(record));
    } else if (call <= 5) {
        world.punish(record, books, index, random);
    } else if (status == UNBONDING) {
        if (world.clock().timestamp_ms() >= books.until_ms[index]) {
            let amount = world.withdraw(record);
            assert_eq!(amount, books.balance[index]);
            books.paid_back = books.paid_back + amount;
            *&mut books.balance[index] = 0;
            *&mut books.status[index] = WITHDRAWN;
        } else if (call == 6) {
            world.cancel(record);
            *&mut books.status[index] = ACTIVE;
        }
    } else if (call <= 7) {
        let amount = 1 + random.below(3_000_000_000);
        world.top_up(record, amount);
        books.deposit(index, amount);
    } else if (call == 8 && world.stands(record)) {
        world.issue_token(record);
    } else {
        let (unbonding_ms, _, _) = world.pool().rules(world.clock());
        *&mut books.until_ms[index] = world.clock().timestamp_ms() + unbonding_ms;
        world.ask_back(record);
        *&mut books.status[index] = UNBONDING;
    }
}

use fun punish as World.punish;

/// Slashes, half of the time with a reporter; now and then all of it.
fun punish(
    world: &mut World,
    record: &mut StakeRecord,
    books: &mut Books,
    index: u64,
    random: &mut Random,
) {
    let share = if (random.below(8) == 0) 10_000 else 1 + random.below(9_999);
    let taken = ((books.balance[index] as u256) * (share as u256) / 10_000) as u64;
    if (random.below(2) == 0) {
        world.slash(record, share);
    } else {
        let (pool, treasury, _, clock, _) = world.slasher_parts();
        let (_, _, reporter_share) = pool.rules(clock);
        let reward = record
            .slash(pool, treasury, taken, 7, b"", @0x5EE, clock)
            .destroy_for_testing();
        assert_eq!(reward, ((taken as u256) * (reporter_share as u256) / 10_000) as u64);
        books.rewards = books.rewards + reward;
    };
    *&mut books.balance[index] = books.balance[index] - taken;
    *&mut books.slashed[index] = books.slashed[index] + taken;
    if (books.balance[index] == 0) *&mut books.status[index] = SLASHED;
}

use fun change_rules as World.change_rules;

fun change_rules(world: &mut World, random: &mut Random) {
    let (pool, admin, _, clock, _) = world.parts();
    let unbonding = bounds::unbonding_ms();
    let minimum = bounds::minimum_stake().least() + random.below(sui(4));
    // a rise while another is ahead is refused
    if (minimum <= pool.minimum_for_standing(clock) || !pool.minimum_stake().has_next()) {
        administration::set_minimum_stake(pool, admin, minimum, clock);
    };
    administration::set_unbonding(
        pool,
        admin,
        unbonding.least() + random.below(unbonding.most() - unbonding.least()),
        clock,
    );
    let most = bounds::reporter_basis_points().most();
    administration::set_reporter_share(pool, admin, random.below(most + 1), clock);
}

fun deposit(books: &mut Books, index: u64, amount: u64) {
    *&mut books.balance[index] = books.balance[index] + amount;
    books.paid_in = books.paid_in + amount;
}

use fun audit as World.audit;

fun audit(world: &World, records: &vector<StakeRecord>, books: &Books) {
    let minimum = world.pool().minimum_for_standing(world.clock());
    let mut held = 0;
    let mut slashed = 0;
    records.length().do!(|index| {
        let record = &records[index];
        let status = books.status[index];
        assert_eq!(record.balance(), books.balance[index]);
        assert_eq!(record.is_active(), status == ACTIVE);
        assert_eq!(record.is_slashed(), status == SLASHED);
        // nothing is held where nobody can get at it, and nothing counts that holds nothing
        assert_eq!(record.balance() == 0, status == SLASHED || status == WITHDRAWN);
        let stands = status == ACTIVE && books.balance[index] >= minimum;
        assert_eq!(world.stands(record), stands);
        held = held + record.balance();
        slashed = slashed + books.slashed[index];
    });
    assert_eq!(world.treasury().value() + books.treasury_paid + books.rewards, slashed);
    assert_eq!(books.paid_in, held + slashed + books.paid_back);
}

use fun everybody_leaves as World.everybody_leaves;

fun everybody_leaves(world: &mut World, records: &mut vector<StakeRecord>, books: &mut Books) {
    records.length().do!(|index| {
        world.act_as(account(index as u8 + 1));
        if (books.status[index] == ACTIVE) world.ask_back(&mut records[index]);
    });
    world.wait(bounds::unbonding_ms().most());
    records.length().do!(|index| {
        world.act_as(account(index as u8 + 1));
        if (books.status[index] == ACTIVE || books.status[index] == UNBONDING) {
            books.paid_back = books.paid_back + world.withdraw(&mut records[index]);
            *&mut books.balance[index] = 0;
            *&mut books.status[index] = WITHDRAWN;
        };
    });
    let treasury = world.treasury().value();
    if (treasury > 0) books.treasury_paid = books.treasury_paid + world.take_treasury(treasury);
    world.audit(records, books);
    assert_eq!(world.treasury().value(), 0);
    assert_eq!(books.paid_in, books.paid_back + books.treasury_paid + books.rewards);
    // whoever withdrew can come back, with the same record
    records.length().do!(|index| {
        if (books.status[index] == WITHDRAWN) {
            world.act_as(account(index as u8 + 1));
            world.restake(&mut records[index], sui(5));
        };
    });
}

// A test each: the test VM gives two scenarios of one test the same ids.

#[test]
fun the_books_are_right_from_1() { run(1) }

#[test]
fun the_books_are_right_from_2() { run(2) }

#[test]
fun the_books_are_right_from_3() { run(3) }

#[test]
fun the_books_are_right_from_5() { run(5) }

#[test]
fun the_books_are_right_from_8() { run(8) }

#[test]
fun the_books_are_right_from_13() { run(13) }

#[test]
fun the_books_are_right_from_21() { run(21) }

#[test]
fun the_books_are_right_from_34() { run(34) }
