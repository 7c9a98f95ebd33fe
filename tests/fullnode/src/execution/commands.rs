//! The machine that runs a programmable transaction, command by command.

use std::collections::{BTreeMap, BTreeSet};

use sui_sdk_types::hash::Hasher;
use sui_sdk_types::{
    Address, Argument, Command, CommandArgumentError, Digest, Event, ExecutionError, MergeCoins,
    Object, SplitCoins, StructTag, Transaction, TransferObjects,
};

use super::Failure;
use super::gas::Purse;
use super::inputs::{Access, Inputs, Loaded};
use super::values::{Form, Place, Value};
use crate::ledger::Ledger;

/// Sui's intent byte for the ids of new objects (`HashingIntentScope::RegularObjectId`).
const OBJECT_ID_SCOPE: u8 = 0xf1;

/// How a command wants an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Read,
    Write,
    Take,
}

/// A place that holds a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Slot {
    Gas,
    Input(usize),
    Result(usize, usize),
}

/// An object that goes in.
#[derive(Debug)]
struct InputObject {
    access: Access,
    value: Option<Value>,
}

#[derive(Debug)]
enum MachineInput {
    Pure(Vec<u8>),
    Object(InputObject),
}

/// The state between commands.
#[derive(Debug)]
pub(super) struct Machine<'l> {
    ledger: &'l Ledger,
    pub(super) package: Address,
    pub(super) sender: Address,
    pub(super) now_ms: u64,
    digest: Digest,
    inputs: Vec<MachineInput>,
    pub(super) gas: Option<Value>,
    /// Who gets the gas coin, where it was transferred.
    pub(super) gas_receiver: Option<Address>,
    results: Vec<Vec<Option<Value>>>,
    pub(super) placed: Vec<(Value, Place)>,
    pub(super) events: Vec<Event>,
    /// Dynamic fields that were added, with what they belong to, or removed.
    pub(super) children: BTreeMap<Address, Option<(Value, Address)>>,
    /// Derived ids that were taken.
    claimed: BTreeSet<Address>,
    ids: u64,
}

/// Where a command failed: at one of its arguments, or as a whole.
pub(super) enum Fault {
    Argument(usize, CommandArgumentError),
    Command(Box<ExecutionError>),
    Abort(Failure),
}

impl From<ExecutionError> for Fault {
    fn from(error: ExecutionError) -> Self {
        Self::Command(Box::new(error))
    }
}

/// Dynamic fields and derived ids.
#[cfg(test)]
pub(super) type Left = (
    BTreeMap<Address, Option<(Value, Address)>>,
    BTreeSet<Address>,
);

impl<'l> Machine<'l> {
    pub(super) fn new(
        ledger: &'l Ledger,
        transaction: &Transaction,
        loaded: &Inputs,
        purse: &Purse,
    ) -> Self {
        let inputs = loaded
            .inputs
            .iter()
            .map(|input| match input {
                Loaded::Pure(bytes) => MachineInput::Pure(bytes.clone()),
                Loaded::Object(object, access) => MachineInput::Object(InputObject {
                    access: *access,
                    value: Value::of(object),
                }),
            })
            .collect();
        Self {
            ledger,
            package: ledger.terms.package,
            sender: transaction.sender,
            now_ms: ledger.now_ms(),
            digest: transaction.digest(),
            inputs,
            gas: purse.spendable(),
            gas_receiver: None,
            results: Vec::new(),
            placed: Vec::new(),
            events: Vec::new(),
            children: BTreeMap::new(),
            claimed: BTreeSet::new(),
            ids: 0,
        }
    }

    /// A machine without a transaction around it.
    #[cfg(test)]
    pub(super) fn bare(ledger: &'l Ledger) -> Self {
        Self {
            ledger,
            package: ledger.terms.package,
            sender: Address::ZERO,
            now_ms: 0,
            digest: Digest::ZERO,
            inputs: Vec::new(),
            gas: None,
            gas_receiver: None,
            results: Vec::new(),
            placed: Vec::new(),
            events: Vec::new(),
            children: BTreeMap::new(),
            claimed: BTreeSet::new(),
            ids: 0,
        }
    }

