//! What pays: the price of gas has a bound, and more coins than one transaction takes are merged
//! before.

use chain::{Chain, ChainError, Mist, Prepared, Verdict};
use fullnode::Reply;
use prost::Message as _;
use sui_rpc::proto::sui::rpc::v2::{GetEpochResponse, SimulateTransactionResponse};

use fullnode::devnet::{Devnet, NODE, SUI, within};

/// The bound that the crate documents.
const MOST_GAS_PRICE: u64 = 20_000;

#[tokio::test]
async fn a_dear_unit_of_gas_is_not_paid() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let chain = devnet.chain().await;
    devnet.node.set_gas_price(MOST_GAS_PRICE + 1);
    let error = within(chain.stake(&devnet.operator, NODE, Mist(SUI), devnet.operator.address()))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "fullnode {} asks 0.000020001 SUI for a unit of gas, and no more than 0.00002 SUI is \
             paid for that",
            devnet.url()
        )
    );
    assert!(matches!(
        error,
        ChainError::DearGas { asked, bound, .. }
            if asked == Mist(MOST_GAS_PRICE + 1) && bound == Mist(MOST_GAS_PRICE)
    ));
    assert!(!error.retryable() && !error.never_executed());
    assert_eq!(devnet.node.executed_transactions(), 0);
    // at the bound it is
    devnet.node.set_gas_price(MOST_GAS_PRICE);
    let stake = within(chain.stake(&devnet.operator, NODE, Mist(SUI), devnet.operator.address()))
        .await
        .unwrap();
    assert_eq!(stake.verdict, Verdict::Active);
}

/// One fullnode tells a price that would burn the account's coins; the other one is asked.
#[tokio::test]
async fn a_fullnode_that_lies_about_the_price_is_passed_over() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let lying = fullnode::serve(&devnet.node, &devnet.config).await.unwrap();
    lying.tamper(|method, message| {
        if method != "GetEpoch" {
            return Reply::Message(message.to_vec());
        }
        let mut reply = GetEpochResponse::decode(message).unwrap();
        reply.epoch.as_mut().unwrap().reference_gas_price = Some(1_000_000);
        Reply::Message(reply.encode_to_vec())
    });
    let url = format!("https://localhost:{}", lying.address().port());
    let alone = Chain::connect(&devnet.settings_for(std::slice::from_ref(&url)))
        .await
        .unwrap();
    let error =
        within(alone.stake(&devnet.operator, NODE, Mist(SUI), devnet.operator.address())).await;
    assert!(
        matches!(error, Err(ChainError::DearGas { .. })),
        "{error:?}"
    );
    let both = Chain::connect(&devnet.settings_for(&[url, devnet.url()]))
        .await
        .unwrap();
    within(both.stake(&devnet.operator, NODE, Mist(SUI), devnet.operator.address()))
        .await
        .unwrap();
    let left = devnet.balance(devnet.operator.address()).await;
    assert!(left > Mist(4 * SUI - SUI / 20), "{left}");
}

#[tokio::test]
async fn a_dear_dry_run_is_not_signed() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let chain = devnet.chain().await;
    devnet.running.tamper(|method, message| {
        if method != "SimulateTransaction" {
            return Reply::Message(message.to_vec());
        }
        let mut reply = SimulateTransactionResponse::decode(message).unwrap();
        let effects = reply.transaction.as_mut().unwrap().effects.as_mut();
        effects.unwrap().gas_used.as_mut().unwrap().computation_cost = Some(3 * SUI);
        Reply::Message(reply.encode_to_vec())
    });
    let error =
        within(chain.prepare_stake(&devnet.operator, NODE, Mist(SUI), devnet.operator.address()))
            .await
            .unwrap_err();
    let told = error.to_string();
    assert!(
        told.contains("for the transaction, and no more than 0.1 SUI is paid"),
        "{told}"
    );
}

#[tokio::test]
async fn coins_that_are_too_many_for_one_transaction_are_merged_first() {
    for (coins, each, merges) in [(400, 3_000_000, 1), (1700, 700_000, 2)] {
        let devnet = Devnet::with_coins(&vec![each; coins]).await;
        let chain = devnet.chain().await;
        let stake =
            within(chain.stake(&devnet.operator, NODE, Mist(SUI), devnet.operator.address()))
                .await
                .unwrap();
        assert_eq!((stake.amount, stake.verdict), (Mist(SUI), Verdict::Active));
        assert_eq!(devnet.node.executed_transactions(), merges + 1);
        let count = u64::try_from(coins).unwrap();
        let left = devnet.balance(devnet.operator.address()).await;
        let spent = Mist(count * each - SUI).saturating_sub(left);
        assert!(spent < Mist(SUI / 20), "{spent}");
    }
}

