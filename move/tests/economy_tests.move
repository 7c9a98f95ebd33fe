/// Random sequences of calls over stakes, treasury and rewards: after each, every coin is where the
/// books say; nobody is paid twice, and no epoch pays more than its budget.
#[test_only]
module k3s_daas::economy_tests;

use k3s_daas::{
    enclave::{EnclaveConfig, Enclave},
    rewards::{Self, Vault, Epoch},
    rewards_world,
    staking::StakeRecord,
    world::{Self, World, account, sui}
};
use std::unit_test::{assert_eq, destroy};

const DAY_MS: u64 = 86_400_000;
const NODES: u64 = 5;
const EPOCHS: u64 = 4;
const STEPS: u64 = 60;

/// An epoch as the books have it.
public struct Entry has drop {
    budget: u64,
    total: u64,
    points: vector<u64>,
    /// Who was slashed while it ran.
    slashed: vector<bool>,
    paid: vector<bool>,
    proofs: vector<vector<u8>>,
    open: bool,
}

public struct Books has drop {
    paid_in: u64,
    paid_out: u64,
    entries: vector<Entry>,
    /// Who was slashed in the epoch that runs.
    slashed: vector<bool>,
}

public struct Random has drop { state: u64 }

/// A linear congruential generator (Knuth's MMIX), of which the upper half is taken.
fun below(random: &mut Random, limit: u64): u64 {
    let next = (random.state as u128) * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407;
    random.state = (next & 0xffff_ffff_ffff_ffff) as u64;
    (random.state >> 32) % limit
}

public struct Economy {
    world: World,
    config: EnclaveConfig,
    enclave: Enclave,
    vault: Vault,
    records: vector<StakeRecord>,
    epochs: vector<Epoch>,
    books: Books,
}

fun run(seed: u64) {
    let mut random = Random { state: seed };
    let mut world = world::begin();
    let mut config = world.config();
    let enclave = world.master(&mut config);
    let vault = rewards_world::vault(&mut world);
    let records = vector::tabulate!(NODES, |index| world.stake(index as u8 + 1, sui(5)));
    let mut economy = Economy {
        world,
        config,
        enclave,
        vault,
        records,
        epochs: vector[],
        books: Books {
            paid_in: sui(10) + NODES * sui(5),
            paid_out: 0,
            entries: vector[],
            slashed: vector::tabulate!(NODES, |_| false),
        },
    };
    rewards_world::to_the_end_of(&mut economy.world, 0);
    EPOCHS.do!(|number| {
        economy.publish(number, &mut random);
        economy.audit();
        STEPS.do!(|_| {
            economy.step(&mut random);
            economy.audit();
        });
        rewards_world::to_the_end_of(&mut economy.world, number + 1);
    });
    economy.finish();
}

/// A root over random points of those who are there; now and then the administrator objects.
fun publish(economy: &mut Economy, number: u64, random: &mut Random) {
    let Economy { world, config, enclave, vault, records, epochs, books } = economy;
    let points = vector::tabulate!(NODES, |_| 1 + random.below(1_000_000));
    let id = object::id(vault);
    let hashes = vector::tabulate!(
        NODES,
        |index| rewards::leaf(id, number, object::id(&records[index]), points[index]),
    );
    let (root, total, proofs) = rewards_world::tree(hashes, points);
    let budget = 1 + random.below(sui(2));
    rewards_world::publish(world, vault, config, enclave, number, root, total, NODES, budget);
    world.act_as(account(9));
    let mut epoch = world.scenario().take_shared<Epoch>();
    let objects = random.below(4) == 0;
    if (objects) {
        let (pool, admin, _, clock, _) = world.parts();
        vault.object_by_admin(&mut epoch, pool, admin, clock);
    };
    // what happened since the epoch before ended was in this one
    let slashed = books.slashed;
    books.slashed = vector::tabulate!(NODES, |_| false);
    books
        .entries
        .push_back(Entry {
            budget,
            total,
            points,
            slashed,
            paid: vector::tabulate!(NODES, |_| false),
            proofs,
            open: !objects,
        });
    epochs.push_back(epoch);
    // the window of this root ends
    world.wait(DAY_MS);
}

