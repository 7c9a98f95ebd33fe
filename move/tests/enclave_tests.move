/// Which keys of masters count.
#[test_only]
module k3s_daas::enclave_tests;

use k3s_daas::{
    authority,
    bounds,
    enclave::{Self, EnclaveConfig, Enclave},
    signer,
    version,
    world::{Self, World, pcr, digest}
};
use std::unit_test::{assert_eq, destroy};

const HOUR_MS: u64 = 3_600_000;

fun configured(): (World, EnclaveConfig) {
    let mut world = world::begin();
    let config = world.config();
    (world, config)
}

/// A document of the signer's key.
fun register(world: &mut World, config: &mut EnclaveConfig, timestamp_ms: u64) {
    let key = signer::flagged_key();
    document(world, config, timestamp_ms, world::pcrs(), key, digest(1));
}

fun register_pcrs(world: &mut World, config: &mut EnclaveConfig, pcrs: vector<vector<u8>>) {
    document(world, config, world::now_ms(), pcrs, signer::flagged_key(), digest(1));
}

fun document(
    world: &mut World,
    config: &mut EnclaveConfig,
    timestamp_ms: u64,
    pcrs: vector<vector<u8>>,
    key: vector<u8>,
    tls: vector<u8>,
) {
    let cap = world.registrar(config);
    let (pool, clock) = (world.pool(), world.clock());
    config.register_attested_for_testing(pool, &cap, timestamp_ms, pcrs, key, tls, clock);
    destroy(cap);
}

fun update(world: &mut World, config: &mut EnclaveConfig, byte: u8) {
    let (pool, admin, _, clock, _) = world.parts();
    config.update_pcrs(pool, admin, pcr(byte), pcr(byte), pcr(byte), clock);
}

/// A key of the configuration's version, by a registrar.
fun successor(world: &mut World, config: &mut EnclaveConfig): Enclave {
    let cap = world.registrar(config);
    config.register_by_capability(
        world.pool(),
        &cap,
        world::key(5),
        digest(6),
        digest(7),
        world.clock(),
    );
    destroy(cap);
    world.act_as(world::admin_address());
    world.scenario().take_shared()
}

fun set_minimum(world: &mut World, config: &mut EnclaveConfig, minimum: u64, successor: &Enclave) {
    let (pool, admin, _, clock, _) = world.parts();
    config.set_minimum_config_version(pool, admin, minimum, successor, clock);
}

#[test]
fun an_attested_key_is_current() {
    let (mut world, mut config) = configured();
    let enclave = world.master(&mut config);
    assert!(config.is_current(&enclave));
    assert_eq!(enclave.public_key(), signer::flagged_key());
    assert_eq!(enclave.tls_key_sha256(), digest(0x71));
    destroy(enclave);
    destroy(config);
    world.end();
}

#[test]
fun a_document_counts_for_an_hour() {
    let (mut world, mut config) = configured();
    world.wait(HOUR_MS);
    register(&mut world, &mut config, world::now_ms());
    destroy(config);
    world.end();
}

#[test, expected_failure(abort_code = enclave::EDocumentTooOld)]
fun a_millisecond_later_it_is_too_old() {
    let (mut world, mut config) = configured();
    world.wait(HOUR_MS + 1);
    register(&mut world, &mut config, world::now_ms());
    abort
}

#[test]
fun an_enclaves_clock_may_be_ten_seconds_ahead() {
    let (mut world, mut config) = configured();
    register(&mut world, &mut config, world::now_ms() + 10_000);
    destroy(config);
    world.end();
}

#[test, expected_failure(abort_code = enclave::EDocumentFromFuture)]
fun document_of_the_future_is_refused() {
    let (mut world, mut config) = configured();
    register(&mut world, &mut config, world::now_ms() + 10_001);
    abort
}

#[test, expected_failure(abort_code = enclave::EDocumentFromFuture)]
fun document_of_the_end_of_time_is_refused() {
    let (mut world, mut config) = configured();
    register(&mut world, &mut config, 18_446_744_073_709_551_615);
    abort
}

