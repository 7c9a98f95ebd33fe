//! How long after a slash the staker asks PID 1 for the power to be cut.
//!
//! 200 nodes, one after another, each with its own key and stake, on one fullnode double that makes
//! a checkpoint every 250 ms. The floor, in the same run: how long the slasher itself waits for its
//! transaction to be in a checkpoint. What the node adds to it is what this project answers for;
//! the target is 1 s at the 99th percentile.

#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::{Duration, Instant};

use common::devnet::{Devnet, is_slashed, starts_agent};

/// Milliseconds between checkpoints.
const FINALITY_MS: u64 = 250;
const NODES: usize = 200;
const TARGET: Duration = Duration::from_secs(1);

struct Sample {
    /// From the slasher's call until the slash is in a checkpoint.
    checkpoint: Duration,
    /// From the slasher's call until PID 1 is asked to power off.
    power_off: Duration,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // `cargo test --benches` asks every bench to show that it runs
    let nodes = if std::env::args().any(|argument| argument == "--bench") {
        NODES
    } else {
        1
    };
    let devnet = Devnet::with(FINALITY_MS, nodes).await;
    let master = devnet.master().await;
    let mut samples = Vec::with_capacity(nodes);
    for number in 0..nodes {
        samples.push(
            devnet
                .live_as(number, &master, async |init| {
                    init.expect(starts_agent).await;
                    init.first_heartbeat().await;
                    let started = Instant::now();
                    let slashed = async {
                        devnet.slash_node(number, 10_000).await;
                        started.elapsed()
                    };
                    let asked = async {
                        init.expect(is_slashed).await;
                        started.elapsed()
                    };
                    let (checkpoint, power_off) = tokio::join!(slashed, asked);
                    Sample {
                        checkpoint,
                        power_off,
                    }
                })
                .await,
        );
    }
    report(
        "slash -> in a checkpoint (floor)",
        samples.iter().map(|s| s.checkpoint),
    );
    report(
        "slash -> power-off asked for",
        samples.iter().map(|s| s.power_off),
    );
    let added = report(
        "in a checkpoint -> power-off",
        samples
            .iter()
            .map(|s| s.power_off.saturating_sub(s.checkpoint)),
    );
    println!(
        "target: p99 <= {} ms from checkpoint to power-off request: {}",
        TARGET.as_millis(),
        if added <= TARGET { "met" } else { "MISSED" }
    );
}

/// Prints the distribution and returns its 99th percentile.
fn report(name: &str, samples: impl Iterator<Item = Duration>) -> Duration {
    let mut sorted: Vec<Duration> = samples.collect();
    sorted.sort();
    let at = |percent: usize| {
        let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
        sorted[place]
    };
    println!(
        "{name:<34} n {:>4}  median {:>5} ms  p90 {:>5} ms  p99 {:>5} ms  max {:>5} ms",
        sorted.len(),
        at(50).as_millis(),
        at(90).as_millis(),
        at(99).as_millis(),
        at(100).as_millis(),
    );
    at(99)
}
