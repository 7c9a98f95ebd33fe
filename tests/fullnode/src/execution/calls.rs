//! Calls of the package's functions: arguments checked against their signatures, results kept.

use sui_sdk_types::{
    Argument, CommandArgumentError, Event, ExecutionError, Identifier, MakeMoveVector, MoveCall,
    MoveLocation, StructTag, TypeTag,
};

use super::Failure;
use super::commands::{Fault, Machine, Mode, Slot};
use super::values::{Arg, Form, Made, Stop, Value};
use crate::package::{self, Function, Kind, Parameter};

/// What a function sees of the transaction, and what it can do.
pub(crate) struct Scope<'a, 'l> {
    machine: &'a mut Machine<'l>,
    pub(crate) made: Made,
}

impl Scope<'_, '_> {
    /// The sender of the transaction.
    pub(crate) fn sender(&self) -> sui_sdk_types::Address {
        self.machine.sender
    }

    /// The package itself.
    pub(crate) fn package(&self) -> sui_sdk_types::Address {
        self.machine.package
    }

    /// A fresh object id.
    pub(crate) fn new_id(&mut self) -> sui_sdk_types::Address {
        self.machine.new_id()
    }

    /// Takes a derived id for a new object; `false` where it was taken before.
    pub(crate) fn claim(&mut self, id: sui_sdk_types::Address) -> bool {
        self.machine.claim(id)
    }

    /// A dynamic field, by its id.
    pub(crate) fn child(&self, id: sui_sdk_types::Address) -> Option<Value> {
        self.machine.child(id)
    }

    /// Adds a dynamic field to an object.
    pub(crate) fn add_child(&mut self, parent: sui_sdk_types::Address, value: Value) {
        self.machine
            .children
            .insert(value.id(), Some((value, parent)));
    }

    /// Removes a dynamic field.
    pub(crate) fn remove_child(&mut self, id: sui_sdk_types::Address) {
        self.machine.children.insert(id, None);
    }
}

