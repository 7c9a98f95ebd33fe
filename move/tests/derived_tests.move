/// Where records and enclaves lie. The chain hashes 0xf0, the parent, the key's length as a machine
/// word, the key, and the key's type.
#[test_only]
module k3s_daas::derived_tests;

use k3s_daas::{
    enclave::EnclaveKey,
    goldens,
    rewards,
    rewards_world,
    staking::{Self, StakeKey},
    world::{Self, digest, key}
};
use std::{type_name, unit_test::{assert_eq, destroy}};
use sui::{address, bcs, hash::blake2b256};

const POOL: address = @0x2222222222222222222222222222222222222222222222222222222222222222;
const CONFIG: address = @0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa;
const PACKAGE: address = @0xdadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadada;

fun node_key(): vector<u8> {
    let mut key = x"00";
    key.append(vector::tabulate!(32, |_| 0x77));
    key
}

/// `0x2::derived_object::DerivedObjectKey<package::module::name>` as a BCS type tag.
fun key_type(package: address, module_name: vector<u8>, name: vector<u8>): vector<u8> {
    let mut tag = vector[7];
    tag.append(bcs::to_bytes(&@0x2));
    tag.append(bcs::to_bytes(&b"derived_object"));
    tag.append(bcs::to_bytes(&b"DerivedObjectKey"));
    tag.append(vector[1, 7]);
    tag.append(bcs::to_bytes(&package));
    tag.append(bcs::to_bytes(&module_name));
    tag.append(bcs::to_bytes(&name));
    tag.push_back(0);
    tag
}

fun derived(parent: address, length: vector<u8>, key: vector<u8>, key_type: vector<u8>): address {
    let mut bytes = x"f0";
    bytes.append(bcs::to_bytes(&parent));
    bytes.append(length);
    bytes.append(bcs::to_bytes(&key));
    bytes.append(key_type);
    address::from_bytes(blake2b256(&bytes))
}

fun record(package: address, length: vector<u8>): address {
    derived(POOL, length, node_key(), key_type(package, b"staking", b"StakeKey"))
}

fun enclave(config: address, package: address, length: vector<u8>): address {
    derived(config, length, key(0x71), key_type(package, b"enclave", b"EnclaveKey"))
}

#[test]
fun a_record_lies_where_the_golden_says() {
    assert_eq!(record(PACKAGE, x"2200000000000000"), goldens::stake_record_address());
}

#[test]
fun an_enclave_lies_where_the_golden_says() {
    assert_eq!(enclave(CONFIG, PACKAGE, x"2200000000000000"), goldens::enclave_address());
}

// Validators have 64-bit words; the test VM in WebAssembly has 32-bit ones.

#[test]
fun the_machine_derives_the_same_for_a_record() {
    let package = type_name::with_defining_ids<StakeKey>().address_string();
    let package = address::from_ascii_bytes(package.as_bytes());
    let address = staking::record_address(POOL.to_id(), node_key());
    assert!(
        address == record(package, x"2200000000000000") ||
            address == record(package, x"22000000"),
    );
}

#[test]
fun the_machine_derives_the_same_for_an_enclave() {
    let package = type_name::with_defining_ids<EnclaveKey>().address_string();
    let package = address::from_ascii_bytes(package.as_bytes());
    let mut world = world::begin();
    let mut config = world.config();
    let cap = world.registrar(&mut config);
    config.register_by_capability(
        world.pool(),
        &cap,
        key(0x71),
        digest(0x72),
        digest(0x73),
        world.clock(),
    );
    world.act_as(world::admin_address());
    let registered = world.scenario().take_shared<k3s_daas::enclave::Enclave>();
    let parent = object::id_address(&config);
    let address = object::id_address(&registered);
    assert!(
        address == enclave(parent, package, x"2200000000000000") ||
            address == enclave(parent, package, x"22000000"),
    );
    destroy(registered);
    destroy(cap);
    destroy(config);
    world.end();
}

#[test]
fun an_epoch_lies_where_the_golden_says() {
    let vault = address::from_bytes(digest(0xfa));
    let key = bcs::to_bytes(&5u64);
    let key_type = key_type(PACKAGE, b"rewards", b"EpochKey");
    let mut bytes = x"f0";
    bytes.append(bcs::to_bytes(&vault));
    bytes.append(x"0800000000000000");
    bytes.append(key);
    bytes.append(key_type);
    assert_eq!(address::from_bytes(blake2b256(&bytes)), goldens::epoch_address());
}

#[test]
fun machine_derives_the_same_for_an_epoch() {
    let mut world = world::begin();
    let mut config = world.config();
    let enclave = world.master(&mut config);
    let mut vault = rewards_world::vault(&mut world);
    rewards_world::to_the_end_of(&mut world, 0);
    rewards_world::publish(&mut world, &mut vault, &config, &enclave, 0, digest(4), 10, 2, 1);
    world.act_as(world::admin_address());
    let epoch = world.scenario().take_shared<rewards::Epoch>();
    assert_eq!(object::id_address(&epoch), rewards::epoch_address(object::id(&vault), 0));
    destroy(epoch);
    destroy(vault);
    destroy(enclave);
    destroy(config);
    world.end();
}