fun step(economy: &mut Economy, random: &mut Random) {
    let Economy { world, vault, records, books, .. } = economy;
    let node = random.below(NODES);
    let record = &mut records[node];
    let call = random.below(8);
    world.act_as(account(node as u8 + 1));
    if (call == 0) {
        let amount = 1 + random.below(sui(1));
        vault.fund(world.coins(amount));
        books.paid_in = books.paid_in + amount;
    } else if (call == 1 && record.is_active()) {
        let amount = 1 + random.below(sui(1));
        world.top_up(record, amount);
        books.paid_in = books.paid_in + amount;
    } else if (call == 2 && random.below(4) == 0 && record.balance() > sui(1)) {
        let before = record.balance();
        let share = 1 + random.below(2_000);
        world.slash(record, share);
        if (record.balance() < before) *&mut books.slashed[node] = true;
    } else if (call == 3) {
        let held = world.treasury().value();
        if (held > 0) {
            let amount = 1 + random.below(held);
            books.paid_out = books.paid_out + world.take_treasury(amount);
        }
    } else {
        economy.claim(node, random);
    }
}

/// Claims of a random epoch, where the books say that it is to be had.
fun claim(economy: &mut Economy, node: u64, random: &mut Random) {
    let Economy { world, records, epochs, books, .. } = economy;
    let number = random.below(epochs.length());
    let entry = &mut books.entries[number];
    if (!entry.open || entry.paid[node] || entry.slashed[node]) return;
    let points = entry.points[node];
    let share = ((entry.budget as u256) * (points as u256) / (entry.total as u256)) as u64;
    if (share == 0) return;
    let (pool, _, _, clock, ctx) = world.parts();
    let proof = entry.proofs[node];
    epochs[number].claim(pool, &records[node], points, node, proof, clock, ctx);
    assert_eq!(world.paid(account(node as u8 + 1)), share);
    *&mut entry.paid[node] = true;
    books.paid_out = books.paid_out + share;
}

fun audit(economy: &Economy) {
    let Economy { world, vault, records, epochs, books, .. } = economy;
    let mut held = world.treasury().value() + vault.funds();
    records.do_ref!(|record| held = held + record.balance());
    epochs.length().do!(|number| {
        let entry = &books.entries[number];
        let left = epochs[number].left();
        let mut paid = 0;
        NODES.do!(|node| if (entry.paid[node]) {
            let points = entry.points[node];
            paid =
                paid + (((entry.budget as u256) * (points as u256) / (entry.total as u256)) as u64);
        });
        assert!(paid <= entry.budget);
        if (entry.open) assert_eq!(left + paid, entry.budget) else assert_eq!(left + paid, 0);
        held = held + left;
    });
    assert_eq!(held + books.paid_out, books.paid_in);
}

/// Every epoch is closed, and every stake withdrawn: the rest is in the vault and the treasury.
fun finish(mut economy: Economy) {
    let Economy { world, vault, records, epochs, books, .. } = &mut economy;
    NODES.do!(|node| {
        world.act_as(account(node as u8 + 1));
        world.ask_back(&mut records[node]);
    });
    world.wait(200 * DAY_MS);
    epochs.length().do!(|number| if (books.entries[number].open) {
        vault.close(&mut epochs[number], world.clock());
        assert_eq!(epochs[number].left(), 0);
    });
    NODES.do!(|node| {
        world.act_as(account(node as u8 + 1));
        books.paid_out = books.paid_out + world.withdraw(&mut records[node]);
    });
    assert_eq!(vault.funds() + world.treasury().value() + books.paid_out, books.paid_in);
    // all that can happen has
    let claimed = books.entries.any!(|entry| entry.paid.any!(|paid| *paid));
    assert!(claimed);
    destroy(economy);
}

// A test each: the test VM gives two scenarios of one test the same ids.

#[test]
fun every_coin_is_in_the_books_from_1() { run(1) }

#[test]
fun every_coin_is_in_the_books_from_2() { run(2) }

#[test]
fun every_coin_is_in_the_books_from_3() { run(3) }

#[test]
fun every_coin_is_in_the_books_from_5() { run(5) }
