//! What is checked before anything runs. What fails here is not executed, costs nothing, and
//! leaves no trace. The wording follows Sui's own errors.

use std::collections::BTreeSet;

use sui_crypto::{SuiVerifier, UserSignatureVerifier};
use sui_sdk_types::{
    Address, Command, Input, Mutability, Object, ObjectReference, Owner, ProgrammableTransaction,
    SharedInput, SimpleSignature, StructTag, Transaction, TransactionExpiration, UserSignature,
};

use crate::ledger::Ledger;

/// Sui's protocol limits.
const MOST_BYTES: usize = 128 * 1024;
const MOST_COMMANDS: usize = 1024;
const MOST_INPUTS: usize = 2048;
const MOST_ARGUMENTS: usize = 512;
const MOST_GAS_OBJECTS: usize = 256;
const MOST_PURE_BYTES: usize = 16 * 1024;
const MOST_BUDGET: u64 = 50_000_000_000;

/// Least units of gas that a transaction pays for.
pub(super) const LEAST_GAS_UNITS: u64 = 1000;

/// Why a transaction is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Rejection(pub(crate) String);

/// How an input may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Owned,
    Immutable,
    SharedRead,
    SharedWrite,
}

/// An input as the commands find it.
#[derive(Debug, Clone)]
pub(super) enum Loaded {
    Pure(Vec<u8>),
    Object(Box<Object>, Access),
}

/// Everything a transaction starts from.
#[derive(Debug)]
pub(super) struct Inputs {
    pub(super) inputs: Vec<Loaded>,
    pub(super) gas: Vec<Object>,
    /// The version that everything written gets: one more than the highest that goes in.
    pub(super) version: u64,
}

/// Checks that the sender, and whoever pays the gas, signed.
pub(super) fn check_signatures(
    transaction: &Transaction,
    signatures: &[UserSignature],
) -> Result<(), Rejection> {
    let payer = transaction.gas_payment.owner;
    let mut signers = vec![transaction.sender];
    if payer != transaction.sender {
        signers.push(payer);
    }
    if signatures.len() != signers.len() {
        return Err(Rejection(format!(
            "Expect {} signer signatures but got {}",
            signers.len(),
            signatures.len()
        )));
    }
    for (signer, signature) in signers.iter().zip(signatures) {
        let found = signature.derive_address();
        if found != *signer {
            return Err(Rejection(format!(
                "Required Signature from {signer} is absent [\"{found}\"]"
            )));
        }
        if let UserSignature::Simple(SimpleSignature::Secp256r1 { signature, .. }) = signature
            && is_high(signature.inner())
        {
            return Err(Rejection(
                "Signature is not valid: Fail to verify user sig: s is not low".to_owned(),
            ));
        }
        UserSignatureVerifier::new()
            .verify_transaction(transaction, signature)
            .map_err(|error| {
                Rejection(format!(
                    "Signature is not valid: Fail to verify user sig {error}"
                ))
            })?;
    }
    Ok(())
}

/// Whether s, the second half of an ECDSA signature on P-256, is above half of the group's order
/// (FIPS 186-5, n; Sui takes low ones only).
fn is_high(signature: &[u8; 64]) -> bool {
    const HALF: [u8; 32] = [
        0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xde, 0x73, 0x7d, 0x56, 0xd3, 0x8b, 0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31,
        0x92, 0xa8,
    ];
    signature[32..] > HALF[..]
}

