/// Deadlines of releases, and what becomes of a registry whose capability was stolen.
#[test_only]
module k3s_daas::release_deadline_tests;

use k3s_daas::{
    bounds,
    pool,
    releases::{Self, ReleaseRegistry, ReleaseCap},
    releases_tests::{registry, discard, v, image, approve, approve_images, raise},
    world::{Self, World}
};
use std::unit_test::{assert_eq, destroy};

const DAY_MS: u64 = 86_400_000;

#[test]
fun revoked_release_counts_until_its_deadline() {
    let (mut world, mut registry, cap) = registry();
    approve(&world, &mut registry, &cap, v(0, 1, 0));
    registry.revoke(&cap, v(0, 1, 0), world::now_ms() + DAY_MS, world.clock());
    world.wait(DAY_MS - 1);
    assert!(registry.is_trusted(v(0, 1, 0), world.clock()));
    world.wait(1);
    assert!(!registry.is_trusted(v(0, 1, 0), world.clock()));
    discard(world, registry, cap);
}

#[test]
fun deadline_is_brought_forward() {
    let (world, mut registry, cap) = registry();
    approve(&world, &mut registry, &cap, v(0, 1, 0));
    registry.revoke(&cap, v(0, 1, 0), world::now_ms() + DAY_MS, world.clock());
    registry.revoke(&cap, v(0, 1, 0), 0, world.clock());
    assert!(!registry.is_trusted(v(0, 1, 0), world.clock()));
    discard(world, registry, cap);
}

#[test, expected_failure(abort_code = releases::EAlreadyRevoked)]
fun deadline_is_not_put_off() {
    let (world, mut registry, cap) = registry();
    approve(&world, &mut registry, &cap, v(0, 1, 0));
    registry.revoke(&cap, v(0, 1, 0), world::now_ms() + DAY_MS, world.clock());
    registry.revoke(&cap, v(0, 1, 0), world::now_ms() + DAY_MS, world.clock());
    abort
}

#[test, expected_failure(abort_code = releases::EDeadlineTooFar)]
fun deadline_beyond_90_days_is_refused() {
    let (world, mut registry, cap) = registry();
    approve(&world, &mut registry, &cap, v(0, 1, 0));
    registry.revoke(&cap, v(0, 1, 0), world::now_ms() + 90 * DAY_MS + 1, world.clock());
    abort
}

#[test]
fun older_releases_count_until_the_deadline() {
    let (mut world, mut registry, cap) = registry();
    approve(&world, &mut registry, &cap, v(0, 1, 0));
    approve(&world, &mut registry, &cap, v(0, 2, 0));
    approve(&world, &mut registry, &cap, v(0, 3, 0));
    registry.revoke(&cap, v(0, 1, 0), world::now_ms() + DAY_MS, world.clock());
    registry.set_minimum(&cap, v(0, 3, 0), world::now_ms() + 2 * DAY_MS, world.clock());
    world.wait(DAY_MS);
    // a sooner deadline stays
    assert!(!registry.is_trusted(v(0, 1, 0), world.clock()));
    assert!(registry.is_trusted(v(0, 2, 0), world.clock()));
    world.wait(DAY_MS);
    assert!(!registry.is_trusted(v(0, 2, 0), world.clock()));
    assert!(registry.is_trusted(v(0, 3, 0), world.clock()));
    discard(world, registry, cap);
}

#[test, expected_failure(abort_code = releases::EVersionNotAhead)]
fun minimum_is_no_release_with_a_deadline() {
    let (mut world, mut registry, cap) = registry();
    approve(&world, &mut registry, &cap, v(0, 1, 0));
    registry.revoke(&cap, v(0, 1, 0), world::now_ms() + DAY_MS, world.clock());
    raise(&mut world, &mut registry, &cap, v(0, 1, 0));
    abort
}

#[test, expected_failure(abort_code = releases::EStillTrusted)]
fun release_within_its_deadline_is_not_removed() {
    let (world, mut registry, cap) = registry();
    approve(&world, &mut registry, &cap, v(0, 1, 0));
    approve(&world, &mut registry, &cap, v(0, 2, 0));
    registry.set_minimum(&cap, v(0, 2, 0), world::now_ms() + DAY_MS, world.clock());
    registry.remove(&cap, v(0, 1, 0), world.clock());
    abort
}

#[test, expected_failure(abort_code = releases::EDeadlineTooSoon)]
fun minimum_that_counts_within_a_day_is_refused() {
    let (world, mut registry, cap) = registry();
    approve(&world, &mut registry, &cap, v(0, 1, 0));
    registry.set_minimum(&cap, v(0, 1, 0), world::now_ms() + DAY_MS - 1, world.clock());
    abort
}

