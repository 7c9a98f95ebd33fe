//! Staking: once, whole or not at all, and found again.

use chain::{ChainError, Mist, NodeKey, ObjectId, Prepared, StakeTransaction, Verdict};
use fullnode::devnet::{Devnet, NODE, SUI, within};

#[tokio::test]
async fn a_node_stakes_and_holds_record_and_token() {
    let devnet = Devnet::with_coins(&[3 * SUI]).await;
    let (chain, stake) = devnet.staked().await;
    assert_eq!(stake.amount, Mist(SUI));
    assert_eq!(stake.node_id, NODE);
    assert_eq!(stake.node_key, devnet.operator.public());
    assert_eq!(stake.staker, devnet.operator.address());
    assert_eq!(stake.verdict, Verdict::Active);
    let token = stake.seal_token.unwrap();
    assert!(!token.expired(token.issued_at_ms));

    let seen_by_master = chain.stake_of_seal_token(token.id).await.unwrap().unwrap();
    assert_eq!(seen_by_master, stake);
    let read = chain.read_record(stake.record).await.unwrap().unwrap();
    assert_eq!(read, stake);
    assert_eq!(chain.record_of(devnet.operator.public()), stake.record);
    assert_eq!(chain.reread(&stake).await.unwrap(), stake);
}

#[tokio::test]
async fn a_second_start_finds_the_stake_and_makes_no_other() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (_, first) = devnet.staked().await;
    let balance = devnet.balance(devnet.operator.address()).await;
    let executed = devnet.node.executed_transactions();

    let chain = devnet.chain().await;
    let found = chain
        .find_stake(devnet.operator.public(), NODE)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found, first);
    let again = within(chain.stake(&devnet.operator, NODE, Mist(SUI), devnet.operator.address()))
        .await
        .unwrap();
    assert_eq!(again, first);
    assert_eq!(devnet.balance(devnet.operator.address()).await, balance);
    assert_eq!(devnet.node.executed_transactions(), executed);
}

#[tokio::test]
async fn two_starts_at_once_make_one_stake() {
    let devnet = Devnet::with_coins(&[5 * SUI, 5 * SUI]).await;
    let (one, other) = (devnet.chain().await, devnet.chain().await);
    let (first, second) = within(async {
        tokio::join!(
            one.stake(&devnet.operator, NODE, Mist(SUI), devnet.operator.address()),
            other.stake(&devnet.operator, NODE, Mist(SUI), devnet.operator.address()),
        )
    })
    .await;
    // Both built on the same coins. The same transaction: both succeed with one stake. Another
    // one: only one of them could spend the coins.
    let stakes: Vec<_> = [first, second].into_iter().filter_map(Result::ok).collect();
    let found = one
        .find_stake(devnet.operator.public(), NODE)
        .await
        .unwrap()
        .unwrap();
    assert!(
        !stakes.is_empty() && stakes.iter().all(|stake| *stake == found),
        "{stakes:?}"
    );
    let left = devnet.balance(devnet.operator.address()).await;
    assert!(left > Mist(8 * SUI), "{left}");
}

#[tokio::test]
async fn one_key_stakes_for_one_node() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (chain, _) = devnet.staked().await;
    let executed = devnet.node.executed_transactions();
    let error = within(chain.stake(
        &devnet.operator,
        "edge-0002",
        Mist(SUI),
        devnet.operator.address(),
    ))
    .await
    .unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(error, ChainError::WrongObject { .. }) && text.contains("edge-0001"),
        "{text}"
    );
    assert_eq!(devnet.node.executed_transactions(), executed);
}

#[tokio::test]
async fn a_node_stakes_with_a_key_of_the_tpm_s_kind() {
    let key = NodeKey::generate_secp256r1().unwrap();
    let address = key.address();
    let devnet = Devnet::with(&[], |config| {
        config.genesis.accounts.push(fullnode::Account {
            address,
            coins_mist: vec![3 * SUI],
        });
    })
    .await;
    let chain = devnet.chain().await;
    let stake = within(chain.stake(&key, NODE, Mist(SUI), key.address()))
        .await
        .unwrap();
    assert_eq!(stake.node_key, key.public());
    assert_eq!(stake.verdict, Verdict::Active);
    within(chain.request_unstake(&key, &stake)).await.unwrap();
}