/// The power goes after the coins are merged and before anything is staked: on the next boot the
/// stake is prepared on what was merged.
#[tokio::test]
async fn merging_once_is_enough() {
    let devnet = Devnet::with_coins(&[3_000_000; 400]).await;
    let first = devnet.chain().await;
    let prepared =
        within(first.prepare_stake(&devnet.operator, NODE, Mist(SUI), devnet.operator.address()))
            .await
            .unwrap();
    assert!(matches!(prepared, Prepared::Transaction(_)));
    assert_eq!(devnet.node.executed_transactions(), 1);
    drop((first, prepared));
    let second = devnet.chain().await;
    let prepared =
        within(second.prepare_stake(&devnet.operator, NODE, Mist(SUI), devnet.operator.address()))
            .await;
    let Ok(Prepared::Transaction(transaction)) = prepared else {
        panic!("{prepared:?}")
    };
    assert_eq!(devnet.node.executed_transactions(), 1, "merged once");
    within(second.submit_stake(&transaction)).await.unwrap();
    assert_eq!(devnet.node.executed_transactions(), 2);
}

/// Coins that do not suffice together are left alone, and all of them are counted.
#[tokio::test]
async fn many_coins_that_are_too_little_are_not_merged() {
    let devnet = Devnet::with_coins(&[1_000_000; 300]).await;
    let chain = devnet.chain().await;
    let error = within(chain.stake(&devnet.operator, NODE, Mist(SUI), devnet.operator.address()))
        .await
        .unwrap_err();
    let ChainError::BalanceShort {
        available, missing, ..
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!(available, Mist(300_000_000));
    assert_eq!(missing, Mist(720_000_000));
    assert_eq!(devnet.node.executed_transactions(), 0);
}

#[tokio::test]
async fn all_coins_are_sent_on_and_no_dust_is_left() {
    let devnet = Devnet::with_coins(&[5 * SUI, SUI, 1]).await;
    let chain = devnet.chain().await;
    let key = &devnet.operator;
    let receiver = chain::Address::from_bytes([0x33; 32]);
    let prepared = within(chain.prepare_payout(key, receiver)).await.unwrap();
    let payout = prepared.unwrap();
    assert!(payout.is_for(key.public(), receiver));
    assert!(!payout.is_for(key.public(), key.address()));
    assert_eq!(devnet.node.executed_transactions(), 0);
    // as it comes back from the disk, after a power cut, and once more
    let kept = chain::PayoutTransaction::from_bytes(&payout.to_bytes()).unwrap();
    assert!(!within(chain.expired(&kept)).await.unwrap());
    let first = within(chain.submit_payout(&kept)).await.unwrap();
    let again = within(chain.submit_payout(&payout)).await.unwrap();
    assert_eq!(first.transaction, again.transaction);
    assert_eq!(devnet.node.executed_transactions(), 1);
    assert_eq!(devnet.balance(key.address()).await, Mist(0));
    let sent = devnet.balance(receiver).await;
    assert_eq!(sent.0, 6 * SUI + 1 - first.gas.0);
    assert!(first.gas < Mist(SUI / 50), "{}", first.gas);
    // nothing is left, and that is no failure
    assert!(
        within(chain.prepare_payout(key, receiver))
            .await
            .unwrap()
            .is_none()
    );
    assert!(chain::PayoutTransaction::from_bytes(&[0xff; 64]).is_err());
}

/// The largest go first.
#[tokio::test]
async fn more_coins_than_one_transaction_takes_are_sent_on_by_several() {
    let devnet = Devnet::with_coins(&vec![SUI / 100; 300]).await;
    let chain = devnet.chain().await;
    let key = &devnet.operator;
    let receiver = chain::Address::from_bytes([0x33; 32]);
    let mut transactions = 0;
    while let Some(payout) = within(chain.prepare_payout(key, receiver)).await.unwrap() {
        within(chain.submit_payout(&payout)).await.unwrap();
        transactions += 1;
    }
    assert_eq!(transactions, 2);
    assert_eq!(devnet.balance(key.address()).await, Mist(0));
}
