//! Replies that are wrong on purpose.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chain::{Chain, ChainError, Mist, ObjectId, Prepared, Stake, Verdict, WatchEvent};
use fullnode::Reply;
use prost::Message;
use sui_rpc::proto::sui::rpc::v2::{self as proto, get_object_result};

use super::Stage;
use fullnode::devnet::{NODE, SUI, next, within};

/// Every method that reads call.
const READS: [&str; 7] = [
    "GetServiceInfo",
    "GetObject",
    "BatchGetObjects",
    "GetBalance",
    "ListOwnedObjects",
    "GetEpoch",
    "SimulateTransaction",
];

/// More than the client reads of one message, and within what its windows let through.
const HUGE: u32 = 5 * 1024 * 1024;

/// Has every object of a batch be another.
fn objects(change: impl Fn(&mut proto::Object)) -> impl Fn(&[u8]) -> Reply {
    move |message| {
        let mut batch = proto::BatchGetObjectsResponse::decode(message).unwrap();
        for result in &mut batch.objects {
            if let Some(get_object_result::Result::Object(object)) = &mut result.result {
                change(object);
            }
        }
        Reply::Message(batch.encode_to_vec())
    }
}

/// The version of the package stands behind the object's id, in 8 bytes (`abi::StakeRecord`).
fn with_version(version: u64) -> impl Fn(&mut proto::Object) {
    move |object| {
        let contents = object.contents.as_mut().unwrap();
        let mut bytes = contents.value().to_vec();
        bytes[32..40].copy_from_slice(&version.to_le_bytes());
        contents.value = Some(bytes.into());
    }
}

/// Has a record be slashed, at a version made of its own.
fn slashed(record: ObjectId, version: fn(u64) -> u64) -> impl Fn(&mut proto::Object) {
    move |object| {
        if object.object_id() != record.to_string() {
            return;
        }
        object.version = Some(version(object.version()));
        let contents = object.contents.as_mut().unwrap();
        let mut decoded: chain::abi::StakeRecord = bcs::from_bytes(contents.value()).unwrap();
        decoded.status = chain::abi::status::SLASHED;
        decoded.balance = 0;
        contents.value = Some(bcs::to_bytes(&decoded).unwrap().into());
    }
}

#[tokio::test]
async fn objects_of_another_type_package_or_version_are_wrong_objects() {
    let stage = Stage::new(&[]).await;
    let chain = Chain::connect(&stage.settings(true)).await.unwrap();
    let package = stage.devnet.config.package.to_string();
    let fails = async |case: &str| {
        let error = within(chain.reread(&stage.stake)).await.unwrap_err();
        assert!(
            matches!(error, ChainError::WrongObject { .. }) && !error.retryable(),
            "{case}: {error}"
        );
        super::clear(&error).unwrap();
        let operator = stage.devnet.operator.public();
        let error = within(chain.find_stake(operator, NODE)).await.unwrap_err();
        assert!(
            matches!(error, ChainError::WrongObject { .. }),
            "{case}: {error}"
        );
    };
    stage.lie(
        "BatchGetObjects",
        objects(|object| object.object_type = Some("0x2::clock::Clock".to_owned())),
    );
    fails("type").await;
    stage.lie(
        "BatchGetObjects",
        objects(move |object| {
            let other = object
                .object_type()
                .replace(&package, &format!("0x{}", "77".repeat(32)));
            assert_ne!(other, object.object_type());
            object.object_type = Some(other);
        }),
    );
    fails("package").await;
    stage.lie(
        "BatchGetObjects",
        objects(|object| object.object_type = Some(format!("0x2::{}::T", "m".repeat(100_000)))),
    );
    let error = within(chain.reread(&stage.stake)).await.unwrap_err();
    super::clear(&error).unwrap();
    stage.lie("BatchGetObjects", objects(with_version(0)));
    fails("version").await;
    // a later one is an upgrade, which can't change a layout
    stage.lie("BatchGetObjects", objects(with_version(2)));
    chain.reread(&stage.stake).await.unwrap();
}

#[tokio::test]
async fn an_older_version_of_the_record_is_no_news() {
    let stage = Stage::new(&[]).await;
    let chain = Chain::connect(&stage.settings(true)).await.unwrap();
    stage.lie(
        "BatchGetObjects",
        objects(|object| object.version = Some(0)),
    );
    let error = within(chain.reread(&stage.stake)).await.unwrap_err();
    assert!(matches!(error, ChainError::Unreachable { .. }), "{error}");
}

/// A made up slash is told by one fullnode alone, and the other contradicts it.
#[tokio::test]
async fn a_slash_that_was_made_up_is_not_acted_on() {
    let stage = Stage::new(&[]).await;
    let chain = Chain::connect(&stage.settings(false)).await.unwrap();
    let record = stage.stake.record;
    stage.lie(
        "BatchGetObjects",
        objects(slashed(record, |version| version + 1)),
    );
    let seen = chain.reread(&stage.stake).await.unwrap();
    assert_eq!(seen.verdict, Verdict::Slashed);
    let error = within(chain.confirm(&seen)).await.unwrap_err();
    assert!(matches!(error, ChainError::Disagreement { .. }), "{error}");
}