#[test, expected_failure(abort_code = enclave::EDebugMode)]
fun an_enclave_in_debug_mode_is_refused() {
    let (mut world, mut config) = configured();
    register_pcrs(&mut world, &mut config, vector[pcr(0), pcr(0), pcr(0)]);
    abort
}

#[test, expected_failure(abort_code = enclave::EDebugMode)]
fun one_zero_pcr_is_enough_to_refuse() {
    let (mut world, mut config) = configured();
    register_pcrs(&mut world, &mut config, vector[pcr(0xa0), pcr(0), pcr(0xa2)]);
    abort
}

#[test, expected_failure(abort_code = enclave::EWrongPcrs)]
fun another_image_is_refused() {
    let (mut world, mut config) = configured();
    register_pcrs(&mut world, &mut config, vector[pcr(0xa0), pcr(0xa1), pcr(0xa3)]);
    abort
}

#[test, expected_failure(abort_code = enclave::EInvalidPcrs)]
fun a_document_without_a_pcr_is_refused() {
    let (mut world, mut config) = configured();
    register_pcrs(&mut world, &mut config, vector[pcr(0xa0), pcr(0xa1), b""]);
    abort
}

#[test, expected_failure(abort_code = enclave::EDebugMode)]
fun a_configuration_never_expects_debug_mode() {
    let (mut world, mut config) = configured();
    update(&mut world, &mut config, 0);
    abort
}

#[test, expected_failure(abort_code = enclave::EInvalidPublicKey)]
fun a_document_without_a_key_is_refused() {
    let (mut world, mut config) = configured();
    let now = world::now_ms();
    document(&mut world, &mut config, now, world::pcrs(), b"", digest(1));
    abort
}

#[test, expected_failure(abort_code = enclave::EInvalidTlsKeyDigest)]
fun a_document_that_binds_no_tls_key_is_refused() {
    let (mut world, mut config) = configured();
    let key = signer::flagged_key();
    let now = world::now_ms();
    document(&mut world, &mut config, now, world::pcrs(), key, b"");
    abort
}

#[test, expected_failure(abort_code = enclave::EAlreadyRegistered)]
fun a_document_is_not_registered_twice() {
    let (mut world, mut config) = configured();
    register(&mut world, &mut config, world::now_ms());
    register(&mut world, &mut config, world::now_ms());
    abort
}

#[test, expected_failure(abort_code = enclave::EAlreadyRegistered)]
fun a_retired_key_does_not_come_back() {
    let (mut world, mut config) = configured();
    let mut enclave = world.master(&mut config);
    let (pool, admin, _, _, _) = world.parts();
    config.retire(pool, admin, &mut enclave);
    assert!(!config.is_current(&enclave));
    destroy(enclave);
    register(&mut world, &mut config, world::now_ms());
    abort
}

#[test, expected_failure(abort_code = enclave::ERetired)]
fun a_key_is_retired_once() {
    let (mut world, mut config) = configured();
    let mut enclave = world.master(&mut config);
    let (pool, admin, _, _, _) = world.parts();
    config.retire(pool, admin, &mut enclave);
    config.retire(pool, admin, &mut enclave);
    abort
}

#[test]
fun keys_are_retired_with_their_version() {
    let (mut world, mut config) = configured();
    let enclave = world.master(&mut config);
    update(&mut world, &mut config, 0xb0);
    assert!(config.is_current(&enclave));
    let successor = successor(&mut world, &mut config);
    set_minimum(&mut world, &mut config, 2, &successor);
    assert!(!config.is_current(&enclave));
    assert!(config.is_current(&successor));
    destroy(successor);
    destroy(enclave);
    destroy(config);
    world.end();
}

#[test, expected_failure(abort_code = enclave::EWrongPcrs)]
fun a_former_image_is_not_registered() {
    let (mut world, mut config) = configured();
    update(&mut world, &mut config, 0xb0);
    register(&mut world, &mut config, world::now_ms());
    abort
}

