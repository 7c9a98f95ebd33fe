//! Unstaking.

use chain::{ChainError, Mist, NodeKey, ObjectId, StakeTransaction, Verdict, WatchEvent};

use fullnode::devnet::{Devnet, NODE, SUI, next, within};

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
        chain.stake_of_seal_token(token.id).await.unwrap(),
        None,
        "the token is burnt"
    );
    let error = within(chain.withdraw(key, stake.record)).await.unwrap_err();
    assert!(aborted(&error, "EStillLocked"), "{error}");

    devnet.node.advance_clock(HOUR);
    let before = devnet.balance(key.address()).await;
    let withdrawn = within(chain.withdraw(key, stake.record)).await.unwrap();
    let after = devnet.balance(key.address()).await;
    // the stake, less the gas
    assert!(
        after.0.abs_diff(before.0 + SUI) < SUI / 50,
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
    let found = within(chain.stake(&devnet.operator, NODE, Mist(SUI), devnet.operator.address()))
        .await
        .unwrap();
    assert_eq!(
        (found.record, found.verdict),
        (stake.record, Verdict::Unbonding)
    );
    assert_eq!(found.seal_token, None);
    let error = within(chain.request_unstake(&devnet.operator, &found))
        .await
        .unwrap_err();
    assert!(aborted(&error, "ENotActive"), "{error}");

    devnet.node.advance_clock(HOUR);
    within(chain.withdraw(&devnet.operator, stake.record))
        .await
        .unwrap();
    let found = chain
        .find_stake(devnet.operator.public(), NODE)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (found.record, found.verdict),
        (stake.record, Verdict::Withdrawn)
    );
}

#[tokio::test]
async fn a_withdrawn_stake_is_made_anew_on_the_same_record() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (chain, stake) = devnet.staked().await;
    let key = &devnet.operator;
    within(chain.request_unstake(key, &stake)).await.unwrap();
    devnet.node.advance_clock(HOUR);
    within(chain.withdraw(key, stake.record)).await.unwrap();
    // staking does not do it by the way
    let executed = devnet.node.executed_transactions();
    let again = within(chain.stake(key, NODE, Mist(SUI), key.address()))
        .await
        .unwrap();
    assert_eq!(again.verdict, Verdict::Withdrawn);
    assert_eq!(devnet.node.executed_transactions(), executed);

    let transaction = chain
        .prepare_restake(key, &again, Mist(2 * SUI))
        .await
        .unwrap();
    let transaction = StakeTransaction::from_bytes(&transaction.to_bytes()).unwrap();
    let fresh = within(chain.submit_stake(&transaction)).await.unwrap();
    assert_eq!(
        (fresh.record, fresh.verdict, fresh.amount),
        (stake.record, Verdict::Active, Mist(2 * SUI))
    );
    let token = fresh.seal_token.unwrap();
    assert!(chain.stake_of_seal_token(token.id).await.unwrap().is_some());
    let error = chain
        .prepare_restake(key, &fresh, Mist(SUI))
        .await
        .unwrap_err();
    assert!(aborted(&error, "ENotWithdrawn"), "{error}");
}

#[tokio::test]
async fn asking_back_can_be_cancelled_and_needs_a_new_token() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (chain, stake) = devnet.staked().await;
    let key = &devnet.operator;
    within(chain.request_unstake(key, &stake)).await.unwrap();
    within(chain.cancel_unstake(key, stake.record))
        .await
        .unwrap();
    let standing = chain.reread(&stake).await.unwrap();
    assert_eq!(standing.verdict, Verdict::Active);
    assert_eq!(standing.seal_token, None);
    let renewed = within(chain.renew_seal_token(key, &standing))
        .await
        .unwrap();
    assert!(renewed.seal_token.is_some());
    let error = within(chain.cancel_unstake(key, stake.record))
        .await
        .unwrap_err();
    assert!(aborted(&error, "ENotUnbonding"), "{error}");
}

#[tokio::test]
async fn a_renewed_token_replaces_the_old_one() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (chain, stake) = devnet.staked().await;
    let old = stake.seal_token.unwrap();
    let renewed = within(chain.renew_seal_token(&devnet.operator, &stake))
        .await
        .unwrap();
    let new = renewed.seal_token.unwrap();
    assert_ne!(old.id, new.id);
    assert_eq!(chain.stake_of_seal_token(old.id).await.unwrap(), None);
    let seen = chain.stake_of_seal_token(new.id).await.unwrap().unwrap();
    assert_eq!(seen.seal_token, Some(new));
    // the stake that was read before learns of it, too
    assert_eq!(chain.reread(&stake).await.unwrap().seal_token, Some(new));
}

#[tokio::test]
async fn a_stake_below_the_minimum_is_topped_up_by_anybody() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (chain, stake) = devnet.staked().await;
    devnet.slash(stake.record, 5000, 1).await;
    let below = chain.reread(&stake).await.unwrap();
    assert_eq!(below.verdict, Verdict::BelowMinimum);
    assert_eq!(below.missing(), Mist(SUI / 2));
    assert_eq!(below.slashed, Mist(SUI / 2));
    let error = within(chain.renew_seal_token(&devnet.operator, &below))
        .await
        .unwrap_err();
    assert!(aborted(&error, "EBelowMinimumStake"), "{error}");
    within(chain.top_up(&devnet.slasher, stake.record, below.missing()))
        .await
        .unwrap();
    let whole = chain.reread(&stake).await.unwrap();
    assert_eq!((whole.verdict, whole.amount), (Verdict::Active, Mist(SUI)));
}

#[tokio::test]
async fn the_same_evidence_counts_once() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (chain, stake) = devnet.staked().await;
    let slash = async |evidence: &[u8]| {
        let cap = devnet.config.slasher_cap;
        let slash = chain.slash_with_evidence(&devnet.slasher, cap, stake.record, 100, 1, evidence);
        within(slash).await
    };
    slash(&[7; 32]).await.unwrap();
    let error = slash(&[7; 32]).await.unwrap_err();
    assert!(aborted(&error, "EEvidenceUsed"), "{error}");
    let error = slash(&[7; 31]).await.unwrap_err();
    assert!(aborted(&error, "EInvalidEvidence"), "{error}");
    slash(&[8; 32]).await.unwrap();
}

#[tokio::test]
async fn only_the_staker_takes_it_back() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let (chain, stake) = devnet.staked().await;
    let stranger: &NodeKey = &devnet.slasher;
    let error = within(chain.request_unstake(stranger, &stake))
        .await
        .unwrap_err();
    assert!(aborted(&error, "ENotOwner"), "{error}");
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
    let missing = ObjectId::from_bytes([0x77; 32]);
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
