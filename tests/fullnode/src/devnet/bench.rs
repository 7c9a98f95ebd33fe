//! A devnet, an account with two coins on it, and a client without manners.

use chain::NodeKey;
use sui_rpc::proto::sui::rpc::v2::{ExecutedTransaction, execution_error::ExecutionErrorKind};
use sui_sdk_types::{Address, ObjectReference};
use sui_transaction_builder::TransactionBuilder;

use super::{Devnet, Raw, SUI};

/// How it failed, if it did.
pub fn kind(executed: &ExecutedTransaction) -> Option<ExecutionErrorKind> {
    let status = executed.effects().status();
    (!status.success()).then(|| status.error().kind())
}

/// A stake with its seal token, whole.
pub fn whole_stake(raw: &Raw, tx: &mut TransactionBuilder, key: &NodeKey, amount: u64) {
    let record = raw.stake(tx, "edge", &key.public().to_flagged_bytes(), amount);
    let (pool, clock) = (raw.pool(tx, false), raw.clock(tx));
    raw.call(
        tx,
        "k8s_gateway::create_worker_seal_token",
        vec![pool, record, clock],
    );
    raw.share(tx, record);
}

/// What a test of the double works on.
pub struct Bench {
    /// The devnet.
    pub devnet: Devnet,
    /// A client of it.
    pub raw: Raw,
    /// The operator.
    pub sender: Address,
    /// The operator's coins.
    pub coins: Vec<ObjectReference>,
}

/// Sets it up.
pub async fn bench() -> Bench {
    let devnet = Devnet::with_coins(&[10 * SUI, 2 * SUI]).await;
    let mut raw = devnet.raw().await;
    let sender = devnet.operator.address().into();
    let coins = raw.coins(sender).await;
    Bench {
        devnet,
        raw,
        sender,
        coins,
    }
}

/// Waits for what was executed to be readable.
pub async fn settle(devnet: &Devnet) {
    devnet.node.make_checkpoint();
}