/// Checks a transaction and fetches what it names.
pub(super) fn load(
    ledger: &Ledger,
    transaction: &Transaction,
    program: &ProgrammableTransaction,
) -> Result<Inputs, Rejection> {
    check_size(transaction, program)?;
    check_expiration(ledger, &transaction.expiration)?;
    check_gas_terms(ledger, transaction)?;
    let mut seen = BTreeSet::new();
    let mut once = |id: Address| {
        if seen.insert(id) {
            return Ok(());
        }
        Err(Rejection(
            "The transaction inputs contain duplicated ObjectRef's".to_owned(),
        ))
    };
    let mut versions = vec![0];
    let mut gas = Vec::new();
    for reference in &transaction.gas_payment.objects {
        once(*reference.object_id())?;
        let object = exact(ledger, reference)?;
        owned_by(&object, transaction.gas_payment.owner)?;
        if object
            .as_struct()
            .is_none_or(|data| *data.object_type() != StructTag::gas_coin())
        {
            return Err(Rejection(format!(
                "Gas object {} is no gas coin",
                object.object_id()
            )));
        }
        versions.push(object.version());
        gas.push(object);
    }
    let mut inputs = Vec::new();
    for input in &program.inputs {
        inputs.push(match input {
            Input::Pure(bytes) if bytes.len() > MOST_PURE_BYTES => {
                return Err(Rejection(format!(
                    "Size limit exceeded: maximum pure argument size is {MOST_PURE_BYTES}"
                )));
            }
            Input::Pure(bytes) => Loaded::Pure(bytes.clone()),
            Input::ImmutableOrOwned(reference) => {
                once(*reference.object_id())?;
                let object = exact(ledger, reference)?;
                let access = match object.owner() {
                    Owner::Immutable => Access::Immutable,
                    Owner::Address(_) => {
                        owned_by(&object, transaction.sender)?;
                        Access::Owned
                    }
                    _ => return Err(Rejection("Object used as owned is not owned".to_owned())),
                };
                if object.as_struct().is_none() {
                    return Err(Rejection(format!(
                        "A move object is expected, instead a move package is passed: {}",
                        object.object_id()
                    )));
                }
                versions.push(object.version());
                Loaded::Object(Box::new(object), access)
            }
            Input::Shared(shared) => {
                once(shared.object_id())?;
                let (object, access) = shared_object(ledger, shared)?;
                versions.push(object.version());
                Loaded::Object(Box::new(object), access)
            }
            _ => {
                return Err(Rejection(
                    "fullnode double: inputs of this kind are not supported".to_owned(),
                ));
            }
        });
    }
    let highest = versions.into_iter().max().unwrap_or(0);
    Ok(Inputs {
        inputs,
        gas,
        version: highest + 1,
    })
}

fn check_size(
    transaction: &Transaction,
    program: &ProgrammableTransaction,
) -> Result<(), Rejection> {
    let size = bcs::serialized_size(transaction).unwrap_or(usize::MAX);
    let limit = |what: &str, most: usize| {
        Err(Rejection(format!(
            "Size limit exceeded: {what} is limited to {most}"
        )))
    };
    if size > MOST_BYTES {
        return limit("serialized transaction size", MOST_BYTES);
    }
    if program.commands.is_empty() {
        return Err(Rejection(
            "Empty command in programmable transaction".to_owned(),
        ));
    }
    if program.commands.len() > MOST_COMMANDS {
        return limit("commands in a programmable transaction", MOST_COMMANDS);
    }
    if program.inputs.len() > MOST_INPUTS {
        return limit("inputs of a transaction", MOST_INPUTS);
    }
    let arguments = |command: &Command| match command {
        Command::MoveCall(call) => call.arguments.len(),
        Command::TransferObjects(transfer) => transfer.objects.len(),
        Command::SplitCoins(split) => split.amounts.len(),
        Command::MergeCoins(merge) => merge.coins_to_merge.len(),
        Command::MakeMoveVector(make) => make.elements.len(),
        _ => 0,
    };
    if program.commands.iter().map(arguments).max() > Some(MOST_ARGUMENTS) {
        return limit("arguments of a command", MOST_ARGUMENTS);
    }
    Ok(())
}

