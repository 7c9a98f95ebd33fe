//! Executing and simulating transactions.

use sui_rpc::merge::Merge;
use sui_rpc::proto::sui::rpc::v2::{
    self as proto, simulate_transaction_request::TransactionChecks,
    transaction_execution_service_server::TransactionExecutionService,
};
use sui_sdk_types::{GasPayment, Transaction, UserSignature};
use tonic::{Request, Response, Status};

use super::{invalid, mask};
use crate::execution::{self, Rejection};
use crate::ledger::Node;

impl From<Rejection> for Status {
    fn from(rejection: Rejection) -> Self {
        tracing::info!(reason = %rejection, "refused a transaction");
        Status::invalid_argument(rejection.0)
    }
}

#[tonic::async_trait]
impl TransactionExecutionService for Node {
    async fn execute_transaction(
        &self,
        request: Request<proto::ExecuteTransactionRequest>,
    ) -> Result<Response<proto::ExecuteTransactionResponse>, Status> {
        let request = request.into_inner();
        let mask = mask::of::<proto::ExecutedTransaction>(
            request.read_mask.clone(),
            "effects.status,checkpoint",
        )?;
        let transaction = request
            .transaction
            .as_ref()
            .ok_or_else(|| invalid("transaction", "missing"))
            .and_then(|transaction| {
                Transaction::try_from(transaction).map_err(|error| {
                    invalid("transaction", format!("invalid transaction: {error}"))
                })
            })?;
        let signatures = request
            .signatures
            .iter()
            .map(UserSignature::try_from)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| invalid("signatures", format!("invalid signature: {error}")))?;
        let executed = execution::execute(&mut self.ledger(), &transaction, &signatures)?;
        let mut response = proto::ExecuteTransactionResponse::default();
        response.transaction = Some(proto::ExecutedTransaction::merge_from(&executed, &mask));
        Ok(self.answer(response))
    }

    async fn simulate_transaction(
        &self,
        request: Request<proto::SimulateTransactionRequest>,
    ) -> Result<Response<proto::SimulateTransactionResponse>, Status> {
        let request = request.into_inner();
        if request.checks() == TransactionChecks::Disabled {
            return Err(Status::unimplemented(
                "fullnode double: it never leaves out its checks",
            ));
        }
        // the mask is over the whole response
        let mask = mask::of::<proto::SimulateTransactionResponse>(
            request.read_mask.clone(),
            "transaction",
        )?;
        let message = request
            .transaction
            .as_ref()
            .ok_or_else(|| invalid("transaction", "missing"))?;
        let selecting = request.do_gas_selection();
        let mut transaction = complete(message, selecting)?;
        let ledger = self.ledger();
        if selecting {
            execution::select(&ledger, &mut transaction)?;
        }
        let outcome = execution::run(&ledger, &transaction)?;
        let price = ledger.terms.gas_price;
        drop(ledger);
        let mut response = proto::SimulateTransactionResponse::default();
        if let Some(submask) = mask.subtree("transaction") {
            response.transaction = Some(proto::ExecutedTransaction::merge_from(
                &outcome.executed,
                &submask,
            ));
        }
        if mask.contains("suggested_gas_price") {
            response.suggested_gas_price = Some(price);
        }
        Ok(self.answer(response))
    }
}

/// The transaction of a message; when gas is to be chosen, it may come without.
fn complete(message: &proto::Transaction, selecting: bool) -> Result<Transaction, Status> {
    let refused = |error: &dyn std::fmt::Display| {
        invalid(
            "transaction",
            format!("invalid transaction (the double resolves no inputs): {error}"),
        )
    };
    if message.bcs.is_some() || message.gas_payment.is_some() || !selecting {
        let transaction = Transaction::try_from(message).map_err(|error| refused(&error))?;
        return Ok(transaction);
    }
    let sender = message
        .sender()
        .parse()
        .map_err(|error| invalid("transaction.sender", error))?;
    let payment = GasPayment {
        objects: Vec::new(),
        owner: sender,
        price: 0,
        budget: 0,
    };
    let mut message = message.clone();
    message.gas_payment = Some(payment.into());
    Transaction::try_from(&message).map_err(|error| refused(&error))
}