#[tokio::test]
async fn several_small_coins_are_merged() {
    let devnet = Devnet::with_coins(&[SUI / 4; 5]).await;
    let supply = devnet.node.supply();
    let (_, stake) = devnet.staked().await;
    assert_eq!(stake.amount, Mist(SUI));
    let coins = devnet
        .raw()
        .await
        .coins(devnet.operator.address().into())
        .await;
    assert_eq!(coins.len(), 1, "what is left is one coin");
    assert!(
        supply - devnet.node.supply() < SUI / 50,
        "nothing but gas is gone"
    );
}

#[tokio::test]
async fn more_coins_than_a_page_are_counted() {
    let devnet = Devnet::with_coins(&[SUI / 100; 150]).await;
    let (_, stake) = devnet.staked().await;
    assert_eq!(stake.amount, Mist(SUI));
}

/// Anybody can send coins of one MIST: the bound of pages is no error.
#[tokio::test]
async fn more_coins_than_are_looked_at_are_no_obstacle() {
    let mut coins = vec![1; 5100];
    coins.push(3 * SUI);
    let devnet = Devnet::with_coins(&coins).await;
    let (_, stake) = devnet.staked().await;
    assert_eq!(stake.amount, Mist(SUI));
}

#[tokio::test]
async fn a_short_balance_names_account_and_missing_amount() {
    for (coins, available) in [
        (&[][..], 0),
        (&[SUI][..], SUI),
        (&[SUI, 500_000][..], SUI + 500_000),
    ] {
        let devnet = Devnet::with_coins(coins).await;
        let chain = devnet.chain().await;
        let error = chain
            .stake(&devnet.operator, NODE, Mist(SUI), devnet.operator.address())
            .await
            .unwrap_err();
        let ChainError::BalanceShort {
            address,
            needed,
            available: found,
            missing,
        } = &error
        else {
            panic!("{error}");
        };
        assert_eq!(*address, devnet.operator.address());
        assert_eq!(*found, Mist(available));
        assert_eq!(found.checked_add(*missing), Some(*needed));
        assert!(*needed > Mist(SUI) && !error.retryable());
        assert_eq!(devnet.node.executed_transactions(), 0);
    }
}

#[tokio::test]
async fn what_a_short_balance_asks_for_is_enough() {
    let devnet = Devnet::with_coins(&[]).await;
    let error = devnet
        .chain()
        .await
        .stake(&devnet.operator, NODE, Mist(SUI), devnet.operator.address())
        .await
        .unwrap_err();
    let ChainError::BalanceShort { missing, .. } = error else {
        panic!("{error}")
    };
    let devnet = Devnet::with_coins(&[missing.0]).await;
    devnet.staked().await;
}

#[tokio::test]
async fn a_stake_below_the_minimum_is_not_tried() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let chain = devnet.chain().await;
    let key = &devnet.operator;
    let error = chain
        .stake(key, NODE, Mist(SUI - 1), key.address())
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            ChainError::BelowMinimum {
                minimum: Mist(SUI),
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(devnet.node.executed_transactions(), 0);
}

#[tokio::test]
async fn stake_in_a_pool_that_is_not_open_is_not_tried() {
    let close = |config: &mut fullnode::Config| config.genesis.closed = true;
    let devnet = Devnet::with(&[5 * SUI], close).await;
    let chain = devnet.chain().await;
    let key = &devnet.operator;
    let stake = chain.stake(key, NODE, Mist(SUI), key.address()).await;
    let error = stake.unwrap_err();
    let pool = devnet.config.pool;
    assert!(
        matches!(error, ChainError::PoolNotOpen { pool: found } if found == pool),
        "{error}"
    );
    let said = error.to_string();
    assert!(said.contains(&pool.to_string()), "{said}");
    assert!(said.contains("administration::open_pool"), "{said}");
    assert!(!error.retryable() && !error.never_executed());
    assert_eq!(devnet.node.executed_transactions(), 0);
}

