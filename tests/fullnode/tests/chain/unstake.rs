//! Taking a stake back.

use chain::{ChainError, Mist, NodeKey, Verdict, WatchEvent};

use crate::common::{Devnet, NODE, SUI, next, within};

const HOUR: u64 = 60 * 60 * 1000;

fn aborted(error: &ChainError, expected: &str) -> bool {
    matches!(error, ChainError::Aborted { name, .. } if name.starts_with(expected))
}

#[tokio::test]
async fn coins_come_back_after_the_delay_and_not_before() {
    let devnet = Devnet::with_coins(&[2 * SUI]).await;
    let (chain, stake) = devnet.staked().await;
    let key = &devnet.operator;
    let error = within(chain.withdraw(key, stake.record)).await.unwrap_err();
    assert!(aborted(&error, "ENotUnbonding"), "{error}");

    within(chain.request_unstake(key, &stake)).await.unwrap();
    let unbonding = chain.reread(&stake).await.unwrap();
    assert_eq!(unbonding.verdict, Verdict::Unbonding);
    assert!(unbonding.unbonding_until_ms.is_some());
    let token = stake.seal_token.unwrap();
    assert_eq!(
        chain.stake_of_token(token.id).await.unwrap(),
        None,
        "the token is burnt"
    );
    let error = within(chain.withdraw(key, stake.record)).await.unwrap_err();
    assert!(aborted(&error, "EStillLocked"), "{error}");

    devnet.node.advance_clock(HOUR);
    let before = devnet.balance(key.address()).await;
    let withdrawn = within(chain.withdraw(key, stake.record)).await.unwrap();
    let after = devnet.balance(key.address()).await;
    assert!(
        after > before && after < Mist(before.0 + SUI),
        "{before} {after}"
    );
    assert!(withdrawn.gas < Mist(SUI / 50), "{}", withdrawn.gas);
    let settled = chain.reread(&stake).await.unwrap();
    assert_eq!(
        (settled.verdict, settled.amount),
        (Verdict::Withdrawn, Mist(0))
    );
    let error = within(chain.withdraw(key, stake.record)).await.unwrap_err();
    assert!(aborted(&error, "ESettled"), "{error}");
}

#[tokio::test]
async fn a_node_that_leaves_is_found_without_its_token() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (chain, stake) = devnet.staked().await;
    within(chain.request_unstake(&devnet.operator, &stake))
        .await
        .unwrap();
    let found = within(chain.stake(&devnet.operator, NODE, Mist(SUI)))
        .await
        .unwrap();
    assert_eq!(
        (found.record, found.verdict),
        (stake.record, Verdict::Unbonding)
    );
    assert_eq!(found.seal_token, None);
    let error = chain
        .request_unstake(&devnet.operator, &found)
        .await
        .unwrap_err();
    assert!(matches!(error, ChainError::WrongState { .. }), "{error}");

    devnet.node.advance_clock(HOUR);
    within(chain.withdraw(&devnet.operator, stake.record))
        .await
        .unwrap();
    assert_eq!(
        chain
            .find_stake(devnet.operator.public(), NODE)
            .await
            .unwrap(),
        None
    );
    let fresh = within(chain.stake(&devnet.operator, NODE, Mist(SUI)))
        .await
        .unwrap();
    assert_ne!(fresh.record, stake.record);
}

#[tokio::test]
async fn only_the_staker_takes_it_back() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (chain, stake) = devnet.staked().await;
    let stranger: &NodeKey = &devnet.slasher;
    let error = within(chain.request_unstake(stranger, &stake))
        .await
        .unwrap_err();
    assert!(matches!(error, ChainError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("is owned by account"), "{error}");
    within(chain.request_unstake(&devnet.operator, &stake))
        .await
        .unwrap();
    devnet.node.advance_clock(HOUR);
    let error = within(chain.withdraw(stranger, stake.record))
        .await
        .unwrap_err();
    assert!(aborted(&error, "ENotOwner"), "{error}");
}

#[tokio::test]
async fn a_stake_is_slashable_while_it_unbonds() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (chain, stake) = devnet.staked().await;
    within(chain.request_unstake(&devnet.operator, &stake))
        .await
        .unwrap();
    let mut watch = chain.watch_stake(&stake);
    let event = next(&mut watch).await;
    let WatchEvent::Changed {
        stake: unbonding,
        slash: None,
    } = event
    else {
        panic!("{event:?}")
    };
    assert_eq!(unbonding.verdict, Verdict::Unbonding);
    assert!(matches!(next(&mut watch).await, WatchEvent::Watching(_)));
    devnet.slash(stake.record, 10_000, 1).await;
    let event = next(&mut watch).await;
    assert!(matches!(event, WatchEvent::Slashed { .. }), "{event:?}");
    devnet.node.advance_clock(HOUR);
    let error = within(chain.withdraw(&devnet.operator, stake.record))
        .await
        .unwrap_err();
    assert!(aborted(&error, "ESettled"), "{error}");
}

#[tokio::test]
async fn a_withdrawal_ends_the_watch() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (chain, stake) = devnet.staked().await;
    within(chain.request_unstake(&devnet.operator, &stake))
        .await
        .unwrap();
    devnet.node.advance_clock(HOUR);
    within(chain.withdraw(&devnet.operator, stake.record))
        .await
        .unwrap();
    let mut watch = chain.watch_stake(&stake);
    let event = next(&mut watch).await;
    assert!(matches!(event, WatchEvent::Withdrawn(_)), "{event:?}");
    assert!(within(watch.next()).await.is_none());
}

#[tokio::test]
async fn only_the_owner_of_the_cap_slashes_and_only_once() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (chain, stake) = devnet.staked().await;
    let cap = devnet.config.slasher_cap;
    let error = within(chain.slash(&devnet.operator, cap, stake.record, 10_000, 1))
        .await
        .unwrap_err();
    assert!(matches!(error, ChainError::Refused { .. }), "{error}");
    for basis_points in [0, 10_001] {
        let error = within(chain.slash(&devnet.slasher, cap, stake.record, basis_points, 1))
            .await
            .unwrap_err();
        assert!(aborted(&error, "EInvalidBasisPoints"), "{error}");
    }
    devnet.slash(stake.record, 10_000, 1).await;
    let error = within(chain.slash(&devnet.slasher, cap, stake.record, 10_000, 1))
        .await
        .unwrap_err();
    assert!(aborted(&error, "ESettled"), "{error}");
    let missing = "0x77".parse().unwrap();
    let error = within(chain.slash(&devnet.slasher, missing, stake.record, 1, 1))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            ChainError::NotFound {
                what: "slasher cap",
                ..
            }
        ),
        "{error}"
    );
}
