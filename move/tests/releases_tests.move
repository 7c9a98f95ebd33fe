/// Which images count.
#[test_only]
module k3s_daas::releases_tests;

use k3s_daas::{
    authority,
    releases::{Self, ReleaseRegistry, ReleaseCap, ReleaseVersion},
    version,
    world::{Self, World, digest, pcr}
};
use std::unit_test::{assert_eq, destroy};

fun registry(): (World, ReleaseRegistry, ReleaseCap) {
    let mut world = world::begin();
    world.act_as(world::admin_address());
    let (pool, admin, _, _, ctx) = world.parts();
    releases::new_registry(pool, admin, ctx);
    world.act_as(world::admin_address());
    let mut registry = world.scenario().take_shared<ReleaseRegistry>();
    let (pool, admin, _, clock, ctx) = world.parts();
    let cap = registry.new_release_cap(pool, admin, clock, ctx);
    (world, registry, cap)
}

fun discard(world: World, registry: ReleaseRegistry, cap: ReleaseCap) {
    destroy(registry);
    destroy(cap);
    world.end();
}

fun v(major: u32, minor: u32, patch: u32): ReleaseVersion {
    releases::release_version(major, minor, patch)
}

fun approve(world: &World, registry: &mut ReleaseRegistry, cap: &ReleaseCap, v: ReleaseVersion) {
    let measurements = vector[releases::launch_measurement(0, pcr(7))];
    registry.approve(cap, v, digest(1), digest(2), measurements, world.clock());
}

#[test]
fun an_approved_release_counts_until_it_is_revoked() {
    let (world, mut registry, cap) = registry();
    assert!(!registry.is_trusted(v(0, 1, 0)));
    approve(&world, &mut registry, &cap, v(0, 1, 0));
    assert!(registry.is_trusted(v(0, 1, 0)));
    assert_eq!(registry.releases().length(), 1);
    registry.revoke(&cap, v(0, 1, 0), world.clock());
    assert!(!registry.is_trusted(v(0, 1, 0)));
    discard(world, registry, cap);
}

#[test]
fun earlier_releases_than_the_minimum_do_not_count() {
    let (world, mut registry, cap) = registry();
    approve(&world, &mut registry, &cap, v(0, 9, 9));
    approve(&world, &mut registry, &cap, v(1, 0, 0));
    registry.set_minimum(&cap, v(1, 0, 0));
    assert!(!registry.is_trusted(v(0, 9, 9)) && registry.is_trusted(v(1, 0, 0)));
    assert_eq!(registry.minimum(), v(1, 0, 0));
    registry.remove(&cap, v(0, 9, 9));
    assert_eq!(registry.releases().length(), 1);
    discard(world, registry, cap);
}

#[test]
fun versions_are_in_the_order_of_their_numbers() {
    let order = vector[v(0, 0, 0), v(0, 0, 10), v(0, 2, 0), v(0, 10, 1), v(1, 0, 0), v(2, 0, 0)];
    order.length().do!(|i| order.length().do!(|j| {
        assert_eq!(order[i].is_before(order[j]), i < j);
    }));
}

#[test, expected_failure(abort_code = releases::EAlreadyApproved)]
fun what_was_revoked_does_not_come_back() {
    let (world, mut registry, cap) = registry();
    approve(&world, &mut registry, &cap, v(0, 1, 0));
    registry.revoke(&cap, v(0, 1, 0), world.clock());
    approve(&world, &mut registry, &cap, v(0, 1, 0));
    abort
}

#[test, expected_failure(abort_code = releases::EAlreadyRevoked)]
fun a_release_is_revoked_once() {
    let (world, mut registry, cap) = registry();
    approve(&world, &mut registry, &cap, v(0, 1, 0));
    registry.revoke(&cap, v(0, 1, 0), world.clock());
    registry.revoke(&cap, v(0, 1, 0), world.clock());
    abort
}

#[test, expected_failure(abort_code = releases::EUnknownRelease)]
fun an_unknown_release_is_not_revoked() {
    let (world, mut registry, cap) = registry();
    registry.revoke(&cap, v(0, 1, 0), world.clock());
    abort
}

#[test, expected_failure(abort_code = releases::EVersionNotAhead)]
fun the_minimum_is_a_release_that_counts() {
    let (_world, mut registry, cap) = registry();
    registry.set_minimum(&cap, v(0, 1, 0));
    abort
}

#[test, expected_failure(abort_code = releases::EVersionNotAhead)]
fun the_minimum_does_not_fall() {
    let (world, mut registry, cap) = registry();
    approve(&world, &mut registry, &cap, v(0, 1, 0));
    approve(&world, &mut registry, &cap, v(0, 2, 0));
    registry.set_minimum(&cap, v(0, 2, 0));
    registry.set_minimum(&cap, v(0, 1, 0));
    abort
}

