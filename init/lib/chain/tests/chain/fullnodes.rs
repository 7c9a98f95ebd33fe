//! Which fullnodes are believed, and what is said of those that are not.

use chain::{ChainError, ChainId, Mist, ObjectId};
use fullnode::devnet::{Devnet, NODE, SUI, within};

#[tokio::test]
async fn another_chain_is_refused_by_name() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let mut settings = devnet.settings();
    settings.chain_id = ChainId::from_bytes([8; 32]);
    let error = chain::Chain::connect(&settings).await.err().unwrap();
    let ChainError::WrongChain {
        expected, found, ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(*expected, settings.chain_id);
    assert_eq!(*found, devnet.config.chain_id.to_string());
    assert!(!error.retryable());
}

#[tokio::test]
async fn a_server_without_the_pinned_root_is_not_believed() {
    let (devnet, other) = (Devnet::with_coins(&[]).await, Devnet::with_coins(&[]).await);
    let mut settings = devnet.settings();
    settings.root_certificate_pem = Some(other.root_pem.clone());
    let error = chain::Chain::connect(&settings).await.err().unwrap();
    let text = error.to_string();
    assert!(
        matches!(error, ChainError::Unreachable { .. }) && text.contains("ertificate"),
        "{text}"
    );
    settings.root_certificate_pem = None;
    assert!(
        chain::Chain::connect(&settings).await.is_err(),
        "nor by the web's roots"
    );
}

#[tokio::test]
async fn a_fullnode_that_lags_is_not_believed() {
    let devnet = Devnet::with(&[], |config| config.finality_ms = 0).await;
    let mut settings = devnet.settings();
    settings.timeouts.staleness = std::time::Duration::ZERO;
    // the last checkpoint ages while none is made
    let error = within(async {
        loop {
            match chain::Chain::connect(&settings).await {
                Err(error) => return error,
                Ok(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    assert!(
        matches!(error, ChainError::Stale { .. }) && error.retryable(),
        "{error}"
    );
}

#[tokio::test]
async fn a_dead_fullnode_is_passed_over() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let dead = "https://localhost:1".to_owned();
    let chain = chain::Chain::connect(&devnet.settings_for(&[dead.clone(), devnet.url()])).await;
    // whether there is none is asked of two
    let chain = chain.unwrap();
    let error = within(chain.stake(&devnet.operator, NODE, Mist(SUI), devnet.operator.address()))
        .await
        .unwrap_err();
    assert!(
        matches!(error, ChainError::Unreachable { .. }) && error.to_string().contains(&dead),
        "{error}"
    );
    assert_eq!(devnet.node.executed_transactions(), 0);
    // one is enough to find it
    let (_, stake) = devnet.staked().await;
    let found = within(chain.stake(&devnet.operator, NODE, Mist(SUI), devnet.operator.address()))
        .await
        .unwrap();
    assert_eq!(found, stake);
    let error = chain::Chain::connect(&devnet.settings_for(&[dead]))
        .await
        .err()
        .unwrap();
    assert!(error.retryable(), "{error}");
}

#[tokio::test]
async fn a_wrong_pool_or_package_is_named() {
    let devnet = Devnet::with_coins(&[5 * SUI]).await;
    let mut settings = devnet.settings();
    settings.pool = ObjectId::from_bytes([0xde; 32]);
    let chain = chain::Chain::connect(&settings).await.unwrap();
    let error = chain.pool().await.unwrap_err();
    assert!(
        matches!(error, ChainError::NotFound { what: "pool", .. }),
        "{error}"
    );

    let mut settings = devnet.settings();
    settings.package = ObjectId::from_bytes([0xbe; 32]);
    let chain = chain::Chain::connect(&settings).await.unwrap();
    let error = chain
        .stake(&devnet.operator, NODE, Mist(SUI), devnet.operator.address())
        .await
        .unwrap_err();
    assert!(
        matches!(error, ChainError::WrongObject { what: "Pool", .. }),
        "{error}"
    );
}
