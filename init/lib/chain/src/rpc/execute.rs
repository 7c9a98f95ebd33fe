//! Transactions: dry run, execution, effects.

use chain_types::{Mist, TransactionId};
use sui_rpc::client::ExecuteAndWaitError;
use sui_rpc::field::{FieldMask, FieldMaskUtil};
use sui_rpc::proto::sui::rpc::v2::{self as proto, execution_error::ExecutionErrorKind};
use sui_sdk_types::{Transaction, UserSignature};

use super::{Fullnode, bounded};
use crate::abi::abort;
use crate::error::{ChainError, EXECUTE};
use crate::stake::Executed;

/// What a dry run comes to.
pub(crate) struct DryRun {
    /// What execution and storage cost, rebates not counted.
    pub(crate) gas: u64,
    /// Why it fails, if it does.
    pub(crate) failure: Option<Failure>,
}

/// Why a transaction fails.
pub(crate) enum Failure {
    /// The account's coins do not suffice.
    Funds,
    /// Anything else.
    Other(ChainError),
}

impl Fullnode {
    /// Runs a transaction without keeping what it does.
    pub(crate) async fn dry_run(&self, transaction: &Transaction) -> Result<DryRun, ChainError> {
        const CALL: &str = "SimulateTransaction";
        let request = proto::SimulateTransactionRequest::new(transaction.clone().into())
            .with_read_mask(FieldMask::from_paths([
                "transaction.effects.status",
                "transaction.effects.gas_used",
            ]));
        let response = self
            .call(CALL, async |mut client| {
                client
                    .execution_client()
                    .simulate_transaction(request)
                    .await
            })
            .await?;
        let effects = response.transaction().effects();
        let gas = effects.gas_used();
        let failure = match effects.status_opt() {
            None => return Err(self.invalid(CALL, "no status")),
            Some(status) if status.success() => None,
            Some(status) => Some(failure(transaction.digest().into(), status.error())),
        };
        Ok(DryRun {
            gas: gas.computation_cost().saturating_add(gas.storage_cost()),
            failure,
        })
    }

    /// Submits a transaction, waits for the checkpoint that holds it, and tells what it did.
    /// Submitting one that is on the chain already gives the same answer again.
    pub(crate) async fn execute(
        &self,
        transaction: &Transaction,
        signature: &UserSignature,
    ) -> Result<Executed, ChainError> {
        const CALL: &str = EXECUTE;
        let id = TransactionId::from(transaction.digest());
        let request = proto::ExecuteTransactionRequest::new(transaction.clone().into())
            .with_signatures(vec![signature.clone().into()])
            .with_read_mask(FieldMask::from_paths([
                "digest",
                "effects.status",
                "effects.gas_used",
                "checkpoint",
            ]));
        let limit = self.timeouts.finality;
        let not_final = || ChainError::NotFinal {
            transaction: id,
            seconds: limit.as_secs(),
        };
        let mut client = self.client.clone();
        let waiting = client.execute_transaction_and_wait_for_checkpoint(request, limit);
        let response = match tokio::time::timeout(limit, waiting).await {
            Err(_elapsed) => return Err(not_final()),
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(ExecuteAndWaitError::RpcError(status))) => {
                return Err(self.failure(CALL, &status));
            }
            Ok(Err(
                ExecuteAndWaitError::CheckpointTimeout(_)
                | ExecuteAndWaitError::CheckpointStreamError { .. },
            )) => return Err(not_final()),
            Ok(Err(error)) => return Err(self.invalid(CALL, bounded(&error.to_string()))),
        };
        let executed = response.transaction();
        if executed.digest() != id.to_string() {
            return Err(self.invalid(CALL, "the answer is about another transaction"));
        }
        self.finished(CALL, id, executed)
    }

    fn finished(
        &self,
        call: &'static str,
        id: TransactionId,
        executed: &proto::ExecutedTransaction,
    ) -> Result<Executed, ChainError> {
        let effects = executed.effects();
        match effects.status_opt() {
            None => return Err(self.invalid(call, "no status")),
            Some(status) if status.success() => {}
            Some(status) => {
                return Err(match failure(id, status.error()) {
                    Failure::Other(error) => error,
                    Failure::Funds => ChainError::Failed {
                        transaction: id,
                        detail: "the coins did not suffice".to_owned(),
                    },
                });
            }
        }
        let gas = effects.gas_used();
        let spent = gas.computation_cost().saturating_add(gas.storage_cost());
        Ok(Executed {
            transaction: id,
            checkpoint: executed.checkpoint(),
            gas: Mist(spent.saturating_sub(gas.storage_rebate())),
        })
    }
}

fn failure(id: TransactionId, error: &proto::ExecutionError) -> Failure {
    match error.kind() {
        ExecutionErrorKind::InsufficientGas | ExecutionErrorKind::InsufficientCoinBalance => {
            return Failure::Funds;
        }
        ExecutionErrorKind::MoveAbort => {}
        kind => {
            let mut detail = kind.as_str_name().to_owned();
            if let Some(description) = error.description_opt() {
                detail = format!("{detail}: {description}");
            }
            if let Some(command) = error.command_opt() {
                detail = format!("{detail} (command {command})");
            }
            let detail = bounded(&detail);
            return Failure::Other(ChainError::Failed {
                transaction: id,
                detail,
            });
        }
    }
    let abort = error.abort();
    let module = bounded(abort.location().module());
    // a fullnode that has the package's sources takes the code apart itself
    let clever = abort.clever_error_opt();
    let code = clever
        .and_then(|error| error.error_code_opt())
        .unwrap_or_else(|| abort::authored_code(abort.abort_code()));
    let known = abort::named(&module, code);
    if known.is_some_and(|known| known.name == abort::Abort::WRONG_VERSION.name) {
        return Failure::Other(ChainError::Upgraded {
            function: format!("{module}::{}", bounded(abort.location().function_name())),
        });
    }
    let name = match (known, clever) {
        (Some(known), _) => format!("{}, {}", known.name, known.text),
        (None, Some(clever)) if !clever.constant_name().is_empty() => bounded(&format!(
            "{}, {}",
            clever.constant_name(),
            clever.rendered()
        )),
        (None, _) => "an unnamed error".to_owned(),
    };
    Failure::Other(ChainError::Aborted {
        function: bounded(abort.location().function_name()),
        module,
        code,
        name,
    })
}
