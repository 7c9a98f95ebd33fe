//! What changes between the making of a transaction and its submission.

use chain::{Chain, ChainError, Mist, Prepared, StakeTransaction, Verdict};

use fullnode::devnet::{Devnet, NODE, SUI, within};

async fn prepared(devnet: &Devnet, chain: &Chain) -> StakeTransaction {
    let prepared = chain
        .prepare_stake(&devnet.operator, NODE, Mist(SUI), devnet.operator.address())
        .await;
    match prepared.unwrap() {
        Prepared::Transaction(transaction) => transaction,
        Prepared::Staked(stake) => panic!("there is a stake: {stake:?}"),
    }
}

/// The transaction is refused for good, and one that is made anew is taken.
async fn is_refused_and_made_anew(
    devnet: &Devnet,
    chain: &Chain,
    old: &StakeTransaction,
    why: &str,
) {
    let executed = devnet.node.executed_transactions();
    let error = within(chain.submit_stake(old)).await.unwrap_err();
    let text = error.to_string();
    assert!(error.never_executed() && text.contains(why), "{text}");
    assert_eq!(devnet.node.executed_transactions(), executed);
    let new = prepared(devnet, chain).await;
    let stake = within(chain.submit_stake(&new)).await.unwrap();
    assert_eq!(stake.verdict, Verdict::Active);
    assert_eq!(stake.amount, Mist(SUI));
}

#[tokio::test]
async fn a_prepared_stake_ends_with_the_next_epoch() {
    const EPOCH: u64 = 24 * 60 * 60 * 1000;
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let chain = devnet.chain().await;
    let Prepared::Transaction(kept) = chain
        .prepare_stake(&devnet.operator, NODE, Mist(SUI), devnet.operator.address())
        .await
        .unwrap()
    else {
        panic!("there is no stake yet")
    };
    assert!(!chain.expired(&kept).await.unwrap());
    devnet.node.advance_clock(EPOCH);
    assert!(!chain.expired(&kept).await.unwrap());
    devnet.node.advance_clock(EPOCH);
    assert!(chain.expired(&kept).await.unwrap());
    let error = within(chain.submit_stake(&kept)).await.unwrap_err();
    assert!(error.never_executed(), "{error}");
    assert!(
        matches!(error, ChainError::Refused { .. }) && !error.retryable(),
        "{error}"
    );
    assert!(error.to_string().contains("expired"), "{error}");
    within(chain.stake(&devnet.operator, NODE, Mist(SUI), devnet.operator.address()))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_higher_price_of_gas() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let chain = devnet.chain().await;
    let old = prepared(&devnet, &chain).await;
    devnet.node.set_gas_price(2000);
    is_refused_and_made_anew(&devnet, &chain, &old, "under reference gas price").await;
}

#[tokio::test]
async fn coins_that_were_spent_meanwhile() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let chain = devnet.chain().await;
    let old = prepared(&devnet, &chain).await;
    let mut raw = devnet.raw().await;
    let sender = devnet.operator.address().into();
    let coins = raw.coins(sender).await;
    let tx = raw.build(sender, &coins, |_raw, tx| {
        let gas = tx.gas();
        let amount = tx.pure(&1_u64);
        let part = tx.split_coins(gas, vec![amount]);
        let receiver = tx.pure(&sui_sdk_types::Address::new([1; 32]));
        tx.transfer_objects(part, receiver);
    });
    raw.execute(&devnet.operator, &tx).await.unwrap();
    let height = devnet.node.make_checkpoint();
    assert!(height > 0);
    is_refused_and_made_anew(&devnet, &chain, &old, "unavailable for consumption").await;
}

/// Ids need not be unique: the record's id tells the Nodes apart.
#[tokio::test]
async fn an_id_that_another_took_meanwhile() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let chain = devnet.chain().await;
    let old = prepared(&devnet, &chain).await;
    let other = &devnet.slasher;
    let theirs = within(chain.stake(other, NODE, Mist(SUI), other.address()))
        .await
        .unwrap();
    let own = within(chain.submit_stake(&old)).await.unwrap();
    assert_eq!(own.node_id, theirs.node_id);
    assert_ne!(own.node_name(), theirs.node_name());
}

/// An upgraded package takes its objects over: they are read as before, since layouts can't
/// change, and what this release calls is refused with a reason.
#[tokio::test]
async fn an_upgraded_package() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (chain, stake) = devnet.staked().await;
    devnet.node.migrate(2);
    let now = chain.reread(&stake).await.unwrap();
    assert_eq!((now.verdict, now.amount), (stake.verdict, stake.amount));
    let found = chain
        .find_stake(devnet.operator.public(), NODE)
        .await
        .unwrap();
    assert_eq!(found, Some(now));
    let error = within(chain.renew_seal_token(&devnet.operator, &stake))
        .await
        .unwrap_err();
    assert!(
        matches!(error, ChainError::Upgraded { .. }) && !error.retryable(),
        "{error}"
    );
    assert!(error.to_string().contains("install a release"), "{error}");
    devnet.node.migrate(0);
    let error = chain.reread(&stake).await.unwrap_err();
    assert!(matches!(error, ChainError::WrongObject { .. }), "{error}");
}
