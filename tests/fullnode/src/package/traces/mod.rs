//! Traces: random sequences of calls, with what the double does at each. `move/traces.json` holds them;
//! the Move package's tests carry the same calls out in Sui's own VM, and compare. `WRITE_TRACES=1`
//! writes the file.
//!
//! Compared are, of each step: the abort, by module and constant, or else all events, the coins that
//! accounts are paid, how many objects accounts are given and how many are shared, and the bytes of
//! every object that the call takes as `&mut`, whether or not the double changed it, and that it makes;
//! at the end of a sequence the bytes of all objects. There are two pools with all that belongs to them:
//! some calls take an object of the other one, or one of another version.
//!
//! Not compared:
//! - what the double has none of: documents of AWS Nitro, migrations, changes of the ages of
//!   documents and evidence, and the making of pools, configurations, registries, directories and the
//!   capabilities of registrars and releases (the lists are in `coverage`);
//! - dynamic fields, whose keys no other module of the package can make: by their effects alone;
//! - the place of an abort within its module: `move/goldens.json` has it from the compiled modules;
//! - aborts by arithmetic: none can be reached with a clock and coins that a chain can have;
//! - gas, digests and versions of objects: they are the executor's, not the package's.
//!
//! Ids are shown as the Move tests show theirs. Those that a sequence does not know by then are no ids
//! of its objects.

mod choices;
mod coins;
mod coverage;
mod episodes;
mod govern;
mod rewards;
mod side;
mod stage;
mod steps;

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value as Json, json};

use crate::ledger::Ledger;
use choices::{Random, Step, Used};
use coins::{Before, Coins};
use stage::Stage;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../move/traces.json");
/// When the Move tests' clock begins.
const NOW_MS: u64 = 1_700_000_000_000;
const HOUR_MS: u64 = 60 * 60 * 1000;
const DAY_MS: u64 = 24 * HOUR_MS;
const SUI: u64 = 1_000_000_000;
/// The whole, in basis points.
const WHOLE: u64 = 10_000;
const NODES: u64 = 4;
const MASTERS: u64 = 5;
/// How many epochs of a vault a sequence keeps.
const EPOCHS: u64 = 6;
const SEEDS: u64 = 18;
/// From which on sequences are about rewards.
const OF_REWARDS: u64 = 15;
const STEPS: usize = 130;

/// How a sequence begins: with offences, masters, a stake, and an open pool; some with something full.
fn beginning(seed: u64, used: &mut Used) -> Vec<Step> {
    let mut steps: Vec<Step> = vec![
        ("set_offence", vec![1, 3_000, 5_000, 1]),
        ("set_offence", vec![2, 1_000, 2_000, 1]),
        ("register", vec![0, 0]),
        ("register", vec![1, 0]),
        ("stake", vec![0, 5 * SUI, 1, 0]),
        ("open", Vec::new()),
        ("stake", vec![0, 5 * SUI, 1, 0]),
    ];
    match seed {
        1 => steps.extend((10..41).map(|reason| ("set_offence", vec![reason, 1, 1, 1]))),
        2 => steps.extend((100..133).map(|patch| choices::approve(patch, used, 0))),
        3 => {
            for _ in 0..16 {
                steps.extend([("begin_maintenance", vec![0, 0, 1]), ("wait", vec![1])]);
            }
            steps.push(("begin_maintenance", vec![0, 0, 1]));
        }
        _ => {}
    }
    steps
}

