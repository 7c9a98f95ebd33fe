//! The bytes that the Move package's own tests assert, `move/goldens.json`: every type here is
//! read from them and written again, and nothing is left over.

use std::collections::BTreeSet;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::*;

mod mirrors;

const GOLDENS: &str = include_str!("../../../../../../move/goldens.json");

fn goldens() -> Value {
    serde_json::from_str(GOLDENS).unwrap()
}

fn bytes(hexadecimal: &str) -> Vec<u8> {
    let digits = hexadecimal.strip_prefix("0x").unwrap_or(hexadecimal);
    assert_eq!(digits.len() % 2, 0);
    (0..digits.len() / 2)
        .map(|index| u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).unwrap())
        .collect()
}

/// Bytes stand as hexadecimal in the goldens, and as lists of numbers in what serde writes.
fn same(ours: &Value, golden: &Value) -> bool {
    match (ours, golden) {
        (Value::Array(list), Value::String(text)) if text.starts_with("0x") || text.is_empty() => {
            let list: Vec<u64> = list.iter().filter_map(Value::as_u64).collect();
            list == bytes(text).into_iter().map(u64::from).collect::<Vec<_>>()
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(key, value)| other.get(key).is_some_and(|other| same(value, other)))
        }
        _ => ours == golden,
    }
}

fn holds<T: Serialize + DeserializeOwned>(golden: &Value) {
    let name = &golden["name"];
    let bytes = bytes(golden["bcs"].as_str().unwrap());
    let value: T = bcs::from_bytes(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(bcs::to_bytes(&value).unwrap(), bytes, "{name}");
    let json = serde_json::to_value(&value).unwrap();
    assert!(
        same(&json, &golden["value"]),
        "{name}: {json} is not {golden}"
    );
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(
        bcs::from_bytes::<T>(&longer).is_err(),
        "{name}: a byte more"
    );
    let shorter = &bytes[..bytes.len() - 1];
    assert!(
        bcs::from_bytes::<T>(shorter).is_err(),
        "{name}: a byte less"
    );
}

macro_rules! known {
    ($golden:expr, $name:expr, $($type:ident),+ $(,)?) => {
        match $name {
            $(name if name == format!("{}::{}", $type::MODULE, $type::NAME) => {
                holds::<$type>($golden);
                true
            })+
            _ => false,
        }
    };
}

#[test]
fn every_type_is_read_and_written_as_move_does() {
    let goldens = goldens();
    let mut read = BTreeSet::new();
    let mut unread = BTreeSet::new();
    for golden in goldens["structs"].as_array().unwrap() {
        let name = golden["name"].as_str().unwrap();
        let known = known!(
            golden,
            name,
            Pool,
            StakeRecord,
            AdminCap,
            SlasherCap,
            Staked,
            Restaked,
            ToppedUp,
            Slashed,
            UnstakeRequested,
            UnstakeCancelled,
            Withdrawn,
            SealToken,
            SealTokenIssued,
            SealTokenBurnt,
            PoolCreated,
            PoolOpened,
            Treasury,
            MasterDirectory,
            MasterInfo,
            DirectoryCreated,
            MasterListed,
            MasterRemoved,
            EnclaveConfig,
            Enclave,
            RegistrarCap,
            EnclaveConfigChanged,
            EnclaveRegistered,
            EnclaveRetired,
            ReleaseRegistry,
            ReleaseCap,
            RegistryCreated,
            ReleaseApproved,
            ReleaseRevoked,
            ReleaseRemoved,
            MinimumReleaseChanged,
            MinimumReleaseLowered,
            CapabilityIssued,
            CapabilityRevoked,
            Vault,
            Epoch,
            VaultCreated,
            VaultFunded,
            BudgetChanged,
            RootPublished,
            EpochVoided,
            RewardPaid,
            EpochClosed,
        );
        let known = known || mirrors::hold(golden, name);
        let set = if known { &mut read } else { &mut unread };
        set.insert(name.to_owned());
    }
    assert_eq!(unread, BTreeSet::new(), "types that nothing here mirrors");
    assert!(read.len() >= 15, "{read:?}");
}

#[test]
fn derived_objects_are_where_the_package_derives_them() {
    let goldens = goldens();
    let address = |text: &Value| Address::new(bytes(text.as_str().unwrap()).try_into().unwrap());
    let list = goldens["addresses"].as_array().unwrap();
    assert_eq!(list.len(), 3);
    for golden in list {
        let package = address(&golden["package"]);
        let key = |field: &str| bytes(golden[field].as_str().unwrap());
        let derived = match golden["key_type"].as_str().unwrap() {
            "staking::StakeKey" => record_id(package, address(&golden["pool"]), &key("node_key")),
            "enclave::EnclaveKey" => {
                enclave_id(package, address(&golden["config"]), &key("public_key"))
            }
            "rewards::EpochKey" => {
                let number = golden["number"].as_u64().unwrap();
                epoch_id(package, address(&golden["vault"]), number)
            }
            other => panic!("{other}"),
        };
        assert_eq!(derived, address(&golden["address"]), "{golden}");
    }
}

#[test]
fn every_abort_is_named_as_move_does() {
    let goldens = goldens();
    let theirs: BTreeSet<(String, u64, String, String)> = goldens["aborts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|abort| {
            let text = |field: &str| abort[field].as_str().unwrap().to_owned();
            let code = abort["code"].as_u64().unwrap();
            (text("module"), code, text("name"), text("text"))
        })
        .collect();
    let ours: BTreeSet<(String, u64, String, String)> = abort::ALL
        .iter()
        .map(|abort| {
            (
                abort.module.to_owned(),
                u64::from(abort.code),
                abort.name.to_owned(),
                abort.text.to_owned(),
            )
        })
        .collect();
    assert_eq!(ours, theirs);
    assert_eq!(ours.len(), abort::ALL.len(), "none stands there twice");
}

