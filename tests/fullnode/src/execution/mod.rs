//! Running transactions: checks on the way in, commands, charges, effects.

mod calls;
mod commands;
mod effects;
mod gas;
mod inputs;
mod values;

use chain::abi::abort::Abort;
use sui_rpc::proto::sui::rpc::v2 as proto;
use sui_sdk_types::{
    Address, Digest, ExecutionError, Object, ProgrammableTransaction, Transaction, TransactionKind,
    UserSignature,
};

use crate::ledger::Ledger;
use commands::Machine;

#[cfg(test)]
pub(crate) use calls::Bench;
pub(crate) use calls::Scope;
pub(crate) use gas::select;
pub(crate) use inputs::Rejection;
#[cfg(test)]
pub(crate) use values::Form;
pub(crate) use values::{Arg, Place, Stop, Value};

/// What a transaction did, be it a success or a failure.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) digest: Digest,
    pub(crate) written: Vec<Object>,
    pub(crate) deleted: Vec<Address>,
    /// As clients see it.
    pub(crate) executed: proto::ExecutedTransaction,
}

/// Why the commands did not succeed.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) error: Box<ExecutionError>,
    /// The reason in the package, where a function aborted.
    pub(crate) abort: Option<&'static Abort>,
    pub(crate) command: Option<u64>,
}

/// Executes a signed transaction, or answers with what it did when it was executed before.
pub(crate) fn execute(
    ledger: &mut Ledger,
    transaction: &Transaction,
    signatures: &[UserSignature],
) -> Result<proto::ExecutedTransaction, Rejection> {
    inputs::check_signatures(transaction, signatures)?;
    if let Some(executed) = ledger.transaction(&transaction.digest()) {
        return Ok(executed.clone());
    }
    let mut outcome = run(ledger, transaction)?;
    outcome.executed.signatures = signatures.iter().cloned().map(Into::into).collect();
    let status = outcome.executed.effects().status();
    tracing::info!(
        transaction = %transaction.digest(), sender = %transaction.sender,
        success = status.success(), "executed"
    );
    ledger.commit(Ok(outcome))
}

/// Runs a transaction on the ledger as it is, without changing it.
pub(crate) fn run(ledger: &Ledger, transaction: &Transaction) -> Result<Outcome, Rejection> {
    let program = program(transaction)?;
    let loaded = inputs::load(ledger, transaction, program)?;
    let purse = gas::smash(&loaded.gas, &transaction.gas_payment)?;
    let machine = Machine::new(ledger, transaction, &loaded, &purse);
    let (result, machine) = machine.run(&program.commands);
    let settled = gas::settle(transaction, &loaded, purse, machine, result);
    Ok(effects::render(ledger, transaction, &loaded, settled))
}

fn program(transaction: &Transaction) -> Result<&ProgrammableTransaction, Rejection> {
    match &transaction.kind {
        TransactionKind::ProgrammableTransaction(program) => Ok(program),
        _ => Err(Rejection(
            "Transaction kind is not a programmable transaction".to_owned(),
        )),
    }
}