fn sequence(ledger: &Ledger, seed: u64, called: &mut BTreeSet<String>) -> Json {
    let (mut random, mut used) = (Random(seed), Used::default());
    let mut stage = Stage::begin(ledger);
    let mut coins = Coins::default();
    let mut steps = Vec::new();
    let mut next = beginning(seed, &mut used);
    let length = next.len() + if seed < OF_REWARDS { STEPS } else { 2 * STEPS };
    while steps.len() < length {
        for step in next {
            if !stage.is_possible(&step) {
                continue;
            }
            let before = Before::of(&mut stage);
            let json = stage.trace(&step);
            match json.get("abort") {
                None => coins.count(&mut stage, &step, &before),
                Some(_) => coins.compare(&mut stage, &step),
            }
            steps.push(json);
        }
        let late = steps.len() > length * 2 / 3;
        next = match seed < OF_REWARDS || random.rarely(3) {
            true => stage.choose(&mut random, &mut used, late),
            false => stage.reward(&mut random, &mut used),
        };
    }
    // all objects of both pools
    let other = (0..side::KINDS as u64).map(|kind| ("swap", vec![kind]));
    let end = std::iter::once(("look", Vec::new()));
    for step in end.clone().chain(other).chain(end) {
        steps.push(stage.trace(&step));
    }
    called.append(&mut stage.called);
    json!({"seed": seed, "steps": steps})
}

/// A line for each step.
fn text(traces: &[Json]) -> String {
    let sequence = |trace: &Json| {
        let steps = trace["steps"].as_array().unwrap().iter();
        let steps: Vec<String> = steps.map(|step| format!("    {step}")).collect();
        let seed = &trace["seed"];
        format!(
            "  {{\"seed\": {seed}, \"steps\": [\n{}\n  ]}}",
            steps.join(",\n")
        )
    };
    let sequences: Vec<String> = traces.iter().map(sequence).collect();
    format!("[\n{}\n]\n", sequences.join(",\n"))
}

#[test]
fn traces_are_what_the_double_does() {
    let config = crate::Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        certificate: PathBuf::new(),
        key: PathBuf::new(),
        chain_id: chain::ChainId::from_bytes([7; 32]),
        package: chain::ObjectId::from_bytes([0xa1; 32]),
        pool: chain::ObjectId::from_bytes([0xb2; 32]),
        slasher_cap: chain::ObjectId::from_bytes([0xc3; 32]),
        finality_ms: 20,
        epoch_ms: DAY_MS,
        gas_price: 1000,
        genesis: crate::Genesis {
            closed: true,
            minimum_stake_mist: SUI,
            unbonding_ms: 7 * DAY_MS,
            seal_token_ms: 30 * DAY_MS,
            slasher: chain::Address::from_bytes([1; 32]),
            accounts: Vec::new(),
        },
    };
    let node = crate::Node::new(&config);
    let ledger = node.ledger();
    let mut called = BTreeSet::new();
    let traces: Vec<Json> = (1..=SEEDS)
        .map(|seed| sequence(&ledger, seed, &mut called))
        .collect();
    // the order of an object's members depends on the features of serde_json in a build
    let kept = || serde_json::from_str(&std::fs::read_to_string(FILE).unwrap_or_default());
    let same = || kept().is_ok_and(|kept: Vec<Json>| kept == traces);
    if std::env::var_os("WRITE_TRACES").is_some() && !same() {
        std::fs::write(FILE, text(&traces)).unwrap();
    }
    assert!(
        same(),
        "move/traces.json is not what the double does: WRITE_TRACES=1 writes it, and the Move \
         package's tests say whether the contracts do the same"
    );
    coverage::assert_all_is_reached(&traces, &called);
}

/// Clients see where an abort was raised: the place of the function in the bytecode.
#[test]
fn abort_names_the_function_that_raises_it() {
    use chain::abi::abort::Abort;
    let called = super::find("staking", "top_up").unwrap();
    let (_, name) = super::raised_by(&Abort::EMPTY_COIN, called).unwrap();
    assert_eq!(name, "top_up");
    let (_, name) = super::raised_by(&Abort::WRONG_VERSION, called).unwrap();
    assert_eq!(name, "assert_own");
    for abort in chain::abi::abort::ALL {
        assert!(super::raised_by(abort, called).is_some(), "{abort:?}");
    }
}