    /// What a call leaves besides what it returns, so that one that aborts leaves nothing.
    #[cfg(test)]
    pub(super) fn left(&self) -> Left {
        (self.children.clone(), self.claimed.clone())
    }

    #[cfg(test)]
    pub(super) fn restore(&mut self, (children, claimed): Left) {
        self.children = children;
        self.claimed = claimed;
    }

    /// Runs the commands; what the machine holds afterwards counts only on success.
    pub(super) fn run(mut self, commands: &[Command]) -> (Result<(), Failure>, Self) {
        for (index, command) in (0u64..).zip(commands) {
            match self.step(command) {
                Ok(results) => self.results.push(results.into_iter().map(Some).collect()),
                Err(fault) => return (Err(fault.at(index)), self),
            }
        }
        (self.nothing_left_over(), self)
    }

    fn step(&mut self, command: &Command) -> Result<Vec<Value>, Fault> {
        match command {
            Command::SplitCoins(split) => self.split_coins(split),
            Command::MergeCoins(merge) => self.merge_coins(merge),
            Command::TransferObjects(transfer) => self.transfer_objects(transfer),
            Command::MoveCall(call) => self.move_call(call),
            Command::MakeMoveVector(make) => self.make_move_vector(make),
            // publishing and upgrading: no Move behind this double
            _ => Err(ExecutionError::FeatureNotYetSupported.into()),
        }
    }

    /// Every result must have found a place: no object may be dropped.
    fn nothing_left_over(&self) -> Result<(), Failure> {
        for (result, values) in (0u16..).zip(&self.results) {
            for (subresult, value) in (0u16..).zip(values) {
                let object = |value: &Value| matches!(value.form, Form::Object { .. });
                if value.as_ref().is_some_and(object) {
                    let error =
                        Box::new(ExecutionError::UnusedValueWithoutDrop { result, subresult });
                    return Err(Failure {
                        error,
                        abort: None,
                        command: None,
                    });
                }
            }
        }
        Ok(())
    }

    fn split_coins(&mut self, split: &SplitCoins) -> Result<Vec<Value>, Fault> {
        let slot = self.slot(0, &split.coin)?;
        let mut source = self.obtain(0, slot, Mode::Write)?;
        let tag = coin_type(0, &source)?;
        let mut coin: chain::abi::Coin = read(&source)?;
        let mut results = Vec::new();
        for (index, amount) in (1..).zip(&split.amounts) {
            let amount: u64 = self.pure(index, amount)?;
            coin.balance = coin
                .balance
                .checked_sub(amount)
                .ok_or(ExecutionError::InsufficientCoinBalance)?;
            let part = chain::abi::Coin {
                id: self.new_id(),
                balance: amount,
            };
            results.push(value(tag.clone(), &part)?);
        }
        write(&mut source, &coin)?;
        self.put_back(slot, source);
        Ok(results)
    }

    fn merge_coins(&mut self, merge: &MergeCoins) -> Result<Vec<Value>, Fault> {
        let slot = self.slot(0, &merge.coin)?;
        let mut target = self.obtain(0, slot, Mode::Write)?;
        let tag = coin_type(0, &target)?;
        let mut coin: chain::abi::Coin = read(&target)?;
        for (index, argument) in (1..).zip(&merge.coins_to_merge) {
            let source = self.slot(index, argument)?;
            let source = self.obtain(index, source, Mode::Take)?;
            if source.tag != tag {
                return Err(Fault::Argument(index, CommandArgumentError::TypeMismatch));
            }
            let part: chain::abi::Coin = read(&source)?;
            coin.balance = coin
                .balance
                .checked_add(part.balance)
                .ok_or(ExecutionError::CoinBalanceOverflow)?;
        }
        write(&mut target, &coin)?;
        self.put_back(slot, target);
        Ok(Vec::new())
    }