#[tokio::test]
async fn an_abort_is_named_and_leaves_nothing_behind() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let chain = devnet.chain().await;
    let long = "n".repeat(64);
    let key = &devnet.operator;
    let error = chain
        .stake(key, &long, Mist(SUI), key.address())
        .await
        .unwrap_err();
    let ChainError::Aborted {
        module,
        function,
        code,
        name,
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(
        (module.as_str(), function.as_str(), *code),
        ("staking", "stake_for_node", 10)
    );
    assert!(name.contains("EInvalidNodeId"), "{name}");
    assert_eq!(
        chain
            .find_stake(devnet.operator.public(), &long)
            .await
            .unwrap(),
        None
    );
    assert_eq!(
        devnet.balance(devnet.operator.address()).await,
        Mist(5 * SUI)
    );
}

/// A node that loses power between submission and checkpoint must not stake again.
#[tokio::test]
async fn power_lost_before_the_checkpoint_does_not_stake_twice() {
    let devnet = Devnet::with(&[5 * SUI], |config| config.finality_ms = 0).await;
    let chain = devnet.chain().await;
    let Prepared::Transaction(kept) = chain
        .prepare_stake(&devnet.operator, NODE, Mist(SUI), devnet.operator.address())
        .await
        .unwrap()
    else {
        panic!("there is no stake yet")
    };
    let on_disk = kept.to_bytes();
    let submitted = {
        let (chain, kept) = (chain.clone(), kept.clone());
        tokio::spawn(async move { chain.submit_stake(&kept).await })
    };
    within(async {
        while devnet.node.executed_transactions() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    submitted.abort();

    // After the restart nothing is to be seen of it. What is built now spends the same coins:
    // it cannot be executed besides the first.
    let chain = devnet.chain().await;
    assert_eq!(
        chain
            .find_stake(devnet.operator.public(), NODE)
            .await
            .unwrap(),
        None
    );
    let key = &devnet.operator;
    let error = chain
        .stake(key, NODE, Mist(2 * SUI), key.address())
        .await
        .unwrap_err();
    assert!(matches!(error, ChainError::Refused { .. }), "{error}");
    assert!(
        error.to_string().contains("unavailable for consumption"),
        "{error}"
    );

    // What was kept is submitted again, and is the same stake.
    let kept = StakeTransaction::from_bytes(&on_disk).unwrap();
    assert!(kept.is_for(devnet.operator.public(), NODE, devnet.operator.address()));
    let again = {
        let chain = chain.clone();
        tokio::spawn(async move { chain.submit_stake(&kept).await })
    };
    let stake = within(async {
        while !again.is_finished() {
            devnet.node.make_checkpoint();
            tokio::task::yield_now().await;
        }
        again.await.unwrap().unwrap()
    })
    .await;
    assert_eq!(devnet.node.executed_transactions(), 1);
    assert_eq!(
        chain
            .find_stake(devnet.operator.public(), NODE)
            .await
            .unwrap(),
        Some(stake)
    );
}

#[tokio::test]
async fn a_token_of_another_kind_is_refused() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (chain, stake) = devnet.staked().await;
    assert_eq!(
        chain
            .stake_of_seal_token(ObjectId::from_bytes([0x12; 32]))
            .await
            .unwrap(),
        None
    );
    let error = chain.stake_of_seal_token(stake.record).await.unwrap_err();
    assert!(
        matches!(
            error,
            ChainError::WrongObject {
                what: "SealToken",
                ..
            }
        ),
        "{error}"
    );
    let error = chain.read_record(devnet.config.pool).await.unwrap_err();
    assert!(
        matches!(
            error,
            ChainError::WrongObject {
                what: "StakeRecord",
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn someone_elses_stake_is_not_ours() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (chain, _) = devnet.staked().await;
    let stranger = NodeKey::generate().unwrap();
    assert_eq!(
        chain.find_stake(stranger.public(), NODE).await.unwrap(),
        None
    );
}

#[tokio::test]
async fn a_fullnode_that_hides_the_stake_does_not_make_another() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (_, stake) = devnet.staked().await;
    let (_running, hiding) = devnet.twin().await;
    let settings = devnet.settings_for(&[hiding, devnet.url()]);
    let chain = chain::Chain::connect(&settings).await.unwrap();
    let found = within(chain.stake(&devnet.operator, NODE, Mist(SUI), devnet.operator.address()))
        .await
        .unwrap();
    assert_eq!(found, stake);
}
