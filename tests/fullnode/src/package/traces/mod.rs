//! Traces: random sequences of calls, with what the double does at each. `move/traces.json` holds them;
//! the Move package's tests carry the same calls out in Sui's own VM, and compare aborts, events and
//! objects byte by byte. `WRITE_TRACES=1` writes the file.
//!
//! Left out, as the double has none of it: rewards, documents of AWS Nitro, migrations, ages of
//! evidence, and the making of pools, configurations and capabilities. Dynamic fields are compared by
//! their effects alone. Ids are shown as the Move tests show theirs.

mod choices;
mod stage;
mod steps;

use std::path::PathBuf;

use chain::abi::{StakeRecord, status};
use serde_json::{Value as Json, json};

use crate::ledger::Ledger;
use choices::Random;
use stage::Stage;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../move/traces.json");
/// When the Move tests' clock begins.
const NOW_MS: u64 = 1_700_000_000_000;
const HOUR_MS: u64 = 60 * 60 * 1000;
const DAY_MS: u64 = 24 * HOUR_MS;
const SUI: u64 = 1_000_000_000;
const NODES: u64 = 4;
const MASTERS: u64 = 3;
const SEEDS: u64 = 12;
const STEPS: usize = 60;

fn sequence(ledger: &Ledger, seed: u64) -> Json {
    let mut random = Random(seed);
    let mut stage = Stage::begin(ledger);
    let mut steps = vec![
        stage.trace("set_offence", &[1, 10_000, 10_000, 1]),
        stage.trace("set_offence", &[2, 1_000, 2_000, 1]),
        stage.trace("register", &[0]),
        stage.trace("stake", &[0, 5 * SUI, 1]),
        stage.trace("open", &[]),
    ];
    let (mut paid_in, mut paid_out) = (0, 0);
    while steps.len() < STEPS {
        let (name, numbers) = stage.choose(&mut random);
        let before = stage.held();
        let step = stage.trace(name, &numbers);
        if step.get("abort").is_none() {
            let after = stage.held();
            // coins come by three calls alone, and leave by three
            match name {
                "stake" | "top_up" | "restake" => paid_in += numbers[1],
                "withdraw" | "withdraw_treasury" | "verdict" => paid_out += before - after,
                _ => assert_eq!(before, after, "{name}"),
            }
        } else {
            assert_eq!(before, stage.held(), "{name} aborted");
        }
        steps.push(step);
    }
    assert_eq!(paid_in, paid_out + stage.held());
    for record in stage.records.iter().flatten() {
        let record: StakeRecord = record.read().unwrap();
        let empty = matches!(record.status, status::SLASHED | status::WITHDRAWN);
        assert_eq!(record.balance == 0, empty, "{record:?}");
    }
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
    let traces: Vec<Json> = (1..=SEEDS).map(|seed| sequence(&ledger, seed)).collect();
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
    // calls of every kind both succeed and abort somewhere
    let steps = traces
        .iter()
        .flat_map(|trace| trace["steps"].as_array().unwrap());
    let (aborted, done): (Vec<_>, Vec<_>) = steps.partition(|step| step.get("abort").is_some());
    assert!(
        done.len() > 200 && aborted.len() > 150,
        "{} {}",
        done.len(),
        aborted.len()
    );
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