#[test, expected_failure(abort_code = enclave::EVersionNotAhead)]
fun the_minimum_does_not_pass_the_current_version() {
    let (mut world, mut config) = configured();
    let successor = successor(&mut world, &mut config);
    set_minimum(&mut world, &mut config, 2, &successor);
    destroy(successor);
    abort
}

#[test, expected_failure(abort_code = enclave::EVersionNotAhead)]
fun the_minimum_does_not_fall() {
    let (mut world, mut config) = configured();
    update(&mut world, &mut config, 0xb0);
    let successor = successor(&mut world, &mut config);
    set_minimum(&mut world, &mut config, 2, &successor);
    set_minimum(&mut world, &mut config, 1, &successor);
    destroy(successor);
    abort
}

#[test]
fun ages_change_within_their_bounds() {
    let (mut world, mut config) = configured();
    let (pool, admin, _, _, _) = world.parts();
    let document = bounds::document_age_ms();
    let evidence = bounds::evidence_age_ms();
    config.set_ages(pool, admin, document.least(), evidence.least());
    config.set_ages(pool, admin, document.most(), evidence.most());
    destroy(config);
    world.end();
}

#[test, expected_failure(abort_code = enclave::EOutOfBounds)]
fun an_age_above_its_bounds_is_refused() {
    let (mut world, mut config) = configured();
    let (pool, admin, _, _, _) = world.parts();
    config.set_ages(pool, admin, bounds::document_age_ms().most() + 1, 600_000);
    abort
}

#[test, expected_failure(abort_code = enclave::EOutOfBounds)]
fun an_age_below_its_bounds_is_refused() {
    let (mut world, mut config) = configured();
    let (pool, admin, _, _, _) = world.parts();
    config.set_ages(pool, admin, HOUR_MS, bounds::evidence_age_ms().least() - 1);
    abort
}

// --- no gap between versions ---

#[test, expected_failure(abort_code = enclave::ENoSuccessor)]
fun version_stays_until_its_successor_is_effective() {
    let (mut world, mut config) = configured();
    world.open();
    update(&mut world, &mut config, 0xb0);
    let successor = successor(&mut world, &mut config);
    world.wait(bounds::notice_ms() - 1);
    set_minimum(&mut world, &mut config, 2, &successor);
    destroy(successor);
    abort
}

#[test]
fun version_is_retired_once_its_successor_is_effective() {
    let (mut world, mut config) = configured();
    world.open();
    update(&mut world, &mut config, 0xb0);
    let successor = successor(&mut world, &mut config);
    world.wait(bounds::notice_ms());
    set_minimum(&mut world, &mut config, 2, &successor);
    assert!(config.is_current(&successor));
    destroy(successor);
    destroy(config);
    world.end();
}

#[test, expected_failure(abort_code = enclave::ENoSuccessor)]
fun key_of_a_former_version_is_no_successor() {
    let (mut world, mut config) = configured();
    let former = successor(&mut world, &mut config);
    update(&mut world, &mut config, 0xb0);
    set_minimum(&mut world, &mut config, 2, &former);
    destroy(former);
    abort
}

#[test, expected_failure(abort_code = enclave::ENoSuccessor)]
fun retired_key_is_no_successor() {
    let (mut world, mut config) = configured();
    update(&mut world, &mut config, 0xb0);
    let mut successor = successor(&mut world, &mut config);
    let (pool, admin, _, _, _) = world.parts();
    config.retire(pool, admin, &mut successor);
    set_minimum(&mut world, &mut config, 2, &successor);
    destroy(successor);
    abort
}

#[test, expected_failure(abort_code = enclave::EWrongConfig)]
fun another_configurations_key_is_no_successor() {
    let (mut world, mut config) = configured();
    update(&mut world, &mut config, 0xb0);
    let mut other = world.config();
    let successor = successor(&mut world, &mut other);
    set_minimum(&mut world, &mut config, 2, &successor);
    destroy(successor);
    abort
}

// --- keys ---