// --- a stolen capability ---

/// The largest version with the others gone: no release could be approved or removed any more.
fun bricked(): (World, ReleaseRegistry, ReleaseCap) {
    let (world, mut registry, cap) = registry();
    let most = 0xffff_ffff;
    approve(&world, &mut registry, &cap, v(0, 1, 0));
    approve(&world, &mut registry, &cap, v(most, most, most));
    let deadline_ms = world::now_ms() + bounds::release_notice_ms();
    registry.set_minimum(&cap, v(most, most, most), deadline_ms, world.clock());
    (world, registry, cap)
}

#[test]
fun administrator_undoes_a_stolen_minimum() {
    let (mut world, mut registry, stolen) = bricked();
    let most = 0xffff_ffff;
    let (pool, admin, _, clock, ctx) = world.parts();
    registry.revoke_release_cap(pool, admin, object::id(&stolen));
    let cap = registry.new_release_cap(pool, admin, clock, ctx);
    registry.lower_minimum(pool, admin, v(0, 1, 0));
    registry.revoke(&cap, v(most, most, most), 0, clock);
    registry.remove(&cap, v(most, most, most), clock);
    world.wait(90 * DAY_MS);
    assert!(registry.is_trusted(v(0, 1, 0), world.clock()));
    // and goes on
    approve(&world, &mut registry, &cap, v(0, 2, 0));
    raise(&mut world, &mut registry, &cap, v(0, 2, 0));
    assert!(!registry.is_trusted(v(0, 1, 0), world.clock()));
    destroy(stolen);
    discard(world, registry, cap);
}

#[test]
fun lower_minimum_frees_no_revoked_release() {
    let (mut world, mut registry, cap) = registry();
    approve(&world, &mut registry, &cap, v(0, 1, 0));
    approve(&world, &mut registry, &cap, v(0, 2, 0));
    approve(&world, &mut registry, &cap, v(0, 3, 0));
    registry.revoke(&cap, v(0, 2, 0), 0, world.clock());
    raise(&mut world, &mut registry, &cap, v(0, 3, 0));
    let (pool, admin, _, clock, _) = world.parts();
    registry.lower_minimum(pool, admin, v(0, 2, 0));
    // revoked, and still below
    assert!(!registry.is_trusted(v(0, 2, 0), clock) && !registry.is_trusted(v(0, 1, 0), clock));
    discard(world, registry, cap);
}

#[test]
fun registry_full_of_revoked_releases_is_emptied() {
    let (world, mut registry, cap) = registry();
    32u32.do!(|patch| approve(&world, &mut registry, &cap, v(0, 1, patch)));
    32u32.do!(|patch| {
        registry.revoke(&cap, v(0, 1, patch), 0, world.clock());
        registry.remove(&cap, v(0, 1, patch), world.clock());
    });
    approve(&world, &mut registry, &cap, v(0, 2, 0));
    assert_eq!(registry.releases().length(), 1);
    discard(world, registry, cap);
}

#[test, expected_failure(abort_code = releases::EAlreadyApproved)]
fun removed_version_above_the_minimum_does_not_come_back() {
    let (world, mut registry, cap) = registry();
    approve_images(&world, &mut registry, &cap, v(0, 1, 0), vector[image(b"disk", 1)]);
    registry.revoke(&cap, v(0, 1, 0), 0, world.clock());
    registry.remove(&cap, v(0, 1, 0), world.clock());
    approve_images(&world, &mut registry, &cap, v(0, 1, 0), vector[image(b"disk", 2)]);
    abort
}

#[test, expected_failure(abort_code = releases::EStillTrusted)]
fun revoked_release_within_its_deadline_is_not_removed() {
    let (world, mut registry, cap) = registry();
    approve(&world, &mut registry, &cap, v(0, 1, 0));
    registry.revoke(&cap, v(0, 1, 0), world::now_ms() + DAY_MS, world.clock());
    registry.remove(&cap, v(0, 1, 0), world.clock());
    abort
}

#[test, expected_failure(abort_code = releases::ENotLower)]
fun administrator_raises_no_minimum() {
    let (mut world, mut registry, _cap) = registry();
    let (pool, admin, _, _, _) = world.parts();
    registry.lower_minimum(pool, admin, v(0, 0, 0));
    abort
}

#[test, expected_failure(abort_code = pool::EWrongPool)]
fun another_pools_administrator_lowers_no_minimum() {
    let (mut world, mut registry, _cap) = bricked();
    let (_pool, other_admin, _slasher) = world.other();
    registry.lower_minimum(world.pool(), &other_admin, v(0, 0, 0));
    abort
}
