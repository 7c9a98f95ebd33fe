//! What the double does not take, sent by a client without manners: nothing is executed.

use chain::NodeKey;
use sui_rpc::proto::sui::rpc::v2::{
    GetServiceInfoRequest, SimulateTransactionRequest, Transaction as Message,
};
use sui_sdk_types::{Address, Digest, ObjectReference};
use sui_transaction_builder::ObjectInput;

use fullnode::devnet::bench::{Bench, bench, kind, settle, whole_stake};
use fullnode::devnet::raw::{owned, sign};
use fullnode::devnet::{Devnet, SUI};

#[tokio::test]
async fn a_transaction_submitted_twice_runs_once() {
    let Bench {
        devnet,
        mut raw,
        sender,
        coins,
    } = bench().await;
    let key = &devnet.operator;
    let tx = raw.build(sender, &coins, |raw, tx| whole_stake(raw, tx, key, SUI));
    let first = raw.execute(key, &tx).await.unwrap();
    assert_eq!(kind(&first), None);
    settle(&devnet).await;
    let again = raw.execute(key, &tx).await.unwrap();
    assert_eq!(first.effects().digest(), again.effects().digest());
    assert!(first.checkpoint.is_none() && again.checkpoint.is_some());
    assert_eq!(devnet.node.executed_transactions(), 1);
}

#[tokio::test]
async fn a_wrong_signature_is_refused() {
    let Bench {
        devnet,
        mut raw,
        sender,
        coins,
    } = bench().await;
    let key = &devnet.operator;
    let tx = raw.build(sender, &coins, |raw, tx| whole_stake(raw, tx, key, SUI));
    let other = raw.build(sender, &coins, |raw, tx| whole_stake(raw, tx, key, 2 * SUI));
    let stranger = NodeKey::generate().unwrap();
    for (signatures, expected) in [
        (vec![], "signer signatures"),
        (vec![sign(&stranger, &tx)], "Required Signature"),
        (vec![sign(key, &other)], "Signature is not valid"),
        (
            vec![sign(key, &tx), sign(&stranger, &tx)],
            "signer signatures",
        ),
    ] {
        let status = raw.submit(&tx, signatures).await.unwrap_err();
        assert!(status.message().contains(expected), "{status}");
    }
    assert_eq!(devnet.node.executed_transactions(), 0);
}

#[tokio::test]
async fn stale_foreign_and_poor_gas_is_refused() {
    let Bench {
        devnet,
        mut raw,
        sender,
        coins,
    } = bench().await;
    let key = &devnet.operator;
    let foreign = raw.coins(devnet.slasher.address().into()).await;
    let spoilt =
        |version, digest| vec![ObjectReference::new(*coins[0].object_id(), version, digest)];
    let missing = vec![ObjectReference::new(
        Address::new([9; 32]),
        1,
        Digest::new([9; 32]),
    )];
    for (gas, expected) in [
        (
            spoilt(2, *coins[0].digest()),
            "unavailable for consumption, current version: 1",
        ),
        (spoilt(1, Digest::new([1; 32])), "Invalid Object digest"),
        (missing, "Could not find the referenced object"),
        (foreign, "is owned by account address"),
        (vec![coins[0].clone(), coins[0].clone()], "duplicated"),
    ] {
        let tx = raw.build(sender, &gas, |raw, tx| whole_stake(raw, tx, key, SUI));
        let status = raw.execute(key, &tx).await.unwrap_err();
        assert!(status.message().contains(expected), "{status}");
    }
    for (budget, price, expected) in [
        (11 * SUI, 1000, "lower than the needed amount"),
        (999_999, 1000, "is lower than min"),
        (60 * SUI, 1000, "is higher than max"),
        (SUI, 999, "under reference gas price"),
    ] {
        let mut tx = raw.build(sender, &coins[..1], |raw, tx| {
            whole_stake(raw, tx, key, SUI)
        });
        tx.gas_payment.budget = budget;
        tx.gas_payment.price = price;
        let status = raw.execute(key, &tx).await.unwrap_err();
        assert!(status.message().contains(expected), "{status}");
    }
    assert_eq!(devnet.node.executed_transactions(), 0);

    // what was spent is stale
    let tx = raw.build(sender, &coins, |raw, tx| whole_stake(raw, tx, key, SUI));
    raw.execute(key, &tx).await.unwrap();
    let tx = raw.build(sender, &coins, |raw, tx| whole_stake(raw, tx, key, 2 * SUI));
    let status = raw.execute(key, &tx).await.unwrap_err();
    assert!(
        status.message().contains("unavailable for consumption"),
        "{status}"
    );
}

#[tokio::test]
async fn the_wrong_objects_are_refused() {
    let Bench {
        devnet,
        mut raw,
        sender,
        coins,
    } = bench().await;
    let pool = *devnet.config.pool.to_bytes().first_chunk::<32>().unwrap();
    let cap = raw.reference(raw.cap()).await;
    let pool_as_owned = raw.reference(Address::new(pool)).await;
    let key = &devnet.operator;
    for (input, expected) in [
        (owned(&cap), "is owned by account address"),
        (owned(&pool_as_owned), "not owned"),
        (
            ObjectInput::shared(*coins[1].object_id(), 1, false),
            "not shared",
        ),
        (
            ObjectInput::shared(chain::abi::CLOCK, 1, true),
            "Immutable parameter",
        ),
    ] {
        let tx = raw.build(sender, &coins[..1], |raw, tx| {
            let object = tx.object(input);
            raw.call(tx, "staking::share_stake", vec![object]);
        });
        let status = raw.execute(key, &tx).await.unwrap_err();
        assert!(status.message().contains(expected), "{status}");
    }
}

#[tokio::test]
async fn a_simulation_chooses_gas_and_changes_nothing() {
    let Bench {
        devnet,
        mut raw,
        sender,
        coins,
    } = bench().await;
    let key = &devnet.operator;
    let tx = raw.build(sender, &coins, |raw, tx| whole_stake(raw, tx, key, SUI));
    let mut message: Message = tx.into();
    message.gas_payment = None;
    message.bcs = None;
    let request = SimulateTransactionRequest::new(message).with_do_gas_selection(true);
    let response = raw
        .client
        .execution_client()
        .simulate_transaction(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(kind(response.transaction()), None);
    let payment = response.transaction().transaction().gas_payment();
    assert_eq!(payment.objects().len(), 2);
    let gas = response.transaction().effects().gas_used();
    assert!(payment.budget() >= gas.computation_cost() + gas.storage_cost());
    assert!(payment.budget() < SUI / 10, "{}", payment.budget());
    assert_eq!(devnet.node.executed_transactions(), 0);
    assert_eq!(raw.coins(sender).await.len(), 2);
}

#[tokio::test]
async fn it_says_what_it_is() {
    let devnet = Devnet::with_coins(&[]).await;
    let mut raw = devnet.raw().await;
    let info = raw
        .client
        .ledger_client()
        .get_service_info(GetServiceInfoRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(
        info.server().starts_with("fullnode-double/"),
        "{}",
        info.server()
    );
    assert!(fullnode::BANNER.contains("not a Sui fullnode"));
}