#[test]
fn types_have_their_full_names() {
    let package = Address::new([0xa1; 32]);
    assert_eq!(
        StakeRecord::tag(package).to_string(),
        format!("0x{}::staking::StakeRecord", "a1".repeat(32))
    );
    assert_eq!(
        Pool::tag(package).to_string(),
        format!("0x{}::pool::Pool", "a1".repeat(32))
    );
}

#[test]
fn framework_objects() {
    let coin = Coin {
        id: Address::new([7; 32]),
        balance: 10,
    };
    let golden = [&[7; 32][..], &10_u64.to_le_bytes()].concat();
    assert_eq!(bcs::to_bytes(&coin).unwrap(), golden);
    let clock = Clock {
        id: Address::new([6; 32]),
        timestamp_ms: 1,
    };
    let golden = [&[6; 32][..], &1_u64.to_le_bytes()].concat();
    assert_eq!(bcs::to_bytes(&clock).unwrap(), golden);
    let field = Field {
        id: Address::new([5; 32]),
        name: "edge".to_owned(),
        value: Address::new([4; 32]),
    };
    let golden = [&[5; 32][..], &[4], b"edge", &[4; 32]].concat();
    assert_eq!(bcs::to_bytes(&field).unwrap(), golden);
}

#[test]
fn abort_codes_are_told_apart_by_module() {
    use abort::{Abort, named};
    assert_eq!(named(STAKING, 0), Some(&Abort::BELOW_MINIMUM_STAKE));
    assert_eq!(named(GATEWAY, 0), Some(&Abort::NOT_STAKER));
    assert_eq!(named(STAKING, 99), None);
}

#[test]
fn authored_codes_are_taken_out_of_what_the_compiler_writes() {
    use abort::authored_code;
    assert_eq!(authored_code(7), 7);
    assert_eq!(authored_code(0xc005_ffff_ffff_ffff), 5);
    assert_eq!(authored_code(0xc000_0011_0022_0033), 0);
    let without_code = 0xc0ff_0011_0022_0033;
    assert_eq!(authored_code(without_code), without_code);
}