impl Machine<'_> {
    pub(super) fn move_call(&mut self, call: &MoveCall) -> Result<Vec<Value>, Fault> {
        if call.package != self.package {
            tracing::warn!(
                package = %call.package, module = %call.module, function = %call.function,
                "fullnode double: only the package {} can be called", self.package
            );
            return Err(ExecutionError::FunctionNotFound.into());
        }
        let Some(function) = package::find(call.module.as_str(), call.function.as_str()) else {
            return Err(ExecutionError::FunctionNotFound.into());
        };
        if !call.type_arguments.is_empty() {
            return Err(ExecutionError::TypeArityMismatch.into());
        }
        if call.arguments.len() != function.parameters.len() {
            return Err(ExecutionError::ArityMismatch.into());
        }
        let (mut arguments, borrowed) = self.bind(call, function)?;
        let mut scope = Scope {
            machine: self,
            made: Made::default(),
        };
        let result = (function.body)(&mut scope, &mut arguments);
        let made = scope.made;
        match result {
            Ok(()) => {}
            Err(Stop::Broken(error)) => {
                tracing::error!(function = function.name, %error, "fullnode double is at fault");
                return Err(ExecutionError::InvariantViolation.into());
            }
            Err(Stop::Abort(abort)) => {
                let (index, name) =
                    package::raised_by(abort, function).unwrap_or((0, function.name));
                let location = MoveLocation {
                    package: self.package,
                    module: Identifier::from_static(abort.module),
                    function: index,
                    instruction: 0,
                    function_name: Identifier::new(name).ok(),
                };
                return Err(Fault::Abort(Failure {
                    error: Box::new(ExecutionError::MoveAbort {
                        location,
                        code: package::code(abort),
                    }),
                    abort: Some(abort),
                    command: None,
                }));
            }
        }
        for (slot, argument) in borrowed.into_iter().zip(arguments) {
            if let (Some(slot), Arg::Object(value)) = (slot, argument) {
                self.put_back(slot, value);
            }
        }
        self.placed.extend(made.placed);
        self.events
            .extend(made.events.into_iter().map(|(type_, contents)| Event {
                package_id: self.package,
                module: call.module.clone(),
                sender: self.sender,
                type_,
                contents,
            }));
        Ok(made.returned)
    }

    /// A vector of parts of a release; the package's functions take no other.
    pub(super) fn make_move_vector(&mut self, make: &MakeMoveVector) -> Result<Vec<Value>, Fault> {
        use chain::abi::{Image, LaunchMeasurement, MoveType as _, PhasePcr};
        let known = [
            Image::tag(self.package),
            LaunchMeasurement::tag(self.package),
            PhasePcr::tag(self.package),
        ];
        let wanted =
            |tag: &&StructTag| make.type_ == Some(TypeTag::Struct(Box::new(StructTag::clone(tag))));
        let tag = known
            .iter()
            .find(wanted)
            .ok_or(ExecutionError::FeatureNotYetSupported)?;
        // BCS: the number of elements, then one after the other; a transaction has no more commands
        // than one byte of ULEB128 can count
        let count = u8::try_from(make.elements.len())
            .ok()
            .filter(|count| *count < 128);
        let mut contents = vec![count.ok_or(ExecutionError::FeatureNotYetSupported)?];
        for (index, argument) in make.elements.iter().enumerate() {
            let slot = self.slot(index, argument)?;
            let element = self.obtain(index, slot, Mode::Take)?;
            if element.tag != *tag || element.form != Form::Data {
                return Err(Fault::Argument(index, CommandArgumentError::TypeMismatch));
            }
            contents.extend(element.contents);
        }
        Ok(vec![Value {
            tag: tag.clone(),
            form: Form::Vector,
            contents,
        }])
    }

    /// Fetches the arguments, and the places of those that must be put back.
    fn bind(
        &mut self,
        call: &MoveCall,
        function: &Function,
    ) -> Result<(Vec<Arg>, Vec<Option<Slot>>), Fault> {
        let mut arguments = Vec::new();
        let mut borrowed = Vec::new();
        let mut read = Vec::new();
        for (index, (argument, parameter)) in
            call.arguments.iter().zip(function.parameters).enumerate()
        {
            if let Some(pure) = self.pure_argument(index, argument, parameter)? {
                arguments.push(pure);
                borrowed.push(None);
                continue;
            }
            let (kind, mode, form) = match parameter {
                Parameter::Read(kind) => (kind, Mode::Read, None),
                Parameter::Write(kind) => (kind, Mode::Write, None),
                Parameter::Vector(kind) => (kind, Mode::Take, Some(Form::Vector)),
                Parameter::Take(kind) => (kind, Mode::Take, None),
                // pure ones, which have gone
                _ => return Err(Fault::Argument(index, CommandArgumentError::TypeMismatch)),
            };
            let slot = self.slot(index, argument)?;
            // what is borrowed to be read cannot be written or taken by the same call
            if mode != Mode::Read && read.contains(&slot) {
                return Err(Fault::Argument(
                    index,
                    CommandArgumentError::InvalidValueUsage,
                ));
            }
            let mut value = self.obtain(index, slot, mode)?;
            let vector = value.form == Form::Vector;
            if value.tag != kind.tag(self.package) || vector != (form == Some(Form::Vector)) {
                return Err(Fault::Argument(index, CommandArgumentError::TypeMismatch));
            }
            if *kind == Kind::Clock {
                value = Value::new(
                    value.tag,
                    false,
                    &chain::abi::Clock {
                        id: chain::abi::CLOCK,
                        timestamp_ms: self.now_ms,
                    },
                )
                .map_err(|_broken| ExecutionError::InvariantViolation)?;
            }
            if mode == Mode::Read {
                read.push(slot);
            }
            arguments.push(Arg::Object(value));
            borrowed.push((mode == Mode::Write).then_some(slot));
        }
        Ok((arguments, borrowed))
    }
    /// An argument of a primitive type; `None` where the parameter is of another.
    fn pure_argument(
        &self,
        index: usize,
        argument: &Argument,
        parameter: &Parameter,
    ) -> Result<Option<Arg>, Fault> {
        Ok(Some(match parameter {
            Parameter::Bool => Arg::Bool(self.pure(index, argument)?),
            Parameter::U8 => Arg::U8(self.pure(index, argument)?),
            Parameter::U16 => Arg::U16(self.pure(index, argument)?),
            Parameter::U32 => Arg::U32(self.pure(index, argument)?),
            Parameter::U64 => Arg::U64(self.pure(index, argument)?),
            Parameter::Text => Arg::Text(self.pure(index, argument)?),
            Parameter::Texts => Arg::Texts(self.pure(index, argument)?),
            Parameter::Bytes => Arg::Bytes(self.pure(index, argument)?),
            Parameter::Address => Arg::Address(self.pure(index, argument)?),
            Parameter::Read(_)
            | Parameter::Write(_)
            | Parameter::Take(_)
            | Parameter::Vector(_) => return Ok(None),
        }))
    }
}

/// Calls of the package's functions with values at hand, without a transaction around them.
#[cfg(test)]
pub(crate) struct Bench<'l>(Machine<'l>);

#[cfg(test)]
impl<'l> Bench<'l> {
    pub(crate) fn new(ledger: &'l crate::ledger::Ledger) -> Self {
        Self(Machine::bare(ledger))
    }

    /// Calls `module::function`. What aborts leaves nothing.
    pub(crate) fn call(
        &mut self,
        sender: sui_sdk_types::Address,
        name: &str,
        arguments: &mut [Arg],
    ) -> Result<Made, Stop> {
        let function = name
            .split_once("::")
            .and_then(|(module, name)| package::find(module, name));
        let Some(function) = function else {
            return Err(Stop::Broken(format!("there is no {name}")));
        };
        self.0.sender = sender;
        let before = self.0.left();
        let mut scope = Scope {
            machine: &mut self.0,
            made: Made::default(),
        };
        let result = (function.body)(&mut scope, arguments);
        let made = scope.made;
        match result {
            Ok(()) => Ok(made),
            Err(stop) => {
                self.0.restore(before);
                Err(stop)
            }
        }
    }

    /// Gives an object a dynamic field.
    pub(crate) fn add_child(&mut self, parent: sui_sdk_types::Address, value: Value) {
        self.0.children.insert(value.id(), Some((value, parent)));
    }
}
