/// How much a registry of releases takes, so that it stays one object that can be read whole.
#[test_only]
module k3s_daas::release_bounds_tests;

use k3s_daas::{
    releases::{Self, Image, ReleaseRegistry, ReleaseCap},
    world::{Self, World, digest, pcr}
};
use std::{string::String, unit_test::destroy};

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

fun numbered(number: u64): vector<u8> { std::hash::sha2_256(sui::bcs::to_bytes(&number)) }

fun text(bytes: vector<u8>): String { bytes.to_string() }

fun image(): Image {
    let pcr11 = vector[releases::phase_pcr(text(b""), digest(2))];
    releases::image(text(b"disk"), text(b"x86_64"), digest(1), pcr11, vector[])
}

fun with_places(places: vector<String>) {
    let (world, mut registry, cap) = registry();
    let version = releases::release_version(0, 1, 0);
    registry.approve(&cap, version, vector[image()], digest(3), places, world.clock());
    discard(world, registry, cap);
}

#[test]
fun release_has_four_places() {
    let mut place = b"https://";
    place.append(vector::tabulate!(248, |_| 97));
    with_places(vector::tabulate!(4, |_| place.to_string()));
}

#[test, expected_failure(abort_code = releases::EInvalidPlaces)]
fun five_places_are_refused() {
    with_places(vector::tabulate!(5, |_| text(b"https://r.example.org/")));
}

#[test, expected_failure(abort_code = releases::EInvalidPlaces)]
fun place_without_tls_is_refused() { with_places(vector[text(b"http://r.example.org/x")]) }

#[test, expected_failure(abort_code = releases::EInvalidPlaces)]
fun place_without_a_host_is_refused() { with_places(vector[text(b"https://")]) }

#[test, expected_failure(abort_code = releases::EInvalidPlaces)]
fun endless_place_is_refused() {
    let mut place = b"https://";
    place.append(vector::tabulate!(249, |_| 97));
    with_places(vector[place.to_string()]);
}

/// The chain takes no object of more than 256,000 bytes.
#[test]
fun full_registry_fits_one_object() {
    let (world, mut registry, cap) = registry();
    let long = vector::tabulate!(30, |_| 97);
    32u64.do!(|release| {
        let images = vector::tabulate!(8, |image| {
            let pcr11 = vector::tabulate!(4, |phase| {
                let mut phases = vector[];
                if (phase > 0) {
                    phases = long;
                    phases.append(phase.to_string().into_bytes());
                };
                releases::phase_pcr(phases.to_string(), numbered(release * 32 + image * 4 + phase))
            });
            let mut target = long;
            target.append(image.to_string().into_bytes());
            let launch = vector::tabulate!(4, |_| releases::launch_measurement(0, pcr(7)));
            releases::image(target.to_string(), long.to_string(), digest(1), pcr11, launch)
        });
        let mut place = b"https://";
        place.append(vector::tabulate!(248, |_| 97));
        let places = vector::tabulate!(4, |_| place.to_string());
        let version = releases::release_version(0, 0, release as u32);
        registry.approve(&cap, version, images, digest(3), places, world.clock());
    });
    assert!(sui::bcs::to_bytes(&registry).length() < 250_000);
    discard(world, registry, cap);
}