#[test]
fun p256_key_is_registered() {
    let (mut world, mut config) = configured();
    let cap = world.registrar(&mut config);
    let key = signer::p256_flagged_key();
    config.register_by_capability(world.pool(), &cap, key, digest(6), digest(7), world.clock());
    world.act_as(world::admin_address());
    let enclave = world.scenario().take_shared<Enclave>();
    assert_eq!(enclave.public_key(), signer::p256_flagged_key());
    destroy(cap);
    destroy(enclave);
    destroy(config);
    world.end();
}

#[test, expected_failure(abort_code = enclave::EInvalidPublicKey)]
fun key_without_its_flag_is_refused() {
    let (mut world, mut config) = configured();
    let cap = world.registrar(&mut config);
    let key = signer::public_key();
    config.register_by_capability(world.pool(), &cap, key, digest(6), digest(7), world.clock());
    destroy(cap);
    abort
}

#[test, expected_failure(abort_code = enclave::EInvalidEvidence)]
fun registrar_names_its_evidence() {
    let (mut world, mut config) = configured();
    let cap = world.registrar(&mut config);
    config.register_by_capability(world.pool(), &cap, world::key(5), digest(6), b"", world.clock());
    destroy(cap);
    abort
}

// --- other TEEs ---

#[test]
fun a_registrar_registers_a_key() {
    let (mut world, mut config) = configured();
    let cap = world.registrar(&mut config);
    config.register_by_capability(
        world.pool(),
        &cap,
        world::key(5),
        digest(6),
        digest(7),
        world.clock(),
    );
    world.act_as(world::admin_address());
    let enclave = world.scenario().take_shared<Enclave>();
    assert!(config.is_current(&enclave));
    destroy(cap);
    destroy(enclave);
    destroy(config);
    world.end();
}

#[test, expected_failure(abort_code = authority::ERevoked)]
fun a_revoked_registrar_registers_nothing() {
    let (mut world, mut config) = configured();
    let cap = world.registrar(&mut config);
    let (pool, admin, _, _, _) = world.parts();
    config.revoke_registrar_cap(pool, admin, object::id(&cap));
    config.register_by_capability(
        world.pool(),
        &cap,
        world::key(5),
        digest(6),
        digest(7),
        world.clock(),
    );
    destroy(cap);
    abort
}

#[test, expected_failure(abort_code = enclave::EWrongConfig)]
fun another_configurations_registrar_registers_nothing() {
    let (mut world, mut config) = configured();
    let cap = world.registrar(&mut config);
    let mut other = world.config();
    other.register_by_capability(
        world.pool(),
        &cap,
        world::key(5),
        digest(6),
        digest(7),
        world.clock(),
    );
    destroy(cap);
    abort
}

#[test, expected_failure(abort_code = enclave::EWrongPool)]
fun another_pools_administrator_changes_no_configuration() {
    let (mut world, mut config) = configured();
    let (pool, admin, _slasher) = world.other();
    config.set_ages(&pool, &admin, HOUR_MS, 600_000);
    abort
}

#[test, expected_failure(abort_code = enclave::EWrongConfig)]
fun an_enclave_belongs_to_its_configuration() {
    let (mut world, mut config) = configured();
    let mut enclave = world.master(&mut config);
    let other = world.config();
    assert!(!other.is_current(&enclave));
    let (pool, admin, _, _, _) = world.parts();
    other.retire(pool, admin, &mut enclave);
    abort
}

// --- the registrar ---

#[test, expected_failure(abort_code = authority::ERevoked)]
fun document_without_a_listed_registrar_is_refused() {
    let (mut world, mut config) = configured();
    let cap = world.registrar(&mut config);
    let (pool, admin, _, clock, _) = world.parts();
    config.revoke_registrar_cap(pool, admin, object::id(&cap));
    let (now, pcrs, key) = (world::now_ms(), world::pcrs(), signer::flagged_key());
    config.register_attested_for_testing(pool, &cap, now, pcrs, key, digest(1), clock);
    destroy(cap);
    abort
}

#[test, expected_failure(abort_code = enclave::EWrongConfig)]
fun document_with_another_configurations_registrar_is_refused() {
    let (mut world, mut config) = configured();
    let mut other = world.config();
    let cap = world.registrar(&mut other);
    let (pool, clock) = (world.pool(), world.clock());
    let (now, pcrs, key) = (world::now_ms(), world::pcrs(), signer::flagged_key());
    config.register_attested_for_testing(pool, &cap, now, pcrs, key, digest(1), clock);
    destroy(cap);
    abort
}

