//! Replies mutated at random, one method at a time.

use std::sync::atomic::{AtomicUsize, Ordering};

use chain::NodeKey;
use fullnode::Reply;
use proptest::prelude::*;
use proptest::sample::Index;

use super::{Stage, runner, runtime};

/// How many mutations of the replies of each method that reads are tried.
const READS: u32 = 72;

/// The same of those that tell of a transaction: each takes a stake of its own.
const STAKES: u32 = 32;

/// What is made of a message.
#[derive(Debug, Clone)]
pub(super) enum Mutation {
    /// Ends early, in a frame of the right length.
    Truncated(Index),
    /// Breaks off.
    Cut(Index),
    /// Bits are turned over.
    Flipped(Vec<(Index, u8)>),
    /// Bytes are put in between.
    Spliced(Index, Vec<u8>),
    /// Bytes are left out.
    Holed(Index, Index),
    /// Twice in a row: protobuf takes the last of every field, and both of repeated ones.
    Doubled,
    /// Something else altogether.
    Noise(Vec<u8>),
}

impl Mutation {
    pub(super) fn of(&self, message: &[u8]) -> Reply {
        let length = message.len();
        let at = |index: &Index| index.index(length + 1);
        Reply::Message(match self {
            Self::Truncated(end) => message[..at(end)].to_vec(),
            Self::Cut(end) => return Reply::Cut(at(end)),
            Self::Flipped(flips) => {
                let mut message = message.to_vec();
                for (index, bits) in flips {
                    if length > 0 {
                        message[index.index(length)] ^= bits;
                    }
                }
                message
            }
            Self::Spliced(index, bytes) => {
                let (before, after) = message.split_at(at(index));
                [before, bytes, after].concat()
            }
            Self::Holed(one, other) => {
                let (one, other) = (at(one), at(other));
                [&message[..one.min(other)], &message[one.max(other)..]].concat()
            }
            Self::Doubled => message.repeat(2),
            Self::Noise(bytes) => bytes.clone(),
        })
    }
}

pub(super) fn mutations() -> impl Strategy<Value = Mutation> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..64);
    prop_oneof![
        2 => any::<Index>().prop_map(Mutation::Truncated),
        1 => any::<Index>().prop_map(Mutation::Cut),
        6 => prop::collection::vec((any::<Index>(), 1..=u8::MAX), 1..6)
            .prop_map(Mutation::Flipped),
        2 => (any::<Index>(), bytes()).prop_map(|(at, bytes)| Mutation::Spliced(at, bytes)),
        2 => (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Mutation::Holed(a, b)),
        1 => Just(Mutation::Doubled),
        1 => bytes().prop_map(Mutation::Noise),
    ]
}

fn reads_with_mutated(method: &'static str) {
    let runtime = runtime();
    let stage = runtime.block_on(Stage::new(&[]));
    let tried = runner(method, READS).run(&mutations(), |mutation| {
        stage.lie(method, move |message| mutation.of(message));
        let read = runtime.block_on(stage.read_everything());
        let requests = stage.lying.take_requests();
        prop_assert!(requests.contains_key(method), "{requests:?}");
        read
    });
    tried.unwrap_or_else(|error| panic!("{method}: {error}"));
}

#[test]
fn mutated_service_info_is_no_harm() {
    reads_with_mutated("GetServiceInfo");
}

#[test]
fn mutated_objects_are_no_harm() {
    reads_with_mutated("GetObject");
}

#[test]
fn mutated_batches_of_objects_are_no_harm() {
    reads_with_mutated("BatchGetObjects");
}

#[test]
fn mutated_balances_are_no_harm() {
    reads_with_mutated("GetBalance");
}

#[test]
fn mutated_lists_of_coins_are_no_harm() {
    reads_with_mutated("ListOwnedObjects");
}

#[test]
fn mutated_epochs_are_no_harm() {
    reads_with_mutated("GetEpoch");
}

#[test]
fn mutated_dry_runs_are_no_harm() {
    reads_with_mutated("SimulateTransaction");
}

/// What the node is told of its transaction is wrong: it stakes once all the same.
fn stakes_with_mutated(method: &'static str) {
    let keys: Vec<NodeKey> = (0..2 * STAKES)
        .map(|_| NodeKey::generate().unwrap())
        .collect();
    let runtime = runtime();
    let stage = runtime.block_on(Stage::new(&keys));
    let turn = AtomicUsize::new(0);
    let tried = runner(method, STAKES).run(&mutations(), |mutation| {
        stage.lie(method, move |message| mutation.of(message));
        let turn = turn.fetch_add(1, Ordering::Relaxed);
        let key = keys
            .get(turn)
            .ok_or_else(|| TestCaseError::reject("no accounts are left"))?;
        runtime.block_on(stage.stake_once(key, &format!("newcomer-{turn:04}")))
    });
    tried.unwrap_or_else(|error| panic!("{method}: {error}"));
}

#[test]
fn a_stake_is_one_however_its_execution_is_told() {
    stakes_with_mutated("ExecuteTransaction");
}

#[test]
fn a_stake_is_one_however_its_checkpoint_is_told() {
    stakes_with_mutated("SubscribeCheckpoints");
}

#[test]
fn a_stake_is_one_however_it_is_found_again() {
    stakes_with_mutated("GetTransaction");
}