    fn transfer_objects(&mut self, transfer: &TransferObjects) -> Result<Vec<Value>, Fault> {
        let receiver: Address = self.pure(transfer.objects.len(), &transfer.address)?;
        for (index, argument) in transfer.objects.iter().enumerate() {
            let slot = self.slot(index, argument)?;
            if slot == Slot::Gas {
                if self.gas_receiver.replace(receiver).is_some() {
                    return Err(Fault::Argument(
                        index,
                        CommandArgumentError::InvalidValueUsage,
                    ));
                }
                continue;
            }
            let object = self.obtain(index, slot, Mode::Take)?;
            if !object.can_be_transferred() {
                return Err(ExecutionError::InvalidTransferObject.into());
            }
            self.placed.push((object, Place::Account(receiver)));
        }
        Ok(Vec::new())
    }

    /// The place that an argument names.
    pub(super) fn slot(&self, index: usize, argument: &Argument) -> Result<Slot, Fault> {
        let fault = |error| Err(Fault::Argument(index, error));
        match argument {
            Argument::Gas => Ok(Slot::Gas),
            Argument::Input(input) => match self.inputs.get(usize::from(*input)) {
                Some(_) => Ok(Slot::Input(usize::from(*input))),
                None => fault(CommandArgumentError::IndexOutOfBounds { index: *input }),
            },
            Argument::Result(result) => match self.results.get(usize::from(*result)) {
                None => fault(CommandArgumentError::IndexOutOfBounds { index: *result }),
                Some(values) if values.len() == 1 => Ok(Slot::Result(usize::from(*result), 0)),
                Some(_) => fault(CommandArgumentError::InvalidResultArity { result: *result }),
            },
            Argument::NestedResult(result, subresult) => {
                match self.results.get(usize::from(*result)) {
                    None => fault(CommandArgumentError::IndexOutOfBounds { index: *result }),
                    Some(values) if usize::from(*subresult) < values.len() => {
                        Ok(Slot::Result(usize::from(*result), usize::from(*subresult)))
                    }
                    Some(_) => fault(CommandArgumentError::SecondaryIndexOutOfBounds {
                        result: *result,
                        subresult: *subresult,
                    }),
                }
            }
        }
    }

    /// Takes a value out of its place, or a copy of it when it is only read.
    pub(super) fn obtain(&mut self, index: usize, slot: Slot, mode: Mode) -> Result<Value, Fault> {
        let fault = |error| Fault::Argument(index, error);
        let held = match slot {
            Slot::Gas if mode == Mode::Take => {
                return Err(fault(CommandArgumentError::InvalidGasCoinUsage));
            }
            Slot::Gas if self.gas_receiver.is_some() => {
                return Err(fault(CommandArgumentError::InvalidValueUsage));
            }
            Slot::Gas => &mut self.gas,
            Slot::Input(input) => match self.inputs.get_mut(input) {
                Some(MachineInput::Object(object)) => {
                    let writes = mode != Mode::Read;
                    match object.access {
                        Access::Owned => {}
                        Access::Immutable | Access::SharedRead if writes => {
                            return Err(fault(if mode == Mode::Take {
                                CommandArgumentError::InvalidObjectByValue
                            } else {
                                CommandArgumentError::InvalidObjectByMutRef
                            }));
                        }
                        Access::SharedWrite if mode == Mode::Take => {
                            return Err(fault(
                                CommandArgumentError::ConsensusObjectOperationNotAllowed,
                            ));
                        }
                        _ => {}
                    }
                    &mut object.value
                }
                Some(MachineInput::Pure(_)) => {
                    return Err(fault(CommandArgumentError::InvalidUsageOfPureArgument));
                }
                None => return Err(fault(CommandArgumentError::InvalidValueUsage)),
            },
            Slot::Result(result, subresult) => self
                .results
                .get_mut(result)
                .and_then(|values| values.get_mut(subresult))
                .ok_or_else(|| fault(CommandArgumentError::InvalidValueUsage))?,
        };
        let object = |value: &Value| matches!(value.form, Form::Object { .. });
        // data is copied, as Sui does where it is used again
        let value = if mode == Mode::Read || !held.as_ref().is_some_and(object) {
            held.clone()
        } else {
            held.take()
        };
        // taken before, or borrowed by the same command
        value.ok_or_else(|| fault(CommandArgumentError::InvalidValueUsage))
    }

