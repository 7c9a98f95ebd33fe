/// Which images count.
#[test_only]
module k3s_daas::releases_tests;

use k3s_daas::{
    authority,
    bounds,
    releases::{Self, Image, ReleaseRegistry, ReleaseCap, ReleaseVersion},
    version,
    world::{Self, World, digest, pcr}
};
use std::{string::String, unit_test::{assert_eq, destroy}};

public fun registry(): (World, ReleaseRegistry, ReleaseCap) {
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

public fun discard(world: World, registry: ReleaseRegistry, cap: ReleaseCap) {
    destroy(registry);
    destroy(cap);
    world.end();
}

public fun v(major: u32, minor: u32, patch: u32): ReleaseVersion {
    releases::release_version(major, minor, patch)
}

/// A digest of its own for each number.
fun numbered(number: u64): vector<u8> { std::hash::sha2_256(sui::bcs::to_bytes(&number)) }

fun text(bytes: vector<u8>): String { bytes.to_string() }

/// An image whose one PCR 11 is the number's.
public fun image(target: vector<u8>, number: u64): Image {
    let pcr11 = vector[releases::phase_pcr(text(b""), numbered(number))];
    let measurements = vector[releases::launch_measurement(0, pcr(7))];
    releases::image(text(target), text(b"x86_64"), digest(1), pcr11, measurements)
}

/// Approves a version with one image, whose PCR 11 is made from the version.
public fun approve(
    world: &World,
    registry: &mut ReleaseRegistry,
    cap: &ReleaseCap,
    v: ReleaseVersion,
) {
    let number = sui::bcs::to_bytes(&v).fold!(0, |sum, byte| sum * 256 % 1_000_003 + (byte as u64));
    approve_images(world, registry, cap, v, vector[image(b"disk", number)]);
}

public fun approve_images(
    world: &World,
    registry: &mut ReleaseRegistry,
    cap: &ReleaseCap,
    v: ReleaseVersion,
    images: vector<Image>,
) {
    registry.approve(cap, v, images, digest(3), vector[], world.clock());
}

/// Raises the minimum with the shortest deadline, which passes.
public fun raise(
    world: &mut World,
    registry: &mut ReleaseRegistry,
    cap: &ReleaseCap,
    v: ReleaseVersion,
) {
    let deadline_ms = world.clock().timestamp_ms() + bounds::release_notice_ms();
    registry.set_minimum(cap, v, deadline_ms, world.clock());
    world.wait(bounds::release_notice_ms());
}

#[test]
fun an_approved_release_counts_until_it_is_revoked() {
    let (world, mut registry, cap) = registry();
    assert!(!registry.is_trusted(v(0, 1, 0), world.clock()));
    approve(&world, &mut registry, &cap, v(0, 1, 0));
    assert!(registry.is_trusted(v(0, 1, 0), world.clock()));
    assert_eq!(registry.releases().length(), 1);
    registry.revoke(&cap, v(0, 1, 0), 0, world.clock());
    assert!(!registry.is_trusted(v(0, 1, 0), world.clock()));
    discard(world, registry, cap);
}

#[test]
fun earlier_releases_than_the_minimum_do_not_count() {
    let (mut world, mut registry, cap) = registry();
    approve(&world, &mut registry, &cap, v(0, 9, 9));
    approve(&world, &mut registry, &cap, v(1, 0, 0));
    raise(&mut world, &mut registry, &cap, v(1, 0, 0));
    assert!(
        !registry.is_trusted(v(0, 9, 9), world.clock()) &&
            registry.is_trusted(v(1, 0, 0), world.clock()),
    );
    assert_eq!(registry.minimum(), v(1, 0, 0));
    registry.remove(&cap, v(0, 9, 9), world.clock());
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
    registry.revoke(&cap, v(0, 1, 0), 0, world.clock());
    approve(&world, &mut registry, &cap, v(0, 1, 0));
    abort
}

#[test, expected_failure(abort_code = releases::EAlreadyRevoked)]
fun a_release_is_revoked_once() {
    let (world, mut registry, cap) = registry();
    approve(&world, &mut registry, &cap, v(0, 1, 0));
    registry.revoke(&cap, v(0, 1, 0), 0, world.clock());
    registry.revoke(&cap, v(0, 1, 0), 0, world.clock());
    abort
}

#[test, expected_failure(abort_code = releases::EUnknownRelease)]
fun an_unknown_release_is_not_revoked() {
    let (world, mut registry, cap) = registry();
    registry.revoke(&cap, v(0, 1, 0), 0, world.clock());
    abort
}

#[test, expected_failure(abort_code = releases::EVersionNotAhead)]
fun the_minimum_is_a_release_that_counts() {
    let (mut world, mut registry, cap) = registry();
    raise(&mut world, &mut registry, &cap, v(0, 1, 0));
    abort
}

#[test, expected_failure(abort_code = releases::EVersionNotAhead)]
fun the_minimum_does_not_fall() {
    let (mut world, mut registry, cap) = registry();
    approve(&world, &mut registry, &cap, v(0, 1, 0));
    approve(&world, &mut registry, &cap, v(0, 2, 0));
    raise(&mut world, &mut registry, &cap, v(0, 2, 0));
    raise(&mut world, &mut registry, &cap, v(0, 1, 0));
    abort
}

#[test, expected_failure(abort_code = releases::EVersionNotAhead)]
fun removed_release_below_the_minimum_does_not_come_back() {
    let (mut world, mut registry, cap) = registry();
    approve(&world, &mut registry, &cap, v(0, 1, 0));
    approve(&world, &mut registry, &cap, v(0, 2, 0));
    raise(&mut world, &mut registry, &cap, v(0, 2, 0));
    registry.remove(&cap, v(0, 1, 0), world.clock());
    approve(&world, &mut registry, &cap, v(0, 1, 0));
    abort
}

#[test, expected_failure(abort_code = releases::EStillTrusted)]
fun a_release_that_counts_is_not_removed() {
    let (world, mut registry, cap) = registry();
    approve(&world, &mut registry, &cap, v(0, 1, 0));
    registry.remove(&cap, v(0, 1, 0), world.clock());
    abort
}

#[test, expected_failure(abort_code = releases::ETooManyReleases)]
fun a_registry_can_always_be_read_whole() {
    let (world, mut registry, cap) = registry();
    33u32.do!(|patch| approve(&world, &mut registry, &cap, v(0, 1, patch)));
    abort
}

#[test, expected_failure(abort_code = releases::EInvalidDigest)]
fun a_zero_root_hash_is_refused() {
    let (world, registry, cap) = registry();
    let pcr11 = vector[releases::phase_pcr(text(b""), digest(2))];
    releases::image(text(b"disk"), text(b"x86_64"), digest(0), pcr11, vector[]);
    destroy(registry);
    destroy(cap);
    world.end();
    abort
}

#[test, expected_failure(abort_code = releases::EInvalidDigest)]
fun a_pcr_of_another_bank_is_refused() {
    let (world, registry, cap) = registry();
    releases::phase_pcr(text(b""), pcr(2));
    destroy(registry);
    destroy(cap);
    world.end();
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
    let many = vector::tabulate!(5, |_| releases::launch_measurement(1, pcr(1)));
    let pcr11 = vector[releases::phase_pcr(text(b""), digest(2))];
    releases::image(text(b"disk"), text(b"x86_64"), digest(1), pcr11, many);
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
    registry.set_version_for_testing(version::current() + 1);
    approve(&world, &mut registry, &cap, v(0, 1, 0));
    abort
}

#[test]
fun a_registry_is_migrated() {
    let (world, mut registry, cap) = registry();
    registry.set_version_for_testing(version::current() - 1);
    registry.migrate(world.pool());
    approve(&world, &mut registry, &cap, v(0, 1, 0));
    discard(world, registry, cap);
}

// --- images ---

#[test]
fun images_of_a_release_are_approved_together() {
    let (world, mut registry, cap) = registry();
    let images = vector[image(b"disk", 1), image(b"netboot", 2)];
    approve_images(&world, &mut registry, &cap, v(0, 1, 0), images);
    assert_eq!(registry.releases().length(), 1);
    discard(world, registry, cap);
}

#[test, expected_failure(abort_code = releases::EInvalidImages)]
fun release_without_an_image_is_refused() {
    let (world, mut registry, cap) = registry();
    approve_images(&world, &mut registry, &cap, v(0, 1, 0), vector[]);
    abort
}

#[test, expected_failure(abort_code = releases::EInvalidImages)]
fun two_images_of_one_kind_are_refused() {
    let (world, mut registry, cap) = registry();
    let images = vector[image(b"disk", 1), image(b"disk", 2)];
    approve_images(&world, &mut registry, &cap, v(0, 1, 0), images);
    abort
}

#[test, expected_failure(abort_code = releases::EInvalidImages)]
fun nine_images_are_refused() {
    let (world, mut registry, cap) = registry();
    let images = vector::tabulate!(9, |index| image((index).to_string().into_bytes(), index));
    approve_images(&world, &mut registry, &cap, v(0, 1, 0), images);
    abort
}

#[test, expected_failure(abort_code = releases::EMeasurementUsed)]
fun removed_releases_pcr11_does_not_come_back() {
    let (mut world, mut registry, cap) = registry();
    approve_images(&world, &mut registry, &cap, v(0, 1, 0), vector[image(b"disk", 1)]);
    approve_images(&world, &mut registry, &cap, v(0, 2, 0), vector[image(b"disk", 2)]);
    raise(&mut world, &mut registry, &cap, v(0, 2, 0));
    registry.remove(&cap, v(0, 1, 0), world.clock());
    approve_images(&world, &mut registry, &cap, v(0, 3, 0), vector[image(b"disk", 1)]);
    abort
}

#[test, expected_failure(abort_code = releases::EMeasurementUsed)]
fun revoked_releases_pcr11_stays_out_in_another_phase() {
    let (world, mut registry, cap) = registry();
    approve_images(&world, &mut registry, &cap, v(0, 1, 0), vector[image(b"disk", 1)]);
    registry.revoke(&cap, v(0, 1, 0), 0, world.clock());
    let pcr11 = vector[
        releases::phase_pcr(text(b""), numbered(2)),
        releases::phase_pcr(text(b"boot"), numbered(1)),
    ];
    let image = releases::image(text(b"disk"), text(b"x86_64"), digest(1), pcr11, vector[]);
    approve_images(&world, &mut registry, &cap, v(0, 2, 0), vector[image]);
    abort
}

#[test, expected_failure(abort_code = releases::EMeasurementUsed)]
fun two_images_have_two_values_of_pcr11() {
    let (world, mut registry, cap) = registry();
    let images = vector[image(b"disk", 1), image(b"netboot", 1)];
    approve_images(&world, &mut registry, &cap, v(0, 1, 0), images);
    abort
}

#[test, expected_failure(abort_code = releases::EInvalidPhases)]
fun image_without_a_pcr11_is_refused() {
    releases::image(text(b"disk"), text(b"x86_64"), digest(1), vector[], vector[]);
    abort
}

#[test, expected_failure(abort_code = releases::EInvalidPhases)]
fun first_pcr11_is_the_stubs() {
    let pcr11 = vector[releases::phase_pcr(text(b"boot"), digest(2))];
    releases::image(text(b"disk"), text(b"x86_64"), digest(1), pcr11, vector[]);
    abort
}

#[test, expected_failure(abort_code = releases::EInvalidPhases)]
fun phases_of_an_image_differ() {
    let pcr11 = vector::tabulate!(2, |number| releases::phase_pcr(text(b""), numbered(number)));
    releases::image(text(b"disk"), text(b"x86_64"), digest(1), pcr11, vector[]);
    abort
}

#[test, expected_failure(abort_code = releases::EInvalidName)]
fun image_for_no_target_is_refused() {
    let pcr11 = vector[releases::phase_pcr(text(b""), digest(2))];
    releases::image(text(b""), text(b"x86_64"), digest(1), pcr11, vector[]);
    abort
}

#[test, expected_failure(abort_code = releases::EInvalidName)]
fun endless_phases_are_refused() {
    releases::phase_pcr(vector::tabulate!(33, |_| 97).to_string(), digest(2));
    abort
}

#[test, expected_failure(abort_code = releases::EInvalidDigest)]
fun release_without_a_manifest_is_refused() {
    let (world, mut registry, cap) = registry();
    let images = vector[image(b"disk", 1)];
    registry.approve(&cap, v(0, 1, 0), images, b"", vector[], world.clock());
    abort
}