#[test, expected_failure(abort_code = releases::EVersionNotAhead)]
fun a_removed_release_does_not_come_back() {
    let (world, mut registry, cap) = registry();
    approve(&world, &mut registry, &cap, v(0, 1, 0));
    approve(&world, &mut registry, &cap, v(0, 2, 0));
    registry.set_minimum(&cap, v(0, 2, 0));
    registry.remove(&cap, v(0, 1, 0));
    approve(&world, &mut registry, &cap, v(0, 1, 0));
    abort
}

#[test, expected_failure(abort_code = releases::EStillTrusted)]
fun a_release_that_counts_is_not_removed() {
    let (world, mut registry, cap) = registry();
    approve(&world, &mut registry, &cap, v(0, 1, 0));
    registry.remove(&cap, v(0, 1, 0));
    abort
}

#[test, expected_failure(abort_code = releases::ETooManyReleases)]
fun a_registry_can_always_be_read_whole() {
    let (world, mut registry, cap) = registry();
    129u32.do!(|patch| approve(&world, &mut registry, &cap, v(0, 1, patch)));
    abort
}

#[test, expected_failure(abort_code = releases::EInvalidDigest)]
fun a_zero_root_hash_is_refused() {
    let (world, mut registry, cap) = registry();
    registry.approve(&cap, v(0, 1, 0), digest(0), digest(2), vector[], world.clock());
    abort
}

#[test, expected_failure(abort_code = releases::EInvalidDigest)]
fun a_pcr_of_another_bank_is_refused() {
    let (world, mut registry, cap) = registry();
    registry.approve(&cap, v(0, 1, 0), digest(1), pcr(2), vector[], world.clock());
    abort
}

#[test, expected_failure(abort_code = releases::EInvalidMeasurement)]
fun a_measurement_is_of_a_known_tee() {
    releases::launch_measurement(3, pcr(1));
    abort
}

#[test, expected_failure(abort_code = releases::EInvalidMeasurement)]
fun a_measurement_is_a_digest() {
    releases::launch_measurement(0, digest(1));
    abort
}

#[test, expected_failure(abort_code = releases::EInvalidMeasurement)]
fun a_zero_measurement_is_refused() {
    releases::launch_measurement(0, pcr(0));
    abort
}

#[test, expected_failure(abort_code = releases::ETooManyMeasurements)]
fun a_release_has_few_measurements() {
    let (world, mut registry, cap) = registry();
    let many = vector::tabulate!(9, |_| releases::launch_measurement(1, pcr(1)));
    registry.approve(&cap, v(0, 1, 0), digest(1), digest(2), many, world.clock());
    abort
}

#[test, expected_failure(abort_code = releases::EWrongRegistry)]
fun another_registrys_capability_approves_nothing() {
    let (mut world, registry, cap) = registry();
    destroy(registry);
    let (pool, admin, _, _, ctx) = world.parts();
    releases::new_registry(pool, admin, ctx);
    world.act_as(world::admin_address());
    let mut other = world.scenario().take_shared<ReleaseRegistry>();
    approve(&world, &mut other, &cap, v(0, 1, 0));
    abort
}

#[test, expected_failure(abort_code = authority::ERevoked)]
fun a_revoked_capability_approves_nothing() {
    let (mut world, mut registry, cap) = registry();
    let (pool, admin, _, _, _) = world.parts();
    registry.revoke_release_cap(pool, admin, object::id(&cap));
    approve(&world, &mut registry, &cap, v(0, 1, 0));
    abort
}

#[test, expected_failure(abort_code = releases::EWrongPool)]
fun another_pools_administrator_gives_no_capability() {
    let (mut world, mut registry, _cap) = registry();
    let (pool, admin, _slasher) = world.other();
    let (_, _, _, clock, ctx) = world.parts();
    destroy(registry.new_release_cap(&pool, &admin, clock, ctx));
    abort
}

#[test, expected_failure(abort_code = version::EWrongVersion)]
fun a_registry_of_another_version_is_refused() {
    let (world, mut registry, cap) = registry();
    registry.set_version_for_testing(2);
    approve(&world, &mut registry, &cap, v(0, 1, 0));
    abort
}

#[test]
fun a_registry_is_migrated() {
    let (mut world, mut registry, cap) = registry();
    registry.set_version_for_testing(0);
    let (pool, admin, _, _, _) = world.parts();
    registry.migrate(pool, admin);
    approve(&world, &mut registry, &cap, v(0, 1, 0));
    discard(world, registry, cap);
}
