//! Transactions that are executed, and what becomes of them: all that they do, or nothing.

use sui_rpc::proto::sui::rpc::v2::execution_error::ExecutionErrorKind;
use sui_sdk_types::Address;
use sui_transaction_builder::{ObjectInput, TransactionBuilder};

use fullnode::devnet::bench::{Bench, bench, kind, settle, whole_stake};
use fullnode::devnet::raw::owned;
use fullnode::devnet::{Devnet, Raw, SUI};

#[tokio::test]
async fn effects_tell_what_changed() {
    let Bench {
        devnet,
        mut raw,
        sender,
        coins,
    } = bench().await;
    let key = &devnet.operator;
    let supply = devnet.node.supply();
    let tx = raw.build(sender, &coins, |raw, tx| whole_stake(raw, tx, key, SUI));
    let done = raw.execute(key, &tx).await.unwrap();
    let effects = done.effects();
    let count = |operation: &str| {
        effects
            .changed_objects()
            .iter()
            .filter(|object| format!("{:?}", object.id_operation()) == operation)
            .count()
    };
    // record and token; the second coin was merged into the first; the pool and that first coin are
    // changed
    assert_eq!(
        (count("Created"), count("Deleted"), count("None")),
        (2, 1, 2)
    );
    assert_eq!(done.events().events().len(), 2);
    let gas = effects.gas_used();
    let spent = gas.computation_cost() + gas.storage_cost() - gas.storage_rebate();
    assert_eq!(
        supply - devnet.node.supply(),
        spent,
        "no coin appears or vanishes"
    );
    for object in effects.changed_objects() {
        if object.output_digest.is_some() {
            assert_eq!(object.output_version(), effects.lamport_version());
        }
    }
    settle(&devnet).await;
    let coin = raw.coins(sender).await.remove(0);
    let told = effects.gas_object();
    assert_eq!(coin.object_id().to_string(), told.object_id());
    assert_eq!(coin.digest().to_string(), told.output_digest());
    assert_eq!(coin.version(), told.output_version());
}

#[tokio::test]
async fn a_record_may_not_be_dropped() {
    let Bench {
        devnet,
        mut raw,
        sender,
        coins,
    } = bench().await;
    let key = &devnet.operator;
    let node_key = key.public().to_flagged_bytes();
    let tx = raw.build(sender, &coins, |raw, tx| {
        raw.stake(tx, "edge", &node_key, SUI);
    });
    let done = raw.execute(key, &tx).await.unwrap();
    assert_eq!(
        kind(&done),
        Some(ExecutionErrorKind::UnusedValueWithoutDrop)
    );
    let index = done.effects().status().error().index_error();
    assert_eq!((index.index(), index.subresult()), (1, 0));

    // and nothing of it remains, but for the gas
    settle(&devnet).await;
    let spent = done.effects().gas_used();
    let balance = devnet.balance(key.address()).await.0;
    assert_eq!(
        12 * SUI - balance,
        spent.computation_cost() + spent.storage_cost()
    );
    assert!(done.events_opt().is_none());
    assert_eq!(
        done.effects().changed_objects().len(),
        3,
        "the merged coins and the pool, which is as it was"
    );
}

#[tokio::test]
async fn both_or_neither() {
    let Bench {
        devnet,
        mut raw,
        sender,
        coins,
    } = bench().await;
    let key = &devnet.operator;
    let node_key = key.public().to_flagged_bytes();
    // the second command fails: the stake of the first is undone
    let tx = raw.build(sender, &coins, |raw, tx| {
        let record = raw.stake(tx, "edge", &node_key, SUI);
        raw.share(tx, record);
        raw.stake(tx, "edge-2", &node_key, SUI - 1);
    });
    let done = raw.execute(key, &tx).await.unwrap();
    assert_eq!(kind(&done), Some(ExecutionErrorKind::MoveAbort));
    let error = done.effects().status().error();
    assert_eq!(error.command(), 4);
    let abort = error.abort();
    assert_eq!(abort.clever_error().constant_name(), "EBelowMinimumStake");
    assert_eq!(abort.location().function_name(), "stake_for_node");
    assert_eq!(
        abort.abort_code() >> 48,
        0xc000,
        "version 1 of the compiler's layout, code 0"
    );
    settle(&devnet).await;
    let found = devnet
        .chain()
        .await
        .find_stake(key.public(), "edge")
        .await
        .unwrap();
    assert_eq!(found, None);
}