#[test, expected_failure(abort_code = enclave::EWrongPool)]
fun key_is_not_registered_through_another_pool() {
    let (mut world, mut config) = configured();
    let cap = world.registrar(&mut config);
    let (pool, _admin, _slasher) = world.other();
    config.register_by_capability(&pool, &cap, world::key(5), digest(6), digest(7), world.clock());
    destroy(cap);
    abort
}

/// While the pool is not open there is no stake that a key could surprise.
#[test]
fun key_before_the_pool_is_open_is_effective_at_once() {
    let (mut world, mut config) = configured();
    let enclave = successor(&mut world, &mut config);
    assert_eq!(enclave.effective_from_ms(), world::now_ms());
    destroy(enclave);
    destroy(config);
    world.end();
}

#[test]
fun registered_key_is_effective_a_day_later() {
    let (mut world, mut config) = configured();
    let cap = world.registrar(&mut config);
    world.open();
    config.register_by_capability(
        world.pool(),
        &cap,
        world::key(5),
        digest(6),
        digest(7),
        world.clock(),
    );
    world.act_as(world::admin_address());
    let enclave = world.scenario().take_shared<Enclave>();
    assert_eq!(enclave.effective_from_ms(), world::now_ms() + bounds::registration_ms());
    destroy(enclave);
    destroy(cap);
    destroy(config);
    world.end();
}

#[test]
fun attested_key_is_effective_a_day_later() {
    let (mut world, mut config) = configured();
    let cap = world.registrar(&mut config);
    world.open();
    let (now, pcrs, key) = (world::now_ms(), world::pcrs(), signer::flagged_key());
    let (pool, clock) = (world.pool(), world.clock());
    config.register_attested_for_testing(pool, &cap, now, pcrs, key, digest(1), clock);
    world.act_as(world::admin_address());
    let enclave = world.scenario().take_shared<Enclave>();
    assert_eq!(enclave.effective_from_ms(), world::now_ms() + bounds::registration_ms());
    destroy(enclave);
    destroy(cap);
    destroy(config);
    world.end();
}

/// A new image's keys wait for its notice, whoever registers them.
#[test]
fun attested_key_waits_for_its_images_notice() {
    let (mut world, mut config) = configured();
    let cap = world.registrar(&mut config);
    world.open();
    update(&mut world, &mut config, 0xb0);
    let (now, pcrs, key) = (
        world::now_ms(),
        vector[pcr(0xb0), pcr(0xb0), pcr(0xb0)],
        signer::flagged_key(),
    );
    let (pool, clock) = (world.pool(), world.clock());
    config.register_attested_for_testing(pool, &cap, now, pcrs, key, digest(1), clock);
    world.act_as(world::admin_address());
    let enclave = world.scenario().take_shared<Enclave>();
    assert_eq!(enclave.effective_from_ms(), world::now_ms() + bounds::notice_ms());
    destroy(enclave);
    destroy(cap);
    destroy(config);
    world.end();
}

// --- versions ---

#[test, expected_failure(abort_code = version::EWrongVersion)]
fun objects_of_another_version_are_refused() {
    let (mut world, mut config) = configured();
    let mut enclave = world.master(&mut config);
    config.set_versions_for_testing(&mut enclave, version::current() + 1);
    let (pool, admin, _, _, _) = world.parts();
    config.retire(pool, admin, &mut enclave);
    abort
}

#[test]
fun objects_are_migrated() {
    let (mut world, mut config) = configured();
    let mut enclave = world.master(&mut config);
    config.set_versions_for_testing(&mut enclave, version::current() - 1);
    let (pool, admin, _, _, _) = world.parts();
    config.migrate(pool);
    config.migrate_enclave(&mut enclave);
    config.retire(pool, admin, &mut enclave);
    destroy(enclave);
    destroy(config);
    world.end();
}
