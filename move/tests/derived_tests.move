/// Where records lie. The chain hashes 0xf0, the parent, the key's length as a machine word, the
/// key, and the key's type.
#[test_only]
module k3s_daas::derived_tests;

use k3s_daas::{goldens, staking::{Self, StakeKey}};
use std::{type_name, unit_test::assert_eq};
use sui::{address, bcs, hash::blake2b256};

const POOL: address = @0x2222222222222222222222222222222222222222222222222222222222222222;
const PACKAGE: address = @0xdadadadadadadadadadadadadadadadadadadadadadadadadadadadadadadada;

fun node_key(): vector<u8> {
    let mut key = x"00";
    key.append(vector::tabulate!(32, |_| 0x77));
    key
}

/// `0x2::derived_object::DerivedObjectKey<package::staking::StakeKey>` as a BCS type tag.
fun key_type(package: address): vector<u8> {
    let mut tag = vector[7];
    tag.append(bcs::to_bytes(&@0x2));
    tag.append(bcs::to_bytes(&b"derived_object"));
    tag.append(bcs::to_bytes(&b"DerivedObjectKey"));
    tag.append(vector[1, 7]);
    tag.append(bcs::to_bytes(&package));
    tag.append(bcs::to_bytes(&b"staking"));
    tag.append(bcs::to_bytes(&b"StakeKey"));
    tag.push_back(0);
    tag
}

fun derived(package: address, length: vector<u8>): address {
    let mut bytes = x"f0";
    bytes.append(bcs::to_bytes(&POOL));
    bytes.append(length);
    bytes.append(bcs::to_bytes(&node_key()));
    bytes.append(key_type(package));
    address::from_bytes(blake2b256(&bytes))
}

#[test]
fun a_record_lies_where_the_golden_says() {
    assert_eq!(derived(PACKAGE, x"2200000000000000"), goldens::stake_record_address());
}

#[test]
fun the_machine_derives_the_same() {
    let package = type_name::with_defining_ids<StakeKey>().address_string();
    let package = address::from_ascii_bytes(package.as_bytes());
    let address = staking::record_address(POOL.to_id(), node_key());
    // validators have 64-bit words; the test VM in WebAssembly has 32-bit ones
    assert!(
        address == derived(package, x"2200000000000000") ||
            address == derived(package, x"22000000"),
    );
}