fn check_expiration(ledger: &Ledger, expiration: &TransactionExpiration) -> Result<(), Rejection> {
    let epoch = ledger.epoch();
    let expired = || Err(Rejection("Transaction has expired".to_owned()));
    match expiration {
        TransactionExpiration::None => Ok(()),
        TransactionExpiration::Epoch(last) if *last < epoch => expired(),
        TransactionExpiration::Epoch(_) => Ok(()),
        TransactionExpiration::ValidDuring {
            min_epoch,
            max_epoch,
            chain,
            ..
        } => {
            if *chain != ledger.terms.chain_id {
                return Err(Rejection(format!(
                    "Transaction is for chain {chain}, expected {}",
                    ledger.terms.chain_id
                )));
            }
            if min_epoch.is_some_and(|first| epoch < first)
                || max_epoch.is_some_and(|last| epoch > last)
            {
                return expired();
            }
            Ok(())
        }
        _ => Err(Rejection(
            "fullnode double: this expiration is not supported".to_owned(),
        )),
    }
}

fn check_gas_terms(ledger: &Ledger, transaction: &Transaction) -> Result<(), Rejection> {
    let gas = &transaction.gas_payment;
    if gas.objects.is_empty() {
        return Err(Rejection(
            "Missing gas object for programmable transaction".to_owned(),
        ));
    }
    if gas.objects.len() > MOST_GAS_OBJECTS {
        return Err(Rejection(format!(
            "Size limit exceeded: maximum number of gas payment objects is {MOST_GAS_OBJECTS}"
        )));
    }
    let reference = ledger.terms.gas_price;
    if gas.price < reference {
        return Err(Rejection(format!(
            "Gas price {} under reference gas price (RGP) {reference}",
            gas.price
        )));
    }
    let least = gas.price.saturating_mul(LEAST_GAS_UNITS);
    if gas.budget < least {
        return Err(Rejection(format!(
            "Gas budget: {} is lower than min: {least}.",
            gas.budget
        )));
    }
    if gas.budget > MOST_BUDGET {
        return Err(Rejection(format!(
            "Gas budget: {} is higher than max: {MOST_BUDGET}.",
            gas.budget
        )));
    }
    Ok(())
}

/// The object that a reference names, at that version and with that digest.
fn exact(ledger: &Ledger, reference: &ObjectReference) -> Result<Object, Rejection> {
    let (id, version) = (reference.object_id(), reference.version());
    let Some(object) = ledger.live(id) else {
        return Err(Rejection(format!(
            "Could not find the referenced object {id} at version Some({version})"
        )));
    };
    if object.version() != version {
        return Err(Rejection(format!(
            "Transaction needs to be rebuilt because object {id} version {version} is unavailable \
             for consumption, current version: {}",
            object.version()
        )));
    }
    let digest = object.digest();
    if digest != *reference.digest() {
        return Err(Rejection(format!(
            "Invalid Object digest for object {id}. Expected digest : {digest}"
        )));
    }
    Ok(object.clone())
}

fn owned_by(object: &Object, account: Address) -> Result<(), Rejection> {
    match object.owner() {
        Owner::Address(owner) if *owner == account => Ok(()),
        Owner::Address(owner) => Err(Rejection(format!(
            "Transaction was not signed by the correct sender: Object {} is owned by account \
             address {owner}, but given owner/signer address is {account}",
            object.object_id()
        ))),
        _ => Err(Rejection("Object used as owned is not owned".to_owned())),
    }
}

fn shared_object(ledger: &Ledger, shared: &SharedInput) -> Result<(Object, Access), Rejection> {
    let id = shared.object_id();
    let Some(object) = ledger.live(&id) else {
        return Err(Rejection(format!(
            "Could not find the referenced object {id} at version None"
        )));
    };
    let Owner::Shared(since) = object.owner() else {
        return Err(Rejection("Object used as shared is not shared".to_owned()));
    };
    if *since != shared.version() {
        return Err(Rejection(
            "The shared object's starting version does not match".to_owned(),
        ));
    }
    let access = match shared.mutability() {
        Mutability::Immutable => Access::SharedRead,
        Mutability::Mutable if id == chain::abi::CLOCK => {
            return Err(Rejection(format!(
                "Immutable parameter provided, mutable parameter expected: {id}"
            )));
        }
        Mutability::Mutable => Access::SharedWrite,
        _ => {
            return Err(Rejection(
                "fullnode double: this mutability is not supported".to_owned(),
            ));
        }
    };
    Ok((object.clone(), access))
}