    /// Puts a value back that was obtained to be written.
    pub(super) fn put_back(&mut self, slot: Slot, value: Value) {
        match slot {
            Slot::Gas => self.gas = Some(value),
            Slot::Input(input) => {
                if let Some(MachineInput::Object(object)) = self.inputs.get_mut(input) {
                    object.value = Some(value);
                }
            }
            Slot::Result(result, subresult) => {
                if let Some(held) = self
                    .results
                    .get_mut(result)
                    .and_then(|values| values.get_mut(subresult))
                {
                    *held = Some(value);
                }
            }
        }
    }

    /// Reads a pure argument as a type.
    pub(super) fn pure<T: serde::de::DeserializeOwned>(
        &self,
        index: usize,
        argument: &Argument,
    ) -> Result<T, Fault> {
        let slot = self.slot(index, argument)?;
        let fault = |error| Fault::Argument(index, error);
        match slot {
            Slot::Input(input) => match self.inputs.get(input) {
                Some(MachineInput::Pure(bytes)) => bcs::from_bytes(bytes)
                    .map_err(|_error| fault(CommandArgumentError::InvalidBcsBytes)),
                _ => Err(fault(CommandArgumentError::TypeMismatch)),
            },
            _ => Err(fault(CommandArgumentError::TypeMismatch)),
        }
    }

    /// The id of the next new object: a hash of the transaction and a counter.
    pub(crate) fn new_id(&mut self) -> Address {
        let mut hasher = Hasher::new();
        hasher.update([OBJECT_ID_SCOPE]);
        hasher.update(self.digest.inner());
        hasher.update(self.ids.to_le_bytes());
        self.ids += 1;
        Address::new(hasher.finalize().into_inner())
    }

    /// Takes a derived id; `false` where it was taken before.
    pub(super) fn claim(&mut self, id: Address) -> bool {
        self.ledger.live(&id).is_none() && self.claimed.insert(id)
    }

    /// A dynamic field as it is now.
    pub(super) fn child(&self, id: Address) -> Option<Value> {
        match self.children.get(&id) {
            Some(changed) => changed.as_ref().map(|(value, _)| value.clone()),
            None => self.ledger.live(&id).and_then(Value::of),
        }
    }

    /// Objects of the ledger that dynamic fields were, and that are no more.
    pub(super) fn removed_children(&self) -> Vec<Object> {
        self.children
            .iter()
            .filter(|(_, changed)| changed.is_none())
            .filter_map(|(id, _)| self.ledger.live(id).cloned())
            .collect()
    }

    /// Objects that went in and are still there, as they are now.
    pub(super) fn remaining(&self) -> BTreeMap<Address, &Value> {
        self.inputs
            .iter()
            .filter_map(|input| match input {
                MachineInput::Object(InputObject {
                    value: Some(value), ..
                }) => Some((value.id(), value)),
                _ => None,
            })
            .collect()
    }
}

impl Fault {
    fn at(self, command: u64) -> Failure {
        let error = match self {
            Self::Argument(argument, kind) => Box::new(ExecutionError::CommandArgumentError {
                argument: u16::try_from(argument).unwrap_or(u16::MAX),
                kind,
            }),
            Self::Command(error) => error,
            Self::Abort(failure) => {
                return Failure {
                    command: Some(command),
                    ..failure
                };
            }
        };
        Failure {
            error,
            abort: None,
            command: Some(command),
        }
    }
}

fn coin_type(index: usize, value: &Value) -> Result<StructTag, Fault> {
    match value.tag.is_coin() {
        Some(_) => Ok(value.tag.clone()),
        None => Err(Fault::Argument(index, CommandArgumentError::TypeMismatch)),
    }
}

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, Fault> {
    value
        .read()
        .map_err(|_broken| ExecutionError::InvariantViolation.into())
}

fn write<T: serde::Serialize>(value: &mut Value, contents: &T) -> Result<(), Fault> {
    value
        .write(contents)
        .map_err(|_broken| ExecutionError::InvariantViolation.into())
}

fn value<T: serde::Serialize>(tag: StructTag, contents: &T) -> Result<Value, Fault> {
    Value::new(tag, true, contents).map_err(|_broken| ExecutionError::InvariantViolation.into())
}
