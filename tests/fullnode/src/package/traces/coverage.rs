//! What the traces have to reach, and what they can't, with the reason.

use std::collections::{BTreeMap, BTreeSet};

use chain::abi::abort;
use serde_json::Value as Json;

use crate::package::{Parameter, functions};

/// Steps that can't abort.
const NEVER_ABORT: &[(&str, &str)] = &[
    ("wait", "no call"),
    ("look", "no call"),
    ("swap", "no call"),
    ("set_version", "no call"),
    (
        "burn",
        "anybody may burn a token of theirs, whatever its record is",
    ),
];

/// Aborts that no trace reaches.
const ABORTS_NOT_REACHED: &[(&str, &str, &str)] = &[
    (
        "enclave",
        "EWrongPcrs",
        "of documents of AWS Nitro, which the double can't read",
    ),
    ("enclave", "EDocumentTooOld", "of documents of AWS Nitro"),
    (
        "enclave",
        "EDocumentFromFuture",
        "of documents of AWS Nitro",
    ),
    (
        "enclave",
        "EOutOfBounds",
        "of ages of documents and evidence, which the double can't change",
    ),
    (
        "k8s_gateway",
        "ETooManyMasters",
        "64 keys would have to be registered first, by the Move tests in each run anew",
    ),
    (
        "version",
        "EAlreadyMigrated",
        "of migrations, which only a later version has a use for",
    ),
];

/// Public functions that change something and that the double does not have.
const FUNCTIONS_LEFT_OUT: &[(&str, &str, &str)] = &[
    ("administration", "migrate_treasury", "migrations"),
    ("enclave", "migrate", "migrations"),
    ("enclave", "migrate_enclave", "migrations"),
    (
        "enclave",
        "new_config",
        "made by the devnet, before its chain begins",
    ),
    ("enclave", "new_registrar_cap", "made by the devnet"),
    ("enclave", "register_nitro", "documents of AWS Nitro"),
    ("enclave", "set_ages", "nothing asks the double for it"),
    ("k8s_gateway", "migrate", "migrations"),
    ("k8s_gateway", "new_directory", "made by the devnet"),
    ("pool", "migrate", "migrations"),
    ("releases", "migrate", "migrations"),
    ("releases", "new_registry", "made by the devnet"),
    ("releases", "new_release_cap", "made by the devnet"),
    ("rewards", "migrate", "migrations"),
    ("rewards", "migrate_epoch", "migrations"),
    ("staking", "migrate_record", "migrations"),
];

/// Each kind of step both succeeds and aborts, and every abort is reached, but for what the lists say;
/// and the lists say no more than they must.
pub(super) fn assert_all_is_reached(traces: &[Json], called: &BTreeSet<String>) {
    let mut outcomes: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
    let mut aborts = BTreeSet::new();
    for step in traces
        .iter()
        .flat_map(|trace| trace["steps"].as_array().unwrap())
    {
        let abort = step.get("abort");
        let name = step["call"].as_str().unwrap();
        outcomes.entry(name).or_default()[usize::from(abort.is_some())] += 1;
        if let Some(abort) = abort {
            let member = |name: &str| abort[name].as_str().unwrap();
            aborts.insert((member("module"), member("name")));
        }
    }
    let mut faults = Vec::new();
    for (name, [done, aborted]) in outcomes {
        let excused = NEVER_ABORT.iter().any(|(one, _)| *one == name);
        if done == 0 || (aborted == 0) != excused {
            faults.push(format!("{name}: {done} succeed, {aborted} abort"));
        }
    }
    for abort in abort::ALL {
        let key = (abort.module, abort.name);
        let mut single = ABORTS_NOT_REACHED.iter();
        let excused = single.any(|(module, name, _)| (*module, *name) == key);
        if aborts.contains(&key) == excused {
            faults.push(format!("{key:?}: excused {excused}"));
        }
    }
    for function in functions() {
        let name = format!("{}::{}", function.module, function.name);
        if !called.contains(&name) {
            faults.push(format!("{name} never succeeds"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn abi() -> serde_json::Map<String, Json> {
    let mut abi: Json = serde_json::from_str(include_str!("../../../../../move/abi.json")).unwrap();
    match abi["modules"].take() {
        Json::Object(modules) => modules,
        other => panic!("no modules: {other}"),
    }
}

fn parameters(function: &Json) -> Vec<&str> {
    let parameters = function["parameters"].as_array().unwrap().iter();
    // an id is an address
    let named = parameters.map(|one| match one.as_str().unwrap() {
        "0x2::object::ID" => "address",
        other => other,
    });
    let mut parameters: Vec<&str> = named.collect();
    parameters.retain(|one| !one.ends_with("::tx_context::TxContext"));
    parameters
}

/// What calls may write is what the contracts may write: traces compare it after each step.
#[test]
fn parameters_of_the_double_are_the_contracts() {
    let abi = abi();
    for function in functions() {
        let known = &abi[function.module]["functions"][function.name];
        let known = parameters(known);
        let ours = function.parameters.iter().map(written);
        let ours: Vec<String> = ours.collect();
        assert_eq!(ours, known, "{}::{}", function.module, function.name);
    }
}

/// As the compiler writes it.
fn written(parameter: &Parameter) -> String {
    let named = |kind: &crate::package::Kind| {
        let tag = kind.tag(sui_sdk_types::Address::ZERO).to_string();
        shortened(&tag)
    };
    match parameter {
        Parameter::Read(kind) => format!("&{}", named(kind)),
        Parameter::Write(kind) => format!("&mut {}", named(kind)),
        Parameter::Take(kind) => named(kind),
        Parameter::Vector(kind) => format!("vector<{}>", named(kind)),
        Parameter::Bool => "bool".to_owned(),
        Parameter::U8 => "u8".to_owned(),
        Parameter::U16 => "u16".to_owned(),
        Parameter::U32 => "u32".to_owned(),
        Parameter::U64 => "u64".to_owned(),
        Parameter::Text => "0x1::string::String".to_owned(),
        Parameter::Texts => "vector<0x1::string::String>".to_owned(),
        Parameter::Bytes => "vector<u8>".to_owned(),
        Parameter::Address => "address".to_owned(),
    }
}

/// A type's name with short addresses.
fn shortened(tag: &str) -> String {
    let mut name = tag.to_owned();
    for digit in ["0", "2"] {
        name = name.replace(&format!("0x{digit:0>64}"), &format!("0x{digit}"));
    }
    name
}

/// Every public function that changes something is the double's or on the list.
#[test]
fn functions_left_out_are_listed() {
    let writes = |function: &Json| {
        let parameters = function["parameters"].as_array().unwrap();
        parameters
            .iter()
            .any(|one| one.as_str().unwrap().starts_with("&mut"))
    };
    let mut faults = Vec::new();
    for (module, known) in &abi() {
        for (name, function) in known["functions"].as_object().unwrap() {
            let ours = crate::package::find(module, name).is_some();
            let mut listed = FUNCTIONS_LEFT_OUT.iter();
            let listed = listed.any(|(m, n, _)| (m, n) == (&module.as_str(), &name.as_str()));
            if writes(function) && ours == listed {
                faults.push(format!("{module}::{name}"));
            }
        }
    }
    assert!(
        faults.is_empty(),
        "neither called nor listed, or both: {faults:?}"
    );
}