#[tokio::test]
async fn values_are_used_once_and_as_what_they_are() {
    let Bench {
        devnet,
        mut raw,
        sender,
        ..
    } = bench().await;
    let key = &devnet.operator;
    let node_key = key.public().to_flagged_bytes();
    type Program<'a> = Box<dyn FnOnce(&Raw, &mut TransactionBuilder) + 'a>;
    let cases: Vec<(Program<'_>, ExecutionErrorKind, &str)> = vec![
        (
            Box::new(|raw, tx| {
                let record = raw.stake(tx, "edge", &node_key, SUI);
                raw.share(tx, record);
                raw.share(tx, record);
            }),
            ExecutionErrorKind::CommandArgumentError,
            "INVALID_VALUE_USAGE",
        ),
        (
            Box::new(|raw, tx| {
                let pool = raw.pool(tx, false);
                raw.call(tx, "staking::share_stake", vec![pool]);
            }),
            ExecutionErrorKind::CommandArgumentError,
            "INVALID_OBJECT_BY_VALUE",
        ),
        (
            Box::new(|raw, tx| {
                let amount = tx.pure(&SUI);
                raw.call(tx, "staking::share_stake", vec![amount]);
            }),
            ExecutionErrorKind::CommandArgumentError,
            "INVALID_USAGE_OF_PURE_ARGUMENT",
        ),
        (
            Box::new(|raw, tx| {
                let gas = tx.gas();
                raw.call(tx, "staking::share_stake", vec![gas]);
            }),
            ExecutionErrorKind::CommandArgumentError,
            "INVALID_GAS_COIN_USAGE",
        ),
        (
            Box::new(|_raw, tx| {
                let gas = tx.gas();
                let amount = tx.pure(&1u16);
                tx.split_coins(gas, vec![amount]);
            }),
            ExecutionErrorKind::CommandArgumentError,
            "INVALID_BCS_BYTES",
        ),
        (
            Box::new(|_raw, tx| {
                let gas = tx.gas();
                let amount = tx.pure(&(1000 * SUI));
                tx.split_coins(gas, vec![amount]);
            }),
            ExecutionErrorKind::InsufficientCoinBalance,
            "",
        ),
        (
            Box::new(|raw, tx| {
                raw.call(tx, "staking::share_stake", vec![]);
            }),
            ExecutionErrorKind::ArityMismatch,
            "",
        ),
        (
            Box::new(|raw, tx| {
                raw.call(tx, "staking::give_me_everything", vec![]);
            }),
            ExecutionErrorKind::FunctionNotFound,
            "",
        ),
        (
            Box::new(|raw, tx| {
                let key = tx.pure(&node_key.to_vec());
                let record = raw.stake(tx, "edge", &node_key, SUI);
                raw.share(tx, record);
                let pool = raw.pool(tx, false);
                raw.call(
                    tx,
                    "k8s_gateway::create_worker_seal_token",
                    vec![pool, record, key],
                );
            }),
            ExecutionErrorKind::CommandArgumentError,
            "INVALID_VALUE_USAGE",
        ),
    ];
    for (program, expected, detail) in cases {
        settle(&devnet).await;
        let coins = raw.coins(sender).await;
        let tx = raw.build(sender, &coins, |raw, tx| program(raw, tx));
        let done = raw.execute(key, &tx).await.unwrap();
        assert_eq!(kind(&done), Some(expected), "{:?}", done.effects().status());
        let found = done
            .effects()
            .status()
            .error()
            .command_argument_error()
            .kind();
        assert!(
            detail.is_empty() || found.as_str_name() == detail,
            "{found:?}, not {detail}"
        );
    }
}

#[tokio::test]
async fn a_seal_token_cannot_be_handed_on() {
    let devnet = Devnet::with_coins(&[10 * SUI]).await;
    let (_, stake) = devnet.staked().await;
    let mut raw = devnet.raw().await;
    let sender = devnet.operator.address().into();
    let coins = raw.coins(sender).await;
    let token = raw.reference(stake.seal_token.unwrap().id.into()).await;
    let tx = raw.build(sender, &coins, |_raw, tx| {
        let token = tx.object(owned(&token));
        let receiver = tx.pure(&Address::new([1; 32]));
        tx.transfer_objects(vec![token], receiver);
    });
    let done = raw.execute(&devnet.operator, &tx).await.unwrap();
    assert_eq!(kind(&done), Some(ExecutionErrorKind::InvalidTransferObject));
}

#[tokio::test]
async fn someone_else_takes_no_token_for_a_record() {
    let devnet = Devnet::with_coins(&[10 * SUI]).await;
    let (_, stake) = devnet.staked().await;
    let mut raw = devnet.raw().await;
    let sender = devnet.slasher.address().into();
    let coins = raw.coins(sender).await;
    let record = stake.record.into();
    let since = 3; // shared by the transaction that merged objects of version 1 and 2
    let attempt = |since| {
        raw.build(sender, &coins, |raw, tx| {
            let record = tx.object(ObjectInput::shared(record, since, true));
            let (pool, clock) = (raw.pool(tx, false), raw.clock(tx));
            raw.call(
                tx,
                "k8s_gateway::create_worker_seal_token",
                vec![pool, record, clock],
            );
        })
    };
    let (right, wrong) = (attempt(since - 1), attempt(since));
    let status = raw.execute(&devnet.slasher, &wrong).await.unwrap_err();
    assert!(status.message().contains("starting version"), "{status}");
    let done = raw.execute(&devnet.slasher, &right).await.unwrap();
    assert_eq!(
        done.effects()
            .status()
            .error()
            .abort()
            .clever_error()
            .constant_name(),
        "ENotStaker"
    );
}