/// A watch over a stake that was shown as slashed, where the liar is the first to be read.
async fn watch_over_slashed(stage: &Stage) -> chain::StakeWatch {
    let mut settings = stage.settings(false);
    // looks begin with the second
    settings.fullnodes.reverse();
    let chain = Chain::connect(&settings).await.unwrap();
    chain.watch_stake(&Stake {
        verdict: Verdict::Slashed,
        ..stage.stake.clone()
    })
}

/// The slash is read once more, and when it is to be confirmed, no fullnode shows it.
#[tokio::test]
async fn an_end_shown_once_is_not_what_a_watch_begins_with() {
    for breaks in [false, true] {
        let stage = Stage::new(&[]).await;
        let (record, lied) = (stage.stake.record, AtomicBool::new(false));
        let lie = objects(slashed(record, |version| version + 1));
        stage.lie("BatchGetObjects", move |message| {
            if !lied.swap(true, Ordering::Relaxed) {
                lie(message)
            } else if breaks {
                Reply::Cut(0)
            } else {
                Reply::Message(message.to_owned())
            }
        });
        let mut watch = watch_over_slashed(&stage).await;
        let event = next(&mut watch).await;
        let WatchEvent::Changed { stake, slash: None } = event else {
            panic!("{event:?}")
        };
        assert_eq!(stake.verdict, Verdict::Active);
        let event = next(&mut watch).await;
        let WatchEvent::Watching(stake) = event else {
            panic!("{event:?}")
        };
        assert_eq!(stake.verdict, Verdict::Active);
    }
}

/// Whatever version a lie has, it is no confirmed end.
#[tokio::test]
async fn an_end_of_no_version_is_contradicted() {
    let stage = Stage::new(&[]).await;
    stage.lie(
        "BatchGetObjects",
        objects(slashed(stage.stake.record, |_| 0)),
    );
    let event = next(&mut watch_over_slashed(&stage).await).await;
    assert!(
        matches!(event, WatchEvent::Contradicted { .. }),
        "{event:?}"
    );
}

#[tokio::test]
async fn replies_beyond_the_bound_and_those_that_never_end_are_given_up() {
    let stage = Stage::new(&[]).await;
    let mut settings = stage.settings(true);
    settings.timeouts.call = Duration::from_millis(300);
    for method in READS {
        for reply in [Reply::Zeroes(HUGE), Reply::Silence] {
            stage.lying.be_honest();
            let chain = Chain::connect(&settings).await.unwrap();
            let huge = reply != Reply::Silence;
            stage.lie(method, move |_message| reply.clone());
            let operator = &stage.devnet.operator;
            let error = within(async {
                match method {
                    "GetServiceInfo" => Chain::connect(&settings).await.err(),
                    "GetBalance" => chain.balance(operator.address()).await.err(),
                    "GetObject" => chain.pool().await.err(),
                    "BatchGetObjects" => chain.reread(&stage.stake).await.err(),
                    _ => chain
                        .prepare_stake(
                            &stage.newcomer,
                            "edge-9999",
                            Mist(SUI),
                            stage.newcomer.address(),
                        )
                        .await
                        .err(),
                }
            })
            .await;
            let error = error.unwrap_or_else(|| panic!("{method} was not needed"));
            super::clear(&error).unwrap();
            let right = match &error {
                ChainError::InvalidAnswer { call, .. } => huge && *call == method,
                ChainError::Unreachable { call, .. } => !huge && *call == method,
                _ => false,
            };
            assert!(right, "{method}: {error}");
        }
    }
}

/// The stake is made, and the node is not told.
#[tokio::test]
async fn an_execution_that_is_never_told_is_found_again() {
    for reply in [Reply::Zeroes(HUGE), Reply::Silence] {
        let stage = Stage::new(&[]).await;
        let chain = Chain::connect(&stage.settings(true)).await.unwrap();
        let prepared = chain.prepare_stake(
            &stage.newcomer,
            "edge-9999",
            Mist(SUI),
            stage.newcomer.address(),
        );
        let Prepared::Transaction(transaction) = prepared.await.unwrap() else {
            panic!("no stake yet")
        };
        stage.lie("ExecuteTransaction", move |_message| reply.clone());
        let told = within(chain.submit_stake(&transaction)).await;
        if let Err(error) = &told {
            // the client may have found it on the ledger meanwhile
            assert!(!error.never_executed(), "{error}");
        }
        let executed = stage.devnet.node.executed_transactions();
        stage.lying.be_honest();
        let stake = within(async {
            loop {
                match chain.submit_stake(&transaction).await {
                    Ok(stake) => break stake,
                    Err(error) => assert!(error.retryable(), "{error}"),
                }
            }
        })
        .await;
        assert_eq!(stake.node_key, stage.newcomer.public());
        assert_eq!(stage.devnet.node.executed_transactions(), executed);
    }
}
